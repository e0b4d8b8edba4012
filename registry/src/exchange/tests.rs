use super::*;
use crate::model::{Drain, Phase, Placement, Tenant, TenantState};

fn errors(file: &[u8], format: Format) -> Vec<(u64, String)> {
    match read(file, format) {
        Err(Unusable::Rows { errors, count }) => {
            assert!(count >= errors.len() as u64);
            errors
                .into_iter()
                .map(|error| (error.row, error.problem))
                .collect()
        }
        Err(other) => panic!("{other}"),
        Ok(import) => panic!("{import:?}"),
    }
}

const ACME: &str = r#"{"record":"tenant","id":"acme","state":"active","name":"Acme"}"#;
const HOST: &str = r#"{"record":"host","host":"a.example","tenant":"acme"}"#;

#[test]
fn lines_become_commands_in_an_order_that_works() {
    let import = read(format!("{HOST}\n\n{ACME}").as_bytes(), Format::Jsonl).unwrap();
    let keys: Vec<_> = import.commands.iter().filter_map(subject).collect();
    assert_eq!(keys, [Key::Tenant("acme".into()), Key::Host("a.example".into())]);
    assert_eq!(import.rows, [3, 1]);
}

#[test]
fn every_wrong_row_is_told_with_its_number() {
    let file = format!(
        "{ACME}\n{{\"record\":\"tenant\"\n{{\"record\":\"planet\"}}\n{HOST}\n{}\n{}\n",
        ACME.replace("Acme", "Other"),
        ACME.replace("acme", "UPPER"),
    );
    let found = errors(file.as_bytes(), Format::Jsonl);
    let rows: Vec<u64> = found.iter().map(|(row, _)| *row).collect();
    assert_eq!(rows, [2, 3, 5, 6]);
    assert!(found[1].1.contains("planet"), "{found:?}");
    assert_eq!(
        found[2].1,
        "tenant acme is in row 1 already; leave one of them out"
    );
    // The same, spelled otherwise.
    let twice = format!("{ACME}\n{HOST}\n{}", HOST.replace("a.example", "A.example"));
    assert!(read(twice.as_bytes(), Format::Jsonl).is_err());
}

