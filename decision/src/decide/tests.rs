//! Whole decisions on a small world: real tokens, real keys, a registry with one tenant in every condition.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use contract::{LinkKind, ProviderId};
use identity::algorithm::Algorithm;
use identity::{CacheOptions, IdentityConfig, KeyRing, KeysFrom, Operators};
use registry::snapshot::Builder;
use registry::{
    Cell, CellState, Host, Link, LinkState, Mover, Phase, Placement, Position, Record, Revocation, Tenant,
    TenantState,
};
use serde_json::{Value, json};

use super::*;
use crate::attributes::Field;
use crate::fairness::Fairness;

mod beside;
mod draining;
mod explaining;

const NOW: i64 = 1_800_000_000;

const PROVIDERS: &str = r#"
[[provider]]
name = "auth0"
kind = "auth0"
domain = "https://x.eu.auth0.com/"
audience = "https://api.example"
algorithm = "ES256"
links_from = ["org_id", "client_id"]
cell_claim = "https://example/cell"

[[provider]]
name = "access"
kind = "cloudflare-access"
team = "https://x.cloudflareaccess.com"
algorithm = "ES256"
[[provider.application]]
aud = "1111111111111111111111111111111111111111111111111111111111111111"
use = "tenant"
[[provider.application]]
aud = "2222222222222222222222222222222222222222222222222222222222222222"
use = "perimeter"
"#;

const POLICY: &str = r#"
[[platform]]
name = "console"
address = "127.0.0.1:1"
[[route]]
prefix = "/console"
class = "platform"
platform = "console"
[[route]]
prefix = "/login"
class = "platform"
platform = "console"
anonymous = true
[[route]]
prefix = "/public"
class = "public"
cell = "cell-a"
[[route]]
prefix = "/public-nowhere"
class = "public"
cell = "cell-retired"
[[route]]
prefix = "/admin"
class = "step_up"
max_age_seconds = 300
[[route]]
prefix = "/write"
class = "authenticated"
scopes = ["write:all"]
"#;

struct Fixture {
    key: EcdsaKeyPair,
    identity: Arc<Identity>,
    snapshot: Snapshot,
    policy: Policy,
    fairness: Fairness,
    minter: Minter,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = key.public_key().as_ref();
    let jwk = json!({"kty": "EC", "crv": "P-256", "kid": "k", "use": "sig", "alg": "ES256",
        "x": B64.encode(&point[1..33]), "y": B64.encode(&point[33..])});
    let identity = Identity::new(
        IdentityConfig::parse(PROVIDERS).unwrap(),
        Operators::default(),
        CacheOptions::default(),
    );
    for provider in ["auth0", "access"] {
        let document = json!({"keys": [jwk]}).to_string();
        let ring = KeyRing::parse(document.as_bytes(), Algorithm::Es256, NOW).unwrap();
        identity.publish_keys(&ProviderId::parse(provider).unwrap(), ring, KeysFrom::Network);
    }
    Fixture {
        key,
        identity,
        snapshot: snapshot(),
        policy: Policy::parse(POLICY, 1).unwrap(),
        fairness: Fairness::default(),
        minter: Minter::generate("router-test").unwrap(),
    }
});

