use std::collections::HashMap;

use service::settings::print as print_all;

use super::*;

/// Parses an environment of pairs, on top of the least that is usable.
fn parse(pairs: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let providers = dir.path().join("identity.toml");
    std::fs::write(
        &providers,
        "[[provider]]\nname = \"auth0\"\nkind = \"auth0\"\ndomain = \"https://x.auth0.com/\"\naudience = \"https://api.example\"\n",
    )
    .unwrap();
    let mut env: HashMap<String, String> = HashMap::from([
        ("REGISTRY_URL".to_owned(), "sqlite:/tmp/r.db".to_owned()),
        ("IDENTITY_CONFIG".to_owned(), providers.display().to_string()),
    ]);
    env.extend(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    Config::from_env(&|name: &str| env.get(name).cloned()).map_err(|errors| errors.0)
}

#[track_caller]
fn refuses(pairs: &[(&str, &str)], expected: &[&str]) {
    let errors = parse(pairs).expect_err("must be refused");
    for name in expected {
        assert!(
            errors.iter().any(|e| e.starts_with(name)),
            "{name} is missing from {errors:#?}"
        );
    }
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
}

#[test]
fn the_least_environment_is_enough() {
    let config = parse(&[]).unwrap();
    assert_eq!(config.grpc.to_string(), "127.0.0.1:9191");
    assert_eq!(config.auth_mode, AuthMode::Required);
    assert_eq!(config.registry_max_staleness, Duration::from_secs(24 * 3600));
}

#[test]
fn the_offset_moves_all_ports() {
    let config = parse(&[("ALPHASWARM_PORT_OFFSET", "1000")]).unwrap();
    assert_eq!(
        [config.grpc.port(), config.http.port(), config.control.port()],
        [10191, 9080, 10192]
    );
}

#[test]
fn every_error_is_reported_at_once() {
    refuses(
        &[
            ("REGISTRY_URL", ""),
            ("IDENTITY_CONFIG", "/nowhere/identity.toml"),
            ("AUTH_MODE", "maybe"),
            ("CBA_MODE", "on"),
            ("JWKS_MAX_STALENESS", "soon"),
            ("REGISTRY_MAX_STALENESS", "8d"),
            ("ALPHASWARM_HTTP_LISTEN", "8080"),
            ("ALPHASWARM_TLS_CERT", "/nowhere"),
            ("ALPHASWARM_DRAIN_SECONDS", "-1"),
            ("ALPHASWARM_CONNECTION_MAX_AGE_SECONDS", "10m"),
            ("ALPHASWARM_LOG", "=="),
            ("POLICY_FILE", "/nowhere/policy.toml"),
            ("ALPHASWARM_OPERATORS", "nonsense"),
        ],
        &[
            "REGISTRY_URL",
            "IDENTITY_CONFIG",
            "AUTH_MODE",
            "CBA_MODE",
            "JWKS_MAX_STALENESS",
            "REGISTRY_MAX_STALENESS",
            "ALPHASWARM_HTTP_LISTEN",
            "ALPHASWARM_TLS_KEY",
            "ALPHASWARM_TLS_CLIENT_CA",
            "ALPHASWARM_DRAIN_SECONDS",
            "ALPHASWARM_CONNECTION_MAX_AGE_SECONDS",
            "ALPHASWARM_LOG",
            "POLICY_FILE",
            "ALPHASWARM_OPERATORS",
        ],
    );
}

#[test]
fn keys_are_fetched_often_enough_to_stay_fresh() {
    let config = parse(&[("JWKS_REFRESH", "2s"), ("JWKS_MAX_STALENESS", "6s")]).unwrap();
    assert_eq!(config.providers.refresh, Some(Duration::from_secs(2)));
    refuses(
        &[("JWKS_REFRESH", "3s"), ("JWKS_MAX_STALENESS", "6s")],
        &["JWKS_REFRESH: \"3s\" is more than a third of JWKS_MAX_STALENESS"],
    );
    for value in ["99ms", "25h", "0", "often"] {
        refuses(
            &[("JWKS_REFRESH", value), ("JWKS_MAX_STALENESS", "7d")],
            &["JWKS_REFRESH: "],
        );
    }
}

#[test]
fn a_private_providers_authorities_are_read_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    let path = file.display().to_string();
    let refused = || refuses(&[("JWKS_CA_FILE", &path)], &["JWKS_CA_FILE: "]);
    refused();
    for text in [
        "",
        "no certificate",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        std::fs::write(&file, text).unwrap();
        refused();
    }
    let certificate = |name: &str| {
        rcgen::CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .self_signed(&rcgen::KeyPair::generate().unwrap())
            .unwrap()
            .pem()
    };
    std::fs::write(&file, certificate("a") + &certificate("b")).unwrap();
    assert_eq!(
        parse(&[("JWKS_CA_FILE", &path)]).unwrap().providers.roots.len(),
        2
    );
}

