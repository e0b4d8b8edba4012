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

#[tokio::test]
async fn entra_tokens_have_the_shape_of_their_version() {
    let world = World::start().await;
    let url = world.server.url();

    let (header, claims, _) = world.minted(MintRequest::good("acme")).await;
    assert_eq!(names(&header), ["alg", "kid", "typ"]);
    assert_eq!(claims["iss"], format!("{url}/entra/{}/v2.0", dev::ACME_TID));
    assert_eq!(claims["tid"], dev::ACME_TID);
    assert_eq!(claims["aud"], dev::ENTRA_CLIENT_ID);
    assert_eq!(claims["ver"], "2.0");
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        3600
    );
    has(
        &claims,
        &["oid", "sub", "uti", "azp", "scp", "nbf", "xms_cc"],
        &["appid", "roles", "acrs", "idtyp"],
    );

    let v1 = request("acme", |r| r.version = Some(1));
    let (header, v1_claims, _) = world.minted(v1).await;
    assert_eq!(names(&header), ["alg", "kid", "typ", "x5t"]);
    assert_eq!(header["x5t"], header["kid"]);
    assert_eq!(v1_claims["iss"], format!("{url}/entra-sts/{}/", dev::ACME_TID));
    assert_eq!(v1_claims["aud"], dev::ENTRA_APP_ID_URI);
    assert_eq!(v1_claims["ver"], "1.0");
    assert_eq!(v1_claims["oid"], claims["oid"], "one person in both versions");
    has(
        &v1_claims,
        &["appid", "upn", "acr", "amr"],
        &["azp", "preferred_username", "acrs"],
    );

    let app = request("acme", |r| {
        r.service = true;
        r.scopes = vec!["jobs.run".into()];
        r.roles = vec!["Reader".into()];
    });
    let (_, claims, _) = world.minted(app).await;
    assert_eq!(claims["roles"], json!(["Reader", "jobs.run"]));
    assert_eq!(claims["idtyp"], "app");
    assert_eq!(claims["sub"], claims["oid"]);
    has(&claims, &["azp"], &["scp", "name", "xms_cc"]);

    let strong = request("acme", |r| {
        r.acr = Some("high".into());
        r.scopes = vec!["read".into(), "write".into()];
    });
    let (_, claims, _) = world.minted(strong).await;
    assert_eq!(claims["acrs"], json!([dev::ENTRA_STRONG]));
    assert_eq!(claims["scp"], "read write");

    let (_, claims, _) = world.minted(MintRequest::good(dev::OPERATOR)).await;
    assert_eq!(
        (&claims["tid"], &claims["aud"]),
        (&json!(dev::OPERATOR_TID), &json!(dev::OPERATOR_AUDIENCE))
    );
}

#[tokio::test]
async fn auth0_tokens_have_the_shape_of_their_profile() {
    let world = World::start().await;
    let issuer = format!("{}/auth0/", world.server.url());

    let (header, claims, _) = world.minted(MintRequest::good("globex")).await;
    assert_eq!(header["typ"], "JWT");
    assert_eq!(claims["iss"], issuer);
    assert_eq!(claims["org_id"], dev::GLOBEX_ORG);
    assert_eq!(
        claims["aud"],
        json!([dev::AUTH0_AUDIENCE, format!("{issuer}userinfo")])
    );
    has(
        &claims,
        &["azp", "scope", "sub"],
        &["client_id", "permissions", "gty", "nbf"],
    );

    let machine = request("globex", |r| {
        r.service = true;
        r.roles = vec!["read:jobs".into()];
    });
    let (_, claims, _) = world.minted(machine).await;
    assert_eq!(claims["aud"], dev::AUTH0_AUDIENCE);
    assert_eq!(claims["gty"], "client-credentials");
    assert_eq!(claims["permissions"], json!(["read:jobs"]));
    assert_eq!(
        claims["sub"],
        format!("{}@clients", claims["azp"].as_str().unwrap())
    );

    let rfc9068 = request("globex", |r| {
        r.header.insert("typ".into(), "at+jwt".into());
        r.acr = Some("high".into());
    });
    let (header, claims, _) = world.minted(rfc9068).await;
    assert_eq!(header["typ"], "at+jwt");
    assert_eq!(claims["amr"], json!([dev::AUTH0_STRONG]));
    has(&claims, &["client_id", "jti"], &["azp"]);
}

