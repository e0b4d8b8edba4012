//! Attack cases, each with the rule that must refuse it and a good twin that passes.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE};
use serde_json::{Value, json};

use crate::refusal::Rule;
use crate::testing::*;
use crate::verify::{Identity, Slot};

struct Attack {
    name: String,
    rule: Rule,
    token: String,
    slot: Slot,
    twin: String,
}

#[derive(Default)]
struct Table(Vec<Attack>);

impl Table {
    /// A changed draft; its twin is `twin`.
    fn add(&mut self, name: &str, rule: Rule, twin: &Draft, bad: Draft) {
        self.raw(name, rule, twin, bad.sign());
    }

    /// Any text in place of the twin.
    fn raw(&mut self, name: &str, rule: Rule, twin: &Draft, token: String) {
        self.0.push(Attack {
            name: name.to_owned(),
            rule,
            token,
            slot: twin.slot,
            twin: twin.sign(),
        });
    }

    /// The same change to each of several values of a claim.
    fn claim(&mut self, rule: Rule, twin: &Draft, name: &str, values: &[Value]) {
        for value in values {
            self.add(
                &format!("{name} = {value:.60}"),
                rule,
                twin,
                twin.clone().with(name, value.clone()),
            );
        }
    }

    fn missing(&mut self, rule: Rule, twin: &Draft, name: &str) {
        self.add(
            &format!("{name} is missing"),
            rule,
            twin,
            twin.clone().without(name),
        );
    }

    fn check(self, identity: &Identity) {
        assert!(self.0.len() > 3);
        for attack in self.0 {
            let twin = identity.verify(&attack.twin, attack.slot, NOW);
            assert!(
                twin.is_ok(),
                "the good twin of {:?} is refused: {:?}",
                attack.name,
                twin.err()
            );
            let refused = identity
                .verify(&attack.token, attack.slot, NOW)
                .err()
                .map(|refusal| refusal.rule);
            assert_eq!(refused, Some(attack.rule), "{}", attack.name);
            let again = identity
                .verify(&attack.token, attack.slot, NOW)
                .err()
                .map(|refusal| refusal.rule);
            assert_eq!(again, Some(attack.rule), "the second time: {}", attack.name);
        }
    }
}

fn bases() -> [Draft; 6] {
    [
        entra_v2(),
        entra_v1(),
        auth0(),
        auth0_rfc(),
        access_user(),
        access_service(),
    ]
}

fn swap_part(token: &str, at: usize, part: &str) -> String {
    let mut parts: Vec<&str> = token.split('.').collect();
    parts[at] = part;
    parts.join(".")
}

#[test]
fn form() {
    let mut table = Table::default();
    let twin = entra_v2();
    let good = twin.sign();
    let (head, rest) = good.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    for (name, rule, token) in [
        ("empty", Rule::Parts, String::new()),
        ("no dot", Rule::Parts, "abc".to_owned()),
        ("one dot", Rule::Parts, format!("{head}.{payload}")),
        ("only dots", Rule::Parts, "..".to_owned()),
        ("a thousand dots", Rule::Parts, ".".repeat(1000)),
        ("empty header", Rule::Parts, format!(".{payload}.{signature}")),
        ("empty payload", Rule::Parts, format!("{head}..{signature}")),
        ("empty signature", Rule::Parts, format!("{head}.{payload}.")),
        ("four parts", Rule::Parts, format!("{good}.x")),
        ("JWE", Rule::Encrypted, format!("{good}.x.y")),
        ("six parts", Rule::Parts, format!("{good}.x.y.z")),
        (
            "one byte too long",
            Rule::Size,
            format!("{good}{}", "A".repeat(16 * 1024 + 1 - good.len())),
        ),
        ("a megabyte", Rule::Size, "A".repeat(1 << 20)),
        ("a megabyte of dots", Rule::Size, ".".repeat(1 << 20)),
        ("space before", Rule::Base64, format!(" {good}")),
        ("newline after", Rule::Base64, format!("{good}\n")),
        (
            "space inside",
            Rule::Base64,
            format!("{head}. {payload}.{signature}"),
        ),
        (
            "tab inside",
            Rule::Base64,
            format!("{head}.{payload}\t.{signature}"),
        ),
        ("NUL after", Rule::Base64, format!("{good}\0")),
        ("no-break space", Rule::Base64, format!("{good}\u{a0}")),
        ("comma joined", Rule::Encrypted, format!("{good},{good}")),
        (
            "padded",
            Rule::Base64,
            swap_part(&good, 2, &format!("{signature}==")),
        ),
        (
            "plus",
            Rule::Base64,
            swap_part(&good, 2, &signature.replace(['-', '_'], "+")),
        ),
        (
            "percent",
            Rule::Base64,
            swap_part(&good, 1, &format!("%{payload}")),
        ),
        ("one character alone", Rule::Base64, swap_part(&good, 2, "A")),
    ] {
        table.raw(name, rule, &twin, token);
    }
    let claims = twin.claims.to_string();
    table.raw("standard alphabet", Rule::Base64, &twin, {
        let padded = BASE64_URL_SAFE.encode(format!("{claims} "));
        swap_part(&good, 1, &format!("{padded}="))
    });
    table.raw(
        "slashes",
        Rule::Base64,
        &twin,
        swap_part(&good, 2, &BASE64_STANDARD_NO_PAD.encode([0xff; 256])),
    );
    // 256 bytes leave four unused bits in the last character: each of the other fifteen spellings is refused.
    let last = signature.chars().last().unwrap();
    for other in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars() {
        if other != last && !"AQgw".contains(other) {
            let changed = format!("{}{other}", &signature[..signature.len() - 1]);
            table.raw(
                &format!("trailing bits {other}"),
                Rule::Base64,
                &twin,
                swap_part(&good, 2, &changed),
            );
        }
    }
    table.check(&identity());
}

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

