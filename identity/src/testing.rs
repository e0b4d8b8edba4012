//! Keys, providers and good tokens for the tests of this crate. Every bad token is a good one with one thing changed.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PSS_SHA256, RsaEncoding};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use contract::ProviderId;
use serde_json::{Value, json};

use crate::algorithm::Algorithm;
use crate::claims::ProviderKind;
use crate::config::IdentityConfig;
use crate::keyring::KeyRing;
use crate::scopes::Operators;
use crate::verify::{CacheOptions, Identity, KeysFrom, Slot};

/// The time of every test: 2026-01-01T00:00:00Z.
pub(crate) const NOW: i64 = 1_767_225_600;

pub(crate) const TID: &str = "aaaaaaaa-0000-4000-8000-000000000001";
pub(crate) const OTHER_TID: &str = "aaaaaaaa-0000-4000-8000-000000000002";
pub(crate) const OID: &str = "bbbbbbbb-0000-4000-8000-000000000001";
pub(crate) const CLIENT: &str = "cccccccc-0000-4000-8000-000000000001";
pub(crate) const AUD_TENANT: &str = "1111111111111111111111111111111111111111111111111111111111111111";
pub(crate) const AUD_PERIMETER: &str = "2222222222222222222222222222222222222222222222222222222222222222";
pub(crate) const TENANT_CLAIM: &str = "https://alphaswarm.ai/tenant.v1/id";

pub(crate) const PROVIDERS: &str = r#"
[[provider]]
name = "entra"
kind = "entra"
tenants = "any"
audiences = ["api://alphaswarm", "dddddddd-0000-4000-8000-000000000001", "api://operators"]

[[provider]]
name = "auth0"
kind = "auth0"
domain = "https://example.eu.auth0.com/"
audiences = ["https://api.alphaswarm.ai", "https://operators.alphaswarm.ai"]
tenant_claims = ["org_id", "https://alphaswarm.ai/tenant.v1/id"]
cell_claim = "https://alphaswarm.ai/cell"

[[provider]]
name = "auth0-rfc"
kind = "auth0"
domain = "https://rfc.us.auth0.com/"
audience = "https://api.alphaswarm.ai"
profile = "rfc9068"

[[provider]]
name = "access"
kind = "cloudflare-access"
team = "https://example.cloudflareaccess.com"
[[provider.application]]
aud = "1111111111111111111111111111111111111111111111111111111111111111"
use = "tenant"
[[provider.application]]
aud = "2222222222222222222222222222222222222222222222222222222222222222"
use = "perimeter"
"#;

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// An RSA key that signs whatever it is given.
pub(crate) struct Signer {
    pub(crate) kid: &'static str,
    key: KeyPair,
}

/// Made once: each costs about 100 ms.
static SIGNERS: LazyLock<[Signer; 5]> = LazyLock::new(|| {
    ["entra-1", "auth0-1", "rfc-1", "access-1", "stranger"].map(|kid| Signer {
        kid,
        key: KeyPair::generate(KeySize::Rsa2048).unwrap(),
    })
});

pub(crate) fn signer(at: usize) -> &'static Signer {
    &SIGNERS[at]
}

/// Nobody's key.
pub(crate) fn stranger() -> &'static Signer {
    signer(4)
}

impl Signer {
    /// Signs header and payload as given, good JSON or not.
    pub(crate) fn sign(&self, header: &str, payload: &str) -> String {
        self.sign_with(&RSA_PKCS1_SHA256, header, payload)
    }

    pub(crate) fn sign_rs384(&self, header: &str, payload: &str) -> String {
        self.sign_with(&RSA_PKCS1_SHA384, header, payload)
    }

    pub(crate) fn sign_ps256(&self, header: &str, payload: &str) -> String {
        self.sign_with(&RSA_PSS_SHA256, header, payload)
    }

    fn sign_with(&self, padding: &'static dyn RsaEncoding, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(payload));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(padding, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .unwrap();
        format!("{signed}.{}", encode(signature))
    }

    pub(crate) fn modulus(&self) -> Vec<u8> {
        // RSAPublicKey is SEQUENCE { INTEGER n, INTEGER e }; a 2048-bit n always has a leading zero octet.
        let der = self.key.public_key().as_ref();
        assert_eq!((der[0], der[4], der[8]), (0x30, 0x02, 0));
        der[9..9 + 256].to_vec()
    }

    /// DER of the public key, as an attacker would use it for HMAC.
    pub(crate) fn public_der(&self) -> Vec<u8> {
        self.key.public_key().as_ref().to_vec()
    }

    pub(crate) fn jwk(&self) -> Value {
        json!({"kty": "RSA", "use": "sig", "kid": self.kid, "n": encode(self.modulus()), "e": "AQAB"})
    }

    pub(crate) fn jwk_for(&self, issuer: &str) -> Value {
        let mut jwk = self.jwk();
        jwk["issuer"] = issuer.into();
        jwk
    }
}

pub(crate) fn key_set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

