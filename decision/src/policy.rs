//! The policy file: which class a route has, the platform services, CORS origins.
//!
//! Rules are matched by host, method and path; the most specific one wins, and two rules that could both be the most
//! specific one refuse the file, so that an order of lines never decides who may do what.

mod file;
#[cfg(feature = "settings")]
mod read;
#[cfg(test)]
mod tests;

use contract::CellId;
use contract::assertion::Access;
use identity::AssertionSlot;

use crate::attributes::Attributes;

pub use contract::assertion::CbaMode;
pub use file::PolicyErrors;
#[cfg(feature = "settings")]
pub use read::{Stamp, Watch, read, stamp};

/// `AUTH_MODE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthMode {
    /// A good token, except on public routes.
    #[default]
    Required,
    /// Dev only: without a token the host names the tenant.
    Optional,
    /// Dev only: tokens are not read, the host names the tenant.
    Disabled,
}

impl AuthMode {
    /// The name, as in settings and in `/readyz`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optional => "optional",
            Self::Disabled => "disabled",
        }
    }
}

/// What a route asks of its caller.
#[derive(Debug)]
pub enum Class {
    /// A good token of a tenant.
    Authenticated,
    /// … with a strong sign-in, not older than `max_age` seconds where that is set.
    StepUp {
        /// Seconds since the sign-in.
        max_age: Option<u32>,
    },
    /// No token needed: without one the request goes to this cell; with one, the token decides.
    Public {
        /// Where anonymous requests go.
        cell: CellId,
        /// The last anonymous assertion minted for that cell.
        assertion: AssertionSlot,
    },
    /// To a platform service; a tenant is not needed.
    Platform {
        /// Its name under `[[platform]]`.
        platform: String,
        /// No token needed either.
        anonymous: bool,
    },
}

impl Class {
    /// The class as the file names it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Authenticated => "authenticated",
            Self::StepUp { .. } => "step_up",
            Self::Public { .. } => "public",
            Self::Platform { .. } => "platform",
        }
    }
}

/// One rule of the file.
#[derive(Debug)]
pub struct Rule {
    /// `None`: any host.
    host: Option<HostPattern>,
    /// Empty: any method.
    methods: Vec<String>,
    path: PathPattern,
    /// Scopes that the token must hold, all of them.
    pub scopes: Vec<String>,
    /// What its requests may do, where their method does not tell: a POST that searches, a GET that acts.
    access: Option<Access>,
    /// What the route asks.
    pub class: Class,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPattern {
    Exact(String),
    /// `*.example.com`: any host below it, not itself. Kept with its leading dot.
    Below(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum PathPattern {
    Exact(String),
    /// The path itself and everything below it: `/a` matches `/a` and `/a/b`, not `/ab`.
    Prefix(String),
}

/// A service of ours that is no cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// Id grammar.
    pub name: String,
    /// `host:port`.
    pub address: String,
}

/// The compiled policy file.
#[derive(Debug)]
pub struct Policy {
    /// Most specific first.
    rules: Vec<Rule>,
    otherwise: Rule,
    strictest: Rule,
    platforms: Vec<Platform>,
    cors_origins: Vec<String>,
    requests_per_second: Option<u32>,
    generation: u64,
}

impl Policy {
    /// Compiles the file's text; every error is reported. `generation` tells reloads apart.
    pub fn parse(text: &str, generation: u64) -> Result<Self, PolicyErrors> {
        file::parse(text, generation)
    }

    /// The rule for a request whose method, host and path are vouched for. Host and path are canonical.
    #[must_use]
    pub fn lookup(&self, method: &str, host: &str, path: &str) -> &Rule {
        self.rules
            .iter()
            .find(|rule| rule.matches(method, host, path))
            .unwrap_or(&self.otherwise)
    }

    /// The rule for a request of which nothing is known: every demand that any rule makes, and no exemption.
    #[must_use]
    pub const fn strictest(&self) -> &Rule {
        &self.strictest
    }

    /// The platform services, sorted by name.
    #[must_use]
    pub fn platforms(&self) -> &[Platform] {
        &self.platforms
    }

    /// Origins that may call from a browser: exact origins, or `*` for any (then without credentials).
    #[must_use]
    pub fn cors_origins(&self) -> &[String] {
        &self.cors_origins
    }

    /// What one router admits of a tenant that has no limit of its own; `None`: anything.
    #[must_use]
    pub const fn requests_per_second(&self) -> Option<u32> {
        self.requests_per_second
    }

