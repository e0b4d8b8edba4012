use std::io::Write as _;

use contract::Envelope;
use contract::api::StepTaken;

use super::*;
use crate::testing;

/// An answer as a router gives it: an Entra token of a tenant whose link is pending.
fn pending() -> serde_json::Value {
    let step = |step: Step| StepTaken {
        step,
        outcome: match step {
            Step::AccessToken => StepOutcome::NotNeeded,
            Step::Tenant => StepOutcome::Refused,
            step if step > Step::Tenant => StepOutcome::NotReached,
            _ => StepOutcome::Passed,
        },
    };
    serde_json::json!({
        "allowed": false, "code": "tenant_pending", "reason": "link pending",
        "steps": Step::ALL.map(step),
        "route": {"class": "step_up", "rule": "any method, any host, paths below /admin", "strictest": true,
            "scopes": ["read:all"], "max_age_seconds": 300},
        "token": {"provider": "entra-eu", "provider_kind": "entra", "kid": "key\u{1b}[31m", "key_found": true,
            "signature_verified": true, "stated": {"aud": "api://alphaswarm", "exp": "1800000000"},
            "rule": null, "reason": null, "claims": null},
        "access_token": {"provider": null, "provider_kind": null, "kid": null, "key_found": false,
            "signature_verified": false, "stated": {}, "rule": "parts", "reason": "parts: x", "claims": null},
        "links": [{"provider": "entra-eu", "kind": "tid", "id": "t-1", "state": "pending", "tenant": "umbrella",
                "access": false},
            {"provider": "access", "kind": "aud", "id": "a-1", "state": null, "tenant": null, "access": true}],
        "host_tenant": "acme",
        "tenant": {"id": "umbrella", "state": "active", "cell": "cell-a", "cell_state": "active", "epoch": 7,
            "phase": "settled"},
        "destination": null, "registry_version": "1.12",
    })
}

#[test]
fn the_report_has_a_mark_for_each_step_and_every_fact() {
    let story: Story = serde_json::from_value(pending()).unwrap();
    let lines: Vec<String> = report(&story)
        .iter()
        .map(|(name, field)| format!("{name}: {}", field.text()))
        .collect();
    let text = lines.join("\n");
    for line in [
        "registry: \u{2713}",
        "route: \u{2713} step_up: any method, any host, paths below /admin; every demand of the policy, because the path \
         can be read in several ways; scopes read:all; signed in at most 300 s ago",
        "access_token: \u{b7} not needed",
        "tenant: \u{2717} link pending",
        "cell_claim: \u{b7} not reached",
        "provider: entra-eu (entra)",
        "key: key\u{fffd}[31m (known, signed the token)",
        "rule: passed every rule",
        "states: aud=api://alphaswarm exp=1800000000",
        "access rule: parts: not three non-empty parts",
        "link: entra-eu tid t-1: pending, to umbrella",
        "access link: access aud a-1: not known to the registry",
        "host's tenant: acme",
        "tenant: umbrella (active)",
        "cell: cell-a",
        "placement epoch: 7",
        "registry version: 1.12",
    ] {
        assert!(lines.iter().any(|known| known == line), "no {line:?} in\n{text}");
    }
    let failure = refusal(&story).unwrap();
    assert_eq!(
        (failure.exit_code(), failure.code.as_deref()),
        (1, Some("tenant_pending"))
    );
    assert_eq!(failure.what, "would be refused: 403 tenant_pending: link pending");
    assert!(failure.next.is_some());
}

/// A router that gives one answer, and what it was asked.
fn router(status: u16, body: String) -> (String, std::thread::JoinHandle<String>) {
    use std::io::{BufRead as _, BufReader, Read as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(&stream);
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        let mut sent = vec![0; length];
        reader.read_exact(&mut sent).unwrap();
        write!(
            &stream,
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        head + &String::from_utf8(sent).unwrap()
    });
    (url, asked)
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn the_exit_code_says_whether_the_request_would_be_let_in() {
    let mut allowed = pending();
    allowed["allowed"] = true.into();
    allowed["code"] = serde_json::Value::Null;
    allowed["reason"] = serde_json::Value::Null;
    for (answer, code) in [(pending(), 1), (allowed, 0)] {
        let (url, asked) = router(200, serde_json::to_string(&Envelope::ok(&answer)).unwrap());
        let (operator, bearer, access) = (file("o.operator.s\n"), file("a.bearer.s\n"), file("a.access.s\n"));
        let path = |file: &tempfile::NamedTempFile| file.path().display().to_string();
        let ran = testing::run(
            &[
                "explain",
                "--router",
                &url,
                "--operator-token-file",
                &path(&operator),
                "--token-file",
                &path(&bearer),
                "--access-token-file",
                &path(&access),
                "--host",
                "acme.example",
                "--path",
                "/admin?x",
                "--method",
                "POST",
                "--json",
            ],
            &[],
            crate::Terminals::default(),
        );
        assert_eq!(ran.code, code, "{ran:?}");
        let printed: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(printed["registry_version"], "1.12");
        let asked = asked.join().unwrap();
        assert!(asked.starts_with("POST /explain HTTP/1.1"), "{asked}");
        assert!(
            asked.contains("authorization: Bearer o.operator.s\r\n"),
            "{asked}"
        );
        assert!(asked.ends_with(
            r#"{"token":"a.bearer.s","access_token":"a.access.s","method":"POST","host":"acme.example","path":"/admin?x"}"#
        ));
        for secret in ["o.operator", "a.bearer", "a.access"] {
            assert!(!ran.out.contains(secret) && !ran.err.contains(secret), "{ran:?}");
        }
    }
}

#[test]
fn what_is_missing_is_a_usage_error_before_anything_is_sent() {
    let empty = file("\n");
    let empty = empty.path().display().to_string();
    let variables = [("ALPHASWARM_OPERATOR_TOKEN", "a.b.c")];
    for (line, variables, word) in [
        (&["explain", "--anonymous"][..], &[][..], "operator"),
        (&["jwks", "status"], &[], "operator"),
        (
            &["jwks", "status", "--operator-token-file", &empty],
            &variables,
            "operator",
        ),
        (&["explain", "--token-file", &empty], &variables, "empty"),
        (
            // A token pasted where its file belongs is not repeated.
            &["explain", "--token-file", "/nowhere/a.b.c"],
            &variables,
            "the named file",
        ),
        (
            &["explain", "--anonymous", "--router", "nowhere"],
            &variables,
            "--router",
        ),
        (&["explain", "--anonymous", "--access"], &variables, "--access"),
        (&["explain", "--anonymous", "--path", "x"], &variables, "path"),
    ] {
        let ran = testing::run(line, variables, crate::Terminals::default());
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{line:?}: {ran:?}");
        assert!(
            ran.err.contains(word) && !ran.err.contains("a.b.c"),
            "{line:?}: {ran:?}"
        );
    }
    // Nobody listens on port 1 of loopback.
    let ran = testing::run(
        &["explain", "--anonymous", "--router", "http://127.0.0.1:1"],
        &variables,
        crate::Terminals::default(),
    );
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.err.contains("127.0.0.1:1") && !ran.err.contains("a.b.c"),
        "{ran:?}"
    );
}
