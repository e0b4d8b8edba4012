//! The JOSE header.

use serde_json::json;

use super::*;

#[test]
fn header() {
    let mut table = Table::default();
    for twin in bases() {
        for alg in [
            "none", "None", "NONE", "nOnE", "HS256", "HS384", "HS512", "RS384", "RS512", "PS256", "ES256",
            "EdDSA", "rs256", "RS256 ", "RSA-OAEP", "dir",
        ] {
            table.add(
                &format!("alg {alg}"),
                Rule::Alg,
                &twin,
                twin.clone().header("alg", alg),
            );
        }
        for alg in [
            json!(""),
            json!(null),
            json!(256),
            json!(["RS256"]),
            json!({"RS256": 1}),
            json!("R".repeat(300)),
        ] {
            table.add(
                &format!("alg {alg:.20}"),
                Rule::Alg,
                &twin,
                twin.clone().header("alg", alg),
            );
        }
        table.add(
            "alg is missing",
            Rule::Alg,
            &twin,
            twin.clone().without_header("alg"),
        );
        for (name, value) in [
            ("crit", json!(["exp"])),
            ("crit", json!([])),
            ("b64", json!(false)),
            ("b64", json!(true)),
            ("zip", json!("DEF")),
            ("enc", json!("A128GCM")),
            ("cty", json!("JWT")),
            ("nonce", json!("n")),
            ("jku", json!("http://127.0.0.1:9/keys")),
            ("x5u", json!("http://127.0.0.1:9/cert")),
            ("x5c", json!(["MIIB"])),
            ("jwk", stranger().jwk()),
            ("x5t#S256", json!("x")),
            ("p2c", json!(1)),
            ("epk", json!({})),
            ("iss", json!("x")),
            ("url", json!("x")),
            ("", json!("x")),
            ("Kid", json!("x")),
            ("alg ", json!("RS256")),
            ("tenant", json!("acme")),
        ] {
            let name = format!("header {name:?} = {value:.40}");
            let member = name.split('"').nth(1).unwrap().to_owned();
            table.add(
                &name,
                Rule::HeaderMember,
                &twin,
                twin.clone().header(&member, value),
            );
        }
        for kid in [
            json!(""),
            json!(null),
            json!(1),
            json!(["entra-1"]),
            json!({"kid": 1}),
            json!(true),
            json!("k".repeat(257)),
            json!("k".repeat(10_000)),
        ] {
            table.add(
                &format!("kid {kid:.20}"),
                Rule::Kid,
                &twin,
                twin.clone().header("kid", kid),
            );
        }
        table.add(
            "kid is missing",
            Rule::Kid,
            &twin,
            twin.clone().without_header("kid"),
        );
        for kid in [
            "../../dev/null",
            "' OR 1=1 --",
            "a\0b",
            "stranger",
            "ENTRA-1",
            "entra-1 ",
            "\u{202e}",
            "*",
            "entra-1\n",
            "http://127.0.0.1:9/",
            "%00",
        ] {
            table.add(
                &format!("kid {kid:?}"),
                Rule::UnknownKid,
                &twin,
                twin.clone().header("kid", kid),
            );
        }
        for typ in [
            "jwt",
            "logout+jwt",
            "id_token+jwt",
            "dpop+jwt",
            "JWS",
            "JOSE",
            "JWT ",
            "alphaswarm-assertion+jwt",
            "secevent+jwt",
            "application/jwt",
        ] {
            table.add(
                &format!("typ {typ}"),
                Rule::Typ,
                &twin,
                twin.clone().header("typ", typ),
            );
        }
        for typ in [json!(""), json!(null), json!(1), json!(["JWT"])] {
            table.add(
                &format!("typ {typ}"),
                Rule::Typ,
                &twin,
                twin.clone().header("typ", typ),
            );
        }
        for x5t in [json!(""), json!(1), json!(["x"]), json!("x".repeat(65))] {
            table.add(
                &format!("x5t {x5t:.20}"),
                Rule::X5t,
                &twin,
                twin.clone().header("x5t", x5t),
            );
        }
    }
    let twin = auth0();
    table.add(
        "at+jwt where JWT is pinned",
        Rule::Typ,
        &twin,
        twin.clone().header("typ", "at+jwt"),
    );
    table.add(
        "no typ where JWT is pinned",
        Rule::Typ,
        &twin,
        twin.clone().without_header("typ"),
    );
    let twin = auth0_rfc();
    table.add(
        "JWT where at+jwt is pinned",
        Rule::Typ,
        &twin,
        twin.clone().header("typ", "JWT"),
    );
    table.check(&identity());
}

#[test]
fn header_text() {
    let mut table = Table::default();
    let twin = entra_v2();
    let claims = twin.claims.to_string();
    let deep = format!("{}{}", r#"{"alg":"#.repeat(20), "}".repeat(20));
    for (name, rule, header) in [
        ("not JSON", Rule::HeaderJson, "{"),
        ("an array", Rule::HeaderJson, r#"["RS256"]"#),
        ("a string", Rule::HeaderJson, r#""RS256""#),
        ("null", Rule::HeaderJson, "null"),
        (
            "two objects",
            Rule::HeaderJson,
            r#"{"alg":"RS256","kid":"entra-1","typ":"JWT"}{}"#,
        ),
        ("nested", Rule::HeaderJson, deep.as_str()),
        (
            "byte order mark",
            Rule::HeaderJson,
            "\u{feff}{\"alg\":\"RS256\",\"kid\":\"entra-1\",\"typ\":\"JWT\"}",
        ),
        (
            "alg twice",
            Rule::HeaderDuplicate,
            r#"{"alg":"none","alg":"RS256","kid":"entra-1","typ":"JWT"}"#,
        ),
        (
            "kid twice",
            Rule::HeaderDuplicate,
            r#"{"alg":"RS256","kid":"entra-1","kid":"entra-1","typ":"JWT"}"#,
        ),
        (
            "alg escaped twice",
            Rule::HeaderDuplicate,
            r#"{"\u0061lg":"none","alg":"RS256","kid":"entra-1","typ":"JWT"}"#,
        ),
        (
            "crit escaped",
            Rule::HeaderMember,
            r#"{"\u0063rit":["exp"],"alg":"RS256","kid":"entra-1","typ":"JWT"}"#,
        ),
    ] {
        table.raw(name, rule, &twin, twin.signer.sign(header, &claims));
    }
    table.check(&identity());
}
