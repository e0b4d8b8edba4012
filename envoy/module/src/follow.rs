//! The thread that reads what the router on this host publishes, and swaps worlds. It looks at every file each 50 ms (a
//! `stat`) and reads what changed. Requests never wait for it, and what it cannot use leaves the last good in place.

mod complaints;
mod seen;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use contract::ProviderId;
use decision::Policy;
use decision::policy::{self, Watch};
use files::{Stamp, state};
use identity::disk::LastGood;
use identity::disk::signing_key::{self, SigningKey};
use identity::{KeysFrom, unix_now};
use registry::Snapshot;
use registry::disk::{Applied, Follower};

use crate::host::Outside;
use crate::world::{Edge, World};
use complaints::Complaints;
use seen::Seen;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Between two looks at the policy file, which people write: it is read once it has stood still for one of them.
const LOOK_AT_POLICY: Duration = Duration::from_millis(250);
/// Between two times at which the gauges are shown.
const SHOW: Duration = Duration::from_secs(1);
/// So long Envoy's start waits for the first look. It is not slow but where a disk hangs, and then Envoy starts, and
/// answers 503 until it is done.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// The thread. It ends soon after this is dropped, which does not wait for it: a disk may hang.
pub struct Following {
    stop: Arc<AtomicBool>,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Starts the thread and waits for its first look.
pub fn start(
    edge: Arc<Edge>,
    policy_seen: Watch,
    outside: impl Outside + 'static,
) -> std::io::Result<Following> {
    let following = Following { stop: Arc::default() };
    let stop = Arc::clone(&following.stop);
    let (looked, first) = mpsc::channel();
    std::thread::Builder::new()
        // The kernel keeps 15 characters.
        .name("alphaswarm-look".to_owned())
        .spawn(move || {
            let mut follow = Follow::new(edge, policy_seen, outside);
            follow.look_safely();
            let _ = looked.send(());
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(LOOK);
                follow.look_safely();
            }
        })?;
    // Late or not: nothing is allowed before it, and the thread says what it misses.
    let _ = first.recv_timeout(FIRST_LOOK);
    Ok(following)
}

/// What is followed, and what was read of it.
pub struct Follow<O> {
    edge: Arc<Edge>,
    outside: O,
    complaints: Complaints,
    registry: Follower,
    keys: Vec<ProviderKeys>,
    policy: Option<PolicyFile>,
    signing_key: SigningKeyFile,
    read: Read,
    /// What the router is told; `None` before there was anything to decide by, or while it cannot be.
    applied: Option<Applied>,
    /// Worlds that requests may still be using: they are freed here, and not on a thread that serves.
    retired: Vec<Arc<World>>,
    shown: Option<Instant>,
}

/// What was read and is in no world yet: no file is read twice, so a look that ends early leaves it to the next.
#[derive(Default)]
struct Read {
    registry: bool,
    policy: Option<Arc<Policy>>,
    key: Option<Arc<SigningKey>>,
}

struct ProviderKeys {
    provider: ProviderId,
    /// What its complaints are called.
    source: String,
    file: LastGood,
    seen: Seen<Stamp>,
}

struct PolicyFile {
    path: PathBuf,
    watch: Watch,
    looked: Instant,
    /// Only of reading again what could not be read: `watch` says when it is another one.
    seen: Seen<()>,
}

struct SigningKeyFile {
    path: PathBuf,
    seen: Seen<Stamp>,
}

impl<O: Outside> Follow<O> {
    /// Nothing read yet but the policy, whose file was as in `policy_seen` then.
    pub fn new(edge: Arc<Edge>, policy_seen: Watch, outside: O) -> Self {
        let config = edge.config();
        let state_dir = &config.state_dir;
        let keys_dir = state::provider_keys(state_dir);
        let keys = config.identity.providers.iter().map(|provider| ProviderKeys {
            provider: provider.id().clone(),
            source: format!("keys of {}", provider.id()),
            file: LastGood::new(&keys_dir, provider),
            seen: Seen::nothing(),
        });
        Self {
            keys: keys.collect(),
            registry: Follower::new(&state::registry(state_dir)),
            policy: config.rules.policy_file.clone().map(|path| PolicyFile {
                path,
                watch: policy_seen,
                looked: Instant::now(),
                seen: Seen::nothing(),
            }),
            signing_key: SigningKeyFile {
                path: state::signing_key(state_dir),
                seen: Seen::nothing(),
            },
            complaints: Complaints::default(),
            read: Read::default(),
            applied: None,
            retired: Vec::new(),
            shown: None,
            outside,
            edge,
        }
    }

    /// One look. A panic in it is a bug, which must not end the following: what is served would grow old unseen.
    fn look_safely(&mut self) {
        let panicked = catch_unwind(AssertUnwindSafe(|| self.look())).is_err();
        let wrong = "a bug: reading what the router publishes panicked; the last good stays";
        self.complaints
            .note("following", panicked.then(|| wrong.to_owned()));
        if panicked {
            self.say();
        }
    }

    /// One look at everything.
    pub fn look(&mut self) {
        let edge = Arc::clone(&self.edge);
        let world = edge.world();
        let keys = self.look_at_keys();
        if let Some(key) = self.signing_key.look(&mut self.complaints) {
            self.read.key = Some(Arc::new(key));
        }
        if let Some(file) = &mut self.policy
            && let Some(policy) = file.look(world.policy.generation(), &mut self.complaints)
        {
            self.read.policy = Some(Arc::new(policy));
        }
        self.read.registry |= self.look_at_registry(&world);
        let read = std::mem::take(&mut self.read);
        let swapped = read.registry || read.key.is_some() || read.policy.is_some();
        if swapped {
            self.begin_to_tell();
            let next = World::new(
                self.registry.snapshot().cloned().unwrap_or_else(Snapshot::empty),
                self.registry.heard(),
                self.registry.refused().is_empty(),
                read.policy.unwrap_or_else(|| Arc::clone(&world.policy)),
                read.key.or_else(|| world.key.clone()),
            );
            drop(world);
            self.retired.push(edge.swap(next));
        } else {
            drop(world);
        }
        self.retired.retain(|world| Arc::strong_count(world) > 1);
        if self.retired.is_empty() {
            self.tell();
        }
        self.show(swapped || keys);
    }

