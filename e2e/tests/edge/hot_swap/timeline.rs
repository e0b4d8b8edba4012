//! Where each tenant may be at which time, from what the mover saw, and whether the clients' answers agree.
//!
//! A commit's own time is not known, only a moment before it and one after it; each check uses the side that excuses
//! nothing it could know.

use std::time::{Duration, Instant};

use registry::moves::Progress;

use crate::traffic::{Finished, SERVED};

/// The only outcome beside [`SERVED`], and only for a tenant that moves.
pub(super) const MOVING: &str = "503 tenant_moving";
/// How long after the flip's commit a router may still answer by the drain.
const VISIBLE: Duration = Duration::from_millis(500);

/// One move as its mover saw it.
#[derive(Debug)]
pub(super) struct Move {
    pub(super) tenant: &'static str,
    from: String,
    pub(super) to: String,
    /// Before the drain's commit.
    began: Instant,
    /// After the drain's commit.
    drained: Option<Instant>,
    /// The last moment known to be before the flip's commit.
    before_flip: Instant,
    /// The first moment known to be after it.
    after_flip: Option<Instant>,
}

impl Move {
    pub(super) fn begins(tenant: &'static str, from: &str, to: &str) -> Self {
        let now = Instant::now();
        Self {
            tenant,
            from: from.to_owned(),
            to: to.to_owned(),
            began: now,
            drained: None,
            before_flip: now,
            after_flip: None,
        }
    }

    pub(super) fn note(&mut self, progress: &Progress) {
        let now = Instant::now();
        match progress {
            Progress::Planned => self.began = now,
            Progress::Draining(_) => {
                self.drained = Some(now);
                self.before_flip = now;
            }
            Progress::Flipped { .. } => self.after_flip = Some(now),
            Progress::Finished => {}
            Progress::CellSilent(error) => panic!("{}: {error}", self.tenant),
            _ => self.before_flip = now,
        }
    }

    fn after_flip(&self) -> Instant {
        self.after_flip.expect("the move has flipped")
    }
}

/// All moves, by tenant.
pub(super) struct Timeline<'a> {
    /// Per tenant: its name, its first cell, its moves in order.
    tenants: Vec<(&'a str, &'a str, Vec<&'a Move>)>,
}

impl<'a> Timeline<'a> {
    pub(super) fn new(tenants: &[&'a str], moves: &'a [Move], first: impl Fn(&str) -> &'a str) -> Self {
        let of = |tenant: &'a str| {
            let moves = moves.iter().filter(|moved| moved.tenant == tenant).collect();
            (tenant, first(tenant), moves)
        };
        Self {
            tenants: tenants.iter().map(|tenant| of(tenant)).collect(),
        }
    }

    /// Panics unless this answer is right at its time.
    pub(super) fn check(&self, finished: &Finished) {
        let (tenant, first, moves) = &self.tenants[finished.tenant];
        if finished.outcome == MOVING {
            let moving = moves
                .iter()
                .any(|moved| finished.ended >= moved.began && finished.sent <= moved.after_flip() + VISIBLE);
            assert!(moving, "{tenant} does not move: {finished:?}");
            return;
        }
        assert_eq!(finished.outcome, SERVED);
        let cell = finished.cell.as_deref().unwrap_or_default();
        // A cell may answer what was sent before the flip away from it, and ended after the flip towards it.
        let mut serving = *first;
        let mut since: Option<Instant> = None;
        let mut right = false;
        for moved in moves {
            assert_eq!(moved.from, serving);
            let begun = since.is_none_or(|since| finished.ended >= since);
            right |= cell == serving && begun && finished.sent <= moved.after_flip();
            serving = &moved.to;
            since = Some(moved.before_flip);
        }
        right |= cell == serving && since.is_none_or(|since| finished.ended >= since);
        assert!(
            right,
            "{tenant} must not be in {cell} then: {finished:?}, {moves:?}"
        );
    }

    /// How long moves took and how soon commits were visible to clients.
    pub(super) fn print(&self, finished: &[Finished]) {
        let (mut drained, mut flipped, mut outage) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (_, _, moves)) in self.tenants.iter().enumerate() {
            let mine: Vec<&Finished> = finished.iter().filter(|f| f.tenant == index).collect();
            for moved in moves {
                let drain = moved.drained.expect("the move has drained");
                // What was sent after this moment and still served by the old cell saw the drain late.
                let served_late = mine
                    .iter()
                    .filter(|f| f.outcome == SERVED && f.sent > moved.began && f.ended < moved.before_flip);
                let last = served_late.map(|f| f.sent).max().unwrap_or(drain);
                drained.push(last.saturating_duration_since(drain));
                let served = mine.iter().find(|f| {
                    f.outcome == SERVED && f.ended > moved.before_flip && f.cell.as_deref() == Some(&moved.to)
                });
                let Some(served) = served else { continue };
                flipped.push(served.ended.saturating_duration_since(moved.before_flip));
                outage.push(served.ended.saturating_duration_since(last));
            }
        }
        println!("{} moves under load", drained.len());
        summary("drain: commit to last request still served", drained);
        summary("flip: before its commit to first request served", flipped);
        summary("whole move: last served there to first served here", outage);
    }
}

fn summary(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| {
        let index = (times.len().max(1) - 1) * percent / 100;
        times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    };
    println!(
        "{what}: median {:.1} ms, 90 % {:.1} ms, longest {:.1} ms",
        at(50),
        at(90),
        at(100)
    );
}
