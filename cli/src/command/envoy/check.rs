//! What in an Envoy configuration lets requests pass undecided, lets clients choose, or fails at night.
//!
//! Each rule stands for a trap that was met on the real Envoy 1.40. Rules look at what is written in the file: what
//! arrives by xDS is the router's to get right. Fields that Envoy does not know are Envoy's to refuse
//! (`envoy --mode validate`).

mod authz;
mod connection;
mod node;
mod paths;
mod traces;
mod transport;

use serde::Serialize;

use node::Node;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Severity {
    /// Requests may pass undecided, or be decided by what a client says.
    Error,
    /// Works until something else goes wrong.
    Warning,
}

/// One objection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// From 1.
    pub(super) line: usize,
    /// From 1.
    pub(super) column: usize,
    /// How bad it is.
    pub(super) severity: Severity,
    /// The rule's name.
    pub(super) rule: &'static str,
    /// What is wrong.
    pub(super) problem: String,
    /// What to do.
    pub(super) fix: String,
}

/// A rule: its name, and how bad it is to break it.
#[derive(Clone, Copy)]
struct Rule(&'static str, Severity);

/// Findings so far.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn object(&mut self, rule: Rule, at: Node<'_>, problem: impl Into<String>, fix: impl Into<String>) {
        let (line, column) = at.position();
        self.0.push(Finding {
            line,
            column,
            severity: rule.1,
            rule: rule.0,
            problem: problem.into(),
            fix: fix.into(),
        });
    }
}

const GROUPS: [&[Rule]; 5] = [
    authz::RULES,
    connection::RULES,
    paths::RULES,
    traces::RULES,
    transport::RULES,
];

/// The names of all rules.
pub(crate) fn rules() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().flat_map(|rules| rules.iter().map(|rule| rule.0))
}

/// Whether a rule has this name.
pub(super) fn is_rule(name: &str) -> bool {
    rules().any(|rule| rule == name)
}

/// Everything to object to, from top to bottom. The error says why the text is no configuration.
pub(super) fn check(text: &str) -> Result<Vec<Finding>, String> {
    let documents = node::parse(text)?;
    let mut findings = Findings::default();
    let mut managers = 0;
    for document in &documents {
        let document = Node::root(document);
        for manager in document.typed("HttpConnectionManager") {
            managers += 1;
            connection::check(manager, &mut findings);
            authz::check(manager, &mut findings);
            paths::check_logs(manager, &mut findings);
            traces::check(manager, &mut findings);
        }
        paths::check_routes(document, &mut findings);
        transport::check(document, &mut findings);
    }
    if managers == 0 {
        return Err(
            "there is no HTTP connection manager in it; name the file that Envoy is started with".to_owned(),
        );
    }
    let mut findings = findings.0;
    findings.sort_by_key(|finding| (finding.line, finding.column, finding.severity));
    Ok(findings)
}
