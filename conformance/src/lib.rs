//! The cases that every packaging of the decision must answer alike, as data: good tokens of every provider and shape,
//! bad ones each with the rule that refuses it and a good twin, requests that carry them in odd places, and the
//! configurations among which only the diagonal passes.
//!
//! Nothing here decides anything, and nothing here links what decides: rules are named by their stable names, so that
//! the verifier's own tests, a router behind gRPC, Envoy in front of it and a filter within it run the same table.
//!
//! In reading order:
//!
//! 1. [`keys`]: the keys that sign, made once a process.
//! 2. [`weak`]: keys that must never count although their signatures verify.
//! 3. [`tokens`]: good tokens, before they are signed.
//! 4. [`providers`]: who is trusted: the providers file, the key sets, the links.
//! 5. [`matrix`]: configurations that differ from those in one thing.
//! 6. [`attacks`]: the table of bad tokens.
//! 7. [`requests`]: what a token alone cannot express: header lines, cookies, queries.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "data for tests: a broken expectation ends the test that asked for it"
)]

pub mod keys;

pub mod weak;

pub mod tokens;

pub mod providers;

pub mod matrix;

pub mod attacks;

pub mod requests;

/// Where a token stands in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// `authorization: Bearer …`
    Authorization,
    /// `cf-access-jwt-assertion: …`
    Assertion,
}

impl Slot {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Authorization, Self::Assertion];

    /// The one that it is not.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Authorization => Self::Assertion,
            Self::Assertion => Self::Authorization,
        }
    }

    /// The header's name.
    #[must_use]
    pub const fn header(self) -> &'static str {
        match self {
            Self::Authorization => "authorization",
            Self::Assertion => "cf-access-jwt-assertion",
        }
    }

    /// The header's value with this token in it.
    #[must_use]
    pub fn value(self, token: &str) -> String {
        match self {
            Self::Authorization => format!("Bearer {token}"),
            Self::Assertion => token.to_owned(),
        }
    }
}

/// What a case is played with.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Seconds since 1970 when the tokens are judged.
    pub now: i64,
    /// The address of a server, `http://host:port`, that no verifier may ever contact; tokens name it wherever a key
    /// could be said to be.
    pub canary: String,
}
