//! Who is let through while a tenant's placement drains, and what the cell is told about it.

use contract::assertion::Access;
use registry::{Drain, RecordChange, Version};

use super::*;

const ROUTES: &str = r#"
[[route]]
prefix = "/search"
methods = ["POST"]
class = "authenticated"
access = "read"

[[route]]
prefix = "/restart"
class = "authenticated"
access = "write"

[[route]]
prefix = "/open"
class = "public"
cell = "cell-b"

[[route]]
exact = "/feed"
class = "authenticated"
access = "read"
"#;

fn placed(phase: Phase, drain: Drain) -> Snapshot {
    let moving = matches!(phase, Phase::Planned | Phase::Draining);
    let placement = Placement {
        tenant: "draining".parse().unwrap(),
        cell: "cell-a".parse().unwrap(),
        epoch: 7,
        phase,
        target: moving.then(|| "cell-b".parse().unwrap()),
        previous: (phase == Phase::Flipped).then(|| "cell-b".parse().unwrap()),
        flipped_at: (phase == Phase::Flipped).then_some(NOW - 100),
        mover: Mover::Operator,
        drain,
    };
    let at = Position {
        version: Version { epoch: 1, number: 9 },
        lineage: 1,
    };
    FIXTURE
        .snapshot
        .with(at, &[RecordChange::Put(Record::Placement(placement))])
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    method: &'static str,
    path: &'static str,
    upgrade: Field<'static>,
    vouched: bool,
}

fn sent(method: &'static str, path: &'static str) -> Sent {
    Sent {
        method,
        path,
        upgrade: Field::Absent,
        vouched: true,
    }
}

/// The reason of a denial, or the claim `access` in the assertion for the old cell.
fn decided(sent: Sent, snapshot: &Snapshot, token: &str) -> Result<Option<Access>, String> {
    let policy = Policy::parse(ROUTES, 1).unwrap();
    let world = World {
        snapshot: Some(snapshot),
        identity: &FIXTURE.identity,
        policy: &policy,
        fairness: &FIXTURE.fairness,
        minter: &FIXTURE.minter,
        auth_mode: AuthMode::Required,
        cba_mode: CbaMode::Enforce,
        warm: true,
    };
    let bearer = format!("Bearer {token}");
    let attributes = Attributes {
        method: sent.method,
        path: sent.path,
        upgrade: sent.upgrade,
        vouched: sent.vouched,
        upgrade_shown: sent.vouched,
        authorization: Field::One(bearer.as_bytes()),
        ..Attributes::default()
    };
    explaining::agrees(&attributes, &world);
    match decide(&attributes, &world, NOW) {
        Decision::Deny { reason, .. } => Err(format!("{reason:?}")),
        Decision::Allow(route) => {
            assert_eq!(
                (route.tenant, route.destination),
                (Some("draining"), Destination::Cell("cell-a"))
            );
            let keys = identity::AssertionKeys::from_keys(&[FIXTURE.minter.public_jwk()]).unwrap();
            let claims = keys.verify(&route.assertion.unwrap(), &"cell-a".parse().unwrap(), NOW);
            Ok(claims.unwrap().access)
        }
    }
}

fn somebody() -> String {
    token(json!({"org_id": "org_draining", "sub": "auth0|draining"}))
}

#[test]
fn only_what_reads_passes_a_read_only_drain_and_says_so() {
    let token = somebody();
    let websocket = Field::One(b"websocket");
    let reads = [
        sent("GET", "/api"),
        sent("HEAD", "/api"),
        sent("OPTIONS", "/api"),
        sent("OPTIONS", "*"),
        // By the policy.
        sent("POST", "/search"),
        sent("POST", "/search/more?q=1"),
        sent("DELETE", "/feed"),
        // With a token, a public route is the tenant's.
        sent("GET", "/open/x"),
    ];
    let writes = [
        sent("POST", "/api"),
        sent("PUT", "/api"),
        sent("PATCH", "/api"),
        sent("DELETE", "/api"),
        sent("PROPFIND", "/api"),
        sent("CONNECT", ""),
        sent("POST", "/open/x"),
        // Another protocol is a conversation, whatever the policy says of its path.
        Sent {
            upgrade: websocket,
            ..sent("GET", "/api")
        },
        Sent {
            upgrade: websocket,
            ..sent("GET", "/feed")
        },
        Sent {
            upgrade: Field::One(b"h2c"),
            ..sent("GET", "/api")
        },
        Sent {
            upgrade: Field::Repeated,
            ..sent("GET", "/api")
        },
        Sent {
            upgrade: Field::One(b""),
            ..sent("GET", "/api")
        },
        // By the policy, in whatever case the path comes.
        sent("GET", "/restart"),
        sent("HEAD", "/Restart/now"),
        // No exemption for what was not written.
        sent("POST", "/SEARCH"),
        sent("PUT", "/search"),
        sent("DELETE", "/FEED"),
        sent("CONNECT", "/feed"),
        // Nobody knows what it is.
        sent("GET", "/a%25b"),
        sent("GET", "/api;x=1"),
        Sent {
            vouched: false,
            ..sent("GET", "/api")
        },
    ];
    let draining = placed(Phase::Draining, Drain::ReadOnly);
    for request in reads {
        assert_eq!(
            decided(request, &draining, &token),
            Ok(Some(Access::Read)),
            "{request:?}"
        );
    }
    for request in writes {
        assert_eq!(
            decided(request, &draining, &token),
            Err("Moving".to_owned()),
            "{request:?}"
        );
    }
    let refusing = placed(Phase::Draining, Drain::Refuse);
    for request in reads.into_iter().chain(writes) {
        assert_eq!(
            decided(request, &refusing, &token),
            Err("Moving".to_owned()),
            "{request:?}"
        );
        for phase in [Phase::Planned, Phase::Flipped] {
            let served = decided(request, &placed(phase, Drain::ReadOnly), &token);
            assert_eq!(served, Ok(None), "{phase:?} {request:?}");
        }
    }
}

/// The cell tells by the claim whether a request was placed before the drain: a kept assertion must not blur that.
#[test]
fn an_assertion_is_kept_neither_into_a_drain_nor_out_of_it() {
    let token = token(json!({"org_id": "org_draining", "sub": "auth0|through-a-drain"}));
    let phases = [
        (Phase::Planned, None),
        (Phase::Draining, Some(Access::Read)),
        (Phase::Settled, None),
        (Phase::Draining, Some(Access::Read)),
        (Phase::Flipped, None),
    ];
    for (phase, access) in phases {
        let drain = if phase == Phase::Settled {
            Drain::Refuse
        } else {
            Drain::ReadOnly
        };
        for _ in 0..2 {
            let found = decided(sent("GET", "/api"), &placed(phase, drain), &token);
            assert_eq!(found, Ok(access), "{phase:?}");
        }
    }
}

#[test]
fn a_cell_that_does_not_serve_is_read_from_by_nobody() {
    let snapshot = placed(Phase::Draining, Drain::ReadOnly);
    let gone = registry::Key::Cell("cell-a".into());
    let snapshot = snapshot.with(snapshot.position(), &[RecordChange::Remove(gone)]);
    let found = decided(sent("GET", "/api"), &snapshot, &somebody());
    assert_eq!(found, Err("CellNotServing".to_owned()));
}
