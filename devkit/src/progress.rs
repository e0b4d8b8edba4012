//! What a person sees while something takes long.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

/// Takes one line.
type Line = dyn Fn(&str) + Send + Sync;

/// Where progress lines go. Cheap to clone.
#[derive(Clone)]
pub struct Progress {
    line: Option<Arc<Line>>,
    /// Whether a line may be written over.
    terminal: bool,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress")
            .field("terminal", &self.terminal)
            .finish_non_exhaustive()
    }
}

impl Progress {
    /// Says nothing.
    #[must_use]
    pub fn silent() -> Self {
        Self {
            line: None,
            terminal: false,
        }
    }

    /// Lines on stderr; on a terminal a running step counts its seconds.
    #[must_use]
    pub fn stderr() -> Self {
        Self {
            line: Some(Arc::new(|line| eprintln!("{line}"))),
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Lines into a function.
    pub fn lines(line: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self {
            line: Some(Arc::new(line)),
            terminal: false,
        }
    }

    /// One line.
    pub fn say(&self, line: &str) {
        if let Some(write) = &self.line {
            write(line);
        }
    }

    /// Shows `text` while `work` runs.
    pub async fn during<T>(&self, text: &str, work: impl Future<Output = T>) -> T {
        if !self.terminal {
            self.say(text);
            return work.await;
        }
        let mut work = std::pin::pin!(work);
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        let mut elapsed = 0;
        let result = loop {
            tokio::select! {
                result = &mut work => break result,
                _ = seconds.tick() => {
                    let _ = write!(std::io::stderr(), "\r{text} … {elapsed} s");
                    elapsed += 1;
                }
            }
        };
        let _ = writeln!(std::io::stderr());
        result
    }
}
