use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::settings::Settings;

const SAMPLED: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

fn context(text: &[u8]) -> Option<(String, String, bool)> {
    TraceContext::parse(text).map(|found| (found.trace.to_string(), found.parent.to_string(), found.sampled))
}

#[test]
fn the_header_is_read_as_the_recommendation_has_it() {
    let ids = |sampled| {
        Some((
            "0af7651916cd43dd8448eb211c80319c".to_owned(),
            "b7ad6b7169203331".to_owned(),
            sampled,
        ))
    };
    assert_eq!(context(SAMPLED), ids(true));
    assert_eq!(context(UNSAMPLED), ids(false));
    // Unknown flags are ignored, unknown versions read as far as they are known.
    assert_eq!(
        context(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff"),
        ids(true)
    );
    assert_eq!(
        context(b"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes"),
        ids(true)
    );
    for bad in [
        &b""[..],
        b"00",
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-011",
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        b"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more",
        b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        b"00-00000000000000000000000000000000-b7ad6b7169203331-01",
        b"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        b"00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
        b"00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
        b"0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0\xff",
    ] {
        assert_eq!(context(bad), None, "{}", String::from_utf8_lossy(bad));
    }
}

proptest! {
    #[test]
    fn no_header_is_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = TraceContext::parse(&bytes);
        let _ = TraceContext::may_be_sampled(&bytes);
    }

    /// The look at one byte never says no to what the whole reading takes as sampled.
    #[test]
    fn the_quick_look_misses_nothing(
        version in "[0-9a-f]{2}", trace in "[0-9a-f]{32}", parent in "[0-9a-f]{16}", flags in "[0-9a-f]{2}", later in "(-[a-z]{0,9})?"
    ) {
        let text = format!("{version}-{trace}-{parent}-{flags}{later}");
        if let Some(context) = TraceContext::parse(text.as_bytes()) {
            prop_assert_eq!(context.sampled, TraceContext::may_be_sampled(text.as_bytes()));
            prop_assert_eq!(context.trace.to_string(), trace);
            prop_assert_eq!(context.parent.to_string(), parent);
        }
    }
}

fn settings(endpoint: &str, roots: f64) -> TraceSettings {
    TraceSettings {
        endpoint: endpoint.to_owned(),
        roots,
        service: "test".to_owned(),
    }
}

#[tokio::test]
async fn a_request_is_recorded_if_its_trace_is() {
    let nowhere = "http://127.0.0.1:9";
    let (never, _exporter) = start(&settings(nowhere, 0.0), "test", "a", SpanCounts::default()).unwrap();
    assert!(never.begin(Some(SAMPLED)).is_some());
    for header in [Some(UNSAMPLED), Some(&b"nonsense"[..]), Some(&b"\xff"[..]), None] {
        assert!(never.begin(header).is_none());
    }
    let (always, _exporter) = start(&settings(nowhere, 1.0), "test", "a", SpanCounts::default()).unwrap();
    assert!(always.begin(None).is_some());
    assert!(
        always.begin(Some(UNSAMPLED)).is_none(),
        "somebody else has decided not to"
    );
    let (some, _exporter) = start(&settings(nowhere, 0.25), "test", "a", SpanCounts::default()).unwrap();
    let begun = (0..4000).filter(|_| some.begin(None).is_some()).count();
    assert!((500..1500).contains(&begun), "{begun} of 4000");
}

#[tokio::test]
async fn what_finds_the_queue_full_is_dropped_and_counted() {
    let counts = SpanCounts::default();
    // Its exporter never runs, as if the receiver hung for ever.
    let (tracer, _exporter) =
        start(&settings("http://127.0.0.1:9", 0.0), "test", "a", counts.clone()).unwrap();
    for _ in 0..3000 {
        tracer.begin(Some(SAMPLED)).unwrap().end(
            "x",
            SpanKind::Server,
            Duration::ZERO,
            Vec::new(),
            Status::Unset,
        );
    }
    assert_eq!(counts.dropped.get(), 3000 - 2048);
}

#[tokio::test]
async fn the_end_does_not_wait_for_a_receiver_that_hangs() {
    let counts = SpanCounts::default();
    let hung = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", hung.local_addr().unwrap());
    let (tracer, exporter) = start(&settings(&endpoint, 0.0), "test", "a", counts.clone()).unwrap();
    let (trigger, shutdown) = crate::drain::signal();
    let running = tokio::spawn(exporter.run(shutdown));
    for _ in 0..10 {
        tracer.begin(Some(SAMPLED)).unwrap().end(
            "x",
            SpanKind::Server,
            Duration::ZERO,
            Vec::new(),
            Status::Unset,
        );
    }
    trigger.fire();
    tokio::time::timeout(Duration::from_secs(20), running)
        .await
        .expect("it ends")
        .unwrap();
    assert_eq!((counts.failed.get(), counts.exported.get()), (10, 0));
}

#[test]
fn settings_name_what_is_wrong() {
    const DOCUMENTED: &[crate::settings::Variable] = &[ENDPOINT, SAMPLER_ARG, SERVICE_NAME];
    let read = |endpoint: &'static str, share: &'static str| {
        let env = move |name: &str| match name {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.to_owned()),
            "OTEL_TRACES_SAMPLER_ARG" => Some(share.to_owned()),
            _ => None,
        };
        let mut settings = Settings::new(DOCUMENTED, &env);
        let read = TraceSettings::read(&mut settings, "program");
        (read, settings.errors)
    };
    assert_eq!(read("", "").0, None);
    let (good, errors) = read("http://collector.example:4317", "0.5");
    let good = good.unwrap();
    assert_eq!(
        (good.roots, good.service.as_str(), errors.len()),
        (0.5, "program", 0)
    );
    for (endpoint, share, named) in [
        ("collector:4317", "", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("https://collector:4317", "", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        (
            "http://u:secret@collector:4317",
            "",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ),
        ("http://collector:4317", "1.5", "OTEL_TRACES_SAMPLER_ARG"),
        ("http://collector:4317", "NaN", "OTEL_TRACES_SAMPLER_ARG"),
        ("", "some", "OTEL_TRACES_SAMPLER_ARG"),
    ] {
        let (none, errors) = read(endpoint, share);
        assert_eq!(none, None);
        let [error] = &errors[..] else {
            panic!("{errors:?}")
        };
        assert!(error.starts_with(named), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}
