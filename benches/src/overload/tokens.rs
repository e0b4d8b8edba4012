//! Good tokens that nobody has seen, hundreds of thousands of them: signed with ES256, which takes a twentieth of the time
//! that RSA takes, by a provider of the benchmark's own.

use anyhow::{Context as _, anyhow};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::Router;
use axum::routing::get;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use devkit::serve::{Listening, Server};

const KID: &str = "overload-1";
const AUDIENCE: &str = "https://api.example.com";
const ISSUER: &str = "https://overload.eu.auth0.com/";

/// The provider: its key set is served on loopback until this is dropped.
pub(super) struct Provider {
    key: EcdsaKeyPair,
    jwks: Server,
}

impl Provider {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map_err(|_| anyhow!("cannot generate an EC key"))?;
        // An uncompressed point: one byte of form, then the two coordinates.
        let point = key.public_key().as_ref();
        let (x, y) = point
            .get(1..)
            .and_then(|point| point.split_at_checked(32))
            .context("not a P-256 point")?;
        let set = serde_json::json!({"keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": KID,
            "x": B64.encode(x), "y": B64.encode(y),
        }]});
        let listening = Listening::bind("127.0.0.1:0".parse()?).await?;
        let jwks = listening.serve(Router::new().route("/jwks", get(move || async move { set.to_string() })));
        Ok(Self { key, jwks })
    }

    /// `IDENTITY_CONFIG` of a router that trusts it.
    pub(super) fn config(&self) -> String {
        format!(
            "[[provider]]\nname = \"auth0\"\nkind = \"auth0\"\ndomain = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\n\
             algorithm = \"ES256\"\njwks_uri = \"http://{}/jwks\"\n",
            self.jwks.address()
        )
    }

    /// A good token of an organization for user `number`, valid for an hour.
    pub(super) fn token(&self, organization: &str, number: u64, now: i64) -> anyhow::Result<String> {
        let header = serde_json::json!({"alg": "ES256", "typ": "JWT", "kid": KID});
        let claims = serde_json::json!({
            "iss": ISSUER, "sub": format!("auth0|{number:024x}"), "aud": AUDIENCE, "iat": now - 60, "exp": now + 3600,
            "scope": "openid profile email", "org_id": organization, "azp": "6bQvCq1fJ0s8mT2yWzX4kLh9",
            "gty": "authorization_code",
            "permissions": ["read:strategies", "write:strategies", "read:backtests", "run:backtests"],
        });
        let mut token = format!(
            "{}.{}",
            B64.encode(header.to_string()),
            B64.encode(claims.to_string())
        );
        let signature = self
            .key
            .sign(&SystemRandom::new(), token.as_bytes())
            .map_err(|_| anyhow!("the EC key cannot sign"))?;
        token.push('.');
        token.push_str(&B64.encode(signature.as_ref()));
        Ok(token)
    }
}

/// The same text with a signature that is none; another one for each number.
pub(super) fn forged(token: &str, number: u64) -> String {
    let digits = format!("{number:010}");
    let kept = token
        .get(..token.len().saturating_sub(digits.len() + 2))
        .unwrap_or_default();
    format!(
        "{kept}{digits}{}",
        token.get(token.len().saturating_sub(2)..).unwrap_or_default()
    )
}
