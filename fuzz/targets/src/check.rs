//! The attributes of a request. Input: a byte of modes, then lines of one letter and a value each (see [`Line`]); `{N}`
//! in a value is the good token number N of [`TOKENS`].

use std::sync::LazyLock;

use conformance::tokens::{self, Draft};
use decision::Attributes;
use decision::outcome::Destination;
use decision::{AuthMode, CbaMode, Decision, decide, explain};

use crate::world::{NOW, Provider, WORLD};

/// The letters of the lines.
pub enum Line {}

impl Line {
    /// `:method`.
    pub const METHOD: u8 = b'm';
    /// `:authority`.
    pub const HOST: u8 = b'h';
    /// `:path`.
    pub const PATH: u8 = b'p';
    /// `authorization`.
    pub const AUTHORIZATION: u8 = b'a';
    /// `cf-access-jwt-assertion`.
    pub const ACCESS: u8 = b'c';
    /// `upgrade`.
    pub const UPGRADE: u8 = b'u';
    /// `sec-websocket-protocol`.
    pub const PROTOCOLS: u8 = b'w';
    /// `x-request-id`.
    pub const REQUEST_ID: u8 = b'i';
}

/// In the byte of modes: the proxy vouches for method, host and path.
pub const VOUCHED: u8 = 1;
/// In the byte of modes: `AUTH_MODE=optional`.
pub const OPTIONAL: u8 = 2;
/// In the byte of modes: `CBA_MODE=off`.
pub const CBA_OFF: u8 = 4;

/// The one good token whose sign-in was a moment ago, and the only one that may enter `/admin`.
pub const STRONG: usize = 0;

/// Good tokens that inputs can name, each with the tenant that it is linked to.
pub static TOKENS: LazyLock<Vec<(String, Option<&'static str>)>> = LazyLock::new(|| {
    let strong = tokens::auth0(NOW)
        .with("auth_time", NOW - 10)
        .with("amr", serde_json::json!(["mfa"]));
    let of =
        |provider: &Provider, draft: &Draft| (WORLD.sign_draft(draft), tenant_of(provider, &draft.claims));
    let auth0 = WORLD
        .providers
        .iter()
        .find(|provider| provider.name == "auth0")
        .unwrap();
    let good = WORLD
        .providers
        .iter()
        .flat_map(|provider| provider.drafts.iter().map(move |draft| of(provider, draft)));
    std::iter::once(of(auth0, &strong)).chain(good).collect()
});

/// By the claims' own words, without our code: the links of this world are few.
fn tenant_of(provider: &Provider, claims: &serde_json::Value) -> Option<&'static str> {
    let text = |name: &str| claims.get(name).and_then(|value| value.as_str());
    let named = |kind: &str, id: &str| match kind {
        "tid" => text("tid") == Some(id),
        "org_id" => text("org_id") == Some(id),
        // Of machines only: a person's token names its client as well.
        "client_id" => text("gty") == Some("client-credentials") && text("azp") == Some(id),
        _ => claims["aud"][0] == id,
    };
    let mut links = provider.links.iter();
    links
        .find(|(kind, id, _)| named(kind, id))
        .map(|(_, _, tenant)| *tenant)
}

/// The tokens that a value names, and the value with their text.
fn expand(value: &[u8], named: &mut Vec<usize>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = value;
    while let Some(open) = rest.iter().position(|b| *b == b'{') {
        let (before, after) = rest.split_at(open);
        out.extend(before);
        let close = after.iter().position(|b| *b == b'}');
        let number = close
            .and_then(|close| std::str::from_utf8(&after[1..close]).ok()?.parse::<usize>().ok())
            .filter(|number| *number < TOKENS.len());
        match (number, close) {
            (Some(number), Some(close)) => {
                named.push(number);
                out.extend(TOKENS[number].0.as_bytes());
                rest = &after[close + 1..];
            }
            _ => {
                out.push(b'{');
                rest = &after[1..];
            }
        }
    }
    out.extend(rest);
    out
}

