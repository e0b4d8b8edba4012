//! What is read is what generated code reads.

use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue as Line};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request as Asked};
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use prost::Message as _;

use super::*;

fn request(http: Option<HttpRequest>) -> CheckRequest {
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(Peer::default()),
            request: Some(Asked { http, time: None }),
            ..AttributeContext::default()
        }),
    }
}

fn line(key: &str, value: &str, raw: &[u8]) -> Line {
    Line {
        key: key.to_owned(),
        value: value.to_owned(),
        raw_value: raw.to_vec(),
    }
}

/// Comparable: the fields that are read.
fn shown<'a>(attributes: &Attributes<'a>) -> ([&'a str; 4], [Field<'a>; 5], [bool; 2]) {
    let Attributes {
        method,
        host,
        path,
        request_id,
        authorization,
        access_assertion,
        upgrade,
        websocket_protocol,
        trace_parent,
        vouched,
        upgrade_shown,
    } = *attributes;
    (
        [method, host, path, request_id],
        [
            authorization,
            access_assertion,
            upgrade,
            websocket_protocol,
            trace_parent,
        ],
        [vouched, upgrade_shown],
    )
}

/// The same by generated code.
fn generated(request: &CheckRequest) -> Attributes<'_> {
    let asked = request
        .attributes
        .as_ref()
        .and_then(|context| context.request.as_ref());
    let Some(http) = asked.and_then(|asked| asked.http.as_ref()) else {
        return Attributes::default();
    };
    let mut headers = Headers::default();
    match &http.header_map {
        Some(map) => {
            for line in &map.headers {
                let raw = !line.raw_value.is_empty();
                let value = if raw {
                    &line.raw_value
                } else {
                    line.value.as_bytes()
                };
                headers.push(&line.key, value);
            }
        }
        None => {
            for (key, value) in &http.headers {
                headers.push(key, value.as_bytes());
            }
        }
    }
    Attributes {
        method: &http.method,
        host: &http.host,
        path: &http.path,
        vouched: true,
        upgrade_shown: true,
        ..headers.0
    }
}

fn names() -> impl Strategy<Value = String> {
    select(&[
        header::AUTHORIZATION,
        header::ACCESS_ASSERTION,
        header::WEBSOCKET_PROTOCOL,
        header::REQUEST_ID,
        "upgrade",
        TRACEPARENT,
        "accept",
    ])
    .prop_map(str::to_owned)
}

fn https() -> impl Strategy<Value = HttpRequest> {
    let text = ".{0,8}";
    let line = (names(), text, prop::collection::vec(any::<u8>(), 0..200));
    let lines = prop::collection::vec(line, 0..8);
    let joined = prop::collection::hash_map(names(), text, 0..4);
    (text, text, text, prop::option::of(lines), joined, text).prop_map(
        |(method, host, path, lines, headers, body)| {
            let lines = lines.map(|lines| HeaderMap {
                headers: lines
                    .iter()
                    .map(|(key, value, raw)| self::line(key, value, raw))
                    .collect(),
            });
            HttpRequest {
                id: "17".to_owned(),
                method,
                host,
                path,
                headers,
                scheme: "https".to_owned(),
                size: -1,
                protocol: "HTTP/2".to_owned(),
                body,
                header_map: lines,
                ..HttpRequest::default()
            }
        },
    )
}

proptest! {
    #[test]
    fn a_request_is_read_as_generated_code_reads_it(http in prop::option::of(https())) {
        let request = request(http);
        let bytes = request.encode_to_vec();
        let read = read(&bytes).expect("it is well formed");
        prop_assert_eq!(shown(&read), shown(&generated(&request)));
    }

    /// Two of them in one are the fields of both.
    #[test]
    fn parts_that_come_twice_are_joined_as_generated_code_joins_them(one in https(), other in https()) {
        // A name that stands in both maps is one entry there; here it is a header that came twice, which is refused.
        let one = HttpRequest { headers: Default::default(), ..one };
        let mut bytes = request(Some(one)).encode_to_vec();
        bytes.extend(request(Some(other)).encode_to_vec());
        let joined = CheckRequest::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(shown(&read(&bytes).unwrap()), shown(&generated(&joined)));
    }

    /// Nothing is read out of damaged bytes that generated code would read otherwise.
    #[test]
    fn damage_is_refused_or_read_alike(
        http in https(),
        damage in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
        end in any::<Index>(),
    ) {
        let http = HttpRequest { headers: Default::default(), ..http };
        let mut bytes = request(Some(http)).encode_to_vec();
        for (at, byte) in damage {
            *at.get_mut(&mut bytes) = byte;
        }
        for bytes in [&bytes[..], &bytes[..end.index(bytes.len())]] {
            if let (Ok(read), Ok(decoded)) = (read(bytes), CheckRequest::decode(bytes)) {
                prop_assert_eq!(shown(&read), shown(&generated(&decoded)));
            }
        }
    }
}

#[test]
fn a_header_sent_twice_is_seen_twice() {
    let lines = vec![
        line("cf-access-jwt-assertion", "", b"a.b.c"),
        line("cf-access-jwt-assertion", "", b"d.e.f"),
        line("authorization", "", b"Bearer \xff"),
        line("x-request-id", "r-1", b""),
    ];
    let bytes = request(Some(HttpRequest {
        header_map: Some(HeaderMap { headers: lines }),
        ..HttpRequest::default()
    }))
    .encode_to_vec();
    let attributes = read(&bytes).unwrap();
    assert_eq!(attributes.access_assertion, Field::Repeated);
    assert_eq!(attributes.authorization, Field::One(b"Bearer \xff"));
    assert_eq!(attributes.request_id, "r-1");
}

#[test]
fn the_joined_map_is_read_where_raw_headers_are_off() {
    let bytes = request(Some(HttpRequest {
        headers: [("authorization".to_owned(), "Bearer a,Bearer b".to_owned())].into(),
        ..HttpRequest::default()
    }))
    .encode_to_vec();
    let attributes = read(&bytes).unwrap();
    assert_eq!(attributes.authorization, Field::One(b"Bearer a,Bearer b"));
}

#[test]
fn what_is_no_message_is_refused() {
    for bytes in [
        b"\x0a" as &[u8],                                // no length
        b"\x0a\x05ab",                                   // shorter than it says
        b"\x08\x01",                                     // a number where the attributes are
        b"\x02\x00",                                     // field 0
        b"\x0b\x0c",                                     // a group
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", // no number
    ] {
        assert!(read(bytes).is_err(), "{bytes:?}");
    }
    let nothing = read(b"").unwrap();
    assert_eq!(shown(&nothing), shown(&Attributes::default()));
}
