//! `decide` alone: cached and unique tokens against 10, 100k and 1M tenants.
//!
//! A cached check is the hot path: SHA-256 of the token, one cache lookup, the links and the placement. A unique token
//! adds the strict parse and one RSA-2048 signature check.

use std::hint::black_box;
use std::sync::Arc;

use benches::world::{Fixture, TOKEN_BYTES};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use decision::{Decision, decide};

const TENANTS: [usize; 3] = [10, 100_000, 1_000_000];

fn cached(c: &mut Criterion) {
    let mut group = c.benchmark_group("decide/cached");
    for tenants in TENANTS {
        let fixture = Fixture::new(tenants);
        let token = fixture.token(0);
        assert!(token.len() >= TOKEN_BYTES, "the token has {} bytes", token.len());
        let header = format!("Bearer {token}");
        group.bench_function(BenchmarkId::from_parameter(tenants), |b| {
            let world = fixture.world();
            let attributes = Fixture::attributes(&header);
            assert!(matches!(
                decide(&attributes, &world, fixture.now),
                Decision::Allow(_)
            ));
            b.iter(|| black_box(decide(black_box(&attributes), &world, fixture.now)));
        });
    }
    group.finish();
}

fn unique(c: &mut Criterion) {
    let mut group = c.benchmark_group("decide/unique");
    group.sample_size(20);
    for tenants in TENANTS {
        let fixture = Fixture::new(tenants);
        // More tokens than one measurement takes would cost minutes to sign; the cache is emptied by a TTL of zero
        // instead, so that each check verifies anew.
        let headers: Vec<String> = (0..64).map(|n| format!("Bearer {}", fixture.token(n))).collect();
        let uncached = Arc::clone(&fixture.uncached);
        group.bench_function(BenchmarkId::from_parameter(tenants), |b| {
            let world = decision::World {
                identity: &uncached,
                ..fixture.world()
            };
            let mut next = headers.iter().cycle();
            b.iter(|| {
                let attributes = Fixture::attributes(next.next().map_or("", String::as_str));
                let decision = decide(&attributes, &world, fixture.now);
                assert!(matches!(decision, Decision::Allow(_)));
                decision.is_allow()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, cached, unique);
criterion_main!(benches);
