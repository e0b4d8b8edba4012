//! Settings that are missing, contradict each other or are malformed: all reported at once, by name, exit 64, before
//! anything starts.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use devkit::place;

use crate::ground::Ground;
use crate::run::{Ended, run};

const EXIT_CONFIG: i32 = 64;

/// Each error is one line that begins with its variable; `expected` names them all, in any order.
#[track_caller]
fn assert_reported(ended: &Ended, expected: &[&str]) {
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(EXIT_CONFIG), ""),
        "{ended:?}"
    );
    let lines: Vec<&str> = ended
        .errors()
        .into_iter()
        .map(|line| {
            line.strip_prefix("tenant-router: ")
                .unwrap_or_else(|| panic!("whose is {line:?}"))
        })
        .collect();
    for line in &lines {
        println!("{line}");
    }
    for start in expected {
        assert!(
            lines.iter().any(|line| line.starts_with(start)),
            "{start} is missing: {lines:#?}"
        );
    }
    for line in &lines {
        assert!(
            expected.iter().any(|start| line.starts_with(start)),
            "unexpected: {line}"
        );
    }
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
}

#[tokio::test]
async fn without_any_setting_what_is_missing_is_named() {
    let ended = run::<&str>(place::ROUTER, &[], &[]).await;
    assert_reported(&ended, &["REGISTRY_URL: missing", "IDENTITY_CONFIG: missing"]);
    // An empty value is as none: that is how templates leave things out.
    let empty = [
        ("REGISTRY_URL", ""),
        ("IDENTITY_CONFIG", ""),
        ("AUTH_MODE", ""),
        ("CBA_MODE", ""),
    ];
    let ended = run(place::ROUTER, &[], &empty).await;
    assert_reported(&ended, &["REGISTRY_URL: missing", "IDENTITY_CONFIG: missing"]);
}