#[tokio::test]
async fn access_tokens_have_the_shape_of_a_person_or_a_service() {
    let world = World::start().await;

    let minted = world.client.good("initech").await.unwrap();
    assert_eq!(minted.header, contract::header::ACCESS_ASSERTION);
    let (_, claims, _) = world.minted(MintRequest::good("initech")).await;
    assert_eq!(claims["iss"], format!("{}/access", world.server.url()));
    assert_eq!(claims["aud"], json!([dev::INITECH_AUD]));
    assert_eq!(claims["type"], "app");
    has(
        &claims,
        &["email", "sub", "nbf", "identity_nonce", "country"],
        &["common_name", "org_id", "tid"],
    );

    let (_, claims, _) = world.minted(request("initech", |r| r.service = true)).await;
    assert_eq!(claims["sub"], "");
    assert!(claims["common_name"].as_str().unwrap().ends_with(".access"));
    has(&claims, &[], &["email", "nbf"]);

    let scopes = request("initech", |r| r.scopes = vec!["read".into()]);
    let error = world.client.mint(&scopes).await.unwrap_err().to_string();
    assert!(error.contains("400") && error.contains("scopes"), "{error}");
}

#[tokio::test]
async fn requests_change_what_they_name_and_nothing_else() {
    let world = World::start().await;
    let odd = request("acme", |r| {
        r.provider = Some(DevProvider::Auth0);
        r.subject = Some("auth0|somebody".into());
        r.audience = Some("https://other.example".into());
        r.lifetime = Some(-300);
        r.claims.insert("org_name".into(), Value::Null);
        r.claims.insert(dev::AUTH0_TENANT_CLAIM.into(), "acme".into());
    });
    let (_, claims, _) = world.minted(odd).await;
    assert_eq!(claims["sub"], "auth0|somebody");
    assert_eq!(claims["aud"][0], "https://other.example");
    assert_eq!(claims[dev::AUTH0_TENANT_CLAIM], "acme");
    let (iat, exp) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
    let now = jiff::Timestamp::now().as_second();
    assert!(
        exp <= now - 295 && exp - iat == 3600,
        "iat {iat}, exp {exp}, now {now}"
    );
    has(&claims, &["org_id"], &["org_name"]);
}

#[tokio::test]
async fn discovery_leads_to_keys_and_names_the_issuer_of_the_tokens() {
    let world = World::start().await;
    let url = world.server.url();
    for (path, issuer) in [
        (
            format!("/entra/{}/v2.0", dev::ACME_TID),
            format!("{url}/entra/{}/v2.0", dev::ACME_TID),
        ),
        (
            format!("/entra/{}", dev::ACME_TID),
            format!("{url}/entra-sts/{}/", dev::ACME_TID),
        ),
        (
            "/entra/organizations/v2.0".into(),
            format!("{url}/entra/{{tenantid}}/v2.0"),
        ),
        ("/entra/common".into(), format!("{url}/entra-sts/{{tenantid}}/")),
        ("/auth0".into(), format!("{url}/auth0/")),
    ] {
        let document = world
            .json(&format!("{path}/.well-known/openid-configuration"))
            .await;
        assert_eq!(document["issuer"], issuer, "{path}");
        let keys = document["jwks_uri"]
            .as_str()
            .unwrap()
            .strip_prefix(&url)
            .unwrap()
            .to_owned();
        assert!(
            world.json(&keys).await["keys"].as_array().unwrap().len() >= 2,
            "{path}"
        );
    }
    assert_eq!(
        world.fetch("/entra/nobody/discovery/v2.0/keys").await.status(),
        400
    );
}

