//! What a token costs that was never seen, one that was, and one that is garbage, beside what nobody can go below: the
//! bare signature check and the bare hash.
//!
//! All of it in turn, in one thread, over the same distinct tokens, many times: the ratios of one round share the
//! machine's mood, and their median is the figure.

use std::hint::black_box;
use std::time::Instant;

use anyhow::ensure;
use aws_lc_rs::digest::{SHA256, digest};
use decision::{World, decide};
use identity::Slot;

use crate::report::{Figure, Target};
use crate::world::Fixture;

/// Distinct tokens. More than the caches of a core hold, few enough to be signed in a second or two.
const TOKENS: usize = 2048;
const ROUNDS: usize = 31;
/// A header that no proxy of ours would let through; the service is asked directly.
const GARBAGE_BYTES: usize = 1 << 20;
/// Checks of it in a round: one is too short for a clock.
const GARBAGE_CHECKS: usize = 200;

/// Strict parsing, claims, hash and cache may cost this much on top of the signature.
const UNIQUE_RATIO: f64 = 1.15;
/// Microseconds that a known token may cost beside its hash.
const CACHED_OVER_HASH_US: f64 = 0.5;
const GARBAGE_US: f64 = 5.0;

const METHOD: &str = "2048 distinct RS256 tokens of about 1 KB, one thread, in turn in 31 rounds; median";

/// One round, microseconds a token.
#[derive(Clone, Copy)]
struct Round {
    raw: f64,
    hash: f64,
    unique: f64,
    cached: f64,
    garbage: f64,
}

/// Measures.
pub fn run() -> anyhow::Result<Vec<Figure>> {
    let fixture = Fixture::new(10);
    let tokens: Vec<String> = (0..TOKENS).map(|n| fixture.token(n)).collect();
    let bare: Vec<_> = tokens.iter().map(|token| fixture.raw(token)).collect();
    let garbage = format!("Bearer {}", "eyJ.".repeat(GARBAGE_BYTES / 4));
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        // Its cache is empty: every token is a new one, and every verdict is kept.
        let identity = fixture.fresh();
        let world = World {
            identity: &identity,
            ..fixture.world()
        };
        let verify = |token: &String| {
            identity
                .verify(black_box(token), Slot::Bearer, fixture.now)
                .is_ok()
        };
        rounds.push(Round {
            raw: each(&bare, |(key, signed, signature)| {
                key.verify_sig(black_box(signed), signature).is_ok()
            })?,
            unique: each(&tokens, verify)?,
            hash: each(&tokens, |token| {
                digest(&SHA256, black_box(token.as_bytes())).as_ref().len() == 32
            })?,
            cached: each(&tokens, verify)?,
            garbage: each(&[(); GARBAGE_CHECKS], |()| {
                !decide(&Fixture::attributes(black_box(&garbage)), &world, fixture.now).is_allow()
            })?,
        });
    }
    let median = |of: fn(&Round) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let figure = |name: &str, of: fn(&Round) -> f64, unit: &str| {
        Figure::new(format!("identity.{name}"), median(of), unit, METHOD)
    };
    Ok(vec![
        figure("rs256_raw", |round| round.raw, "us"),
        figure("sha256", |round| round.hash, "us"),
        figure("verify_unique", |round| round.unique, "us"),
        figure(
            "verify_unique_over_raw",
            |round| round.unique / round.raw,
            "ratio",
        )
        .target(Target::AtMost(UNIQUE_RATIO)),
        figure("verify_cached", |round| round.cached, "us"),
        figure(
            "verify_cached_minus_sha256",
            |round| round.cached - round.hash,
            "us",
        )
        .target(Target::AtMost(CACHED_OVER_HASH_US)),
        figure("garbage_1mib", |round| round.garbage, "us").target(Target::AtMost(GARBAGE_US)),
    ])
}

/// Microseconds for each of `items`.
fn each<T>(items: &[T], mut holds: impl FnMut(&T) -> bool) -> anyhow::Result<f64> {
    let start = Instant::now();
    let all = items.iter().fold(true, |all, item| holds(item) & all);
    let took = start.elapsed();
    ensure!(all, "a part refuses what the benchmark made, or accepts garbage");
    Ok(took.as_secs_f64() * 1e6 / items.len() as f64)
}
