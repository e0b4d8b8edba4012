mod images;

use std::collections::BTreeMap;

use contract::LinkKind;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::key::Kind;
use crate::model::{Cell, CellState, Drain, Host, Link, Mover, Phase, Revocation, Tenant};

fn at(number: u64) -> Position {
    Position {
        version: Version { epoch: 1, number },
        lineage: 7,
    }
}

fn tenant_name(number: u8) -> String {
    format!("tenant-{number}")
}

fn cell_name(number: u8) -> String {
    format!("cell-{number}")
}

/// External ids of every form.
fn external_id(number: u8) -> String {
    match number % 4 {
        0 => format!("72f988bf-86f1-41af-91ab-2d7cd011d{number:03x}"),
        1 => format!("org_{number}"),
        2 => format!("{number:064x}"),
        _ => format!("Ünïcode {number}"),
    }
}

fn cell(number: u8, state: CellState) -> Record {
    Record::Cell(Cell {
        id: cell_name(number).parse().unwrap(),
        state,
        tier: "std".into(),
        region: "local".into(),
        endpoints: vec!["127.0.0.1:1".into()],
        tls: false,
        weight: 1,
        capacity: None,
        runtime: None,
        health_path: None,
    })
}

fn record() -> impl Strategy<Value = Record> {
    let cell = (0..4u8, 0..4u8).prop_map(|(id, state)| {
        let states = [
            CellState::Provisioning,
            CellState::Active,
            CellState::Draining,
            CellState::Retired,
        ];
        cell(id, states[usize::from(state)])
    });
    let tenant = (0..12u8, 0..3u8, proptest::option::of(1..9u32)).prop_map(|(id, state, rate)| {
        let states = [TenantState::Pending, TenantState::Active, TenantState::Suspended];
        Record::Tenant(Tenant {
            id: tenant_name(id).parse().unwrap(),
            state: states[usize::from(state)],
            name: "x".into(),
            requests_per_second: rate,
            tier: None,
            region: None,
            apart: None,
            drain: Drain::Refuse,
        })
    });
    let link =
        (0..3u8, 0..6usize, 0..8u8, 0..12u8, 0..3u8).prop_map(|(provider, kind, id, tenant, state)| {
            let states = [LinkState::Pending, LinkState::Active, LinkState::Revoked];
            Record::Link(Link {
                provider: format!("idp-{provider}").parse().unwrap(),
                kind: LinkKind::ALL[kind],
                external_id: external_id(id),
                tenant: tenant_name(tenant).parse().unwrap(),
                state: states[usize::from(state)],
            })
        });
    let epochs = prop_oneof![1..100u64, Just(u64::from(u32::MAX) + 5), Just(i64::MAX as u64)];
    let placement = (0..12u8, 0..4u8, epochs, 0..4u8, any::<[bool; 2]>()).prop_map(
        |(tenant, cell, epoch, phase, [moved, reads])| {
            let phases = [Phase::Settled, Phase::Planned, Phase::Draining, Phase::Flipped];
            let phase = phases[usize::from(phase)];
            let other = |offset: u8| Some(cell_name((cell + offset) % 5).parse().unwrap());
            let moved = moved || phase == Phase::Flipped;
            Record::Placement(Placement {
                tenant: tenant_name(tenant).parse().unwrap(),
                cell: cell_name(cell).parse().unwrap(),
                epoch,
                phase,
                target: if matches!(phase, Phase::Planned | Phase::Draining) {
                    other(1)
                } else {
                    None
                },
                previous: if moved { other(2) } else { None },
                flipped_at: moved.then_some(epoch as i64 / 2),
                mover: Mover::Operator,
                drain: if reads && phase != Phase::Settled {
                    Drain::ReadOnly
                } else {
                    Drain::Refuse
                },
            })
        },
    );
    let host = (0..6u8, 0..12u8).prop_map(|(host, tenant)| {
        Record::Host(Host {
            host: format!("h{host}.example"),
            tenant: tenant_name(tenant).parse().unwrap(),
        })
    });
    let revocation = (0..3u8, 0..3u8, 0..4u8, 0..50i64).prop_map(|(provider, what, who, not_before)| {
        Record::Revocation(Revocation {
            provider: format!("idp-{provider}").parse().unwrap(),
            subject: (what == 1).then(|| format!("s{who}")),
            token_id: (what == 2).then(|| format!("t{who}")),
            not_before,
        })
    });
    prop_oneof![1 => cell, 3 => tenant, 3 => link, 3 => placement, 2 => host, 1 => revocation]
}

