//! How a process goes: readiness first, then GOAWAY, then a deadline, then by force.

use std::time::Duration;

use tokio::sync::watch;

/// One shutdown signal for every task.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// The other end of [`Shutdown`].
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// A signal that has not fired.
#[must_use]
pub fn signal() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Fires for good.
    pub fn fire(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Resolves when the signal has fired, or its trigger is gone.
    pub async fn fired(mut self) {
        let _ = self.0.wait_for(|fired| *fired).await;
    }
}

/// The first SIGTERM or SIGINT.
pub fn terminated() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// The connections of one listener that are to end gracefully.
#[derive(Debug)]
pub struct Connections(watch::Sender<bool>);

/// What a connection holds for as long as it lives.
#[derive(Debug)]
pub struct Watcher(watch::Receiver<bool>);

impl Default for Connections {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Watcher {
    /// Resolves when the connection is to finish.
    pub async fn asked(&mut self) {
        let _ = self.0.wait_for(|asked| *asked).await;
    }
}

impl Connections {
    /// For one connection.
    #[must_use]
    pub fn watcher(&self) -> Watcher {
        Watcher(self.0.subscribe())
    }

    /// Asks every connection to finish (GOAWAY on HTTP/2) and waits until all have, at most `deadline`. Returns
    /// whether all did.
    pub async fn drain(self, deadline: Duration) -> bool {
        self.0.send_replace(true);
        tokio::time::timeout(deadline, self.0.closed()).await.is_ok()
    }
}
