//! What a service manager is told (`Type=notify`): ready, stopping, and that the runtime still turns. Without systemd, which
//! shows by `NOTIFY_SOCKET`, nothing is sent.
//!
//! Reloads are not told: certificates, keys, policy and registry are followed while requests are served, nobody waits for
//! them, and a unit that is "reloading" would look less than ready.
//!
//! A manager that does not read blocks who writes to it. A thread of its own writes, behind a bounded queue: what does not
//! fit is dropped, and said again later where it must be known.

use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::drain::Shutdown;

/// Longer than any list of what is missing that a person reads.
const MAX_STATUS: usize = 500;

/// Messages that wait for the manager.
const QUEUE: usize = 16;

/// How often [`readiness`] looks.
const LOOK: Duration = Duration::from_millis(500);

/// What can be said.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Ready,
    Stopping,
    Watchdog,
    Status(String),
}

impl Said {
    fn state(&self) -> NotifyState<'_> {
        match self {
            Self::Ready => NotifyState::Ready,
            Self::Stopping => NotifyState::Stopping,
            Self::Watchdog => NotifyState::Watchdog,
            Self::Status(text) => NotifyState::Status(text),
        }
    }
}

/// What the manager knows of readiness.
#[derive(Debug, Default)]
pub struct Told {
    ready: bool,
    status: Option<String>,
}

impl Told {
    /// The process waits for `pending`; empty: it is ready. The first time that it is, the unit counts as started; from
    /// then on only the unit's status text follows. The status has no secret in it: probes show the same.
    pub fn pending(&mut self, pending: &[String]) {
        let status: String = if pending.is_empty() {
            "serving".to_owned()
        } else {
            format!("waits for: {}", pending.join("; "))
                .chars()
                .filter(|c| !c.is_control())
                .take(MAX_STATUS)
                .collect()
        };
        if self.status.as_ref() != Some(&status) && tell(Said::Status(status.clone())) {
            self.status = Some(status);
        }
        if pending.is_empty() && !self.ready {
            self.ready = tell(Said::Ready);
        }
    }
}

/// Tells the manager when the process becomes useful, and what it waits for, until `shutdown`.
pub async fn readiness(pending: impl Fn() -> Vec<String>, shutdown: Shutdown) {
    let mut manager = Told::default();
    let mut fired = std::pin::pin!(shutdown.fired());
    loop {
        manager.pending(&pending());
        tokio::select! {
            () = &mut fired => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// The process goes, in its own time: the unit's `TimeoutStopSec` must be longer than both drains together.
pub fn stopping() {
    tell(Said::Stopping);
}

/// Tells the manager again and again that the runtime turns, until `shutdown`; nothing where the unit has no watchdog. Each
/// time a new task is scheduled and waited for, so that a runtime whose threads are all stuck falls silent and is restarted.
pub async fn watchdog(shutdown: Shutdown) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    tracing::info!(seconds = limit.as_secs(), "the service manager watches");
    tokio::select! {
        () = shutdown.fired() => {}
        () = beat(interval(limit), || { tell(Said::Watchdog); }) => {}
    }
}

/// Three chances within the limit: one may come late on a busy machine.
fn interval(limit: Duration) -> Duration {
    (limit / 3).max(Duration::from_millis(10))
}

async fn beat(interval: Duration, told: impl Fn()) {
    loop {
        if tokio::spawn(async {}).await.is_ok() {
            told();
        }
        tokio::time::sleep(interval).await;
    }
}

/// Whether it will be said: not where the queue is full. True where there is nobody to tell.
fn tell(said: Said) -> bool {
    static TELLER: OnceLock<Option<SyncSender<Said>>> = OnceLock::new();
    let teller = TELLER.get_or_init(|| {
        std::env::var_os("NOTIFY_SOCKET")?;
        teller(|said: &Said| sd_notify::notify(&[said.state()]))
    });
    teller.as_ref().is_none_or(|teller| teller.try_send(said).is_ok())
}

/// A thread that says what comes. A manager that does not listen is no reason to stop serving, and neither is a thread that
/// cannot be had: then nothing is said.
fn teller(say: impl Fn(&Said) -> std::io::Result<()> + Send + 'static) -> Option<SyncSender<Said>> {
    let (sender, receiver) = sync_channel::<Said>(QUEUE);
    let started = std::thread::Builder::new()
        .name("systemd".to_owned())
        .spawn(move || {
            for said in receiver {
                if let Err(error) = say(&said) {
                    tracing::warn!(%error, "the service manager cannot be told");
                }
            }
        });
    match started {
        Ok(_) => Some(sender),
        Err(error) => {
            tracing::error!(%error, "the service manager cannot be told: no thread");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn the_limit_leaves_room_for_two_lost_beats() {
        assert_eq!(interval(Duration::from_secs(30)), Duration::from_secs(10));
        assert_eq!(interval(Duration::ZERO), Duration::from_millis(10));
    }

    #[test]
    fn a_stuck_runtime_falls_silent() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let beats = AtomicUsize::new(0);
        let count = || {
            beats.fetch_add(1, Ordering::Relaxed);
        };
        runtime.block_on(async {
            let stuck = async {
                while beats.load(Ordering::Relaxed) < 3 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                // Whatever blocks the only thread, for twenty beats.
                std::thread::sleep(Duration::from_millis(100));
                beats.load(Ordering::Relaxed)
            };
            tokio::select! {
                () = beat(Duration::from_millis(5), count) => unreachable!("it never ends"),
                at_most = stuck => assert!(at_most <= 4, "{at_most} beats from a thread that was stuck"),
            }
        });
    }

    #[test]
    fn a_manager_that_does_not_read_holds_nobody_up() {
        let (gate, wait) = std::sync::mpsc::channel::<()>();
        let (told, heard) = std::sync::mpsc::channel();
        let say = move |said: &Said| {
            let _ = wait.recv();
            drop(told.send(said.clone()));
            Ok(())
        };
        let sender = teller(say).unwrap();
        let accepted = (0..1000)
            .filter(|_| sender.try_send(Said::Watchdog).is_ok())
            .count();
        assert!((QUEUE..=QUEUE + 1).contains(&accepted), "{accepted}");
        drop(gate); // it reads again
        drop(sender);
        assert_eq!(heard.iter().count(), accepted);
    }
}
