//! The driver against a real server in this process, whose answers the test chooses.

use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;

use super::*;

/// Answers every request with what `answer` makes of its path.
async fn server<F, A>(answer: F) -> SocketAddr
where
    F: Fn(String) -> A + Clone + Send + 'static,
    A: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = answer(request.uri().path().to_owned());
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    addr
}

fn ok(body: &str) -> Response<Full<Bytes>> {
    Response::new(Full::from(body.to_owned()))
}

fn get(protocol: Protocol, path: &str) -> impl FnMut(u64) -> Request<Full<Bytes>> + Send + 'static {
    let template = Template::get(protocol, "test.localhost", path).unwrap();
    move |_| template.request()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_sent_once_and_counted_once() {
    for plan in [
        |addr| Plan::new(addr, 1000, Duration::from_millis(500)),
        |addr| Plan::new(addr, 1000, Duration::from_millis(500)).http2(2, 8),
    ] {
        let served = Arc::new(AtomicU64::new(0));
        let counting = Arc::clone(&served);
        let addr = server(move |_| {
            counting.fetch_add(1, Ordering::Relaxed);
            async { ok("x") }
        })
        .await;
        let plan = plan(addr);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let seeing = Arc::clone(&seen);
        let report = Load::run(plan.clone(), get(plan.protocol, "/"), move |shot| {
            seeing.lock().unwrap().push(shot.index);
            assert_eq!(shot.result.unwrap().body, "x");
            by_status(shot)
        })
        .await
        .unwrap();
        let mut seen = std::mem::take(&mut *seen.lock().unwrap());
        seen.sort_unstable();
        assert_eq!(seen, (0..500).collect::<Vec<_>>(), "{:?}", plan.protocol);
        assert_eq!(served.load(Ordering::Relaxed), 500);
        assert_eq!(report.outcomes, [("200".into(), 500)].into());
        assert_eq!((report.requests, report.reconnects), (500, 0));
        assert!(
            report.elapsed >= Duration::from_millis(499),
            "{:?}",
            report.elapsed
        );
    }
}

/// A server that stalls once for 400 ms: a closed loop would report one slow request. Here every request that was due
/// during the stall waited, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_stall_counts_for_every_request_that_was_due() {
    let count = Arc::new(AtomicU64::new(0));
    let gate = Arc::new(tokio::sync::RwLock::new(()));
    let addr = server(move |_| {
        let (count, gate) = (Arc::clone(&count), Arc::clone(&gate));
        async move {
            if count.fetch_add(1, Ordering::Relaxed) == 100 {
                let _closed = gate.write().await;
                tokio::time::sleep(Duration::from_millis(400)).await;
            }
            drop(gate.read().await);
            ok("")
        }
    })
    .await;
    let plan = Plan {
        connections: 4,
        ..Plan::new(addr, 500, Duration::from_secs(1))
    };
    let slow = Arc::new(AtomicU64::new(0));
    let counting = Arc::clone(&slow);
    let report = Load::run(plan, get(Protocol::Http1, "/"), move |shot| {
        if shot.ended - shot.intended > Duration::from_millis(100) {
            counting.fetch_add(1, Ordering::Relaxed);
        }
        by_status(shot)
    })
    .await
    .unwrap();
    assert_eq!(report.count("200"), 500);
    // 300 ms at 500 a second became due more than 100 ms before the stall ended.
    let slow = slow.load(Ordering::Relaxed);
    assert!(slow >= 140, "{slow} slow requests: {report:?}");
    assert!(report.latency.max >= 390_000, "{report:?}");
    assert!(
        report.lag.max >= 300_000,
        "all four connections were busy: {report:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_have_names_and_do_not_stop_the_load() {
    let addr = server(|path| async move {
        match path.as_str() {
            "/slow" => std::future::pending().await,
            "/big" => ok(&"x".repeat((1 << 20) + 1)),
            "/503" => {
                let mut answer = ok("{}");
                *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                answer
            }
            _ => ok("fine"),
        }
    })
    .await;
    for plan in [
        Plan::new(addr, 200, Duration::from_millis(200)),
        Plan::new(addr, 200, Duration::from_millis(200)).http2(1, 40),
    ] {
        let plan = Plan {
            timeout: Duration::from_millis(300),
            ..plan
        };
        let templates: Vec<_> = ["/slow", "/big", "/503", "/"]
            .map(|path| Template::get(plan.protocol, "test.localhost", path).unwrap())
            .into();
        let make = move |index: u64| templates[usize::try_from(index).unwrap() % 4].request();
        let report = Load::run(plan, make, by_status).await.unwrap();
        let expected = [
            ("200", 10),
            ("503", 10),
            ("failed: answer too large", 10),
            ("failed: timeout", 10),
        ];
        assert_eq!(
            report.outcomes,
            expected.map(|(name, count)| (name.into(), count)).into(),
            "{report:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_closes_is_connected_to_again() {
    let addr = server(|_| async {
        let mut answer = ok("bye");
        answer
            .headers_mut()
            .insert(header::CONNECTION, http::HeaderValue::from_static("close"));
        answer
    })
    .await;
    let plan = Plan {
        connections: 2,
        ..Plan::new(addr, 100, Duration::from_millis(300))
    };
    let report = Load::run(plan, get(Protocol::Http1, "/"), by_status)
        .await
        .unwrap();
    assert_eq!(report.outcomes, [("200".into(), 30)].into());
    assert!(report.reconnects >= 27, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_load_reports_what_it_did() {
    let addr = server(|_| async { ok("") }).await;
    let plan = Plan::new(addr, 1000, Duration::from_secs(3600));
    let load = Load::start(plan, get(Protocol::Http1, "/"), by_status)
        .await
        .unwrap();
    while load.due() < 50 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    load.stop();
    let report = load.report().await.unwrap();
    assert!(report.requests >= 50 && report.requests < 100_000);
    assert_eq!(report.count("200"), report.requests);
}

#[tokio::test]
async fn an_unreachable_target_is_one_error_at_the_start() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let plan = Plan::new(free, 10, Duration::from_secs(3600));
    let error = Load::start(plan.clone(), get(Protocol::Http1, "/"), by_status)
        .await
        .unwrap_err();
    assert!(format!("{error:#}").contains(&free.to_string()), "{error:#}");
    let none = Plan {
        connections: 0,
        ..plan
    };
    assert!(
        Load::start(none, get(Protocol::Http1, "/"), by_status)
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_are_bounded() {
    let addr = server(|_| async { ok("") }).await;
    let plan = Plan::new(addr, 1000, Duration::from_millis(200));
    let report = Load::run(plan, get(Protocol::Http1, "/"), |shot| {
        shot.index.to_string().into()
    })
    .await
    .unwrap();
    assert!(report.outcomes.len() <= 65, "{}", report.outcomes.len());
    assert_eq!(report.outcomes.values().sum::<u64>(), 200);
    assert!(report.count("(other)") >= 136);
}

#[test]
fn tokens_are_in_no_debug_output() {
    let template = Template::get(Protocol::Http1, "h", "/")
        .unwrap()
        .header("authorization", "Bearer s3cret")
        .unwrap();
    assert!(!format!("{template:?}").contains("s3cret"));
}
