mod drains;

use contract::{CellId, TenantId};

use super::*;
use crate::command::{CellSettings, Drained, LinkId, TenantSettings};
use crate::model::{CellState, Drain, LinkState, Mover, OpenStreams, Phase, Revocation, TenantState};

const T0: i64 = 1_700_000_000_000;

fn version(number: u64) -> Version {
    Version { epoch: 1, number }
}

fn tenant_id() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn cell_id(name: &str) -> CellId {
    CellId::parse(name).unwrap()
}

fn cell(name: &str, state: CellState) -> Record {
    Record::Cell(Cell {
        id: cell_id(name),
        state,
        tier: "std".into(),
        region: "local".into(),
        endpoints: vec!["127.0.0.1:8101".into()],
        tls: false,
        weight: 100,
        capacity: None,
        runtime: None,
        health_path: None,
    })
}

fn tenant(state: TenantState) -> Record {
    Record::Tenant(Tenant {
        id: tenant_id(),
        state,
        name: "Acme".into(),
        requests_per_second: None,
        tier: None,
        region: None,
        apart: None,
        drain: Drain::Refuse,
    })
}

fn placement(phase: Phase, cell: &str, target: Option<&str>, epoch: u64) -> Record {
    let previous = (phase == Phase::Flipped).then(|| cell_id("cell-a"));
    Record::Placement(Placement {
        tenant: tenant_id(),
        cell: cell_id(cell),
        epoch,
        phase,
        target: target.map(cell_id),
        flipped_at: previous.as_ref().map(|_| T0 / 1000),
        mover: Mover::Operator,
        drain: Drain::Refuse,
        previous,
    })
}

fn facts(records: impl IntoIterator<Item = Record>) -> Facts {
    let mut facts = Facts {
        registry: version(10),
        now_ms: T0,
        ..Facts::default()
    };
    for record in records {
        let key = record.key();
        facts.records.insert(
            key,
            Versioned {
                version: version(7),
                at_ms: T0 - 5_000,
                record,
            },
        );
    }
    facts
}

fn beat(router: &str, number: u64, xds: Option<u64>, at_ms: i64) -> Heartbeat {
    Heartbeat {
        at_ms,
        xds: xds.map(version),
        ..Heartbeat::new(router.into(), version(number))
    }
}

fn run(command: &Command, facts: &Facts) -> Result<Effect, Refused> {
    transition(command, IfVersion::Any, facts)
}

/// What the record becomes; `None` if nothing changes.
fn after(command: &Command, facts: &Facts) -> Result<Option<Record>, Refused> {
    Ok(match run(command, facts)? {
        Effect::Put { after, .. } => Some(after),
        _ => None,
    })
}

#[test]
fn cells_go_one_way() {
    use CellState::{Active, Draining, Provisioning, Retired};
    let states = [Provisioning, Active, Draining, Retired];
    for (at, from) in states.into_iter().enumerate() {
        for (then, to) in states.into_iter().enumerate() {
            let command = Command::SetCellState {
                cell: cell_id("cell-a"),
                state: to,
            };
            let result = after(&command, &facts([cell("cell-a", from)]));
            match result {
                Ok(None) => assert_eq!(from, to),
                Ok(Some(record)) => {
                    assert_eq!(then, at + 1, "{from:?} → {to:?}");
                    assert_eq!(record, cell("cell-a", to));
                }
                Err(Refused::InvalidTransition { .. }) => {
                    assert!(then != at && then != at + 1, "{from:?} → {to:?}")
                }
                Err(other) => panic!("{from:?} → {to:?}: {other}"),
            }
        }
    }
}

#[test]
fn a_cell_with_tenants_is_not_retired() {
    let command = Command::SetCellState {
        cell: cell_id("cell-a"),
        state: CellState::Retired,
    };
    let mut facts = facts([cell("cell-a", CellState::Draining)]);
    facts.occupants = 2;
    let refused = run(&command, &facts).unwrap_err().to_string();
    assert!(
        refused.contains("2 tenants") && refused.contains("move"),
        "{refused}"
    );
}