fn snapshot() -> Snapshot {
    let mut builder = Builder::default();
    let mut put = |record| builder.put(record).unwrap();
    for (id, state) in [
        ("cell-a", CellState::Active),
        ("cell-b", CellState::Draining),
        ("cell-new", CellState::Provisioning),
        ("cell-retired", CellState::Retired),
    ] {
        put(Record::Cell(Cell {
            id: id.parse().unwrap(),
            state,
            tier: "t".into(),
            region: "r".into(),
            endpoints: vec!["127.0.0.1:1".into()],
            tls: false,
            weight: 1,
            capacity: None,
            runtime: None,
            health_path: None,
        }));
    }
    // One tenant for each condition; its organization is `org_<tenant>`.
    for (id, state, link, cell, phase) in [
        (
            "alpha",
            TenantState::Active,
            LinkState::Active,
            Some("cell-a"),
            Phase::Settled,
        ),
        (
            "beta",
            TenantState::Active,
            LinkState::Active,
            Some("cell-b"),
            Phase::Settled,
        ),
        (
            "pending-tenant",
            TenantState::Pending,
            LinkState::Active,
            Some("cell-a"),
            Phase::Settled,
        ),
        (
            "suspended",
            TenantState::Suspended,
            LinkState::Active,
            Some("cell-a"),
            Phase::Settled,
        ),
        (
            "pending-link",
            TenantState::Active,
            LinkState::Pending,
            Some("cell-a"),
            Phase::Settled,
        ),
        (
            "revoked-link",
            TenantState::Active,
            LinkState::Revoked,
            Some("cell-a"),
            Phase::Settled,
        ),
        (
            "unplaced",
            TenantState::Active,
            LinkState::Active,
            None,
            Phase::Settled,
        ),
        (
            "early",
            TenantState::Active,
            LinkState::Active,
            Some("cell-new"),
            Phase::Settled,
        ),
        (
            "late",
            TenantState::Active,
            LinkState::Active,
            Some("cell-retired"),
            Phase::Settled,
        ),
        (
            "lost",
            TenantState::Active,
            LinkState::Active,
            Some("cell-nowhere"),
            Phase::Settled,
        ),
        (
            "planned",
            TenantState::Active,
            LinkState::Active,
            Some("cell-a"),
            Phase::Planned,
        ),
        (
            "draining",
            TenantState::Active,
            LinkState::Active,
            Some("cell-a"),
            Phase::Draining,
        ),
        (
            "flipped",
            TenantState::Active,
            LinkState::Active,
            Some("cell-b"),
            Phase::Flipped,
        ),
    ] {
        let tenant: TenantId = id.parse().unwrap();
        put(Record::Tenant(Tenant {
            id: tenant.clone(),
            state,
            name: String::new(),
            requests_per_second: None,
            tier: None,
            region: None,
            apart: None,
            drain: registry::Drain::Refuse,
        }));
        put(link_of("auth0", LinkKind::OrgId, &format!("org_{id}"), id, link));
        if let Some(cell) = cell {
            let moving = matches!(phase, Phase::Planned | Phase::Draining);
            put(Record::Placement(Placement {
                tenant: tenant.clone(),
                cell: cell.parse().unwrap(),
                epoch: 7,
                phase,
                target: moving.then(|| "cell-b".parse().unwrap()),
                previous: (phase == Phase::Flipped).then(|| "cell-a".parse().unwrap()),
                flipped_at: (phase == Phase::Flipped).then_some(NOW - 100),
                mover: Mover::Operator,
                drain: registry::Drain::Refuse,
            }));
        }
        put(Record::Host(Host {
            host: format!("{id}.example.com"),
            tenant,
        }));
    }
    put(link_of(
        "auth0",
        LinkKind::ClientId,
        "partner",
        "alpha",
        LinkState::Active,
    ));
    put(link_of(
        "access",
        LinkKind::Aud,
        &"1".repeat(64),
        "alpha",
        LinkState::Active,
    ));
    put(Record::Revocation(Revocation {
        provider: "auth0".parse().unwrap(),
        subject: Some("auth0|revoked".into()),
        token_id: None,
        not_before: NOW,
    }));
    builder.finish(Position::default()).unwrap()
}

fn link_of(provider: &str, kind: LinkKind, id: &str, tenant: &str, state: LinkState) -> Record {
    Record::Link(Link {
        provider: provider.parse().unwrap(),
        kind,
        external_id: id.to_owned(),
        tenant: tenant.parse().unwrap(),
        state,
    })
}

fn sign(claims: &Value) -> String {
    let header = json!({"alg": "ES256", "typ": "JWT", "kid": "k"}).to_string();
    let head = format!("{}.{}", B64.encode(header), B64.encode(claims.to_string()));
    let signature = FIXTURE.key.sign(&SystemRandom::new(), head.as_bytes()).unwrap();
    format!("{head}.{}", B64.encode(signature))
}

/// A bearer token with these claims on top of the usual ones; null removes one.
fn token(extra: Value) -> String {
    let mut claims = json!({
        "iss": "https://x.eu.auth0.com/", "aud": "https://api.example", "sub": "auth0|somebody",
        "iat": NOW - 10, "exp": NOW + 600, "azp": "a-client", "scope": "read:all",
    });
    for (name, value) in extra.as_object().unwrap() {
        claims[name] = value.clone();
    }
    sign(&claims)
}

fn access(aud: &str) -> String {
    sign(&json!({
        "iss": "https://x.cloudflareaccess.com", "aud": [aud.repeat(64)], "type": "app", "sub": "u1", "email": "a@b.example",
        "iat": NOW - 10, "nbf": NOW - 10, "exp": NOW + 600, "identity_nonce": "n", "country": "DE",
    }))
}

/// One request; everything that a case does not say is good.
struct Ask<'a> {
    bearer: Option<String>,
    access: Option<String>,
    host: &'a str,
    path: &'a str,
    vouched: bool,
    world: fn(&mut World<'_>),
}