pub(crate) fn ring(keys: &[Value]) -> KeyRing {
    KeyRing::parse(&key_set(keys), Algorithm::Rs256, NOW - 60).unwrap()
}

pub(crate) fn provider(name: &str) -> ProviderId {
    ProviderId::parse(name).unwrap()
}

/// A verifier with the keys of all four providers.
pub(crate) fn identity() -> Arc<Identity> {
    identity_of(PROVIDERS, Operators::none(), CacheOptions::default())
}

pub(crate) fn identity_of(toml: &str, operators: Operators, options: CacheOptions) -> Arc<Identity> {
    let config = IdentityConfig::parse(toml).unwrap_or_else(|errors| panic!("{errors}"));
    let rings: Vec<_> = config
        .providers
        .iter()
        .map(|provider| {
            let jwk = match (provider.kind(), provider.id().as_str()) {
                (ProviderKind::Entra, _) => {
                    signer(0).jwk_for("https://login.microsoftonline.com/{tenantid}/v2.0")
                }
                (ProviderKind::Auth0, "auth0-rfc") => signer(2).jwk(),
                (ProviderKind::Auth0, _) => signer(1).jwk(),
                (ProviderKind::CloudflareAccess, _) => signer(3).jwk(),
            };
            (provider.id().clone(), ring(&[jwk]))
        })
        .collect();
    let identity = Identity::new(config, operators, options);
    for (id, ring) in rings {
        identity.publish_keys(&id, ring, KeysFrom::Network);
    }
    identity
}

/// A good token before it is signed.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) header: Value,
    pub(crate) claims: Value,
    pub(crate) signer: &'static Signer,
    pub(crate) slot: Slot,
}

impl Draft {
    pub(crate) fn sign(&self) -> String {
        self.signer
            .sign(&self.header.to_string(), &self.claims.to_string())
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims[name] = value.into();
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.claims.as_object_mut().unwrap().remove(name);
        self
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header[name] = value.into();
        self
    }

    pub(crate) fn without_header(mut self, name: &str) -> Self {
        self.header.as_object_mut().unwrap().remove(name);
        self
    }

    pub(crate) fn signed_by(mut self, signer: &'static Signer) -> Self {
        self.signer = signer;
        self
    }
}

fn draft(signer: &'static Signer, slot: Slot, claims: Value) -> Draft {
    let mut draft = Draft {
        header: json!({"alg": "RS256", "typ": "JWT", "kid": signer.kid}),
        claims,
        signer,
        slot,
    };
    for (name, value) in [("iat", NOW - 10), ("exp", NOW + 3600)] {
        draft.claims[name] = value.into();
    }
    draft
}

pub(crate) fn entra_v2() -> Draft {
    draft(signer(0), Slot::Bearer, json!({
        "iss": format!("https://login.microsoftonline.com/{TID}/v2.0"), "ver": "2.0", "tid": TID,
        "aud": "dddddddd-0000-4000-8000-000000000001", "oid": OID, "sub": "pairwise-subject", "azp": CLIENT,
        "azpacr": "1", "scp": "files.read files.write", "nbf": NOW - 10, "uti": "uti-1", "rh": "x", "name": "A",
    }))
    .header("x5t", "entra-1")
}

pub(crate) fn entra_v1() -> Draft {
    entra_v2()
        .with("iss", format!("https://sts.windows.net/{TID}/"))
        .with("ver", "1.0")
        .with("aud", "api://alphaswarm")
        .with("appid", CLIENT)
        .without("azp")
}

pub(crate) fn auth0() -> Draft {
    draft(
        signer(1),
        Slot::Bearer,
        json!({
            "iss": "https://example.eu.auth0.com/", "sub": "auth0|1", "azp": "client-1", "org_id": "org_1",
            "aud": ["https://api.alphaswarm.ai", "https://example.eu.auth0.com/userinfo"],
            "scope": "openid read:items", "permissions": ["write:items", "read:items"],
        }),
    )
}

pub(crate) fn auth0_rfc() -> Draft {
    draft(
        signer(2),
        Slot::Bearer,
        json!({
            "iss": "https://rfc.us.auth0.com/", "sub": "auth0|2", "client_id": "client-2", "jti": "jti-2",
            "org_id": "org_2", "aud": "https://api.alphaswarm.ai", "scope": "read:items",
        }),
    )
    .header("typ", "at+jwt")
}

pub(crate) fn access_user() -> Draft {
    draft(
        signer(3),
        Slot::Access,
        json!({
            "iss": "https://example.cloudflareaccess.com", "aud": [AUD_TENANT], "type": "app", "sub": "user-1",
            "email": "a@example.com", "identity_nonce": "n", "country": "DE", "nbf": NOW - 10,
        }),
    )
}

pub(crate) fn access_service() -> Draft {
    access_user()
        .with("sub", "")
        .with("common_name", "0123456789abcdef.access")
        .without("email")
        .without("identity_nonce")
        .without("nbf")
}
