//! Discovery documents over HTTP: what is asked, what must be in them, and what no document can make us do.

use super::*;
use crate::config::Endpoints;
use crate::testing::TID;

/// A provider at the server: its table, where it is discovered, and the issuer that must be stated.
struct Case {
    name: &'static str,
    toml: String,
    path: String,
    issuer: String,
}

fn cases(base: &str) -> [Case; 4] {
    let entra = |tenants: &str, versions: &str| {
        format!(
            "[[provider]]\nname = \"entra\"\nkind = \"entra\"\nauthority = \"{base}\"\nsts = \"{base}/sts\"\n\
             tenants = {tenants}\nversions = [{versions}]\naudiences = [\"api://a\"]\n"
        )
    };
    let well_known = "/.well-known/openid-configuration";
    [
        Case {
            name: "Entra, any directory",
            toml: entra("\"any\"", "\"v1\", \"v2\""),
            path: format!("/common/v2.0{well_known}"),
            issuer: format!("{base}/{{tenantid}}/v2.0"),
        },
        Case {
            name: "Entra, one directory",
            toml: entra(&format!("[\"{TID}\"]"), "\"v2\""),
            path: format!("/{TID}/v2.0{well_known}"),
            issuer: format!("{base}/{TID}/v2.0"),
        },
        Case {
            name: "Entra, v1 tokens",
            toml: entra(&format!("[\"{TID}\"]"), "\"v1\""),
            path: format!("/{TID}/v2.0{well_known}"),
            issuer: format!("{base}/{TID}/v2.0"),
        },
        Case {
            name: "Auth0",
            toml: format!(
                "[[provider]]\nname = \"auth0\"\nkind = \"auth0\"\ndomain = \"{base}/\"\naudience = \"api\"\n"
            ),
            path: well_known.to_owned(),
            issuer: format!("{base}/"),
        },
    ]
}