#[test]
fn a_cell_is_activated_when_every_live_router_and_its_envoys_know_it() {
    let command = Command::SetCellState {
        cell: cell_id("cell-a"),
        state: CellState::Active,
    };
    let mut facts = facts([cell("cell-a", CellState::Provisioning)]);
    // The cell is of version 7.
    facts.heartbeats = vec![
        beat("knows", 7, Some(7), T0),
        beat("no-envoy", 9, None, T0 - 9_000),
        beat("behind", 6, None, T0),
        beat("envoy-behind", 9, Some(6), T0),
        beat("dead", 1, Some(1), T0 - 10_001),
    ];
    match run(&command, &facts) {
        Err(Refused::NotAcknowledged {
            routers,
            version: needed,
            ..
        }) => {
            assert_eq!(routers, ["behind", "envoy-behind"]);
            assert_eq!(needed, version(7));
        }
        other => panic!("{other:?}"),
    }
    facts.heartbeats.retain(|beat| !beat.router.contains("behind"));
    assert!(after(&command, &facts).unwrap().is_some());
    facts.heartbeats.clear();
    assert!(
        after(&command, &facts).unwrap().is_some(),
        "with no live router it is allowed"
    );
}

#[test]
fn tenants_are_activated_suspended_and_activated_again() {
    use TenantState::{Active, Pending, Suspended};
    let legal = [(Pending, Active), (Active, Suspended), (Suspended, Active)];
    for from in [Pending, Active, Suspended] {
        for to in [Pending, Active, Suspended] {
            let command = Command::SetTenantState {
                tenant: tenant_id(),
                state: to,
            };
            let result = after(&command, &facts([tenant(from)]));
            if from == to {
                assert_eq!(result.unwrap(), None);
            } else if legal.contains(&(from, to)) {
                assert_eq!(result.unwrap(), Some(tenant(to)));
            } else {
                assert!(
                    matches!(result, Err(Refused::InvalidTransition { .. })),
                    "{from:?} → {to:?}"
                );
            }
        }
    }
}

fn link_id(external_id: &str) -> LinkId {
    LinkId {
        provider: "entra".parse().unwrap(),
        kind: contract::LinkKind::Tid,
        external_id: external_id.into(),
    }
}

fn link(state: LinkState, tenant: &str) -> Record {
    Record::Link(Link {
        provider: "entra".parse().unwrap(),
        kind: contract::LinkKind::Tid,
        external_id: "ab-cd".into(),
        tenant: tenant.parse().unwrap(),
        state,
    })
}

#[test]
fn links_are_promoted_declined_and_revoked() {
    use LinkState::{Active, Pending, Revoked};
    let legal = [(Pending, Active), (Pending, Revoked), (Active, Revoked)];
    for from in [Pending, Active, Revoked] {
        for to in [Pending, Active, Revoked] {
            let command = Command::SetLinkState {
                link: link_id("ab-cd"),
                state: to,
            };
            let result = after(&command, &facts([link(from, "acme")]));
            if from == to {
                assert_eq!(result.unwrap(), None, "promoting twice is a no-op");
            } else if legal.contains(&(from, to)) {
                assert_eq!(result.unwrap(), Some(link(to, "acme")));
            } else {
                assert!(
                    matches!(result, Err(Refused::InvalidTransition { .. })),
                    "{from:?} → {to:?}"
                );
            }
        }
    }
}

