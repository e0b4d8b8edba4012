//! Whose word counts at `/resolve`: the headers of the proxy that `RESOLVE_FROM` names, each once and all of them.

use devkit::stack::Stack;

use crate::checks::{Answer, Asker};
use crate::harness::{among_others, host_of, line, registry};
use crate::resolve::{resolve_from, stack};
use crate::wire;

/// A proxy's name, the prefix of its headers, and the other one's.
const PROXIES: [(&str, &str, &str); 2] = [
    ("nginx", "x-original", "x-forwarded"),
    ("forwarded", "x-forwarded", "x-original"),
];

async fn ask(stack: &Stack, asker: &Asker, path: &str, lines: &[&str]) -> Answer {
    let reply = wire::request(stack.router_http(), "GET", path, "router.internal", lines)
        .await
        .unwrap();
    asker.read(&reply)
}

/// A proxy whose configuration forgets a header does not lose the rules that need it.
#[tokio::test]
async fn what_the_proxy_leaves_out_makes_the_class_the_strictest() {
    let _machine = among_others().await;
    let stack = stack().await;
    let weak = line(&stack.token("acme").await.unwrap());
    for (from, ours, _) in PROXIES {
        resolve_from(&stack, Some(from)).await;
        let asker = Asker::new(&stack).await;
        let told = |path: &str| {
            [
                format!("{ours}-method: GET"),
                format!("{ours}-host: edge.localhost"),
                format!("{ours}-uri: {path}"),
            ]
        };
        let (public, api) = (told("/public/x"), told("/api/x"));
        for left_out in 0..3 {
            let but = |told: &[String; 3]| -> Vec<String> {
                told.iter()
                    .enumerate()
                    .filter(|(n, _)| *n != left_out)
                    .map(|(_, line)| line.clone())
                    .collect()
            };
            let (public, api) = (but(&public), but(&api));
            let public: Vec<&str> = public.iter().map(String::as_str).collect();
            let api: Vec<&str> = api.iter().map(String::as_str).chain([weak.as_str()]).collect();
            let anonymous = ask(&stack, &asker, "/resolve", &public).await;
            assert_eq!(
                (anonymous.status, anonymous.code.as_str()),
                (401, "unauthenticated"),
                "{from}: {public:?}"
            );
            let answer = ask(&stack, &asker, "/resolve", &api).await;
            assert_eq!(
                (answer.status, answer.code.as_str()),
                (401, "step_up_required"),
                "{from}: {api:?}"
            );
        }
        // The good twins, and the path behind /resolve instead of a header.
        let public: Vec<&str> = public.iter().map(String::as_str).collect();
        let api: Vec<&str> = api.iter().map(String::as_str).chain([weak.as_str()]).collect();
        assert_eq!(
            ask(&stack, &asker, "/resolve", &public).await.status,
            200,
            "{from}"
        );
        assert_eq!(ask(&stack, &asker, "/resolve", &api).await.status, 200, "{from}");
        assert_eq!(
            ask(&stack, &asker, "/resolve/public/x", &public[..2])
                .await
                .status,
            200,
            "{from}"
        );
        assert_eq!(
            ask(&stack, &asker, "/resolve/public/x", &api[..2]).await.status,
            200,
            "{from}"
        );
        assert_eq!(
            ask(&stack, &asker, "/resolve/api/x", &public[..2]).await.status,
            401,
            "{from}"
        );
        // The header has the last word.
        assert_eq!(
            ask(&stack, &asker, "/resolve/public/x", &api[..3]).await.status,
            401,
            "{from}"
        );
    }
}

