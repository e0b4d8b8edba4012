//! Tokens are judged here by `jsonwebtoken` against the key sets that the provider serves over HTTP: a second opinion,
//! independent of our own verifier.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use contract::dev::{DevProvider, MintRequest};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use super::*;
use crate::dev;
use crate::serve::Server;

struct World {
    server: Server,
    client: Client,
}

impl World {
    async fn start() -> Self {
        Self::with_state(None).await
    }

    async fn with_state(state_dir: Option<PathBuf>) -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (server, _) = start(Args { listen, state_dir }).await.unwrap();
        let client = Client::new(&server.url()).unwrap();
        Self { server, client }
    }

    async fn fetch(&self, path: &str) -> reqwest::Response {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        http.build()
            .unwrap()
            .get(format!("{}{path}", self.server.url()))
            .send()
            .await
            .unwrap()
    }

    async fn json(&self, path: &str) -> Value {
        let response = self.fetch(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    async fn keys(&self, provider: DevProvider) -> JwkSet {
        let path = match provider {
            DevProvider::Entra => "/entra/organizations/discovery/v2.0/keys",
            DevProvider::Auth0 => "/auth0/.well-known/jwks.json",
            DevProvider::CloudflareAccess => "/access/cdn-cgi/access/certs",
        };
        serde_json::from_value(self.json(path).await).unwrap()
    }

    /// The claims, if the token's signature is that of a published key of `provider`.
    async fn verified(&self, provider: DevProvider, token: &str) -> Option<Value> {
        let keys = self.keys(provider).await;
        let kid = jsonwebtoken::decode_header(token).ok()?.kid?;
        let key = DecodingKey::from_jwk(keys.find(&kid)?).unwrap();
        let mut validation = Validation::new(Algorithm::RS256);
        validation.validate_aud = false;
        validation.validate_exp = false;
        validation.required_spec_claims = HashSet::new();
        jsonwebtoken::decode::<Value>(token, &key, &validation)
            .ok()
            .map(|decoded| decoded.claims)
    }

    async fn minted(&self, request: MintRequest) -> (Value, Value, String) {
        let provider = request
            .provider
            .unwrap_or_else(|| dev::provider_of(&request.tenant));
        let token = self.client.mint(&request).await.unwrap().token;
        let claims = self
            .verified(provider, &token)
            .await
            .expect("a published key signed it");
        (part(&token, 0), claims, token)
    }
}

fn part(token: &str, index: usize) -> Value {
    let bytes = URL_SAFE_NO_PAD
        .decode(token.split('.').nth(index).unwrap())
        .unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn names(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[track_caller]
fn has(object: &Value, present: &[&str], absent: &[&str]) {
    let names = names(object);
    for name in present {
        assert!(names.contains(name), "{name} is missing in {names:?}");
    }
    for name in absent {
        assert!(!names.contains(name), "{name} has no place in {names:?}");
    }
}

fn request(tenant: &str, change: impl FnOnce(&mut MintRequest)) -> MintRequest {
    let mut request = MintRequest::good(tenant);
    change(&mut request);
    request
}

mod shapes;

mod documents;

mod attacks;

mod keys;

mod verifier;