#[test]
fn an_external_id_names_one_tenant() {
    let add = Command::AddLink {
        link: link_id("AB-cd"),
        tenant: tenant_id(),
    };
    let known = tenant(TenantState::Active);
    assert_eq!(
        after(&add, &facts([known.clone()])).unwrap(),
        Some(link(LinkState::Pending, "acme"))
    );
    assert_eq!(
        after(&add, &facts([known.clone(), link(LinkState::Active, "acme")])).unwrap(),
        None
    );
    let taken = run(&add, &facts([known.clone(), link(LinkState::Pending, "globex")])).unwrap_err();
    assert!(
        matches!(&taken, Refused::Conflict { .. }) && taken.to_string().contains("globex"),
        "{taken}"
    );
    let free_again = after(&add, &facts([known, link(LinkState::Revoked, "globex")])).unwrap();
    assert_eq!(free_again, Some(link(LinkState::Pending, "acme")));
    assert!(
        matches!(run(&add, &facts([])), Err(Refused::NotFound { .. })),
        "its tenant must exist"
    );
}

#[test]
fn a_host_belongs_to_one_tenant_however_it_is_spelled() {
    let add = Command::AddHost {
        host: "App.Acme.example.".into(),
        tenant: tenant_id(),
    };
    let host = |tenant: &str| {
        Record::Host(crate::model::Host {
            host: "app.acme.example".into(),
            tenant: tenant.parse().unwrap(),
        })
    };
    let known = tenant(TenantState::Active);
    assert_eq!(after(&add, &facts([known.clone()])).unwrap(), Some(host("acme")));
    assert_eq!(after(&add, &facts([known.clone(), host("acme")])).unwrap(), None);
    assert!(matches!(
        run(&add, &facts([known.clone(), host("globex")])),
        Err(Refused::Conflict { .. })
    ));
    for bad in ["", "a..b", "acme.example:443", "https://x", "a b", "a_b"] {
        let add = Command::AddHost {
            host: bad.into(),
            tenant: tenant_id(),
        };
        assert!(
            matches!(run(&add, &facts([known.clone()])), Err(Refused::Invalid(_))),
            "{bad:?}"
        );
    }
}

#[test]
fn a_tenant_is_placed_once_and_only_in_an_active_cell() {
    let place = Command::Place {
        tenant: tenant_id(),
        cell: cell_id("cell-a"),
    };
    let known = tenant(TenantState::Pending);
    for state in [CellState::Provisioning, CellState::Draining, CellState::Retired] {
        let refused = run(&place, &facts([known.clone(), cell("cell-a", state)])).unwrap_err();
        assert!(matches!(refused, Refused::Conflict { .. }), "{refused}");
    }
    let active = cell("cell-a", CellState::Active);
    let placed = placement(Phase::Settled, "cell-a", None, 1);
    assert_eq!(
        after(&place, &facts([known.clone(), active.clone()])).unwrap(),
        Some(placed.clone())
    );
    assert_eq!(
        after(&place, &facts([known.clone(), active.clone(), placed])).unwrap(),
        None
    );
    let elsewhere = placement(Phase::Settled, "cell-b", None, 1);
    let refused = run(&place, &facts([known, active, elsewhere]))
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("cell-b") && refused.contains("move"),
        "{refused}"
    );
}

#[test]
fn a_full_cell_takes_nobody() {
    let place = Command::Place {
        tenant: tenant_id(),
        cell: cell_id("cell-a"),
    };
    let Record::Cell(active) = cell("cell-a", CellState::Active) else {
        unreachable!()
    };
    let small = Record::Cell(Cell {
        capacity: Some(2),
        ..active
    });
    let mut facts = facts([tenant(TenantState::Active), small]);
    facts.occupants = 1;
    assert!(after(&place, &facts).unwrap().is_some());
    facts.occupants = 2;
    assert!(run(&place, &facts).unwrap_err().to_string().contains("full"));
}

fn flip(evidence: Drained) -> Command {
    Command::FlipMove {
        tenant: tenant_id(),
        evidence,
    }
}

