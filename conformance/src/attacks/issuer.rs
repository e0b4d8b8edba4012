//! Who issued it and for whom: iss, aud; and the claims that RFC 7519 gives a type.

use serde_json::{Value, json};

use super::{Base, Row, Table};
use crate::tokens::{self, API, AUD_PERIMETER, AUD_TEAM, AUD_TENANT, CLIENT, TID};

pub(super) fn add(table: &mut Table<'_>) {
    table.row = Row::TimesIssuerAudience;
    for base in table.bases() {
        for (claim, rule) in [("sub", "sub"), ("jti", "jti")] {
            table.claim(
                rule,
                &base,
                claim,
                &[json!(1), json!([]), json!({}), json!(null), json!(true)],
            );
        }
        issuers(table, &base);
        audiences(table, &base);
    }
    let base = table.base("Auth0", tokens::auth0);
    let userinfo = "https://example.eu.auth0.com/userinfo";
    for (attack, value) in [
        ("userinfo alone", json!(userinfo)),
        ("userinfo alone in an array", json!([userinfo])),
        ("userinfo twice", json!([API, userinfo, userinfo])),
        (
            "another tenant's userinfo",
            json!([API, "https://rfc.us.auth0.com/userinfo"]),
        ),
        ("userinfo with a slash more", json!([API, format!("{userinfo}/")])),
        ("two of ours", json!([API, "https://operators.alphaswarm.ai"])),
        (
            "Auth0's management API",
            json!("https://example.eu.auth0.com/api/v2/"),
        ),
        (
            "Auth0's management API beside ours",
            json!([API, "https://example.eu.auth0.com/api/v2/"]),
        ),
        ("the client's id", json!("client-1")),
    ] {
        table.add(
            &format!("aud is {attack}"),
            "aud",
            &base,
            &base.draft().with("aud", value),
        );
    }
    let base = table.base("Entra v2", tokens::entra_v2);
    for (attack, value) in [
        ("ours in an array", json!(["api://alphaswarm"])),
        ("the calling client", json!(CLIENT)),
        ("Microsoft Graph", json!("https://graph.microsoft.com")),
        (
            "Microsoft Graph's id",
            json!("00000003-0000-0000-c000-000000000000"),
        ),
        ("Azure Resource Manager", json!("https://management.azure.com/")),
        (
            "ours behind api://",
            json!(format!("api://{}", tokens::APPLICATION)),
        ),
        ("the directory", json!(TID)),
    ] {
        table.add(
            &format!("aud is {attack}"),
            "aud",
            &base,
            &base.draft().with("aud", value),
        );
    }
    let base = table.base("Access user", tokens::access_user);
    for (attack, value) in [
        ("two of ours", json!([AUD_TENANT, AUD_PERIMETER])),
        ("another application of the account", json!(["4".repeat(64)])),
        ("another account's application", json!([AUD_TEAM])),
        ("cut short", json!([&AUD_TENANT[..63]])),
        ("the prefix of an AUD tag", json!([&AUD_TENANT[..8]])),
    ] {
        table.add(
            &format!("aud is {attack} at Access"),
            "aud",
            &base,
            &base.draft().with("aud", value),
        );
    }
}

