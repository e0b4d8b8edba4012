//! From Envoy's request to `decision::Attributes`. Envoy's types end here.

use contract::header;
use decision::{Attributes, DenyReason};

use crate::host::{Attribute, Host};

/// Reads what the policy needs and nothing else; all of it is borrowed from `host`.
///
/// Envoy joins repeated lines of some headers (`authorization`) with a comma, which the credential rules refuse; of the
/// others each line counts. What is no text is refused: nobody knows how a cell would read it.
pub fn read<H: Host>(host: &H) -> Result<Attributes<'_>, DenyReason> {
    Ok(Attributes {
        method: text(host.attribute(Attribute::Method), "method: not text")?,
        host: text(host.attribute(Attribute::Host), "host: not text")?,
        path: text(before_query(host.attribute(Attribute::Path)), "path: not text")?,
        authorization: host.header(header::AUTHORIZATION),
        access_assertion: host.header(header::ACCESS_ASSERTION),
        upgrade: host.header("upgrade"),
        websocket_protocol: host.header(header::WEBSOCKET_PROTOCOL),
        vouched: true,
        upgrade_shown: true,
        // The request's id is asked for only when it is needed: of a denial. Traces are Envoy's own.
        ..Attributes::default()
    })
}

/// The path alone: a query may hold any bytes, and decides nothing.
fn before_query(path: &[u8]) -> &[u8] {
    path.split(|b| matches!(*b, b'?' | b'#'))
        .next()
        .unwrap_or_default()
}

fn text<'a>(bytes: &'a [u8], what: &'static str) -> Result<&'a str, DenyReason> {
    std::str::from_utf8(bytes).map_err(|_| DenyReason::Malformed(what))
}

#[cfg(test)]
mod tests {
    use decision::Field;

    use super::*;
    use crate::testing::FakeHost;

    #[test]
    fn a_header_sent_twice_is_seen_twice_or_joined() {
        let host = FakeHost::get("/x?a=1")
            .with("cf-access-jwt-assertion", "a.b.c")
            .with("cf-access-jwt-assertion", "d.e.f")
            .with("authorization", "Bearer a")
            .with("authorization", "Bearer b")
            .with("upgrade", "");
        let attributes = read(&host).unwrap();
        assert_eq!(attributes.access_assertion, Field::Repeated);
        assert_eq!(attributes.authorization, Field::One(b"Bearer a,Bearer b"));
        assert_eq!(attributes.upgrade, Field::One(b""));
        assert_eq!(attributes.websocket_protocol, Field::Absent);
        assert_eq!((attributes.method, attributes.path), ("GET", "/x"));
        assert!(attributes.vouched && attributes.upgrade_shown);
    }

    #[test]
    fn what_is_no_text_is_refused_but_in_a_query() {
        let path = |bytes: &[u8]| {
            let mut host = FakeHost::get("/");
            host.path = bytes.to_vec();
            read(&host).map(|attributes| attributes.path.to_owned())
        };
        assert_eq!(path(b"/a?\xff"), Ok("/a".to_owned()));
        assert_eq!(path(b"/a#\xff"), Ok("/a".to_owned()));
        assert_eq!(path(b""), Ok(String::new()), "CONNECT");
        assert_eq!(path(b"/\xff"), Err(DenyReason::Malformed("path: not text")));
    }
}
