//! `alphaswarm-allocations`: how often a check with a cached token allocates in the router's own code, from the bytes of
//! Envoy's message to those of the answer. A program of its own, because it counts by being the allocator.

use allocation_counter::measure;
use anyhow::ensure;
use benches::report::{Figure, Target};
use benches::world::Fixture;
use contract::header;
use decision::decide;
use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use prost::Message as _;
use router::ext_authz::answer;
use router::outcome::{Recorder, TokenPrefixes};
use router::telemetry::Metrics;

/// The bound for a whole check.
const CHECK: f64 = 5.0;
/// Checks that are counted: tables that grow now and then count with their share.
const CHECKS: u32 = 10_000;
const TENANTS: usize = 1000;
/// Distinct tokens, all of them cached.
const TOKENS: usize = 64;

fn main() -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(&count()?)?);
    Ok(())
}

fn count() -> anyhow::Result<Vec<Figure>> {
    let fixture = Fixture::new(TENANTS);
    let bearers = fixture.bearers(TOKENS);
    let edge = fixture.edge(Recorder::new(Metrics::new(), TokenPrefixes::Hidden));
    let messages: Vec<_> = bearers.iter().map(|bearer| message(bearer)).collect();
    let checks = of_each(&messages, |message| {
        answer(&edge, None, message).is_ok_and(|answer| answer.len() > 500)
    })?;
    let world = fixture.world();
    let decisions = of_each(&bearers, |bearer| {
        decide(&Fixture::attributes(bearer), &world, fixture.now).is_allow()
    })?;
    let figure = |name: &str, value, method: &str| {
        let method = format!("{method}; {CHECKS} with {TOKENS} cached tokens in turn, one thread");
        Figure::new(format!("allocations.{name}"), value, "1", &method)
    };
    Ok(vec![
        figure(
            "check",
            checks,
            "from the bytes of a CheckRequest to those of its CheckResponse",
        )
        .target(Target::AtMost(CHECK)),
        figure(
            "decide",
            decisions,
            "the decision alone, which both packagings share",
        ),
    ])
}

/// Allocations for each of `items`, once all of them are known.
fn of_each<T>(items: &[T], holds: impl Fn(&T) -> bool) -> anyhow::Result<f64> {
    ensure!(items.iter().all(&holds), "a check that should allow does not");
    let mut items = items.iter().cycle();
    let mut all = true;
    let counted = measure(|| {
        for item in items.by_ref().take(CHECKS as usize) {
            all &= holds(item);
        }
    });
    ensure!(all, "a check that should allow does not");
    Ok(counted.count_total as f64 / f64::from(CHECKS))
}

/// As Envoy sends it by our configuration: the header lines that are allowed to come along.
fn message(bearer: &str) -> Vec<u8> {
    let lines = [
        (header::AUTHORIZATION, bearer),
        (header::REQUEST_ID, "3f0c8a52-8f0e-4c51-9a55-0123456789ab"),
        (":authority", "api.example.com"),
        (":method", "GET"),
        (":path", "/api/strategies?limit=50"),
    ];
    let headers = lines.map(|(key, value)| HeaderValue {
        key: key.to_owned(),
        raw_value: value.as_bytes().to_vec(),
        ..HeaderValue::default()
    });
    let http = HttpRequest {
        id: "4711".to_owned(),
        method: "GET".to_owned(),
        host: "api.example.com".to_owned(),
        path: "/api/strategies?limit=50".to_owned(),
        scheme: "http".to_owned(),
        protocol: "HTTP/1.1".to_owned(),
        header_map: Some(HeaderMap {
            headers: headers.to_vec(),
        }),
        ..HttpRequest::default()
    };
    let request = Some(Request {
        http: Some(http),
        ..Request::default()
    });
    CheckRequest {
        attributes: Some(AttributeContext {
            request,
            ..AttributeContext::default()
        }),
    }
    .encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts do not depend on the machine, so this one is a test.
    #[test]
    fn a_cached_check_allocates_no_more_than_its_bound() {
        let missed: Vec<_> = count()
            .unwrap()
            .into_iter()
            .filter(|figure| !figure.met)
            .collect();
        assert!(missed.is_empty(), "{missed:?}");
    }
}
