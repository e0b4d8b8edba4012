//! Step-up: what a client is told to bring when its sign-in is too weak for a route. It is the provider's configuration,
//! made ready once, because only the provider's own words get the client a better token.

/// What the challenges of one provider say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// `acr_values` of an RFC 9470 challenge.
    pub acr_values: String,
    /// For clients that announced `cp1`; only where the provider is Entra and its sign of a strong sign-in is `acrs`.
    pub claims: Option<ClaimsChallenge>,
}

impl Default for Challenge {
    /// Our own word for a strong sign-in, where a provider has none.
    fn default() -> Self {
        Self {
            acr_values: "high".to_owned(),
            claims: None,
        }
    }
}

/// Microsoft's claims challenge: the client sends `claims` along when it asks for its next token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimsChallenge {
    /// The directory, or empty where any directory's users may sign in.
    pub realm: String,
    /// Where a user can sign in; of the directory that `realm` names, else the common endpoint.
    pub authorization_uri: String,
    /// Base64 (the standard alphabet, padded) of the claims request.
    pub claims: String,
}
