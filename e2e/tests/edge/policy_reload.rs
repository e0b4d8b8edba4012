//! The policy file, edited while everything runs: a good one goes live without a restart, at the router and through
//! xDS at Envoy; a broken one changes nothing and is counted.

use std::path::PathBuf;

use contract::dev::MintRequest;
use contract::port;
use devkit::stack::Stack;

use crate::harness::{among_others, line, wait_until};
use crate::wire::{self, Reply};

fn file(stack: &Stack) -> PathBuf {
    stack.state_dir().join("policy.toml")
}

async fn preflight(stack: &Stack, origin: &str) -> Reply {
    let origin = format!("origin: {origin}");
    let lines = [
        "access-control-request-method: POST",
        "access-control-request-headers: authorization",
        &origin,
    ];
    wire::request(stack.edge(), "OPTIONS", "/api/x", "edge.localhost", &lines)
        .await
        .unwrap()
}

async fn allows_origin(stack: &Stack, origin: &str) -> bool {
    preflight(stack, origin)
        .await
        .header("access-control-allow-origin")
        == Some(origin)
}

/// `refresh_errors{source="policy"}`; absent before the first.
async fn failures(stack: &Stack) -> u64 {
    let metrics = wire::get(stack.router_http(), "/metrics", &[])
        .await
        .unwrap()
        .body;
    metrics
        .lines()
        .find_map(|line| line.strip_prefix("alphaswarm_router_refresh_errors_total{source=\"policy\"} "))
        .map_or(0, |count| count.parse().unwrap())
}

async fn xds_nacks(stack: &Stack) -> u64 {
    let metrics = wire::get(stack.router_http(), "/metrics", &[])
        .await
        .unwrap()
        .body;
    metrics
        .lines()
        .find_map(|line| line.strip_prefix("alphaswarm_router_xds_nacks_total "))
        .unwrap_or_else(|| panic!("{metrics}"))
        .parse()
        .unwrap()
}

