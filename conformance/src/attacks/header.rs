//! The JOSE header.

use serde_json::{Value, json};

use super::{Row, Table};
use crate::keys;
use crate::tokens;

pub(super) fn add(table: &mut Table<'_>) {
    for base in table.bases() {
        table.row = Row::Algorithm;
        let algorithms = [
            "none",
            "None",
            "NONE",
            "nOnE",
            "none ",
            "\u{0}none",
            "HS256",
            "HS384",
            "HS512",
            "hs256",
            "RS384",
            "RS512",
            "PS256",
            "PS384",
            "ES256",
            "ES256K",
            "EdDSA",
            "Ed25519",
            "rs256",
            "Rs256",
            "RS256 ",
            " RS256",
            "RS256\u{0}",
            "RS-256",
            "RSA",
            "SHA256withRSA",
            "RS256,none",
            "RSA-OAEP",
            "RSA1_5",
            "dir",
            "A256KW",
            "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
            "",
        ];
        table.member("alg", &base, "alg", &algorithms.map(Value::from));
        table.member(
            "alg",
            &base,
            "alg",
            &[
                json!(null),
                json!(256),
                json!(true),
                json!(["RS256"]),
                json!({"RS256": 1}),
                json!("R".repeat(300)),
            ],
        );
        table.add("no alg", "alg", &base, &base.draft().without_header("alg"));

        table.row = Row::HeaderMembers;
        let canary = &table.setting.canary.clone();
        for (name, value) in [
            ("crit", json!(["exp"])),
            ("crit", json!(["b64"])),
            ("crit", json!([])),
            ("crit", json!("exp")),
            ("crit", json!(null)),
            ("b64", json!(false)),
            ("b64", json!(true)),
            ("zip", json!("DEF")),
            ("enc", json!("A128GCM")),
            ("cty", json!("JWT")),
            ("cty", json!("at+jwt")),
            ("nonce", json!("n")),
            ("x5c", json!(["MIIB"])),
            ("jwk", keys::stranger().jwk()),
            ("x5t#S256", json!("x")),
            ("p2c", json!(1)),
            ("p2c", json!(2_000_000_000)),
            ("p2s", json!("x")),
            ("epk", json!({})),
            ("apu", json!("x")),
            ("iss", json!("x")),
            ("aud", json!("x")),
            ("exp", json!(1)),
            ("url", json!("x")),
            ("ppt", json!("x")),
            ("svt", json!("x")),
            ("trust_chain", json!([])),
            ("key_ops", json!(["verify"])),
            ("k", json!("x")),
            ("", json!("x")),
            ("Kid", json!("x")),
            ("KID", json!("x")),
            ("Alg", json!("none")),
            ("alg ", json!("RS256")),
            ("tenant", json!("acme")),
            ("__proto__", json!({"alg": "none"})),
        ] {
            table.member("header_member", &base, name, &[value]);
        }
        for name in ["jku", "x5u", "jwks_uri", "kid_url", "certificate_url"] {
            let attack = format!("header {name:?} names a server of the attacker's");
            let bad = base.draft().header(name, format!("{canary}/{name}"));
            table.add(&attack, "header_member", &base, &bad);
        }
        let forged = base
            .draft()
            .header("jwk", keys::stranger().jwk())
            .signed_by(keys::stranger());
        table.add(
            "signed by the key in its own header",
            "header_member",
            &base,
            &forged,
        );
        let forged = base
            .draft()
            .header("jku", format!("{canary}/keys"))
            .from_key(keys::stranger());
        table.add(
            "signed by a key of the attacker's server",
            "header_member",
            &base,
            &forged,
        );

        table.row = Row::KeyName;
        table.member(
            "kid",
            &base,
            "kid",
            &[
                json!(""),
                json!(null),
                json!(1),
                json!(1.5),
                json!([base.draft.signer.kid]),
                json!({"kid": 1}),
                json!(true),
                json!("k".repeat(257)),
                json!("k".repeat(10_000)),
            ],
        );
        table.add("no kid", "kid", &base, &base.draft().without_header("kid"));
        let known = base.draft.signer.kid;
        for kid in [
            "../../dev/null",
            "/dev/null",
            "..\\..\\windows\\win.ini",
            "file:///dev/null",
            "' OR 1=1 --",
            "x' UNION SELECT 'AAAA' --",
            "a\0b",
            "|/bin/true",
            "$(true)",
            "${jndi:ldap://127.0.0.1/a}",
            "{{7*7}}",
            "stranger",
            "\u{202e}",
            "*",
            "%00",
            "__proto__",
            "constructor",
            "null",
            "0",
            &"k".repeat(256),
            &format!("{}/keys/1", table.setting.canary.clone()),
        ] {
            let shown: String = kid.chars().take(30).collect();
            let shown = if kid.starts_with("http") {
                "a server of the attacker's".to_owned()
            } else {
                format!("{shown:?}")
            };
            let bad = base.draft().header("kid", kid);
            table.add(&format!("kid is {shown}"), "unknown_kid", &base, &bad);
        }
        for (attack, kid) in [
            ("kid in the other case", known.to_uppercase()),
            ("kid with a space after", format!("{known} ")),
            ("kid with a newline after", format!("{known}\n")),
            ("kid with NUL after", format!("{known}\0")),
            ("kid with a path before", format!("./{known}")),
            ("kid cut short", known[..known.len() - 1].to_owned()),
            ("kid of another provider", "pss-1".to_owned()),
            ("kid of our own assertions", "tenant-router".to_owned()),
        ] {
            table.add(attack, "unknown_kid", &base, &base.draft().header("kid", kid));
        }

        table.row = Row::OtherTokens;
        for typ in [
            "jwt",
            "logout+jwt",
            "id_token+jwt",
            "dpop+jwt",
            "JWS",
            "JOSE",
            "JOSE+JSON",
            "JWT ",
            "alphaswarm-assertion+jwt",
            "secevent+jwt",
            "entity-statement+jwt",
            "oauth-authz-req+jwt",
            "client-authentication+jwt",
            "kb+jwt",
            "vc+sd-jwt",
            "application/jwt",
        ] {
            table.member("typ", &base, "typ", &[json!(typ)]);
        }
        let odd = [
            json!(""),
            json!(null),
            json!(1),
            json!(["JWT"]),
            json!("J".repeat(65)),
        ];
        table.member("typ", &base, "typ", &odd);

        table.row = Row::HeaderMembers;
        let odd = [
            json!(""),
            json!(1),
            json!(null),
            json!(["x"]),
            json!("x".repeat(65)),
        ];
        table.member("x5t", &base, "x5t", &odd);
    }
    typ_of_each(table);
    text(table);
}

