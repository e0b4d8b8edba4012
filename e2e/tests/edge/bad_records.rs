//! Malformed rows, written straight into the database behind everybody's back while the router serves: they are set
//! aside, counted, named to operators only, and the rest goes live.

use std::time::Duration;

use contract::dev::{DevProvider, MintRequest};
use contract::port;
use devkit::dev;
use devkit::stack::{Part, Stack};
use sqlx::{Connection as _, SqliteConnection};

use crate::harness::{among_others, line, wait_for_code, wait_until};
use crate::wire;

/// One statement for each way in which a row can be wrong, with what an operator reads about it.
fn bad_rows() -> Vec<(&'static str, &'static str)> {
    vec![
        (
            "INSERT INTO cells (id, state, tier, region, endpoints) VALUES ('cell-bad-json', 'active', 'std', 'x', 'not json')",
            "cell cell-bad-json",
        ),
        (
            "INSERT INTO cells (id, state, tier, region, endpoints) VALUES ('cell-bad-port', 'active', 'std', 'x', '[\"127.0.0.1:99999\"]')",
            "cell cell-bad-port",
        ),
        (
            "INSERT INTO cells (id, state, tier, region, endpoints) VALUES ('cell-empty', 'active', 'std', 'x', '[]')",
            "cell cell-empty",
        ),
        (
            "INSERT INTO cells (id, state, tier, region, endpoints) VALUES ('Cell Ö', 'active', 'std', 'x', '[\"127.0.0.1:1\"]')",
            "cell Cell Ö",
        ),
        (
            "INSERT INTO cells (id, state, tier, region, endpoints, weight) VALUES ('cell-weight', 'active', 'std', 'x', '[\"127.0.0.1:1\"]', -1)",
            "cell cell-weight",
        ),
        (
            "INSERT INTO tenants (id, state, name) VALUES ('zombie', 'undead', 'Zombie')",
            "tenant zombie",
        ),
        (
            "INSERT INTO tenants (id, state, name) VALUES ('', 'active', 'Nameless')",
            "tenant ",
        ),
        (
            "INSERT INTO tenants (id, state, name, requests_per_second) VALUES ('stopped', 'active', 'Stopped', 0)",
            "tenant stopped",
        ),
        (
            "INSERT INTO links (provider, kind, external_id, tenant, state) VALUES ('entra', 'tide', 'x', 'acme', 'active')",
            "link entra/tide/x",
        ),
        (
            "INSERT INTO links (provider, kind, external_id, tenant, state) VALUES ('entra', 'tid', '', 'acme', 'active')",
            "link entra/tid/",
        ),
        (
            "INSERT INTO links (provider, kind, external_id, tenant, state) VALUES ('auth0', 'org_id', 'org_nobody', 'no-such-tenant', 'active')",
            "link auth0/org_id/org_nobody",
        ),
        (
            "INSERT INTO placements (tenant, cell, epoch, phase) VALUES ('zombie', 'cell-shared-std-local', 0, 'settled')",
            "placement of zombie",
        ),
        (
            "INSERT INTO hosts (host, tenant) VALUES ('UPPER.example.com', 'acme')",
            "host UPPER.example.com",
        ),
        (
            "INSERT INTO hosts (host, tenant) VALUES ('host.example.com:443', 'acme')",
            "host host.example.com:443",
        ),
        (
            "INSERT INTO revocations (provider, subject, token_id, not_before) VALUES ('entra', 'a', 'b', 0)",
            "revocation of entra/a",
        ),
    ]
}

/// Good rows in the same transaction: a tenant that nobody knew before.
const GOOD: [&str; 3] = [
    "INSERT INTO tenants (id, state, name) VALUES ('hooli', 'active', 'Hooli')",
    "INSERT INTO placements (tenant, cell, epoch, phase) VALUES ('hooli', 'cell-dedicated-pro-local', 1, 'settled')",
    "INSERT INTO links (provider, kind, external_id, tenant, state) VALUES ('auth0', 'org_id', ?1, 'hooli', 'active')",
];

