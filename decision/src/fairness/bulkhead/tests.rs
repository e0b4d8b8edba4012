use proptest::prelude::*;

use super::*;

/// Of one verification, in microseconds.
const COST: u32 = 50;
/// What a window has time for.
const BUDGET: u32 = 100;

fn bulkhead() -> Bulkhead {
    Bulkhead::with_budget(Duration::from_micros(u64::from(COST * BUDGET)))
}

/// So many hundredths of a window after the start.
fn at(hundredths: u32) -> Now {
    Now::new(WINDOW * hundredths / 100)
}

/// Has `place` ask `times` at one moment, and tells how often it is let in.
fn ask(bulkhead: &Bulkhead, place: usize, now: Now, times: u32) -> u32 {
    ask_with(bulkhead, place, now, times, 1)
}

/// The same with tokens that are charged so many times.
fn ask_with(bulkhead: &Bulkhead, place: usize, now: Now, times: u32, charged: u32) -> u32 {
    (0..times)
        .filter(|_| {
            let admitted = bulkhead.admits(place, now);
            if admitted {
                bulkhead.spend(place, now, COST, charged);
            }
            admitted
        })
        .count()
        .try_into()
        .unwrap()
}

#[test]
fn a_flood_takes_half_and_everybody_else_gets_a_share() {
    let bulkhead = bulkhead();
    assert_eq!(ask(&bulkhead, 0, at(0), 10_000), 50, "alone: half of the budget");
    // Known from the last window on: one flood and four others.
    for place in 1..5 {
        assert!(ask(&bulkhead, place, at(50), 5) > 0);
    }
    assert_eq!(ask(&bulkhead, 0, at(100), 10_000), 50);
    for place in 1..5 {
        assert_eq!(
            ask(&bulkhead, place, at(100), 5),
            5,
            "place {place} asks for less than its share"
        );
    }
    for later in [100, 150, 199] {
        assert_eq!(
            ask(&bulkhead, 0, at(later), 10_000),
            0,
            "the flood has had more than its share"
        );
    }
}

#[test]
fn nobody_waits_while_all_ask_for_less_than_the_budget() {
    let bulkhead = bulkhead();
    for now in (0..2_000).map(at) {
        // 95 in a window, in the order of their arrival; two ask for far more than an equal share.
        for (place, times) in [(0, 4), (1, 4), (2, 1), (3, 1)] {
            if now.nanos / 1_000_000 % 10 < times {
                assert_eq!(ask(&bulkhead, place, now, 1), 1, "place {place} at {now:?}");
            }
        }
    }
}

#[test]
fn each_window_starts_anew() {
    let bulkhead = bulkhead();
    for window in 0..5 {
        assert_eq!(ask(&bulkhead, 7, at(window * 100), 1_000), 50);
        assert_eq!(
            ask(&bulkhead, 7, at(window * 100 + 99), 1_000),
            0,
            "paid off, but it has had its half"
        );
    }
}

#[test]
fn who_forges_is_out_of_time_long_before_the_budget_is() {
    let bulkhead = bulkhead();
    assert_eq!(ask_with(&bulkhead, 0, at(0), 10_000, FORGED), 7, "50 / 8");
    // Forged tokens in the names of eighty tenants: each has its one, which costs the others what it took.
    for window in 1..20 {
        for place in 0..80 {
            ask_with(&bulkhead, place, at(window * 100), 10, FORGED);
        }
    }
    assert!(bulkhead.debt.at(at(2_000)) < WINDOW, "no more than the budget");
    let mut paying = bulkhead.debt.at(at(2_000));
    assert_eq!(
        ask(&bulkhead, 300, at(2_000), 1),
        1,
        "who forged nothing has its share"
    );
    paying = bulkhead.debt.at(at(2_000)) - paying;
    assert_eq!(paying, WINDOW / BUDGET);
}

#[test]
fn no_budget_admits_nothing() {
    let bulkhead = Bulkhead::new(0.0);
    assert_eq!(ask(&bulkhead, 0, at(0), 10), 0);
}

#[test]
fn names_that_nobody_knows_have_one_place() {
    let bulkhead = bulkhead();
    assert_eq!(bulkhead.place("entra", None, 3), bulkhead.place("entra", None, 3));
    let of = |provider, tenant, n: u64| bulkhead.place(provider, tenant, n * RESEED);
    // A provider whose tokens name no tenant has its own: forged tokens of another one do not take it.
    assert!((0..20).any(|n| of("entra", None, n) != of("access", None, n)));
    assert_eq!(of("entra", Some("acme"), 1), of("access", Some("acme"), 1));
    let moved = (0..1_000_u64).any(|n| of("entra", Some("acme"), n) != of("entra", Some("acme"), 0));
    assert!(
        moved,
        "places change, so that two tenants do not share one for ever"
    );
}

/// Eight tenants that ask at random moments of five windows, in the order of time.
fn floods() -> impl Strategy<Value = Vec<(u32, usize, u32)>> {
    prop::collection::vec((0..500_u32, 0..8_usize, 1..300_u32), 0..80).prop_map(|mut asked| {
        asked.sort_unstable();
        asked
    })
}

proptest! {
    /// However many ask and in whatever order: all together never get more than the budget, but for a debt that is still
    /// to be paid off.
    #[test]
    fn the_budget_holds(asked in floods()) {
        let bulkhead = bulkhead();
        let mut admitted = 0;
        for (moment, place, times) in asked {
            admitted += ask(&bulkhead, place, at(moment), times);
            prop_assert!(admitted <= moment + 2 * BUDGET, "{} at {}", admitted, moment);
        }
    }

    /// A tenant that asks for no more than its share is never turned away, whatever the others do.
    #[test]
    fn a_share_is_sure(asked in floods()) {
        let bulkhead = bulkhead();
        let mut window = 0;
        for (moment, place, times) in asked {
            let now = at(moment);
            // Nine contenders at most: 50 / 9 each.
            if now.window != window {
                window = now.window;
                prop_assert_eq!(ask(&bulkhead, 8, now, 3), 3);
            }
            ask(&bulkhead, place, now, times);
        }
        prop_assert_eq!(ask(&bulkhead, 8, at(499), 2), 2);
    }
}