fn typ_of_each(table: &mut Table<'_>) {
    table.row = Row::OtherTokens;
    let base = table.base("Auth0", tokens::auth0);
    table.add(
        "at+jwt where JWT is pinned",
        "typ",
        &base,
        &base.draft().header("typ", "at+jwt"),
    );
    table.add(
        "no typ where JWT is pinned",
        "typ",
        &base,
        &base.draft().without_header("typ"),
    );
    let base = table.base("Entra v2", tokens::entra_v2);
    table.add(
        "at+jwt from Entra",
        "typ",
        &base,
        &base.draft().header("typ", "at+jwt"),
    );
    table.add(
        "no typ from Entra",
        "typ",
        &base,
        &base.draft().without_header("typ"),
    );
    let base = table.base("RFC 9068", tokens::auth0_rfc);
    table.add(
        "JWT where at+jwt is pinned",
        "typ",
        &base,
        &base.draft().header("typ", "JWT"),
    );
    table.add(
        "no typ where at+jwt is pinned",
        "typ",
        &base,
        &base.draft().without_header("typ"),
    );
    let base = table.base("Access user", tokens::access_user);
    table.add(
        "at+jwt from Access",
        "typ",
        &base,
        &base.draft().header("typ", "at+jwt"),
    );
}

fn text(table: &mut Table<'_>) {
    let base = table.base("Entra v2", tokens::entra_v2);
    let rest = r#""kid":"entra-1","typ":"JWT""#;
    let deep = format!("{}{}", r#"{"alg":"#.repeat(20), "}".repeat(20));
    let many: String = (0..40).map(|n| format!(r#""m{n}":0,"#)).collect();
    for (row, attack, rule, header) in [
        (Row::Form, "header is cut off", "header_json", "{".to_owned()),
        (
            Row::Form,
            "header is an array",
            "header_json",
            r#"["RS256"]"#.to_owned(),
        ),
        (
            Row::Form,
            "header is a string",
            "header_json",
            r#""RS256""#.to_owned(),
        ),
        (Row::Form, "header is a number", "header_json", "1".to_owned()),
        (Row::Form, "header is null", "header_json", "null".to_owned()),
        (
            Row::Form,
            "header is two objects",
            "header_json",
            format!(r#"{{"alg":"RS256",{rest}}}{{}}"#),
        ),
        (Row::Form, "header is nested", "header_json", deep),
        (
            Row::Form,
            "header with forty members",
            "header_json",
            format!(r#"{{{many}"alg":"RS256",{rest}}}"#),
        ),
        (
            Row::Form,
            "header after a byte order mark",
            "header_json",
            format!("\u{feff}{{\"alg\":\"RS256\",{rest}}}"),
        ),
        (
            Row::Form,
            "header with a trailing comma",
            "header_json",
            format!(r#"{{"alg":"RS256",{rest},}}"#),
        ),
        (
            Row::Form,
            "header with single quotes",
            "header_json",
            format!("{{'alg':'RS256',{rest}}}"),
        ),
        (
            Row::Form,
            "header with a comment",
            "header_json",
            format!(r#"{{/**/"alg":"RS256",{rest}}}"#),
        ),
        (
            Row::Form,
            "header ends in NUL",
            "header_json",
            format!("{{\"alg\":\"RS256\",{rest}}}\0"),
        ),
        (
            Row::Duplicates,
            "alg twice, none first",
            "header_duplicate",
            format!(r#"{{"alg":"none","alg":"RS256",{rest}}}"#),
        ),
        (
            Row::Duplicates,
            "alg twice, none last",
            "header_duplicate",
            format!(r#"{{"alg":"RS256","alg":"none",{rest}}}"#),
        ),
        (
            Row::Duplicates,
            "kid twice",
            "header_duplicate",
            format!(r#"{{"alg":"RS256","kid":"entra-1",{rest}}}"#),
        ),
        (
            Row::Duplicates,
            "alg twice, once escaped",
            "header_duplicate",
            format!(r#"{{"\u0061lg":"none","alg":"RS256",{rest}}}"#),
        ),
        (
            Row::HeaderMembers,
            "crit escaped",
            "header_member",
            format!(r#"{{"\u0063rit":["exp"],"alg":"RS256",{rest}}}"#),
        ),
        (
            Row::Algorithm,
            "alg none escaped",
            "alg",
            format!(r#"{{"alg":"n\u006fne",{rest}}}"#),
        ),
    ] {
        table.row = row;
        table.raw(attack, rule, &base, base.with_header_text(&header));
    }
    table.row = Row::Form;
    let mut invalid = base.draft.header.to_string().into_bytes();
    invalid.splice(1..1, b"\"x\":\"\xff\",".iter().copied());
    let token = base.swap(0, &keys::encode(invalid));
    table.raw("header is no UTF-8", "header_json", &base, token);
}