#[tokio::test]
async fn malformed_settings_are_reported_at_once() {
    let mut ground = Ground::new().await;
    for (name, value) in [
        ("REGISTRY_URL", "mysql://root:hunter2@db/registry"),
        ("AUTH_MODE", "Required"),
        ("CBA_MODE", "on"),
        ("FORWARD_TOKEN", "yes"),
        ("RESOLVE_FROM", "traefik"),
        ("ALPHASWARM_OPERATORS", "everybody"),
        ("JWKS_MAX_STALENESS", "-1h"),
        ("JWKS_REFRESH", "1ms"),
        ("JWKS_CA_FILE", "/nowhere/ca.pem"),
        ("REGISTRY_MAX_STALENESS", "8d"),
        ("ALPHASWARM_ENV", "development"),
        ("ALPHASWARM_ROUTER_ID", "Router 1"),
        ("ALPHASWARM_PORT_OFFSET", "65536"),
        ("ALPHASWARM_GRPC_LISTEN", "9191"),
        ("ALPHASWARM_HTTP_LISTEN", "localhost:8080"),
        ("ALPHASWARM_CONTROL_LISTEN", "127.0.0.1"),
        ("ALPHASWARM_INSECURE_GRPC", "true"),
        ("ALPHASWARM_MAX_CHECKS", "0"),
        ("ALPHASWARM_CHECK_QUEUE", "1s"),
        ("ALPHASWARM_VERIFICATION_CPU", "150%"),
        ("ASSERTION_KEYS_LIFETIME", "a while"),
        ("ASSERTION_KEY_ROTATION", "1s"),
        ("ALPHASWARM_LOG_ALLOWS", "some"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector"),
        ("ALPHASWARM_DRAIN_SECONDS", "1.5"),
        ("ALPHASWARM_NOT_READY_SECONDS", "601"),
        ("ALPHASWARM_CONNECTION_MAX_AGE_SECONDS", "10m"),
        ("ALPHASWARM_LOG", "router=loud"),
        ("ALPHASWARM_LOG_FORMAT", "xml"),
    ] {
        ground.set(name, value);
    }
    let names: Vec<&str> = ground
        .env
        .keys()
        .copied()
        .filter(|name| !["IDENTITY_CONFIG", "ALPHASWARM_STATE_DIR"].contains(name))
        .collect();
    let ended = ground.refused().await;
    assert_reported(&ended, &names);
    assert!(
        !ended.stderr.contains("hunter2"),
        "a password is shown: {}",
        ended.stderr
    );
    // Each line tells what would be good.
    for good in [
        "sqlite:<path>",
        "required, optional, disabled",
        "prod, dev",
        "127.0.0.1:9191",
        "json, text",
        "such as 24h",
    ] {
        assert!(ended.stderr.contains(good), "{good}: {}", ended.stderr);
    }
    assert_eq!(ground.refused_with(&["--check"]).await.stderr, ended.stderr);
}

#[tokio::test]
async fn contradictory_settings_are_reported_at_once() {
    let mut ground = Ground::new().await;
    let shared = ground.addr(contract::port::ROUTER_HTTP).to_string();
    for (name, value) in [
        ("AUTH_MODE", "disabled"), // without ALPHASWARM_ENV=dev, and not on loopback
        ("ALPHASWARM_GRPC_LISTEN", "0.0.0.0:9191"), // neither mTLS nor a mesh
        ("ALPHASWARM_HTTP_LISTEN", shared.as_str()),
        ("ALPHASWARM_CONTROL_LISTEN", shared.as_str()),
        ("ALPHASWARM_TLS_CERT", "/nowhere/tls.crt"), // a part of mTLS
        ("ALPHASWARM_OPERATORS", "okta/t1@api://ops"), // a provider that the file does not have
    ] {
        ground.set(name, value);
    }
    let ended = ground.refused().await;
    assert_reported(
        &ended,
        &[
            "AUTH_MODE: optional and disabled need ALPHASWARM_ENV=dev",
            "AUTH_MODE: optional and disabled need all three listeners on loopback",
            "ALPHASWARM_GRPC_LISTEN: 0.0.0.0:9191 is not loopback",
            "ALPHASWARM_GRPC_LISTEN, ALPHASWARM_HTTP_LISTEN, ALPHASWARM_CONTROL_LISTEN: each needs its own address",
            "ALPHASWARM_TLS_KEY: missing",
            "ALPHASWARM_TLS_CLIENT_CA: missing",
            "ALPHASWARM_OPERATORS: IDENTITY_CONFIG has no provider okta",
        ],
    );
}

/// The one setting that makes plain gRPC off loopback acceptable must be said; nothing listens there in this test.
#[tokio::test]
async fn plain_grpc_off_loopback_must_be_meant() {
    let mut ground = Ground::new().await;
    for name in ["ALPHASWARM_GRPC_LISTEN", "ALPHASWARM_CONTROL_LISTEN"] {
        let mut off = Ground::new().await;
        off.set(name, "0.0.0.0:19191");
        let ended = off.refused().await;
        assert_reported(&ended, &[name]);
        assert!(
            ended.stderr.contains("ALPHASWARM_INSECURE_GRPC=1"),
            "{}",
            ended.stderr
        );
    }
    ground.set("ALPHASWARM_GRPC_LISTEN", "0.0.0.0:19191");
    ground.set("ALPHASWARM_CONTROL_LISTEN", "[::]:19192");
    assert_eq!(ground.refused_with(&["--check"]).await.code, Some(EXIT_CONFIG));
    ground.set("ALPHASWARM_INSECURE_GRPC", "1");
    assert_eq!(ground.refused_with(&["--check"]).await.code, Some(0));
}

#[tokio::test]
async fn bytes_that_are_no_text_are_named() {
    let bad = || OsString::from_vec(vec![b'/', 0xff, b'x']);
    let names = ["ALPHASWARM_STATE_DIR", "ALPHASWARM_TLS_CERT", "AUTH_MODE"];
    let ended = run(place::ROUTER, &[], &names.map(|name| (name, bad()))).await;
    assert_eq!(ended.code, Some(EXIT_CONFIG), "{ended:?}");
    for name in names {
        assert!(
            ended
                .stderr
                .contains(&format!("tenant-router: {name}: not valid UTF-8\n")),
            "{}",
            ended.stderr
        );
    }
    // What belongs to other programs is not ours to judge.
    let ended = run(place::ROUTER, &["--print-config"], &[("SOMETHING_ELSE", bad())]).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

/// Every error of the files as well, with the place in the file, together with those of the variables.
#[tokio::test]
async fn errors_in_the_files_are_reported_with_the_others() {
    let mut ground = Ground::new().await;
    std::fs::write(
        ground.path("identity.toml"),
        "[[provider]]\nname = \"a\"\nkind = \"auth0\"\ndomain = \"https://x.auth0.com\"\naudience = \"https://api.example\"\n\
         [[provider]]\nname = \"e\"\nkind = \"entra\"\ntenants = \"any\"\naudiences = []\n",
    )
    .unwrap();
    let policy = ground.path("policy.toml");
    std::fs::write(
        &policy,
        "[[route]]\nprefix = \"/a\"\nclass = \"public\"\n[[route]]\nprefix = \"b\"\nclass = \"step_up\"\n\
         [cors]\nallow_origins = [\"example.com\"]\n",
    )
    .unwrap();
    ground.set("POLICY_FILE", policy.display().to_string());
    ground.set("CBA_MODE", "on");
    let ended = ground.refused().await;
    for line in ended.errors() {
        println!("{line}");
    }
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(EXIT_CONFIG), ""));
    let starting = |start: &str| {
        let start = format!("tenant-router: {start}");
        ended
            .errors()
            .into_iter()
            .filter(|line| line.starts_with(&start))
            .count()
    };
    assert_eq!(starting("CBA_MODE: "), 1);
    assert_eq!(starting("POLICY_FILE: "), 3, "{}", ended.stderr);
    assert!(starting("IDENTITY_CONFIG: ") >= 2, "{}", ended.stderr);
    assert_eq!(
        starting("CBA_MODE: ") + starting("POLICY_FILE: ") + starting("IDENTITY_CONFIG: "),
        ended.errors().len(),
        "{}",
        ended.stderr
    );
    for place in [
        "policy.toml: route 1",
        "policy.toml: route 2",
        "policy.toml: cors",
        "\"a\"",
        "\"e\"",
    ] {
        assert!(ended.stderr.contains(place), "{place}: {}", ended.stderr);
    }

    for (name, content) in [
        ("identity.toml", "[[provider"),
        ("policy.toml", "route = 1"),
        ("identity.toml", ""),
    ] {
        let mut ground = Ground::new().await;
        std::fs::write(ground.path(name), content).unwrap();
        let variable = if name == "policy.toml" {
            "POLICY_FILE"
        } else {
            "IDENTITY_CONFIG"
        };
        ground.set(variable, ground.path(name).display().to_string());
        let ended = ground.refused().await;
        assert_eq!(ended.code, Some(EXIT_CONFIG), "{name} {content:?}: {ended:?}");
        for line in ended.errors() {
            println!("{line}");
            assert!(
                line.starts_with(&format!("tenant-router: {variable}: ")),
                "{line}"
            );
        }
    }
    for variable in ["POLICY_FILE", "IDENTITY_CONFIG"] {
        let mut ground = Ground::new().await;
        ground.set(variable, ground.path("missing.toml").display().to_string());
        ground
            .refused()
            .await
            .says(EXIT_CONFIG, &[variable, "missing.toml"]);
    }
}