fn issuers(table: &mut Table<'_>, base: &Base) {
    let issuer = base.draft.claims["iss"].as_str().unwrap().to_owned();
    let host_end = issuer.find('/').unwrap() + 2 + issuer[8..].find('/').unwrap_or(issuer.len() - 8);
    let (host, path) = issuer.split_at(host_end.min(issuer.len()));
    let toggled = issuer
        .strip_suffix('/')
        .map_or_else(|| format!("{issuer}/"), str::to_owned);
    for (attack, value) in [
        ("with the trailing slash toggled", json!(toggled)),
        ("with two slashes more", json!(format!("{issuer}//"))),
        ("in capitals", json!(issuer.to_uppercase())),
        (
            "with its scheme in capitals",
            json!(issuer.replace("https", "HTTPS")),
        ),
        ("in an array", json!([issuer])),
        (
            "in an array beside another",
            json!(["https://evil.example", issuer]),
        ),
        ("in an object", json!({"iss": issuer})),
        ("with a space after", json!(format!("{issuer} "))),
        ("with a space before", json!(format!(" {issuer}"))),
        ("with a newline after", json!(format!("{issuer}\n"))),
        ("with a fragment", json!(format!("{issuer}#"))),
        ("with a query", json!(format!("{issuer}?"))),
        ("with NUL after", json!(format!("{issuer}\0"))),
        ("over http", json!(issuer.replace("https", "http"))),
        ("without its scheme", json!(issuer.replace("https://", ""))),
        ("with a scheme alone before", json!(issuer.replace("https:", ""))),
        (
            "behind another's host",
            json!(format!("https://evil.example/{issuer}")),
        ),
        (
            "with a user name",
            json!(issuer.replace("https://", "https://user@")),
        ),
        ("as a user name", json!(format!("{host}@evil.example{path}"))),
        (
            "under another's domain",
            json!(format!("{host}.evil.example{path}")),
        ),
        ("with a port", json!(format!("{host}:443{path}"))),
        ("with a dot after the host", json!(format!("{host}.{path}"))),
        ("with a dot segment", json!(format!("{host}/.{path}"))),
        ("with a backslash", json!(format!("{host}\\{path}"))),
        ("with an escape", json!(issuer.replace('.', "%2e"))),
        (
            "with a letter that looks alike",
            json!(issuer.replace('o', "\u{43e}")),
        ),
        ("twice", json!(format!("{issuer}{issuer}"))),
        (
            "comma-joined with another",
            json!(format!("{issuer},https://evil.example")),
        ),
    ] {
        table.add(
            &format!("iss {attack}"),
            "iss",
            base,
            &base.draft().with("iss", value),
        );
    }
    let canary = json!(table.setting.canary);
    let bad = base.draft().with("iss", canary);
    table.add("iss names a server of the attacker's", "iss", base, &bad);
    let plain = [
        json!(null),
        json!(1),
        json!(true),
        json!(""),
        json!({}),
        json!([]),
    ];
    table.claim("iss", base, "iss", &plain);
    table.missing("iss", base, "iss");
}

fn audiences(table: &mut Table<'_>, base: &Base) {
    let ours = match &base.draft.claims["aud"] {
        Value::Array(list) => list[0].clone(),
        text => text.clone(),
    };
    let text = ours.as_str().unwrap();
    let evil = "https://evil.example";
    for (attack, value) in [
        ("another's", json!(evil)),
        ("ours and another's", json!([ours, evil])),
        ("another's and ours", json!([evil, ours])),
        ("ours twice", json!([ours, ours])),
        ("ours in two arrays", json!([[ours]])),
        ("ours in an object", json!({"aud": ours})),
        ("ours as a name", json!({ text: true })),
        ("ours and null", json!([ours, null])),
        ("ours and a number", json!([ours, 1])),
        ("ours and nothing", json!([ours, ""])),
        ("ours in capitals", json!(text.to_uppercase() + "X")),
        ("ours with a slash more", json!(format!("{text}/"))),
        ("ours with a space after", json!(format!("{text} "))),
        ("ours with NUL after", json!(format!("{text}\0"))),
        (
            "ours comma-joined with another's",
            json!(format!("{text},{evil}")),
        ),
        (
            "ours space-joined with another's",
            json!(format!("{text} {evil}")),
        ),
        ("ours as a prefix", json!(format!("{text}.evil.example"))),
        ("ours as a suffix", json!(format!("evil.{text}"))),
        ("a wildcard", json!("*")),
        ("a wildcard in an array", json!(["*"])),
        ("a list of hundreds with ours", {
            let mut many: Vec<String> = (0..300).map(|n| format!("urn:{n}")).collect();
            many.push(text.to_owned());
            json!(many)
        }),
    ] {
        table.add(
            &format!("aud is {attack}"),
            "aud",
            base,
            &base.draft().with("aud", value),
        );
    }
    let plain = [
        json!(""),
        json!(null),
        json!(1),
        json!(true),
        json!({}),
        json!([]),
        json!([1]),
        json!([null]),
    ];
    table.claim("aud", base, "aud", &plain);
    table.missing("aud", base, "aud");
}