/// What must be seen, the obvious way.
fn check(snapshot: &Snapshot, truth: &BTreeMap<Key, Record>) -> Result<(), TestCaseError> {
    for number in 0..13 {
        let id = tenant_name(number);
        let placement = match truth.get(&Key::Placement(id.clone())) {
            Some(Record::Placement(placement)) => Some(PlacementView::of(placement)),
            _ => None,
        };
        let expected = match truth.get(&Key::Tenant(id.clone())) {
            Some(Record::Tenant(tenant)) => Some(TenantView {
                id: &id,
                state: tenant.state,
                placement,
                requests_per_second: tenant.requests_per_second,
            }),
            _ => None,
        };
        prop_assert_eq!(snapshot.tenant(&id), expected);
    }
    for provider in ["idp-0", "idp-1", "idp-2", "idp-3"] {
        for kind in LinkKind::ALL {
            for id in (0..9).map(external_id) {
                let expected = match truth.get(&Key::link(&provider.parse().unwrap(), kind, &id)) {
                    Some(Record::Link(link)) => Some((link.tenant.to_string(), link.state)),
                    _ => None,
                };
                let found = snapshot
                    .link(provider, kind, &id)
                    .map(|link| (link.tenant.to_owned(), link.state));
                prop_assert_eq!(found, expected);
            }
        }
        for who in 0..5 {
            for issued_at in [0, 10, 49, 50] {
                let (subject, token) = (format!("s{who}"), format!("t{who}"));
                let not_before = |subject: &str, token_id: &str| {
                    let (provider, subject, token_id) = (provider.into(), subject.into(), token_id.into());
                    match truth.get(&Key::Revocation {
                        provider,
                        subject,
                        token_id,
                    }) {
                        Some(Record::Revocation(revocation)) => revocation.not_before,
                        _ => i64::MIN,
                    }
                };
                let expected = issued_at < not_before("", "")
                    || issued_at < not_before(&subject, "")
                    || not_before("", &token) != i64::MIN;
                prop_assert_eq!(
                    snapshot.is_revoked(provider, &subject, Some(&token), issued_at),
                    expected
                );
            }
        }
    }
    for host in (0..7).map(|number| format!("h{number}.example")) {
        let expected = match truth.get(&Key::Host(host.clone())) {
            Some(Record::Host(host)) => Some(host.tenant.as_str()),
            _ => None,
        };
        prop_assert_eq!(snapshot.host(&host), expected);
    }
    let cells: Vec<_> = truth
        .values()
        .filter_map(|record| match record {
            Record::Cell(cell) => Some(cell),
            _ => None,
        })
        .collect();
    prop_assert_eq!(snapshot.cells().collect::<Vec<_>>(), cells);
    let of = |kind: Kind| truth.keys().filter(|key| key.kind() == kind).count() as u64;
    let counts = snapshot.counts();
    prop_assert_eq!(counts.tenants, of(Kind::Tenant));
    prop_assert_eq!(counts.placements, of(Kind::Placement));
    prop_assert_eq!(counts.links, of(Kind::Link));
    prop_assert_eq!(counts.hosts, of(Kind::Host));
    prop_assert_eq!(counts.revocations, of(Kind::Revocation));
    let dangling: Vec<String> = truth
        .values()
        .filter(|record| leads_nowhere(record, truth))
        .map(|record| record.key().to_string())
        .collect();
    let named: Vec<String> = snapshot
        .set_aside()
        .iter()
        .map(|aside| aside.record.clone())
        .collect();
    prop_assert_eq!(named, dangling);
    Ok(())
}

fn leads_nowhere(record: &Record, truth: &BTreeMap<Key, Record>) -> bool {
    let no_tenant = |tenant: &TenantId| !truth.contains_key(&Key::Tenant(tenant.to_string()));
    let no_cell = |cell: &CellId| !truth.contains_key(&Key::Cell(cell.to_string()));
    match record {
        Record::Link(link) => no_tenant(&link.tenant),
        Record::Host(host) => no_tenant(&host.tenant),
        Record::Placement(placement) => {
            no_tenant(&placement.tenant)
                || no_cell(&placement.cell)
                || placement.target.as_ref().is_some_and(no_cell)
        }
        _ => false,
    }
}

/// One change of each key.
fn changes() -> impl Strategy<Value = Vec<Record>> {
    proptest::collection::vec(record(), 0..60).prop_map(|records| {
        records
            .into_iter()
            .map(|record| (record.key(), record))
            .collect::<BTreeMap<_, _>>()
            .into_values()
            .collect()
    })
}

fn apply(mut snapshot: Snapshot, records: &[Record], batch: usize, compact: usize) -> Snapshot {
    for (number, batch) in records.chunks(batch).enumerate() {
        let puts: Vec<_> = batch.iter().cloned().map(RecordChange::Put).collect();
        snapshot = snapshot.with(at(number as u64 + 2), &puts);
        if number % 4 == compact {
            snapshot = snapshot.compacted().unwrap();
            assert_eq!(snapshot.delta_len(), 0);
        }
    }
    snapshot
}

