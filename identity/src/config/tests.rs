mod discovery;

use super::*;
use crate::testing::{PROVIDERS, TID};

fn check(toml: &str, expect: &[&str]) {
    let errors = IdentityConfig::parse(toml).map(|_| ()).unwrap_err();
    assert_eq!(errors.lines().len(), expect.len(), "{errors}");
    for (line, part) in errors.lines().iter().zip(expect) {
        assert!(line.contains(part), "{line:?} does not say {part:?}");
    }
}

fn entra(settings: &str) -> String {
    format!("[[provider]]\nname = \"entra\"\nkind = \"entra\"\naudiences = [\"api://a\"]\n{settings}\n")
}

fn auth0(settings: &str) -> String {
    format!("[[provider]]\nname = \"auth0\"\nkind = \"auth0\"\naudience = \"https://api\"\n{settings}\n")
}

/// What a new user pastes.
#[test]
fn the_readme_shows_a_good_file() {
    let readme = include_str!("../../../README.md");
    let (_, rest) = readme.split_once("```toml\n").unwrap();
    let (file, _) = rest.split_once("```").unwrap();
    let file = file.replace("<the application's AUD tag>", &"0123456789abcdef".repeat(4));
    let config = IdentityConfig::parse(&file).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.providers.len(), 3);
}

#[test]
fn good_files() {
    let config = IdentityConfig::parse(&PROVIDERS).unwrap();
    let names: Vec<_> = config
        .providers
        .iter()
        .map(|provider| (provider.id().as_str(), provider.kind()))
        .collect();
    assert_eq!(
        names,
        [
            ("entra", ProviderKind::Entra),
            ("auth0", ProviderKind::Auth0),
            ("auth0-rfc", ProviderKind::Auth0),
            ("access", ProviderKind::CloudflareAccess),
            ("gov", ProviderKind::Entra),
            ("china", ProviderKind::Entra),
            ("ciam", ProviderKind::Entra),
            ("auth0-custom", ProviderKind::Auth0),
            ("auth0-pss", ProviderKind::Auth0),
            ("auth0-ecdsa", ProviderKind::Auth0),
            ("team", ProviderKind::CloudflareAccess),
        ]
    );
    assert!(IdentityConfig::parse("").unwrap().providers.is_empty());
}

#[test]
fn every_mistake_is_reported_at_once_with_its_provider() {
    check(
        r#"
        [[provider]]
        name = "Entra!"
        kind = "entra"
        authority = "http://login.microsoftonline.com"
        audiences = []
        leeway_seconds = 1000
        [[provider]]
        name = "auth0"
        kind = "auth0"
        domain = "https://x.auth0.com"
        team = "https://y"
        [[provider]]
        name = "access"
        kind = "cloudflare-access"
        team = "https://x.cloudflareaccess.com/"
        [[provider.application]]
        aud = "short"
        use = "tenant"
        [[provider]]
        name = "typo"
        kind = "auth0"
        domian = "https://x.auth0.com/"
        "#,
        &[
            "provider \"Entra!\": name: \"Entra!\" is not an id",
            "provider \"Entra!\": leeway_seconds",
            "provider \"Entra!\": authority = \"http://login.microsoftonline.com\": http is allowed to loopback only",
            "provider \"Entra!\": tenants",
            "provider \"Entra!\": audiences",
            "provider \"auth0\": team is no setting of kind auth0",
            "provider \"auth0\": domain: write the issuer with its trailing slash",
            "provider \"auth0\": audiences",
            "provider \"access\": team = \"https://x.cloudflareaccess.com/\": write it without the trailing slash",
            "provider \"access\": application: aud \"short\"",
            "provider \"typo\": unknown field `domian`",
        ],
    );
}

