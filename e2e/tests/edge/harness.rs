//! Stacks for tests, and what every test asks of them.

use std::time::{Duration, Instant};

use contract::dev::{DemoCellAnswer, DevProvider, MintRequest, Minted};
use contract::{CellId, LinkKind, ProviderId, TenantId};
use devkit::dev;
use devkit::stack::{Stack, header_value};
use registry::command::{LinkId, TenantSettings};
use registry::key::Kind;
use registry::{
    Actor, AnyStore, Command, IfVersion, LinkState, Open, Record, Store as _, TenantState, Version,
};
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::wire;

/// Tests that measure or load the machine hold it alone; all others share it.
static MACHINE: RwLock<()> = RwLock::const_new(());

/// Shares the machine with other tests.
pub(crate) async fn among_others() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().await
}

/// Waits until no other test runs, and keeps the others away.
pub(crate) async fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().await
}

/// The stack that tests share which change nothing.
pub(crate) async fn shared() -> &'static Stack {
    static SHARED: OnceCell<Stack> = OnceCell::const_new();
    SHARED
        .get_or_init(|| async { Stack::builder().start().await.expect("the dev stack starts") })
        .await
}

/// A header line with the token in the header where it belongs.
pub(crate) fn line(token: &Minted) -> String {
    format!("{}: {}", token.header, header_value(token))
}

/// A good token of a tenant, for one provider.
pub(crate) fn of(tenant: &str, provider: DevProvider) -> MintRequest {
    MintRequest {
        provider: Some(provider),
        ..MintRequest::good(tenant)
    }
}

/// How many requests the cells have received so far, both together.
pub(crate) async fn requests_in_cells(stack: &Stack) -> u64 {
    let mut sum = 0;
    for n in 0..2 {
        sum += stack.cell_client(n).unwrap().stats().await.unwrap().requests;
    }
    sum
}

/// The identity headers that a cell received, each with exactly one value.
pub(crate) fn identity_headers(answer: &DemoCellAnswer) -> Vec<(String, String)> {
    answer
        .headers
        .iter()
        .filter(|(name, _)| {
            name.replace(['_', '.'], "-")
                .starts_with(contract::header::PREFIX)
        })
        .map(|(name, values)| {
            assert_eq!(values.len(), 1, "{name} came {} times: {values:?}", values.len());
            (name.clone(), values[0].clone())
        })
        .collect()
}

/// The stack's registry, opened as an operator would.
pub(crate) async fn registry(stack: &Stack) -> AnyStore {
    AnyStore::open(&stack.registry_url(), Open::Write)
        .await
        .expect("the registry opens")
}

/// Who writes, in change logs.
pub(crate) fn actor() -> Actor {
    Actor::new("e2e")
}

/// Applies a command whatever the version.
pub(crate) async fn apply(store: &AnyStore, command: Command) -> Version {
    store
        .apply(&command, &actor(), IfVersion::Any)
        .await
        .expect("the registry accepts the command")
        .version
}

/// Changes a tenant's state.
pub(crate) async fn set_tenant_state(store: &AnyStore, tenant: &str, state: TenantState) -> Version {
    apply(
        store,
        Command::SetTenantState {
            tenant: TenantId::parse(tenant).unwrap(),
            state,
        },
    )
    .await
}

/// A tenant as an operator adds it, up to its placement.
pub(crate) async fn add_tenant(store: &AnyStore, name: &str) {
    let tenant = TenantId::parse(name).unwrap();
    let link = LinkId {
        provider: ProviderId::parse("entra").unwrap(),
        kind: LinkKind::Tid,
        external_id: dev::external_id(name, DevProvider::Entra),
    };
    let settings = TenantSettings {
        id: tenant.clone(),
        name: name.to_owned(),
        requests_per_second: None,
        tier: None,
        region: None,
        apart: None,
        drain: registry::Drain::Refuse,
    };
    apply(store, Command::AddTenant(settings)).await;
    set_tenant_state(store, name, TenantState::Active).await;
    let add = Command::AddLink {
        link: link.clone(),
        tenant,
    };
    apply(store, add).await;
    let state = LinkState::Active;
    apply(store, Command::SetLinkState { link, state }).await;
}

/// A tenant's first cell.
pub(crate) async fn place(store: &AnyStore, tenant: &str, cell: &str) {
    let (tenant, cell) = (TenantId::parse(tenant).unwrap(), CellId::parse(cell).unwrap());
    apply(store, Command::Place { tenant, cell }).await;
}

/// A host that the registry links to `tenant`.
pub(crate) async fn host_of(store: &AnyStore, tenant: &str) -> String {
    let hosts = store.list_all(Kind::Host).await.unwrap();
    let host = hosts.into_iter().find_map(|host| match host.record {
        Record::Host(host) if host.tenant.as_str() == tenant => Some(host.host),
        _ => None,
    });
    host.unwrap_or_else(|| panic!("no host is linked to {tenant}"))
}

/// Waits until a good token of `tenant` is answered with `code` (empty: allowed).
pub(crate) async fn wait_for_code(stack: &Stack, tenant: &str, code: &str) {
    let token = stack.token(tenant).await.unwrap();
    wait_until(&format!("{tenant} gets {code:?}"), async || {
        wire::get(stack.edge(), "/", &[&line(&token)])
            .await
            .is_ok_and(|reply| reply.code() == code)
    })
    .await;
}

/// The value of a gauge or counter of the router, by its name with labels.
pub(crate) async fn metric(stack: &Stack, name: &str) -> Option<i64> {
    let reply = wire::get(stack.router_http(), "/metrics", &[]).await.ok()?;
    let prefix = format!("alphaswarm_router_{name} ");
    reply
        .body
        .lines()
        .find_map(|line| line.strip_prefix(&prefix)?.parse().ok())
}

/// Polls a condition, at most 20 s.
pub(crate) async fn wait_until(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