#[tokio::test]
async fn entras_v2_keys_say_whose_tokens_they_sign() {
    let world = World::start().await;
    let url = world.server.url();
    let issuers = async |path: &str| -> Vec<String> {
        let set = world.json(path).await;
        let issuer = |key: &Value| key["issuer"].as_str().unwrap_or("none").to_owned();
        set["keys"].as_array().unwrap().iter().map(issuer).collect()
    };
    let template = format!("{url}/entra/{{tenantid}}/v2.0");
    let consumers = format!("{url}/entra/{}/v2.0", metadata::CONSUMERS_TID);
    let literal = format!("{url}/entra/{}/v2.0", dev::ACME_TID);
    assert_eq!(
        issuers("/entra/common/discovery/v2.0/keys").await,
        [template.as_str(), &template, &consumers]
    );
    let own = format!("/entra/{}/discovery/v2.0/keys", dev::ACME_TID);
    assert_eq!(issuers(&own).await, [literal.as_str(), &literal]);
    assert_eq!(
        issuers("/entra/common/discovery/keys").await,
        ["none", "none", "none"]
    );
}

#[tokio::test]
async fn access_certificates_hold_the_keys_they_stand_beside() {
    let world = World::start().await;
    let certs = world.json("/access/cdn-cgi/access/certs").await;
    assert_eq!(certs["public_cert"]["kid"], certs["keys"][0]["kid"]);
    assert_eq!(certs["public_certs"].as_array().unwrap().len(), 2);
    for (key, cert) in certs["keys"]
        .as_array()
        .unwrap()
        .iter()
        .zip(certs["public_certs"].as_array().unwrap())
    {
        assert_eq!(key["kid"], cert["kid"]);
        let pem = cert["cert"].as_str().unwrap();
        assert!(
            pem.starts_with("-----BEGIN CERTIFICATE-----\n")
                && pem.ends_with("\n-----END CERTIFICATE-----\n")
        );
        let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(base64).unwrap();
        let modulus = URL_SAFE_NO_PAD.decode(key["n"].as_str().unwrap()).unwrap();
        assert_eq!(modulus.len(), 256);
        assert!(der.windows(256).any(|window| window == modulus));
    }
}

#[tokio::test]
async fn attacks_are_minted_as_asked() {
    let world = World::start().await;
    let mint = async |alg: Value| {
        let request = request("acme", |r| drop(r.header.insert("alg".into(), alg)));
        world.client.mint(&request).await.unwrap().token
    };

    for none in ["none", "None", "NONE", ""] {
        let token = mint(none.into()).await;
        assert_eq!(part(&token, 0)["alg"], none);
        assert!(token.ends_with('.') && token.matches('.').count() == 2, "{token}");
    }

    // RS→HS: a verifier that takes the public key for a secret accepts this.
    let token = mint("HS256".into()).await;
    let keys = world.keys(DevProvider::Entra).await;
    let jwk = keys.find(part(&token, 0)["kid"].as_str().unwrap()).unwrap();
    let jsonwebtoken::jwk::AlgorithmParameters::RSA(rsa) = &jwk.algorithm else {
        panic!("an RSA key")
    };
    let secret = DecodingKey::from_secret(public_pem(&rsa.n, &rsa.e).as_bytes());
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_aud = false;
    assert!(jsonwebtoken::decode::<Value>(&token, &secret, &validation).is_ok());

    let key = DecodingKey::from_jwk(jwk).unwrap();
    for (name, algorithm) in [
        ("RS384", Algorithm::RS384),
        ("RS512", Algorithm::RS512),
        ("PS256", Algorithm::PS256),
    ] {
        let mut validation = Validation::new(algorithm);
        validation.validate_aud = false;
        let token = mint(name.into()).await;
        assert!(
            jsonwebtoken::decode::<Value>(&token, &key, &validation).is_ok(),
            "{name}"
        );
    }
    for stray in ["ES256", "EdDSA"] {
        let token = mint(stray.into()).await;
        assert_eq!(
            token.rsplit('.').next().unwrap().len(),
            86,
            "64 bytes of signature"
        );
        assert_eq!(world.verified(DevProvider::Entra, &token).await, None);
    }

    // A foreign key under a known name: Auth0's key signs what claims to be Entra's.
    let kid = part(&mint("RS256".into()).await, 0)["kid"].clone();
    let foreign = request("acme", |r| {
        r.provider = Some(DevProvider::Auth0);
        r.header.insert("kid".into(), kid);
    });
    let token = world.client.mint(&foreign).await.unwrap().token;
    assert_eq!(world.verified(DevProvider::Entra, &token).await, None);
}