#[test]
fn a_move_goes_through_its_phases_and_each_flip_raises_the_epoch() {
    let to = cell_id("cell-b");
    let cells = [tenant(TenantState::Active), cell("cell-b", CellState::Active)];
    let with = |record: Record| facts(cells.clone().into_iter().chain([record]));
    let tenant = tenant_id();
    let planned = after(
        &Command::PlanMove {
            tenant: tenant.clone(),
            to,
            mover: None,
            drain: None,
        },
        &with(placement(Phase::Settled, "cell-a", None, 3)),
    );
    let planned = planned.unwrap().unwrap();
    assert_eq!(planned, placement(Phase::Planned, "cell-a", Some("cell-b"), 3));
    let draining = after(
        &Command::DrainMove {
            tenant: tenant.clone(),
        },
        &with(planned),
    )
    .unwrap()
    .unwrap();
    assert_eq!(draining, placement(Phase::Draining, "cell-a", Some("cell-b"), 3));
    let flipped = after(&flip(Drained::Empty { fenced: 3 }), &with(draining))
        .unwrap()
        .unwrap();
    assert_eq!(flipped, placement(Phase::Flipped, "cell-b", None, 4));
    let finished = after(&Command::FinishMove { tenant }, &with(flipped))
        .unwrap()
        .unwrap();
    let Record::Placement(finished) = finished else {
        unreachable!()
    };
    assert_eq!(
        (finished.phase, finished.epoch, finished.cell.as_str()),
        (Phase::Settled, 4, "cell-b")
    );
    assert_eq!(
        finished.previous,
        Some(cell_id("cell-a")),
        "a token with a cell claim may still name it"
    );
}

#[test]
fn phases_cannot_be_skipped() {
    let tenant = tenant_id();
    let drain = Command::DrainMove {
        tenant: tenant.clone(),
    };
    let finish = Command::FinishMove { tenant };
    let flip = flip(Drained::CellIsDead);
    let at = |phase, target| facts([placement(phase, "cell-b", target, 1)]);
    let invalid = |command: &Command, facts: &Facts| {
        assert!(
            matches!(run(command, facts), Err(Refused::InvalidTransition { .. })),
            "{command:?}"
        );
    };
    invalid(&drain, &at(Phase::Settled, None));
    invalid(&drain, &at(Phase::Flipped, None));
    invalid(&flip, &at(Phase::Settled, None));
    invalid(&flip, &at(Phase::Planned, Some("cell-c")));
    invalid(&finish, &at(Phase::Planned, Some("cell-c")));
    invalid(&finish, &at(Phase::Draining, Some("cell-c")));
    // Asked again, each step is done already.
    assert_eq!(
        run(&drain, &at(Phase::Draining, Some("cell-c"))).unwrap(),
        Effect::Nothing(version(7))
    );
    assert_eq!(
        run(&flip, &at(Phase::Flipped, None)).unwrap(),
        Effect::Nothing(version(7))
    );
    assert_eq!(
        run(&finish, &at(Phase::Settled, None)).unwrap(),
        Effect::Nothing(version(7))
    );
}

#[test]
fn a_flip_waits_for_every_live_router() {
    // The drain is version 7.
    let mut facts = facts([placement(Phase::Draining, "cell-a", Some("cell-b"), 1)]);
    facts.heartbeats = vec![
        beat("r1", 7, None, T0),
        beat("r2", 6, None, T0),
        beat("gone", 3, None, T0 - 60_000),
    ];
    match run(&flip(Drained::Empty { fenced: 1 }), &facts) {
        Err(Refused::NotAcknowledged { routers, .. }) => assert_eq!(routers, ["r2"]),
        other => panic!("{other:?}"),
    }
    // Also when the cell is dead: a router that still sends there is not what the word was about.
    assert!(matches!(
        run(&flip(Drained::CellIsDead), &facts),
        Err(Refused::NotAcknowledged { .. })
    ));
}