proptest! {
    #[test]
    fn any_order_and_any_split_into_base_and_delta_look_the_same(
        (records, shuffled) in changes().prop_flat_map(|records| (Just(records.clone()), Just(records).prop_shuffle())),
        split: Index,
        batch in 1..20usize,
        compact in 0..8usize,
        rows in 1..6u8,
    ) {
        let truth: BTreeMap<_, _> = records.iter().map(|record| (record.key(), record.clone())).collect();
        let (base, delta) = shuffled.split_at(split.index(shuffled.len() + 1));
        let mut builder = Builder::in_shards(rows, 8);
        for record in base {
            builder.put(record.clone()).unwrap();
        }
        let snapshot = apply(builder.finish(at(1)).unwrap(), delta, batch, compact);
        check(&snapshot, &truth)?;
        check(&snapshot.compacted().unwrap(), &truth)?;
    }

    #[test]
    fn later_changes_replace_earlier_ones_wherever_those_are(
        first in changes(),
        second in changes(),
        removed in proptest::collection::vec(any::<Index>(), 0..10),
        compact: bool,
    ) {
        let mut truth: BTreeMap<_, _> = first.iter().chain(&second).map(|record| (record.key(), record.clone())).collect();
        let mut builder = Builder::default();
        for record in first {
            builder.put(record).unwrap();
        }
        let mut snapshot = apply(builder.finish(at(1)).unwrap(), &second, 7, 9);
        // Tenants and cells are never removed by a command: see the module's words on who is found out when.
        let keys: Vec<_> = truth.keys().filter(|key| !matches!(key.kind(), Kind::Tenant | Kind::Cell)).cloned().collect();
        if !keys.is_empty() {
            let gone: Vec<_> = removed.iter().map(|index| keys[index.index(keys.len())].clone()).collect();
            truth.retain(|key, _| !gone.contains(key));
            let gone: Vec<_> = gone.into_iter().map(RecordChange::Remove).collect();
            snapshot = snapshot.with(at(99), &gone);
        }
        if compact {
            snapshot = snapshot.compacted().unwrap();
        }
        check(&snapshot, &truth)?;
    }
}

#[test]
fn an_empty_snapshot_knows_nothing_and_says_so() {
    let snapshot = Snapshot::empty();
    assert!(!snapshot.is_loaded());
    assert_eq!(snapshot.version(), Version::default());
    assert!(snapshot.tenant("acme").is_none() && snapshot.host("a").is_none());
    assert!(snapshot.link("entra", LinkKind::Tid, "x").is_none());
    assert_eq!(snapshot.counts(), Counts::default());
}

#[test]
fn a_row_that_cannot_be_read_is_gone_and_named_until_it_is_repaired() {
    let tenant = |state| {
        Record::Tenant(Tenant {
            id: "acme".parse().unwrap(),
            state,
            name: "A".into(),
            requests_per_second: None,
            tier: None,
            region: None,
            apart: None,
            drain: Drain::Refuse,
        })
    };
    let mut builder = Builder::default();
    builder.put(tenant(TenantState::Active)).unwrap();
    builder.set_aside(Key::Tenant("B AD".into()), "wrong".into());
    let snapshot = builder.finish(at(1)).unwrap();
    let names = |snapshot: &Snapshot| {
        snapshot
            .set_aside()
            .iter()
            .map(|aside| aside.record.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&snapshot), ["tenant B AD"]);
    let broken = RecordChange::SetAside {
        key: Key::Tenant("acme".into()),
        reason: "unknown state".into(),
    };
    let snapshot = snapshot.with(at(2), &[broken]);
    assert_eq!(names(&snapshot), ["tenant B AD", "tenant acme"]);
    assert_eq!(snapshot.set_aside()[1].reason, "unknown state");
    assert!(snapshot.tenant("acme").is_none());
    let snapshot = snapshot.compacted().unwrap();
    assert_eq!(names(&snapshot), ["tenant B AD", "tenant acme"]);
    let repaired = RecordChange::Put(tenant(TenantState::Suspended));
    let snapshot = snapshot.with(
        at(3),
        &[repaired, RecordChange::Remove(Key::Tenant("B AD".into()))],
    );
    assert!(names(&snapshot).is_empty());
    assert_eq!(snapshot.tenant("acme").unwrap().state, TenantState::Suspended);
}

