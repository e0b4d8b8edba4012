use super::*;

fn at(seconds: f64) -> At {
    Duration::from_secs_f64(seconds)
}

fn window(from: f64, to: f64) -> Window {
    Window {
        from: at(from),
        to: at(to),
    }
}

/// Tenant 0 is barred: asked for at 10 s, acknowledged at 10.5 s.
fn barred(truth: &mut Truth) {
    let barred = &mut truth.tenant_mut(0).unwrap().barred;
    barred.sent(true, at(10.0));
    barred.acknowledged(at(10.5));
}

fn may_be_free(truth: &Truth, window: Window, router: Option<usize>) -> bool {
    truth.tenant(0).unwrap().barred.may_be(&false, window, router)
}

fn may_be_barred(truth: &Truth, window: Window) -> bool {
    truth.tenant(0).unwrap().barred.may_be(&true, window, None)
}

#[test]
fn a_change_binds_connected_routers_two_seconds_after_it_was_acknowledged() {
    let mut truth = Truth::default();
    barred(&mut truth);
    truth.settle(at(12.0));
    assert!(may_be_free(&truth, window(12.0, 12.0), None));
    truth.settle(at(13.0));
    assert!(
        may_be_free(&truth, window(12.4, 12.4), Some(1)),
        "not before 12.5"
    );
    assert!(
        may_be_free(&truth, window(12.4, 14.0), Some(1)),
        "it was decided at some time of that"
    );
    assert!(!may_be_free(&truth, window(12.6, 12.7), Some(1)));
    assert!(
        !may_be_barred(&truth, window(9.0, 9.9)),
        "not before it was asked for"
    );
    assert!(may_be_barred(&truth, window(9.0, 10.0)));
}

#[test]
fn a_router_that_is_cut_off_serves_what_it_knew_and_the_others_do_not() {
    let mut truth = Truth::default();
    truth.cut(2, at(9.0));
    barred(&mut truth);
    truth.settle(at(60.0));
    assert!(!truth.routers_are_settled(at(10.5), at(60.0)));
    let late = window(59.0, 59.5);
    assert!(may_be_free(&truth, late, Some(2)));
    assert!(!may_be_free(&truth, late, Some(0)));
    assert!(
        may_be_free(&truth, late, None),
        "who does not say who it was may be the one"
    );
    truth.mend(2, at(60.0));
    truth.settle(at(61.9));
    assert!(may_be_free(&truth, window(61.5, 61.6), Some(2)));
    truth.settle(at(62.1));
    assert!(!may_be_free(&truth, window(62.05, 62.1), Some(2)));
    assert!(!truth.routers_are_settled(at(10.5), at(61.9)));
    assert!(truth.routers_are_settled(at(10.5), at(62.0)));
    assert!(!truth.routers_are_settled(at(61.0), at(62.0)));
}

#[test]
fn a_cut_before_the_two_seconds_are_over_begins_them_again_and_one_after_them_undoes_nothing() {
    let mut truth = Truth::default();
    barred(&mut truth);
    truth.cut(0, at(12.0));
    truth.mend(0, at(20.0));
    truth.cut(1, at(13.0));
    truth.settle(at(21.0));
    assert!(may_be_free(&truth, window(20.9, 21.0), Some(0)));
    assert!(
        !may_be_free(&truth, window(20.9, 21.0), Some(1)),
        "it knew at 12.5"
    );
    // Two reasons to be cut off: one of them is mended.
    truth.cut(0, at(21.5));
    truth.cut(0, at(21.6));
    truth.mend(0, at(23.0));
    truth.settle(at(30.0));
    assert!(may_be_free(&truth, window(29.0, 30.0), Some(0)));
    truth.mend(0, at(30.0));
    truth.settle(at(32.1));
    assert!(!may_be_free(&truth, window(32.1, 32.1), Some(0)));
}

#[test]
fn placements_go_by_the_registry_and_not_by_what_routers_know() {
    let mut truth = Truth::default();
    truth.cut(0, at(1.0));
    let cell = &mut truth.tenant_mut(0).unwrap().cell;
    let first = cell.latest().unwrap().clone();
    cell.sent("other".to_owned(), at(10.0));
    let cells = |truth: &Truth, window| {
        let cell = &truth.tenant(0).unwrap().cell;
        cell.recorded(window).cloned().collect::<Vec<_>>()
    };
    assert_eq!(
        cells(&truth, window(50.0, 51.0)),
        [first.clone(), "other".to_owned()],
        "not acknowledged"
    );
    truth.tenant_mut(0).unwrap().cell.acknowledged(at(10.2));
    assert_eq!(cells(&truth, window(9.0, 9.9)), std::slice::from_ref(&first));
    assert_eq!(cells(&truth, window(10.1, 10.1)), [first, "other".to_owned()]);
    assert_eq!(cells(&truth, window(10.3, 10.4)), ["other"]);
}

#[test]
fn a_cell_is_down_until_envoys_have_seen_that_it_is_back() {
    let mut truth = Truth::default();
    let cell = CELLS[0];
    assert!(!truth.was_down(cell, window(0.0, 100.0)));
    truth.cell_goes(cell, at(10.0));
    assert!(!truth.was_down(cell, window(9.0, 9.9)));
    assert!(truth.was_down(cell, window(9.0, 10.0)));
    assert!(truth.was_down(cell, window(90.0, 91.0)), "it is not back");
    truth.cell_is_back(cell, at(12.0));
    assert!(truth.was_down(cell, window(15.9, 16.5)));
    assert!(!truth.was_down(cell, window(16.1, 16.5)));
    assert!(!truth.was_down(CELLS[1], window(10.0, 12.0)));
}

#[test]
fn what_is_long_over_is_forgotten_and_what_is_not_stays() {
    let mut truth = Truth::default();
    for second in 0..200_u32 {
        let at = Duration::from_secs(second.into());
        let barred = &mut truth.tenant_mut(0).unwrap().barred;
        barred.sent(second % 2 == 0, at);
        barred.acknowledged(at);
        truth.cell_goes(CELLS[0], at);
        truth.cell_is_back(CELLS[0], at);
        truth.tell(at, format!("{second}"));
        truth.settle(at);
    }
    let kept = format!("{truth:?}").len();
    assert!(kept < 60_000, "{kept}");
    assert_eq!(truth.story(at(198.0)), ["  198.000 s  198", "  199.000 s  199"]);
    assert!(truth.was_down(CELLS[0], window(150.0, 150.1)));
}