/// Whoever sends a header twice that decides is not the proxy that we trust.
#[tokio::test]
async fn forwarded_headers_count_once_and_only_those_of_the_named_proxy() {
    let _machine = among_others().await;
    let stack = stack().await;
    let token = line(&stack.token("acme").await.unwrap());
    let globex_host = host_of(&registry(&stack).await, "globex").await;
    for (from, ours, others) in PROXIES {
        resolve_from(&stack, Some(from)).await;
        let asker = Asker::new(&stack).await;
        let ask = async |lines: &[&str]| -> Answer {
            let reply = wire::request(stack.router_http(), "GET", "/resolve", "router.internal", lines)
                .await
                .unwrap();
            asker.read(&reply)
        };
        let line = |name: &str, value: &str| format!("{ours}-{name}: {value}");
        let (method, host, uri) = (
            line("method", "GET"),
            line("host", "edge.localhost"),
            line("uri", "/api/x"),
        );
        let good = [method.as_str(), &host, &uri, &token];
        assert_eq!(ask(&good).await.status, 200);
        for (what, twice) in [
            ("uri", line("uri", "/public/x")),
            ("uri", uri.clone()),
            ("method", line("method", "POST")),
            ("host", line("host", &globex_host)),
            ("host", host.clone()),
        ] {
            for lines in [
                [&good[..], &[&twice]].concat(),
                [&[twice.as_str()], &good[..]].concat(),
            ] {
                let answer = ask(&lines).await;
                assert_eq!(
                    (answer.status, answer.code.as_str()),
                    (400, "bad_request"),
                    "{from}: {what} twice"
                );
                // Also where the route would be public.
                let anonymous: Vec<&str> = lines.into_iter().filter(|line| *line != token).collect();
                assert!(
                    ask(&anonymous).await.status >= 400,
                    "{from}: {what} twice, without a token"
                );
            }
        }
        for bad in [
            line("uri", "http://edge.localhost/public/x"),
            line("uri", "//public/x"),
            line("uri", "/public/../api"),
            line("uri", "public/x"),
            line("uri", "/public%2fx"),
            line("host", "a.example, b.example"),
            line("host", "a.example b.example"),
        ] {
            let name = bad.split_once(':').unwrap().0;
            let lines: Vec<&str> = good
                .iter()
                .copied()
                .filter(|line| !line.starts_with(name))
                .chain([bad.as_str()])
                .collect();
            let answer = ask(&lines).await;
            assert_eq!(
                (answer.status, answer.code.as_str()),
                (400, "bad_request"),
                "{from}: {bad}"
            );
        }
        // The other proxy's headers are just headers.
        let forged = [
            format!("{others}-uri: /public/x"),
            format!("{others}-host: {globex_host}"),
            format!("{others}-method: X"),
        ];
        let forged: Vec<&str> = forged.iter().map(String::as_str).collect();
        assert_eq!(
            ask(&[&good[..], &forged[..]].concat()).await.status,
            200,
            "{from}"
        );
        let anonymous = [&good[..3], &forged[..]].concat();
        assert_eq!(ask(&anonymous).await.status, 401, "{from}");
        // Ours do count.
        let other_host = line("host", &globex_host);
        assert_eq!(
            ask(&[&method, &other_host, &uri, &token]).await.code,
            "tenant_mismatch",
            "{from}"
        );
        let public = line("uri", "/public/x");
        assert_eq!(ask(&[&method, &host, &public]).await.status, 200, "{from}");
    }
    // Envoy's are the request itself.
    resolve_from(&stack, Some("envoy")).await;
    let forged = [
        "x-original-uri: /public/x",
        "x-forwarded-uri: /public/x",
        "x-original-host: edge.localhost",
    ];
    let reply = wire::request(
        stack.router_http(),
        "GET",
        "/resolve/api/x",
        "edge.localhost",
        &forged,
    )
    .await
    .unwrap();
    assert_eq!(reply.status, 401, "{}", reply.body);
    let two = wire::request(
        stack.router_http(),
        "GET",
        "/resolve/api/x",
        &globex_host,
        &["host: edge.localhost", &token],
    )
    .await
    .unwrap();
    assert_eq!(two.status, 400, "{}", two.body);
}
