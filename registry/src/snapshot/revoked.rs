//! Revocations, by provider. There are few of them, and most checks find their provider without any.

use std::sync::Arc;

use contract::ProviderId;

use super::Map;
use crate::model::Revocation;

/// All revocations. Cloning is cheap.
#[derive(Clone, Default)]
pub(super) struct Revoked(imbl::OrdMap<ProviderId, Arc<OfProvider>>);

/// One provider's.
#[derive(Clone, Default)]
struct OfProvider {
    /// All tokens issued before this.
    all: Option<i64>,
    /// A subject's tokens issued before this.
    subjects: Map<Arc<str>, i64>,
    /// Single tokens, whenever issued; the number is only kept.
    tokens: Map<Arc<str>, i64>,
}

impl Revoked {
    pub(super) fn covers(
        &self,
        provider: &str,
        subject: &str,
        token_id: Option<&str>,
        issued_at: i64,
    ) -> bool {
        if self.0.is_empty() {
            return false;
        }
        self.0.get(provider).is_some_and(|of| {
            let before = |not_before: &i64| issued_at < *not_before;
            of.all.as_ref().is_some_and(before)
                || of.subjects.get(subject).is_some_and(before)
                || token_id.is_some_and(|token| of.tokens.contains_key(token))
        })
    }

    pub(super) fn put(&mut self, revocation: &Revocation) {
        let of = Arc::make_mut(self.0.entry(revocation.provider.clone()).or_default());
        match (&revocation.subject, &revocation.token_id) {
            (Some(subject), _) => {
                of.subjects.insert(subject.as_str().into(), revocation.not_before);
            }
            (None, Some(token)) => {
                of.tokens.insert(token.as_str().into(), revocation.not_before);
            }
            (None, None) => of.all = Some(revocation.not_before),
        }
    }

    /// How far the revocation of the same key reaches.
    pub(super) fn reach(&self, like: &Revocation) -> Option<i64> {
        let of = self.0.get(&like.provider)?;
        match (&like.subject, &like.token_id) {
            (Some(subject), _) => of.subjects.get(subject.as_str()).copied(),
            (None, Some(token)) => of.tokens.get(token.as_str()).copied(),
            (None, None) => of.all,
        }
    }

    /// By the parts of a key: the unused ones are empty.
    pub(super) fn remove(&mut self, provider: &str, subject: &str, token_id: &str) {
        let Some(of) = self.0.get_mut(provider) else {
            return;
        };
        let of = Arc::make_mut(of);
        match (subject, token_id) {
            ("", "") => of.all = None,
            ("", token) => {
                of.tokens.remove(token);
            }
            (subject, _) => {
                of.subjects.remove(subject);
            }
        }
        if of.all.is_none() && of.subjects.is_empty() && of.tokens.is_empty() {
            self.0.remove(provider);
        }
    }

    pub(super) fn len(&self) -> u64 {
        let of = |of: &Arc<OfProvider>| usize::from(of.all.is_some()) + of.subjects.len() + of.tokens.len();
        self.0.values().map(of).sum::<usize>() as u64
    }

    pub(super) fn list(&self) -> Vec<Revocation> {
        let mut list = Vec::new();
        for (provider, of) in &self.0 {
            let mut add = |subject: Option<&str>, token_id: Option<&str>, not_before| {
                list.push(Revocation {
                    provider: provider.clone(),
                    subject: subject.map(str::to_owned),
                    token_id: token_id.map(str::to_owned),
                    not_before,
                });
            };
            of.all.iter().for_each(|not_before| add(None, None, *not_before));
            of.subjects
                .iter()
                .for_each(|(subject, not_before)| add(Some(subject), None, *not_before));
            of.tokens
                .iter()
                .for_each(|(token, not_before)| add(None, Some(token), *not_before));
        }
        list
    }
}