    /// Which load of the file this is.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }
}

impl Default for Policy {
    /// Every route `authenticated`, no platform services, no CORS.
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            otherwise: Rule::any(Class::Authenticated),
            strictest: Rule {
                access: Some(Access::Write),
                ..Rule::any(Class::Authenticated)
            },
            platforms: Vec::new(),
            cors_origins: Vec::new(),
            requests_per_second: None,
            generation: 0,
        }
    }
}

impl Rule {
    const fn any(class: Class) -> Self {
        Self {
            host: None,
            methods: Vec::new(),
            path: PathPattern::Prefix(String::new()),
            scopes: Vec::new(),
            access: None,
            class,
        }
    }

    /// What a request that matches may do. `read` is an exemption from a drain's refusal, so it holds for exactly the
    /// path that was written, and never for a request that goes on with another protocol.
    #[must_use]
    pub(crate) fn access(&self, request: &Attributes<'_>) -> Access {
        match self.access {
            Some(Access::Write) => Access::Write,
            Some(Access::Read)
                if request.has_no_upgrade()
                    && request.method != "CONNECT"
                    && self.path.matches(request.path_only(), Case::Exact) =>
            {
                Access::Read
            }
            _ => request.access(),
        }
    }

    fn matches(&self, method: &str, host: &str, path: &str) -> bool {
        self.path.matches(path, self.case())
            && (self.methods.is_empty()
                || self
                    .methods
                    .iter()
                    .any(|m| m == method || (m == "GET" && method == "HEAD")))
            && self.host.as_ref().is_none_or(|pattern| pattern.matches(host))
    }

    /// Some frameworks ignore case in paths: a demand must hold for `/ADMIN` too. An exemption is for exactly what was
    /// written.
    const fn case(&self) -> Case {
        match self.class {
            Class::Public { .. } | Class::Platform { anonymous: true, .. } => Case::Exact,
            Class::Authenticated | Class::StepUp { .. } | Class::Platform { anonymous: false, .. } => {
                Case::Ignored
            }
        }
    }

    /// Greater is more specific: the host first, then the path, then the method.
    fn specificity(&self) -> (usize, bool, usize, bool) {
        let host = match &self.host {
            None => 0,
            Some(HostPattern::Below(suffix)) => suffix.len(),
            Some(HostPattern::Exact(_)) => usize::MAX,
        };
        let (exact, length) = match &self.path {
            PathPattern::Exact(path) => (true, path.len()),
            PathPattern::Prefix(prefix) => (false, prefix.len()),
        };
        (host, exact, length, !self.methods.is_empty())
    }

    /// Whether some request matches both rules equally well.
    fn conflicts_with(&self, other: &Self) -> bool {
        self.host == other.host
            && self.path == other.path
            && self.methods.is_empty() == other.methods.is_empty()
            && (self.methods.is_empty() || self.methods.iter().any(|m| other.methods.contains(m)))
    }
}

/// Which requests it is about.
impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.methods.is_empty() {
            f.write_str("any method")?;
        } else {
            f.write_str(&self.methods.join(" or "))?;
        }
        match &self.host {
            None => f.write_str(", any host")?,
            Some(HostPattern::Exact(name)) => write!(f, ", host {name}")?,
            Some(HostPattern::Below(suffix)) => write!(f, ", host *{suffix}")?,
        }
        match &self.path {
            PathPattern::Exact(path) => write!(f, ", path {path}"),
            PathPattern::Prefix(prefix) if prefix.is_empty() => f.write_str(", any path"),
            PathPattern::Prefix(prefix) => write!(f, ", paths below {prefix}"),
        }
    }
}

impl HostPattern {
    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        }
    }
}

#[derive(Clone, Copy)]
enum Case {
    Exact,
    Ignored,
}

impl Case {
    fn equal(self, a: &str, b: &str) -> bool {
        match self {
            Self::Exact => a == b,
            Self::Ignored => a.eq_ignore_ascii_case(b),
        }
    }
}

impl PathPattern {
    fn matches(&self, path: &str, case: Case) -> bool {
        match self {
            Self::Exact(exact) => case.equal(exact, path),
            Self::Prefix(prefix) => {
                let starts = path
                    .get(..prefix.len())
                    .is_some_and(|start| case.equal(start, prefix));
                let rest = path.get(prefix.len()..).unwrap_or_default();
                starts
                    && (rest.is_empty()
                        || rest.starts_with('/')
                        || prefix.ends_with('/')
                        || prefix.is_empty())
            }
        }
    }
}
