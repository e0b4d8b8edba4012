//! What is remembered, and what makes it forgotten.

use std::sync::Arc;

use crate::algorithm::Algorithm;
use crate::keyring::KeyRing;
use crate::refusal::Rule;
use crate::scopes::Operators;
use crate::testing::*;
use crate::verify::{CacheOptions, Identity, KeysFrom, Slot};
use crate::{IdentityConfig, Refusal};

fn rule(result: Result<Arc<crate::VerifiedToken>, Refusal>) -> Option<Rule> {
    result.err().map(|refusal| refusal.rule)
}

fn at(fetched_at: i64, keys: &[serde_json::Value]) -> KeyRing {
    KeyRing::parse(&key_set(keys), Algorithm::Rs256, fetched_at).unwrap()
}

#[test]
fn a_hit_is_the_same_object_and_judges_the_time_again() {
    let identity = identity();
    let token = auth0().sign();
    let first = identity.verify(&token, Slot::Bearer, NOW).unwrap();
    assert!(Arc::ptr_eq(
        &first,
        &identity.verify(&token, Slot::Bearer, NOW).unwrap()
    ));

    // Expiry counts on a hit, with the leeway and not a second more.
    let exp = NOW + 3600;
    let options = CacheOptions {
        ttl_seconds: 7200,
        ..CacheOptions::default()
    };
    let identity = identity_of(PROVIDERS, Operators::none(), options);
    let first = identity.verify(&token, Slot::Bearer, NOW).unwrap();
    assert!(Arc::ptr_eq(
        &first,
        &identity.verify(&token, Slot::Bearer, exp + 59).unwrap()
    ));
    assert_eq!(
        rule(identity.verify(&token, Slot::Bearer, exp + 60)),
        Some(Rule::Expired)
    );
    // A clock that steps back does not find a token from the future valid.
    let again = identity.verify(&token, Slot::Bearer, NOW).unwrap();
    assert!(!Arc::ptr_eq(&first, &again), "it was forgotten");
    assert_eq!(
        rule(identity.verify(&token, Slot::Bearer, NOW - 71)),
        Some(Rule::IssuedAt)
    );
}

#[test]
fn a_token_is_verified_again_after_the_ttl() {
    let identity = identity();
    let token = auth0().sign();
    let first = identity.verify(&token, Slot::Bearer, NOW).unwrap();
    assert!(Arc::ptr_eq(
        &first,
        &identity.verify(&token, Slot::Bearer, NOW + 599).unwrap()
    ));
    assert!(!Arc::ptr_eq(
        &first,
        &identity.verify(&token, Slot::Bearer, NOW + 600).unwrap()
    ));
}

#[test]
fn a_verdict_holds_for_its_slot_only() {
    let identity = identity();
    let token = access_user().sign();
    assert!(identity.verify(&token, Slot::Access, NOW).is_ok());
    assert_eq!(
        rule(identity.verify(&token, Slot::Bearer, NOW)),
        Some(Rule::Issuer)
    );
    assert!(identity.verify(&token, Slot::Access, NOW).is_ok());
}

