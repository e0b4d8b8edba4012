//! The payload as JSON.

use super::{Base, Row, Table};
use crate::keys::encode;
use crate::tokens::{self, OTHER_TID};

pub(super) fn add(table: &mut Table<'_>) {
    for base in table.bases() {
        let claims = base.draft.claims.to_string();
        let body = claims.strip_prefix('{').unwrap();
        let open = claims.strip_suffix('}').unwrap();
        let nested = |levels: usize| format!("{{\"x\":{}{},{body}", "[".repeat(levels), "]".repeat(levels));
        table.row = Row::Form;
        for (attack, rule, payload) in [
            ("is cut off", "payload_json", "{\"iss\":".to_owned()),
            ("lacks its last brace", "payload_json", open.to_owned()),
            ("is an array", "payload_json", format!("[{claims}]")),
            ("is a string", "payload_json", "\"x\"".to_owned()),
            ("is null", "payload_json", "null".to_owned()),
            ("is a number", "payload_json", "1".to_owned()),
            ("is two objects", "payload_json", format!("{claims}{claims}")),
            (
                "is two lines of JSON",
                "payload_json",
                format!("{claims}\n{claims}"),
            ),
            ("has a trailing comma", "payload_json", format!("{open},}}")),
            ("has a comment", "payload_json", format!("{{/**/{body}")),
            ("ends in NUL", "payload_json", format!("{claims}\0")),
            (
                "begins with a byte order mark",
                "payload_json",
                format!("\u{feff}{claims}"),
            ),
            ("has 17 levels", "payload_json", nested(16)),
            ("has 100 levels", "payload_json", nested(100)),
            ("has 5000 levels", "payload_json", nested(5000)),
            ("has 100,000 levels", "size", nested(100_000)),
            (
                "has 3000 values",
                "payload_json",
                format!("{{\"x\":[{}0],{body}", "0,".repeat(3000)),
            ),
            (
                "has a lone surrogate",
                "payload_json",
                format!("{{\"x\":\"\\ud800\",{body}"),
            ),
            (
                "has a control character",
                "payload_json",
                format!("{{\"x\":\"\u{1}\",{body}"),
            ),
            (
                "has a number with a leading zero",
                "payload_json",
                format!("{{\"x\":01,{body}"),
            ),
            ("has NaN", "payload_json", format!("{{\"x\":NaN,{body}")),
            ("has Infinity", "payload_json", format!("{{\"x\":Infinity,{body}")),
            (
                "has a hexadecimal number",
                "payload_json",
                format!("{{\"x\":0x10,{body}"),
            ),
            (
                "has a name without quotes",
                "payload_json",
                format!("{{x:1,{body}"),
            ),
            ("is a good token itself", "payload_json", base.token.to_string()),
        ] {
            table.raw(
                &format!("payload {attack}"),
                rule,
                &base,
                base.with_payload_text(&payload),
            );
        }
        let mut invalid = claims.clone().into_bytes();
        invalid.splice(1..1, b"\"x\":\"\xff\",".iter().copied());
        table.raw(
            "payload is no UTF-8",
            "payload_json",
            &base,
            base.swap(1, &encode(invalid)),
        );
        let wide: Vec<u8> = claims.encode_utf16().flat_map(u16::to_le_bytes).collect();
        table.raw(
            "payload is UTF-16",
            "payload_json",
            &base,
            base.swap(1, &encode(wide)),
        );
        duplicates(table, &base, body, open);
    }
    table.row = Row::Duplicates;
    let base = table.base("Entra v2", tokens::entra_v2);
    let body = base.draft.claims.to_string();
    let body = body.strip_prefix('{').unwrap();
    for (attack, member) in [
        (
            "tid twice, first escaped",
            format!("\"\\u0074id\":\"{OTHER_TID}\""),
        ),
        (
            "tid twice, all of it escaped",
            format!("\"\\u0074\\u0069\\u0064\":\"{OTHER_TID}\""),
        ),
        ("oid twice", format!("\"oid\":\"{OTHER_TID}\"")),
        ("scp twice", "\"scp\":\"cluster:admin\"".to_owned()),
    ] {
        let token = base.with_payload_text(&format!("{{{member},{body}"));
        table.raw(attack, "payload_duplicate", &base, token);
    }
}

fn duplicates(table: &mut Table<'_>, base: &Base, body: &str, open: &str) {
    table.row = Row::Duplicates;
    let many: String = (0..40).map(|n| format!("\"m{n}\":0,")).collect();
    let later = table.setting.now + 10;
    for (attack, payload) in [
        ("exp twice", format!("{{\"exp\":{later},{body}")),
        ("exp twice, last wins", format!("{open},\"exp\":{later}}}")),
        (
            "exp twice, equal",
            format!("{open},\"exp\":{}}}", base.draft.claims["exp"]),
        ),
        ("iss twice", format!("{{\"iss\":\"https://evil\",{body}")),
        (
            "iss twice, last wins",
            format!("{open},\"iss\":\"https://evil\"}}"),
        ),
        ("aud twice, escaped", format!("{{\"\\u0061ud\":\"x\",{body}")),
        (
            "sub twice, escaped in capitals",
            format!("{open},\"s\\u0075b\":\"admin\",\"\\u0073ub\":\"x\"}}"),
        ),
        ("an unknown claim twice", format!("{{\"x\":1,\"x\":1,{body}")),
        ("an empty name twice", format!("{{\"\":1,\"\":2,{body}")),
        (
            "a solidus escaped and not",
            format!("{{\"a/b\":1,\"a\\/b\":2,{body}"),
        ),
        (
            "a surrogate pair escaped and not",
            format!("{{\"\u{1f511}\":1,\"\\ud83d\\udd11\":2,{body}"),
        ),
        ("one of forty twice", format!("{{{many}\"m7\":0,{body}")),
        ("in an object", format!("{{\"x\":{{\"a\":1,\"a\":2}},{body}")),
        ("in an array", format!("{{\"x\":[0,{{\"a\":1,\"a\":2}}],{body}")),
        (
            "deep and escaped",
            format!("{{\"x\":[{{\"y\":{{\"a\":1,\"\\u0061\":2}}}}],{body}"),
        ),
    ] {
        table.raw(
            &format!("duplicate: {attack}"),
            "payload_duplicate",
            base,
            base.with_payload_text(&payload),
        );
    }
}
