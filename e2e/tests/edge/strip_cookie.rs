//! `FORWARD_TOKEN=strip` with `envoy/strip-access-cookie.yaml`: a cell receives neither the tokens nor the cookie that holds
//! one, and every other cookie as it was sent.

use std::time::Duration;

use devkit::place;
use devkit::stack::{Part, Stack};

use crate::harness::{among_others, line};
use crate::wire;

const ROUTER_FILTER: &str = "          - name: envoy.filters.http.router\n";

/// Our configuration with the two filters where they belong.
fn configuration() -> String {
    let read =
        |name: &str| std::fs::read_to_string(place::repository().unwrap().join("envoy").join(name)).unwrap();
    let filters: String = read("strip-access-cookie.yaml")
        .lines()
        .map(|line| format!("          {line}\n"))
        .collect();
    let yaml = read("envoy.yaml");
    assert_eq!(yaml.matches(ROUTER_FILTER).count(), 1);
    yaml.replace(ROUTER_FILTER, &format!("{filters}{ROUTER_FILTER}"))
}

#[tokio::test]
async fn a_cell_receives_no_token_in_a_cookie_either() {
    let _machine = among_others().await;
    let stack = Stack::builder()
        .envoy_config(configuration())
        .env(Part::Router(0), "FORWARD_TOKEN", "strip")
        .start()
        .await
        .unwrap();
    stack.serves(Duration::from_secs(20)).await.unwrap();
    let acme = line(&stack.token("acme").await.unwrap());
    let long = format!("cookie: long={}; CF_Authorization=e.y.J", "x".repeat(9000));
    for (lines, received) in [
        (vec!["cookie: a=b; c=\"d e\""], Some("a=b; c=\"d e\"")),
        (vec!["cookie: a=b; CF_Authorization=e.y.J"], Some("a=b")),
        (vec!["cookie: CF_Authorization=e.y.J; a=b"], Some("a=b")),
        (vec!["cookie: a=b; CF_Authorization = e.y.J;c=d"], Some("a=b;c=d")),
        (
            vec!["cookie: CF_AppSession=1; CF_Authorization=e.y.J; a=b; CF_Authorization=2"],
            Some("a=b"),
        ),
        (
            vec!["cookie: a=b", "cookie: CF_Authorization=e.y.J", "cookie: c=d"],
            Some("a=b,c=d"),
        ),
        (
            vec!["cookie: MY_CF_Authorization=mine"],
            Some("MY_CF_Authorization=mine"),
        ),
        (vec!["cookie: CF_Authorization=e.y.J"], None),
        (vec![long.as_str()], None),
        (vec![], None),
    ] {
        let all: Vec<&str> = lines.iter().copied().chain([acme.as_str()]).collect();
        let reply = wire::get(stack.edge(), "/", &all).await.unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
        let headers = &reply.json()["headers"];
        assert!(headers.get("authorization").is_none(), "{headers}");
        let cookies = headers.get("cookie").map(|values| values[0].as_str().unwrap());
        assert_eq!(cookies, received, "{lines:?}");
        assert!(!headers.to_string().contains("e.y.J"), "{headers}");
    }
}