/// The PEM of a public key, built from its JWK alone, as an attacker would.
fn public_pem(n: &str, e: &str) -> String {
    let integer = |bytes: &[u8]| {
        let mut content = if bytes[0] >= 0x80 { vec![0] } else { vec![] };
        content.extend_from_slice(bytes);
        der(0x02, &content)
    };
    let n = integer(&URL_SAFE_NO_PAD.decode(n).unwrap());
    let e = integer(&URL_SAFE_NO_PAD.decode(e).unwrap());
    let key = der(0x30, &[n, e].concat());
    let algorithm = [0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0];
    let bits = der(0x03, &[&[0], key.as_slice()].concat());
    let base64 = STANDARD.encode(der(0x30, &[algorithm.as_slice(), &bits].concat()));
    let lines: Vec<_> = base64
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        lines.join("\n")
    )
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap();
    let head = match length {
        0..=127 => vec![tag, length.to_be_bytes()[1]],
        _ => [[tag, 0x82].as_slice(), &length.to_be_bytes()].concat(),
    };
    [head, content.to_vec()].concat()
}

#[tokio::test]
async fn raw_bytes_are_signed_as_they_are() {
    let world = World::start().await;
    let request = SignRequest {
        provider: DevProvider::Entra,
        kid: None,
        header: r#"{"alg":"RS256","kid":"${kid}","kid":"${kid}"}"#.into(),
        payload: r#"{"tid":"a","\u0074id":"b"}"#.into(),
        alg: None,
    };
    let token = world.client.sign(&request).await.unwrap().token;
    let parts: Vec<_> = token.split('.').collect();
    assert_eq!(
        URL_SAFE_NO_PAD.decode(parts[1]).unwrap(),
        request.payload.as_bytes()
    );
    let kid = part(&token, 0)["kid"].as_str().unwrap().to_owned();
    let keys = world.keys(DevProvider::Entra).await;
    let key = DecodingKey::from_jwk(keys.find(&kid).unwrap()).unwrap();
    let message = format!("{}.{}", parts[0], parts[1]);
    assert!(jsonwebtoken::crypto::verify(parts[2], message.as_bytes(), &key, Algorithm::RS256).unwrap());
}

#[tokio::test]
async fn rotation_publishes_a_fresh_key_and_an_emergency_withdraws_the_old_one() {
    let world = World::start().await;
    let provider = DevProvider::Auth0;
    let before = world.client.good("globex").await.unwrap().token;

    let rotated = world.client.rotate(provider, false).await.unwrap();
    assert_eq!(part(&before, 0)["kid"], rotated.previous.as_str());
    assert!(rotated.published.contains(&rotated.previous) && rotated.published.len() == 3);
    let after = world.client.good("globex").await.unwrap().token;
    assert_eq!(part(&after, 0)["kid"], rotated.current.as_str());
    assert!(world.verified(provider, &before).await.is_some());
    assert!(world.verified(provider, &after).await.is_some());

    let emergency = world.client.rotate(provider, true).await.unwrap();
    assert_eq!(emergency.previous, rotated.current);
    assert!(!emergency.published.contains(&rotated.current));
    assert_eq!(world.verified(provider, &after).await, None);
    assert!(world.verified(provider, &before).await.is_some());

    // What a thief of the withdrawn key still can do.
    let stolen = request("globex", |r| {
        drop(r.header.insert("kid".into(), rotated.current.clone().into()))
    });
    let token = world.client.mint(&stolen).await.unwrap().token;
    assert_eq!(part(&token, 0)["kid"], rotated.current.as_str());
    assert_eq!(world.verified(provider, &token).await, None);

    for _ in 0..5 {
        world.client.rotate(provider, false).await.unwrap();
    }
    assert_eq!(
        world.keys(provider).await.keys.len(),
        4,
        "published keys are bounded"
    );
}

