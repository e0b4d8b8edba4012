//! Access's own rules.

use serde_json::json;

use super::{Row, Table};
use crate::tokens;

pub(super) fn add(table: &mut Table<'_>) {
    for base in [
        table.base("Access user", tokens::access_user),
        table.base("Access service", tokens::access_service),
    ] {
        table.row = Row::OtherTokens;
        table.claim(
            "type",
            &base,
            "type",
            &[
                json!("org"),
                json!("App"),
                json!("app "),
                json!(""),
                json!(null),
                json!(["app"]),
                json!(1),
            ],
        );
        table.missing("type", &base, "type");
        for claim in ["nonce", "at_hash", "c_hash", "s_hash", "events"] {
            table.claim("token_use", &base, claim, &[json!("x")]);
        }
        let global = base
            .draft()
            .with("type", "org")
            .with("aud", json!(["5".repeat(64)]));
        table.add("the account's session token", "aud", &base, &global);
    }
    table.row = Row::Provider;
    let user = table.base("Access user", tokens::access_user);
    table.claim(
        "sub",
        &user,
        "sub",
        &[
            json!(""),
            json!("abc.access"),
            json!(".access"),
            json!("a\nb"),
            json!("x".repeat(257)),
        ],
    );
    table.missing("sub", &user, "sub");
    table.claim(
        "sub",
        &user,
        "common_name",
        &[json!("x.access"), json!(""), json!(null)],
    );
    table.claim("jti", &user, "jti", &[json!(""), json!("a\nb")]);
    let service = table.base("Access service", tokens::access_service);
    table.claim(
        "sub",
        &service,
        "common_name",
        &[json!(""), json!(null), json!(1), json!(["x"]), json!("a\u{7}")],
    );
    table.missing("sub", &service, "common_name");
    table.claim("sub", &service, "sub", &[json!("user-1"), json!(" ")]);
}
