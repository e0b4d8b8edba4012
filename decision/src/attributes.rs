//! What a proxy says about one request. Borrowed from the wire; nothing here trusts it.

use std::borrow::Cow;

use contract::assertion::Access;

use crate::denial::DenyReason;

/// The longest path we look at, in bytes. Envoy's own limit for all headers together is 60 KiB.
const MAX_PATH_BYTES: usize = 32 * 1024;

/// One header as received. A header that matters must come at most once: proxies and cells disagree on which of
/// several values counts, and attackers live in that gap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Field<'a> {
    /// Not there.
    #[default]
    Absent,
    /// Exactly one value, possibly empty.
    One(&'a [u8]),
    /// More than one header line of this name.
    Repeated,
}

impl<'a> Field<'a> {
    /// Adds a header line.
    pub fn push(&mut self, value: &'a [u8]) {
        *self = match self {
            Self::Absent => Self::One(value),
            Self::One(_) | Self::Repeated => Self::Repeated,
        };
    }

    /// The value, if there is exactly one.
    #[must_use]
    pub fn one(self) -> Option<&'a [u8]> {
        match self {
            Self::One(value) => Some(value),
            Self::Absent | Self::Repeated => None,
        }
    }
}

/// The request's attributes, as far as the policy reads them.
#[derive(Clone, Copy, Default)]
pub struct Attributes<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// The `host` or `:authority`, raw: port, case and a trailing dot included.
    pub host: &'a str,
    /// The path with its query, raw; empty for a CONNECT.
    pub path: &'a str,
    /// `authorization`.
    pub authorization: Field<'a>,
    /// `cf-access-jwt-assertion`.
    pub access_assertion: Field<'a>,
    /// `upgrade`.
    pub upgrade: Field<'a>,
    /// `sec-websocket-protocol`.
    pub websocket_protocol: Field<'a>,
    /// `x-request-id`, empty when there is none.
    pub request_id: &'a str,
    /// `traceparent`, for the log and for traces: nothing is decided by it.
    pub trace_parent: Field<'a>,
    /// Whether [`Self::method`], [`Self::host`] and [`Self::path`] come from a proxy that vouches for them. When
    /// false, the route's class is the strictest of the policy and the host says nothing.
    pub vouched: bool,
    /// Whether [`Self::upgrade`] is there if the request has one. Some proxies take hop-by-hop headers out of what they
    /// ask, and leave them in what they send on; then every request may be a conversation.
    pub upgrade_shown: bool,
}

impl std::fmt::Debug for Attributes<'_> {
    // Credentials and queries must not reach a log, so neither is printed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attributes")
            .field("method", &self.method)
            .field("host", &self.host)
            .field("path", &self.path_only())
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