#[tokio::test]
async fn keys_outlive_a_restart_when_there_is_a_state_directory() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("idp");
    let first = World::with_state(Some(state.clone())).await;
    first.client.rotate(DevProvider::Entra, false).await.unwrap();
    let token = first.client.good("acme").await.unwrap().token;
    first.server.stop().await;

    let second = World::with_state(Some(state.clone())).await;
    assert!(second.verified(DevProvider::Entra, &token).await.is_some());
    assert_eq!(second.keys(DevProvider::Entra).await.keys.len(), 4);

    let file = store::path(&state);
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    std::fs::write(&file, "{\"entra\":1}").unwrap();
    let error = Issuer::open("http://x", file.parent()).err().unwrap();
    assert!(format!("{error:#}").contains("remove it"), "{error:#}");
}

#[tokio::test]
async fn faults_break_the_documents_they_name_and_heal() {
    let world = World::start().await;
    let keys = "/auth0/.well-known/jwks.json";
    let discovery = "/auth0/.well-known/openid-configuration";
    let set = async |mode| world.client.fault(DevProvider::Auth0, mode).await.unwrap();

    set(FaultMode::Down).await;
    assert_eq!(world.fetch(keys).await.status(), 503);
    assert_eq!(world.fetch(discovery).await.status(), 503);
    assert_eq!(
        world.fetch("/access/cdn-cgi/access/certs").await.status(),
        200,
        "the others go on"
    );

    set(FaultMode::Html).await;
    assert!(
        world
            .fetch(keys)
            .await
            .text()
            .await
            .unwrap()
            .starts_with("<!doctype html>")
    );
    assert_eq!(world.fetch(discovery).await.status(), 200);

    set(FaultMode::Empty).await;
    assert_eq!(world.json(keys).await, json!({ "keys": [] }));

    set(FaultMode::Redirect).await;
    let redirect = world.fetch(keys).await;
    assert_eq!(
        (
            redirect.status().as_u16(),
            redirect.headers()["location"].to_str().unwrap()
        ),
        (302, "/canary")
    );

    set(FaultMode::Huge).await;
    let huge = world.fetch(keys).await;
    assert_eq!(huge.content_length(), None);
    let huge = huge.bytes().await.unwrap();
    assert!(huge.len() > 10_000_000);
    assert!(serde_json::from_slice::<Value>(&huge).unwrap()["keys"].is_array());

    set(FaultMode::Odd).await;
    assert!(world.json(keys).await["keys"].as_array().unwrap().len() > 5);

    set(FaultMode::Slow).await;
    let mut slow = world.fetch(keys).await;
    assert_eq!(slow.chunk().await.unwrap().unwrap().len(), 1, "a byte at a time");

    set(FaultMode::Ok).await;
    assert_eq!(world.json(keys).await["keys"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn requests_are_counted_by_path() {
    let world = World::start().await;
    world.client.reset_stats().await.unwrap();
    for _ in 0..3 {
        world.json("/auth0/.well-known/jwks.json").await;
    }
    world.fetch("/canary?x=1").await;
    let stats = world.client.stats().await.unwrap();
    assert_eq!(
        (
            stats.ending("/jwks.json"),
            stats.ending("/canary"),
            stats.ending("/certs")
        ),
        (3, 1, 0)
    );
}

#[tokio::test]
async fn only_loopback_is_listened_on() {
    let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let error = start(Args {
        listen,
        state_dir: None,
    })
    .await
    .err()
    .unwrap();
    assert!(error.to_string().contains("loopback"), "{error}");
}

/// The providers file and our own verifier agree with what is served and signed here.
#[tokio::test]
async fn our_own_verifier_admits_every_good_token_and_links_it() {
    use contract::{LinkKind, ProviderId};
    use identity::{CacheOptions, Identity, IdentityConfig, KeyRing, KeysFrom, Operators, Slot};
    let world = World::start().await;
    let config = IdentityConfig::parse(&dev::providers_file_at(&world.server.url())).unwrap();
    let operators = Operators::parse(&dev::operators()).unwrap();
    let identity = Identity::new(config, operators, CacheOptions::default());
    let now = jiff::Timestamp::now().as_second();
    for (provider, path) in [
        (DevProvider::Entra, "/entra/common/discovery/v2.0/keys"),
        (DevProvider::Auth0, "/auth0/.well-known/jwks.json"),
        (DevProvider::CloudflareAccess, "/access/cdn-cgi/access/certs"),
    ] {
        let document = world.fetch(path).await.bytes().await.unwrap();
        let ring = KeyRing::parse(&document, identity::algorithm::Algorithm::Rs256, now).unwrap();
        assert!(ring.skipped().is_empty(), "{path}");
        identity.publish_keys(
            &ProviderId::parse(dev::provider_name(provider)).unwrap(),
            ring,
            KeysFrom::Network,
        );
    }
    let verify = async |request: &MintRequest| {
        let minted = world.client.mint(request).await.unwrap();
        let access = minted.header == contract::header::ACCESS_ASSERTION;
        identity.verify(
            &minted.token,
            if access { Slot::Access } else { Slot::Bearer },
            now,
        )
    };
    for tenant in dev::TENANTS {
        for service in [false, true] {
            for version in [None, Some(1)]
                .into_iter()
                .filter(|v| v.is_none() || tenant.provider == DevProvider::Entra)
            {
                let good = request(tenant.id, |r| {
                    r.service = service;
                    r.version = version;
                });
                let verified = verify(&good)
                    .await
                    .unwrap_or_else(|refusal| panic!("{good:?}: {refusal}"));
                let named = |kind: LinkKind| verified.claims.links.iter().find(|link| link.kind == kind);
                assert_eq!(&*named(tenant.kind).unwrap().id, tenant.external_id);
                assert!(!verified.claims.strong && !verified.claims.operator && !verified.claims.perimeter);
            }
        }
    }
    for tenant in ["acme", "globex"] {
        let strong = request(tenant, |r| r.acr = Some("high".into()));
        assert!(verify(&strong).await.unwrap().claims.strong, "{tenant}");
    }
    let operator = request(dev::OPERATOR, |r| r.scopes = vec!["cluster:admin".into()]);
    let operator = verify(&operator).await.unwrap();
    assert!(operator.claims.operator && operator.claims.scopes.contains("cluster:admin"));
    let perimeter = request("initech", |r| r.audience = Some(dev::PERIMETER_AUD.into()));
    assert!(verify(&perimeter).await.unwrap().claims.perimeter);
    let named = request("acme", |r| r.subject = Some("alice".into()));
    assert!(verify(&named).await.is_ok());
    let by_claim = request("stranger", |r| {
        r.provider = Some(DevProvider::Auth0);
        r.claims
            .insert(dev::AUTH0_TENANT_CLAIM.into(), "globex-eu".into());
    });
    let by_claim = verify(&by_claim).await.unwrap();
    assert!(
        by_claim
            .claims
            .links
            .iter()
            .any(|link| link.kind == LinkKind::Claim && &*link.id == "globex-eu")
    );

    let expired = request("acme", |r| r.lifetime = Some(-120));
    let elsewhere = request("acme", |r| r.audience = Some("api://other".into()));
    for bad in [expired, elsewhere] {
        assert!(verify(&bad).await.is_err(), "{bad:?}");
    }
}
