use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::signing::file;

/// Longest life of what a key has signed, with the clocks' difference.
const BELIEVED: i64 = 70_000;

fn rules(lifetime: u64, rotation: u64) -> Rules {
    Rules::new(Duration::from_secs(lifetime), Duration::from_secs(rotation))
}

fn settle(keys: &mut Keys, rules: Rules, now: i64) -> Vec<Wanted> {
    let mut done = Vec::new();
    while let Some(wanted) = keys.wanted(rules, now) {
        let make = || Minter::generate_pkcs8().and_then(|pkcs8| file::key("router-1", pkcs8));
        keys.carry_out(wanted, now, make).unwrap();
        done.push(wanted);
        assert!(done.len() < 10, "it never ends: {done:?}");
    }
    done
}

fn beat(keys: &mut Keys, now: i64) {
    let public = keys.public();
    keys.acknowledged(&public, now);
}

fn signs(keys: &Keys) -> Option<String> {
    let (minter, ready) = keys.signs()?;
    ready.then(|| minter.kid().to_owned())
}

#[test]
fn a_new_router_waits_until_cells_can_have_its_key() {
    let (rules, mut keys) = (rules(10, 3600), Keys::default());
    keys.start(0);
    assert_eq!(settle(&mut keys, rules, 0), [Wanted::Another]);
    assert_eq!(
        (signs(&keys), keys.public().len()),
        (None, 1),
        "published, and unused"
    );
    beat(&mut keys, 5_000);
    assert_eq!(settle(&mut keys, rules, 17_999), []);
    beat(&mut keys, 17_999);
    assert_eq!(settle(&mut keys, rules, 18_000), [Wanted::TakeOver]);
    assert!(signs(&keys).is_some());
}

#[test]
fn a_clock_that_is_set_back_does_not_make_a_key_wait_for_it() {
    let (rules, mut keys) = (rules(10, 3600), Keys::default());
    keys.start(0);
    settle(&mut keys, rules, 0);
    beat(&mut keys, 9_000_000);
    beat(&mut keys, 5_000);
    assert_eq!(settle(&mut keys, rules, 17_999), []);
    assert_eq!(settle(&mut keys, rules, 18_000), [Wanted::TakeOver]);
}

#[test]
fn without_a_registry_the_own_key_set_has_to_do() {
    let (rules, mut keys) = (rules(10, 3600), Keys::default());
    keys.start(1_000);
    settle(&mut keys, rules, 1_000);
    assert_eq!(settle(&mut keys, rules, 13_999), []);
    assert_eq!(settle(&mut keys, rules, 14_000), [Wanted::TakeOver]);
    // With one, its word is waited for.
    let mut keys = Keys::default();
    keys.start(1_000);
    settle(&mut keys, rules, 1_000);
    keys.acknowledged(&[], 2_000);
    assert_eq!(settle(&mut keys, rules, 60_000), []);
}

#[test]
fn with_no_lifetime_a_key_signs_at_once() {
    let (rules, mut keys) = (rules(0, 5), Keys::default());
    keys.start(0);
    assert_eq!(settle(&mut keys, rules, 0), [Wanted::Another, Wanted::TakeOver]);
    let first = signs(&keys);
    assert_eq!(settle(&mut keys, rules, 4_999), []);
    assert_eq!(
        settle(&mut keys, rules, 5_000),
        [Wanted::Another, Wanted::TakeOver]
    );
    assert_ne!(signs(&keys), first);
    assert_eq!(keys.public().len(), 2, "what the first one signed is still good");
    assert_eq!(
        settle(&mut keys, rules, 5_000 + TRUSTED_FOR_MS + 1),
        [Wanted::Forget, Wanted::Another, Wanted::TakeOver]
    );
    assert_eq!(keys.public().len(), 2);
}

#[test]
fn a_next_key_that_nobody_acknowledges_never_takes_over() {
    let (rules, mut keys) = (rules(10, 60), Keys::default());
    keys.start(0);
    settle(&mut keys, rules, 0);
    beat(&mut keys, 0);
    settle(&mut keys, rules, 13_000);
    let first = signs(&keys);
    assert_eq!(
        settle(&mut keys, rules, 60_000),
        [Wanted::Another],
        "ahead of its time"
    );
    for now in (61_000..10_000_000).step_by(60_000) {
        assert_eq!(settle(&mut keys, rules, now), []);
    }
    assert_eq!(signs(&keys), first);
    beat(&mut keys, 10_000_000);
    assert_eq!(settle(&mut keys, rules, 10_013_000), [Wanted::TakeOver]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever the outages of the registry: once ready always ready, no key signs before it was acknowledged for as long
    /// as cells may keep a key set, and every key that signed what may still be believed is published.
    #[test]
    fn no_good_assertion_meets_a_cell_that_cannot_know_its_key(
        lifetime in 1_u64..20,
        rotation in 5_u64..120,
        outages in proptest::collection::vec((0_usize..600, 1_usize..120), 0..4),
    ) {
        let rules = rules(lifetime, rotation);
        let mut keys = Keys::default();
        keys.start(0);
        let mut acknowledged = BTreeMap::<String, i64>::new();
        let mut signed = BTreeMap::<String, i64>::new();
        let mut was_ready = false;
        for second in 0..600_usize {
            let now = second as i64 * 1000;
            settle(&mut keys, rules, now);
            let public: Vec<String> = keys.public().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect();
            prop_assert!(public.len() <= MAX_KEYS);
            // The first beat comes through: the rest is about rotation.
            let down = second > 0 && outages.iter().any(|(from, long)| (*from..from + long).contains(&second));
            if !down {
                beat(&mut keys, now);
                for kid in &public {
                    acknowledged.entry(kid.clone()).or_insert(now);
                }
            }
            let Some(kid) = signs(&keys) else {
                prop_assert!(!was_ready);
                continue;
            };
            was_ready = true;
            let since = acknowledged.get(&kid).copied();
            prop_assert!(since.is_some_and(|at| now - at >= (lifetime as i64) * 1000), "{kid} {since:?} {now}");
            signed.insert(kid, now);
            for (kid, last) in &signed {
                prop_assert!(now - last > BELIEVED || public.contains(kid), "{kid} {last} {now}");
            }
        }
        prop_assert!(was_ready);
    }
}
