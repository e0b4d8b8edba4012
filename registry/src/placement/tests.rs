use proptest::prelude::*;

use super::*;
use crate::model::TenantState;

fn cell(name: &str) -> Cell {
    Cell {
        id: name.parse().unwrap(),
        state: CellState::Active,
        tier: "std".into(),
        region: "eu".into(),
        endpoints: vec!["127.0.0.1:1".into()],
        tls: false,
        weight: 100,
        capacity: None,
        runtime: None,
        health_path: None,
    }
}

fn tenant(name: &str) -> Tenant {
    Tenant {
        id: name.parse().unwrap(),
        state: TenantState::Active,
        name: String::new(),
        requests_per_second: None,
        tier: None,
        region: None,
        apart: None,
        drain: crate::model::Drain::Refuse,
    }
}

fn chosen(tenant: &Tenant, cells: &Cells) -> Result<String, NoCell> {
    let request = Request { tenant, leaves: None };
    choose(&request, cells).map(|choice| choice.cell.to_string())
}

#[test]
fn wishes_are_met_or_nobody_is_chosen() {
    let pro = Cell {
        tier: "pro".into(),
        ..cell("cell-pro")
    };
    let us = Cell {
        region: "us".into(),
        ..cell("cell-us")
    };
    let cells = Cells::of([cell("cell-std"), pro, us]);
    let wants = |tier: &str, region: &str| Tenant {
        tier: Some(tier.into()),
        region: Some(region.into()),
        ..tenant("acme")
    };
    assert_eq!(chosen(&wants("pro", "eu"), &cells).unwrap(), "cell-pro");
    assert_eq!(chosen(&wants("std", "us"), &cells).unwrap(), "cell-us");
    assert_eq!(chosen(&wants("std", "eu"), &cells).unwrap(), "cell-std");
    let refused = chosen(&wants("pro", "us"), &cells).unwrap_err().to_string();
    assert_eq!(
        refused,
        "no cell can take tenant acme: cell-pro is in region \"eu\", cell-std is of tier \"std\", \
         cell-us is of tier \"std\""
    );
    assert!(
        chosen(&tenant("acme"), &Cells::default())
            .unwrap_err()
            .to_string()
            .contains("there is no cell")
    );
}

#[test]
fn only_active_cells_with_weight_and_room_are_chosen() {
    let cells = |change: fn(&mut Cell)| {
        let mut other = cell("cell-b");
        change(&mut other);
        Cells::of([cell("cell-a"), other]).holding(&[("cell-b".parse().unwrap(), 1)].into())
    };
    // Somebody whom cell-b wins as long as it may.
    let wins = |cells: &Cells| {
        let mut names = (0..64).map(|number| tenant(&format!("tenant-{number}")));
        names.any(|tenant| chosen(&tenant, cells).unwrap() == "cell-b")
    };
    assert!(wins(&cells(|_| {})));
    assert!(wins(&cells(|cell| cell.capacity = Some(2))));
    assert!(!wins(&cells(|cell| cell.capacity = Some(1))));
    assert!(!wins(&cells(|cell| cell.weight = 0)));
    for state in [CellState::Provisioning, CellState::Draining, CellState::Retired] {
        let mut there = cells(|_| {});
        let other: CellId = "cell-b".parse().unwrap();
        there.seats.get_mut(&other).unwrap().cell.state = state;
        assert!(!wins(&there));
    }
    let there = cells(|_| {});
    let acme = tenant("acme");
    let leaves: CellId = chosen(&acme, &there).unwrap().parse().unwrap();
    let request = Request {
        tenant: &acme,
        leaves: Some(&leaves),
    };
    assert_ne!(choose(&request, &there).unwrap().cell, leaves);
}

