//! A state directory as a router writes it, and an Envoy that behaves as the real one was seen to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use conformance::keys::{Signer, key_set};
use contract::LinkKind;
use decision::Field;
use decision::policy::Watch;
use files::state;
use identity::disk::{LastGood, signing_key};
use identity::{Minter, Secret, unix_now};
use registry::disk::{Disk, Keeper};
use registry::journal::Journal;
use registry::snapshot::Builder;
use registry::{
    Cell, CellState, Drain, Link, LinkState, Mover, Phase, Placement, Position, Record, Snapshot, Tenant,
    TenantState, Version,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::config::Config;
use crate::follow::Follow;
use crate::host::{Answer, Attribute, Host, Level, Outside};
use crate::metrics::Counter;
use crate::world::Edge;

/// One provider, with keys that cost little.
pub(crate) const PROVIDERS: &str = r#"
[[provider]]
name = "auth0"
kind = "auth0"
domain = "https://x.eu.auth0.com/"
audience = "https://api.example"
algorithm = "ES256"
"#;

/// A router that has published a registry with the tenant `alpha` in `cell-a`, keys and a signing key.
pub(crate) struct Router {
    folder: TempDir,
    pub(crate) signer: Signer,
    pkcs8: Secret<Vec<u8>>,
}

impl Router {
    pub(crate) fn new() -> Self {
        let router = Self {
            folder: tempfile::tempdir().unwrap(),
            signer: Signer::generate("k", "ES256"),
            pkcs8: Minter::generate_pkcs8().unwrap(),
        };
        files::create_directory(&router.state_dir()).unwrap();
        std::fs::write(router.folder.path().join("identity.toml"), PROVIDERS).unwrap();
        router.publish(1, "cell-a");
        router.publish_keys(&[router.signer.jwk()]);
        router.publish_signing_key(true);
        router
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// A file of the registry on disk.
    pub(crate) fn registry_file(&self, name: &str) -> PathBuf {
        state::registry(&self.state_dir()).join(name)
    }

    /// Version `number` of the registry, with the tenant in `cell`.
    pub(crate) fn publish(&self, number: u64, cell: &str) {
        let (disk, restored) = Disk::open(&state::registry(&self.state_dir())).unwrap();
        let first = restored.snapshot.clone().unwrap_or_else(Snapshot::empty);
        let (mut writer, reader) = registry::channel(first);
        writer.resume(restored.floor, None);
        let journal = Journal::default();
        writer.record(journal.clone());
        let keeper = Keeper::new(disk, &restored, reader, journal.clone());
        writer.publish(snapshot(number, cell)).unwrap();
        writer.contacted();
        journal.close();
        keeper.run();
    }

    pub(crate) fn publish_keys(&self, keys: &[Value]) {
        let config = self.config(json!({}));
        let file = LastGood::new(
            &state::provider_keys(&self.state_dir()),
            &config.identity.providers[0],
        );
        file.save(&key_set(keys), unix_now()).unwrap();
    }

    pub(crate) fn publish_signing_key(&self, signs: bool) {
        let path = state::signing_key(&self.state_dir());
        signing_key::write(&path, "router-1", &self.pkcs8, signs).unwrap();
    }

    /// The policy file with this text.
    pub(crate) fn policy(&self, text: &str) -> PathBuf {
        let path = self.folder.path().join("policy.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn config(&self, more: Value) -> Config {
        let mut settings = json!({
            "ALPHASWARM_STATE_DIR": self.state_dir().display().to_string(),
            "IDENTITY_CONFIG": self.folder.path().join("identity.toml").display().to_string(),
            "POLICY_FILE": "none",
        });
        for (name, value) in more.as_object().unwrap() {
            settings[name] = value.clone();
        }
        Config::parse(settings.to_string().as_bytes()).unwrap()
    }

    /// An edge that has read nothing yet.
    pub(crate) fn edge(&self) -> Arc<Edge> {
        self.edge_with(json!({}))
    }

    pub(crate) fn edge_with(&self, more: Value) -> Arc<Edge> {
        let config = self.config(more);
        let policy = config.policy().unwrap();
        Arc::new(Edge::new(config, policy, 2).unwrap())
    }

    /// An edge that has read everything.
    pub(crate) fn ready_edge(&self, more: Value) -> Arc<Edge> {
        let edge = self.edge_with(more);
        self.follow(&edge).look();
        edge
    }

    pub(crate) fn follow(&self, edge: &Arc<Edge>) -> Follow<FakeOutside> {
        let seen = edge
            .config()
            .rules
            .policy_file
            .as_deref()
            .and_then(decision::policy::stamp);
        Follow::new(Arc::clone(edge), Watch::new(seen), FakeOutside::default())
    }

    /// A good token of the tenant `alpha`, with these claims on top.
    pub(crate) fn token(&self, more: Value) -> String {
        sign(&self.signer, more)
    }
}

/// The same by any key.
pub(crate) fn sign(signer: &Signer, more: Value) -> String {
    let now = unix_now();
    let mut claims = json!({
        "iss": "https://x.eu.auth0.com/", "aud": "https://api.example", "sub": "auth0|somebody",
        "iat": now - 10, "exp": now + 600, "azp": "a-client", "scope": "read:all", "org_id": "org_alpha",
    });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let header = json!({"alg": "ES256", "typ": "JWT", "kid": signer.kid});
    signer.sign(&header.to_string(), &claims.to_string())
}

fn snapshot(number: u64, cell: &str) -> Snapshot {
    let mut builder = Builder::default();
    let mut put = |record| builder.put(record).unwrap();
    for id in ["cell-a", "cell-b"] {
        put(Record::Cell(Cell {
            id: id.parse().unwrap(),
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
    put(Record::Tenant(Tenant {
        id: "alpha".parse().unwrap(),
        state: TenantState::Active,
        name: String::new(),
        requests_per_second: None,
        tier: None,
        region: None,
        apart: None,
        drain: Drain::Refuse,
    }));
    put(Record::Link(Link {
        provider: "auth0".parse().unwrap(),
        kind: LinkKind::OrgId,
        external_id: "org_alpha".to_owned(),
        tenant: "alpha".parse().unwrap(),
        state: LinkState::Active,
    }));
    put(Record::Placement(Placement {
        tenant: "alpha".parse().unwrap(),
        cell: cell.parse().unwrap(),
        epoch: number,
        phase: Phase::Settled,
        target: None,
        previous: None,
        flipped_at: None,
        mover: Mover::Operator,
        drain: Drain::Refuse,
    }));
    let version = Version { epoch: 1, number };
    builder.finish(Position { version, lineage: 7 }).unwrap()
}

/// Headers of which Envoy joins repeated lines.
const JOINED: [&str; 4] = ["authorization", "content-type", "upgrade", "x-request-id"];

/// One request in the hands of an Envoy that remembers what was done to it.
#[derive(Default)]
pub(crate) struct FakeHost {
    pub(crate) method: Vec<u8>,
    pub(crate) host: Vec<u8>,
    pub(crate) path: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
    /// How often the route is chosen again.
    pub(crate) cleared: u32,
    /// What the client got.
    pub(crate) answer: Option<FakeAnswer>,
    pub(crate) notes: BTreeMap<String, String>,
    pub(crate) counted: Vec<Counter>,
    /// Refuses to set headers.
    pub(crate) refuses: bool,
    /// Panics when the method is asked for.
    pub(crate) panics: bool,
}

/// An answer as the client got it.
#[derive(Debug)]
pub(crate) struct FakeAnswer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<&'static str, String>,
    pub(crate) body: String,
    pub(crate) details: &'static str,
}

impl FakeHost {
    pub(crate) fn get(path: &str) -> Self {
        Self {
            method: b"GET".to_vec(),
            host: b"api.example.com".to_vec(),
            path: path.as_bytes().to_vec(),
            ..Self::default()
        }
    }

    pub(crate) fn bearer(path: &str, token: &str) -> Self {
        Self::get(path).with("authorization", &format!("Bearer {token}"))
    }

    /// With one more header line.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        let joined = JOINED
            .contains(&name)
            .then(|| self.headers.iter_mut().find(|(known, _)| known == name))
            .flatten();
        match joined {
            Some((_, before)) => {
                before.push(b',');
                before.extend(value.as_bytes());
            }
            None => self.headers.push((name.to_owned(), value.as_bytes().to_vec())),
        }
        self
    }

    /// What the cell would receive under this name.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        match self.header(name) {
            Field::Absent => None,
            Field::One(value) => Some(std::str::from_utf8(value).unwrap()),
            Field::Repeated => panic!("{name} is there twice"),
        }
    }

    #[track_caller]
    pub(crate) fn answered(&self) -> &FakeAnswer {
        self.answer.as_ref().expect("it was not answered")
    }
}

impl Host for FakeHost {
    fn header(&self, name: &str) -> Field<'_> {
        let mut field = Field::Absent;
        for (_, value) in self.headers.iter().filter(|(known, _)| known == name) {
            field.push(value);
        }
        field
    }

    fn attribute(&self, attribute: Attribute) -> &[u8] {
        match attribute {
            Attribute::Method => {
                assert!(!self.panics, "as a bug would");
                &self.method
            }
            Attribute::Host => &self.host,
            Attribute::Path => &self.path,
        }
    }

    fn set_header(&mut self, name: &str, value: &str) -> bool {
        self.headers.retain(|(known, _)| known != name);
        // As Envoy does it: an empty value is none.
        if !value.is_empty() {
            self.headers.push((name.to_owned(), value.as_bytes().to_vec()));
        }
        !self.refuses
    }

    fn remove_header(&mut self, name: &str) -> bool {
        self.headers.retain(|(known, _)| known != name);
        true
    }

    fn clear_route_cache(&mut self) {
        self.cleared += 1;
    }

    fn respond(&mut self, answer: &Answer<'_>) {
        assert!(self.answer.is_none(), "it was answered already");
        let headers: BTreeMap<_, _> = answer.headers.iter().cloned().collect();
        assert_eq!(headers.len(), answer.headers.len(), "each once");
        self.answer = Some(FakeAnswer {
            status: answer.status,
            headers,
            body: answer.body.to_owned(),
            details: answer.details,
        });
    }

    fn note(&mut self, key: &str, value: &str) {
        self.notes.insert(key.to_owned(), value.to_owned());
    }

    fn count(&mut self, counter: Counter) {
        self.counted.push(counter);
    }
}

/// Envoy's log.
#[derive(Clone, Default)]
pub(crate) struct FakeOutside {
    lines: Arc<Mutex<Vec<String>>>,
}

impl FakeOutside {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Outside for FakeOutside {
    fn log(&self, level: Level, line: &str) {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(format!("{level:?} {line}"));
    }

    fn show_gauges(&self) {}
}
