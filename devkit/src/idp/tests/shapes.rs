//! Each kind of token says what the real provider's would.

use super::*;

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
        &["oid", "sub", "uti", "azp", "scp", "nbf"],
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
