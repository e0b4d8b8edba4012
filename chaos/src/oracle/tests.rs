//! The oracle is right about right answers, and catches each kind of wrong one.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::header::{ASSERTION, CELL, PRINCIPAL, PROVIDER, TENANT};
use devkit::dev::{DEDICATED_CELL, SHARED_CELL};

use super::*;
use crate::tenants::{Part, with};
use crate::truth::At;

const NOW: Window = Window {
    from: Duration::from_secs(100),
    to: Duration::from_millis(100_010),
};

fn at(seconds: f64) -> At {
    Duration::from_secs_f64(seconds)
}

/// A still tenant of the shared cell.
fn good() -> Ask {
    Ask {
        tenant: 0,
        token: Token::Good,
        place: Place::Plain,
        spoof: None,
    }
}

fn of(part: Part) -> Ask {
    Ask {
        tenant: with(part).next().unwrap(),
        ..good()
    }
}

fn refused(status: u16, code: &str) -> Answer {
    Answer {
        status: Some(status),
        code: code.to_owned(),
        ..Answer::default()
    }
}

/// As the cell answers when a router let the request in as its tenant.
fn served_by(ask: Ask, cell: &str, router: usize) -> Answer {
    let tenant = TENANTS[ask.tenant];
    let provider = dev::provider_name(tenant.provider);
    let name = if router == 0 {
        "tenant-router".to_owned()
    } else {
        format!("tenant-router-{}", router + 1)
    };
    let payload = URL_SAFE_NO_PAD.encode(format!(r#"{{"iss":"{name}"}}"#));
    let identity = [
        (CELL, cell.to_owned()),
        (TENANT, tenant.id.to_owned()),
        (PRINCIPAL, format!("{provider}:somebody")),
        (PROVIDER, provider.to_owned()),
        (ASSERTION, format!("e30.{payload}.c2ln")),
    ];
    Answer {
        status: Some(200),
        received: Some(Received {
            cell: cell.to_owned(),
            identity: identity
                .into_iter()
                .map(|(name, value)| (name.to_owned(), vec![value]))
                .collect(),
            misspelled: Vec::new(),
        }),
        ..Answer::default()
    }
}

fn without_a_token(cell: &str) -> Answer {
    let mut answer = served_by(good(), cell, 0);
    let received = answer.received.as_mut().unwrap();
    for name in [TENANT, PRINCIPAL, PROVIDER] {
        received.identity.remove(name);
    }
    answer
}

fn verdict(ask: Ask, answer: &Answer, truth: &Truth) -> &'static str {
    judge(ask, NOW, answer, truth).name()
}

/// What was changed is long applied by everybody who is connected.
fn settled(mut truth: Truth) -> Truth {
    truth.settle(at(100.0));
    truth
}

fn barred(ask: Ask) -> Truth {
    let mut truth = Truth::default();
    let barred = &mut truth.tenant_mut(ask.tenant).unwrap().barred;
    barred.sent(true, at(50.0));
    barred.acknowledged(at(50.1));
    truth
}

#[test]
fn a_good_request_is_served_and_anything_else_is_a_loss() {
    let truth = Truth::default();
    assert_eq!(
        verdict(good(), &served_by(good(), SHARED_CELL, 1), &truth),
        "served"
    );
    for lost in [
        refused(503, "not_ready"),
        refused(503, "cell_unavailable"),
        refused(503, "tenant_moving"),
        refused(401, "unauthenticated"),
        refused(403, "tenant_suspended"),
        refused(429, "rate_limited"),
        refused(500, ""),
        refused(302, ""),
        Answer {
            code: "failed: closed".to_owned(),
            ..Answer::default()
        },
    ] {
        assert_eq!(verdict(good(), &lost, &truth), "lost", "{lost:?}");
    }
}

#[test]
fn a_bad_token_is_never_served() {
    let truth = Truth::default();
    for token in [
        Token::Expired,
        Token::Forged,
        Token::Altered,
        Token::WrongAudience,
        Token::Stranger,
        Token::None,
    ] {
        let ask = Ask { token, ..good() };
        assert_eq!(
            verdict(ask, &served_by(ask, SHARED_CELL, 0), &truth),
            "fail_open",
            "{token:?}"
        );
        assert_eq!(verdict(ask, &refused(401, "unauthenticated"), &truth), "refused");
        assert_eq!(
            verdict(ask, &refused(503, "not_ready"), &truth),
            "refused",
            "closed is closed"
        );
    }
    let weak = Ask {
        place: Place::Admin,
        ..good()
    };
    assert_eq!(
        verdict(weak, &served_by(weak, SHARED_CELL, 0), &truth),
        "fail_open"
    );
    // Whoever answers: an answer that is no demo cell's is an allow as well.
    let ask = Ask {
        token: Token::Forged,
        ..good()
    };
    assert_eq!(verdict(ask, &refused(204, ""), &truth), "fail_open");
}

#[test]
fn a_bad_token_that_gets_past_the_router_is_let_in_even_if_nobody_serves_it() {
    let truth = Truth::default();
    let bad = Ask {
        token: Token::Forged,
        ..good()
    };
    for (status, code, expected) in [
        (401, "unauthenticated", "refused"),
        (503, "not_ready", "refused"),
        (503, "overloaded", "refused"),
        (503, "cell_unavailable", "fail_open"),
        (503, "tenant_moving", "fail_open"),
        (504, "without an envelope", "fail_open"),
    ] {
        assert_eq!(verdict(bad, &refused(status, code), &truth), expected, "{code}");
    }
    assert_eq!(verdict(bad, &Answer::default(), &truth), "refused", "no answer");
}

#[test]
fn a_suspended_tenant_is_served_only_by_a_router_that_could_not_know() {
    let ask = of(Part::Suspended);
    let served = |router| served_by(ask, TENANTS[ask.tenant].cell, router);
    let truth = settled(barred(ask));
    assert_eq!(verdict(ask, &served(0), &truth), "fail_open");
    assert_eq!(verdict(ask, &refused(403, "tenant_suspended"), &truth), "refused");
    // Router 2 was cut off before.
    let mut truth = Truth::default();
    truth.cut(2, at(49.0));
    let changed = &mut truth.tenant_mut(ask.tenant).unwrap().barred;
    changed.sent(true, at(50.0));
    changed.acknowledged(at(50.1));
    let truth = settled(truth);
    assert_eq!(verdict(ask, &served(2), &truth), "served_yet");
    assert_eq!(
        verdict(ask, &served(1), &truth),
        "fail_open",
        "this one was not cut off"
    );
    // Within two seconds nobody is held to it.
    let mut truth = Truth::default();
    let changed = &mut truth.tenant_mut(ask.tenant).unwrap().barred;
    changed.sent(true, at(98.5));
    changed.acknowledged(at(99.0));
    let truth = settled(truth);
    assert_eq!(verdict(ask, &served(0), &truth), "served_yet");
    assert_eq!(verdict(ask, &refused(403, "tenant_suspended"), &truth), "refused");
    assert_eq!(
        verdict(good(), &refused(403, "tenant_suspended"), &truth),
        "lost",
        "another tenant"
    );
}

#[test]
fn whoever_is_free_again_must_be_served_once_every_router_knows() {
    let ask = of(Part::Suspended);
    let mut truth = barred(ask);
    truth.settle(at(60.0));
    let changed = &mut truth.tenant_mut(ask.tenant).unwrap().barred;
    changed.sent(false, at(70.0));
    changed.acknowledged(at(70.1));
    let late = settled(truth);
    assert_eq!(verdict(ask, &refused(403, "tenant_suspended"), &late), "lost");
    assert_eq!(verdict(ask, &served_by(ask, DEDICATED_CELL, 0), &late), "served");
}

#[test]
fn the_wrong_cell_and_the_wrong_tenant_are_seen() {
    let truth = Truth::default();
    assert_eq!(
        verdict(good(), &served_by(good(), DEDICATED_CELL, 0), &truth),
        "wrong_cell"
    );
    let mut other = served_by(good(), SHARED_CELL, 0);
    let identity = &mut other.received.as_mut().unwrap().identity;
    identity.insert(TENANT.to_owned(), vec!["initech".to_owned()]);
    assert_eq!(verdict(good(), &other, &truth), "wrong_cell");
    assert_eq!(
        verdict(good(), &refused(200, ""), &truth),
        "wrong_cell",
        "no demo cell answered"
    );
}

#[test]
fn a_tenant_that_has_left_is_never_served_where_it_was_even_by_a_router_that_is_cut_off() {
    let ask = of(Part::Moves);
    let from = TENANTS[ask.tenant].cell;
    let to = DEDICATED_CELL;
    assert_ne!(from, to);
    let moved = |flipped: Option<f64>| {
        let mut truth = Truth::default();
        truth.cut(1, at(40.0));
        let tenancy = truth.tenant_mut(ask.tenant).unwrap();
        tenancy.moves.sent(true, at(50.0));
        tenancy.cell.sent(to.to_owned(), at(51.0));
        if let Some(flipped) = flipped {
            tenancy.cell.acknowledged(at(flipped));
            tenancy.moves.sent(false, at(flipped));
            tenancy.moves.acknowledged(at(flipped));
        }
        settled(truth)
    };
    let truth = moved(None);
    // Under way: the old cell, none, or the new one, if the flip has just been made.
    assert_eq!(verdict(ask, &served_by(ask, from, 0), &truth), "served_yet");
    assert_eq!(verdict(ask, &served_by(ask, to, 0), &truth), "served_yet");
    assert_eq!(verdict(ask, &refused(503, "tenant_moving"), &truth), "excused");
    assert_eq!(
        verdict(ask, &refused(401, "unauthenticated"), &truth),
        "lost",
        "a move excuses no other refusal"
    );
    let truth = moved(Some(60.0));
    assert_eq!(verdict(ask, &served_by(ask, to, 0), &truth), "served_yet");
    assert_eq!(verdict(ask, &served_by(ask, from, 1), &truth), "wrong_cell");
    assert_eq!(
        verdict(ask, &refused(503, "tenant_moving"), &truth),
        "excused",
        "the router that is cut off meets the fence"
    );
    let mut truth = moved(Some(60.0));
    truth.mend(1, at(80.0));
    let truth = settled(truth);
    assert_eq!(
        verdict(ask, &refused(503, "tenant_moving"), &truth),
        "lost",
        "everybody knows"
    );
    assert_eq!(verdict(ask, &served_by(ask, to, 1), &truth), "served");
    assert_eq!(
        verdict(good(), &refused(503, "tenant_moving"), &moved(None)),
        "lost",
        "another tenant"
    );
}

#[test]
fn a_cell_that_is_down_excuses_its_own_tenants_only() {
    let mut truth = Truth::default();
    truth.cell_goes(SHARED_CELL, at(99.0));
    assert_eq!(
        verdict(good(), &refused(503, "cell_unavailable"), &truth),
        "excused"
    );
    let failed = Answer {
        code: "failed: timeout".to_owned(),
        ..Answer::default()
    };
    assert_eq!(verdict(good(), &failed, &truth), "excused");
    assert_eq!(verdict(good(), &refused(401, "unauthenticated"), &truth), "lost");
    let elsewhere = Ask { tenant: 1, ..good() };
    assert_eq!(
        verdict(elsewhere, &refused(503, "cell_unavailable"), &truth),
        "lost"
    );
    truth.cell_is_back(SHARED_CELL, at(95.0));
    assert_eq!(verdict(good(), &refused(503, "cell_unavailable"), &truth), "lost");
}

#[test]
fn identity_headers_that_no_router_set_are_seen() {
    let truth = Truth::default();
    let spoiled = |spoil: &dyn Fn(&mut Received)| {
        let mut answer = served_by(good(), SHARED_CELL, 0);
        spoil(answer.received.as_mut().unwrap());
        answer
    };
    let set = |name: &'static str, values: &'static [&'static str]| {
        move |received: &mut Received| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            received.identity.insert(name.to_owned(), values);
        }
    };
    for answer in [
        spoiled(&set(PRINCIPAL, &["entra:spoofed"])),
        spoiled(&set(TENANT, &["acme", "spoofed"])),
        spoiled(&set(TENANT, &["acme", "acme"])),
        spoiled(&set(CELL, &[DEDICATED_CELL])),
        spoiled(&set(PROVIDER, &["auth0"])),
        spoiled(&set(PRINCIPAL, &["auth0:somebody"])),
        spoiled(&set("x-alphaswarm-anything", &["x"])),
        spoiled(&|received| received.misspelled.push("x-alphaswarm.tenant".to_owned())),
        spoiled(&|received| drop(received.identity.remove(ASSERTION))),
        spoiled(&|received| drop(received.identity.remove(CELL))),
    ] {
        assert_eq!(verdict(good(), &answer, &truth), "spoofed", "{answer:?}");
    }
    let mut leaking = refused(401, "unauthenticated");
    leaking.leaked.push("x-alphaswarm-cell".to_owned());
    assert_eq!(verdict(good(), &leaking, &truth), "spoofed");
}