#[test]
fn a_flip_waits_for_streams_that_envoys_hold_open_but_not_for_ever() {
    // The drain is version 7, and lasts for 5 s.
    let mut facts = facts([placement(Phase::Draining, "cell-a", Some("cell-b"), 1)]);
    let open = |tenant: &str, cell: &str, streams| OpenStreams {
        tenant: tenant.parse().unwrap(),
        cell: cell.parse().unwrap(),
        streams,
    };
    let tells = |router: &str, at_ms, open: Vec<OpenStreams>| Heartbeat {
        open,
        ..beat(router, 7, None, at_ms)
    };
    let empty = flip(Drained::Empty { fenced: 1 });
    facts.heartbeats = vec![
        tells(
            "r1",
            T0,
            vec![open("acme", "cell-b", 9), open("globex", "cell-a", 9)],
        ),
        tells("gone", T0 - 60_000, vec![open("acme", "cell-a", 9)]),
    ];
    assert!(
        after(&empty, &facts).is_ok(),
        "nobody holds acme's open in cell-a"
    );

    facts
        .heartbeats
        .push(tells("r2", T0, vec![open("acme", "cell-a", 2)]));
    // One that does not know all of them does not say that nothing is open.
    facts.heartbeats.push(Heartbeat {
        partial: true,
        ..tells("r3", T0, vec![open("globex", "cell-a", 1)])
    });
    match run(&empty, &facts) {
        Err(Refused::StillOpen { streams, routers, .. }) => {
            assert_eq!((streams, routers), (3, vec!["r2".to_owned(), "r3".to_owned()]));
        }
        other => panic!("{other:?}"),
    }
    let passed = |limit_seconds| {
        flip(Drained::StreamTimePassed {
            fenced: 1,
            limit_seconds,
        })
    };
    assert!(matches!(run(&passed(6), &facts), Err(Refused::Conflict { .. })));
    assert!(after(&passed(5), &facts).is_ok());
    // An Envoy may hold streams to a dead cell for as long as nobody tells it that they are dead too.
    assert!(after(&flip(Drained::CellIsDead), &facts).is_ok());
}

#[test]
fn a_flip_needs_a_fence_and_an_empty_cell_or_the_longest_stream_time() {
    // Draining for 5 s.
    let facts = facts([placement(Phase::Draining, "cell-a", Some("cell-b"), 3)]);
    let refused = |evidence| matches!(run(&flip(evidence), &facts), Err(Refused::Conflict { .. }));
    assert!(
        refused(Drained::Empty { fenced: 2 }),
        "the fence must cover the placement's epoch"
    );
    assert!(refused(Drained::StreamTimePassed {
        fenced: 3,
        limit_seconds: 6
    }));
    assert!(refused(Drained::StreamTimePassed {
        fenced: 2,
        limit_seconds: 5
    }));
    assert!(!refused(Drained::StreamTimePassed {
        fenced: 3,
        limit_seconds: 5
    }));
    assert!(!refused(Drained::Empty { fenced: 3 }));
    assert!(!refused(Drained::CellIsDead));
}

#[test]
fn a_move_is_taken_back_until_it_is_finished() {
    let back = Command::RollBackMove { tenant: tenant_id() };
    let run = |record| after(&back, &facts([record])).unwrap();
    assert_eq!(run(placement(Phase::Settled, "cell-a", None, 3)), None);
    let planned = run(placement(Phase::Planned, "cell-a", Some("cell-b"), 3));
    assert_eq!(planned, Some(placement(Phase::Settled, "cell-a", None, 3)));
    // The old cell may have fenced epoch 3: the tenant stays there with a higher one.
    let draining = run(placement(Phase::Draining, "cell-a", Some("cell-b"), 3));
    assert_eq!(draining, Some(placement(Phase::Settled, "cell-a", None, 4)));
    // Requests may run in the new cell: back is a drain as well, and its flip raises the epoch past every fence.
    let Some(Record::Placement(flipped)) = run(placement(Phase::Flipped, "cell-b", None, 4)) else {
        panic!()
    };
    assert_eq!(
        (flipped.phase, flipped.cell.as_str()),
        (Phase::Draining, "cell-b")
    );
    assert_eq!((flipped.epoch, flipped.target), (4, Some(cell_id("cell-a"))));
}

