//! Every seed of every target, and a few mutations of each, on the ordinary compiler.

use crate::{TARGETS, seeds};

/// Mutations a seed. The fuzzers make millions; these keep the targets themselves from rotting.
const MUTATIONS: u64 = 3;

/// A change that depends on nothing but its number (`SplitMix64`).
fn mutate(seed: &[u8], number: u64) -> Vec<u8> {
    let mut state = number;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let mut bytes = seed.to_vec();
    for _ in 0..=next() % 3 {
        let at = usize::try_from(next()).unwrap_or(0) % (bytes.len() + 1);
        let byte = u8::try_from(next() % 256).unwrap_or(0);
        match next() % 3 {
            0 => bytes.insert(at, byte),
            1 => bytes.truncate(at),
            _ => {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
        }
    }
    bytes
}

#[test]
fn every_seed_and_mutations_of_it_are_answered() {
    for (name, target) in TARGETS {
        let seeds = seeds::of(name);
        assert!(seeds.len() > 10, "{name}: {} seeds", seeds.len());
        for (at, seed) in seeds.iter().enumerate() {
            target(seed);
            for number in 0..MUTATIONS {
                target(&mutate(seed, u64::try_from(at).unwrap_or(0) * MUTATIONS + number));
            }
        }
    }
}

/// A target that accepted nothing would agree with everything.
#[test]
fn the_seeds_reach_what_they_are_for() {
    use crate::check::{STRONG, TOKENS};
    use crate::world::{NOW, WORLD};

    for (token, tenant) in TOKENS.iter() {
        let slots = [identity::Slot::Bearer, identity::Slot::Access];
        let verified = slots.map(|slot| WORLD.identity.verify(token, slot, NOW).is_ok());
        assert!(verified[0] != verified[1], "{tenant:?}");
    }
    assert!(TOKENS.iter().filter(|(_, tenant)| tenant.is_some()).count() > 15);
    let enters = |number: usize| {
        let authorization = format!("Bearer {}", TOKENS[number].0);
        let attributes = decision::Attributes {
            method: "GET",
            path: "/admin",
            authorization: decision::Field::One(authorization.as_bytes()),
            vouched: true,
            ..decision::Attributes::default()
        };
        let world = WORLD.world(decision::AuthMode::Required, decision::CbaMode::Enforce);
        decision::decide(&attributes, &world, NOW).is_allow()
    };
    assert!(enters(STRONG));
    assert!((1..TOKENS.len()).all(|number| !enters(number)));
}