#[test]
fn verdicts_fall_with_their_key_and_survive_beside_it() {
    let identity = identity();
    let auth0_id = provider("auth0");
    let token = auth0().sign();
    let first = identity.verify(&token, Slot::Bearer, NOW).unwrap();

    // The next key is added: nothing is verified anew.
    let mut next = stranger().jwk();
    next["kid"] = "next".into();
    let published = identity.publish_keys(
        &auth0_id,
        at(NOW, &[signer(1).jwk(), next.clone()]),
        KeysFrom::Network,
    );
    assert_eq!((published.changed, published.withdrawn), (true, 0));
    assert!(Arc::ptr_eq(
        &first,
        &identity.verify(&token, Slot::Bearer, NOW).unwrap()
    ));

    // The old one disappears: its verdicts with it, at once.
    let published = identity.publish_keys(
        &auth0_id,
        at(NOW + 1, std::slice::from_ref(&next)),
        KeysFrom::Network,
    );
    assert_eq!((published.changed, published.withdrawn), (true, 1));
    assert_eq!(
        rule(identity.verify(&token, Slot::Bearer, NOW)),
        Some(Rule::UnknownKid)
    );

    // An older set from disk changes nothing.
    let late = identity.publish_keys(&auth0_id, at(NOW, &[signer(1).jwk()]), KeysFrom::Disk);
    assert!(!late.changed);
    assert_eq!(
        rule(identity.verify(&token, Slot::Bearer, NOW)),
        Some(Rule::UnknownKid)
    );

    // One from the network counts even if the clock was set back meanwhile: here the old key's withdrawal.
    identity.publish_keys(
        &auth0_id,
        at(NOW + 2, &[signer(1).jwk(), next.clone()]),
        KeysFrom::Network,
    );
    assert!(identity.verify(&token, Slot::Bearer, NOW).is_ok());
    let earlier = identity.publish_keys(
        &auth0_id,
        at(NOW - 9, std::slice::from_ref(&next)),
        KeysFrom::Network,
    );
    assert_eq!((earlier.changed, earlier.withdrawn), (true, 1));
    assert_eq!(
        rule(identity.verify(&token, Slot::Bearer, NOW)),
        Some(Rule::UnknownKid)
    );

    // The same name with another key is another key.
    let mut impostor = stranger().jwk();
    impostor["kid"] = signer(1).kid.into();
    identity.publish_keys(&auth0_id, at(NOW + 2, &[signer(1).jwk()]), KeysFrom::Network);
    assert!(identity.verify(&token, Slot::Bearer, NOW).is_ok());
    let published = identity.publish_keys(&auth0_id, at(NOW + 3, &[impostor]), KeysFrom::Network);
    assert_eq!(published.withdrawn, 1);
    assert_eq!(
        rule(identity.verify(&token, Slot::Bearer, NOW)),
        Some(Rule::Signature)
    );
    // And back: the remembered refusal does not outlive the change.
    identity.publish_keys(&auth0_id, at(NOW + 4, &[signer(1).jwk()]), KeysFrom::Network);
    assert!(identity.verify(&token, Slot::Bearer, NOW).is_ok());
}

#[test]
fn keys_run_out_and_their_verdicts_with_them() {
    let day = 24 * 3600;
    let options = CacheOptions {
        ttl_seconds: 30 * day,
        ..CacheOptions::default()
    };
    let identity = identity_of(PROVIDERS, Operators::none(), options);
    let long = auth0().with("exp", NOW + day - 10);
    let token = long.sign();
    let fetched_at = NOW - 60;
    assert!(identity.verify(&token, Slot::Bearer, NOW).is_ok());
    let end = fetched_at + day;
    assert!(identity.verify(&token, Slot::Bearer, end - 1).is_ok());
    let refusal = identity.verify(&token, Slot::Bearer, end).unwrap_err();
    assert_eq!((refusal.rule, refusal.is_unavailable()), (Rule::KeysStale, true));
    let unknown = long.clone().header("kid", "other").sign();
    assert_eq!(
        rule(identity.verify(&unknown, Slot::Bearer, end)),
        Some(Rule::KeysStale)
    );
    // A refresh of the same keys revives both.
    identity.publish_keys(&provider("auth0"), at(end, &[signer(1).jwk()]), KeysFrom::Network);
    assert!(identity.verify(&token, Slot::Bearer, end).is_ok());
}

#[test]
fn access_keys_are_never_trusted_for_more_than_seven_days() {
    let identity = identity();
    let week = 7 * 24 * 3600;
    for (name, draft, expect) in [
        ("access", access_user(), Some(Rule::KeysStale)),
        ("auth0", auth0(), None),
    ] {
        let keys = at(NOW, &[draft.signer.jwk()]).with_max_staleness(30 * 24 * 3600);
        identity.publish_keys(&provider(name), keys, KeysFrom::Network);
        let token = |now| {
            draft
                .clone()
                .with("iat", now)
                .with("nbf", now)
                .with("exp", now + 60)
                .sign()
        };
        assert_eq!(
            rule(identity.verify(&token(NOW + week - 1), draft.slot, NOW + week - 1)),
            None
        );
        assert_eq!(
            rule(identity.verify(&token(NOW + week), draft.slot, NOW + week)),
            expect,
            "{name}"
        );
    }
}

