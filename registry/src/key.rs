//! What names a record. A key holds plain text, checked by nobody: a row written by hand may be named so badly that
//! only its text identifies it, and it must still be possible to set it aside, name it and see it repaired.

use std::fmt;

use contract::{LinkKind, ProviderId};
use serde::{Deserialize, Serialize};

/// The kind of a record with the values of its primary key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "record", content = "key", rename_all = "snake_case")]
pub enum Key {
    /// A cell's id.
    Cell(String),
    /// A tenant's id.
    Tenant(String),
    /// The three parts of an identity link.
    Link {
        /// The provider's instance name.
        provider: String,
        /// Which part of the token.
        kind: String,
        /// Its value.
        external_id: String,
    },
    /// The tenant whose placement it is.
    Placement(String),
    /// A host name.
    Host(String),
    /// What is revoked; the unused parts are empty.
    Revocation {
        /// The provider's instance name.
        provider: String,
        /// A subject.
        subject: String,
        /// A token id.
        token_id: String,
    },
}

/// The kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Cells.
    Cell,
    /// Tenants.
    Tenant,
    /// Identity links.
    Link,
    /// Placements.
    Placement,
    /// Hosts.
    Host,
    /// Revocations.
    Revocation,
}

impl Kind {
    /// All kinds; those that are named by others first.
    pub const ALL: [Self; 6] = [
        Self::Cell,
        Self::Tenant,
        Self::Link,
        Self::Placement,
        Self::Host,
        Self::Revocation,
    ];
}

impl Key {
    /// The kind of the record.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Cell(_) => Kind::Cell,
            Self::Tenant(_) => Kind::Tenant,
            Self::Link { .. } => Kind::Link,
            Self::Placement(_) => Kind::Placement,
            Self::Host(_) => Kind::Host,
            Self::Revocation { .. } => Kind::Revocation,
        }
    }

    /// The key in a row whose columns, as text, `column` tells by name.
    #[cfg(feature = "store")]
    pub(crate) fn of(kind: Kind, column: impl Fn(&str) -> String) -> Self {
        match kind {
            Kind::Cell => Self::Cell(column("id")),
            Kind::Tenant => Self::Tenant(column("id")),
            Kind::Link => Self::Link {
                provider: column("provider"),
                kind: column("kind"),
                external_id: column("external_id"),
            },
            Kind::Placement => Self::Placement(column("tenant")),
            Kind::Host => Self::Host(column("host")),
            Kind::Revocation => Self::Revocation {
                provider: column("provider"),
                subject: column("subject"),
                token_id: column("token_id"),
            },
        }
    }

    /// The key of a link.
    #[must_use]
    pub fn link(provider: &ProviderId, kind: LinkKind, external_id: &str) -> Self {
        Self::Link {
            provider: provider.to_string(),
            kind: kind.to_string(),
            external_id: external_id.to_owned(),
        }
    }
}

/// How people read it: `tenant acme`, `link entra/tid/1a2b…`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cell(id) => write!(f, "cell {id}"),
            Self::Tenant(id) => write!(f, "tenant {id}"),
            Self::Link {
                provider,
                kind,
                external_id,
            } => write!(f, "link {provider}/{kind}/{external_id}"),
            Self::Placement(tenant) => write!(f, "placement of {tenant}"),
            Self::Host(host) => write!(f, "host {host}"),
            Self::Revocation {
                provider,
                subject,
                token_id,
            } => match (subject.as_str(), token_id.as_str()) {
                ("", "") => write!(f, "revocation of all tokens of {provider}"),
                ("", _) => write!(f, "revocation of a token of {provider}"),
                _ => write!(f, "revocation of {provider}/{subject}"),
            },
        }
    }
}
