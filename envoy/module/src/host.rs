//! What the filter needs of Envoy, as a trait, so that everything but `ffi` is tested without Envoy.
//!
//! Envoy lends the bytes of headers and attributes only until something is changed: whatever reads takes `&self` and lends
//! for as long, whatever changes takes `&mut self`, so that the compiler holds us to it.

use decision::Field;

use crate::metrics::Counter;

/// One request in Envoy's hands.
pub trait Host {
    /// The lines of this header. `name` is in lower case.
    fn header(&self, name: &str) -> Field<'_>;

    /// What Envoy says of the request itself; empty where there is none.
    fn attribute(&self, attribute: Attribute) -> &[u8];

    /// Replaces all lines of a header; `false`: it cannot be. `value` is not empty: Envoy would remove the header.
    fn set_header(&mut self, name: &str, value: &str) -> bool;

    /// Removes all lines of a header; `false`: it cannot be.
    fn remove_header(&mut self, name: &str) -> bool;

    /// Has the route chosen again, by the headers as they are now.
    fn clear_route_cache(&mut self);

    /// Answers the request, which then goes no further. At most once.
    fn respond(&mut self, answer: &Answer<'_>);

    /// Notes something under `alphaswarm` in the request's dynamic metadata, for the access log and other filters.
    fn note(&mut self, key: &str, value: &str);

    /// Counts one up.
    fn count(&mut self, counter: Counter);
}

/// An attribute of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// `request.path`, with its query.
    Path,
    /// `request.host`.
    Host,
    /// `request.method`.
    Method,
}

impl Attribute {
    /// Envoy's number for it, in its ABI v0.2.0.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Path => 0,
            Self::Host => 2,
            Self::Method => 4,
        }
    }
}

/// An answer of our own.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// HTTP status.
    pub status: u16,
    /// Headers, each once.
    pub headers: &'a [(&'static str, String)],
    /// The body.
    pub body: &'a str,
    /// `response.code_details`: all of ours begin with `alphaswarm_`, by which Envoy's configuration tells them from its
    /// own.
    pub details: &'static str,
}

/// How loud a line of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Info,
    /// Something is not used as it is; requests are decided on.
    Warn,
    /// Nothing can be decided.
    Error,
}

/// Envoy apart from requests. Used by the thread that follows the files, and never on a request's way.
pub trait Outside: Send {
    /// Writes a line into Envoy's log.
    fn log(&self, level: Level, line: &str);

    /// Has the gauges shown again, soon.
    fn show_gauges(&self);
}