#[test]
fn who_carries_a_move_on_is_recorded_with_it_until_it_is_settled() {
    let records = [tenant(TenantState::Active), cell("cell-b", CellState::Active)];
    let step = |command: &Command, record: Record| {
        let known = facts(records.clone().into_iter().chain([record.clone()]));
        match after(command, &known).unwrap().unwrap_or(record) {
            Record::Placement(placement) => placement,
            other => panic!("{other:?}"),
        }
    };
    let plan = |mover| Command::PlanMove {
        tenant: tenant_id(),
        to: cell_id("cell-b"),
        mover,
        drain: None,
    };
    let tenant = tenant_id;
    let settled = || placement(Phase::Settled, "cell-a", None, 3);
    assert_eq!(step(&plan(None), settled()).mover, Mover::Operator);
    for mover in [Mover::ControlPlane, Mover::ControlPlaneFromDeadCell] {
        let planned = step(&plan(Some(mover)), settled());
        assert_eq!((planned.phase, planned.mover), (Phase::Planned, mover));
        // Asked for by somebody who does not care who does it: unchanged.
        assert_eq!(step(&plan(None), Record::Placement(planned.clone())), planned);
        // An operator takes it over, and gives it back.
        let taken = step(&plan(Some(Mover::Operator)), Record::Placement(planned.clone()));
        assert_eq!((taken.phase, taken.mover), (Phase::Planned, Mover::Operator));
        assert_eq!(step(&plan(Some(mover)), Record::Placement(taken)), planned);

        let draining = step(
            &Command::DrainMove { tenant: tenant() },
            Record::Placement(planned),
        );
        let flipped = step(
            &flip(Drained::Empty { fenced: 3 }),
            Record::Placement(draining.clone()),
        );
        assert_eq!((draining.mover, flipped.mover), (mover, mover));
        let finished = step(
            &Command::FinishMove { tenant: tenant() },
            Record::Placement(flipped.clone()),
        );
        assert_eq!(
            (finished.phase, finished.mover),
            (Phase::Settled, Mover::Operator)
        );

        let back = Command::RollBackMove { tenant: tenant() };
        let cancelled = step(&back, Record::Placement(draining));
        assert_eq!(
            (cancelled.phase, cancelled.mover),
            (Phase::Settled, Mover::Operator)
        );
        // The cell that it leaves now is not the one that was said to be dead.
        let reversed = step(&back, Record::Placement(flipped));
        assert_eq!(
            (reversed.phase, reversed.mover),
            (Phase::Draining, Mover::ControlPlane)
        );
    }
}

#[test]
fn a_move_under_way_is_not_redirected() {
    let records = [tenant(TenantState::Active), cell("cell-c", CellState::Active)];
    let plan = Command::PlanMove {
        tenant: tenant_id(),
        to: cell_id("cell-c"),
        mover: None,
        drain: None,
    };
    for phase in [Phase::Planned, Phase::Draining] {
        let moving = placement(phase, "cell-a", Some("cell-b"), 1);
        let refused = run(&plan, &facts(records.clone().into_iter().chain([moving])))
            .unwrap_err()
            .to_string();
        assert!(refused.contains("cell-b"), "{refused}");
    }
    let flipped = placement(Phase::Flipped, "cell-b", None, 2);
    assert!(matches!(
        run(&plan, &facts(records.into_iter().chain([flipped]))),
        Err(Refused::Conflict { .. })
    ));
}