#[test]
fn errors_are_bounded_and_counted() {
    let file = "{}\n".repeat(250);
    match read(file.as_bytes(), Format::Jsonl) {
        Err(Unusable::Rows { errors, count }) => assert_eq!((errors.len(), count), (MOST_ERRORS, 250)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_that_is_something_else_is_no_endless_row() {
    let file = vec![b'x'; 1 << 20];
    assert!(matches!(
        read(file.as_slice(), Format::Jsonl),
        Err(Unusable::File(_))
    ));
}

#[test]
fn a_tenants_row_may_name_its_cell() {
    let file = "\u{feff}id,name,state,cell\nacme,\"Acme, \"\"Inc\"\"\",active,cell-a\nhooli,H,pending,\n";
    let import = read(file.as_bytes(), Format::Csv(Kind::Tenant)).unwrap();
    let tenant = |id: &str, state, name: &str| {
        Record::Tenant(Tenant {
            id: id.parse().unwrap(),
            state,
            name: name.into(),
            requests_per_second: None,
            tier: None,
            region: None,
            apart: None,
            drain: Drain::Refuse,
        })
    };
    let placed = Placement::first("acme".parse().unwrap(), "cell-a".parse().unwrap());
    let expected = [
        tenant("acme", TenantState::Active, "Acme, \"Inc\""),
        tenant("hooli", TenantState::Pending, "H"),
        Record::Placement(placed),
    ];
    assert_eq!(import.commands, expected.map(|record| Command::Import { record }));
    assert_eq!(import.rows, [2, 3, 2]);
}

#[test]
fn a_row_after_one_of_several_lines_has_its_own_number() {
    let file = "id,name,state\nacme,\"one\ntwo\",active\nhooli,H,odd\n";
    let found = errors(file.as_bytes(), Format::Csv(Kind::Tenant));
    let rows: Vec<u64> = found.iter().map(|(row, _)| *row).collect();
    assert_eq!(rows, [2, 4], "{found:?}");
}

#[test]
fn wrong_fields_are_told_by_row() {
    let file = "id,state,tier,region,endpoints,tls,weight,capacity,runtime\n\
        cell-a,active,std,local,127.0.0.1:1 127.0.0.1:2,false,100,,\n\
        cell-b,active,std,local,127.0.0.1:1,maybe,100,,\n\
        cell-c,active,std,local,127.0.0.1:1,true,many,,\n\
        cell-d,awake,std,local,127.0.0.1:1,true,1,,\n\
        cell-e,active,std,local,,true,1,,\n\
        cell-f,active\n";
    let found = errors(file.as_bytes(), Format::Csv(Kind::Cell));
    let rows: Vec<u64> = found.iter().map(|(row, _)| *row).collect();
    assert_eq!(rows, [3, 4, 5, 6, 7], "{found:?}");
    assert!(
        found[0].1.contains("maybe") && found[1].1.contains("many"),
        "{found:?}"
    );
    assert!(
        found[2].1.contains("awake") && found[4].1.contains("2 fields"),
        "{found:?}"
    );
}

#[test]
fn a_header_that_nobody_knows_is_refused_with_the_columns_that_are() {
    for header in ["id,state,nmae", "id,id,state"] {
        match read(header.as_bytes(), Format::Csv(Kind::Tenant)) {
            Err(Unusable::File(problem)) => {
                assert!(problem.contains("nmae") && problem.contains("name") || problem.contains("twice"));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_row_that_is_no_text_spoils_itself_only() {
    let file = b"id,state,name\nacme,active,\xff\nhooli,odd,H\n";
    let found = errors(file, Format::Csv(Kind::Tenant));
    assert_eq!(found.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [2, 3]);
    assert!(found[0].1.contains("UTF-8"), "{found:?}");
}

#[test]
fn how_a_tenant_and_its_move_drain_goes_into_a_file_and_comes_back() {
    let tenant = |id: &str, drain| {
        Record::Tenant(Tenant {
            id: id.parse().unwrap(),
            state: TenantState::Active,
            name: "x".into(),
            requests_per_second: None,
            tier: None,
            region: None,
            apart: None,
            drain,
        })
    };
    let draining = |drain| {
        Record::Placement(Placement {
            phase: Phase::Draining,
            target: Some("cell-b".parse().unwrap()),
            drain,
            ..Placement::first("acme".parse().unwrap(), "cell-a".parse().unwrap())
        })
    };
    for drain in Drain::ALL {
        for (kind, record) in [
            (Kind::Tenant, tenant("acme", drain)),
            (Kind::Placement, draining(drain)),
        ] {
            let mut csv = Vec::new();
            let mut writer = CsvWriter::new(kind, &mut csv, true).unwrap();
            writer.write(&record, None).unwrap();
            writer.finish().unwrap();
            let lines = serde_json::to_vec(&record).unwrap();
            for (file, format) in [(csv, Format::Csv(kind)), (lines, Format::Jsonl)] {
                let import = read(file.as_slice(), format).unwrap();
                let expected = Command::Import {
                    record: record.clone(),
                };
                assert_eq!(import.commands, [expected], "{}", String::from_utf8_lossy(&file));
            }
        }
    }
    // Files of before, and files by people.
    let file = "id,name,state,drain\nacme,x,active,\nhooli,x,active,read-only\n";
    let import = read(file.as_bytes(), Format::Csv(Kind::Tenant)).unwrap();
    let expected = [tenant("acme", Drain::Refuse), tenant("hooli", Drain::ReadOnly)];
    assert_eq!(import.commands, expected.map(|record| Command::Import { record }));
    let found = errors(
        b"id,name,state,drain\nacme,x,active,slowly\n",
        Format::Csv(Kind::Tenant),
    );
    assert!(found[0].1.contains("read_only"), "{found:?}");
}
