//! Where each provider's documents are, which issuer its discovery document must state, and which hosts may be asked.
//! Everything follows from the configuration; nothing from a token.

use super::*;

const OTHER: &str = "0a1b2c3d-2222-4b22-8b22-bcbcbcbcbcbc";

struct Row {
    what: &'static str,
    toml: String,
    /// The document that is fetched first.
    url: String,
    /// The issuer that it must state; absent where it is the key set itself.
    issuer: Option<String>,
    /// The hosts that may be asked.
    pins: Vec<String>,
    /// Issuers of tokens that are this provider's.
    speaks_for: Vec<String>,
    /// Issuers that look like it and are not.
    not_for: Vec<String>,
}

fn discovered(what: &'static str, toml: String, at: &str, issuer: &str, pins: &[&str]) -> Row {
    Row {
        what,
        toml,
        url: format!("{at}/.well-known/openid-configuration"),
        issuer: Some(issuer.to_owned()),
        pins: pins.iter().map(|pin| (*pin).to_owned()).collect(),
        speaks_for: Vec::new(),
        not_for: Vec::new(),
    }
}

impl Row {
    fn tokens(mut self, speaks_for: &[String], not_for: &[String]) -> Self {
        self.speaks_for = speaks_for.to_vec();
        self.not_for = not_for.to_vec();
        self
    }
}