impl<'a> Attributes<'a> {
    /// The path without query and fragment.
    #[must_use]
    pub fn path_only(&self) -> &'a str {
        let end = self.path.find(['?', '#']).unwrap_or(self.path.len());
        self.path.get(..end).unwrap_or_default()
    }

    /// Whether this is a WebSocket handshake (HTTP/1.1 upgrade; Envoy presents HTTP/2's extended CONNECT the same).
    #[must_use]
    pub fn is_websocket(&self) -> bool {
        self.upgrade
            .one()
            .is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
    }

    /// Whether the request certainly goes on with no other protocol.
    pub(crate) fn has_no_upgrade(&self) -> bool {
        self.upgrade_shown && self.upgrade == Field::Absent
    }

    /// What the request may do, by its method alone. Any other protocol that it wants to go on with is a conversation:
    /// nobody can say what its messages do.
    #[must_use]
    pub fn access(&self) -> Access {
        let reads = matches!(self.method, "GET" | "HEAD" | "OPTIONS");
        if reads && self.has_no_upgrade() {
            Access::Read
        } else {
            Access::Write
        }
    }

    /// The host in the form the registry keeps: lower case, no port, no trailing dot. Two hosts in one value, or
    /// anything that is no host, is refused rather than guessed at.
    pub fn canonical_host(&self) -> Result<Cow<'a, str>, DenyReason> {
        let host = self.host;
        let without_port = match host.rfind(':') {
            // An IPv6 literal's colons stand inside its brackets.
            Some(colon) if !host.ends_with(']') => {
                let port = host.get(colon + 1..).unwrap_or_default();
                if !port.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(DenyReason::Malformed("host: port"));
                }
                host.get(..colon).unwrap_or_default()
            }
            _ => host,
        };
        let name = without_port.strip_suffix('.').unwrap_or(without_port);
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'[' | b']' | b':');
        if name.len() > 253 || !name.bytes().all(legal) {
            return Err(DenyReason::Malformed("host"));
        }
        if name.bytes().any(|b| b.is_ascii_uppercase()) {
            Ok(Cow::Owned(name.to_ascii_lowercase()))
        } else {
            Ok(Cow::Borrowed(name))
        }
    }

    /// Refuses a method that no HTTP/1 server would accept. Envoy forwards any token over HTTP/2, and a framework that
    /// upper-cases `post` would run what no rule for `POST` has seen. `TRACE` would send credentials back.
    pub fn check_method(&self) -> Result<(), DenyReason> {
        let legal = |b: u8| b.is_ascii_uppercase() || b == b'-';
        let known = (1..=32).contains(&self.method.len()) && self.method.bytes().all(legal);
        if known && self.method != "TRACE" {
            Ok(())
        } else {
            Err(DenyReason::Malformed("method"))
        }
    }

    /// Judges whether everybody reads the path as we do, because a route class must never be chosen on a path that the
    /// cell reads differently.
    ///
    /// Refused outright: dot segments, empty segments, encoded slashes, backslashes, control characters. Envoy
    /// normalises or rejects these before we are asked; other proxies may not.
    pub fn read_path(&self) -> Result<Reading, DenyReason> {
        let path = self.path_only();
        if path.is_empty() || path == "*" {
            return Ok(Reading::Plain); // CONNECT and OPTIONS *: no class can match them
        }
        if path.len() > MAX_PATH_BYTES || !path.starts_with('/') {
            return Err(DenyReason::Malformed("path"));
        }
        if path.bytes().any(|b| b <= b' ' || b == b'\\' || b == 0x7f) {
            return Err(DenyReason::Malformed("path: character"));
        }
        let mut reading = if path.contains('%') {
            read_escapes(path.as_bytes())?
        } else {
            Reading::Plain
        };
        // The first segment is empty by the leading slash, the last may be by a trailing one.
        let mut segments = path.split('/').skip(1).peekable();
        while let Some(segment) = segments.next() {
            let is_last = segments.peek().is_none();
            // Servlet containers cut parameters off a segment, and then see the dots.
            let name = segment.split(';').next().unwrap_or_default();
            if matches!(name, "." | "..") || (segment.is_empty() && !is_last) {
                return Err(DenyReason::Malformed("path: not normalised"));
            }
            if name.len() != segment.len() {
                reading = Reading::Doubtful;
            }
        }
        Ok(reading)
    }
}

/// Whether a path can be read in more than one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// One way only.
    Plain,
    /// A server that decodes twice, cuts path parameters or trims spaces reads another path: such a request is held to
    /// the strictest rule of the policy, and to no exemption.
    Doubtful,
}

