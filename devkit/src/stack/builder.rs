//! What stack is wanted.

mod start;

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::ValueEnum as _;

use super::Part;
use crate::envoy::packaging::Packaging;
use crate::progress::Progress;

/// Where Envoys decide of which nobody says it, so that whole suites run on either packaging: `service` or `module`.
const PACKAGING: &str = "ALPHASWARM_PACKAGING";

/// A stack that is wanted.
#[derive(Debug)]
pub struct Builder {
    state_dir: Option<PathBuf>,
    port_offset: Option<u16>,
    registry: Option<String>,
    routers: usize,
    envoys: usize,
    envoy_concurrency: u32,
    envoy_config: Option<String>,
    packaging: Packaging,
    modules: BTreeSet<usize>,
    identity: Option<String>,
    policy: Option<String>,
    seed: bool,
    control_plane: bool,
    feed: bool,
    held: BTreeSet<Part>,
    left_out: BTreeSet<Part>,
    env: Vec<(Part, String, String)>,
    args: Vec<(Part, String)>,
    traces: Option<String>,
    progress: Progress,
}

/// What the environment says. Anything else than the two names is a mistake, after which whole suites would run on the wrong
/// packaging.
fn packaging() -> Packaging {
    let named = std::env::var_os(PACKAGING).filter(|named| !named.is_empty());
    let Some(named) = named else {
        return Packaging::Service;
    };
    let parsed = named
        .to_str()
        .and_then(|name| Packaging::from_str(name, false).ok());
    #[expect(
        clippy::panic,
        reason = "a test or a person at a terminal asked for what there is not"
    )]
    parsed.unwrap_or_else(|| panic!("{PACKAGING} is service or module, not {}", named.display()))
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            state_dir: None,
            port_offset: None,
            registry: None,
            routers: 1,
            envoys: 1,
            envoy_concurrency: 1,
            envoy_config: None,
            packaging: packaging(),
            modules: BTreeSet::new(),
            identity: None,
            policy: None,
            seed: true,
            control_plane: false,
            feed: false,
            held: BTreeSet::new(),
            left_out: BTreeSet::new(),
            env: Vec::new(),
            args: Vec::new(),
            traces: None,
            progress: Progress::silent(),
        }
    }
}

impl Builder {
    /// A folder that stays, instead of a temporary one.
    #[must_use]
    pub fn state_dir(self, folder: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: Some(folder.into()),
            ..self
        }
    }

    /// `ALPHASWARM_PORT_OFFSET`, instead of any free block of ports.
    #[must_use]
    pub fn port_offset(self, offset: u16) -> Self {
        Self {
            port_offset: Some(offset),
            ..self
        }
    }

    /// Another registry than a SQLite file of the stack's own.
    #[must_use]
    pub fn registry(self, url: impl Into<String>) -> Self {
        Self {
            registry: Some(url.into()),
            ..self
        }
    }

    /// How many routers; each beyond the first has a block of ports of its own.
    #[must_use]
    pub fn routers(self, count: usize) -> Self {
        Self {
            routers: count,
            ..self
        }
    }

    /// How many Envoys; Envoy `n` asks router `n`, counted round.
    #[must_use]
    pub fn envoys(self, count: usize) -> Self {
        Self {
            envoys: count,
            ..self
        }
    }

    /// Worker threads of each Envoy; 1 by default.
    #[must_use]
    pub fn envoy_concurrency(self, threads: u32) -> Self {
        Self {
            envoy_concurrency: threads,
            ..self
        }
    }

    /// Where all Envoys decide. Of an Envoy with another configuration than the repository's, that says it.
    #[must_use]
    pub fn packaging(self, packaging: Packaging) -> Self {
        Self { packaging, ..self }
    }

    /// Envoy `n` decides inside, whatever the others do.
    #[must_use]
    pub fn module_in(mut self, n: usize) -> Self {
        self.modules.insert(n);
        self
    }

    /// Another Envoy configuration than the repository's, with default ports.
    #[must_use]
    pub fn envoy_config(self, yaml: impl Into<String>) -> Self {
        Self {
            envoy_config: Some(yaml.into()),
            ..self
        }
    }

    /// Another providers file than the dev identity provider's.
    #[must_use]
    pub fn identity(self, toml: impl Into<String>) -> Self {
        Self {
            identity: Some(toml.into()),
            ..self
        }
    }

    /// Another policy file.
    #[must_use]
    pub fn policy(self, toml: impl Into<String>) -> Self {
        Self {
            policy: Some(toml.into()),
            ..self
        }
    }

    /// Leaves the registry empty.
    #[must_use]
    pub fn unseeded(self) -> Self {
        Self { seed: false, ..self }
    }

    /// With the control plane, which few tests need.
    #[must_use]
    pub fn control_plane(self) -> Self {
        Self {
            control_plane: true,
            ..self
        }
    }

    /// With the control plane, and with routers that follow its feed instead of the database.
    #[must_use]
    pub fn feed(self) -> Self {
        Self {
            control_plane: true,
            feed: true,
            ..self
        }
    }

    /// Does not start `part` yet: [`Stack::start`] does.
    #[must_use]
    pub fn hold(mut self, part: Part) -> Self {
        self.held.insert(part);
        self
    }

    /// A stack that never has `part` (its program need not be built).
    #[must_use]
    pub fn without(mut self, part: Part) -> Self {
        self.left_out.insert(part);
        self
    }

    /// A variable for `part`, over its usual value.
    #[must_use]
    pub fn env(mut self, part: Part, name: &str, value: impl Into<String>) -> Self {
        self.env.push((part, name.to_owned(), value.into()));
        self
    }

    /// A further argument for `part`.
    #[must_use]
    pub fn arg(mut self, part: Part, arg: &str) -> Self {
        self.args.push((part, arg.to_owned()));
        self
    }

    /// Routers, control plane and cells send spans to this OTLP receiver. Envoy's configuration says where Envoy does.
    #[must_use]
    pub fn traces(self, endpoint: Option<String>) -> Self {
        Self {
            traces: endpoint,
            ..self
        }
    }

    /// Tells what happens.
    #[must_use]
    pub fn progress(self, progress: Progress) -> Self {
        Self { progress, ..self }
    }
}