impl Default for Ask<'_> {
    fn default() -> Self {
        Self {
            bearer: None,
            access: None,
            host: "",
            path: "/api",
            vouched: true,
            world: |_| {},
        }
    }
}

fn world_of(ask: &Ask<'_>) -> World<'static> {
    let mut world = World {
        snapshot: Some(&FIXTURE.snapshot),
        identity: &FIXTURE.identity,
        policy: &FIXTURE.policy,
        fairness: &FIXTURE.fairness,
        minter: &FIXTURE.minter,
        auth_mode: AuthMode::Required,
        cba_mode: CbaMode::Enforce,
        warm: true,
    };
    (ask.world)(&mut world);
    world
}

/// `bearer` is the whole header.
fn attributes_of<'a>(ask: &'a Ask<'_>, bearer: Option<&'a str>) -> Attributes<'a> {
    let mut attributes = Attributes {
        method: "GET",
        host: ask.host,
        path: ask.path,
        vouched: ask.vouched,
        ..Attributes::default()
    };
    if let Some(bearer) = bearer {
        attributes.authorization = Field::One(bearer.as_bytes());
    }
    if let Some(access) = &ask.access {
        attributes.access_assertion = Field::One(access.as_bytes());
    }
    attributes
}

/// The outcome as the cell or the reason.
fn told(decision: &Decision<'_>) -> String {
    match decision {
        Decision::Allow(route) => format!("{} {}", route.tenant.unwrap_or("-"), route.destination),
        Decision::Deny { reason, .. } => format!("{reason:?}"),
    }
}

fn ask(ask: &Ask<'_>) -> String {
    let world = world_of(ask);
    let bearer = ask.bearer.as_ref().map(|token| format!("Bearer {token}"));
    let attributes = attributes_of(ask, bearer.as_deref());
    // Twice: the second decision is on what the first one left in the caches.
    let outcome = || told(&decide(&attributes, &world, NOW));
    let fresh = outcome();
    explaining::agrees(&attributes, &world);
    beside::agrees(&attributes, &world);
    assert_eq!(outcome(), fresh);
    explaining::agrees(&attributes, &world);
    fresh
}

fn bearer(extra: Value) -> Ask<'static> {
    Ask {
        bearer: Some(token(extra)),
        ..Ask::default()
    }
}

fn org(tenant: &str) -> Ask<'static> {
    bearer(json!({"org_id": format!("org_{tenant}")}))
}

#[test]
fn the_tenants_condition_decides() {
    for (tenant, expected) in [
        ("alpha", "alpha cell-a"),
        ("beta", "beta cell-b"),
        ("pending-tenant", "TenantPending"),
        ("suspended", "TenantSuspended"),
        ("pending-link", "LinkPending"),
        ("revoked-link", "UnknownTenant"),
        ("nobody", "UnknownTenant"),
        ("unplaced", "NoPlacement"),
        ("early", "CellNotServing"),
        ("late", "CellNotServing"),
        ("lost", "CellNotServing"),
        ("planned", "planned cell-a"),
        ("draining", "Moving"),
        ("flipped", "flipped cell-b"),
    ] {
        assert_eq!(ask(&org(tenant)), expected, "{tenant}");
    }
}

#[test]
fn the_host_chooses_among_candidates_and_adds_none() {
    // A machine token speaks for its organization and for its client.
    let two = || json!({"org_id": "org_beta", "azp": "partner", "sub": "partner@clients", "gty": "client-credentials"});
    assert_eq!(ask(&bearer(two())), "TenantRequired");
    for (host, expected) in [
        ("alpha.example.com", "alpha cell-a"),
        ("BETA.example.com:443", "beta cell-b"),
        ("suspended.example.com", "HostMismatch"),
        ("unlinked.example.com", "TenantRequired"),
        ("a,b", "Malformed(\"host\")"),
    ] {
        assert_eq!(
            ask(&Ask {
                host,
                ..bearer(two())
            }),
            expected,
            "{host}"
        );
    }
    assert_eq!(
        ask(&Ask {
            host: "beta.example.com",
            ..org("alpha")
        }),
        "HostMismatch"
    );
    assert_eq!(
        ask(&Ask {
            host: "unlinked.example.com",
            ..org("alpha")
        }),
        "alpha cell-a"
    );
    // A host nobody vouches for says nothing, in either direction.
    let unvouched = |tenant| Ask {
        host: "beta.example.com",
        vouched: false,
        world: |w| w.policy = plain(),
        ..org(tenant)
    };
    assert_eq!(ask(&unvouched("alpha")), "alpha cell-a");
}

