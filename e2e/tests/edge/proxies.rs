//! Other ways in than Envoy's gRPC: a real nginx with `auth_request`, and Envoy's own HTTP ext_authz, both with the
//! configurations that are shipped.

use std::sync::Arc;
use std::time::Duration;

use contract::port;
use devkit::place;
use devkit::process::{Program, Spec};
use devkit::reaper::Reaper;
use devkit::skip::skip;
use devkit::stack::{Part, Stack};

use crate::behind::{
    bad_ones_do_not, good_ones_pass, spoofs_are_lost, websocket, without_the_router_nobody_passes,
};
use crate::harness::among_others;

fn shipped(file: &str) -> String {
    let path = place::repository().unwrap().join("envoy").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Envoy with `resolve-http.yaml`, its ports moved.
async fn behind_envoy_http() -> Stack {
    let stack = Stack::builder()
        .envoy_config(shipped("resolve-http.yaml"))
        .start()
        .await
        .unwrap();
    stack.serves(Duration::from_secs(20)).await.unwrap();
    stack
}

/// nginx with `nginx.conf`, its ports moved, where Envoy would listen.
async fn behind_nginx() -> (Stack, Program) {
    let stack = Stack::builder()
        .without(Part::Envoy(0))
        .env(Part::Router(0), "RESOLVE_FROM", "nginx")
        .start()
        .await
        .unwrap();
    let mut text = shipped("nginx.conf");
    for default in [
        port::EDGE,
        port::ROUTER_HTTP,
        port::DEMO_CELLS[0],
        port::DEMO_CELLS[1],
    ] {
        let (from, to) = (
            format!("127.0.0.1:{default};"),
            format!("{};", stack.ports().addr(default)),
        );
        assert_eq!(text.matches(&from).count(), 1, "{from}");
        text = text.replace(&from, &to);
    }
    let folder = stack.state_dir().join("nginx");
    std::fs::create_dir(&folder).unwrap();
    let config = folder.join("nginx.conf");
    std::fs::write(&config, text).unwrap();
    let spec = Spec {
        name: "nginx".to_owned(),
        program: "nginx".into(),
        args: ["-p".into(), folder.into(), "-c".into(), config.into()].into(),
        env: Default::default(),
        log: stack.state_dir().join("nginx.log"),
        ready: Some((stack.edge(), "/readyz".to_owned())),
    };
    let reaper = Reaper::start(&place::program(place::DEV).unwrap()).unwrap();
    let nginx = Program::new(spec, Arc::new(reaper));
    nginx.start(Duration::from_secs(20)).await.unwrap();
    (stack, nginx)
}

fn has_nginx() -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join("nginx").is_file()))
}

#[tokio::test]
async fn nginx_auth_request() {
    if !has_nginx() {
        return skip("nginx_auth_request", "no nginx here (Debian: nginx-light)");
    }
    let _machine = among_others().await;
    let (stack, nginx) = behind_nginx().await;
    good_ones_pass(&stack).await;
    bad_ones_do_not(&stack, true).await;
    spoofs_are_lost(&stack).await;
    assert_eq!(
        websocket(&stack).await.as_deref(),
        Some("alphaswarm.v1"),
        "the cell sees the other protocols"
    );
    without_the_router_nobody_passes(&stack).await;
    let stopped = nginx.stop(Duration::from_secs(5)).await.unwrap();
    assert!(!stopped.forced, "{stopped:?}");
}

#[tokio::test]
async fn envoys_http_ext_authz() {
    let _machine = among_others().await;
    let stack = behind_envoy_http().await;
    good_ones_pass(&stack).await;
    bad_ones_do_not(&stack, false).await;
    spoofs_are_lost(&stack).await;
    // A limit that the file names: in HTTP mode the token stays among the protocols.
    assert!(
        websocket(&stack)
            .await
            .is_some_and(|protocols| protocols.contains("alphaswarm.v1"))
    );
    without_the_router_nobody_passes(&stack).await;
}