    /// Before the first requests are decided by a registry: from then on what we have not told holds the router's word back.
    /// Tried again while there is no room to tell anything.
    fn begin_to_tell(&mut self) {
        if self.applied.as_ref().is_some_and(Applied::tells) || self.registry.snapshot().is_none() {
            return;
        }
        let directory = state::applied(&self.edge.config().state_dir);
        match Applied::begin(&directory) {
            Ok(applied) => self.applied = Some(applied),
            Err(error) => self.complaints.note(
                "applied version",
                Some(format!(
                    "{}: {error}; the fleet believes that this Envoy applies what it does not",
                    directory.display()
                )),
            ),
        }
    }

    /// No request is decided by an older world than the one of now.
    fn tell(&mut self) {
        self.begin_to_tell();
        let version = self.edge.world().at();
        if let Some(applied) = &mut self.applied {
            let told = applied.tell(version);
            let complaint = told.err().map(|error| format!("it cannot be told: {error}"));
            self.complaints.note("applied version", complaint);
        }
    }

    /// Whether the registry is another one than in `world`, or heard from at another time.
    fn look_at_registry(&mut self, world: &World) -> bool {
        let changed = self.registry.look();
        let refused: Vec<String> = self.registry.refused().iter().map(ToString::to_string).collect();
        let missing = self.registry.snapshot().is_none() && refused.is_empty();
        let complaint = if missing {
            Some("the router has not published any; nothing is allowed".to_owned())
        } else {
            (!refused.is_empty()).then(|| refused.join("; "))
        };
        self.complaints.note("registry", complaint);
        changed || self.registry.refused().is_empty() != world.files_are_good
    }

    /// Whether a provider has other keys.
    fn look_at_keys(&mut self) -> bool {
        let mut changed = false;
        let longest = i64::try_from(self.edge.config().keys_max_staleness.as_secs()).unwrap_or(i64::MAX);
        for keys in &mut self.keys {
            let stamp = Stamp::of(keys.file.path());
            if !keys.seen.wants(stamp.as_ref()) {
                continue;
            }
            let first = keys.seen.is_nothing();
            let loaded = keys.file.load(unix_now());
            keys.seen.was_read(stamp, loaded.is_ok());
            let complaint = match loaded {
                Ok(Some(ring)) => {
                    // What changes while we look on was fetched by the router just now: its word counts, also when
                    // its clock was set back meanwhile.
                    let from = if first { KeysFrom::Disk } else { KeysFrom::Network };
                    let ring = ring.with_max_staleness(longest);
                    self.edge.identity.publish_keys(&keys.provider, ring, from);
                    changed = true;
                    None
                }
                Ok(None) => Some("its file is gone; the last good ones stay in use".to_owned()),
                Err(error) => Some(error.to_string()),
            };
            self.complaints.note(&keys.source, complaint);
        }
        changed
    }

    /// Says what is to be said, and has the gauges shown from time to time. This is also what finds out that every
    /// provider has had keys.
    fn show(&mut self, changed: bool) {
        let due = self.shown.is_none_or(|at| at.elapsed() >= SHOW);
        if !due && !changed {
            return;
        }
        let (pending, _) = self.edge.standing(&self.edge.world()).pending();
        self.complaints.readiness(&pending);
        self.say();
        if due {
            self.shown = Some(Instant::now());
            // The caches do here what they put off, and not on a thread that serves.
            let _ = self.edge.identity.cache_status();
            self.outside.show_gauges();
        }
    }

    fn say(&mut self) {
        self.complaints.say(|level, line| self.outside.log(level, line));
    }
}

impl PolicyFile {
    /// A policy that has changed and stands still.
    fn look(&mut self, generation: u64, complaints: &mut Complaints) -> Option<Policy> {
        if self.looked.elapsed() < LOOK_AT_POLICY {
            return None;
        }
        self.looked = Instant::now();
        if !self.watch.is_due(policy::stamp(&self.path)) && !self.seen.is_due_again() {
            return None;
        }
        let read = policy::read(&self.path, generation + 1);
        self.seen.was_read(None, read.is_ok());
        let complaint = read.as_ref().err().map(|error| {
            let error = error.trim_end().replace('\n', "; ");
            format!("{error}; the last good one stays")
        });
        complaints.note("policy", complaint);
        read.ok()
    }
}

impl SigningKeyFile {
    /// The key, if it is another one or may sign from now on.
    fn look(&mut self, complaints: &mut Complaints) -> Option<SigningKey> {
        let stamp = Stamp::of(&self.path);
        if !self.seen.wants(stamp.as_ref()) {
            return None;
        }
        let read = signing_key::read(&self.path);
        self.seen.was_read(stamp, read.is_ok());
        let complaint = match &read {
            Ok(Some(_)) => None,
            Ok(None) => Some("its file is gone; the last one stays in use".to_owned()),
            Err(error) => Some(format!("{}: {error}", self.path.display())),
        };
        complaints.note("signing key", complaint);
        read.ok().flatten()
    }
}

#[cfg(test)]
mod tests;