#[tokio::test]
async fn check_says_good_and_starts_nothing() {
    let ground = Ground::new().await;
    // Also while another router has the ports.
    let taken = std::net::TcpListener::bind(ground.addr(contract::port::ROUTER_GRPC)).unwrap();
    let ended = ground.refused_with(&["--check"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(
        (ended.stdout.as_str(), ended.stderr.as_str()),
        ("configuration is good\n", "")
    );
    ground.assert_ports_are_free(Some(contract::port::ROUTER_GRPC));
    drop(taken);
}

#[tokio::test]
async fn print_config_shows_what_is_in_effect() {
    let mut ground = Ground::new().await;
    ground.set("AUTH_MODE", "wrong"); // shown as it is, so that it can be found
    ground.set("REGISTRY_URL", "postgres://router:hunter2@db/registry");
    let ended = ground.refused_with(&["--print-config"]).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    let printed: std::collections::BTreeMap<&str, &str> = ended
        .stdout
        .lines()
        .map(|line| line.split_once('=').unwrap())
        .collect();
    assert_eq!(printed["AUTH_MODE"], "wrong");
    assert_eq!(printed["CBA_MODE"], "enforce", "a default");
    assert_eq!(printed["POLICY_FILE"], "", "unset, without a default");
    assert_eq!(printed["REGISTRY_URL"], "postgres://…@db/registry");

    // Help and print-config know the same variables.
    let help = run::<&str>(place::ROUTER, &["--help"], &[]).await;
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    for name in printed.keys() {
        assert!(
            help.stdout.contains(&format!("\n  {name}")),
            "{name} is not in --help"
        );
    }
    for option in ["--check", "--print-config", "exit code 64", "Example:"] {
        assert!(help.stdout.contains(option), "{option}: {}", help.stdout);
    }
    let wrong = run::<&str>(place::ROUTER, &["--serve"], &[]).await;
    assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(2), ""));
    assert!(wrong.stderr.contains("--serve"), "{}", wrong.stderr);
}
