//! Discovery and key sets, whole and broken.

use super::*;

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
