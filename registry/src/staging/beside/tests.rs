use contract::LinkKind;

use super::*;
use crate::model::LinkState;
use crate::snapshot::Builder;
use crate::version::{Position, Version};

fn position() -> Position {
    Position {
        version: Version { epoch: 1, number: 40 },
        lineage: 7,
    }
}

fn placement(tenant: &str, phase: &str, cell: &str, target: Option<&str>) -> String {
    let target = target.map_or("null".to_owned(), |target| format!("{target:?}"));
    format!(
        r#"{{"record":"placement","tenant":"{tenant}","cell":"{cell}","epoch":4,"phase":"{phase}","target":{target}}}"#
    )
}

fn tenant(id: &str, state: &str) -> String {
    format!(r#"{{"record":"tenant","id":"{id}","state":"{state}","name":"T"}}"#)
}

fn link(id: &str, state: &str) -> String {
    format!(
        r#"{{"record":"link","provider":"entra","kind":"tid","external_id":"{id}","tenant":"acme","state":"{state}"}}"#
    )
}

fn host(host: &str) -> String {
    format!(r#"{{"record":"host","host":"{host}","tenant":"acme"}}"#)
}

const TID: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

/// Acme is settled, the others are on their way from a to b.
fn live() -> (Snapshot, Vec<String>) {
    let mut lines: Vec<String> = ["cell-a", "cell-b"]
        .iter()
        .map(|id| {
            format!(
                r#"{{"record":"cell","id":"{id}","state":"active","tier":"std","region":"local","endpoints":["127.0.0.1:1"],"tls":false,"weight":1}}"#
            )
        })
        .collect();
    for (id, phase, target) in [
        ("acme", "settled", None),
        ("globex", "planned", Some("cell-b")),
        ("hooli", "draining", Some("cell-b")),
    ] {
        lines.push(tenant(id, "active"));
        lines.push(placement(id, phase, "cell-a", target));
    }
    lines.push(link(TID, "active"));
    lines.push(host("acme.example.com"));
    let mut builder = Builder::default();
    for record in of(&lines) {
        builder.put(record).unwrap();
    }
    (builder.finish(position()).unwrap(), lines)
}

fn of(lines: &[String]) -> Vec<Record> {
    records(lines.join("\n")).unwrap()
}

fn cell_of<'s>(snapshot: &'s Snapshot, tenant: &str) -> &'s str {
    snapshot.tenant(tenant).unwrap().placement.unwrap().cell
}

#[test]
fn what_is_so_already_costs_no_memory_and_changes_nothing() {
    let (live, lines) = live();
    let staged = beside(&live, &of(&lines));
    assert_eq!((staged.delta_len(), staged.position()), (0, position()));
}

#[test]
fn a_settled_tenant_is_where_its_move_would_lead() {
    let (live, _) = live();
    let staged = beside(&live, &of(&[placement("acme", "settled", "cell-b", None)]));
    let placed = staged.tenant("acme").unwrap().placement.unwrap();
    assert_eq!(
        (placed.cell, placed.phase, placed.epoch),
        ("cell-b", Phase::Settled, 5)
    );
    // A token that names the old cell is as good as after the real flip.
    assert_eq!(
        (placed.previous, placed.flipped_at),
        (Some("cell-a"), Some(i64::MAX))
    );
    assert_eq!(cell_of(&live, "acme"), "cell-a", "the live one is untouched");
    assert_eq!(staged.delta_len(), 1);
}

#[test]
fn a_tenant_that_is_on_its_way_stays_on_it_unless_it_goes_there_anyway() {
    let (live, _) = live();
    let to = |tenant: &str, cell: &str| {
        let staged = beside(&live, &of(&[placement(tenant, "settled", cell, None)]));
        let placed = staged.tenant(tenant).unwrap().placement.unwrap();
        (placed.cell.to_owned(), placed.phase)
    };
    assert_eq!(to("globex", "cell-b"), ("cell-b".into(), Phase::Settled));
    assert_eq!(to("globex", "cell-c"), ("cell-a".into(), Phase::Planned));
    assert_eq!(to("hooli", "cell-b"), ("cell-a".into(), Phase::Draining));
    // What an export says of a move that has moved on since is no wish.
    let exported = of(&[placement("acme", "planned", "cell-a", Some("cell-b"))]);
    assert_eq!(beside(&live, &exported).delta_len(), 0);
}

#[test]
fn new_records_and_changed_ones_are_taken_as_the_registry_spells_them() {
    let (live, _) = live();
    let staged = beside(
        &live,
        &of(&[
            tenant("initech", "active"),
            placement("initech", "settled", "cell-b", None),
            tenant("globex", "suspended"),
            link(&TID.to_uppercase(), "revoked"),
            host("new.example.com"),
            r#"{"record":"revocation","provider":"entra","subject":"ann","not_before":10}"#.to_owned(),
        ]),
    );
    assert_eq!(cell_of(&staged, "initech"), "cell-b");
    assert_ne!(
        staged.tenant("globex").unwrap().state,
        live.tenant("globex").unwrap().state
    );
    assert_eq!(
        staged.link("entra", LinkKind::Tid, TID).unwrap().state,
        LinkState::Revoked
    );
    assert_eq!(staged.host("new.example.com"), Some("acme"));
    assert!(staged.is_revoked("entra", "ann", None, 9) && !live.is_revoked("entra", "ann", None, 9));
    // The live version is what it was.
    assert_eq!(
        live.link("entra", LinkKind::Tid, TID).unwrap().state,
        LinkState::Active
    );
    assert_eq!(live.host("new.example.com"), None);
}

/// Of a subject, of a token, of a provider.
fn revocation(who: &str, not_before: i64) -> String {
    format!(r#"{{"record":"revocation","provider":"entra"{who},"not_before":{not_before}}}"#)
}

#[test]
fn a_revocation_only_ever_reaches_further_as_when_it_is_published() {
    let (live, _) = live();
    let whose = [r#","subject":"ann""#, r#","token_id":"t1""#, ""];
    let revoked = beside(&live, &of(&whose.map(|who| revocation(who, 10))));
    let reach = |snapshot: &Snapshot, who: &str| match &of(&[revocation(who, 0)])[0] {
        Record::Revocation(like) => snapshot.revoked_before(like),
        other => panic!("{other:?}"),
    };
    for who in whose {
        assert_eq!(
            (reach(&live, who), reach(&revoked, who)),
            (None, Some(10)),
            "{who}"
        );
        for (staged, then) in [(9, 10), (10, 10), (11, 11)] {
            let staged = beside(&revoked, &of(&[revocation(who, staged)]));
            assert_eq!(reach(&staged, who), Some(then), "{who}");
        }
    }
    // An export of before does not let those in again who were revoked since.
    let before = beside(&revoked, &of(&[revocation(whose[0], 5)]));
    assert!(before.is_revoked("entra", "ann", None, 9));
}

#[test]
fn a_set_that_cannot_be_read_is_not_evaluated() {
    let error = records("{\"record\":\"tenant\"}\nnonsense".to_owned())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("2 rows are wrong") && error.contains("row 1"),
        "{error}"
    );
}
