//! Customers who write operator scopes into their own directories gain nothing: the scopes are dropped before any cell,
//! any assertion or any operators' endpoint can read them.

use contract::dev::{DemoCellAnswer, DevProvider, MintRequest};
use contract::{CellId, header};
use serde_json::json;

use crate::checks::{assertion_keys, now};
use crate::harness::{among_others, line, of, shared};
use crate::operators::set_aside;
use crate::wire;

/// What a customer would like to be.
const WANTED: [&str; 7] = [
    "cluster:admin",
    "cluster:read",
    "registry:read",
    "registry:write",
    "operator:x",
    "CLUSTER:ADMIN",
    "Operator:Explain",
];
/// What a customer may say.
const OWN: &str = "read:all";

/// A customer's tokens that ask for all of it, in every claim where scopes can stand.
fn customers() -> Vec<(String, &'static str, MintRequest)> {
    let all: Vec<String> = WANTED
        .iter()
        .map(|s| (*s).to_owned())
        .chain([OWN.to_owned()])
        .collect();
    let joined = all.join(" ");
    let mut cases = Vec::new();
    for (name, tenant, provider) in [
        ("Entra", "acme", DevProvider::Entra),
        ("Auth0", "globex", DevProvider::Auth0),
    ] {
        let good = || of(tenant, provider);
        let mut add = |what: &str, request| cases.push((format!("{name}, {what}"), tenant, request));
        add(
            "scopes",
            MintRequest {
                scopes: all.clone(),
                ..good()
            },
        );
        add(
            "roles or permissions",
            MintRequest {
                roles: all.clone(),
                ..good()
            },
        );
        add(
            "both",
            MintRequest {
                scopes: all.clone(),
                roles: all.clone(),
                ..good()
            },
        );
        add(
            "a service's",
            MintRequest {
                scopes: all.clone(),
                roles: all.clone(),
                service: true,
                ..good()
            },
        );
        // One value that would be several for whoever splits it.
        add(
            "one role with spaces",
            MintRequest {
                roles: vec![joined.clone(), OWN.to_owned()],
                ..good()
            },
        );
        for claim in [
            "scp",
            "scope",
            "roles",
            "permissions",
            "scopes",
            "groups",
            "wids",
            "https://alphaswarm.local/claims/scopes",
        ] {
            for value in [json!(joined), json!(all)] {
                let shape = if value.is_array() { "list" } else { "text" };
                let mut request = good();
                request.claims.insert(claim.to_owned(), value);
                add(&format!("{claim} as {shape}"), request);
            }
        }
    }
    for claim in ["scope", "scp", "permissions", "roles", "groups", "custom"] {
        let mut request = of("initech", DevProvider::CloudflareAccess);
        request.claims.insert(claim.to_owned(), json!(all));
        cases.push((format!("Access, {claim}"), "initech", request));
    }
    cases
}

fn holds_operator_scope(scopes: &str) -> bool {
    let scopes = scopes.to_ascii_lowercase();
    ["cluster:", "registry:", "operator:"]
        .iter()
        .any(|prefix| scopes.contains(prefix))
}

#[tokio::test]
async fn a_customer_who_says_cluster_admin_gains_nothing() {
    let _machine = among_others().await;
    let stack = shared().await;
    let keys = assertion_keys(stack).await;
    let (mut passed, mut kept) = (0, 0);
    for (name, tenant, request) in customers() {
        let token = stack
            .mint(&request)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error:#}"));
        let reply = wire::get(stack.edge(), "/api/x", &[&line(&token)]).await.unwrap();
        if reply.status == 200 {
            let answer: DemoCellAnswer = serde_json::from_str(&reply.body).unwrap();
            assert_eq!(answer.tenant.as_deref(), Some(tenant), "{name}");
            let header = answer
                .headers
                .get(header::SCOPES)
                .map(|values| values.join("|"))
                .unwrap_or_default();
            assert!(!holds_operator_scope(&header), "{name}: {header}");
            let cell = CellId::parse(&answer.cell).unwrap();
            let claims = keys
                .verify(&answer.headers[header::ASSERTION][0], &cell, now())
                .unwrap();
            let asserted = claims.scopes.unwrap_or_default();
            assert_eq!(
                asserted, header,
                "{name}: the assertion says something else than the header"
            );
            passed += 1;
            kept += usize::from(header.split(' ').any(|scope| scope == OWN));
        } else {
            // A claim that is not as the provider writes it: refused as a whole.
            assert_eq!(
                (reply.status, reply.code().as_str()),
                (401, "unauthenticated"),
                "{name}: {}",
                reply.body
            );
            println!("{name}: refused");
        }
        let listed = set_aside(stack, &[&line(&token)]).await;
        let allowed: &[_] = if reply.status == 200 && token.header == header::AUTHORIZATION {
            &[(403, "forbidden")]
        } else {
            &[(401, "unauthenticated")]
        };
        assert!(
            allowed.contains(&(listed.status, listed.code().as_str())),
            "{name}: {} {}",
            listed.status,
            listed.body
        );
    }
    println!("{passed} tokens passed without operator scopes, {kept} kept their own");
    // What is dropped is dropped alone: harmless scopes of the same claims arrive.
    assert!(passed >= 20 && kept >= 10, "{passed} {kept}");
}
