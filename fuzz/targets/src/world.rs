//! The providers of `conformance`, all with ES256 keys: a signature costs 20 µs instead of 700, and a fuzzer that can
//! sign gets past the signature. One registry with a tenant a link, one policy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};

use conformance::keys::{Signer, key_set};
use conformance::providers;
use conformance::tokens::Draft;
use contract::{LinkKind, ProviderId};
use decision::{AuthMode, Bulkhead, CbaMode, Fairness, Policy, World};
use identity::algorithm::Algorithm;
use identity::{CacheOptions, Identity, IdentityConfig, KeyRing, KeysFrom, Minter, Operators};
use registry::snapshot::Builder;
use registry::{
    Cell, CellState, Host, Link, LinkState, Mover, Phase, Placement, Position, Record, Snapshot, Tenant,
    TenantState,
};
use serde_json::Value;

/// The time of the targets that need no second opinion: 2026-01-01T00:00:00Z.
pub const NOW: i64 = 1_767_225_600;

/// One route class of each kind.
const POLICY: &str = r#"
[[platform]]
name = "console"
address = "127.0.0.1:1"
[[route]]
prefix = "/console"
class = "platform"
platform = "console"
anonymous = true
[[route]]
prefix = "/public"
class = "public"
cell = "cell-a"
[[route]]
prefix = "/admin"
class = "step_up"
max_age_seconds = 300
[[route]]
prefix = "/write"
class = "authenticated"
scopes = ["write:items"]
"#;

/// A provider as the targets know it.
pub struct Provider {
    /// Its name.
    pub name: &'static str,
    /// Audiences that it accepts, as its settings list them.
    pub audiences: Vec<String>,
    /// Its links: kind, external id, tenant.
    pub links: &'static [(&'static str, &'static str, &'static str)],
    /// Its keys by name, as published.
    pub keys: BTreeMap<String, Value>,
    /// Its good tokens, at [`NOW`].
    pub drafts: Vec<Draft>,
}

/// Everything a decision reads, and what the targets know about it.
pub struct Fixture {
    /// The verifier, with the keys of all providers.
    pub identity: Arc<Identity>,
    /// The providers.
    pub providers: Vec<Provider>,
    /// The registry.
    pub snapshot: Snapshot,
    policy: Policy,
    fairness: Fairness,
    minter: Minter,
    signers: BTreeMap<String, Signer>,
}

/// The one world of a process.
pub static WORLD: LazyLock<Fixture> = LazyLock::new(Fixture::new);

impl Fixture {
    fn new() -> Self {
        let known = providers::all(NOW);
        let kid = |jwk: &Value| jwk["kid"].as_str().unwrap().to_owned();
        // Providers share keys; each name lives as long as the process.
        let kids: BTreeSet<String> = known
            .iter()
            .flat_map(|provider| provider.keys.iter().map(kid))
            .collect();
        let mut signers: BTreeMap<String, Signer> = kids
            .into_iter()
            .map(|kid| (kid.clone(), Signer::generate(kid.leak(), "ES256")))
            .collect();
        signers.insert("stranger".to_owned(), Signer::generate("stranger", "ES256"));
        let toml: String = known
            .iter()
            .map(|provider| {
                let own = provider
                    .settings
                    .lines()
                    .filter(|line| !line.starts_with("algorithm"));
                let settings: Vec<&str> = own.collect();
                format!(
                    "[[provider]]\nname = \"{}\"\n{}\nalgorithm = \"ES256\"\n{}\n",
                    provider.name,
                    settings.join("\n"),
                    provider.tables
                )
            })
            .collect();
        let config = IdentityConfig::parse(&toml).unwrap_or_else(|errors| panic!("{errors}"));
        let identity = Identity::new(config, Operators::none(), CacheOptions::default());
        let mut described = Vec::new();
        for provider in &known {
            let keys: BTreeMap<String, Value> = provider
                .keys
                .iter()
                .map(|published| {
                    let mut jwk = signers[&kid(published)].jwk();
                    if let Some(issuer) = published.get("issuer") {
                        jwk["issuer"] = issuer.clone();
                    }
                    (kid(published), jwk)
                })
                .collect();
            let document = key_set(&keys.values().cloned().collect::<Vec<_>>());
            // The differential target judges at the wall clock's time, the others at an earlier one.
            let ring = KeyRing::parse(&document, Algorithm::Es256, wall_clock()).unwrap();
            identity.publish_keys(
                &ProviderId::parse(provider.name).unwrap(),
                ring,
                KeysFrom::Network,
            );
            described.push(Provider {
                name: provider.name,
                audiences: audiences(provider),
                links: provider.links,
                keys,
                drafts: provider.tokens.iter().map(|(_, draft)| draft.clone()).collect(),
            });
        }
        Self {
            snapshot: snapshot(&known),
            identity,
            providers: described,
            policy: Policy::parse(POLICY, 1).unwrap(),
            fairness: Fairness {
                bulkhead: Bulkhead::unlimited(),
                ..Fairness::default()
            },
            minter: Minter::generate("fuzz-router").unwrap(),
            signers,
        }
    }

