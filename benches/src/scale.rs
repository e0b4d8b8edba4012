//! What a check costs with ten times as many tenants: `decide`, which both packagings share, beside a million and beside ten
//! million, in turn. The tokens' tenants are spread over the whole registry, so that each lookup goes where none has been
//! for a while.

use std::hint::black_box;
use std::time::Instant;

use anyhow::ensure;
use decision::decide;
use devkit::progress::Progress;

use crate::report::{Figure, Target};
use crate::rounds::median;
use crate::world::Fixture;

const FEW: usize = 1_000_000;
const MANY: usize = 10_000_000;
/// Distinct tokens, all of them cached.
const TOKENS: usize = 4096;
const ROUNDS: usize = 31;
/// What the issue allows.
const GROWTH: f64 = 1.2;

/// Measures. Takes some gigabytes of memory and a minute or two.
pub fn run(progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    let (few, many) = (Checks::of(FEW, progress), Checks::of(MANY, progress));
    let mut rounds = Vec::new();
    for round in 0..=ROUNDS {
        let measured = (few.run()?, many.run()?);
        if round > 0 {
            rounds.push(measured);
        }
    }
    let of = |value: fn(&(f64, f64)) -> f64| median(&rounds.iter().map(value).collect::<Vec<_>>());
    let method = format!(
        "decide with {TOKENS} cached tokens of as many tenants, one thread, in turn in {ROUNDS} rounds; median"
    );
    Ok(vec![
        Figure::new("check.decide.spread.1m", of(|(few, _)| *few), "us", &method),
        Figure::new("check.decide.spread.10m", of(|(_, many)| *many), "us", &method),
        Figure::new(
            "check.decide.spread.growth",
            of(|(few, many)| many / few),
            "ratio",
            &format!("{method} of the rounds' ratios"),
        )
        .target(Target::AtMost(GROWTH)),
    ])
}

struct Checks {
    fixture: Fixture,
    bearers: Vec<String>,
}

impl Checks {
    fn of(tenants: usize, progress: &Progress) -> Self {
        progress.say(&format!("building a registry of {tenants} tenants"));
        let fixture = Fixture::new(tenants);
        let apart = tenants / TOKENS;
        let bearers = (0..TOKENS)
            .map(|n| format!("Bearer {}", fixture.token(n * apart)))
            .collect();
        Self { fixture, bearers }
    }

    /// Microseconds for each check.
    fn run(&self) -> anyhow::Result<f64> {
        let world = self.fixture.world();
        let start = Instant::now();
        let all = self.bearers.iter().fold(true, |all, bearer| {
            decide(&Fixture::attributes(black_box(bearer)), &world, self.fixture.now).is_allow() & all
        });
        let took = start.elapsed();
        ensure!(all, "a check that should allow does not");
        Ok(took.as_secs_f64() * 1e6 / TOKENS as f64)
    }
}