fn plain() -> &'static Policy {
    static PLAIN: LazyLock<Policy> = LazyLock::new(Policy::default);
    &PLAIN
}

#[test]
fn a_bearer_and_an_access_token_must_agree() {
    let both = |tenant: &str, aud: &str| Ask {
        access: Some(access(aud)),
        ..org(tenant)
    };
    assert_eq!(ask(&both("alpha", "1")), "alpha cell-a");
    assert_eq!(ask(&both("beta", "1")), "TokensDisagree");
    assert_eq!(
        ask(&both("beta", "2")),
        "beta cell-b",
        "a perimeter token names no tenant"
    );
    let console = |ask: Ask<'static>| {
        super::tests::ask(&Ask {
            path: "/console",
            ..ask
        })
    };
    assert_eq!(console(both("alpha", "1")), "- platform:console");
    assert_eq!(console(both("nobody", "1")), "- platform:console");
    assert_eq!(console(both("beta", "1")), "TokensDisagree", "needed or not");
    assert!(
        ask(&both("alpha", "3")).starts_with("AccessToken"),
        "an unlisted application"
    );
    assert_eq!(
        ask(&Ask {
            access: Some(access("1")),
            ..Ask::default()
        }),
        "alpha cell-a"
    );
    assert_eq!(
        ask(&Ask {
            access: Some(access("2")),
            ..Ask::default()
        }),
        "UnknownTenant"
    );
    let bad_bearer = Ask {
        bearer: Some("x.y.z".into()),
        access: Some(access("1")),
        ..Ask::default()
    };
    assert!(
        ask(&bad_bearer).starts_with("Token"),
        "a good Access token does not save a bad bearer"
    );
}

#[test]
fn route_classes() {
    let at = |path, ask: Ask<'static>| Ask { path, ..ask };
    let strong = |age: i64| {
        bearer(
            json!({"org_id": "org_alpha", "amr": ["mfa"], "acr": "http://schemas.openid.net/pape/policies/2007/06/multi-factor",
            "auth_time": NOW - age}),
        )
    };
    assert_eq!(ask(&Ask::default()), "NoCredential");
    assert_eq!(ask(&at("/public/x", Ask::default())), "- cell-a");
    assert_eq!(
        ask(&at("/public/x", org("beta"))),
        "beta cell-b",
        "with a token, the token decides"
    );
    assert!(ask(&at("/public/x", bearer(json!({"exp": NOW - 600})))).starts_with("Token"));
    assert_eq!(ask(&at("/public-nowhere", Ask::default())), "CellNotServing");
    assert_eq!(ask(&at("/console", Ask::default())), "NoCredential");
    assert_eq!(
        ask(&at("/console", org("nobody"))),
        "- platform:console",
        "a platform route needs no tenant"
    );
    assert_eq!(ask(&at("/login", Ask::default())), "- platform:console");
    assert!(ask(&at("/admin", org("alpha"))).starts_with("StepUp"));
    assert_eq!(ask(&at("/admin", strong(10))), "alpha cell-a");
    assert!(
        ask(&at("/admin", strong(301))).starts_with("StepUp"),
        "too long ago"
    );
    assert_eq!(ask(&at("/write", org("alpha"))), "MissingScope");
    let writer = json!({"org_id": "org_alpha", "scope": "read:all write:all"});
    assert_eq!(ask(&at("/write", bearer(writer))), "alpha cell-a");
    for odd in [
        "/public/../api",
        "/public//x",
        "/public/%2e%2e/api",
        "/public\\..\\api",
    ] {
        assert!(ask(&at(odd, Ask::default())).starts_with("Malformed"), "{odd}");
    }
    // Nobody vouches for the path: every demand of any route, and no exemption.
    let blind = |ask| Ask {
        vouched: false,
        path: "/public/x",
        ..ask
    };
    assert_eq!(ask(&blind(Ask::default())), "NoCredential");
    assert_eq!(ask(&blind(org("alpha"))), "MissingScope");
}

