//! The client against a server that answers what each test says. The real control plane is followed in the end-to-end
//! tests.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;
use crate::news::News;
use crate::version::Version;

fn address(url: &str, access: Access) -> Address {
    Address {
        url: url.to_owned(),
        access,
    }
}

#[test]
fn what_is_no_address_of_a_feed_is_explained() {
    let text = |url: &str| {
        let refused = address(url, Access::default()).check();
        refused.map_or_else(|error| error.to_string(), |()| String::new())
    };
    for good in [
        "https://cp.example.com/manage/registry",
        "https://cp.example.com:8443/behind/manage/registry/",
        "http://127.0.0.1:8090/manage/registry",
        "http://[::1]:8090/manage/registry",
        "http://localhost:8090/manage/registry",
        "sqlite:/tmp/x.db",
        "postgres://alphaswarm@db/registry",
    ] {
        assert_eq!(text(good), "", "{good}");
    }
    for (bad, word) in [
        ("http://cp.example.com/manage/registry", "use https"),
        ("http://127.0.0.1.example.com/manage/registry", "use https"),
        ("https://cp.example.com/", "ends in /manage/registry"),
        ("https://user:hunter2@cp/manage/registry", "REGISTRY_TOKEN_FILE"),
        ("https://cp/manage/registry?x=1", "query"),
        ("https:///manage/registry", "/manage/registry"),
        ("ftp://cp/manage/registry", "no registry URL"),
    ] {
        assert!(text(bad).contains(word), "{bad}: {}", text(bad));
        assert!(!text(bad).contains("hunter2"), "{bad}");
    }
}

/// Answers each connection once, with these bytes, and gives the requests' heads.
fn server(answers: Vec<Vec<u8>>) -> (SocketAddr, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = std::thread::spawn(move || {
        let mut heads = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            heads.push(String::from_utf8(head).unwrap());
            let _ = stream.write_all(&answer);
        }
        heads
    });
    (address, serving)
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn packed(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn at(number: u64) -> Position {
    Position {
        version: Version { epoch: 1, number },
        lineage: -7,
    }
}

async fn source(server: SocketAddr, access: Access) -> impl Source {
    let url = format!("http://{server}/manage/registry");
    address(&url, access).open().await.unwrap().source()
}

const NEWS: &str = r#"{"status":"ok","error":null,"data":{"next":"changes","position":{"version":"1.6","lineage":3},"written_ms":12,
    "changes":[{"put":{"record":"tenant","id":"acme","state":"active","name":"Acme"}}]}}"#;

