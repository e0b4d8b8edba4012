//! Good tokens before they are signed. Every bad token is one of these with one thing changed.

use serde_json::{Value, json};

use crate::Slot;
use crate::keys::{self, Signer};

/// The directory of most Entra tokens.
pub const TID: &str = "aaaaaaaa-0000-4000-8000-000000000001";
/// Another one.
pub const OTHER_TID: &str = "aaaaaaaa-0000-4000-8000-000000000002";
/// The external directory.
pub const CIAM_TID: &str = "aaaaaaaa-0000-4000-8000-000000000003";
/// An Entra user.
pub const OID: &str = "bbbbbbbb-0000-4000-8000-000000000001";
/// An Entra client application.
pub const CLIENT: &str = "cccccccc-0000-4000-8000-000000000001";
/// Our application in Entra.
pub const APPLICATION: &str = "dddddddd-0000-4000-8000-000000000001";
/// An Access application that names a tenant.
pub const AUD_TENANT: &str = "1111111111111111111111111111111111111111111111111111111111111111";
/// One that only proves the way through Access.
pub const AUD_PERIMETER: &str = "2222222222222222222222222222222222222222222222222222222222222222";
/// An application of another Cloudflare account.
pub const AUD_TEAM: &str = "3333333333333333333333333333333333333333333333333333333333333333";
/// An Auth0 claim that names a tenant; dots and slashes are part of the name.
pub const TENANT_CLAIM: &str = "https://alphaswarm.ai/tenant.v1/id";
/// Our API at Auth0.
pub const API: &str = "https://api.alphaswarm.ai";

/// A token before it is signed.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The JOSE header.
    pub header: Value,
    /// The claims.
    pub claims: Value,
    /// Whose signature it gets.
    pub signer: &'static Signer,
    /// Where it belongs.
    pub slot: Slot,
}

impl Draft {
    /// The token.
    #[must_use]
    pub fn sign(&self) -> String {
        self.signer
            .sign(&self.header.to_string(), &self.claims.to_string())
    }

    /// With this claim.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims[name] = value.into();
        self
    }

    /// Without this claim.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.claims.as_object_mut().unwrap().remove(name);
        self
    }

    /// With this member of the header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header[name] = value.into();
        self
    }

    /// Without this member of the header.
    #[must_use]
    pub fn without_header(mut self, name: &str) -> Self {
        self.header.as_object_mut().unwrap().remove(name);
        self
    }

    /// Signed by another key, under the name that the header says.
    #[must_use]
    pub fn signed_by(mut self, signer: &'static Signer) -> Self {
        self.signer = signer;
        self
    }

    /// Signed by another key and under that key's name.
    #[must_use]
    pub fn from_key(self, signer: &'static Signer) -> Self {
        self.signed_by(signer).header("kid", signer.kid)
    }
}

fn draft(now: i64, signer: &'static Signer, slot: Slot, claims: Value) -> Draft {
    Draft {
        header: json!({"alg": signer.alg(), "typ": "JWT", "kid": signer.kid}),
        claims,
        signer,
        slot,
    }
    .with("iat", now - 10)
    .with("exp", now + 3600)
}

/// Entra, version 2, a user.
#[must_use]
pub fn entra_v2(now: i64) -> Draft {
    let claims = json!({
        "iss": format!("https://login.microsoftonline.com/{TID}/v2.0"), "ver": "2.0", "tid": TID,
        "aud": APPLICATION, "oid": OID, "sub": "pairwise-subject", "azp": CLIENT, "azpacr": "1",
        "scp": "files.read files.write", "nbf": now - 10, "uti": "uti-1", "rh": "x", "name": "A",
    });
    draft(now, keys::entra(), Slot::Authorization, claims).header("x5t", "entra-1")
}

/// Entra, version 1, a user.
#[must_use]
pub fn entra_v1(now: i64) -> Draft {
    as_v1(entra_v2(now), &format!("https://sts.windows.net/{TID}/"))
}

fn as_v1(draft: Draft, issuer: &str) -> Draft {
    draft
        .with("iss", issuer)
        .with("ver", "1.0")
        .with("aud", "api://alphaswarm")
        .with("appid", CLIENT)
        .without("azp")
}

/// Entra, an application on its own behalf.
#[must_use]
pub fn entra_app(now: i64) -> Draft {
    entra_v2(now)
        .without("scp")
        .without("name")
        .with("idtyp", "app")
        .with("roles", json!(["tasks.run"]))
}

/// Entra, version 1, an application on its own behalf.
#[must_use]
pub fn entra_v1_app(now: i64) -> Draft {
    entra_v1(now)
        .without("scp")
        .without("name")
        .with("idtyp", "app")
        .with("roles", json!(["tasks.run"]))
}

/// Entra, an agent that acts by itself.
#[must_use]
pub fn entra_agent(now: i64) -> Draft {
    entra_v2(now)
        .with("xms_act_fct", "3 11 99")
        .with("xms_sub_fct", "11")
        .with("xms_par_app_azp", CLIENT)
        .with("scp", "/")
}

