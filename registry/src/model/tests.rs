use super::*;

fn cell() -> Cell {
    Cell {
        id: "cell-a".parse().unwrap(),
        state: CellState::Active,
        tier: "std".into(),
        region: "local".into(),
        endpoints: vec!["127.0.0.1:8101".into()],
        tls: false,
        weight: 100,
        capacity: None,
        runtime: None,
        health_path: None,
    }
}

#[test]
fn endpoints_are_host_and_port() {
    for good in [
        "127.0.0.1:8101",
        "cell-a.internal:443",
        "[::1]:80",
        "a:1",
        "x.y:65535",
    ] {
        let cell = Cell {
            endpoints: vec![good.into()],
            ..cell()
        };
        assert_eq!(Record::Cell(cell).check(), Ok(()), "{good}");
    }
    for bad in [
        "",
        "a",
        "a:",
        ":80",
        "a:0",
        "a:65536",
        "a b:80",
        "http://a:80",
        "::1:80",
        "[::1:80",
        "a:80\n",
        "[x]:80",
    ] {
        let cell = Cell {
            endpoints: vec![bad.into()],
            ..cell()
        };
        assert!(Record::Cell(cell).check().is_err(), "{bad:?}");
    }
    assert!(
        Record::Cell(Cell {
            endpoints: vec![],
            ..cell()
        })
        .check()
        .is_err()
    );
}

#[test]
fn a_runtime_is_a_url() {
    let with = |runtime: &str| {
        Record::Cell(Cell {
            runtime: Some(runtime.into()),
            ..cell()
        })
        .check()
    };
    assert_eq!(with("http://127.0.0.1:8201"), Ok(()));
    assert_eq!(with("https://runtime.cell-a.internal"), Ok(()));
    for bad in ["", "127.0.0.1:8201", "ftp://x", "http://a b", "http://x\n"] {
        assert!(with(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_health_path_is_a_path_and_older_cells_have_none() {
    let with = |path: &str| {
        Record::Cell(Cell {
            health_path: Some(path.into()),
            ..cell()
        })
        .check()
    };
    assert_eq!(with("/"), Ok(()));
    assert_eq!(with("/healthz?deep=1"), Ok(()));
    for bad in [
        "",
        "healthz",
        "http://x/healthz",
        "/a b",
        "/a\r\nx: y",
        "/a#b",
        "/ä",
    ] {
        assert!(with(bad).is_err(), "{bad:?}");
    }
    let older = serde_json::to_value(cell()).unwrap();
    assert!(
        older.get("health_path").is_none(),
        "a program that does not know the word can still read the cell"
    );
    assert_eq!(serde_json::from_value::<Cell>(older).unwrap(), cell());
}

#[test]
fn a_placement_says_one_thing() {
    let settled = Placement {
        tenant: "acme".parse().unwrap(),
        cell: "cell-a".parse().unwrap(),
        epoch: 1,
        phase: Phase::Settled,
        target: None,
        previous: None,
        flipped_at: None,
        mover: Mover::Operator,
        drain: crate::model::Drain::Refuse,
    };
    let b = || Some("cell-b".parse().unwrap());
    let check = |placement: Placement| Record::Placement(placement).check();
    assert_eq!(check(settled.clone()), Ok(()));
    assert_eq!(
        check(Placement {
            phase: Phase::Draining,
            target: b(),
            ..settled.clone()
        }),
        Ok(())
    );
    assert_eq!(
        check(Placement {
            previous: b(),
            flipped_at: Some(1),
            ..settled.clone()
        }),
        Ok(())
    );
    for bad in [
        Placement {
            epoch: 0,
            ..settled.clone()
        },
        Placement {
            phase: Phase::Planned,
            ..settled.clone()
        },
        Placement {
            phase: Phase::Draining,
            target: Some(settled.cell.clone()),
            ..settled.clone()
        },
        Placement {
            target: b(),
            ..settled.clone()
        },
        Placement {
            phase: Phase::Flipped,
            ..settled.clone()
        },
        Placement {
            previous: b(),
            ..settled.clone()
        },
        Placement {
            flipped_at: Some(1),
            ..settled.clone()
        },
    ] {
        assert!(check(bad.clone()).is_err(), "{bad:?}");
    }
}

#[test]
fn json_is_one_form_with_the_kind_in_front() {
    let tenant = Record::Tenant(Tenant {
        id: "acme".parse().unwrap(),
        state: TenantState::Active,
        name: "Acme".into(),
        requests_per_second: None,
        tier: None,
        region: None,
        apart: None,
        drain: crate::model::Drain::Refuse,
    });
    let json = serde_json::to_string(&tenant).unwrap();
    assert_eq!(
        json,
        r#"{"record":"tenant","id":"acme","state":"active","name":"Acme","requests_per_second":null}"#
    );
    assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), tenant);
    let link = r#"{"record":"link","provider":"entra","kind":"tid","external_id":"x","tenant":"acme","state":"revoked"}"#;
    let record: Record = serde_json::from_str(link).unwrap();
    assert_eq!(serde_json::to_string(&record).unwrap(), link);
    assert!(serde_json::from_str::<Record>(&link.replace("revoked", "gone")).is_err());
    assert!(serde_json::from_str::<Record>(&link.replace("acme", "Acme Inc")).is_err());
}
