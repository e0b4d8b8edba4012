//! Every case of these tests is also decided beside another version, which never shows in the decision.

use super::*;
use crate::shadow::{Change, Versions, decide_beside};
use registry::RecordChange;

/// Beside the live version itself nothing would change, whatever the case is.
pub(super) fn agrees(attributes: &Attributes<'_>, world: &World<'_>) {
    let (decision, change) = decide_beside(attributes, world, over(&FIXTURE.snapshot), NOW);
    assert_eq!(
        format!("{decision:?}"),
        format!("{:?}", decide(attributes, world, NOW))
    );
    assert!(matches!(change, None | Some(Change::None)), "{change:?}");
}

/// Staged over the version that decides in all of these tests.
fn over(staged: &Snapshot) -> Versions<'_> {
    let live = &FIXTURE.snapshot;
    Versions { live, staged }
}

/// A version with other records.
fn with(records: impl IntoIterator<Item = Record>) -> Snapshot {
    let changes: Vec<RecordChange> = records.into_iter().map(RecordChange::Put).collect();
    FIXTURE.snapshot.with(FIXTURE.snapshot.position(), &changes)
}

fn settled(tenant: &str, cell: &str) -> Record {
    Record::Placement(Placement::first(tenant.parse().unwrap(), cell.parse().unwrap()))
}

fn tenant_in(id: &str, state: TenantState) -> Record {
    Record::Tenant(Tenant {
        id: id.parse().unwrap(),
        state,
        name: String::new(),
        requests_per_second: None,
        tier: None,
        region: None,
        apart: None,
        drain: registry::Drain::Refuse,
    })
}

/// What `other` would change about a request, and the request's own outcome.
fn beside(ask: &Ask<'_>, other: &Snapshot) -> (String, Option<Change>) {
    let bearer = ask.bearer.as_ref().map(|token| format!("Bearer {token}"));
    let world = world_of(ask);
    let attributes = attributes_of(ask, bearer.as_deref());
    let (decision, change) = decide_beside(&attributes, &world, over(other), NOW);
    (told(&decision), change)
}

#[test]
fn what_another_version_would_change_is_told_and_nothing_else_changes() {
    let moved = with([settled("alpha", "cell-b")]);
    let unlinked = with([link_of(
        "auth0",
        LinkKind::OrgId,
        "org_alpha",
        "alpha",
        LinkState::Revoked,
    )]);
    let relinked = with([link_of(
        "auth0",
        LinkKind::OrgId,
        "org_alpha",
        "planned",
        LinkState::Active,
    )]);
    let suspended = with([tenant_in("alpha", TenantState::Suspended)]);
    let resumed = with([tenant_in("suspended", TenantState::Active)]);
    let promoted = with([link_of(
        "auth0",
        LinkKind::OrgId,
        "org_pending-link",
        "pending-link",
        LinkState::Active,
    )]);
    let revoked = with([Record::Revocation(Revocation {
        provider: "auth0".parse().unwrap(),
        subject: Some("auth0|somebody".into()),
        token_id: None,
        not_before: NOW,
    })]);
    for (tenant, other, live, change) in [
        ("alpha", &moved, "alpha cell-a", Change::OtherCell),
        ("beta", &moved, "beta cell-b", Change::None),
        ("alpha", &unlinked, "alpha cell-a", Change::Denied),
        // Alpha's partner link is another one.
        ("beta", &unlinked, "beta cell-b", Change::None),
        ("alpha", &relinked, "alpha cell-a", Change::OtherTenant),
        ("alpha", &suspended, "alpha cell-a", Change::Denied),
        ("suspended", &suspended, "TenantSuspended", Change::None),
        ("suspended", &resumed, "TenantSuspended", Change::Allowed),
        ("pending-link", &promoted, "LinkPending", Change::Allowed),
        ("alpha", &revoked, "alpha cell-a", Change::Denied),
        ("nobody", &revoked, "UnknownTenant", Change::None),
    ] {
        assert_eq!(
            beside(&org(tenant), other),
            (live.to_owned(), Some(change)),
            "{tenant}"
        );
    }
}

