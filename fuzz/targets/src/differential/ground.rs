//! Which of our rules every verifier has, and which are ours alone.

use identity::Rule;

/// Whose rule it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// Of any verifier: when it refuses, the other must refuse as well.
    Everybodys,
    /// Stricter than RFC 7519 asks for.
    OursAlone,
}

/// Exhaustive, so that a new rule has to be placed.
pub(super) fn of(rule: Rule) -> Ground {
    match rule {
        Rule::Parts
        | Rule::Encrypted
        | Rule::Base64
        | Rule::Alg
        | Rule::UnknownKid
        | Rule::Signature
        | Rule::Expired
        | Rule::NoKeys
        | Rule::KeysStale => Ground::Everybodys,
        // Sizes, depth, duplicates, header members that could change the meaning of a token.
        Rule::Size
        | Rule::HeaderJson
        | Rule::HeaderDuplicate
        | Rule::HeaderMember
        | Rule::PayloadJson
        | Rule::PayloadDuplicate
        // Names and types that a provider's tokens have.
        | Rule::Kid
        | Rule::Typ
        | Rule::X5t
        | Rule::Issuer
        | Rule::KeyIssuer
        | Rule::Version
        | Rule::Tid
        | Rule::ConsumerAccount
        | Rule::Client
        | Rule::TokenUse
        | Rule::TokenType
        | Rule::Subject
        | Rule::TokenId
        | Rule::AuthTime
        | Rule::Scopes
        | Rule::StepUp
        | Rule::TenantClaim
        | Rule::CellClaim
        | Rule::AssertionClaims
        // Not now.
        | Rule::NoTime
        // A list with a stranger's audience in it; times that are no integers, or too far apart.
        | Rule::Audience
        | Rule::ExpMissing
        | Rule::NotBefore
        | Rule::IssuedAt
        | Rule::Lifetime => Ground::OursAlone,
    }
}
