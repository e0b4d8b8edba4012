//! Cell-bound authorization as cells see it: what is not a live router's word for this cell and this request is refused by
//! everything that verifies, alike. Assertions here are signed by the tests' own key, which a heartbeat makes a live
//! router's.

mod asgi;
mod attacks;
mod fences;
mod lifecycle;
mod rotation;
mod settings;
mod verifiers;

use std::sync::Arc;

use contract::assertion::AssertionClaims;
use contract::{CellId, PrincipalKind, TenantId, header};
use devkit::dev::SHARED_CELL;
use devkit::stack::Stack;
use identity::Minter;
use registry::{Heartbeat, Store as _};
use serde_json::json;

use crate::checks::now;
use crate::harness::registry;

/// A router that is nothing but its key.
const ROUTER: &str = "router-of-the-test";

/// What a router says of a good request.
fn claims() -> AssertionClaims {
    let iat = now();
    AssertionClaims {
        iss: ROUTER.to_owned(),
        aud: CellId::parse(SHARED_CELL).unwrap(),
        sub: Some(serde_json::from_value(json!("entra:somebody")).unwrap()),
        principal_kind: Some(PrincipalKind::User),
        tenant: Some(TenantId::parse("acme").unwrap()),
        scopes: Some("orders.read orders.write".to_owned()),
        epoch: 1,
        access: None,
        iat,
        exp: iat + 60,
    }
}

/// The identity headers that go with claims, as the edge sends them.
fn headers(claims: &AssertionClaims) -> Vec<(String, String)> {
    let sub = claims.sub.as_ref().map(ToString::to_string);
    let provider = sub
        .as_deref()
        .and_then(|sub| sub.split(':').next())
        .map(str::to_owned);
    [
        (header::CELL, Some(claims.aud.to_string())),
        (header::TENANT, claims.tenant.as_ref().map(ToString::to_string)),
        (header::PRINCIPAL, sub),
        (header::PROVIDER, provider),
        (header::SCOPES, claims.scopes.clone()),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}

/// The same with the assertion.
fn with_assertion(claims: &AssertionClaims, assertion: &str) -> Vec<(String, String)> {
    let mut lines = headers(claims);
    lines.push((header::ASSERTION.to_owned(), assertion.to_owned()));
    lines
}

/// A key that the routers of `stack` publish, as that of one of them.
async fn live_router(stack: &Stack) -> (Arc<Minter>, Vec<u8>) {
    let pkcs8 = Minter::generate_pkcs8().unwrap();
    let minter = Minter::from_pkcs8(ROUTER, pkcs8.expose()).unwrap();
    let store = registry(stack).await;
    let heartbeat = Heartbeat {
        keys: vec![minter.public_jwk()],
        ..Heartbeat::new(ROUTER.to_owned(), store.position().await.unwrap().version)
    };
    store.beat(&heartbeat).await.unwrap();
    (Arc::new(minter), pkcs8.expose().clone())
}
