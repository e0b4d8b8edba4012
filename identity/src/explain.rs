//! Why a token is accepted or refused, for operators. Nothing of the token is echoed but its key's name, and its claims
//! only once they are verified.

use contract::ProviderId;
use serde::Serialize;

use crate::claims::VerifiedClaims;
use crate::refusal::Rule;
use crate::verify::{Identity, Slot, Step};

/// How far a token came.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The provider whose rules it had to satisfy; absent if its issuer is nobody's for this slot.
    pub provider: Option<ProviderId>,
    /// The key it names, escaped; absent if the token was refused before its header could be read.
    pub kid: Option<String>,
    /// The key is known and usable.
    pub key_found: bool,
    /// The first rule that refused.
    pub refused_by: Option<Rule>,
    /// The same in words.
    pub reason: Option<String>,
    /// What it says, if it passed.
    pub claims: Option<VerifiedClaims>,
}

impl Identity {
    /// Verifies without any cache and tells the way. For operators only: it says what a client must not learn.
    #[must_use]
    pub fn explain(&self, token: &str, slot: Slot, now: i64) -> Explanation {
        let (mut provider, mut kid, mut key_found) = (None, None, false);
        let verdict = self.verify_in_full(token, slot, now, |step| match step {
            Step::Issuer(config) => provider = Some(config.id.clone()),
            Step::Header(header) => kid = header.kid.as_deref().map(|kid| kid.escape_debug().to_string()),
            Step::Key => key_found = true,
        });
        let (refused_by, claims) = match verdict {
            Ok(verified) => (None, Some(verified.claims)),
            Err(rule) => (Some(rule), None),
        };
        Explanation {
            provider,
            kid,
            key_found,
            refused_by,
            reason: refused_by.map(|r| r.to_string()),
            claims,
        }
    }
}