/// Whatever the request: an answer; the explanation gives the same one; who gets in has a token for where it goes.
pub fn run(data: &[u8]) {
    let Some((modes, lines)) = data.split_first() else {
        return;
    };
    let mut named = Vec::new();
    let values: Vec<(u8, Vec<u8>)> = lines
        .split(|b| *b == b'\n')
        .filter_map(|line| line.split_first())
        .map(|(letter, value)| (*letter, expand(value, &mut named)))
        .collect();
    let text = |value: &'static str, letter| {
        let found = values.iter().rfind(|(own, _)| *own == letter);
        found.map_or(Some(value), |(_, value)| std::str::from_utf8(value).ok())
    };
    let mut attributes = Attributes {
        vouched: modes & VOUCHED != 0,
        upgrade_shown: modes & VOUCHED != 0,
        ..Attributes::default()
    };
    // The wire's own types hold text here; a proxy that sends other bytes is refused where they are read.
    let (Some(method), Some(host), Some(path), Some(request_id)) = (
        text("GET", Line::METHOD),
        text("", Line::HOST),
        text("/", Line::PATH),
        text("", Line::REQUEST_ID),
    ) else {
        return;
    };
    (attributes.method, attributes.host) = (method, host);
    (attributes.path, attributes.request_id) = (path, request_id);
    for (letter, value) in &values {
        match *letter {
            Line::AUTHORIZATION => attributes.authorization.push(value),
            Line::ACCESS => attributes.access_assertion.push(value),
            Line::UPGRADE => attributes.upgrade.push(value),
            Line::PROTOCOLS => attributes.websocket_protocol.push(value),
            _ => {}
        }
    }
    let auth_mode = if modes & OPTIONAL != 0 {
        AuthMode::Optional
    } else {
        AuthMode::Required
    };
    let cba_mode = if modes & CBA_OFF != 0 {
        CbaMode::Off
    } else {
        CbaMode::Enforce
    };
    let world = WORLD.world(auth_mode, cba_mode);
    let decision = decide(&attributes, &world, NOW);
    let told = crate::chosen(data, 16).then(|| explain(&attributes, &world, NOW));
    match (&decision, told) {
        (Decision::Deny { reason, .. }, Some(told)) => {
            assert!(!told.allowed, "the explanation is another decision");
            assert_eq!(told.code, Some(reason.code()));
            assert_eq!(told.reason.as_deref(), Some(reason.to_string().as_str()));
        }
        (Decision::Allow(route), Some(told)) => {
            assert!(told.allowed, "the explanation is another decision");
            assert_eq!(told.destination, Some(route.destination.to_string()));
        }
        (_, None) => {}
    }
    if let Decision::Allow(route) = &decision {
        judge(&attributes, auth_mode, cba_mode, &named, route);
    }
}

fn judge(
    attributes: &Attributes<'_>,
    auth_mode: AuthMode,
    cba_mode: CbaMode,
    named: &[usize],
    route: &decision::Route<'_>,
) {
    if let decision::credentials::ProtocolRewrite::Set(protocols) = &route.protocols {
        assert!(
            protocols.bytes().all(|b| b == b' ' || b.is_ascii_graphic()),
            "no header value: {protocols:?}"
        );
        let mut kept = protocols.split(", ");
        assert!(!kept.any(|kept| kept.to_ascii_lowercase().starts_with("alphaswarm.bearer.")));
    }
    if route.token.is_some() {
        assert!(!named.is_empty(), "let in by a token that nobody signed");
    }
    match (route.destination, route.tenant) {
        (Destination::Cell(cell), Some(tenant)) => {
            let allowed = named.iter().any(|number| TOKENS[*number].1 == Some(tenant));
            assert!(
                allowed || (auth_mode == AuthMode::Optional && route.token.is_none()),
                "{tenant} without a token of it"
            );
            let placed = WORLD.snapshot.tenant(tenant).and_then(|view| view.placement);
            assert_eq!(placed.map(|placement| placement.cell), Some(cell), "a wrong cell");
            assert_eq!(route.assertion.is_some(), cba_mode == CbaMode::Enforce);
        }
        (Destination::Cell(cell), None) => {
            assert!(route.token.is_none());
            assert_eq!(cell, "cell-a", "anonymous requests have one cell");
            assert!(below(attributes.path, "public"));
        }
        (Destination::Platform(name), _) => assert_eq!(name, "console"),
    }
    if below(attributes.path, "admin") && auth_mode == AuthMode::Required {
        assert!(named.contains(&STRONG), "into /admin by {:?}", attributes.path);
    }
}

/// Whether some server could read the path as one below `/segment`: everything decoded, in lower case, parameters cut
/// off, dots resolved.
fn below(path: &str, segment: &str) -> bool {
    let mut path = path.split(['?', '#']).next().unwrap_or_default().to_owned();
    for _ in 0..3 {
        path = decoded(&path).to_lowercase().replace('\\', "/");
    }
    let mut segments: Vec<&str> = Vec::new();
    for part in path
        .split('/')
        .map(|part| part.split(';').next().unwrap_or_default())
    {
        match part {
            "" | "." => {}
            ".." => drop(segments.pop()),
            part => segments.push(part),
        }
    }
    segments.first() == Some(&segment)
}

fn decoded(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = path.get(at + 1..at + 3).filter(|_| *byte == b'%');
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(escaped) => {
                out.push(escaped);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
