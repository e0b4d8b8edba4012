//! Why a token is accepted or refused, for operators. Nothing of the token is echoed but its key's name, and its claims
//! only once the signature has made them the provider's word.

use std::collections::BTreeMap;

use contract::ProviderId;
use serde::{Deserialize, Serialize};

use crate::admission::Unbounded;
use crate::claims::{ProviderKind, VerifiedClaims};
use crate::json::{Json, Object};
use crate::refusal::{Refusal, Rule};
use crate::verify::{Identity, Slot, Step, VerifiedToken};

/// The claims that rules judge and that therefore explain a refusal. Names and addresses of people are not among them.
const TELLING: [&str; 19] = [
    "iss",
    "aud",
    "exp",
    "nbf",
    "iat",
    "auth_time",
    "ver",
    "tid",
    "azp",
    "appid",
    "client_id",
    "idtyp",
    "org_id",
    "type",
    "acr",
    "acrs",
    "amr",
    "scp",
    "scope",
];
/// The longest value that is told, in characters.
const MAX_TOLD: usize = 256;

/// How far a token came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The provider whose rules it had to satisfy; absent if its issuer is nobody's for this slot.
    pub provider: Option<ProviderId>,
    /// The rules of that provider.
    pub provider_kind: Option<ProviderKind>,
    /// The key it names, escaped; absent if the token was refused before its header could be read.
    pub kid: Option<String>,
    /// The key is known and usable.
    pub key_found: bool,
    /// That key signed it.
    pub signature_verified: bool,
    /// What the provider says in it, as written, also if a rule refuses that. Empty unless the signature is good.
    pub stated: BTreeMap<String, String>,
    /// The first rule that refused.
    pub rule: Option<Rule>,
    /// The same in words.
    pub reason: Option<String>,
    /// What was read from it, if it passed.
    pub claims: Option<VerifiedClaims>,
}

impl Identity {
    /// Verifies without any cache and tells the way. For operators only: it says what a client must not learn.
    pub fn explain(
        &self,
        token: &str,
        slot: Slot,
        now: i64,
    ) -> (Result<VerifiedToken, Refusal>, Explanation) {
        let mut told = Explanation::default();
        let verdict = self.verify_in_full(token, slot, now, &Unbounded, |step| match step {
            Step::Issuer(config) => {
                told.provider = Some(config.id().clone());
                told.provider_kind = Some(config.kind());
            }
            Step::Header(header) => {
                told.kid = header.kid.as_deref().map(escaped);
            }
            Step::Key => told.key_found = true,
            Step::Signature(claims) => {
                told.signature_verified = true;
                told.stated = stated(claims);
            }
        });
        match &verdict {
            Ok(verified) => told.claims = Some(verified.claims.clone()),
            Err(rule) => {
                told.rule = Some(*rule);
                told.reason = Some(rule.to_string());
            }
        }
        (verdict.map_err(Refusal::from), told)
    }
}

fn stated(claims: &Object<'_>) -> BTreeMap<String, String> {
    TELLING
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), written(claims.get(name)?))))
        .collect()
}

fn written(value: &Json<'_>) -> String {
    match value {
        Json::Null => "null".to_owned(),
        Json::Bool(value) => value.to_string(),
        Json::Integer(value) => value.to_string(),
        Json::Number => "a number that is no integer".to_owned(),
        Json::Text(text) => escaped(text),
        Json::List(list) => {
            let texts: Vec<String> = list.iter().map(written).collect();
            escaped(&texts.join(", "))
        }
        Json::Object(_) => "an object".to_owned(),
    }
}

fn escaped(text: &str) -> String {
    text.escape_debug().take(MAX_TOLD).collect()
}