#[tokio::test]
async fn a_token_is_sent_and_news_are_read_packed_or_not() {
    let folder = TempDir::new().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "abc\n").unwrap();
    let gzip = answer("200 OK", "content-encoding: gzip\r\n", &packed(NEWS.as_bytes()));
    let unchanged = br#"{"status":"ok","error":null,"data":{"next":"unchanged"}}"#;
    let (to, serving) = server(vec![
        answer("200 OK", "", NEWS.as_bytes()),
        gzip,
        answer("200 OK", "", unchanged),
    ]);
    let access = Access {
        token: Some(token),
        ..Access::default()
    };
    let mut source = source(to, access).await;
    for _ in 0..2 {
        match source.next(at(5)).await.unwrap() {
            Next::Changes(News {
                position,
                written_ms: 12,
                changes,
            }) => assert_eq!((position.version.number, changes.len()), (6, 1)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(source.next(at(6)).await.unwrap(), Next::Unchanged);
    let heads = serving.join().unwrap();
    assert!(
        heads[0].starts_with("GET /manage/registry/changes?after=1.5&lineage=-7&wait=5 "),
        "{}",
        heads[0]
    );
    assert!(
        heads
            .iter()
            .all(|head| head.contains("authorization: Bearer abc\r\n"))
    );
}

#[tokio::test]
async fn whatever_else_is_answered_is_an_error_that_says_what_to_do() {
    let bad = NEWS.replace("\"acme\"", "\"ACME!\"");
    let unsound = NEWS.replace(
        r#"{"record":"tenant","id":"acme","state":"active","name":"Acme"}"#,
        r#"{"record":"tenant","id":"acme","state":"active","name":"Acme","requests_per_second":0}"#,
    );
    let refused = br#"{"status":"error","data":null,"error":{"code":"forbidden","message":"Not allowed.","request_id":""}}"#;
    let bomb = packed(&vec![b' '; 300 << 20]);
    for (answer, word) in [
        (answer("401 Unauthorized", "", b""), "REGISTRY_TOKEN_FILE"),
        (answer("403 Forbidden", "", refused), "Not allowed."),
        (
            answer("302 Found", "location: http://127.0.0.1:1/\r\n", b""),
            "answers 302",
        ),
        (answer("503 Service Unavailable", "", b"<html>"), "answers 503"),
        (answer("200 OK", "", b"<html>"), "nonsense"),
        (
            answer(
                "200 OK",
                "",
                br#"{"status":"ok","data":{"next":"sideways"},"error":null}"#,
            ),
            "nonsense",
        ),
        (answer("200 OK", "", bad.as_bytes()), "nonsense"),
        (answer("200 OK", "", unsound.as_bytes()), "makes no sense"),
        (
            answer("200 OK", "content-encoding: br\r\n", NEWS.as_bytes()),
            "nobody asked for",
        ),
        (
            answer("200 OK", "content-encoding: gzip\r\n", NEWS.as_bytes()),
            "unpacked",
        ),
        (
            answer("200 OK", "content-encoding: gzip\r\n", &bomb),
            "longer than",
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{".to_vec(),
            "cannot be reached",
        ),
    ] {
        let (to, serving) = server(vec![answer]);
        let error = source(to, Access::default()).await.next(at(5)).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(word), "{word}: {text}");
        assert!(
            text.contains(&format!("http://{to}/manage/registry")) && !text.contains('\n'),
            "{text}"
        );
        serving.join().unwrap();
    }
}

#[tokio::test]
async fn an_image_that_is_damaged_is_not_loaded() {
    let image = Snapshot::empty().image();
    // An empty registry has no version, and so no image that anybody would load.
    let image = image.unwrap();
    let mut builder = crate::snapshot::Builder::default();
    builder
        .put(crate::Record::Tenant(crate::Tenant {
            id: contract::TenantId::parse("acme").unwrap(),
            state: crate::TenantState::Active,
            name: "Acme".to_owned(),
            requests_per_second: None,
            tier: None,
            region: None,
            apart: None,
            drain: crate::model::Drain::Refuse,
        }))
        .unwrap();
    let good = builder.finish(at(9)).unwrap();
    let bytes = good.image().unwrap();
    let mut damaged = bytes.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let (to, serving) = server(vec![
        answer("200 OK", "", &bytes),
        answer("200 OK", "", &damaged),
        answer("200 OK", "", &bytes[..bytes.len() - 1]),
        answer("200 OK", "", &image),
        answer("200 OK", "", b"<html>"),
    ]);
    let mut source = source(to, Access::default()).await;
    let loaded = source.load().await.unwrap();
    assert_eq!((loaded.position(), loaded.counts().tenants), (at(9), 1));
    for what in ["damaged", "cut off", "empty", "no image"] {
        assert!(
            matches!(source.load().await, Err(StoreError::Snapshot { .. })),
            "{what}"
        );
    }
    assert!(serving.join().unwrap()[0].starts_with("GET /manage/registry/snapshot?at_least=0.0 "));
}

#[tokio::test]
async fn files_that_are_missing_or_wrong_are_named_and_read_again() {
    let folder = TempDir::new().unwrap();
    let token = folder.path().join("token");
    let (to, serving) = server(vec![answer("200 OK", "", NEWS.as_bytes())]);
    let access = Access {
        token: Some(token.clone()),
        ..Access::default()
    };
    let mut source = source(to, access).await;
    let text = source.next(at(5)).await.unwrap_err().to_string();
    assert!(
        text.contains("REGISTRY_TOKEN_FILE") && text.contains("token: No such file"),
        "{text}"
    );
    for wrong in ["", "two words", "line\nbreak"] {
        std::fs::write(&token, wrong).unwrap();
        let text = source.next(at(5)).await.unwrap_err().to_string();
        assert!(text.contains("does not hold one token"), "{wrong:?}: {text}");
    }
    std::fs::write(&token, "good").unwrap();
    assert!(matches!(source.next(at(5)).await, Ok(Next::Changes(_))));
    serving.join().unwrap();
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let url = format!("http://{to}/manage/registry");
    let upstream = address(&url, Access::default()).open().await.unwrap();
    let heartbeat = Heartbeat::new("r1".to_owned(), at(1).version);
    let asked = Instant::now();
    let text = upstream.beat(&heartbeat).await.unwrap_err().to_string();
    assert!(text.contains("did not answer within 2 s"), "{text}");
    assert!(asked.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_control_plane_that_does_not_know_of_staging_withdraws_nothing() {
    let set = StagedId {
        base: at(5).version,
        at_ms: 7,
    };
    for (text, staged) in [
        (r#"{"now_ms":1,"known":[],"refused":null}"#, None),
        (
            r#"{"now_ms":1,"known":[],"refused":null,"staged":null}"#,
            Some(None),
        ),
        (
            r#"{"now_ms":1,"known":[],"refused":null,"staged":"1.5@7"}"#,
            Some(Some(set)),
        ),
    ] {
        let fleet: Fleet = serde_json::from_str(text).unwrap();
        assert_eq!(fleet.staged, staged);
        assert_eq!(serde_json::to_string(&fleet).unwrap(), text);
    }
}