#[test]
fn relaxed_modes_need_dev_and_loopback() {
    refuses(
        &[("AUTH_MODE", "disabled")],
        &["AUTH_MODE: optional and disabled need ALPHASWARM_ENV=dev"],
    );
    refuses(
        &[
            ("AUTH_MODE", "optional"),
            ("ALPHASWARM_ENV", "dev"),
            ("ALPHASWARM_HTTP_LISTEN", "0.0.0.0:8080"),
        ],
        &["AUTH_MODE: optional and disabled need all three listeners on loopback"],
    );
    assert!(
        parse(&[
            ("AUTH_MODE", "disabled"),
            ("ALPHASWARM_ENV", "dev"),
            ("IDENTITY_CONFIG", "")
        ])
        .is_ok()
    );
}

#[test]
fn an_operator_of_an_unknown_provider_is_a_contradiction() {
    refuses(
        &[("ALPHASWARM_OPERATORS", "entra/t@a,auth0/org_1@b")],
        &["ALPHASWARM_OPERATORS: IDENTITY_CONFIG has no provider entra"],
    );
}

#[test]
fn a_share_of_allows_is_logged() {
    let one_of = |text| {
        let config = parse(&[("ALPHASWARM_LOG_ALLOWS", text)]).unwrap();
        config.log_allows.map(NonZeroU64::get)
    };
    assert_eq!(
        [one_of(""), one_of("0"), one_of("1"), one_of("1/50")],
        [Some(1000), None, Some(1), Some(50)]
    );
    for wrong in ["2", "1/0", "0.1", "1/", "one", "-1", "10%"] {
        refuses(&[("ALPHASWARM_LOG_ALLOWS", wrong)], &["ALPHASWARM_LOG_ALLOWS"]);
    }
}

#[test]
fn traces_go_nowhere_unless_told_to() {
    assert_eq!(parse(&[]).unwrap().trace, None);
    let config = parse(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")]).unwrap();
    let trace = config.trace.unwrap();
    assert_eq!((trace.service.as_str(), trace.roots), ("tenant-router", 0.0));
    refuses(
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4317"),
            ("OTEL_TRACES_SAMPLER_ARG", "all"),
        ],
        &["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_SAMPLER_ARG"],
    );
}

#[test]
fn required_without_a_provider_refuses_to_start() {
    refuses(&[("IDENTITY_CONFIG", "")], &["IDENTITY_CONFIG: missing"]);
}

#[test]
fn plain_grpc_off_loopback_must_be_meant() {
    refuses(
        &[("ALPHASWARM_GRPC_LISTEN", "0.0.0.0:9191")],
        &["ALPHASWARM_GRPC_LISTEN"],
    );
    assert!(
        parse(&[
            ("ALPHASWARM_GRPC_LISTEN", "0.0.0.0:9191"),
            ("ALPHASWARM_INSECURE_GRPC", "1")
        ])
        .is_ok()
    );
}

#[test]
fn a_password_in_a_url_is_not_echoed() {
    for bad in [
        "mysql://user:hunter2@db/x",
        "postgres://user@db/x?password=hunter2",
        "postgres://user:hunter2@:x/y",
    ] {
        let errors = parse(&[("REGISTRY_URL", bad)]).unwrap_err();
        assert!(!errors.join("").contains("hunter2"), "{errors:?}");
    }
    let good = parse(&[("REGISTRY_URL", "postgres://user:hunter2@db/x")]).unwrap();
    assert_eq!(good.registry.url, "postgres://user:hunter2@db/x");
    for (value, shown) in [
        ("mysql://user:hunter2@db/x?y=a@b", "mysql://…@db/x?y=a@b"),
        ("mysql://user:hunt@er2@db", "mysql://…@db"),
        ("mysql://db/x@y", "mysql://db/x@y"),
        (
            "postgres://ana:hunter2@db/x?sslmode=require",
            "postgres://…@db/x?sslmode=require",
        ),
        ("postgres://ana@db/x?a=b&password=hunter2", "postgres://…@db/x?…"),
        ("postgres://db/x?PassWd=hunter2", "postgres://db/x?…"),
        ("sqlite:/a@b", "sqlite:/a@b"),
    ] {
        let printed = print_all(VARIABLES, &|name: &str| {
            (name == "REGISTRY_URL").then(|| value.to_owned())
        });
        assert!(
            printed.starts_with(&format!("REGISTRY_URL={shown}\n")),
            "{printed}"
        );
    }
}

#[test]
fn what_is_printed_is_every_variable() {
    let printed = print_all(VARIABLES, &|_: &str| None);
    assert_eq!(printed.lines().count(), VARIABLES.len());
    assert!(printed.contains("AUTH_MODE=required\n"));
}
