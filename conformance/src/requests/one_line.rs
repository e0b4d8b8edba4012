//! One authorization line, written oddly.

use super::{Answer, List, NO_BEARER, NO_TOKEN, refused};

pub(super) fn schemes(list: &mut List, good: &str) {
    for scheme in ["bearer", "BEARER", "bEaReR"] {
        list.authorization(
            &format!("scheme {scheme}"),
            format!("{scheme} {good}"),
            Answer::Allowed,
        );
    }
    for (name, value) in [
        ("no scheme", good.to_owned()),
        ("scheme Basic", format!("Basic {good}")),
        ("scheme Token", format!("Token {good}")),
        ("scheme JWT", format!("JWT {good}")),
        ("scheme DPoP", format!("DPoP {good}")),
        ("scheme Negotiate", format!("Negotiate {good}")),
        ("scheme Bearers", format!("Bearers {good}")),
        ("scheme cut short", format!("Beare {good}")),
        ("colon after the scheme", format!("Bearer: {good}")),
        ("equals sign after the scheme", format!("Bearer={good}")),
        ("no space after the scheme", format!("Bearer{good}")),
        ("tab after the scheme", format!("Bearer\t{good}")),
        ("no-break space after the scheme", format!("Bearer\u{a0}{good}")),
        ("em space after the scheme", format!("Bearer\u{2003}{good}")),
        (
            "zero-width space before the scheme",
            format!("\u{200b}Bearer {good}"),
        ),
        ("scheme in fullwidth letters", format!("\u{ff22}earer {good}")),
        ("scheme quoted", format!("\"Bearer\" {good}")),
        ("two schemes with a comma", format!("Basic dTpw, Bearer {good}")),
    ] {
        list.authorization(name, value, refused(NO_BEARER));
    }
    list.authorization(
        "no-break space of one byte after the scheme",
        [b"Bearer\xa0", good.as_bytes()].concat(),
        refused(NO_BEARER),
    );
    list.authorization("empty value", "", refused(NO_BEARER));
    list.authorization("the scheme alone", "Bearer", refused(NO_BEARER));
    // A trailing space is not part of a value, but whoever asks without HTTP can send one.
    list.authorization("the scheme and a space", "Bearer ", refused(NO_TOKEN))
        .proxy = refused(NO_BEARER);
}

pub(super) fn bytes(list: &mut List, good: &str, second: &str) {
    for (name, value) in [
        ("two spaces after the scheme", format!("Bearer  {good}")),
        ("space and tab after the scheme", format!("Bearer \t{good}")),
        ("scheme twice", format!("Bearer Bearer {good}")),
        ("token quoted", format!("Bearer \"{good}\"")),
        ("token in a parameter", format!("Bearer token={good}")),
        (
            "parameters before the token",
            format!("Bearer realm=\"x\", {good}"),
        ),
        ("a parameter after the token", format!("Bearer {good};v=1")),
        ("a word after the token", format!("Bearer {good} x")),
        ("two tokens with a space", format!("Bearer {good} {second}")),
        ("two tokens with a comma", format!("Bearer {good},{second}")),
        (
            "two credentials with a comma",
            format!("Bearer {good},Bearer {second}"),
        ),
        (
            "two credentials with a comma and a space",
            format!("Bearer {good}, Bearer {second}"),
        ),
        (
            "the same credential twice with a comma",
            format!("Bearer {good}, Bearer {good}"),
        ),
        ("a comma after the token", format!("Bearer {good},")),
        ("a comma before the token", format!("Bearer ,{good}")),
        (
            "a percent-encoded space after the token",
            format!("Bearer {good}%20"),
        ),
        (
            "a percent-encoded NUL after the token",
            format!("Bearer {good}%00"),
        ),
        (
            "dots percent-encoded",
            format!("Bearer {}", good.replace('.', "%2e")),
        ),
        ("= after the token", format!("Bearer {good}=")),
        ("# after the token", format!("Bearer {good}#x")),
        ("? after the token", format!("Bearer {good}?x")),
        ("an ampersand after the token", format!("Bearer {good}&x=1")),
        ("a slash after the token", format!("Bearer {good}/")),
        ("a backslash after the token", format!("Bearer {good}\\")),
        ("a no-break space after the token", format!("Bearer {good}\u{a0}")),
        (
            "a zero-width space after the token",
            format!("Bearer {good}\u{200b}"),
        ),
        (
            "a byte order mark before the token",
            format!("Bearer \u{feff}{good}"),
        ),
        (
            "a fullwidth dot in the token",
            format!("Bearer {}", good.replacen('.', "\u{ff0e}", 1)),
        ),
    ] {
        list.authorization(name, value, refused(NO_TOKEN));
    }
    for (name, byte) in [("0xa0", 0xa0_u8), ("0x80", 0x80), ("0xff", 0xff)] {
        let value = [b"Bearer ", good.as_bytes(), &[byte]].concat();
        list.authorization(&format!("byte {name} after the token"), value, refused(NO_TOKEN));
    }
    for (name, byte) in [("NUL", 0_u8), ("0x01", 1), ("escape", 0x1b), ("delete", 0x7f)] {
        let value = [b"Bearer ", good.as_bytes(), &[byte]].concat();
        list.authorization(&format!("{name} after the token"), value, refused(NO_TOKEN))
            .proxy = Answer::Malformed;
    }
    // What HTTP takes off before anybody reads the value; asked without HTTP it is refused.
    for (name, before, after) in [
        ("a space after the token", "", " "),
        ("a tab after the token", "", "\t"),
        ("a space before the scheme", " ", ""),
        ("a tab before the scheme", "\t", ""),
    ] {
        let reason = if before.is_empty() { NO_TOKEN } else { NO_BEARER };
        list.authorization(name, format!("{before}Bearer {good}{after}"), refused(reason))
            .proxy = Answer::Allowed;
    }
    // RFC 9112 lets a proxy join folded lines by a space; whoever decides and whoever is sent it read the joined value.
    for (name, value) in [
        (
            "the value folded onto a second line",
            format!("Bearer\r\n {good}"),
        ),
        ("folded after the token", format!("Bearer {good}\r\n\t")),
    ] {
        list.authorization(name, value, Answer::Allowed).check = None;
    }
    // Envoy takes a lone carriage return out and judges, and forwards, the rest: another token.
    let broken = format!("Bearer {good}\rx");
    list.authorization("a carriage return after the token", broken, refused(NO_TOKEN))
        .proxy = refused("token refused: base64: ");
    let value = format!("Bearer {good}").into_bytes();
    for (name, header) in [
        ("a space before the colon", "authorization "),
        ("a NUL in the name", "authorization\0"),
        ("a tab before the colon", "authorization\t"),
    ] {
        list.add(name, vec![(header, value.clone())], Answer::Malformed)
            .check = None;
    }
    for header in ["Authorization", "AUTHORIZATION", "aUTHORIZATION"] {
        let request = list.add(
            &format!("header written {header}"),
            vec![(header, value.clone())],
            Answer::Allowed,
        );
        // Envoy writes names in lower case when it asks.
        request.check = None;
    }
}
