//! exp, iat, nbf, `auth_time` and the lifetime between them.

use serde_json::json;

use super::{Row, Table};

const DAY: i64 = 86_400;
/// The leeway, in seconds: refused from here on, accepted a second earlier.
const LEEWAY: i64 = 60;

pub(super) fn add(table: &mut Table<'_>) {
    let now = table.setting.now;
    let wrong = [
        json!(null),
        json!(true),
        json!([]),
        json!({}),
        json!(""),
        json!("tomorrow"),
        json!("2999-01-01T00:00:00Z"),
        json!("1e300"),
        json!(-1),
        json!(1.5),
        json!(1e300),
        json!(1e19),
        json!(u64::MAX),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(253_402_300_800_i64),
    ];
    for base in table.bases() {
        for (claim, rule) in [
            ("exp", "exp_type"),
            ("iat", "iat"),
            ("nbf", "nbf"),
            ("auth_time", "auth_time"),
        ] {
            table.row = if claim == "exp" {
                Row::Expiry
            } else {
                Row::TimesIssuerAudience
            };
            table.claim(rule, &base, claim, &wrong);
            // What it should be, in another type.
            let good = now + 3000;
            for (attack, value) in [
                ("as a string", json!(good.to_string())),
                ("in an array", json!([good])),
                ("in an object", json!({ claim: good })),
                ("in milliseconds", json!(good * 1000)),
                ("negated", json!(-good)),
            ] {
                let bad = base.draft().with(claim, value);
                table.add(&format!("{claim} {attack}"), rule, &base, &bad);
            }
            // Spellings that only the text can hold.
            for (attack, text) in [
                ("with a fraction", format!("{good}.0")),
                ("with an exponent", format!("{good}e0")),
                ("minus zero", "-0".to_owned()),
                ("one more than u64 holds", "18446744073709551616".to_owned()),
            ] {
                let claims = base.draft().with(claim, "@").claims.to_string();
                let token = base.with_payload_text(&claims.replace("\"@\"", &text));
                table.raw(&format!("{claim} {attack}"), rule, &base, token);
            }
            let claims = base.draft().with(claim, "@").claims.to_string();
            let token = base.with_payload_text(&claims.replace("\"@\"", "1e400"));
            table.raw(
                &format!("{claim} beyond any number"),
                "payload_json",
                &base,
                token,
            );
        }

        table.row = Row::Expiry;
        table.missing("exp_type", &base, "exp");
        for (attack, time) in [
            ("at the beginning of time", 0),
            ("an hour ago", now - 3600),
            ("just beyond the leeway", now - LEEWAY),
        ] {
            let bad = base.draft().with("exp", time);
            table.add(&format!("expired {attack}"), "exp", &base, &bad);
        }
        for (attack, time) in [
            ("in 29 hours", now + 29 * 3600),
            ("in 40 days", now + 40 * DAY),
            ("in the year 9999", 253_402_300_799),
        ] {
            let bad = base.draft().with("exp", time);
            table.add(&format!("expires {attack}"), "lifetime", &base, &bad);
        }
        let bad = base.draft().with("iat", now + 50).with("exp", now + 50);
        table.add("expires when it is issued", "lifetime", &base, &bad);
        let bad = base.draft().with("iat", now + 50).with("exp", now + 49);
        table.add("expires before it is issued", "lifetime", &base, &bad);

        table.row = Row::TimesIssuerAudience;
        table.missing("iat", &base, "iat");
        for (attack, time) in [("at the beginning of time", 0), ("30 hours ago", now - 30 * 3600)] {
            let bad = base.draft().with("iat", time);
            table.add(&format!("issued {attack}"), "lifetime", &base, &bad);
        }
        for (claim, word) in [("iat", "issued"), ("nbf", "valid")] {
            // A check that takes place some minutes after the token was made still refuses the nearest.
            for (attack, time) in [
                ("some minutes ahead", now + LEEWAY + 240),
                ("in 50 minutes", now + 3000),
                ("in a year", now + 365 * DAY),
            ] {
                let bad = base.draft().with(claim, time);
                table.add(&format!("{word} only {attack}"), claim, &base, &bad);
            }
        }
    }
}