#[test]
fn the_public_path_needs_no_token_and_names_nobody() {
    let ask = Ask {
        token: Token::None,
        place: Place::Public,
        ..good()
    };
    let mut truth = Truth::default();
    assert_eq!(verdict(ask, &without_a_token(SHARED_CELL), &truth), "served");
    assert_eq!(
        verdict(ask, &without_a_token(DEDICATED_CELL), &truth),
        "wrong_cell"
    );
    assert_eq!(
        verdict(ask, &served_by(good(), SHARED_CELL, 0), &truth),
        "spoofed"
    );
    assert_eq!(verdict(ask, &refused(401, "unauthenticated"), &truth), "lost");
    truth.cell_goes(SHARED_CELL, at(99.0));
    assert_eq!(verdict(ask, &refused(503, "cell_unavailable"), &truth), "excused");
}

#[test]
fn the_gated_path_follows_the_policy_file() {
    let ask = Ask {
        place: Place::Gated,
        ..good()
    };
    let served = served_by(ask, SHARED_CELL, 0);
    let refusal = refused(401, "step_up_required");
    let truth = Truth::default();
    assert_eq!(verdict(ask, &served, &truth), "served");
    assert_eq!(verdict(ask, &refusal, &truth), "lost");
    let mut truth = Truth::default();
    truth.gated.sent(true, at(50.0));
    truth.gated.acknowledged(at(50.0));
    let truth = settled(truth);
    assert_eq!(verdict(ask, &served, &truth), "fail_open");
    assert_eq!(verdict(ask, &refusal, &truth), "refused");
    let mut truth = Truth::default();
    truth.gated.sent(true, at(99.5));
    truth.gated.acknowledged(at(99.5));
    let truth = settled(truth);
    assert_eq!(verdict(ask, &served, &truth), "served_yet");
    assert_eq!(verdict(ask, &refusal, &truth), "refused");
}