    /// What `decide` reads, in one of its modes.
    pub fn world(&self, auth_mode: AuthMode, cba_mode: CbaMode) -> World<'_> {
        World {
            snapshot: Some(&self.snapshot),
            identity: &self.identity,
            policy: &self.policy,
            fairness: &self.fairness,
            minter: &self.minter,
            auth_mode,
            cba_mode,
            warm: true,
        }
    }

    /// Signs with the key of that name; with nobody's if there is none.
    pub fn sign(&self, kid: &str, header: &str, payload: &str) -> String {
        let signer = self.signers.get(kid).unwrap_or_else(|| &self.signers["stranger"]);
        signer.sign(header, payload)
    }

    /// The draft as the keys of this world sign it.
    pub fn sign_draft(&self, draft: &Draft) -> String {
        let draft = draft.clone().header("alg", "ES256");
        self.sign(
            draft.signer.kid,
            &draft.header.to_string(),
            &draft.claims.to_string(),
        )
    }

    /// Every good token's draft.
    pub fn drafts(&self) -> impl Iterator<Item = &Draft> {
        self.providers.iter().flat_map(|provider| &provider.drafts)
    }
}

/// Seconds since 1970.
pub fn wall_clock() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

/// What stands between quotes in the lines about audiences.
fn audiences(provider: &providers::Provider) -> Vec<String> {
    let lines = provider.settings.lines().chain(provider.tables.lines());
    lines
        .filter(|line| line.starts_with("aud"))
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

fn snapshot(providers: &[providers::Provider]) -> Snapshot {
    let mut builder = Builder::default();
    let mut put = |record| builder.put(record).unwrap();
    for cell in ["cell-a", "cell-b"] {
        put(Record::Cell(Cell {
            id: cell.parse().unwrap(),
            state: CellState::Active,
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
    let links = providers
        .iter()
        .flat_map(|provider| provider.links.iter().map(move |link| (provider.name, link)));
    for (at, (provider, (kind, external_id, tenant))) in links.enumerate() {
        let id: contract::TenantId = tenant.parse().unwrap();
        put(Record::Tenant(Tenant {
            id: id.clone(),
            state: TenantState::Active,
            name: String::new(),
            requests_per_second: None,
            tier: None,
            region: None,
            apart: None,
            drain: registry::Drain::Refuse,
        }));
        put(Record::Link(Link {
            provider: provider.parse().unwrap(),
            kind: kind_of(kind),
            external_id: (*external_id).to_owned(),
            tenant: id.clone(),
            state: LinkState::Active,
        }));
        put(Record::Placement(Placement {
            tenant: id.clone(),
            cell: ["cell-a", "cell-b"][at % 2].parse().unwrap(),
            epoch: 7,
            phase: Phase::Settled,
            target: None,
            previous: None,
            flipped_at: None,
            mover: Mover::Operator,
            drain: registry::Drain::Refuse,
        }));
        put(Record::Host(Host {
            host: format!("{tenant}.example.com"),
            tenant: id,
        }));
    }
    let snapshot = builder.finish(Position::default()).unwrap();
    assert!(snapshot.set_aside().is_empty(), "{:?}", snapshot.set_aside());
    snapshot
}

fn kind_of(name: &str) -> LinkKind {
    serde_json::from_value(name.into()).unwrap()
}