/// An Entra cloud: its authority and the host of its v1 issuers.
fn cloud(name: [&'static str; 3], authority: &str, sts: &str, others: &[&str]) -> [Row; 3] {
    let host = authority.trim_start_matches("https://");
    let v1 = |tid: &str| format!("{sts}/{tid}/");
    let v2 = |tid: &str| format!("{authority}/{tid}/v2.0");
    let settings = |tenants: &str| entra(&format!("authority = \"{authority}\"\ntenants = {tenants}"));
    let foreign: Vec<String> = others
        .iter()
        .flat_map(|other| [format!("{other}/{TID}/v2.0"), format!("{other}/{TID}/")])
        .chain([
            format!("{authority}/{TID}/v2.0/"),
            format!("{authority}/{TID}"),
            format!("{sts}/{TID}"),
            format!("{authority}/common/v2.0"),
            format!("{authority}/{{tenantid}}/v2.0"),
        ])
        .collect();
    let [any, one, two] = name;
    let template = format!("{authority}/{{tenantid}}/v2.0");
    let common = format!("{authority}/common/v2.0");
    [
        discovered(any, settings("\"any\""), &common, &template, &[host])
            .tokens(&[v1(TID), v2(TID), v1(OTHER), v2(OTHER)], &foreign),
        discovered(
            one,
            settings(&format!("[\"{TID}\"]")),
            &format!("{authority}/{TID}/v2.0"),
            &v2(TID),
            &[host],
        )
        .tokens(
            &[v1(TID), v2(TID)],
            &[foreign.clone(), vec![v1(OTHER), v2(OTHER)]].concat(),
        ),
        discovered(
            two,
            settings(&format!("[\"{TID}\", \"{OTHER}\"]")),
            &common,
            &template,
            &[host],
        )
        .tokens(&[v1(TID), v2(TID), v1(OTHER), v2(OTHER)], &foreign),
    ]
}

fn rows() -> Vec<Row> {
    const PUBLIC: &str = "https://login.microsoftonline.com";
    const US: &str = "https://login.microsoftonline.us";
    const CHINA: &str = "https://login.partner.microsoftonline.cn";
    let mut rows = Vec::new();
    rows.extend(cloud(
        [
            "Entra, any directory",
            "Entra, one directory",
            "Entra, two directories",
        ],
        PUBLIC,
        "https://sts.windows.net",
        &[US, CHINA, "https://sts.chinacloudapi.cn"],
    ));
    rows.extend(cloud(
        ["US Gov, any", "US Gov, one", "US Gov, two"],
        US,
        "https://sts.windows.net",
        &[PUBLIC, CHINA, "https://sts.chinacloudapi.cn"],
    ));
    rows.extend(cloud(
        ["China, any", "China, one", "China, two"],
        CHINA,
        "https://sts.chinacloudapi.cn",
        &[PUBLIC, US, "https://sts.windows.net"],
    ));
    // One version only. The v2 document serves both: it names the issuer that each key signs for, the v1 one does not.
    let template = format!("{PUBLIC}/{{tenantid}}/v2.0");
    let common = format!("{PUBLIC}/common/v2.0");
    let (v1, v2) = (
        format!("https://sts.windows.net/{TID}/"),
        format!("{PUBLIC}/{TID}/v2.0"),
    );
    let pin: &[&str] = &["login.microsoftonline.com"];
    let only = |version: &str| entra(&format!("tenants = \"any\"\nversions = [\"{version}\"]"));
    rows.push(
        discovered("Entra, v1 only", only("v1"), &common, &template, pin)
            .tokens(std::slice::from_ref(&v1), std::slice::from_ref(&v2)),
    );
    rows.push(discovered("Entra, v2 only", only("v2"), &common, &template, pin).tokens(&[v2], &[v1]));
    // An external directory is asked under its name and signs under its GUID.
    rows.push(
        discovered(
            "Entra External ID (CIAM)",
            entra(&format!(
                "authority = \"https://contoso.ciamlogin.com\"\ntenants = [\"{TID}\"]"
            )),
            &format!("https://contoso.ciamlogin.com/{TID}/v2.0"),
            &format!("https://{TID}.ciamlogin.com/{TID}/v2.0"),
            &["contoso.ciamlogin.com", &format!("{TID}.ciamlogin.com")],
        )
        .tokens(
            &[format!("https://{TID}.ciamlogin.com/{TID}/v2.0")],
            &[
                format!("https://contoso.ciamlogin.com/{TID}/v2.0"),
                format!("https://{OTHER}.ciamlogin.com/{OTHER}/v2.0"),
                format!("https://{OTHER}.ciamlogin.com/{TID}/v2.0"),
                format!("{PUBLIC}/{TID}/v2.0"),
            ],
        ),
    );
    for (what, host) in [
        ("Auth0, canonical domain", "example.eu.auth0.com"),
        ("Auth0, custom domain", "login.example.com"),
        ("Auth0, another port", "login.example.com:8443"),
    ] {
        rows.push(
            discovered(
                what,
                auth0(&format!("domain = \"https://{host}/\"")),
                &format!("https://{host}"),
                &format!("https://{host}/"),
                &[host],
            )
            .tokens(
                &[format!("https://{host}/")],
                &[
                    format!("https://{host}"),
                    format!("https://{host}//"),
                    format!("http://{host}/"),
                    "https://EXAMPLE.eu.auth0.com/".to_owned(),
                    "https://other.eu.auth0.com/".to_owned(),
                ],
            ),
        );
    }
    for (what, team) in [
        ("Access", "example.cloudflareaccess.com"),
        ("Access for Government", "example.cloudflareaccess-gov.com"),
        ("Access, custom domain", "access.example.com"),
    ] {
        rows.push(Row {
            what,
            toml: format!(
                "[[provider]]\nname = \"access\"\nkind = \"cloudflare-access\"\nteam = \"https://{team}\"\n\
                 [[provider.application]]\naud = \"{}\"\nuse = \"tenant\"\n",
                "a".repeat(64)
            ),
            url: format!("https://{team}/cdn-cgi/access/certs"),
            issuer: None,
            pins: vec![team.to_owned()],
            speaks_for: vec![format!("https://{team}")],
            not_for: vec![
                format!("https://{team}/"),
                "https://other.cloudflareaccess.com".to_owned(),
            ],
        });
    }
    rows
}

#[test]
fn every_provider_has_its_documents_its_issuer_and_its_hosts() {
    for row in rows() {
        let provider = IdentityConfig::parse(&row.toml)
            .unwrap_or_else(|error| panic!("{}: {error}", row.what))
            .providers
            .remove(0);
        let source = match row.issuer {
            Some(issuer) => KeySource::Discovery { url: row.url, issuer },
            None => KeySource::Jwks(row.url),
        };
        assert_eq!(provider.endpoints.source, source, "{}", row.what);
        assert_eq!(provider.endpoints.pinned, row.pins, "{}", row.what);
        for issuer in row.speaks_for {
            assert!(provider.profile.speaks_for(&issuer), "{}: {issuer}", row.what);
        }
        for issuer in row.not_for {
            assert!(!provider.profile.speaks_for(&issuer), "{}: {issuer}", row.what);
        }
    }
}

#[test]
fn a_configured_key_set_needs_no_discovery_and_pins_its_own_host() {
    for toml in [
        auth0("domain = \"https://x.auth0.com/\"\njwks_uri = \"https://keys.example/a?b=c\""),
        entra("tenants = \"any\"\njwks_uri = \"https://keys.example/a?b=c\""),
        entra(&format!(
            "authority = \"https://contoso.ciamlogin.com\"\ntenants = [\"{TID}\"]\njwks_uri = \"https://keys.example/a?b=c\""
        )),
    ] {
        let endpoints = IdentityConfig::parse(&toml)
            .unwrap()
            .providers
            .remove(0)
            .endpoints;
        assert_eq!(
            endpoints.source,
            KeySource::Jwks("https://keys.example/a?b=c".to_owned())
        );
        assert_eq!(endpoints.pinned, ["keys.example"]);
    }
}