#[test]
fn what_names_a_row_that_cannot_be_read_is_not_named_itself() {
    let placement = Record::Placement(Placement {
        tenant: "acme".parse().unwrap(),
        cell: cell_name(1).parse().unwrap(),
        epoch: 1,
        phase: Phase::Settled,
        target: None,
        previous: None,
        flipped_at: None,
        mover: Mover::Operator,
        drain: Drain::Refuse,
    });
    let tenant = Tenant {
        id: "acme".parse().unwrap(),
        state: TenantState::Active,
        name: "A".into(),
        requests_per_second: None,
        tier: None,
        region: None,
        apart: None,
        drain: Drain::Refuse,
    };
    let names = |snapshot: &Snapshot| {
        snapshot
            .set_aside()
            .iter()
            .map(|aside| aside.record.clone())
            .collect::<Vec<_>>()
    };
    let records = [Record::Tenant(tenant), placement].map(RecordChange::Put);
    let snapshot = Snapshot::empty().with(at(1), &records);
    assert_eq!(names(&snapshot), ["placement of acme"]);
    assert_eq!(snapshot.set_aside()[0].reason, "its cell cell-1 does not exist");
    let bad_cell = RecordChange::SetAside {
        key: Key::Cell(cell_name(1)),
        reason: "bad".into(),
    };
    let snapshot = snapshot.with(at(2), &[bad_cell]);
    assert_eq!(names(&snapshot), ["cell cell-1"]);
    assert_eq!(names(&snapshot.compacted().unwrap()), ["cell cell-1"]);
    let snapshot = snapshot.with(at(3), &[RecordChange::Put(cell(1, CellState::Active))]);
    assert!(names(&snapshot).is_empty());
}

/// A million tenants with one link each, mixed as in the field: 50 % Entra, 30 % Auth0, 20 % Access.
#[test]
fn a_million_tenants_take_at_most_100_bytes_each() {
    const TENANTS: u32 = 1_000_000;
    let mut builder = Builder::default();
    for number in 0..200 {
        builder.put(cell(number, CellState::Active)).unwrap();
    }
    for number in 0..TENANTS {
        for record in fleet(number) {
            builder.put(record).unwrap();
        }
    }
    let snapshot = builder.finish(at(1)).unwrap();
    let bytes = snapshot.base_size() as f64 / f64::from(TENANTS);
    assert!(bytes <= 100.0, "{bytes} bytes a tenant");
    // The same from a file, as at a start. The figure is printed, not asserted: the machine is shared.
    let directory = tempfile::tempdir().unwrap();
    let began = std::time::Instant::now();
    let path = directory.path().join("base");
    files::replace(&path, |file| snapshot.write_base(file)).unwrap();
    eprintln!("{bytes:.1} bytes a tenant, written in {:?}", began.elapsed());
    let mut took = Vec::new();
    let mut read = crate::disk::read(directory.path());
    for _ in 0..5 {
        let began = std::time::Instant::now();
        read = crate::disk::read(directory.path());
        took.push(began.elapsed().as_millis());
    }
    eprintln!("read from disk in {took:?} ms");
    let snapshot = read.snapshot.unwrap();
    for number in (0..TENANTS).step_by(9_973) {
        let [_, Record::Link(link), Record::Placement(placement)] = fleet(number) else {
            unreachable!()
        };
        let found = snapshot
            .link(link.provider.as_str(), link.kind, &link.external_id)
            .unwrap();
        assert_eq!(found.tenant, link.tenant.as_str());
        assert_eq!(
            snapshot.tenant(found.tenant).unwrap().placement,
            Some(PlacementView::of(&placement))
        );
    }
}

fn fleet(number: u32) -> [Record; 3] {
    let tenant: TenantId = format!("customer-{number:07}").parse().unwrap();
    let hash = hash::hash(&number.to_le_bytes());
    let (provider, kind, external_id) = match number % 10 {
        0..5 => {
            let tail = hash & 0xffff_ffff_ffff;
            (
                "entra",
                LinkKind::Tid,
                format!("{number:08x}-86f1-41af-91ab-{tail:012x}"),
            )
        }
        5..8 => ("auth0", LinkKind::OrgId, format!("org_{hash:016x}")),
        _ => ("access", LinkKind::Aud, format!("{hash:064x}")),
    };
    [
        Record::Tenant(Tenant {
            id: tenant.clone(),
            state: TenantState::Active,
            name: String::new(),
            requests_per_second: None,
            tier: None,
            region: None,
            apart: None,
            drain: Drain::Refuse,
        }),
        Record::Link(Link {
            provider: provider.parse().unwrap(),
            kind,
            external_id,
            tenant: tenant.clone(),
            state: LinkState::Active,
        }),
        Record::Placement(Placement {
            tenant,
            cell: cell_name(u8::try_from(number % 200).unwrap()).parse().unwrap(),
            epoch: 1,
            phase: Phase::Settled,
            target: None,
            previous: None,
            flipped_at: None,
            mover: Mover::Operator,
            drain: Drain::Refuse,
        }),
    ]
}