#[test]
fn signature() {
    let mut table = Table::default();
    for twin in bases() {
        let good = twin.sign();
        let (header, claims) = (twin.header.to_string(), twin.claims.to_string());
        let parts: Vec<&str> = good.split('.').collect();
        table.add(
            "another's key under this name",
            Rule::Signature,
            &twin,
            twin.clone().signed_by(stranger()),
        );
        table.raw(
            "RS384 said to be RS256",
            Rule::Signature,
            &twin,
            twin.signer.sign_rs384(&header, &claims),
        );
        table.raw(
            "PS256 said to be RS256",
            Rule::Signature,
            &twin,
            twin.signer.sign_ps256(&header, &claims),
        );
        let more = twin.clone().with("exp", NOW + 7200).claims.to_string();
        table.raw(
            "changed claims",
            Rule::Signature,
            &twin,
            swap_part(&good, 1, &encode(more)),
        );
        table.raw(
            "a space more",
            Rule::Signature,
            &twin,
            swap_part(&good, 1, &encode(format!("{claims} "))),
        );
        let reordered = format!(
            r#"{{"kid":"{}","alg":"RS256","typ":{}}}"#,
            twin.signer.kid, twin.header["typ"]
        );
        table.raw(
            "changed header",
            Rule::Signature,
            &twin,
            swap_part(&good, 0, &encode(reordered)),
        );
        table.raw(
            "zeros",
            Rule::Signature,
            &twin,
            swap_part(&good, 2, &encode([0; 256])),
        );
        table.raw(
            "short",
            Rule::Signature,
            &twin,
            swap_part(&good, 2, &encode([1; 64])),
        );
        table.raw(
            "one byte",
            Rule::Signature,
            &twin,
            swap_part(&good, 2, &encode([1])),
        );
        table.raw(
            "the modulus itself",
            Rule::Signature,
            &twin,
            swap_part(&good, 2, &encode(twin.signer.modulus())),
        );
        let signature = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
        let mut longer = signature.clone();
        longer.push(0);
        table.raw(
            "a byte more",
            Rule::Signature,
            &twin,
            swap_part(&good, 2, &encode(longer)),
        );
        let mut leading = vec![0];
        leading.extend(&signature);
        table.raw(
            "a leading zero",
            Rule::Signature,
            &twin,
            swap_part(&good, 2, &encode(leading)),
        );
        let mut flipped = signature;
        flipped[128] ^= 1;
        table.raw(
            "one bit",
            Rule::Signature,
            &twin,
            swap_part(&good, 2, &encode(flipped)),
        );
        // The classic: the public key as an HMAC secret. The algorithm is pinned, so no secret is ever tried.
        for secret in [
            twin.signer.public_der(),
            twin.signer.modulus(),
            twin.signer.kid.into(),
        ] {
            let header = twin.clone().header("alg", "HS256").header.to_string();
            let signed = format!("{}.{}", encode(header), encode(&claims));
            let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
            let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
            table.raw("RS→HS", Rule::Alg, &twin, format!("{signed}.{}", encode(tag)));
        }
    }
    table.check(&identity());
}

