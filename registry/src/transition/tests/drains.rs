//! How a move drains: who says so, when it can still be said, and how long it is kept.

use super::*;

fn draining(phase: Phase, drain: Drain) -> Placement {
    let (cell, target) = match phase {
        Phase::Settled => ("cell-a", None),
        Phase::Planned | Phase::Draining => ("cell-a", Some("cell-b")),
        Phase::Flipped => ("cell-b", None),
    };
    match placement(phase, cell, target, 3) {
        Record::Placement(placement) => Placement { drain, ..placement },
        other => panic!("{other:?}"),
    }
}

fn wanting(drain: Drain) -> Record {
    match tenant(TenantState::Active) {
        Record::Tenant(tenant) => Record::Tenant(Tenant { drain, ..tenant }),
        other => panic!("{other:?}"),
    }
}

fn plan(mover: Option<Mover>, drain: Option<Drain>) -> Command {
    Command::PlanMove {
        tenant: tenant_id(),
        to: cell_id("cell-b"),
        mover,
        drain,
    }
}

/// What the placement is after the command, changed or not.
fn step(command: &Command, before: &Placement, wants: Drain) -> Result<Placement, Refused> {
    let records = [
        wanting(wants),
        cell("cell-b", CellState::Active),
        Record::Placement(before.clone()),
    ];
    Ok(match after(command, &facts(records))? {
        None => before.clone(),
        Some(Record::Placement(placement)) => placement,
        Some(other) => panic!("{other:?}"),
    })
}

#[test]
fn a_move_drains_as_it_is_told_else_as_its_tenant_wants_and_a_dead_cells_refuses() {
    use Drain::{ReadOnly, Refuse};
    let dead = Some(Mover::ControlPlaneFromDeadCell);
    for (mover, said, wants, drains) in [
        (None, None, Refuse, Refuse),
        (None, None, ReadOnly, ReadOnly),
        (None, Some(Refuse), ReadOnly, Refuse),
        (Some(Mover::ControlPlane), Some(ReadOnly), Refuse, ReadOnly),
        (dead, None, ReadOnly, Refuse),
    ] {
        let planned = step(&plan(mover, said), &draining(Phase::Settled, Refuse), wants).unwrap();
        assert_eq!(
            (planned.phase, planned.drain),
            (Phase::Planned, drains),
            "{mover:?} {said:?} {wants:?}"
        );
    }
    let asked = step(
        &plan(dead, Some(ReadOnly)),
        &draining(Phase::Settled, Refuse),
        Refuse,
    );
    assert!(asked.unwrap_err().to_string().contains("dead cell"));
    // Not even a tenant's record is needed.
    let records = [
        cell("cell-b", CellState::Active),
        Record::Placement(draining(Phase::Settled, Refuse)),
    ];
    let planned = after(&plan(None, None), &facts(records)).unwrap().unwrap();
    assert_eq!(planned, Record::Placement(draining(Phase::Planned, Refuse)));
}