/// Entra, a user of another directory.
#[must_use]
pub fn entra_other(now: i64) -> Draft {
    entra_v2(now)
        .with(
            "iss",
            format!("https://login.microsoftonline.com/{OTHER_TID}/v2.0"),
        )
        .with("tid", OTHER_TID)
}

/// Entra, a user of that directory, signed by the key that belongs to it alone.
#[must_use]
pub fn entra_own_key(now: i64) -> Draft {
    entra_other(now).from_key(keys::entra_other())
}

/// Entra for US Government. The directory has the same GUID as the public one: a GUID is no proof of a cloud.
#[must_use]
pub fn gov(now: i64) -> Draft {
    entra_v2(now)
        .with("iss", format!("https://login.microsoftonline.us/{TID}/v2.0"))
        .from_key(keys::gov())
}

/// Entra in China, version 2.
#[must_use]
pub fn china(now: i64) -> Draft {
    entra_v2(now)
        .with(
            "iss",
            format!("https://login.partner.microsoftonline.cn/{TID}/v2.0"),
        )
        .from_key(keys::china())
}

/// Entra in China, version 1.
#[must_use]
pub fn china_v1(now: i64) -> Draft {
    as_v1(china(now), &format!("https://sts.chinacloudapi.cn/{TID}/"))
}

/// An external directory (CIAM), whose issuer's host is its GUID.
#[must_use]
pub fn ciam(now: i64) -> Draft {
    entra_v2(now)
        .with("iss", format!("https://{CIAM_TID}.ciamlogin.com/{CIAM_TID}/v2.0"))
        .with("tid", CIAM_TID)
        .from_key(keys::ciam())
}

/// Auth0's own profile, a user of an organization who also asked for OpenID scopes.
#[must_use]
pub fn auth0(now: i64) -> Draft {
    let claims = json!({
        "iss": "https://example.eu.auth0.com/", "sub": "auth0|1", "azp": "client-1", "org_id": "org_1",
        "aud": [API, "https://example.eu.auth0.com/userinfo"], "scope": "openid read:items",
        "permissions": ["write:items", "read:items"],
    });
    draft(now, keys::auth0(), Slot::Authorization, claims)
}

/// Auth0, a machine.
#[must_use]
pub fn auth0_machine(now: i64) -> Draft {
    auth0(now)
        .with("sub", "client-1@clients")
        .with("gty", "client-credentials")
        .with("aud", API)
        .without("org_id")
}

/// Auth0 through its custom domain: another issuer, the same keys.
#[must_use]
pub fn auth0_custom(now: i64) -> Draft {
    auth0(now)
        .with("iss", "https://login.customer.example/")
        .with("aud", json!([API, "https://login.customer.example/userinfo"]))
}

/// RFC 9068.
#[must_use]
pub fn auth0_rfc(now: i64) -> Draft {
    let claims = json!({
        "iss": "https://rfc.us.auth0.com/", "sub": "auth0|2", "client_id": "client-2", "jti": "jti-2",
        "org_id": "org_2", "aud": API, "scope": "read:items",
    });
    draft(now, keys::rfc(), Slot::Authorization, claims).header("typ", "at+jwt")
}

/// An Auth0 tenant that signs with PS256.
#[must_use]
pub fn auth0_pss(now: i64) -> Draft {
    elsewhere(auth0(now), "https://pss.us.auth0.com/", "org_3")
        .from_key(keys::pss())
        .header("alg", "PS256")
}

/// An Auth0 tenant that signs with ES256.
#[must_use]
pub fn auth0_ecdsa(now: i64) -> Draft {
    elsewhere(auth0(now), "https://ecdsa.us.auth0.com/", "org_4")
        .from_key(keys::ecdsa())
        .header("alg", "ES256")
        .with("jti", "jti-of-ecdsa")
}

fn elsewhere(draft: Draft, issuer: &str, organization: &str) -> Draft {
    draft
        .with("iss", issuer)
        .with("aud", API)
        .with("org_id", organization)
}

/// Access, a user.
#[must_use]
pub fn access_user(now: i64) -> Draft {
    let claims = json!({
        "iss": "https://example.cloudflareaccess.com", "aud": [AUD_TENANT], "type": "app", "sub": "user-1",
        "email": "a@example.com", "identity_nonce": "n", "country": "DE", "nbf": now - 10,
    });
    draft(now, keys::access(), Slot::Assertion, claims)
}

/// Access, a service token.
#[must_use]
pub fn access_service(now: i64) -> Draft {
    access_user(now)
        .with("sub", "")
        .with("common_name", "0123456789abcdef.access")
        .without("email")
        .without("identity_nonce")
        .without("nbf")
}

/// Access, a user of another account.
#[must_use]
pub fn team(now: i64) -> Draft {
    access_user(now)
        .with("iss", "https://other.cloudflareaccess.com")
        .with("aud", json!([AUD_TEAM]))
        .from_key(keys::team())
}
