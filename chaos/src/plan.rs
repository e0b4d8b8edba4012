//! Which fault comes when. Pure: the same seed and length give the same plan.
//!
//! Faults stand in lanes. Those of one lane come one after another, so that two of them never contradict each other (a
//! router that is stopped is not killed meanwhile, and at most one router at a time answers no checks); lanes go on
//! beside each other, so that everything happens during everything else.

use std::time::Duration;

use serde::Serialize;

use crate::random::Random;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A router is killed and started again.
    RouterKill,
    /// A router is stopped (SIGSTOP) and goes on.
    RouterStop,
    /// A router is asked to end, and started again.
    RouterRestart,
    /// Nothing goes through between the Envoys and a router, or their connections are cut.
    CheckPartition,
    /// What goes through between the Envoys and a router takes time.
    CheckLatency,
    /// A router is cut off from the registry.
    RegistryPartition,
    /// What goes through between a router and the registry takes time.
    RegistryLatency,
    /// The control plane is killed, and with it every router's feed; it is started again.
    RegistryOutage,
    /// The control plane is stopped (SIGSTOP) and goes on.
    RegistryHang,
    /// The control plane is asked to end, and started again.
    ControlPlaneRestart,
    /// The identity provider is killed and started again.
    IdpOutage,
    /// The identity provider is stopped (SIGSTOP) and goes on.
    IdpHang,
    /// What one provider publishes is broken.
    IdpBroken,
    /// A fresh key signs one provider's tokens.
    KeyRotation,
    /// A tenant moves to another cell.
    Move,
    /// A cell is added, used, emptied and retired.
    CellAddRemove,
    /// A cell is killed and started again.
    CellKill,
    /// A cell is stopped (SIGSTOP) and goes on.
    CellStop,
    /// The policy file changes.
    PolicyReload,
    /// A tenant is suspended, and resumed.
    Suspension,
    /// A tenant's link is revoked, and made again.
    LinkRevocation,
    /// A subject's tokens are revoked, and that is taken back.
    TokenRevocation,
}

/// What happens one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Routers, and the way to them.
    Routers,
    /// The registry, and the way to it.
    Registry,
    /// The identity provider and its keys.
    Identity,
    /// Moves.
    Moves,
    /// A third cell that comes and goes.
    Growth,
    /// Cells that fail.
    Cells,
    /// Who may do what.
    Rules,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 22] = [
        Self::RouterKill,
        Self::RouterStop,
        Self::RouterRestart,
        Self::CheckPartition,
        Self::CheckLatency,
        Self::RegistryPartition,
        Self::RegistryLatency,
        Self::RegistryOutage,
        Self::RegistryHang,
        Self::ControlPlaneRestart,
        Self::IdpOutage,
        Self::IdpHang,
        Self::IdpBroken,
        Self::KeyRotation,
        Self::Move,
        Self::CellAddRemove,
        Self::CellKill,
        Self::CellStop,
        Self::PolicyReload,
        Self::Suspension,
        Self::LinkRevocation,
        Self::TokenRevocation,
    ];

    /// Where it stands.
    #[must_use]
    pub const fn lane(self) -> Lane {
        match self {
            Self::RouterKill
            | Self::RouterStop
            | Self::RouterRestart
            | Self::CheckPartition
            | Self::CheckLatency => Lane::Routers,
            Self::RegistryPartition
            | Self::RegistryLatency
            | Self::RegistryOutage
            | Self::RegistryHang
            | Self::ControlPlaneRestart => Lane::Registry,
            Self::IdpOutage | Self::IdpHang | Self::IdpBroken | Self::KeyRotation => Lane::Identity,
            Self::Move => Lane::Moves,
            Self::CellAddRemove => Lane::Growth,
            Self::CellKill | Self::CellStop => Lane::Cells,
            Self::PolicyReload | Self::Suspension | Self::LinkRevocation | Self::TokenRevocation => {
                Lane::Rules
            }
        }
    }

    /// The shortest and the longest time for which it holds.
    const fn holds(self) -> (Duration, Duration) {
        let (shortest, longest) = match self {
            Self::RouterKill => (50, 1500),
            Self::RouterStop | Self::CheckPartition => (300, 2500),
            Self::CheckLatency => (1000, 2500),
            Self::RegistryPartition => (500, 4000),
            Self::RegistryLatency => (1000, 3000),
            Self::RegistryOutage => (50, 2000),
            Self::RegistryHang | Self::IdpHang => (300, 2500),
            Self::IdpOutage => (100, 2500),
            Self::IdpBroken => (500, 3000),
            Self::CellKill => (20, 500),
            Self::CellStop => (200, 1200),
            // Longer than a router may take to follow, or nothing would be demanded.
            Self::PolicyReload | Self::Suspension | Self::LinkRevocation | Self::TokenRevocation => {
                (2500, 4000)
            }
            Self::CellAddRemove => (500, 1500),
            Self::RouterRestart | Self::ControlPlaneRestart | Self::KeyRotation | Self::Move => (0, 500),
        };
        (Duration::from_millis(shortest), Duration::from_millis(longest))
    }
}

