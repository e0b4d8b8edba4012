use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::*;

/// What the runtime was asked.
type Asked = Arc<Mutex<Vec<Fence>>>;

async fn serve(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Ends with the test's runtime.
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A runtime that keeps its last fence and has three requests open.
async fn runtime(asked: Asked) -> SocketAddr {
    let fence = async |State(asked): State<Asked>, Json(fence): Json<Fence>| {
        asked.lock().unwrap().push(fence.clone());
        Json(FenceReport {
            tenant: fence.tenant,
            fenced: fence.epoch,
            writes_fenced: None,
            open: 3,
            open_writes: None,
            to: None,
            served: None,
        })
    };
    let fenced = async |State(asked): State<Asked>, Path(tenant): Path<TenantId>| {
        let last = asked
            .lock()
            .unwrap()
            .iter()
            .rev()
            .find(|fence| fence.tenant == tenant)
            .and_then(|f| f.epoch);
        Json(FenceReport {
            tenant,
            fenced: last,
            writes_fenced: None,
            open: 3,
            open_writes: None,
            to: None,
            served: None,
        })
    };
    serve(
        Router::new()
            .route("/fence", post(fence))
            .route("/fence/{tenant}", get(fenced))
            .with_state(asked),
    )
    .await
}

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

#[tokio::test]
async fn a_fence_reaches_the_runtime_and_its_report_comes_back() {
    let asked = Asked::default();
    let address = runtime(Arc::clone(&asked)).await;
    let runtimes = Runtimes::new().unwrap();
    let fence = Fence {
        tenant: acme(),
        epoch: Some(7),
        reads: false,
        to: None,
    };
    // With and without the slash that people add.
    for base in [format!("http://{address}"), format!("http://{address}/")] {
        let report = runtimes.ask(&base, &fence).await.unwrap();
        assert_eq!((report.fenced, report.open), (Some(7), 3));
        assert_eq!(runtimes.look(&base, &acme()).await.unwrap(), report);
    }
    assert_eq!(*asked.lock().unwrap(), [fence.clone(), fence]);
}

#[tokio::test]
async fn a_runtime_that_is_gone_strange_or_about_somebody_else_is_no_evidence() {
    let runtimes = Runtimes::new().unwrap();
    let fence = Fence {
        tenant: acme(),
        epoch: Some(7),
        reads: false,
        to: None,
    };

    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = nobody.local_addr().unwrap();
    drop(nobody);
    let failure = runtimes
        .ask(&format!("http://{closed}"), &fence)
        .await
        .unwrap_err();
    assert!(failure.what.contains("cannot be reached"), "{}", failure.what);

    let other = FenceReport {
        tenant: TenantId::parse("globex").unwrap(),
        fenced: Some(7),
        writes_fenced: None,
        open: 0,
        open_writes: None,
        to: None,
        served: None,
    };
    let strange = serve(
        Router::new()
            .route("/html/fence", post(async || "<html>"))
            .route("/other/fence", post(async || Json(other)))
            .route("/huge/fence", post(async || "x".repeat(2 << 20)))
            .route(
                "/away/fence",
                post(async || axum::response::Redirect::temporary("/other/fence")),
            ),
    )
    .await;
    for (path, words) in [
        ("html", "no fence report"),
        ("other", "reported on globex"),
        ("huge", "more than"),
        ("away", "status 307"),
        ("absent", "status 404"),
    ] {
        let failure = runtimes
            .ask(&format!("http://{strange}/{path}"), &fence)
            .await
            .unwrap_err();
        assert!(failure.what.contains(words), "{path}: {}", failure.what);
    }
    assert!(runtimes.ask("not a url", &fence).await.is_err());
}