#[test]
fn payload_text() {
    let mut table = Table::default();
    for twin in bases() {
        let header = twin.header.to_string();
        let claims = twin.claims.to_string();
        let body = claims.strip_prefix('{').unwrap();
        for (name, rule, payload) in [
            ("not JSON", Rule::PayloadJson, "{\"iss\":".to_owned()),
            ("an array", Rule::PayloadJson, format!("[{claims}]")),
            ("a string", Rule::PayloadJson, "\"x\"".to_owned()),
            ("two objects", Rule::PayloadJson, format!("{claims}{claims}")),
            (
                "trailing comma",
                Rule::PayloadJson,
                format!("{},}}", claims.strip_suffix('}').unwrap()),
            ),
            ("comment", Rule::PayloadJson, format!("{{/**/{body}")),
            (
                "100 levels",
                Rule::PayloadJson,
                format!("{{\"x\":{}{},{body}", "[".repeat(100), "]".repeat(100)),
            ),
            (
                "5000 levels",
                Rule::PayloadJson,
                format!("{{\"x\":{}{},{body}", "[".repeat(5000), "]".repeat(5000)),
            ),
            (
                "3000 values",
                Rule::PayloadJson,
                format!("{{\"x\":[{}0],{body}", "0,".repeat(3000)),
            ),
            (
                "lone surrogate",
                Rule::PayloadJson,
                format!("{{\"x\":\"\\ud800\",{body}"),
            ),
            (
                "control character",
                Rule::PayloadJson,
                format!("{{\"x\":\"\u{1}\",{body}"),
            ),
            (
                "exp twice",
                Rule::PayloadDuplicate,
                format!("{{\"exp\":{},{body}", NOW + 10),
            ),
            (
                "iss twice",
                Rule::PayloadDuplicate,
                format!("{{\"iss\":\"https://evil\",{body}"),
            ),
            (
                "aud escaped twice",
                Rule::PayloadDuplicate,
                format!("{{\"\\u0061ud\":\"x\",{body}"),
            ),
            (
                "deep duplicate",
                Rule::PayloadDuplicate,
                format!("{{\"x\":[{{\"y\":{{\"a\":1,\"\\u0061\":2}}}}],{body}"),
            ),
        ] {
            table.raw(name, rule, &twin, twin.signer.sign(&header, &payload));
        }
        let mut invalid = claims.into_bytes();
        invalid.splice(1..1, b"\"x\":\"\xff\",".iter().copied());
        let token = swap_part(&twin.sign(), 1, &encode(invalid));
        table.raw("not UTF-8", Rule::PayloadJson, &twin, token);
    }
    let twin = entra_v2();
    let body = twin.claims.to_string();
    let body = body.strip_prefix('{').unwrap();
    let token = twin.signer.sign(
        &twin.header.to_string(),
        &format!("{{\"\\u0074id\":\"{OTHER_TID}\",{body}"),
    );
    table.raw("tid escaped twice", Rule::PayloadDuplicate, &twin, token);
    table.check(&identity());
}

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

