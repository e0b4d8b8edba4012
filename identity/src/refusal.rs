//! Why a token was refused. The rule is for the operator's log and for `explain`; a client only ever learns 401, or
//! 503 while there are no keys.

use std::fmt;

macro_rules! rules {
    ($($(#[$doc:meta])* $rule:ident = $name:literal, $text:literal;)*) => {
        /// The rule that refused. `Display` gives `<name>: <reason>`, both constant: nothing of the token is in it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rule { $($(#[$doc])* $rule,)* }

        impl Rule {
            /// Every rule, for tables, metrics and tests.
            pub const ALL: &[Self] = &[$(Self::$rule,)*];

            /// The name alone: short, lower case, fit for a metric's label.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$rule => $name,)* }
            }

            /// The reason in words.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self { $(Self::$rule => $text,)* }
            }
        }
    };
}

rules! {
    /// Longer than [`crate::unverified::MAX_TOKEN_BYTES`].
    Size = "size", "longer than 16 KiB";
    /// Not `header.payload.signature`.
    Parts = "parts", "not three non-empty parts";
    /// Five parts.
    Encrypted = "encrypted", "a JWE, not a signed token";
    /// Padding, whitespace, the other alphabet, or bits left over.
    Base64 = "base64", "a part is not canonical base64url without padding";
    /// The JOSE header is no JSON object of bounded depth.
    HeaderJson = "header_json", "the header is not one small JSON object";
    /// The same member twice, also when spelled with escapes.
    HeaderDuplicate = "header_duplicate", "a header member occurs twice";
    /// Anything but alg, kid, typ, x5t: crit, b64, zip, enc, jku, jwk, x5u, x5c, nonce, …
    HeaderMember = "header_member", "a header member outside alg, kid, typ, x5t";
    /// Missing, no string, or not the one algorithm of the provider or key.
    Alg = "alg", "not the algorithm pinned for this provider and key";
    /// Missing, no string, empty or too long.
    Kid = "kid", "missing, not a string, or longer than 256 bytes";
    /// Another kind of JWT: id token, logout token, assertion, …
    Typ = "typ", "not the token type of this provider";
    /// Not a string.
    X5t = "x5t", "not a short string";
    /// The payload is no JSON object of bounded depth and size.
    PayloadJson = "payload_json", "the payload is not one JSON object of bounded depth and size";
    /// The same claim twice at any depth, also when spelled with escapes.
    PayloadDuplicate = "payload_duplicate", "a claim occurs twice";
    /// Missing, no string, or of no provider that may issue this credential.
    Issuer = "iss", "missing or not the issuer of a provider for this credential";
    /// The provider has not been reached since the start, and nothing usable was on disk.
    NoKeys = "no_keys", "the provider's keys are not loaded yet";
    /// The provider could not be reached for longer than its keys may be used.
    KeysStale = "keys_stale", "the provider's keys are too old to be trusted";
    /// No key of that name, also no longer.
    UnknownKid = "unknown_kid", "no key of this name at the provider";
    /// Its tenant has had its share of verifications for now.
    NoTime = "no_time", "no time to verify it: too many new tokens of its tenant, or of tenants that nobody knows";
    /// Not signed by that key.
    Signature = "signature", "the signature does not verify";
    /// Entra: the key belongs to another issuer, or does not say to which.
    KeyIssuer = "key_issuer", "the signing key is not one for this issuer";
    /// Missing, or not ours, or one of ours beside a stranger's.
    Audience = "aud", "not for our audience";
    /// `exp` is missing or no integer.
    ExpMissing = "exp_type", "exp is missing or no integer time";
    /// `exp` has passed.
    Expired = "exp", "expired";
    /// `nbf` lies ahead or is no integer.
    NotBefore = "nbf", "not valid yet, or no integer time";
    /// `iat` is missing, lies ahead or is no integer.
    IssuedAt = "iat", "missing, no integer time, or in the future";
    /// Valid for longer than this provider's tokens may be.
    Lifetime = "lifetime", "valid for longer than this provider's tokens may be";
    /// Entra `ver` is missing, not enabled or contradicts the issuer.
    Version = "ver", "not an enabled token version, or not the issuer's";
    /// Entra `tid` is no GUID, contradicts the issuer or is not admitted.
    Tid = "tid", "no GUID, not the issuer's, or not an admitted directory";
    /// Entra: tokens of personal Microsoft accounts.
    ConsumerAccount = "consumer_account", "a personal account, which this provider does not admit";
    /// The client that asked for the token is missing or no short string.
    Client = "client", "azp, appid or client_id is missing or malformed";
    /// Signs of an id token or logout token, or no sign of an access token.
    TokenUse = "token_use", "an id or logout token, not an access token";
    /// Access: `type` is not `app`.
    TokenType = "type", "not an application token";
    /// The stable id of the caller is missing or malformed.
    Subject = "sub", "the caller's id is missing or malformed";
    /// `jti` or `uti` is missing where required, or malformed.
    TokenId = "jti", "the token's id is missing or malformed";
    /// `auth_time` is no integer.
    AuthTime = "auth_time", "no integer time";
    /// A scope, role or permission claim has the wrong type, or there are too many.
    Scopes = "scopes", "scp, scope, roles or permissions is malformed or too long";
    /// The step-up claim has the wrong type.
    StepUp = "step_up", "the step-up claim is malformed";
    /// A claim that can name the tenant has the wrong type.
    TenantClaim = "tenant_claim", "a claim that names the tenant is malformed";
    /// The cell claim has the wrong type.
    CellClaim = "cell_claim", "the cell claim is malformed";
    /// An assertion whose claims are not exactly ours.
    AssertionClaims = "assertion_claims", "not the claims of a routing assertion";
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name(), self.reason())
    }
}

impl serde::Serialize for Rule {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> serde::Deserialize<'de> for Rule {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::ALL
            .iter()
            .copied()
            .find(|rule| rule.name() == name)
            .ok_or_else(|| serde::de::Error::custom("no rule of this build"))
    }
}

/// A refused token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}")]
pub struct Refusal {
    /// The first rule that refused.
    pub rule: Rule,
}

impl Refusal {
    /// Whether the token could not be judged because keys are missing or too old: 503 `not_ready` rather than 401.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(self.rule, Rule::NoKeys | Rule::KeysStale)
    }

    /// Whether the token was not judged because there was no time: 503 `overloaded` rather than 401.
    #[must_use]
    pub const fn is_shed(&self) -> bool {
        matches!(self.rule, Rule::NoTime)
    }
}

impl From<Rule> for Refusal {
    fn from(rule: Rule) -> Self {
        Self { rule }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_labels() {
        let names: std::collections::BTreeSet<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
        assert_eq!(names.len(), Rule::ALL.len());
        assert!(names.iter().all(|name| {
            name.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        }));
    }

    #[test]
    fn only_missing_keys_are_unavailability() {
        let unavailable: Vec<_> = Rule::ALL
            .iter()
            .filter(|rule| Refusal::from(**rule).is_unavailable())
            .collect();
        assert_eq!(unavailable, [&Rule::NoKeys, &Rule::KeysStale]);
    }
}
