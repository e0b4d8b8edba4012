//! What a check costs without any transport: `decide` with cached and unique tokens, and beside a staged version,
//! against 10, 100k and 1M tenants, the whole check of the router around it, what it costs to lay a staged set over a
//! version, and the minting of an assertion.

#![expect(
    clippy::unwrap_used,
    reason = "a part that refuses what the benchmark builds is a bug of the benchmark"
)]

use std::hint::black_box;
use std::time::Duration;

use benches::world::{Fixture, TOKEN_BYTES};
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use decision::shadow::Versions;
use decision::{World, decide, decide_beside};
use registry::{Placement, Record, staging};
use router::outcome::{Recorder, TokenPrefixes};
use router::response::check_response;
use router::telemetry::Metrics;

// As in the router.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TENANTS: [usize; 3] = [10, 100_000, 1_000_000];
/// Distinct tokens of one measurement: more than the processor's caches hold, fewer than the token cache forgets.
const TOKENS: usize = 256;

fn decisions(c: &mut Criterion) {
    for tenants in TENANTS {
        let fixture = Fixture::new(tenants);
        let bearers = fixture.bearers(TOKENS);
        assert!(bearers.iter().all(|bearer| bearer.len() >= TOKEN_BYTES));
        // A hot path that always meets the same token is a fairy tale: each check takes the next one.
        let mut next = bearers.iter().cycle();
        let mut next = move || next.next().map_or("", String::as_str);
        let mut group = c.benchmark_group("decide/cached");
        group.bench_function(BenchmarkId::from_parameter(tenants), |b| {
            let world = fixture.world();
            for bearer in &bearers {
                assert!(decide(&Fixture::attributes(bearer), &world, fixture.now).is_allow());
            }
            b.iter(|| {
                black_box(decide(
                    &Fixture::attributes(black_box(next())),
                    &world,
                    fixture.now,
                ))
                .is_allow()
            });
        });
        group.finish();
        // The same with something staged: the registry is asked for both versions besides.
        let mut next = bearers.iter().cycle();
        let mut next = move || next.next().map_or("", String::as_str);
        let mut group = c.benchmark_group("decide/beside");
        group.bench_function(BenchmarkId::from_parameter(tenants), |b| {
            let world = fixture.world();
            let versions = Versions {
                live: &fixture.snapshot,
                staged: &fixture.snapshot,
            };
            b.iter(|| {
                let attributes = Fixture::attributes(black_box(next()));
                let (decision, change) = decide_beside(&attributes, &world, versions, fixture.now);
                (black_box(decision).is_allow(), black_box(change))
            });
        });
        group.finish();
        let mut next = bearers.iter().cycle();
        let mut next = move || next.next().map_or("", String::as_str);
        let mut group = c.benchmark_group("decide/unique");
        group.bench_function(BenchmarkId::from_parameter(tenants), |b| {
            // To sign as many tokens as one measurement takes would last minutes; instead the cache forgets at once,
            // so that each check verifies anew, stores the verdict and signs an assertion.
            let world = World {
                identity: &fixture.uncached,
                ..fixture.world()
            };
            b.iter(|| {
                let decision = decide(&Fixture::attributes(next()), &world, fixture.now);
                assert!(decision.is_allow());
            });
        });
        group.finish();
    }
}

/// The router's part of a check: from attributes to the encoded answer, with metrics and log.
fn check(c: &mut Criterion) {
    let fixture = Fixture::new(100_000);
    let bearers = fixture.bearers(TOKENS);
    let edge = fixture.edge(Recorder::new(Metrics::new(), TokenPrefixes::Hidden));
    for bearer in &bearers {
        let allowed = edge.check(&Fixture::attributes(bearer), |outcome| {
            outcome.decision.is_allow()
        });
        assert!(allowed);
    }
    let mut next = bearers.iter().cycle();
    c.bench_function("check/cached", |b| {
        b.iter(|| {
            let attributes = Fixture::attributes(next.next().map_or("", String::as_str));
            edge.check(&attributes, check_response)
        });
    });
}

/// What a router does once a second at most while a large set is staged: 100,000 placements over 1M tenants, none or
/// all of which are elsewhere.
fn staged(c: &mut Criterion) {
    let fixture = Fixture::new(1_000_000);
    let mut group = c.benchmark_group("staged");
    for (name, cell) in [("unchanged", None), ("moved", Some("cell-bench-00"))] {
        let placements: Vec<Record> = (0..100_000)
            .map(|n| {
                let tenant = format!("tenant-{:08}", n * 10 + 1);
                let live = fixture.snapshot.tenant(&tenant).unwrap().placement.unwrap();
                let cell = cell.unwrap_or(live.cell).parse().unwrap();
                Record::Placement(Placement::first(tenant.parse().unwrap(), cell))
            })
            .collect();
        group.bench_function(BenchmarkId::new(name, placements.len()), |b| {
            b.iter_with_large_drop(|| staging::beside(&fixture.snapshot, black_box(&placements)));
        });
    }
    group.finish();
}

fn pieces(c: &mut Criterion) {
    let fixture = Fixture::new(10);
    let mut group = c.benchmark_group("identity");
    group.bench_function("mint", |b| {
        b.iter_batched(
            || fixture.assertion_claims(),
            |claims| fixture.world().minter.mint(&claims),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn settings() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .sample_size(50)
}

criterion_group!(name = benches; config = settings(); targets = decisions, check, staged, pieces);
criterion_main!(benches);
