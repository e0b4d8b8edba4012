//! The rounds with tokens that nobody has seen: each request brings its own, and all variants of a round get the same ones, as
//! each remembers for itself. Beside them, in the same rounds, what nobody can go below: the bare check of as strong a
//! signature, and the signature of an assertion, which the router and the module make of each new token.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use devkit::progress::Progress;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Loading, Requests, Rounds, median, template};
use crate::report::{Figure, Target};
use crate::rig::Rig;
use crate::variants::Variant;
use crate::world::Fixture;

const VARIANTS: [Variant; 5] = [
    Variant::None,
    Variant::NoOp,
    Variant::Router,
    Variant::Module,
    Variant::Jwt,
];
/// Tokens have to be signed first, which takes forty times as long as to check them: half the rate of the other rounds.
const SLOWER: u32 = 2;
/// Tokens that are asked for at a time.
const SIGNERS: usize = 8;
/// Bare checks and signatures in each round.
const BARE: usize = 512;
/// What the decision may cost beside a bare check, and beside Envoy's own filter.
const ROUTER_OVER_RAW: f64 = 1.1;
const MODULE_OVER_JWT: f64 = 0.6;

/// µs of CPU, round by round.
#[derive(Default)]
struct Bare {
    check: Vec<f64>,
    mint: Vec<f64>,
}

/// Runs all rounds; gives the figures and a table.
pub async fn run(rig: &Rig, loading: Loading, progress: &Progress) -> anyhow::Result<(Vec<Figure>, String)> {
    let loading = Loading {
        rate: (loading.rate / SLOWER).max(1),
        ..loading
    };
    let fixture = Fixture::new(10);
    let mut all = Rounds::of(&VARIANTS)?;
    let mut bare = Bare::default();
    for round in 0..=loading.rounds {
        let what = format!("round {round} of {}: signing tokens", loading.rounds);
        let requests = progress.during(&what, requests(rig, loading)).await?;
        for variant in VARIANTS {
            all.round(rig, variant, round, loading, &requests, progress)
                .await?;
        }
        bare.round(&fixture)?;
    }
    let figures = figures(rig, &all, &bare, loading)?;
    let mut table = format!(
        "tokens that nobody has seen, {} requests a second\n\n",
        loading.rate
    );
    for figure in &figures {
        table.push_str(&format!(
            "{:28} {:>9.2} {}\n",
            figure.name, figure.value, figure.unit
        ));
    }
    Ok((figures, table))
}

/// As many as a step sends.
async fn requests(rig: &Rig, loading: Loading) -> anyhow::Result<Requests> {
    let count = u64::from(loading.rate) * loading.duration.as_secs();
    let minted: Vec<_> = stream::iter(0..count)
        .map(|_| rig.another_token())
        .buffer_unordered(SIGNERS)
        .try_collect()
        .await?;
    minted.iter().map(template).collect()
}

impl Bare {
    fn round(&mut self, fixture: &Fixture) -> anyhow::Result<()> {
        let signed: Vec<_> = (0..BARE)
            .map(|number| fixture.raw(&fixture.token(number)))
            .collect();
        let start = Instant::now();
        let good = signed.iter().fold(true, |good, (key, text, signature)| {
            key.verify_sig(black_box(text), signature).is_ok() & good
        });
        self.check.push(each(start));
        ensure!(good, "a signature of the benchmark's own is wrong");
        let (world, claims) = (fixture.world(), fixture.assertion_claims());
        let start = Instant::now();
        for _ in 0..BARE {
            black_box(world.minter.mint(black_box(&claims)));
        }
        self.mint.push(each(start));
        Ok(())
    }
}

fn each(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e6 / BARE as f64
}

fn figures(rig: &Rig, all: &Rounds, bare: &Bare, loading: Loading) -> anyhow::Result<Vec<Figure>> {
    let at = format!(
        "real Envoy, {} requests a second, each with an RS256 token of its own, {} rounds of {} s",
        loading.rate,
        loading.rounds,
        loading.duration.as_secs()
    );
    let mut figures = Vec::new();
    let (mut envoy, mut server) = (BTreeMap::new(), BTreeMap::new());
    for (variant, of) in &all.variants {
        let name = variant.as_str();
        envoy.insert(*variant, median(&of.envoy));
        figures.push(Figure::new(
            format!("unique.envoy_cpu_us.{name}"),
            median(&of.envoy),
            "us",
            &format!("{at}; CPU of Envoy for each request, median of the rounds"),
        ));
        if let Some(pid) = rig.server(*variant)? {
            let net = all.net(of, pid, loading);
            server.insert(*variant, net);
            figures.push(Figure::new(
                format!("unique.server_cpu_us.{name}"),
                net,
                "us",
                &format!(
                    "{at}; CPU of the authz server for each check less its idle CPU, median of the rounds"
                ),
            ));
        }
    }
    let (check, mint) = (median(&bare.check), median(&bare.mint));
    for (name, value, what) in [
        ("check", check, "a bare RSA-2048 check of such a token"),
        ("mint", mint, "the signing of an assertion"),
    ] {
        let method = format!("{what}, one thread, {BARE} in each of the rounds; median");
        figures.push(Figure::new(
            format!("unique.bare_us.{name}"),
            value,
            "us",
            &method,
        ));
    }
    let of =
        |costs: &BTreeMap<Variant, f64>, variant| costs.get(&variant).copied().context("it was not measured");
    let added = |variant| anyhow::Ok(of(&envoy, variant)? - of(&envoy, Variant::None)?);
    let router = of(&server, Variant::Router)? - of(&server, Variant::NoOp)? - mint;
    let module = added(Variant::Module)? - mint;
    let jwt = added(Variant::Jwt)?;
    ensure!(jwt > 0.0, "too noisy: a filter seems to cost nothing");
    for (name, value, bound, what) in [
        (
            "router_over_bare_check",
            router / check,
            ROUTER_OVER_RAW,
            "what the router uses more than the no-op server, less one signature, over a bare check",
        ),
        (
            "module_over_jwt",
            module / jwt,
            MODULE_OVER_JWT,
            "what the module adds to Envoy, less one signature, over what jwt_authn adds, which signs none",
        ),
    ] {
        let figure = Figure::new(format!("unique.{name}"), value, "ratio", &format!("{at}; {what}"));
        figures.push(figure.target(Target::AtMost(bound)));
    }
    Ok(figures)
}
