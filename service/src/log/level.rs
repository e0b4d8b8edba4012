//! The log's filter, changed while the process runs. A change ends by itself: nobody remembers at night what they turned
//! up at noon. Libraries stay capped whatever a filter says; see [`start`](super::start).

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use contract::api::LogLevel;
use tokio::time::Instant;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::{Registry, reload};

/// The longest that a change lasts.
pub const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// How long it lasts when nobody says.
pub const USUAL: Duration = Duration::from_secs(600);
/// The longest filter.
const MAX_FILTER: usize = 1024;

/// The process's filter, once logging is started.
static FILTER: OnceLock<Filter> = OnceLock::new();

/// The filter that lines pass.
pub(super) type Reloadable = reload::Layer<EnvFilter, Registry>;

struct Filter {
    place: reload::Handle<EnvFilter, Registry>,
    configured: String,
    changed: Mutex<Option<Changed>>,
}

struct Changed {
    filter: String,
    until: Instant,
}

/// The configured filter, in a place where it can be changed.
pub(super) fn begin(configured: &str) -> Reloadable {
    let (filter, place) = reload::Layer::new(EnvFilter::new(configured));
    // Several apps of one process (tests) share the first one's log.
    let _ = FILTER.set(Filter {
        place,
        configured: configured.to_owned(),
        changed: Mutex::new(None),
    });
    filter
}

/// The filter as it is.
#[must_use]
pub fn level() -> Option<LogLevel> {
    FILTER.get().map(Filter::level)
}

/// Changes the filter for `lasts`, at most [`LONGEST`], instead of any change before; the configured filter then comes
/// back. Needs a runtime. The error says what would be right.
pub fn change(filter: &str, lasts: Duration) -> Result<LogLevel, String> {
    let place = FILTER.get().ok_or("this process has no log of its own")?;
    place.change(filter, lasts)
}

impl Filter {
    fn level(&self) -> LogLevel {
        let changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        LogLevel {
            filter: changed
                .as_ref()
                .map_or_else(|| self.configured.clone(), |changed| changed.filter.clone()),
            configured: self.configured.clone(),
            reverts_in_seconds: changed
                .as_ref()
                .map(|changed| changed.until.saturating_duration_since(Instant::now()).as_secs()),
        }
    }

    fn change(&'static self, filter: &str, lasts: Duration) -> Result<LogLevel, String> {
        if filter.trim().is_empty() || filter.len() > MAX_FILTER {
            return Err(format!(
                "a filter has 1 to {MAX_FILTER} characters, for example info,decision=debug"
            ));
        }
        if lasts.is_zero() || lasts > LONGEST {
            return Err("a change lasts from a second to a day".to_owned());
        }
        let parsed =
            EnvFilter::try_new(filter).map_err(|error| format!("{filter:?} is no log filter: {error}"))?;
        let until = Instant::now() + lasts;
        {
            let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
            self.place.reload(parsed).map_err(|error| error.to_string())?;
            *changed = Some(Changed {
                filter: filter.to_owned(),
                until,
            });
        }
        tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            self.revert(until);
        });
        Ok(self.level())
    }

    /// Back to the configured filter, unless somebody has changed it again since.
    fn revert(&self, until: Instant) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        if changed.as_ref().is_some_and(|changed| changed.until == until) {
            let _ = self.place.reload(EnvFilter::new(&self.configured));
            *changed = None;
            drop(changed);
            tracing::info!(target: "audit", action = "log-level", outcome = "reverted", filter = self.configured);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A filter of its own: the process's may belong to another test. The layer is kept, since a handle is good only as
    /// long as it is there.
    fn filter() -> (Reloadable, &'static Filter) {
        let (layer, place) = reload::Layer::new(EnvFilter::new("info"));
        let filter = Box::leak(Box::new(Filter {
            place,
            configured: "info".to_owned(),
            changed: Mutex::new(None),
        }));
        (layer, filter)
    }

    #[tokio::test]
    async fn a_change_ends_by_itself() {
        let (_layer, filter) = filter();
        let changed = filter.change("warn", Duration::from_millis(20)).unwrap();
        assert_eq!(
            (changed.filter.as_str(), changed.configured.as_str()),
            ("warn", "info")
        );
        let deadline = Instant::now() + Duration::from_secs(20);
        while filter.level().filter != "info" {
            assert!(Instant::now() < deadline, "still changed");
            tokio::task::yield_now().await;
        }
        assert_eq!(filter.level().reverts_in_seconds, None);
    }

    #[tokio::test]
    async fn a_later_change_outlives_the_end_of_the_first() {
        let (_layer, filter) = filter();
        filter.change("warn", Duration::from_secs(60)).unwrap();
        let end_of_first = filter.changed.lock().unwrap().as_ref().unwrap().until;
        filter.change("debug", Duration::from_secs(3600)).unwrap();
        filter.revert(end_of_first);
        assert_eq!(filter.level().filter, "debug");
        let end = filter.changed.lock().unwrap().as_ref().unwrap().until;
        filter.revert(end);
        assert_eq!(filter.level().filter, "info");
    }

    #[tokio::test]
    async fn a_bad_filter_or_time_changes_nothing() {
        let (_layer, filter) = filter();
        let minute = Duration::from_secs(60);
        for (text, lasts) in [
            ("", minute),
            (" ", minute),
            ("router=loud", minute),
            (&*"a".repeat(2000), minute),
            ("debug", Duration::ZERO),
            ("debug", LONGEST + minute),
        ] {
            assert!(filter.change(text, lasts).is_err(), "{text:.20} {lasts:?}");
        }
        assert_eq!(filter.level().reverts_in_seconds, None);
    }
}
