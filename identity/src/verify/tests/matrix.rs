//! Every valid token of every provider, tenant and cloud against every configuration: only the diagonal passes.

use std::collections::BTreeMap;
use std::sync::Arc;

use conformance::{Slot, matrix, providers};

use crate::IdentityConfig;
use crate::keyring::KeyRing;
use crate::scopes::Operators;
use crate::testing::*;
use crate::verify::{CacheOptions, Identity, KeysFrom};

fn identity_with(provider: &conformance::providers::Provider) -> Arc<Identity> {
    let config = IdentityConfig::parse(&provider.toml(None)).unwrap_or_else(|errors| panic!("{errors}"));
    let algorithm = config.providers[0].algorithm;
    let identity = Identity::new(config, Operators::none(), CacheOptions::default());
    let ring = KeyRing::parse(&provider.key_set(), algorithm, NOW - 60).unwrap();
    identity.publish_keys(&self::provider(provider.name), ring, KeysFrom::Network);
    identity
}

#[test]
fn only_the_diagonal_passes() {
    let configurations = matrix::configurations(NOW);
    let (mut passed, mut refused) = (0, BTreeMap::<&str, usize>::new());
    for here in &configurations {
        let identity = identity_with(here);
        for home in &configurations {
            for (name, draft) in &home.tokens {
                let token = draft.sign();
                for slot in Slot::ALL {
                    let verdict = identity.verify(&token, slot.into(), NOW);
                    let belongs = home.name == here.name && slot == draft.slot;
                    match verdict {
                        Ok(_) => passed += 1,
                        Err(refusal) => *refused.entry(refusal.rule.name()).or_default() += 1,
                    }
                    let verdict = identity.verify(&token, slot.into(), NOW);
                    let rule = verdict.as_ref().err().map(|refusal| refusal.rule);
                    assert_eq!(
                        verdict.is_ok(),
                        belongs,
                        "{name} ({}) at {} in {slot:?}: {rule:?}",
                        home.name,
                        here.name
                    );
                    if let Ok(verified) = verdict {
                        assert_eq!(verified.claims.provider.as_str(), here.name, "{name}");
                    }
                }
            }
        }
    }
    let tokens: usize = configurations.iter().map(|home| home.tokens.len()).sum();
    println!(
        "{} configurations, {tokens} tokens: {passed} passed, refused by {refused:?}",
        configurations.len()
    );
    assert_eq!(passed, tokens);
    // A refusal for want of keys would prove nothing.
    let rules: Vec<&str> = refused.into_keys().collect();
    assert_eq!(rules, ["alg", "aud", "iss", "typ"]);
}

/// All in one file: each token is its own provider's, and no other's.
#[test]
fn together_each_token_finds_its_own_provider() {
    let identity = identity();
    let mut principals = BTreeMap::new();
    for home in providers::all(NOW) {
        for (name, draft) in &home.tokens {
            let token = draft.sign();
            let verified = identity
                .verify(&token, draft.slot.into(), NOW)
                .unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
            assert_eq!(verified.claims.provider.as_str(), home.name, "{name}");
            let principal = verified.claims.principal.as_str().to_owned();
            // The same person may come with several tokens of a provider, but is nobody at another.
            let at = principals.entry(principal).or_insert(home.name);
            assert_eq!(*at, home.name, "{name}");
        }
    }
    for near in matrix::configurations(NOW).iter().skip(providers::all(NOW).len()) {
        for (name, draft) in &near.tokens {
            let verdict = identity.verify(&draft.sign(), draft.slot.into(), NOW);
            // The one file admits any public directory; everything else of the near misses is foreign to it.
            let admitted = near.name == "another-directory" || near.name == "china-another-directory";
            assert_eq!(verdict.is_ok(), admitted, "{name}: {:?}", verdict.err());
        }
    }
}
