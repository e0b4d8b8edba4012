//! Claims that every provider shares: times, issuer, audience.

use serde_json::json;

use super::*;

#[test]
fn times() {
    let mut table = Table::default();
    let wrong = [
        json!("1767229200"),
        json!(null),
        json!(true),
        json!([NOW + 60]),
        json!({}),
        json!(-1),
        json!(1.5),
        json!(1e300),
        json!(1e19),
        json!(u64::MAX),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(1_767_229_200_000_i64),
        json!(1.767_229_2e9),
    ];
    for twin in bases() {
        table.claim(Rule::ExpMissing, &twin, "exp", &wrong);
        table.claim(Rule::IssuedAt, &twin, "iat", &wrong);
        table.claim(Rule::NotBefore, &twin, "nbf", &wrong);
        table.claim(Rule::AuthTime, &twin, "auth_time", &wrong);
        table.missing(Rule::ExpMissing, &twin, "exp");
        table.missing(Rule::IssuedAt, &twin, "iat");
        table.claim(
            Rule::Expired,
            &twin,
            "exp",
            &[json!(0), json!(NOW - 3600), json!(NOW - 60)],
        );
        table.claim(
            Rule::IssuedAt,
            &twin,
            "iat",
            &[json!(NOW + 61), json!(NOW + 3000)],
        );
        table.claim(
            Rule::NotBefore,
            &twin,
            "nbf",
            &[json!(NOW + 61), json!(NOW + 3000)],
        );
        table.claim(
            Rule::Lifetime,
            &twin,
            "exp",
            &[
                json!(NOW + 40 * 86_400),
                json!(253_402_300_799_i64),
                json!(NOW + 29 * 3600),
            ],
        );
        table.claim(Rule::Lifetime, &twin, "iat", &[json!(0), json!(NOW - 30 * 3600)]);
        let before = twin.clone().with("iat", NOW + 50).with("exp", NOW + 50);
        table.add("exp = iat", Rule::Lifetime, &twin, before);
        for text in [
            "1767229200.0",
            "1767229200e0",
            "-0",
            "18446744073709551616",
            "1e400",
        ] {
            let rule = if text == "1e400" {
                Rule::PayloadJson
            } else {
                Rule::ExpMissing
            };
            let claims = twin
                .claims
                .to_string()
                .replace(&format!("\"exp\":{}", NOW + 3600), &format!("\"exp\":{text}"));
            table.raw(
                &format!("exp = {text}"),
                rule,
                &twin,
                twin.signer.sign(&twin.header.to_string(), &claims),
            );
        }
    }
    table.check(&identity());
}

#[test]
fn issuer_and_audience() {
    let mut table = Table::default();
    for twin in bases() {
        table.claim(
            Rule::Subject,
            &twin,
            "sub",
            &[json!(1), json!([]), json!({}), json!(null)],
        );
        table.claim(
            Rule::TokenId,
            &twin,
            "jti",
            &[json!(1), json!([]), json!({}), json!(null)],
        );
        let issuer = twin.claims["iss"].as_str().unwrap().to_owned();
        let toggled = issuer
            .strip_suffix('/')
            .map_or_else(|| format!("{issuer}/"), str::to_owned);
        table.claim(
            Rule::Issuer,
            &twin,
            "iss",
            &[
                json!(toggled),
                json!(issuer.to_uppercase()),
                json!([issuer]),
                json!({"iss": issuer}),
                json!(null),
                json!(1),
                json!(""),
                json!(format!("{issuer} ")),
                json!(format!("{issuer}#")),
                json!(format!("{issuer}\0")),
                json!(issuer.replace("https", "http")),
                json!(format!("https://evil.example/{issuer}")),
                json!(issuer.replace("https://", "https://user@")),
                json!(issuer.replacen(".com", ".com.evil.example", 1).replacen(
                    ".net",
                    ".net.evil.example",
                    1
                )),
            ],
        );
        table.missing(Rule::Issuer, &twin, "iss");
        let aud = match &twin.claims["aud"] {
            Value::Array(list) => list[0].clone(),
            text => text.clone(),
        };
        let text = aud.as_str().unwrap();
        table.claim(
            Rule::Audience,
            &twin,
            "aud",
            &[
                json!("https://evil.example"),
                json!(""),
                json!(null),
                json!(1),
                json!({}),
                json!([]),
                json!([1]),
                json!([aud, "https://evil.example"]),
                json!(["https://evil.example", aud]),
                json!([aud, aud]),
                json!([[aud]]),
                json!(text.to_uppercase() + "x"),
                json!(format!("{text}/")),
                json!(format!("{text} ")),
                json!([aud, null]),
            ],
        );
        table.missing(Rule::Audience, &twin, "aud");
    }
    let userinfo = "https://example.eu.auth0.com/userinfo";
    let api = "https://api.alphaswarm.ai";
    table.claim(
        Rule::Audience,
        &auth0(),
        "aud",
        &[
            json!(userinfo),
            json!([userinfo]),
            json!([api, userinfo, userinfo]),
            json!([api, "https://rfc.us.auth0.com/userinfo"]),
            json!([api, "https://operators.alphaswarm.ai"]),
        ],
    );
    table.claim(
        Rule::Audience,
        &entra_v2(),
        "aud",
        &[json!(["api://alphaswarm"]), json!(CLIENT)],
    );
    table.claim(
        Rule::Audience,
        &access_user(),
        "aud",
        &[json!([AUD_TENANT, AUD_PERIMETER])],
    );
    table.check(&identity());
}
