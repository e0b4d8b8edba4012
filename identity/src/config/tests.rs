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

#[test]
fn good_files() {
    let config = IdentityConfig::parse(PROVIDERS).unwrap();
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
        ]
    );
    assert!(IdentityConfig::parse("").unwrap().providers.is_empty());
}

#[test]
fn where_the_keys_are() {
    let source = |toml: &str| IdentityConfig::parse(toml).unwrap().providers.remove(0).endpoints;
    let discovery = |url: &str, issuer: &str| KeySource::Discovery {
        url: url.to_owned(),
        issuer: issuer.to_owned(),
    };
    let authority = "https://login.microsoftonline.com";
    assert_eq!(
        source(&entra("tenants = \"any\"")).source,
        discovery(
            &format!("{authority}/common/v2.0/.well-known/openid-configuration"),
            &format!("{authority}/{{tenantid}}/v2.0")
        )
    );
    assert_eq!(
        source(&entra(&format!("tenants = [\"{TID}\"]"))).source,
        discovery(
            &format!("{authority}/{TID}/v2.0/.well-known/openid-configuration"),
            &format!("{authority}/{TID}/v2.0")
        )
    );
    let ciam = source(&entra(&format!(
        "authority = \"https://contoso.ciamlogin.com\"\ntenants = [\"{TID}\"]"
    )));
    assert_eq!(
        ciam.source,
        discovery(
            &format!("https://contoso.ciamlogin.com/{TID}/v2.0/.well-known/openid-configuration"),
            &format!("https://{TID}.ciamlogin.com/{TID}/v2.0")
        )
    );
    assert_eq!(
        ciam.pinned,
        ["contoso.ciamlogin.com".to_owned(), format!("{TID}.ciamlogin.com")]
    );
    let auth0_keys = source(&auth0("domain = \"https://x.auth0.com/\""));
    assert_eq!(
        auth0_keys.source,
        discovery(
            "https://x.auth0.com/.well-known/openid-configuration",
            "https://x.auth0.com/"
        )
    );
    assert_eq!(auth0_keys.pinned, ["x.auth0.com"]);
    let configured = source(&auth0(
        "domain = \"https://x.auth0.com/\"\njwks_uri = \"https://keys.example/a?b=c\"",
    ));
    assert_eq!(
        configured.source,
        KeySource::Jwks("https://keys.example/a?b=c".to_owned())
    );
    assert_eq!(configured.pinned, ["keys.example"]);
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
    for host in [
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "10.0.0.1",
        "0.0.0.0",
    ] {
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
