use std::time::Duration;

use identity::Minter;
use registry::Version;

use super::*;
use crate::signing::KeyTimes;

fn fleet(folder: Option<&Path>) -> Fleet {
    let times = KeyTimes {
        lifetime: Duration::ZERO,
        rotation: Duration::from_secs(3600),
    };
    Fleet::new(
        Arc::new(Signing::open("router-1", folder, times).unwrap()),
        folder,
    )
}

fn beat(minter: &Minter, at_ms: i64) -> Heartbeat {
    Heartbeat {
        at_ms,
        keys: vec![minter.public_jwk()],
        ..Heartbeat::new(minter.router_id().to_owned(), Version { epoch: 1, number: 1 })
    }
}

#[test]
fn keys_outlive_their_router_by_two_minutes_and_an_outage_of_the_registry() {
    let (fleet, other) = (fleet(None), Minter::generate("router-2").unwrap());
    let knows = || fleet.keys().contains(&other.public_jwk());
    assert_eq!(fleet.keys(), *fleet.signing().published());
    assert!(!fleet.learn(&[beat(&other, 1_000)], 1_000_000, true), "long dead");
    assert!(fleet.learn(&[beat(&other, 1_000_000)], 1_000_000, true) && knows());
    for now in (1_001_000..1_120_000).step_by(1000) {
        assert!(!fleet.learn(&[], now, true) && knows(), "it said goodbye");
    }
    assert!(fleet.learn(&[], 1_120_001, true) && !knows());
    // For an hour nobody was heard: the first thing that is read are the heartbeats of an hour ago.
    fleet.learn(&[beat(&other, 1_121_000)], 1_121_000, true);
    fleet.learn(&[beat(&other, 1_121_000)], 5_000_000, true);
    assert!(knows());
    fleet.learn(&[beat(&other, 5_001_000)], 5_001_000, true);
    assert!(knows());
}

#[test]
fn a_registry_that_can_only_be_read_makes_nobody_dead() {
    let [other, gone, unheard] = ["router-2", "router-3", "router-4"].map(|id| Minter::generate(id).unwrap());
    let fleet_before = fleet(None);
    fleet_before.learn(&[beat(&other, 1_000_000)], 1_000_000, true);
    // Nothing is written from here on.
    let rows = [
        beat(&other, 1_000_500),
        beat(&gone, 500_000),
        beat(&unheard, 1_000_500),
    ];
    for now in (1_001_000..3_000_000).step_by(1000) {
        fleet_before.learn(&rows, now, false);
    }
    // A router that starts meanwhile knows who lived.
    let fleet_after = fleet(None);
    fleet_after.learn(&rows, 3_000_000, false);
    for fleet in [fleet_before, fleet_after] {
        let knows = |minter: &Minter| fleet.keys().contains(&minter.public_jwk());
        assert!(knows(&other) && knows(&unheard) && !knows(&gone));
        // Once heartbeats are taken again, whoever sends none is forgotten as ever.
        fleet.learn(&[beat(&other, 3_001_000)], 3_001_000, true);
        assert!(knows(&unheard));
        for now in (3_002_000..3_130_000).step_by(1000) {
            fleet.learn(&[beat(&other, now)], now, true);
        }
        assert!(knows(&other) && !knows(&unheard));
    }
}

#[tokio::test]
async fn the_others_keys_are_there_after_a_restart_without_the_registry() {
    let folder = tempfile::tempdir().unwrap();
    let other = Minter::generate("router-2").unwrap();
    let before = fleet(Some(folder.path()));
    assert!(before.learn(&[beat(&other, 1_000_000)], 1_000_000, true));
    before.keep().await;
    let after = fleet(Some(folder.path()));
    assert_eq!(after.keys(), before.keys());
    assert!(after.keys().contains(&other.public_jwk()));
    std::fs::write(folder.path().join(FILE), "damaged").unwrap();
    assert_eq!(fleet(Some(folder.path())).keys(), *before.signing().published());
}