#[test]
fn entra_rules() {
    let mut table = Table::default();
    let other = |draft: Draft| draft.with("tid", OTHER_TID);
    for twin in [entra_v2(), entra_v1()] {
        table.add("tid of another directory", Rule::Tid, &twin, other(twin.clone()));
        table.claim(
            Rule::Tid,
            &twin,
            "tid",
            &[
                json!(""),
                json!(null),
                json!([TID]),
                json!("common"),
                json!("{tenantid}"),
                json!(TID.to_uppercase()),
                json!(format!("{TID}/")),
                json!("../x"),
                json!(1),
            ],
        );
        table.missing(Rule::Tid, &twin, "tid");
        table.claim(
            Rule::Version,
            &twin,
            "ver",
            &[json!("3.0"), json!(2), json!(null), json!(""), json!("2")],
        );
        table.missing(Rule::Version, &twin, "ver");
        table.claim(
            Rule::Subject,
            &twin,
            "oid",
            &[
                json!(""),
                json!("x"),
                json!(null),
                json!([OID]),
                json!(OID.to_uppercase()),
            ],
        );
        table.missing(Rule::Subject, &twin, "oid");
        table.claim(Rule::Scopes, &twin, "scp", &[json!(1), json!(["a"]), json!(null)]);
        table.claim(
            Rule::Scopes,
            &twin,
            "roles",
            &[json!("admin"), json!([1]), json!(null), json!({"a": 1})],
        );
        table.claim(
            Rule::TokenId,
            &twin,
            "uti",
            &[json!(1), json!(""), json!("x".repeat(300))],
        );
        table.claim(Rule::StepUp, &twin, "acrs", &[json!(1), json!([1]), json!(null)]);
        for claim in ["nonce", "at_hash", "c_hash", "s_hash", "events"] {
            table.claim(Rule::TokenUse, &twin, claim, &[json!("x"), json!(null)]);
        }
        table.missing(Rule::TokenUse, &twin, "scp");
        table.add("v1 said to be v2 and the reverse", Rule::Version, &twin, {
            let swapped = if twin.claims["ver"] == "1.0" { "2.0" } else { "1.0" };
            twin.clone().with("ver", swapped)
        });
    }
    let twin = entra_v2();
    table.missing(Rule::TokenUse, &twin, "azp");
    table.missing(Rule::TokenUse, &entra_v1(), "appid");
    table.claim(Rule::Client, &twin, "azp", &[json!("x"), json!(""), json!(1)]);
    table.add(
        "id token with roles",
        Rule::TokenUse,
        &twin,
        twin.clone()
            .without("scp")
            .without("azp")
            .with("roles", json!(["admin"])),
    );
    let consumers = "9188040d-6c67-4c5b-b112-36a304b66dad";
    table.add(
        "personal account",
        Rule::ConsumerAccount,
        &twin,
        twin.clone().with("tid", consumers).with(
            "iss",
            format!("https://login.microsoftonline.com/{consumers}/v2.0"),
        ),
    );
    for host in [
        "login.microsoftonline.us",
        "login.partner.microsoftonline.cn",
        "example.ciamlogin.com",
    ] {
        table.add(
            &format!("another cloud {host}"),
            Rule::Issuer,
            &twin,
            twin.clone().with("iss", format!("https://{host}/{TID}/v2.0")),
        );
    }
    table.check(&identity());
}

/// A key signs only for the issuer that its own `issuer` names.
#[test]
fn entra_keys_belong_to_issuers() {
    let v2 = |tid: &str| format!("https://login.microsoftonline.com/{tid}/v2.0");
    let template = v2("{tenantid}");
    for (issuer, expect) in [
        (Some(template.clone()), None),
        (Some(v2(TID)), None),
        (Some(v2(OTHER_TID)), Some(Rule::KeyIssuer)),
        (
            Some("https://login.microsoftonline.us/{tenantid}/v2.0".to_owned()),
            Some(Rule::KeyIssuer),
        ),
        (
            Some("https://example.eu.auth0.com/".to_owned()),
            Some(Rule::KeyIssuer),
        ),
        (Some(format!("{template}/")), Some(Rule::KeyIssuer)),
        (None, Some(Rule::KeyIssuer)),
    ] {
        let identity = identity();
        let jwk = issuer
            .as_ref()
            .map_or_else(|| signer(0).jwk(), |issuer| signer(0).jwk_for(issuer));
        identity.publish_keys(&provider("entra"), ring(&[jwk]), crate::KeysFrom::Network);
        for draft in [entra_v2(), entra_v1()] {
            let refused = identity
                .verify(&draft.sign(), Slot::Bearer, NOW)
                .err()
                .map(|refusal| refusal.rule);
            assert_eq!(refused, expect, "{issuer:?}");
        }
    }
}