#[test]
fn members_of_a_group_do_not_share_a_cell() {
    let mut cells = Cells::of([cell("cell-a"), cell("cell-b")]);
    let member = |name: &str| Tenant {
        apart: Some("bank".into()),
        drain: crate::model::Drain::Refuse,
        ..tenant(name)
    };
    let mut used = BTreeSet::new();
    for name in ["one", "two"] {
        let choice = chosen(&member(name), &cells).unwrap();
        cells.take(&choice.parse().unwrap(), &member(name));
        assert!(used.insert(choice), "{name}");
    }
    let refused = chosen(&member("three"), &cells).unwrap_err().to_string();
    assert!(refused.contains("of the same group"), "{refused}");
    assert!(chosen(&tenant("stranger"), &cells).is_ok());
    // Who leaves makes room for another one.
    let home: CellId = used.first().unwrap().parse().unwrap();
    cells.leave(&home, &member("one"));
    cells.leave(&home, &member("two"));
    assert_eq!(chosen(&member("three"), &cells).unwrap(), home.as_str());
}

#[test]
fn weights_are_shares() {
    let heavy = Cell {
        weight: 300,
        ..cell("cell-b")
    };
    let cells = Cells::of([cell("cell-a"), heavy]);
    let count = (0..4_000)
        .filter(|number| chosen(&tenant(&format!("tenant-{number}")), &cells).unwrap() == "cell-b")
        .count();
    assert!((2_850..3_150).contains(&count), "{count} of 4000, not about 3000");
}

proptest! {
    #[test]
    fn a_new_cell_takes_tenants_for_itself_and_moves_nobody_between_others(
        name in "[a-z][a-z0-9]{1,10}", weights in proptest::collection::vec(1..500u32, 2..6), new in 1..500u32
    ) {
        let all: Vec<Cell> = weights
            .iter()
            .enumerate()
            .map(|(number, weight)| Cell { weight: *weight, ..cell(&format!("cell-{number}")) })
            .collect();
        let before = chosen(&tenant(&name), &Cells::of(all.clone())).unwrap();
        let added = Cell { weight: new, ..cell("cell-new") };
        let after = chosen(&tenant(&name), &Cells::of(all.into_iter().chain([added]))).unwrap();
        prop_assert!(after == before || after == "cell-new");
    }
}

#[test]
fn a_plan_moves_those_who_cannot_stay_and_nobody_else() {
    let pro = Cell {
        tier: "pro".into(),
        ..cell("cell-a")
    };
    let small = Cell {
        capacity: Some(1),
        ..cell("cell-b")
    };
    let wants = |name: &str, tier: Option<&str>| Tenant {
        tier: tier.map(str::to_owned),
        ..tenant(name)
    };
    let tenants = [
        wants("one", Some("std")),
        wants("two", None),
        wants("three", Some("std")),
    ];
    let placements: Vec<Placement> = tenants
        .iter()
        .map(|tenant| Placement::first(tenant.id.clone(), "cell-a".parse().unwrap()))
        .collect();
    let tenants = tenants.map(|tenant| (tenant.id.clone(), tenant)).into();
    // Cell a becomes a pro cell: who wants std must leave, and cell b takes one of them only.
    let plan = plan(Cells::of([pro, small]), &tenants, &placements);
    assert_eq!(plan.stay, 1);
    let found: Vec<_> = plan
        .moves
        .iter()
        .map(|moved| (moved.tenant.as_str(), moved.to.as_ref().map(CellId::as_str)))
        .collect();
    assert_eq!(found, [("one", Some("cell-b")), ("three", None)]);
    assert!(
        plan.moves[0]
            .reason
            .starts_with("cell-a is of tier \"pro\"; tier std"),
        "{plan:?}"
    );
    assert!(plan.moves[1].reason.contains("cell-b is full with 1"), "{plan:?}");
    let traffic = |come, leave| Traffic { come, leave };
    let cells: Vec<_> = plan
        .cells
        .iter()
        .map(|(cell, traffic)| (cell.as_str(), *traffic))
        .collect();
    assert_eq!(cells, [("cell-a", traffic(0, 1)), ("cell-b", traffic(1, 0))]);
}