#[test]
fn adding_what_is_there_changes_nothing_and_never_resets_a_state() {
    let settings = CellSettings {
        id: cell_id("cell-a"),
        tier: "std".into(),
        region: "local".into(),
        endpoints: vec!["127.0.0.1:8101".into()],
        tls: false,
        weight: 100,
        capacity: None,
        runtime: None,
        health_path: None,
    };
    let active = cell("cell-a", CellState::Active);
    let add = Command::AddCell(settings.clone());
    assert_eq!(
        after(&add, &facts([])).unwrap(),
        Some(cell("cell-a", CellState::Provisioning))
    );
    assert_eq!(after(&add, &facts([active.clone()])).unwrap(), None);
    let other = CellSettings {
        weight: 1,
        ..settings
    };
    assert!(matches!(
        run(&Command::AddCell(other.clone()), &facts([active.clone()])),
        Err(Refused::Conflict { .. })
    ));
    let Some(Record::Cell(set)) = after(&Command::SetCell(other), &facts([active])).unwrap() else {
        panic!()
    };
    assert_eq!((set.weight, set.state), (1, CellState::Active));

    let settings = TenantSettings {
        id: tenant_id(),
        name: "Acme".into(),
        requests_per_second: None,
        tier: None,
        region: None,
        apart: None,
        drain: Drain::Refuse,
    };
    let suspended = tenant(TenantState::Suspended);
    assert_eq!(
        after(&Command::AddTenant(settings.clone()), &facts([suspended.clone()])).unwrap(),
        None
    );
    let other = TenantSettings {
        requests_per_second: Some(5),
        ..settings
    };
    let Some(Record::Tenant(set)) = after(&Command::SetTenant(other), &facts([suspended])).unwrap() else {
        panic!()
    };
    assert_eq!(
        (set.requests_per_second, set.state),
        (Some(5), TenantState::Suspended)
    );
}

#[test]
fn a_revocation_only_reaches_further() {
    let revocation = |not_before| Revocation {
        provider: "entra".parse().unwrap(),
        subject: Some("u1".into()),
        token_id: None,
        not_before,
    };
    let facts = facts([Record::Revocation(revocation(100))]);
    assert_eq!(after(&Command::Revoke(revocation(99)), &facts).unwrap(), None);
    let later = after(&Command::Revoke(revocation(101)), &facts).unwrap();
    assert_eq!(later, Some(Record::Revocation(revocation(101))));
    let lift = Command::LiftRevocation {
        provider: "entra".parse().unwrap(),
        subject: Some("u1".into()),
        token_id: None,
    };
    assert_eq!(
        run(&lift, &facts).unwrap(),
        Effect::Remove(Record::Revocation(revocation(100)))
    );
    let both = Revocation {
        token_id: Some("t1".into()),
        ..revocation(1)
    };
    assert!(matches!(
        run(&Command::Revoke(both), &facts),
        Err(Refused::Invalid(_))
    ));
}

#[test]
fn an_outdated_view_is_refused_before_any_rule() {
    let command = Command::SetTenantState {
        tenant: tenant_id(),
        state: TenantState::Pending,
    };
    let facts = facts([tenant(TenantState::Active)]);
    let stale = transition(&command, IfVersion::Is(version(6)), &facts);
    assert!(matches!(stale, Err(Refused::StaleVersion { found, .. }) if found == version(7)));
    let current = transition(&command, IfVersion::Is(version(7)), &facts);
    assert!(matches!(current, Err(Refused::InvalidTransition { .. })));
    let adopt = transition(&Command::Adopt, IfVersion::Is(version(10)), &facts);
    assert_eq!(adopt.unwrap(), Effect::RaiseEpoch);
    assert!(transition(&Command::Adopt, IfVersion::Is(version(9)), &facts).is_err());
}

#[test]
fn every_refusal_names_the_record_and_what_to_do() {
    let nobody = run(&Command::DrainMove { tenant: tenant_id() }, &facts([])).unwrap_err();
    assert_eq!(
        nobody.to_string(),
        "placement of acme does not exist; place the tenant in a cell first"
    );
    let early = run(
        &Command::DrainMove { tenant: tenant_id() },
        &facts([placement(Phase::Settled, "cell-a", None, 1)]),
    );
    assert_eq!(
        early.unwrap_err().to_string(),
        "placement of acme is settled and cannot become draining; plan a move first"
    );
}
