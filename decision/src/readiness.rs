//! Whether requests can be decided, and if not, what is waited for: in the same words whoever decides.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use identity::Identity;
use registry::Snapshot;
use serde::Serialize;

use crate::policy::{AuthMode, CbaMode};

/// `GET /readyz`: public, so counts only.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `ok` or `pending`.
    pub status: &'static str,
    /// Cells that are not retired.
    pub cells: u64,
    /// `AUTH_MODE`.
    pub auth_mode: &'static str,
    /// `CBA_MODE`.
    pub cba_mode: &'static str,
    /// The snapshot's version, `<epoch>.<number>`.
    pub registry_version: String,
    /// How the registry on disk is. A router keeps it: `ok`, `failing`, `in_use`, `refused` or `off`; the module in Envoy
    /// reads it: `ok` or `refused`.
    pub registry_disk: &'static str,
    /// Registry records that are malformed and left out.
    pub set_aside: usize,
    /// Providers whose keys were good once and are too old now: their tokens are refused, everybody else is served.
    pub stale_providers: usize,
    /// What is missing, when not ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<String>,
}

/// What there is to decide with.
pub struct Standing<'a> {
    /// The newest snapshot.
    pub snapshot: &'a Snapshot,
    /// How long ago the registry was heard from; `None` where that is not known.
    pub staleness: Option<Duration>,
    /// `REGISTRY_MAX_STALENESS`.
    pub max_staleness: Duration,
    /// Whether cells can verify what is signed, if anything is.
    pub can_assert: bool,
    /// Providers and their keys.
    pub identity: &'a Identity,
    /// Set for good, here, once every provider has had keys.
    pub warm: &'a AtomicBool,
    /// `AUTH_MODE`.
    pub auth_mode: AuthMode,
    /// `CBA_MODE`.
    pub cba_mode: CbaMode,
}

impl Standing<'_> {
    /// What is missing, empty when ready; and how many providers went stale.
    #[must_use]
    pub fn pending(&self) -> (Vec<String>, usize) {
        let mut pending = Vec::new();
        match self.staleness {
            None if self.snapshot.is_loaded() => {
                pending.push("registry: not heard from since the start".to_owned());
            }
            None => pending.push("registry: first snapshot".to_owned()),
            Some(age) if age > self.max_staleness => {
                pending.push(format!("registry: not heard from for {} s", age.as_secs()));
            }
            Some(_) => {}
        }
        if !self.can_assert {
            pending.push("assertion key: not published for long enough".to_owned());
        }
        let keys = self.identity.pending();
        if keys.is_empty() {
            // Before anybody hears that we are ready: from then on anonymous requests are decided too.
            self.warm.store(true, Ordering::Relaxed);
        }
        // A start waits for every provider. Later, one whose keys ran out must not take the others' tenants along: the
        // same outage reaches everybody who decides, and a load balancer would find nobody that is ready.
        let serves = self.warm.load(Ordering::Relaxed) && keys.len() < self.identity.provider_count();
        if serves {
            (pending, keys.len())
        } else {
            pending.extend(keys);
            (pending, 0)
        }
    }

    /// The public report.
    #[must_use]
    pub fn report(&self, registry_disk: &'static str) -> Report {
        let (pending, stale_providers) = self.pending();
        Report {
            status: Report::status(&pending),
            cells: self.snapshot.counts().cells,
            auth_mode: self.auth_mode.as_str(),
            cba_mode: self.cba_mode.as_str(),
            registry_version: self.snapshot.version().to_string(),
            registry_disk,
            set_aside: self.snapshot.set_aside().len(),
            stale_providers,
            pending,
        }
    }
}

impl Report {
    const fn status(pending: &[String]) -> &'static str {
        if pending.is_empty() { "ok" } else { "pending" }
    }

    /// The same that waits for `what` besides.
    #[must_use]
    pub fn waiting_for(mut self, what: &str) -> Self {
        self.pending.insert(0, what.to_owned());
        self.status = Self::status(&self.pending);
        self
    }
}

#[cfg(test)]
mod tests {
    use identity::{CacheOptions, IdentityConfig, Operators};

    use super::*;

    const PROVIDERS: &str = r#"
[[provider]]
name = "auth0"
kind = "auth0"
domain = "https://x.eu.auth0.com/"
audience = "https://api.example"
"#;

    #[test]
    fn what_is_missing_is_named_and_nobody_is_warm_before_the_keys() {
        let identity = Identity::new(
            IdentityConfig::parse(PROVIDERS).unwrap(),
            Operators::default(),
            CacheOptions::default(),
        );
        let (snapshot, warm) = (Snapshot::empty(), AtomicBool::new(false));
        let standing = Standing {
            snapshot: &snapshot,
            staleness: None,
            max_staleness: Duration::from_secs(60),
            can_assert: false,
            identity: &identity,
            warm: &warm,
            auth_mode: AuthMode::Required,
            cba_mode: CbaMode::Enforce,
        };
        let report = standing.report("ok").waiting_for("draining");
        assert_eq!(
            report.pending,
            [
                "draining",
                "registry: first snapshot",
                "assertion key: not published for long enough",
                "keys of provider auth0"
            ]
        );
        assert_eq!(
            (report.status, report.auth_mode, report.cba_mode),
            ("pending", "required", "enforce")
        );
        assert!(!warm.load(Ordering::Relaxed));
        let old = Standing {
            staleness: Some(Duration::from_secs(61)),
            ..standing
        };
        assert_eq!(old.pending().0[0], "registry: not heard from for 61 s");
    }
}