#[test]
fn single_mistakes() {
    check("provider = 1", &["invalid type"]);
    check("[provider", &["provider"]);
    check(
        "[[provider]]\nkind = \"entra\"",
        &["provider 1: missing field `name`"],
    );
    check(
        "[[provider]]\nname = \"xx\"\nkind = \"okta\"",
        &["unknown variant `okta`"],
    );
    check(&entra("tenants = \"all\""), &["tenants: say \"any\""]);
    check(&entra("tenants = []"), &["tenants: say \"any\""]);
    check(
        &entra("tenants = [\"AAAAAAAA-0000-4000-8000-000000000001\"]"),
        &["no directory GUID in lower case"],
    );
    check(
        &entra("tenants = \"any\"\nlinks_from = [\"tid\", \"client_id\"]"),
        &["client_id needs a list of tenants"],
    );
    check(
        &entra("tenants = \"any\"\nlinks_from = [\"org_id\"]"),
        &["kind entra has no org_id", "tid must be among them"],
    );
    check(
        &entra("tenants = \"any\"\nversions = []"),
        &["name v1, v2 or both"],
    );
    check(
        &entra("tenants = \"any\"\nalgorithm = \"EdDSA\""),
        &["use RS256, PS256 or ES256"],
    );
    check(
        &entra("tenants = \"any\"\nalgorithm = \"HS256\""),
        &["unknown variant `HS256`"],
    );
    check(
        &entra("tenants = \"any\"\nauthority = \"https://x.ciamlogin.com\""),
        &["belongs to one directory"],
    );
    check(
        &entra("tenants = \"any\"\nmax_lifetime_seconds = 0"),
        &["max_lifetime_seconds"],
    );
    check(
        &entra("tenants = \"any\"\njwks_uri = \"http://keys.example/\""),
        &["http is allowed to loopback only"],
    );
    check(
        &entra("tenants = \"any\"\nauthority = \"https://Login.example\""),
        &["lower case"],
    );
    check(
        &entra("tenants = \"any\"\nauthority = \"https://u@login.example\""),
        &["user name"],
    );
    check(
        &entra("tenants = \"any\"\nauthority = \"https://login.example?x=1\""),
        &["query"],
    );
    check(
        &entra("tenants = \"any\"\nauthority = \"ftp://login.example\""),
        &["use https"],
    );
    check(
        &auth0("domain = \"https://x.auth0.com/\"\ntenant_claims = [\"a\", \"b\"]"),
        &["at most one claim besides org_id"],
    );
    check(
        &auth0("domain = \"https://x.auth0.com/\"\ntenant_claims = [\"org_name\"]"),
        &["use org_id"],
    );
    check(
        &auth0("domain = \"https://x.auth0.com/\"\nstep_up = { claim = \"\", values = [] }"),
        &["step_up"],
    );
    check(
        &auth0("domain = \"https://169.254.169.254/\""),
        &["no provider has this address"],
    );
    check(
        &auth0("domain = \"https://x.auth0.com/\"\njwks_uri = \"https://2852039166/keys\""),
        &["four decimal numbers"],
    );
    check(
        &auth0("domain = \"https://x.auth0.com/\"\nprofile = \"oidc\""),
        &["unknown variant `oidc`"],
    );
    check(
        "[[provider]]\nname = \"cf\"\nkind = \"cloudflare-access\"\nteam = \"https://x.cloudflareaccess.com\"",
        &["at least one [[provider.application]]"],
    );
}

#[test]
fn only_loopback_may_be_http() {
    for host in ["127.0.0.1:8190", "[::1]:80", "localhost:1"] {
        IdentityConfig::parse(&auth0(&format!("domain = \"http://{host}/\""))).unwrap();
    }
    for host in ["127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1"] {
        check(
            &auth0(&format!("domain = \"http://{host}/\"")),
            &["http is allowed to loopback only"],
        );
    }
}

#[test]
fn no_issuer_has_two_providers() {
    let second = |text: String| text.replacen("name = \"", "name = \"second-", 1);
    let auth0 = || auth0("domain = \"https://x.auth0.com/\"");
    check(&format!("{}{}", auth0(), auth0()), &["the name is used twice"]);
    check(
        &format!("{}{}", auth0(), second(auth0())),
        &["\"auth0\" and \"second-auth0\" share an issuer"],
    );
    let any = || entra("tenants = \"any\"");
    let one = |tid: &str| entra(&format!("tenants = [\"{tid}\"]"));
    check(&format!("{}{}", any(), second(any())), &["share an issuer"]);
    check(&format!("{}{}", any(), second(one(TID))), &["share an issuer"]);
    check(&format!("{}{}", one(TID), second(one(TID))), &["share an issuer"]);
    IdentityConfig::parse(&format!("{}{}", one(TID), second(one(crate::testing::OTHER_TID)))).unwrap();
}

