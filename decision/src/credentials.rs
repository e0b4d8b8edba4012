//! Which token counts. Only three places are read; cookies and query parameters are never credentials.

use contract::header;
use identity::Rule;
use identity::unverified::MAX_TOKEN_BYTES;

use crate::attributes::{Attributes, Field};
use crate::denial::DenyReason;

/// The longest list of WebSocket protocols that is looked through, in bytes: a token and a few names.
const MAX_PROTOCOLS_BYTES: usize = 2 * MAX_TOKEN_BYTES;

/// The tokens a request presents, still unverified.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// From `authorization`, or from the WebSocket subprotocol.
    pub bearer: Option<&'a str>,
    /// From `cf-access-jwt-assertion`.
    pub access: Option<&'a str>,
}

impl<'a> Credentials<'a> {
    /// Reads the credentials. Anything ambiguous (two values, a comma, another scheme, a second place for the same
    /// token) is refused: whoever forwards the request could read it otherwise than we do.
    pub fn parse(attributes: &Attributes<'a>) -> Result<Self, DenyReason> {
        let header = match attributes.authorization {
            Field::Absent => None,
            Field::One(value) => Some(parse_bearer(value)?),
            Field::Repeated => return Err(DenyReason::Credential("authorization: repeated")),
        };
        let access = match attributes.access_assertion {
            Field::Absent => None,
            Field::One(value) => Some(parse_token(value)?),
            Field::Repeated => return Err(DenyReason::Credential("access assertion: repeated")),
        };
        let subprotocol = if attributes.is_websocket() {
            parse_subprotocol(attributes.websocket_protocol)?
        } else {
            None
        };
        let bearer = match (header, subprotocol) {
            (Some(_), Some(_)) => {
                return Err(DenyReason::Credential(
                    "authorization beside a subprotocol credential",
                ));
            }
            (header, subprotocol) => header.or(subprotocol),
        };
        Ok(Self { bearer, access })
    }

    /// Whether there is nothing to verify.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bearer.is_none() && self.access.is_none()
    }
}

/// `Bearer`, one space, one token (RFC 6750 §2.1; the scheme is case-insensitive by RFC 9110).
fn parse_bearer(value: &[u8]) -> Result<&str, DenyReason> {
    let (scheme, token) = value
        .split_at_checked(7)
        .ok_or(DenyReason::Credential("authorization: not a bearer token"))?;
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return Err(DenyReason::Credential("authorization: not a bearer token"));
    }
    parse_token(token)
}

/// The alphabet of a compact JWS. A comma (two joined header lines), a space, a tab or any other byte is refused.
fn parse_token(value: &[u8]) -> Result<&str, DenyReason> {
    // Before its bytes are looked at: a megabyte of garbage must not cost more than its length.
    if value.len() > MAX_TOKEN_BYTES {
        return Err(DenyReason::Token(Rule::Size.into()));
    }
    if value.is_empty() || !is_token(value) {
        return Err(DenyReason::Credential("token: not a compact JWS"));
    }
    std::str::from_utf8(value).map_err(|_| DenyReason::Credential("token: not a compact JWS"))
}

/// Looks at every byte, without leaving at the first bad one: so the loop has no branch and runs on vectors, which for a
/// token of 1 KB is ten times as fast, and good tokens are the many.
fn is_token(value: &[u8]) -> bool {
    let illegal = |b: u8| {
        let letter = (b | 0x20).wrapping_sub(b'a') < 26;
        let digit = b.wrapping_sub(b'0') < 10;
        u8::from(!(letter | digit | (b == b'-') | (b == b'_') | (b == b'.')))
    };
    value.iter().fold(0, |found, b| found | illegal(*b)) == 0
}

fn parse_subprotocol(field: Field<'_>) -> Result<Option<&str>, DenyReason> {
    let value = match field {
        Field::Absent => return Ok(None),
        Field::One(value) => value,
        Field::Repeated => return Err(DenyReason::Credential("subprotocol: repeated")),
    };
    if value.len() > MAX_PROTOCOLS_BYTES {
        return Err(DenyReason::Credential("subprotocol: too long"));
    }
    let mut found = None;
    for token in protocols(value).filter_map(bearer_protocol) {
        if found.replace(parse_token(token)?).is_some() {
            return Err(DenyReason::Credential("subprotocol: two credentials"));
        }
    }
    Ok(found)
}

/// What to do with `sec-websocket-protocol` so that no cell ever sees a token in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ProtocolRewrite {
    /// It carries no credential.
    #[default]
    Keep,
    /// Nothing else was offered.
    Remove,
    /// The offered protocols without the credential.
    Set(String),
}

impl ProtocolRewrite {
    /// Reads the header, whether or not the request is a WebSocket handshake.
    #[must_use]
    pub fn of(field: Field<'_>) -> Self {
        let value = match field {
            Field::Absent => return Self::Keep,
            Field::One(value) => value,
            // Only outside a handshake (see `parse_subprotocol`), where the header has no meaning.
            Field::Repeated => return Self::Remove,
        };
        if value.len() > MAX_PROTOCOLS_BYTES {
            return Self::Remove;
        }
        if !protocols(value).any(|p| bearer_protocol(p).is_some()) {
            return Self::Keep;
        }
        let kept: Vec<&str> = protocols(value)
            .filter(|p| bearer_protocol(p).is_none())
            // What is no token (RFC 9110 §5.6.2) would make a header that no proxy forwards.
            .filter(|p| p.iter().all(u8::is_ascii_graphic))
            .filter_map(|p| std::str::from_utf8(p).ok())
            .collect();
        if kept.is_empty() {
            Self::Remove
        } else {
            Self::Set(kept.join(", "))
        }
    }
}

