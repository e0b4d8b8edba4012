//! The token as text: parts, sizes, base64.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE};

use super::{Row, Table};
use crate::keys::encode;
use crate::tokens;

/// The longest token that is looked at.
const LONGEST: usize = 16 * 1024;

pub(super) fn add(table: &mut Table<'_>) {
    table.row = Row::Form;
    let base = table.base("Entra v2", tokens::entra_v2);
    let good = base.token.to_string();
    let (head, payload, signature) = (base.part(0), base.part(1), base.part(2));
    let fill = |part: &str, to: usize| format!("{part}{}", "A".repeat(to - part.len()));
    // The most that still is base64url.
    let longest = LONGEST - (LONGEST - head.len() - payload.len() - 2) % 4;
    for (attack, rule, token) in [
        ("empty token", "parts", String::new()),
        ("no dot", "parts", "abc".to_owned()),
        ("one dot", "parts", format!("{head}.{payload}")),
        ("only dots", "parts", "..".to_owned()),
        ("a thousand dots", "parts", ".".repeat(1000)),
        ("empty header", "parts", format!(".{payload}.{signature}")),
        ("empty payload", "parts", format!("{head}..{signature}")),
        ("empty signature", "parts", format!("{head}.{payload}.")),
        ("four parts", "parts", format!("{good}.x")),
        ("a dot more", "parts", format!("{good}.")),
        ("a leading dot", "parts", format!(".{good}")),
        ("six parts", "parts", format!("{good}.x.y.z")),
        (
            "the token twice, joined by a dot",
            "parts",
            format!("{good}.{good}"),
        ),
        (
            "five parts, the first three a good token",
            "encrypted",
            format!("{good}.x.y"),
        ),
        (
            "five parts, the last three a good token",
            "encrypted",
            format!("x.y.{good}"),
        ),
        ("five empty parts", "encrypted", "....".to_owned()),
        ("one byte longer than allowed", "size", fill(&good, LONGEST + 1)),
        ("a megabyte", "size", "A".repeat(1 << 20)),
        ("a megabyte of dots", "size", ".".repeat(1 << 20)),
        (
            "a megabyte of header",
            "size",
            format!("{}.{payload}.{signature}", fill(head, 1 << 20)),
        ),
        (
            "a megabyte of payload",
            "size",
            format!("{head}.{}.{signature}", fill(payload, 1 << 20)),
        ),
        (
            "a megabyte of signature",
            "size",
            format!("{head}.{payload}.{}", fill(signature, 1 << 20)),
        ),
        (
            "as long as allowed, most of it signature",
            "signature",
            fill(&good, longest),
        ),
        ("space before", "base64", format!(" {good}")),
        ("newline after", "base64", format!("{good}\n")),
        (
            "carriage return and newline inside",
            "base64",
            format!("{head}.{payload}\r\n.{signature}"),
        ),
        ("space inside", "base64", format!("{head}. {payload}.{signature}")),
        ("tab inside", "base64", format!("{head}.{payload}\t.{signature}")),
        (
            "form feed inside",
            "base64",
            format!("{head}\u{c}.{payload}.{signature}"),
        ),
        ("NUL after", "base64", format!("{good}\0")),
        ("NUL inside", "base64", format!("{head}.{payload}\0.{signature}")),
        ("no-break space after", "base64", format!("{good}\u{a0}")),
        (
            "zero-width space inside",
            "base64",
            format!("{head}\u{200b}.{payload}.{signature}"),
        ),
        ("byte order mark before", "base64", format!("\u{feff}{good}")),
        (
            "fullwidth letter inside",
            "base64",
            format!("{head}\u{ff21}.{payload}.{signature}"),
        ),
        (
            "fullwidth dot instead of a dot",
            "parts",
            good.replacen('.', "\u{ff0e}", 1),
        ),
        ("comma after", "base64", format!("{good},")),
        ("semicolon after", "base64", format!("{good};")),
        (
            "two tokens joined by a comma",
            "encrypted",
            format!("{good},{good}"),
        ),
        (
            "two tokens joined by a space",
            "encrypted",
            format!("{good} {good}"),
        ),
        ("quoted", "base64", format!("\"{good}\"")),
        ("in angle brackets", "base64", format!("<{good}>")),
        ("a fragment after", "base64", format!("{good}#x")),
        (
            "percent before the payload",
            "base64",
            base.swap(1, &format!("%{payload}")),
        ),
        ("dots percent-encoded", "parts", good.replace('.', "%2E")),
        (
            "signature padded with =",
            "base64",
            base.swap(2, &format!("{signature}==")),
        ),
        (
            "signature padded with one =",
            "base64",
            base.swap(2, &format!("{signature}=")),
        ),
        (
            "header padded with =",
            "base64",
            base.swap(0, &format!("{head}=")),
        ),
        (
            "= inside",
            "base64",
            base.swap(1, &format!("{}=={}", &payload[..8], &payload[8..])),
        ),
        (
            "+ for -",
            "base64",
            base.swap(2, &signature.replace(['-', '_'], "+")),
        ),
        (
            "/ in the signature",
            "base64",
            base.swap(2, &BASE64_STANDARD_NO_PAD.encode([0xff; 256])),
        ),
        ("signature of one character", "base64", base.swap(2, "A")),
        ("header of one character", "base64", base.swap(0, "A")),
        (
            "a group of one character left over",
            "base64",
            base.swap(2, &format!("{}A", encode([7; 255]))),
        ),
    ] {
        table.raw(attack, rule, &base, token);
    }
    let claims = base.draft.claims.to_string();
    let padded = BASE64_URL_SAFE.encode(format!("{claims} "));
    table.raw(
        "payload padded",
        "base64",
        &base,
        base.swap(1, &format!("{padded}=")),
    );

    // 256 bytes leave four unused bits in the last character: every other spelling is refused, whatever its data bits.
    let last = signature.chars().last().unwrap();
    for other in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars() {
        if other != last && !"AQgw".contains(other) {
            let changed = base.swap(2, &format!("{}{other}", &signature[..signature.len() - 1]));
            table.raw("bits left over after the signature", "base64", &base, changed);
            let case = table.cases.last_mut().unwrap();
            case.on = Box::leak(format!("Entra v2, {other}").into_boxed_str());
        }
    }
    // The same in the header and in the payload, whose last groups are as long as their texts make them.
    for (at, attack) in [
        (0, "bits left over after the header"),
        (1, "bits left over after the payload"),
    ] {
        let mut text = if at == 0 {
            base.draft.header.to_string()
        } else {
            claims.clone()
        };
        while text.len() % 3 != 1 {
            text.push(' ');
        }
        let spelled = encode(&text);
        let (most, last) = spelled.split_at(spelled.len() - 1);
        let next = char::from(last.as_bytes()[0] + 1);
        table.raw(attack, "base64", &base, base.swap(at, &format!("{most}{next}")));
    }
}