impl Lane {
    /// All lanes.
    pub const ALL: [Self; 7] = [
        Self::Routers,
        Self::Registry,
        Self::Identity,
        Self::Moves,
        Self::Growth,
        Self::Cells,
        Self::Rules,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Routers => "routers",
            Self::Registry => "registry",
            Self::Identity => "identity",
            Self::Moves => "moves",
            Self::Growth => "growth",
            Self::Cells => "cells",
            Self::Rules => "rules",
        }
    }

    /// From the start of one fault to that of the next. So that in half an hour each kind comes well over 50 times, and
    /// so that there is time between the faults in which everything is as it should be.
    const fn pace(self) -> Duration {
        Duration::from_millis(match self {
            Self::Routers | Self::Registry => 6200,
            Self::Identity => 7500,
            Self::Moves => 15_000,
            Self::Growth => 30_000,
            Self::Cells => 14_000,
            Self::Rules => 7500,
        })
    }
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, from the start; later if the one before it in its lane takes longer.
    pub at: Duration,
    /// What.
    pub kind: Kind,
    /// Which of the possible targets: any number, taken modulo their count.
    pub target: u64,
    /// Which of its forms, likewise.
    pub form: u64,
    /// For how long it holds.
    pub hold: Duration,
}

impl Event {
    /// Its target among `count`.
    #[must_use]
    pub fn target_of(&self, count: usize) -> usize {
        let count = u64::try_from(count.max(1)).unwrap_or(1);
        usize::try_from(self.target % count).unwrap_or(0)
    }
}

/// The first fault of each lane comes within this time.
const FIRST: Duration = Duration::from_millis(1500);
/// No fault begins in the last part of a run, so that what it broke is whole again while requests still come.
const TAIL: Duration = Duration::from_secs(4);

/// The faults of `kinds` of a run of this length, by time. Each kind that is wanted comes at least once, unless the run
/// is shorter than some seconds.
#[must_use]
pub fn schedule(seed: u64, length: Duration, kinds: &[Kind]) -> Vec<Event> {
    let mut events: Vec<Event> = Lane::ALL
        .into_iter()
        .flat_map(|lane| of_lane(seed, length, lane, kinds))
        .collect();
    events.sort_by_key(|event| (event.at, event.kind));
    events
}

fn of_lane(seed: u64, length: Duration, lane: Lane, kinds: &[Kind]) -> Vec<Event> {
    let mut round: Vec<Kind> = kinds.iter().copied().filter(|kind| kind.lane() == lane).collect();
    let mut events = Vec::new();
    let Ok(count @ 1..) = u32::try_from(round.len()) else {
        return events;
    };
    let mut random = Random::stream(seed, lane.name());
    let end = length.saturating_sub(TAIL);
    let mut at = random.between(Duration::ZERO, FIRST.min(end / 4));
    // A short run has no time for the usual pace: one of each kind must fit.
    let pace = lane.pace().min(end.saturating_sub(at) / count);
    if pace.is_zero() {
        return events;
    }
    while at < end {
        // Each round has every kind once, in another order.
        random.shuffle(&mut round);
        for kind in &round {
            let (shortest, longest) = kind.holds();
            let event = Event {
                at,
                kind: *kind,
                target: random.next() >> 8,
                form: random.next() >> 8,
                hold: random.between(shortest, longest),
            };
            if at < end {
                events.push(event);
            }
            at += pace;
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const HALF_HOUR: Duration = Duration::from_secs(1800);

    fn counts(events: &[Event]) -> BTreeMap<Kind, usize> {
        let mut counts = BTreeMap::new();
        for event in events {
            *counts.entry(event.kind).or_default() += 1;
        }
        counts
    }

    #[test]
    fn a_seed_has_one_plan() {
        let plan = |seed| schedule(seed, HALF_HOUR, &Kind::ALL);
        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(1), plan(2));
        // What is left out changes nothing of the other lanes.
        let moves = schedule(1, HALF_HOUR, &[Kind::Move]);
        let all: Vec<Event> = plan(1).into_iter().filter(|e| e.kind == Kind::Move).collect();
        assert_eq!(moves, all);
    }

    #[test]
    fn half_an_hour_has_more_than_fifty_of_each_kind() {
        for seed in 0..20 {
            let events = schedule(seed, HALF_HOUR, &Kind::ALL);
            let counts = counts(&events);
            for kind in Kind::ALL {
                assert!(counts[&kind] >= 55, "seed {seed}: {kind:?} {}", counts[&kind]);
            }
            assert!(events.is_sorted_by_key(|event| event.at));
            assert!(events.iter().all(|event| event.at + TAIL <= HALF_HOUR));
        }
    }

    #[test]
    fn a_short_run_has_each_kind_and_begins_at_once() {
        for seed in 0..200 {
            let events = schedule(seed, Duration::from_secs(32), &Kind::ALL);
            let counts = counts(&events);
            for kind in Kind::ALL {
                assert!(counts.contains_key(&kind), "seed {seed}: no {kind:?}");
            }
            assert!(events[0].at <= FIRST);
        }
        assert!(schedule(1, Duration::from_secs(1), &Kind::ALL).is_empty());
        assert!(schedule(1, HALF_HOUR, &[]).is_empty());
    }

    #[test]
    fn every_kind_has_a_lane_and_a_time() {
        for kind in Kind::ALL {
            let (shortest, longest) = kind.holds();
            assert!(shortest <= longest && longest < kind.lane().pace(), "{kind:?}");
            assert!(Lane::ALL.contains(&kind.lane()));
        }
    }
}