fn protocols(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|b| *b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|p| !p.is_empty())
}

/// The token of a `alphaswarm.bearer.<token>` protocol; the prefix counts in any case, so that a differently written
/// one is neither forwarded nor lost.
fn bearer_protocol(protocol: &[u8]) -> Option<&[u8]> {
    let (prefix, token) = protocol.split_at_checked(header::WEBSOCKET_BEARER.len())?;
    prefix
        .eq_ignore_ascii_case(header::WEBSOCKET_BEARER.as_bytes())
        .then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(value: &str) -> Option<String> {
        let attributes = Attributes {
            authorization: Field::One(value.as_bytes()),
            ..Attributes::default()
        };
        Credentials::parse(&attributes)
            .ok()
            .and_then(|c| c.bearer.map(str::to_owned))
    }

    #[test]
    fn authorization() {
        assert_eq!(bearer("Bearer a.b.c").as_deref(), Some("a.b.c"));
        assert_eq!(bearer("bearer a.b.c").as_deref(), Some("a.b.c"));
        for bad in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer  a.b.c",
            "Bearer\ta.b.c",
            "Bearer a.b.c ",
            "Bearer a.b.c,Bearer d.e.f",
            "Bearer a.b.c, Bearer d.e.f",
            "Basic a.b.c",
            "a.b.c",
            " Bearer a.b.c",
            "Bearer a.b.c\u{a0}",
            "Bearer a=.b.c",
        ] {
            assert_eq!(bearer(bad), None, "{bad:?}");
        }
        let repeated = Attributes {
            authorization: Field::Repeated,
            ..Attributes::default()
        };
        assert!(Credentials::parse(&repeated).is_err());
    }

    #[test]
    fn what_is_too_long_is_not_looked_at() {
        let refused = |attributes: Attributes<'_>| Credentials::parse(&attributes).err();
        let size = Some(DenyReason::Token(Rule::Size.into()));
        let token = "a".repeat(MAX_TOKEN_BYTES + 1);
        let authorization = format!("Bearer {token}");
        let reason = refused(Attributes {
            authorization: Field::One(authorization.as_bytes()),
            ..Attributes::default()
        });
        assert_eq!(reason, size);
        let reason = refused(Attributes {
            access_assertion: Field::One(token.as_bytes()),
            ..Attributes::default()
        });
        assert_eq!(reason, size);
        assert!(bearer(&format!("Bearer {}", "a".repeat(MAX_TOKEN_BYTES))).is_some());

        let protocols = "chat,".repeat(MAX_PROTOCOLS_BYTES / 5 + 1);
        let reason = refused(Attributes {
            upgrade: Field::One(b"websocket"),
            websocket_protocol: Field::One(protocols.as_bytes()),
            ..Attributes::default()
        });
        assert_eq!(reason, Some(DenyReason::Credential("subprotocol: too long")));
        let protocols = Field::One(protocols.as_bytes());
        assert_eq!(ProtocolRewrite::of(protocols), ProtocolRewrite::Remove);
    }

    #[test]
    fn the_alphabet_of_a_token() {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        for byte in 0..=u8::MAX {
            // At every place of a vector, and in the rest after the last one.
            for length in [1, 15, 16, 33, 70] {
                for at in 0..length {
                    let mut token = vec![b'x'; length];
                    token[at] = byte;
                    assert_eq!(is_token(&token), legal(byte), "{byte} at {at} of {length}");
                }
            }
        }
    }

    fn handshake(protocol: &str) -> Attributes<'_> {
        Attributes {
            upgrade: Field::One(b"WebSocket"),
            websocket_protocol: Field::One(protocol.as_bytes()),
            ..Attributes::default()
        }
    }

    #[test]
    fn subprotocol() {
        let parse = |p| Credentials::parse(&handshake(p)).map(|c| c.bearer);
        assert_eq!(
            parse("alphaswarm.v1, alphaswarm.bearer.a.b.c").unwrap(),
            Some("a.b.c")
        );
        assert_eq!(parse("alphaswarm.v1").unwrap(), None);
        assert!(parse("alphaswarm.bearer.a.b.c, alphaswarm.bearer.d.e.f").is_err());
        assert!(parse("alphaswarm.bearer.").is_err());
        let beside = Attributes {
            authorization: Field::One(b"Bearer a.b.c"),
            ..handshake("alphaswarm.bearer.a.b.c")
        };
        assert!(Credentials::parse(&beside).is_err());
        let no_handshake = Attributes {
            upgrade: Field::Absent,
            ..handshake("alphaswarm.bearer.a.b.c")
        };
        assert!(Credentials::parse(&no_handshake).unwrap().is_empty());
    }

    #[test]
    fn a_cell_never_sees_a_token_in_the_protocols() {
        let rewrite = |p: &'static str| ProtocolRewrite::of(Field::One(p.as_bytes()));
        assert_eq!(rewrite("chat, superchat"), ProtocolRewrite::Keep);
        assert_eq!(rewrite("alphaswarm.bearer.a.b.c"), ProtocolRewrite::Remove);
        assert_eq!(
            rewrite("a,ALPHASWARM.Bearer.x, b"),
            ProtocolRewrite::Set("a, b".to_owned())
        );
        assert_eq!(
            rewrite("a, alphaswarm.bearer.x, b\u{1}c, d e, \u{e4}"),
            ProtocolRewrite::Set("a".to_owned())
        );
        assert_eq!(ProtocolRewrite::of(Field::Repeated), ProtocolRewrite::Remove);
    }
}