/// Judges percent-escapes. Encoded separators, dots and control characters are refused.
fn read_escapes(path: &[u8]) -> Result<Reading, DenyReason> {
    let mut reading = Reading::Plain;
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((byte, after)) = rest.split_first() {
        if *byte != b'%' {
            decoded.push(*byte);
            rest = after;
            continue;
        }
        let digits = after
            .first_chunk::<2>()
            .and_then(|pair| std::str::from_utf8(pair).ok());
        let value = digits
            .filter(|d| !d.starts_with('+'))
            .and_then(|d| u8::from_str_radix(d, 16).ok());
        let value = value.ok_or(DenyReason::Malformed("path: escape"))?;
        rest = after.get(2..).unwrap_or_default();
        match value {
            b'/' | b'\\' | b'.' | 0..=0x1f | 0x7f => {
                return Err(DenyReason::Malformed("path: encoded separator"));
            }
            // Nobody encodes a letter but to hide it; `%25` hides whatever follows from one decoding.
            b'%' | b';' | b'?' | b'#' | b'-' | b'_' | b'~' => reading = Reading::Doubtful,
            _ if value.is_ascii_alphanumeric() => reading = Reading::Doubtful,
            b' ' if matches!(rest.first(), None | Some(b'/')) => reading = Reading::Doubtful,
            _ => {}
        }
        decoded.push(value);
    }
    // Overlong forms of a slash or a dot are no UTF-8.
    if std::str::from_utf8(&decoded).is_err() {
        reading = Reading::Doubtful;
    }
    Ok(reading)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn host(raw: &str) -> Option<String> {
        Attributes {
            host: raw,
            ..Attributes::default()
        }
        .canonical_host()
        .ok()
        .map(Cow::into_owned)
    }

    #[test]
    fn hosts() {
        for (raw, canonical) in [
            ("acme.example.com", Some("acme.example.com")),
            ("ACME.Example.com:10000", Some("acme.example.com")),
            ("acme.example.com.", Some("acme.example.com")),
            ("acme.example.com.:443", Some("acme.example.com")),
            ("[::1]:10000", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("", Some("")),
            ("a.example,b.example", None),
            ("a.example b.example", None),
            ("a.example:8o", None),
            ("a.example/..", None),
            ("user@a.example", None),
        ] {
            assert_eq!(host(raw).as_deref(), canonical, "{raw:?}");
        }
    }

    #[test]
    fn paths() {
        use Reading::{Doubtful, Plain};
        let read = |path| {
            Attributes {
                path,
                ..Attributes::default()
            }
            .read_path()
            .ok()
        };
        for plain in [
            "",
            "*",
            "/",
            "/api",
            "/api/",
            "/a/b?x=/../y",
            "/a%20b",
            "/..a",
            "/a.",
            "/%c3%a4",
            "/a:b@c",
        ] {
            assert_eq!(read(plain), Some(Plain), "{plain}");
        }
        for doubtful in [
            "/%61dmin",
            "/adm%69n",
            "/a%25b",
            "/public/%252e%252e/x",
            "/a;x=1",
            "/a;/b",
            "/a%3bx",
            "/a%3fx",
            "/a%23",
            "/a%20",
            "/a%20/b",
            "/a%ff",
            "/..%c0%af",
        ] {
            assert_eq!(read(doubtful), Some(Doubtful), "{doubtful}");
        }
        for refused in [
            "//",
            "//a",
            "/a//b",
            "/./a",
            "/a/..",
            "/../a",
            "/a/%2e%2E/b",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a\nb",
            "a/b",
            "/a%00",
            "/a%09",
            "/public/..;/admin",
            "/a/.;x/b",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%+1",
        ] {
            assert_eq!(read(refused), None, "{refused}");
        }
    }

    #[test]
    fn methods() {
        let known = |method| {
            Attributes {
                method,
                ..Attributes::default()
            }
            .check_method()
            .is_ok()
        };
        for good in ["GET", "POST", "OPTIONS", "CONNECT", "M-SEARCH"] {
            assert!(known(good), "{good}");
        }
        for bad in ["", "get", "Post", "GET ", "TRACE", "G\u{c9}T", &"A".repeat(33)] {
            assert!(!known(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_host_and_path_is_answered(raw in ".{0,300}", path in ".{0,300}") {
            let attributes = Attributes { host: &raw, path: &path, ..Attributes::default() };
            let _ = attributes.read_path();
            if let Ok(canonical) = attributes.canonical_host() {
                prop_assert!(!canonical.bytes().any(|b| b.is_ascii_uppercase() || b == b',' || b == b' '));
            }
        }
    }
}