async fn write(stack: &Stack, statements: &[&'static str], parameter: &str) {
    let mut connection = SqliteConnection::connect(&stack.registry_url()).await.unwrap();
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
    for statement in statements {
        let query = sqlx::query(*statement);
        let query = if statement.contains("?1") {
            query.bind(parameter.to_owned())
        } else {
            query
        };
        query
            .execute(&mut *transaction)
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    transaction.commit().await.unwrap();
    connection.close().await.unwrap();
}

/// `set_aside` of `/readyz`, and the metric.
async fn counted(stack: &Stack) -> (u64, u64) {
    let reply = wire::get(stack.router_http(), "/readyz", &[]).await.unwrap();
    let ready = reply.json()["set_aside"].as_u64().unwrap();
    let metrics = wire::get(stack.router_http(), "/metrics", &[])
        .await
        .unwrap()
        .body;
    let metric = metrics
        .lines()
        .find_map(|line| line.strip_prefix("alphaswarm_router_registry_records_set_aside "))
        .unwrap_or_else(|| panic!("no metric: {metrics}"));
    (ready, metric.parse().unwrap())
}

async fn wait_for_count(stack: &Stack, count: usize) {
    let wanted = (count as u64, count as u64);
    wait_until(&format!("{count} records are set aside"), async || {
        counted(stack).await == wanted
    })
    .await;
}

/// What an operator is told: record and reason.
async fn named(stack: &Stack) -> Vec<(String, String)> {
    let operator = MintRequest {
        roles: vec!["cluster:read".to_owned()],
        ..MintRequest::good(dev::OPERATOR)
    };
    let token = stack.mint(&operator).await.unwrap();
    let control = stack.ports().addr(port::ROUTER_CONTROL);
    let reply = wire::get(control, "/registry/set-aside", &[&line(&token)])
        .await
        .unwrap();
    assert_eq!(reply.status, 200, "{}", reply.body);
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let json = reply.json();
    let list = json["data"].as_array().unwrap();
    list.iter()
        .map(|row| (text(&row["record"]), text(&row["reason"])))
        .collect()
}

async fn everybody_else_is_served(stack: &Stack) {
    for tenant in ["acme", "globex", "initech"] {
        let token = stack.token(tenant).await.unwrap();
        let reply = wire::get(stack.edge(), "/api/x", &[&line(&token)]).await.unwrap();
        assert_eq!(reply.status, 200, "{tenant}: {}", reply.body);
        assert_eq!(reply.json()["tenant"], tenant);
    }
}

#[tokio::test]
async fn bad_rows_are_set_aside_and_the_rest_goes_live() {
    let _machine = among_others().await;
    let stack = Stack::builder().start().await.unwrap();
    assert_eq!(counted(&stack).await, (0, 0));
    let bad = bad_rows();
    let statements: Vec<&str> = bad.iter().map(|(statement, _)| *statement).chain(GOOD).collect();
    let org = dev::external_id("hooli", DevProvider::Auth0);
    write(&stack, &statements, &org).await;

    wait_for_count(&stack, bad.len()).await;
    let hooli = stack
        .mint(&MintRequest {
            provider: Some(DevProvider::Auth0),
            ..MintRequest::good("hooli")
        })
        .await
        .unwrap();
    let reply = wire::get(stack.edge(), "/api/x", &[&line(&hooli)]).await.unwrap();
    assert_eq!(
        (reply.status, &reply.json()["tenant"]),
        (200, &"hooli".into()),
        "{}",
        reply.body
    );
    everybody_else_is_served(&stack).await;

    let listed = named(&stack).await;
    for (record, reason) in &listed {
        println!("{record}: {reason}");
        assert!(
            !reason.is_empty() && !reason.contains(" at line "),
            "{record}: {reason}"
        );
    }
    for (_, record) in &bad {
        assert!(
            listed.iter().any(|(named, _)| named == record),
            "{record:?} is not named: {listed:#?}"
        );
    }
    assert_eq!(listed.len(), bad.len());

    // Names are for operators: the public probe counts only, customers and strangers get nothing.
    let ready = wire::get(stack.router_http(), "/readyz", &[]).await.unwrap();
    assert_eq!(
        ready.status, 200,
        "bad rows do not make a router unready: {}",
        ready.body
    );
    let metrics = wire::get(stack.router_http(), "/metrics", &[]).await.unwrap();
    for body in [&ready.body, &metrics.body] {
        assert!(!body.contains("zombie") && !body.contains("cell-bad"), "{body}");
    }
    let control = stack.ports().addr(port::ROUTER_CONTROL);
    let customer = MintRequest {
        roles: vec!["cluster:read".to_owned()],
        ..MintRequest::good("acme")
    };
    let customer = line(&stack.mint(&customer).await.unwrap());
    for (lines, status) in [(vec![], 401), (vec![customer.as_str()], 403)] {
        let reply = wire::get(control, "/registry/set-aside", &lines).await.unwrap();
        assert_eq!(reply.status, status, "{}", reply.body);
        assert!(!reply.body.contains("zombie"), "{}", reply.body);
    }

    // A full load comes to the same as following did.
    let mut before = listed;
    stack.stop_one(Part::Router(0)).await.unwrap();
    stack.start(Part::Router(0)).await.unwrap();
    stack.serves(Duration::from_secs(20)).await.unwrap();
    wait_for_count(&stack, bad.len()).await;
    let mut after = named(&stack).await;
    before.sort();
    after.sort();
    assert_eq!(before, after);

    // Repaired rows come back, one by one.
    write(
        &stack,
        &[
            "DELETE FROM cells WHERE id IN ('cell-bad-json', 'Cell Ö')",
            "UPDATE tenants SET state = 'active' WHERE id = 'zombie'",
            "UPDATE placements SET epoch = 1 WHERE tenant = 'zombie'",
        ],
        "",
    )
    .await;
    wait_for_count(&stack, bad.len() - 4).await;
    assert!(
        named(&stack)
            .await
            .iter()
            .all(|(record, _)| !record.contains("zombie"))
    );
}

/// A row that was good and is spoilt: its tenant is refused, nobody else notices, and a repair is enough.
#[tokio::test]
async fn a_spoilt_row_stops_its_tenant_and_nobody_else() {
    let _machine = among_others().await;
    let stack = Stack::builder().start().await.unwrap();
    let globex = stack.token("globex").await.unwrap();
    for (spoil, repair, record) in [
        (
            "UPDATE tenants SET state = 'actve' WHERE id = 'globex'",
            "UPDATE tenants SET state = 'active' WHERE id = 'globex'",
            "tenant globex",
        ),
        (
            "UPDATE placements SET phase = 'setled' WHERE tenant = 'globex'",
            "UPDATE placements SET phase = 'settled' WHERE tenant = 'globex'",
            "placement of globex",
        ),
        (
            "UPDATE placements SET cell = 'cell-nowhere' WHERE tenant = 'globex'",
            "UPDATE placements SET cell = 'cell-dedicated-pro-local' WHERE tenant = 'globex'",
            "placement of globex",
        ),
        (
            "UPDATE links SET state = '' WHERE tenant = 'globex'",
            "UPDATE links SET state = 'active' WHERE tenant = 'globex'",
            "link auth0/org_id/org_Gl0bexA1b2C3d4E5",
        ),
        (
            "UPDATE cells SET endpoints = '' WHERE id = 'cell-dedicated-pro-local'",
            "",
            "cell cell-dedicated-pro-local",
        ),
    ] {
        let endpoints = endpoints(&stack).await;
        write(&stack, &[spoil], "").await;
        wait_for_count(&stack, 1).await;
        assert_eq!(named(&stack).await[0].0, record);
        let reply = wire::get(stack.edge(), "/api/x", &[&line(&globex)])
            .await
            .unwrap();
        println!("{record}: {} {}", reply.status, reply.code());
        assert!(
            [403, 503].contains(&reply.status) && !reply.code().is_empty(),
            "{spoil}: {} {}",
            reply.status,
            reply.body
        );
        let acme = stack.token("acme").await.unwrap();
        let other = wire::get(stack.edge(), "/api/x", &[&line(&acme)]).await.unwrap();
        assert_eq!(other.status, 200, "{spoil}: {}", other.body);
        let repair = if repair.is_empty() {
            "UPDATE cells SET endpoints = ?1 WHERE id = 'cell-dedicated-pro-local'"
        } else {
            repair
        };
        write(&stack, &[repair], &endpoints).await;
        wait_for_count(&stack, 0).await;
        wait_for_code(&stack, "globex", "").await;
    }
}

async fn endpoints(stack: &Stack) -> String {
    let mut connection = SqliteConnection::connect(&stack.registry_url()).await.unwrap();
    let query = sqlx::query_scalar("SELECT endpoints FROM cells WHERE id = 'cell-dedicated-pro-local'");
    let endpoints = query.fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    endpoints
}
