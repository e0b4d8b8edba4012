use registry::{Placement, Position, Record, RecordChange, Tenant, TenantState, Version};

use super::*;

fn sighting(tenant: &str, cell: &str, id: &str, open: bool) -> Sighting {
    Sighting {
        tenant: tenant.parse().unwrap(),
        cell: cell.parse().unwrap(),
        id: id.into(),
        open,
    }
}

fn active(id: &TenantId) -> Tenant {
    Tenant {
        id: id.clone(),
        state: TenantState::Active,
        name: String::new(),
        requests_per_second: None,
        tier: None,
        region: None,
        apart: None,
        drain: registry::Drain::Refuse,
    }
}

/// `acme` drains out of cell-a, `globex` is settled there.
fn snapshot() -> Snapshot {
    let settled = |tenant: &str| Placement::first(tenant.parse().unwrap(), "cell-a".parse().unwrap());
    let draining = Placement {
        phase: Phase::Draining,
        target: Some("cell-b".parse().unwrap()),
        ..settled("acme")
    };
    let mut changes = Vec::new();
    for placement in [draining, settled("globex")] {
        changes.push(RecordChange::Put(Record::Tenant(active(&placement.tenant))));
        changes.push(RecordChange::Put(Record::Placement(placement)));
    }
    let position = Position {
        version: Version { epoch: 1, number: 1 },
        lineage: 1,
    };
    Snapshot::empty().with(position, &changes)
}

fn draining(streams: &Streams, now: Instant) -> Vec<(String, u64)> {
    let (open, complete) = streams.of_draining(&snapshot(), now);
    assert!(complete);
    open.into_iter()
        .map(|open| (format!("{} in {}", open.tenant, open.cell), open.streams))
        .collect()
}

/// The count, the forgotten ones taken out now.
fn swept(streams: &Streams, now: Instant) -> usize {
    streams.lock().swept = None;
    streams.count(now)
}

#[test]
fn only_streams_of_draining_tenants_in_the_cell_that_they_leave_are_told() {
    let (streams, now) = (Streams::default(), Instant::now());
    for (tenant, cell, id) in [
        ("acme", "cell-a", "1"),
        ("acme", "cell-a", "2"),
        ("acme", "cell-b", "3"),
        ("globex", "cell-a", "4"),
        ("nobody", "cell-a", "5"),
    ] {
        assert!(streams.note(sighting(tenant, cell, id, true), now));
    }
    assert_eq!(draining(&streams, now), [("acme in cell-a".to_owned(), 2)]);
    assert_eq!(swept(&streams, now), 5);
}

#[test]
fn a_stream_counts_once_until_it_ends_however_often_it_is_told() {
    let (streams, now) = (Streams::default(), Instant::now());
    for _ in 0..3 {
        streams.note(sighting("acme", "cell-a", "1", true), now);
    }
    streams.note(sighting("acme", "cell-a", "never seen", false), now);
    assert_eq!(swept(&streams, now), 1);
    for _ in 0..2 {
        streams.note(sighting("acme", "cell-a", "1", false), now);
        assert_eq!(swept(&streams, now), 0);
    }
    assert!(draining(&streams, now).is_empty());
}

#[test]
fn a_stream_that_nobody_tells_of_any_more_is_over() {
    let (streams, began) = (Streams::default(), Instant::now());
    streams.note(sighting("acme", "cell-a", "1", true), began);
    let later = began + FORGOTTEN / 2;
    streams.note(sighting("acme", "cell-a", "2", true), later);
    let then = began + FORGOTTEN;
    assert_eq!(draining(&streams, then), [("acme in cell-a".to_owned(), 1)]);
    assert_eq!(swept(&streams, then), 1);
    assert_eq!(swept(&streams, later + FORGOTTEN), 0);
}

#[test]
fn a_full_book_refuses_new_streams_keeps_those_it_has_and_says_so() {
    let (streams, now) = (Streams::default(), Instant::now());
    let places = MAX_STREAMS / MAX_IN_PLACE;
    for place in 0..places {
        for id in 0..MAX_IN_PLACE {
            let (tenant, id) = (format!("tenant-{place}"), id.to_string());
            assert!(streams.note(sighting(&tenant, "cell-a", &id, true), now));
        }
    }
    assert!(streams.of_draining(&snapshot(), now).1);
    assert!(!streams.note(sighting("acme", "cell-a", "new", true), now));
    assert!(!streams.of_draining(&snapshot(), now).1, "acme's is missing");
    assert!(streams.note(sighting("tenant-1", "cell-a", "7", true), now));
    assert!(streams.note(sighting("tenant-1", "cell-a", "8", false), now));
    assert!(streams.note(sighting("acme", "cell-a", "new", true), now));
    assert_eq!(swept(&streams, now), MAX_STREAMS);
    assert!(streams.of_draining(&snapshot(), now + FORGOTTEN).1);
}

#[test]
fn one_tenant_fills_its_own_place_only() {
    let (streams, now) = (Streams::default(), Instant::now());
    for id in 0..MAX_IN_PLACE {
        assert!(streams.note(sighting("acme", "cell-a", &id.to_string(), true), now));
    }
    assert!(!streams.note(sighting("acme", "cell-a", "one more", true), now));
    assert!(streams.note(sighting("globex", "cell-a", "1", true), now));
    let all = [("acme in cell-a".to_owned(), MAX_IN_PLACE as u64)];
    assert_eq!(draining(&streams, now), all);
}

#[test]
fn a_list_has_a_bound() {
    let now = Instant::now();
    let streams = Streams::default();
    let mut changes = Vec::new();
    for number in 0..=MAX_OPEN {
        let tenant: TenantId = format!("tenant-{number}").parse().unwrap();
        streams.note(sighting(tenant.as_str(), "cell-a", "1", true), now);
        changes.push(RecordChange::Put(Record::Tenant(active(&tenant))));
        changes.push(RecordChange::Put(Record::Placement(Placement {
            phase: Phase::Draining,
            target: Some("cell-b".parse().unwrap()),
            ..Placement::first(tenant, "cell-a".parse().unwrap())
        })));
    }
    let snapshot = Snapshot::empty().with(snapshot().position(), &changes);
    let (open, complete) = streams.of_draining(&snapshot, now);
    assert_eq!((open.len(), complete), (MAX_OPEN, false));
}