#[test]
fn a_drain_can_be_made_stricter_on_the_way_and_never_looser() {
    use Drain::{ReadOnly, Refuse};
    for (phase, before, said, drains) in [
        (Phase::Planned, Refuse, ReadOnly, Some(ReadOnly)),
        (Phase::Planned, ReadOnly, Refuse, Some(Refuse)),
        (Phase::Draining, ReadOnly, Refuse, Some(Refuse)),
        (Phase::Draining, ReadOnly, ReadOnly, Some(ReadOnly)),
        (Phase::Draining, Refuse, Refuse, Some(Refuse)),
        (Phase::Draining, Refuse, ReadOnly, None),
        // The way back is still to come.
        (Phase::Flipped, Refuse, ReadOnly, Some(ReadOnly)),
    ] {
        let before = draining(phase, before);
        let found = step(&plan(None, Some(said)), &before, Refuse);
        match drains {
            Some(drain) => assert_eq!(
                found.unwrap(),
                Placement {
                    drain,
                    ..before.clone()
                },
                "{phase:?} {said:?}"
            ),
            None => {
                let text = found.unwrap_err().to_string();
                assert!(
                    text.contains("drains already") && text.contains("roll the move back"),
                    "{text}"
                );
            }
        }
        // Whoever says nothing changes nothing, whatever the tenant wants by now.
        assert_eq!(step(&plan(None, None), &before, ReadOnly).unwrap(), before);
    }
    // The word that the old cell is dead takes its reads away, too.
    for phase in [Phase::Planned, Phase::Draining] {
        let dead = plan(Some(Mover::ControlPlaneFromDeadCell), None);
        let found = step(&dead, &draining(phase, ReadOnly), ReadOnly).unwrap();
        assert_eq!(
            (found.drain, found.mover),
            (Refuse, Mover::ControlPlaneFromDeadCell)
        );
        assert!(step(&plan(found.mover.into(), Some(ReadOnly)), &found, ReadOnly).is_err());
    }
}

#[test]
fn a_flip_comes_after_the_end_of_reads_and_the_way_back_drains_as_the_tenant_wants() {
    use Drain::{ReadOnly, Refuse};
    let tenant = tenant_id();
    let drain = Command::DrainMove {
        tenant: tenant.clone(),
    };
    let back = Command::RollBackMove {
        tenant: tenant.clone(),
    };
    let finish = Command::FinishMove { tenant };
    // However good the evidence: it was about requests that were refused.
    let passed = Drained::StreamTimePassed {
        fenced: 3,
        limit_seconds: 0,
    };
    for evidence in [Drained::Empty { fenced: 3 }, passed, Drained::CellIsDead] {
        let reading = step(
            &flip(evidence.clone()),
            &draining(Phase::Draining, ReadOnly),
            Refuse,
        );
        let text = reading.unwrap_err().to_string();
        assert!(text.contains("still read"), "{text}");
        let refusing = step(&flip(evidence), &draining(Phase::Draining, Refuse), ReadOnly).unwrap();
        assert_eq!((refusing.phase, refusing.drain), (Phase::Flipped, Refuse));
    }
    for (command, from, before, wants, to, kept) in [
        (
            &drain,
            Phase::Planned,
            ReadOnly,
            Refuse,
            Phase::Draining,
            ReadOnly,
        ),
        (&back, Phase::Flipped, Refuse, Refuse, Phase::Draining, Refuse),
        (&back, Phase::Flipped, Refuse, ReadOnly, Phase::Draining, ReadOnly),
        (&back, Phase::Flipped, ReadOnly, Refuse, Phase::Draining, ReadOnly),
        (&finish, Phase::Flipped, ReadOnly, Refuse, Phase::Settled, Refuse),
        (&back, Phase::Draining, ReadOnly, ReadOnly, Phase::Settled, Refuse),
        (&back, Phase::Planned, ReadOnly, ReadOnly, Phase::Settled, Refuse),
    ] {
        let found = step(command, &draining(from, before), wants).unwrap();
        assert_eq!((found.phase, found.drain), (to, kept), "{command:?}");
        Record::Placement(found).check().unwrap();
    }
}

#[test]
fn a_drain_in_a_row_that_is_no_move_of_the_living_means_nothing() {
    for phase in [Phase::Planned, Phase::Draining, Phase::Flipped] {
        let placement = draining(phase, Drain::ReadOnly);
        assert_eq!(placement.drains(), Drain::ReadOnly);
        let dead = Placement {
            mover: Mover::ControlPlaneFromDeadCell,
            ..placement
        };
        assert_eq!(dead.drains(), Drain::Refuse);
        Record::Placement(dead).check().unwrap();
    }
    let settled = draining(Phase::Settled, Drain::ReadOnly);
    assert_eq!(settled.drains(), Drain::Refuse);
    Record::Placement(settled).check().unwrap();
}