#[test]
fn a_cell_claim_is_held_against_the_placement() {
    let claimed = |tenant: &str, cell: &str, issued: i64| {
        bearer(json!({"org_id": format!("org_{tenant}"), "https://example/cell": cell, "iat": issued}))
    };
    assert_eq!(ask(&claimed("alpha", "cell-a", NOW)), "alpha cell-a");
    assert_eq!(ask(&claimed("alpha", "cell-b", NOW)), "CellClaim");
    let mode = |world: fn(&mut World<'_>)| Ask {
        world,
        ..claimed("alpha", "cell-b", NOW)
    };
    assert_eq!(ask(&mode(|w| w.cba_mode = CbaMode::Audit)), "alpha cell-a");
    assert_eq!(ask(&mode(|w| w.cba_mode = CbaMode::Off)), "alpha cell-a");
    // Before the flip at NOW - 100 the tenant was in cell-a: an older token may still say so, a newer one not.
    assert_eq!(ask(&claimed("flipped", "cell-a", NOW - 200)), "flipped cell-b");
    assert_eq!(ask(&claimed("flipped", "cell-a", NOW - 50)), "CellClaim");
}

#[test]
fn revoked_means_refused() {
    let revoked = |issued: i64| bearer(json!({"org_id": "org_alpha", "sub": "auth0|revoked", "iat": issued}));
    assert_eq!(ask(&revoked(NOW - 10)), "Revoked");
    assert_eq!(ask(&org("alpha")), "alpha cell-a");
}

#[test]
fn without_a_snapshot_nothing_is_allowed() {
    let blind = |ask: Ask<'static>| Ask {
        world: |w| w.snapshot = None,
        ..ask
    };
    for request in [
        org("alpha"),
        Ask {
            path: "/public/x",
            ..Ask::default()
        },
        Ask {
            path: "/login",
            ..Ask::default()
        },
    ] {
        assert_eq!(ask(&blind(request)), "NotReady(\"registry\")");
    }
}

#[test]
fn before_the_first_keys_nobody_is_anonymous() {
    let cold = |path| Ask {
        world: |w| w.warm = false,
        path,
        ..Ask::default()
    };
    for path in ["/public/x", "/login", "/api"] {
        assert_eq!(ask(&cold(path)), "NotReady(\"keys\")", "{path}");
    }
}

#[test]
fn dev_modes_take_the_tenant_from_the_host() {
    let optional = |ask: Ask<'static>| Ask {
        world: |w| w.auth_mode = AuthMode::Optional,
        host: "beta.example.com",
        ..ask
    };
    assert_eq!(ask(&optional(Ask::default())), "beta cell-b");
    assert_eq!(ask(&optional(org("alpha"))), "HostMismatch");
    assert!(
        ask(&optional(Ask {
            bearer: Some("x.y.z".into()),
            ..Ask::default()
        }))
        .starts_with("Token")
    );
    let disabled = |host| Ask {
        world: |w| w.auth_mode = AuthMode::Disabled,
        host,
        bearer: Some("x.y.z".into()),
        ..Ask::default()
    };
    assert_eq!(ask(&disabled("alpha.example.com")), "alpha cell-a");
    assert_eq!(ask(&disabled("unlinked.example.com")), "TenantRequired");
    assert_eq!(
        ask(&Ask {
            path: "/admin",
            ..disabled("alpha.example.com")
        }),
        "NoCredential",
        "a demand is a demand"
    );
}

#[test]
fn the_assertion_says_what_was_decided_and_is_minted_once() {
    let bearer = format!(
        "Bearer {}",
        token(json!({"org_id": "org_alpha", "sub": "auth0|minted-once"}))
    );
    let attributes = Attributes {
        method: "GET",
        path: "/",
        vouched: true,
        authorization: Field::One(bearer.as_bytes()),
        ..Attributes::default()
    };
    let world = World {
        snapshot: Some(&FIXTURE.snapshot),
        identity: &FIXTURE.identity,
        policy: &FIXTURE.policy,
        fairness: &FIXTURE.fairness,
        minter: &FIXTURE.minter,
        auth_mode: AuthMode::Required,
        cba_mode: CbaMode::Enforce,
        warm: true,
    };
    let minted = |now| match decide(&attributes, &world, now) {
        Decision::Allow(route) => route.assertion.unwrap(),
        Decision::Deny { reason, .. } => panic!("{reason}"),
    };
    let first = minted(NOW);
    assert!(Arc::ptr_eq(&first, &minted(NOW + 29)), "kept for half its life");
    assert!(!Arc::ptr_eq(&first, &minted(NOW + 31)), "then minted anew");
    let keys = identity::AssertionKeys::from_keys(&[FIXTURE.minter.public_jwk()]).unwrap();
    let claims = keys.verify(&first, &"cell-a".parse().unwrap(), NOW).unwrap();
    assert_eq!(
        (claims.tenant.unwrap().as_str(), claims.epoch, claims.iss.as_str()),
        ("alpha", 7, "router-test")
    );
    assert!(
        keys.verify(&first, &"cell-b".parse().unwrap(), NOW).is_err(),
        "for no other cell"
    );
}