#[test]
fn what_the_route_asks_is_asked_of_both() {
    // Denied for its scope or its sign-in, a request would not be allowed by a tenant that is active again.
    let resumed = with([tenant_in("suspended", TenantState::Active)]);
    for (path, change) in [
        ("/api", Change::Allowed),
        ("/write", Change::None),
        ("/admin", Change::None),
    ] {
        let asked = Ask {
            path,
            ..org("suspended")
        };
        assert_eq!(
            beside(&asked, &resumed),
            ("TenantSuspended".to_owned(), Some(change)),
            "{path}"
        );
    }
    // A token that names its cell: after the move it would name another one.
    let claims = json!({"org_id": "org_alpha", "https://example/cell": "cell-a"});
    let moved = with([settled("alpha", "cell-b")]);
    assert_eq!(beside(&bearer(claims), &moved).1, Some(Change::Denied));
    // The route's own cell.
    let closed = with([Record::Cell(Cell {
        state: CellState::Retired,
        ..FIXTURE.snapshot.cell("cell-a").unwrap().clone()
    })]);
    let public = Ask {
        path: "/public",
        ..Ask::default()
    };
    assert_eq!(
        beside(&public, &closed),
        ("- cell-a".to_owned(), Some(Change::Denied))
    );
    assert_eq!(beside(&public, &moved).1, Some(Change::None));
}

#[test]
fn what_no_record_decides_about_is_not_evaluated() {
    let moved = with([settled("alpha", "cell-b")]);
    let unsigned = Ask {
        bearer: Some("a.b.c".to_owned()),
        ..Ask::default()
    };
    let console = Ask {
        path: "/console",
        ..org("alpha")
    };
    let unready = Ask {
        world: |world| world.snapshot = None,
        ..org("alpha")
    };
    for (name, asked) in [
        ("nobody", Ask::default()),
        ("unsigned", unsigned),
        ("a platform service", console),
        ("no live version", unready),
    ] {
        assert_eq!(beside(&asked, &moved).1, None, "{name}");
    }
}

/// Between a live change and the next staged version, the change is not the set's.
#[test]
fn what_became_live_since_is_no_change_of_the_set() {
    let newer = with([
        tenant_in("suspended", TenantState::Active),
        settled("beta", "cell-a"),
    ]);
    let moved = with([settled("alpha", "cell-b")]);
    for (tenant, live, change) in [
        ("suspended", "suspended cell-a", Change::None),
        ("beta", "beta cell-a", Change::None),
        ("alpha", "alpha cell-a", Change::OtherCell),
    ] {
        let asked = org(tenant);
        let bearer = asked.bearer.as_ref().map(|token| format!("Bearer {token}"));
        let world = World {
            snapshot: Some(&newer),
            ..world_of(&asked)
        };
        let attributes = attributes_of(&asked, bearer.as_deref());
        let (decision, seen) = decide_beside(&attributes, &world, over(&moved), NOW);
        assert_eq!(
            (told(&decision), seen),
            (live.to_owned(), Some(change)),
            "{tenant}"
        );
    }
}

#[test]
fn another_version_leaves_nothing_in_the_caches() {
    let moved = with([settled("alpha", "cell-b")]);
    let asked = org("alpha");
    let assertion = |decision: &Decision<'_>| match decision {
        Decision::Allow(route) => route.assertion.clone().unwrap(),
        Decision::Deny { reason, .. } => panic!("{reason:?}"),
    };
    let bearer = asked.bearer.as_ref().map(|token| format!("Bearer {token}"));
    let attributes = attributes_of(&asked, bearer.as_deref());
    let world = world_of(&asked);
    let (decision, _) = decide_beside(&attributes, &world, over(&moved), NOW);
    let first = assertion(&decision);
    let second = assertion(&decide(&attributes, &world, NOW));
    // The very one: had the other cell's been minted, it would have taken the place.
    assert!(Arc::ptr_eq(&first, &second));
    let claims = first.split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&B64.decode(claims).unwrap()).unwrap();
    assert_eq!(claims["aud"], "cell-a");
}
