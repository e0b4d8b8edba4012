use proptest::prelude::*;

use super::*;

const COST: u32 = 50_000;

/// A budget of 100 verifications a window.
fn bulkhead() -> Bulkhead {
    Bulkhead::with_budget(Duration::from_nanos(u64::from(COST) * 100))
}

/// Has `place` ask `times`, and tells how often it is let in.
fn ask(bulkhead: &Bulkhead, place: usize, window: u64, times: u32) -> u32 {
    (0..times)
        .filter(|_| {
            let admitted = bulkhead.admits(place, window);
            if admitted {
                bulkhead.spend(place, window, COST);
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
    assert_eq!(ask(&bulkhead, 0, 1, 10_000), 50, "alone: half of the budget");
    // Known from the last window on: one flood and four others.
    for place in 1..5 {
        assert!(ask(&bulkhead, place, 1, 5) > 0);
    }
    assert_eq!(ask(&bulkhead, 0, 2, 10_000), 50);
    for place in 1..5 {
        assert_eq!(
            ask(&bulkhead, place, 2, 5),
            5,
            "place {place} asks for less than its share"
        );
    }
    assert_eq!(
        ask(&bulkhead, 0, 2, 10_000),
        0,
        "the flood has had more than its share"
    );
}

#[test]
fn below_half_of_the_budget_nobody_waits() {
    let bulkhead = bulkhead();
    for window in 1..20 {
        assert_eq!(ask(&bulkhead, 0, window, 30), 30);
        assert_eq!(ask(&bulkhead, 1, window, 19), 19);
    }
}

#[test]
fn each_window_starts_anew() {
    let bulkhead = bulkhead();
    for window in 1..5 {
        assert_eq!(ask(&bulkhead, 7, window, 1_000), 50);
    }
}

#[test]
fn no_budget_admits_nothing() {
    let bulkhead = Bulkhead::new(0.0);
    assert_eq!(ask(&bulkhead, 0, 1, 10), 0);
}

#[test]
fn names_that_nobody_knows_have_one_place() {
    let bulkhead = bulkhead();
    assert_eq!(bulkhead.place(None, 3), bulkhead.place(None, 3));
    let moved =
        (0..1_000_u64).any(|n| bulkhead.place(Some("acme"), n * RESEED) != bulkhead.place(Some("acme"), 0));
    assert!(
        moved,
        "places change, so that two tenants do not share one for ever"
    );
}

proptest! {
    /// However many ask and in whatever order: all together never get more than the budget and one verification for
    /// each contender, which may begin just below its share.
    #[test]
    fn the_budget_holds(
        asked in prop::collection::vec((0..8_usize, 1..40_u32), 1..60),
        window in 1..1_000_u64,
    ) {
        let bulkhead = bulkhead();
        let admitted: u32 = asked.iter().map(|(place, times)| ask(&bulkhead, *place, window, *times)).sum();
        // Within the first window contenders are only learnt as they come, which lets early ones have more.
        let harmonic = (1..=8).map(|n| 50.0 / f64::from(n)).sum::<f64>();
        prop_assert!(f64::from(admitted) <= 50.0 + harmonic + 8.0);
        // From the next on they are known.
        let again: u32 = asked.iter().map(|(place, times)| ask(&bulkhead, *place, window + 1, *times)).sum();
        prop_assert!(again <= 100 + 8, "{again}");
    }

    /// A tenant that asks for no more than its share is never turned away, whatever the others did before.
    #[test]
    fn a_share_is_sure(
        floods in prop::collection::vec((1..8_usize, 1..400_u32), 0..40),
        window in 1..1_000_u64,
    ) {
        let bulkhead = bulkhead();
        for (place, times) in &floods {
            ask(&bulkhead, *place, window, *times);
        }
        // Eight contenders at most: 50 / 8 each.
        prop_assert_eq!(ask(&bulkhead, 0, window, 6), 6);
    }
}