#[test]
fn auth0_rules() {
    let mut table = Table::default();
    for twin in [auth0(), auth0_rfc()] {
        table.claim(
            Rule::Subject,
            &twin,
            "sub",
            &[
                json!(""),
                json!(null),
                json!(1),
                json!(["a"]),
                json!("x".repeat(257)),
                json!("a\nb"),
            ],
        );
        table.missing(Rule::Subject, &twin, "sub");
        table.claim(
            Rule::TenantClaim,
            &twin,
            "org_id",
            &[
                json!(1),
                json!(""),
                json!(["org_1"]),
                json!(null),
                json!("a\u{0}"),
            ],
        );
        table.claim(
            Rule::Scopes,
            &twin,
            "scope",
            &[json!(["a"]), json!(1), json!(null)],
        );
        table.claim(
            Rule::Scopes,
            &twin,
            "permissions",
            &[json!("a"), json!([1]), json!({})],
        );
        let many: Vec<String> = (0..600).map(|n| format!("scope:{n}")).collect();
        table.claim(Rule::Scopes, &twin, "permissions", &[json!(many)]);
        for claim in ["nonce", "at_hash", "events"] {
            table.claim(Rule::TokenUse, &twin, claim, &[json!("x")]);
        }
        table.claim(
            Rule::TokenUse,
            &twin,
            "gty",
            &[json!(1), json!(["client-credentials"])],
        );
    }
    table.claim(
        Rule::TenantClaim,
        &auth0(),
        TENANT_CLAIM,
        &[json!(1), json!(["acme"]), json!("")],
    );
    table.claim(
        Rule::CellClaim,
        &auth0(),
        "https://alphaswarm.ai/cell",
        &[json!(1), json!(["cell"]), json!("")],
    );
    for claim in ["client_id", "jti"] {
        let rule = if claim == "jti" {
            Rule::TokenId
        } else {
            Rule::Client
        };
        table.missing(rule, &auth0_rfc(), claim);
        table.claim(rule, &auth0_rfc(), claim, &[json!(""), json!(1), json!(null)]);
    }
    table.check(&identity());
}

#[test]
fn access_rules() {
    let mut table = Table::default();
    for twin in [access_user(), access_service()] {
        table.claim(
            Rule::TokenType,
            &twin,
            "type",
            &[json!("org"), json!("App"), json!(""), json!(null), json!(["app"])],
        );
        table.missing(Rule::TokenType, &twin, "type");
        for claim in ["nonce", "at_hash", "events"] {
            table.claim(Rule::TokenUse, &twin, claim, &[json!("x")]);
        }
    }
    let user = access_user();
    table.claim(
        Rule::Subject,
        &user,
        "sub",
        &[json!(""), json!(null), json!(1), json!("abc.access")],
    );
    table.missing(Rule::Subject, &user, "sub");
    table.claim(
        Rule::Subject,
        &user,
        "common_name",
        &[json!("x.access"), json!("")],
    );
    let service = access_service();
    table.claim(
        Rule::Subject,
        &service,
        "common_name",
        &[json!(""), json!(null), json!(1)],
    );
    table.missing(Rule::Subject, &service, "common_name");
    table.check(&identity());
}

/// Every good token passes in its own slot at its own provider, and nowhere else.
#[test]
fn only_the_diagonal_passes() {
    let all = identity();
    let names = ["entra", "entra", "auth0", "auth0-rfc", "access", "access"];
    for (draft, name) in bases().iter().zip(names) {
        let token = draft.sign();
        assert_eq!(
            all.verify(&token, draft.slot, NOW)
                .unwrap()
                .claims
                .provider
                .as_str(),
            name
        );
        let other_slot = if draft.slot == Slot::Bearer {
            Slot::Access
        } else {
            Slot::Bearer
        };
        assert_eq!(
            all.verify(&token, other_slot, NOW).unwrap_err().rule,
            Rule::Issuer,
            "{name} in the other slot"
        );
        // Claims of one provider, key and key name of every other: the name is unknown there.
        for at in 0..5 {
            let foreign = signer(at);
            if foreign.kid != draft.signer.kid {
                let forged = draft.clone().signed_by(foreign).header("kid", foreign.kid).sign();
                assert_eq!(
                    all.verify(&forged, draft.slot, NOW).unwrap_err().rule,
                    Rule::UnknownKid,
                    "{name} by {at}"
                );
            }
        }
        // Claims of this provider under the issuer of every other, signed by this one's key.
        for other in bases() {
            if other.slot == draft.slot && other.signer.kid != draft.signer.kid {
                let forged = draft.clone().with("iss", other.claims["iss"].clone());
                let refused = all.verify(&forged.sign(), draft.slot, NOW).unwrap_err().rule;
                assert!(
                    matches!(refused, Rule::UnknownKid | Rule::Typ),
                    "{name} as {}: {refused}",
                    other.signer.kid
                );
            }
        }
    }
}