#[tokio::test]
async fn an_edit_goes_live_and_a_broken_one_changes_nothing() {
    let _machine = among_others().await;
    let stack = Stack::builder().start().await.unwrap();
    let pids = [stack.router().unwrap().pid(), stack.envoy().unwrap().pid()];
    let weak = line(&stack.token("acme").await.unwrap());
    let get = async |path: &str, lines: &[&str]| wire::get(stack.edge(), path, lines).await.unwrap();
    // As it starts: /admin wants a strong sign-in, /public nothing, anything else a token.
    assert_eq!(get("/admin/x", &[&weak]).await.code(), "step_up_required");
    assert_eq!(get("/public/x", &[]).await.status, 200);
    assert_eq!(get("/reports/x", &[&weak]).await.status, 200);
    assert!(allows_origin(&stack, "http://localhost:3000").await);
    assert!(!allows_origin(&stack, "https://app.example.com").await);

    let platform = stack.ports().addr(port::DEMO_CELLS[1]);
    let edited = format!(
        "[[platform]]\nname = \"sign-in\"\naddress = \"{platform}\"\n\
         [[route]]\nprefix = \"/auth\"\nclass = \"platform\"\nplatform = \"sign-in\"\nanonymous = true\n\
         [[route]]\nprefix = \"/reports\"\nmethods = [\"GET\"]\nclass = \"step_up\"\nmax_age_seconds = 60\n\
         [[route]]\nexact = \"/scoped\"\nclass = \"authenticated\"\nscopes = [\"read:all\"]\n\
         [cors]\nallow_origins = [\"https://app.example.com\", \"https://other.example.com\"]\n"
    );
    std::fs::write(file(&stack), &edited).unwrap();
    wait_until("the edit is live", async || {
        get("/reports/x", &[&weak]).await.code() == "step_up_required"
    })
    .await;
    assert!(
        get("/reports/x", &[&weak])
            .await
            .header("www-authenticate")
            .unwrap()
            .contains("max_age=\"60\"")
    );
    let post = wire::request(stack.edge(), "POST", "/reports/x", "edge.localhost", &[&weak])
        .await
        .unwrap();
    assert_eq!(post.status, 200, "only GET was named: {}", post.body);
    assert_eq!(get("/admin/x", &[&weak]).await.status, 200, "no longer step_up");
    assert_eq!(
        get("/public/x", &[]).await.code(),
        "unauthenticated",
        "no longer public"
    );
    assert_eq!(get("/scoped", &[&weak]).await.code(), "forbidden");
    let scoped = MintRequest {
        scopes: vec!["read:all".to_owned()],
        ..MintRequest::good("acme")
    };
    let scoped = line(&stack.mint(&scoped).await.unwrap());
    assert_eq!(get("/scoped", &[&scoped]).await.status, 200);
    // What Envoy needs for it came over xDS.
    wait_until("the platform service is in Envoy", async || {
        get("/auth/login", &[]).await.status == 200
    })
    .await;
    for origin in ["https://app.example.com", "https://other.example.com"] {
        wait_until(origin, async || allows_origin(&stack, origin).await).await;
    }
    assert!(
        !allows_origin(&stack, "http://localhost:3000").await,
        "no longer listed"
    );
    assert!(!allows_origin(&stack, "https://app.example.com.evil.example").await);
    let denied = get("/api/x", &["origin: https://app.example.com"]).await;
    assert_eq!(
        (denied.status, denied.header("access-control-allow-origin")),
        (401, Some("https://app.example.com"))
    );

    assert_eq!(failures(&stack).await, 0);
    for (n, (what, broken)) in [
        ("no TOML", "[[route]".to_owned()),
        ("an unknown class", format!("{edited}\n[[route]]\nprefix = \"/x\"\nclass = \"open\"\n")),
        ("an unknown setting", format!("{edited}\n[more]\nx = 1\n")),
        ("a conflict", "[[route]]\nprefix = \"/a\"\nclass = \"step_up\"\n[[route]]\nprefix = \"/a\"\nclass = \"authenticated\"\n".to_owned()),
        ("an unknown platform", "[[route]]\nprefix = \"/a\"\nclass = \"platform\"\nplatform = \"nobody\"\n".to_owned()),
        ("too large", format!("# {}\n", "x".repeat(1024 * 1024))),
    ]
    .into_iter()
    .enumerate()
    {
        std::fs::write(file(&stack), broken).unwrap();
        let wanted = n as u64 + 1;
        wait_until(&format!("{what} is counted"), async || failures(&stack).await == wanted).await;
        assert_eq!(get("/reports/x", &[&weak]).await.code(), "step_up_required", "{what}");
        assert_eq!(get("/scoped", &[&weak]).await.code(), "forbidden", "{what}");
        assert_eq!(get("/auth/login", &[]).await.status, 200, "{what}");
        assert!(allows_origin(&stack, "https://app.example.com").await, "{what}");
    }
    let log = std::fs::read_to_string(stack.router().unwrap().log_path()).unwrap();
    assert!(
        log.contains("policy not reloaded; the last good one stays")
            && log.contains("another route has the same"),
        "{log}"
    );

    // A deleted file is a broken one; back again, it goes live.
    let failed = failures(&stack).await;
    std::fs::remove_file(file(&stack)).unwrap();
    wait_until("the missing file is counted", async || {
        failures(&stack).await == failed + 1
    })
    .await;
    assert_eq!(get("/scoped", &[&weak]).await.code(), "forbidden");
    std::fs::write(file(&stack), "[cors]\nallow_origins = [\"*\"]\n").unwrap();
    wait_until("the repaired file is live", async || {
        get("/scoped", &[&weak]).await.status == 200
    })
    .await;
    wait_until("any origin may ask", async || {
        preflight(&stack, "https://anybody.example")
            .await
            .header("access-control-allow-origin")
            .is_some()
    })
    .await;
    let any = preflight(&stack, "https://anybody.example").await;
    assert_eq!(
        any.header("access-control-allow-credentials"),
        None,
        "never with any origin"
    );
    assert_eq!(
        get("/auth/login", &[]).await.code(),
        "unauthenticated",
        "no longer a platform route"
    );

    assert_eq!(
        [stack.router().unwrap().pid(), stack.envoy().unwrap().pid()],
        pids,
        "nothing was restarted"
    );
    assert_eq!(xds_nacks(&stack).await, 0, "Envoy took every update");
}

/// Editors write beside and rename; a file may also be replaced by one of the same length.
#[tokio::test]
async fn a_replaced_file_is_seen() {
    let _machine = among_others().await;
    let stack = Stack::builder().start().await.unwrap();
    let token = line(&stack.token("acme").await.unwrap());
    let beside = stack.state_dir().join("policy.new");
    for (guarded, free) in [("/aaa", "/bbb"), ("/bbb", "/aaa"), ("/aaa", "/bbb")] {
        std::fs::write(
            &beside,
            format!("[[route]]\nprefix = \"{guarded}\"\nclass = \"step_up\"\n"),
        )
        .unwrap();
        std::fs::rename(&beside, file(&stack)).unwrap();
        wait_until(&format!("{guarded} is guarded"), async || {
            wire::get(stack.edge(), guarded, &[&token]).await.unwrap().code() == "step_up_required"
        })
        .await;
        assert_eq!(
            wire::get(stack.edge(), free, &[&token]).await.unwrap().status,
            200
        );
    }
}