/// The provider's state after its first fetch.
async fn first_fetch(case: &Case) -> ProviderStatus {
    let identity = Identity::new(
        IdentityConfig::parse(&case.toml).unwrap(),
        Operators::none(),
        CacheOptions::default(),
    );
    let mut tasks = JoinSet::new();
    tasks.spawn(refresh_keys(
        Arc::clone(&identity),
        FetchOptions::default(),
        std::future::pending(),
    ));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = identity.status().remove(0);
        if status.fetches > 0 {
            return status;
        }
        assert!(Instant::now() < deadline, "{}: no fetch", case.name);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_document_with_the_right_issuer_leads_to_the_keys() {
    let server = Server::start().await;
    server.answer("/keys", Answer::json(&json!({"keys": [signer(0).jwk()]})));
    for case in cases(&server.url) {
        let document =
            json!({"issuer": case.issuer, "jwks_uri": format!("{}/keys", server.url), "more": [1]});
        server.answer(&case.path, Answer::json(&document));
        let (documents, keys) = (server.requests(&case.path), server.requests("/keys"));
        let status = first_fetch(&case).await;
        assert!(status.usable, "{}: {:?}", case.name, status.last_error);
        assert_eq!(
            (server.requests(&case.path), server.requests("/keys")),
            (documents + 1, keys + 1),
            "{}: one request for each document",
            case.name
        );
    }
}

#[tokio::test]
async fn a_document_of_another_issuer_is_refused_before_its_keys_are_asked_for() {
    let server = Server::start().await;
    server.answer("/keys", Answer::json(&json!({"keys": [signer(0).jwk()]})));
    let keys = format!("{}/keys", server.url);
    for case in cases(&server.url) {
        let issuer = &case.issuer;
        let mut documents: Vec<Value> = [
            String::new(),
            format!("{issuer}/"),
            issuer.trim_end_matches('/').to_owned() + "x",
            issuer.to_uppercase(),
            format!(" {issuer}"),
            issuer.replace("http:", "https:"),
            issuer.replace("127.0.0.1", "localhost"),
            format!("{}/{}/v2.0", server.url, crate::testing::OTHER_TID),
            format!("{}/{{TenantId}}/v2.0", server.url),
            "https://login.microsoftonline.com/{tenantid}/v2.0".to_owned(),
        ]
        .into_iter()
        .filter(|other| other != issuer)
        .map(|other| json!({"issuer": other, "jwks_uri": keys}))
        .collect();
        documents.extend([
            json!({ "jwks_uri": keys }),
            json!({"issuer": [issuer], "jwks_uri": keys}),
            json!({"issuer": null, "jwks_uri": keys}),
            json!({ "issuer": issuer }),
            json!({"issuer": issuer, "jwks_uri": [keys]}),
            json!([]),
        ]);
        let mut texts: Vec<String> = documents.iter().map(Value::to_string).collect();
        texts.push(format!(
            "{{\"issuer\":\"https://evil.example\",\"issuer\":\"{issuer}\",\"jwks_uri\":\"{keys}\"}}"
        ));
        for text in texts {
            server.answer(
                &case.path,
                Answer::with("200 OK", "application/json", text.clone()),
            );
            let status = first_fetch(&case).await;
            let error = status.last_error.unwrap();
            assert!(
                error.contains("states issuer") || error.contains("not a discovery document"),
                "{}, {text}: {error}",
                case.name
            );
            assert!(!status.usable, "{}, {text}", case.name);
        }
    }
    assert_eq!(server.requests("/keys"), 0);
}

#[tokio::test]
async fn a_document_that_names_another_server_is_refused_before_a_connection() {
    let server = Server::start().await;
    let elsewhere = Server::start().await;
    elsewhere.answer("/keys", Answer::json(&json!({"keys": [signer(0).jwk()]})));
    let own = server.url.trim_start_matches("http://");
    let other = elsewhere.url.trim_start_matches("http://");
    let port = own.rsplit(':').next().unwrap();
    for case in cases(&server.url) {
        for (jwks_uri, reason) in [
            (format!("http://{other}/keys"), "not one of this provider's"),
            (
                format!("http://localhost:{port}/keys"),
                "not one of this provider's",
            ),
            ("http://127.0.0.1/keys".to_owned(), "not one of this provider's"),
            (
                "https://login.microsoftonline.com/common/discovery/v2.0/keys".to_owned(),
                "not one of this",
            ),
            (format!("https://{own}.evil.example/keys"), "port"),
            (format!("http://{own}@{other}/keys"), "user name"),
            (format!("http://{own}:x@{other}/keys"), "user name"),
            (format!("http://{other}\\@{own}/keys"), "not a URL"),
            (format!("http://{other}#@{own}/keys"), "fragment"),
            ("http://keys.example/keys".to_owned(), "loopback only"),
            (
                "http://169.254.169.254/keys".to_owned(),
                "no provider has this address",
            ),
            (
                "https://169.254.169.254/keys".to_owned(),
                "no provider has this address",
            ),
            (
                "https://[fe80::1]/keys".to_owned(),
                "no provider has this address",
            ),
            ("https://2852039166/keys".to_owned(), "four decimal numbers"),
            ("file:///etc/passwd".to_owned(), "address"),
            ("/keys".to_owned(), "not an absolute URL"),
            (format!("//{own}/keys"), "not an absolute URL"),
            (String::new(), "not a URL"),
        ] {
            let document = json!({"issuer": case.issuer, "jwks_uri": jwks_uri});
            server.answer(&case.path, Answer::json(&document));
            let status = first_fetch(&case).await;
            let error = status.last_error.unwrap();
            assert!(error.contains(reason), "{}, {jwks_uri}: {error}", case.name);
            assert!(!status.usable, "{}, {jwks_uri}", case.name);
        }
    }
    assert_eq!((elsewhere.requests("/keys"), server.requests("/keys")), (0, 0));
}

/// Plain http where https is configured, and TLS without a trusted certificate: no request is made of such a server.
#[tokio::test]
async fn https_is_not_downgraded() {
    let server = Server::start().await;
    let https = server.url.replace("http:", "https:");
    let well_known = "/.well-known/openid-configuration";
    server.answer(
        well_known,
        Answer::json(&json!({"issuer": format!("{https}/"), "jwks_uri": server.url})),
    );
    let case = Case {
        name: "https",
        toml: format!(
            "[[provider]]\nname = \"auth0\"\nkind = \"auth0\"\ndomain = \"{https}/\"\naudience = \"api\"\n"
        ),
        path: well_known.to_owned(),
        issuer: format!("{https}/"),
    };
    let status = first_fetch(&case).await;
    assert!(status.last_error.unwrap().contains("no complete answer"));
    assert_eq!(server.requests(&case.path), 0);
}

/// An external (CIAM) directory has two pinned hosts; its document may name either, and no third.
#[tokio::test]
async fn a_document_may_name_any_of_the_pinned_hosts() {
    let server = Server::start().await;
    let port = server.url.rsplit(':').next().unwrap();
    let endpoints = Endpoints {
        source: KeySource::Discovery {
            url: format!("{}/d", server.url),
            issuer: "https://guid.ciamlogin.com/guid/v2.0".to_owned(),
        },
        pinned: vec![format!("127.0.0.1:{port}"), format!("localhost:{port}")],
    };
    server.answer("/keys", Answer::json(&json!({"keys": [signer(0).jwk()]})));
    let downloader = Downloader::new(&[], Duration::from_secs(3));
    for (host, is_pinned) in [("127.0.0.1", true), ("localhost", true), ("[::1]", false)] {
        let keys = format!("http://{host}:{port}/keys");
        let document = json!({"issuer": "https://guid.ciamlogin.com/guid/v2.0", "jwks_uri": keys});
        server.answer("/d", Answer::json(&document));
        let located = downloader.locate(&endpoints).await.unwrap();
        assert_eq!(located, keys);
        let fetched = downloader.get(&located, &endpoints.pinned).await;
        assert_eq!(fetched.is_ok(), is_pinned, "{host}: {fetched:?}");
    }
}