fn access(settings: &str) -> String {
    format!(
        "[[provider]]\nname = \"access\"\nkind = \"cloudflare-access\"\nteam = \"https://x.cloudflareaccess.com\"\n{settings}\n\
         [[provider.application]]\naud = \"{}\"\nuse = \"tenant\"\n",
        "1".repeat(64)
    )
}

#[test]
fn scopes_from_names_a_claim_of_access_only() {
    for good in [
        "groups",
        "https://x.example/groups",
        "custom.groups",
        "custom.https://x.y/z",
        "customs",
    ] {
        assert!(
            IdentityConfig::parse(&access(&format!("scopes_from = \"{good}\""))).is_ok(),
            "{good}"
        );
    }
    for bad in ["", "custom", "custom."] {
        check(
            &access(&format!("scopes_from = \"{bad}\"")),
            &["scopes_from: name a claim"],
        );
    }
    check(
        &entra("tenants = \"any\"\nscopes_from = \"groups\""),
        &["scopes_from is no setting of kind entra"],
    );
}

#[test]
fn what_a_weak_sign_in_is_told() {
    use base64::Engine as _;
    let challenge = |toml: &str| {
        let provider = IdentityConfig::parse(toml).unwrap().providers.remove(0);
        Arc::unwrap_or_clone(provider.challenge)
    };
    let decoded = |claims: &str| {
        let bytes = base64::prelude::BASE64_STANDARD.decode(claims).unwrap();
        serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()
    };
    let by_claims = |settings: &str| {
        let claims = challenge(&entra(settings)).claims.unwrap();
        let asked = decoded(&claims.claims)["access_token"]["acrs"].clone();
        assert_eq!(asked["essential"], true);
        (
            claims.realm,
            claims.authorization_uri,
            asked["value"].as_str().unwrap().to_owned(),
        )
    };
    let told = |realm: &str, uri: &str, value: &str| (realm.to_owned(), uri.to_owned(), value.to_owned());
    assert_eq!(
        by_claims("tenants = \"any\""),
        told(
            "",
            "https://login.microsoftonline.com/common/oauth2/authorize",
            "c1"
        )
    );
    // Microsoft's own example, to the byte.
    assert_eq!(
        challenge(&entra("tenants = \"any\"")).claims.unwrap().claims,
        "eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzEifX19"
    );
    assert_eq!(
        by_claims(&format!(
            "tenants = [\"{TID}\"]\nauthority = \"https://login.microsoftonline.us\"\n\
             step_up = {{ claim = \"acrs\", values = [\"c25\", \"c3\"] }}"
        )),
        told(
            TID,
            &format!("https://login.microsoftonline.us/{TID}/oauth2/authorize"),
            "c25"
        )
    );
    assert_eq!(
        by_claims(&format!(
            "tenants = [\"{TID}\"]\nauthority = \"https://contoso.ciamlogin.com\""
        )),
        told(
            TID,
            &format!("https://{TID}.ciamlogin.com/{TID}/oauth2/v2.0/authorize"),
            "c1"
        )
    );
    let other = challenge(&entra(
        "tenants = \"any\"\nstep_up = { claim = \"acr\", values = [\"x\"], acr_values = \"urn:x urn:y\" }",
    ));
    assert_eq!((other.claims, other.acr_values.as_str()), (None, "urn:x urn:y"));
    let auth0 = challenge(&auth0("domain = \"https://x.auth0.com/\""));
    assert_eq!((auth0.claims, auth0.acr_values.as_str()), (None, "high"));
    for bad in ["", "a\\\"b", "ä"] {
        check(
            &entra(&format!(
                "tenants = \"any\"\nstep_up = {{ claim = \"acrs\", values = [\"c1\"], acr_values = \"{bad}\" }}"
            )),
            &["step_up: acr_values are words"],
        );
    }
    check(
        &entra("tenants = \"any\"\nstep_up = { claim = \"acrs\", values = [\"\"] }"),
        &["step_up: name a claim"],
    );
}