#[test]
fn without_keys_nothing_passes_and_it_is_called_unavailable() {
    let config = IdentityConfig::parse(PROVIDERS).unwrap();
    let identity = Identity::new(config, Operators::none(), CacheOptions::default());
    assert_eq!(identity.pending().len(), 4);
    assert!(identity.pending().contains(&"keys of provider entra".to_owned()));
    let refusal = identity.verify(&auth0().sign(), Slot::Bearer, NOW).unwrap_err();
    assert_eq!((refusal.rule, refusal.is_unavailable()), (Rule::NoKeys, true));
    identity.publish_keys(&provider("auth0"), at(NOW, &[signer(1).jwk()]), KeysFrom::Disk);
    assert!(identity.verify(&auth0().sign(), Slot::Bearer, NOW).is_ok());
    let status = identity.status();
    assert_eq!(status[1].keys, ["auth0-1"]);
    assert_eq!(status[1].source, Some(KeysFrom::Disk));
    assert!(status[0].keys.is_empty() && !status[0].usable);
}

#[test]
fn refusals_are_remembered_apart_and_briefly() {
    let identity = identity();
    let good = auth0().sign();
    identity.verify(&good, Slot::Bearer, NOW).unwrap();
    let forged = auth0().signed_by(stranger()).sign();
    assert_eq!(
        rule(identity.verify(&forged, Slot::Bearer, NOW)),
        Some(Rule::Signature)
    );
    identity.refused.run_pending_tasks();
    assert_eq!(identity.refused.entry_count(), 1);
    assert_eq!(
        rule(identity.verify(&forged, Slot::Bearer, NOW + 11)),
        Some(Rule::Signature)
    );

    // Garbage never reaches it, and what time can lift is not kept.
    for bad in [
        "a.b.c".to_owned(),
        auth0().header("kid", "x").sign(),
        auth0().with("nbf", NOW + 100).sign(),
    ] {
        assert!(identity.verify(&bad, Slot::Bearer, NOW).is_err());
    }
    identity.refused.run_pending_tasks();
    assert_eq!(identity.refused.entry_count(), 1);
    assert!(
        identity
            .verify(&auth0().with("nbf", NOW + 100).sign(), Slot::Bearer, NOW + 100)
            .is_ok()
    );
}

#[test]
fn the_cache_is_bounded_by_weight() {
    let options = CacheOptions {
        weight: 20 * 2500,
        ..CacheOptions::default()
    };
    let identity = identity_of(PROVIDERS, Operators::none(), options);
    for n in 0..100 {
        identity
            .verify(&auth0().with("jti", n.to_string()).sign(), Slot::Bearer, NOW)
            .unwrap();
    }
    identity.verified.run_pending_tasks();
    assert!(
        identity.verified.weighted_size() <= options.weight,
        "{}",
        identity.verified.weighted_size()
    );
    assert!(
        (15..=25).contains(&identity.cached_tokens()),
        "{}",
        identity.cached_tokens()
    );
}

#[test]
fn explain_names_provider_key_and_rule_without_the_token() {
    let identity = identity();
    let good = auth0();
    let explained = identity.explain(&good.sign(), Slot::Bearer, NOW);
    assert_eq!(explained.provider, Some(provider("auth0")));
    assert_eq!(
        (explained.kid.as_deref(), explained.key_found),
        (Some("auth0-1"), true)
    );
    assert!(explained.refused_by.is_none() && explained.claims.is_some());

    let bad = good.header("kid", "a\nb").sign();
    let explained = identity.explain(&bad, Slot::Bearer, NOW);
    assert_eq!(
        (explained.kid.as_deref(), explained.key_found),
        (Some("a\\nb"), false)
    );
    assert_eq!(explained.refused_by, Some(Rule::UnknownKid));
    let text = serde_json::to_string(&explained).unwrap();
    assert!(
        text.contains("unknown_kid") && bad.split('.').all(|part| !text.contains(part)),
        "{text}"
    );
}
