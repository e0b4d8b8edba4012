//! Identifiers and their grammar: `[a-z0-9][a-z0-9-]{0,61}[a-z0-9]`, so that an id is a DNS label, an Envoy cluster
//! name and a header value without any escaping.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a string is no identifier. The text is shown, so it must come from an operator, never from a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an id: 2 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit")]
pub struct InvalidId(pub String);

/// Whether `text` follows the id grammar.
#[must_use]
pub fn is_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (2..=63).contains(&bytes.len())
        && bytes.iter().all(|b| alphanumeric(b) || *b == b'-')
        && bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the grammar.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                if is_id(text) { Ok(Self(text.into())) } else { Err(InvalidId(text.to_owned())) }
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A customer.
    TenantId
);
id!(
    /// An isolated stack that tenants run in.
    CellId
);
id!(
    /// The instance name of an identity provider, as the operator configured it.
    ProviderId
);

/// Who calls: `<provider>:<stable id>`, the id percent-encoded to visible ASCII, so that it is always a legal header
/// value and never holds a space, comma, quote or second colon.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Principal(Arc<str>);

/// What kind of caller a principal is. It travels beside the principal, because an agent that acts for a person
/// bears that person's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// A person.
    User,
    /// A program under its own name: client credentials, app-only, service token.
    Service,
    /// An AI agent, under its own or a user's name (Entra Agent ID).
    Agent,
}

impl Principal {
    /// Encodes `stable_id`: everything but letters, digits and `-._~@|/` becomes `%XX`.
    #[must_use]
    pub fn new(provider: &ProviderId, stable_id: &str) -> Self {
        use fmt::Write as _;
        let mut text = String::with_capacity(provider.as_str().len() + 1 + stable_id.len());
        text.push_str(provider.as_str());
        text.push(':');
        let is_plain =
            |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'@' | b'|' | b'/');
        // Nearly every id is plain throughout.
        let (plain, rest) = match stable_id.bytes().position(|b| !is_plain(b)) {
            Some(at) => stable_id.split_at(at),
            None => (stable_id, ""),
        };
        text.push_str(plain);
        for byte in rest.bytes() {
            if is_plain(byte) {
                text.push(char::from(byte));
            } else {
                // Writing to a String cannot fail.
                let _ = write!(text, "%{byte:02X}");
            }
        }
        Self(text.into())
    }

    /// The principal as a header value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Principal {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._~@|/%:".contains(&b);
        if text.bytes().all(legal) && text.matches(':').count() == 1 {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId(text))
        }
    }
}

impl From<Principal> for String {
    fn from(principal: Principal) -> String {
        principal.0.as_ref().to_owned()
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn grammar() {
        for good in ["a1", "acme", "cell-shared-std-local", "0-0", &"a".repeat(63)] {
            assert!(is_id(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "-a",
            "a-",
            "Acme",
            "a_b",
            "a.b",
            "a b",
            "ä1",
            &"a".repeat(64),
            "a\n",
        ] {
            assert!(!is_id(bad), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_principal_is_a_legal_header_value_with_one_colon(id in ".{0,80}") {
            let provider = ProviderId::parse("entra").unwrap();
            let principal = Principal::new(&provider, &id);
            prop_assert!(principal.as_str().bytes().all(|b| b.is_ascii_graphic() && b != b',' && b != b'"'));
            prop_assert_eq!(principal.as_str().matches(':').count(), 1);
        }

        #[test]
        fn two_ids_never_share_a_principal(a in ".{0,20}", b in ".{0,20}") {
            let provider = ProviderId::parse("entra").unwrap();
            prop_assert_eq!(a == b, Principal::new(&provider, &a) == Principal::new(&provider, &b));
        }
    }
}
