//! What is remembered, and what makes it forgotten.

use std::sync::Arc;

use serde_json::json;

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
    let identity = identity_of(&PROVIDERS, Operators::none(), options);
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
    let identity = identity_of(&PROVIDERS, Operators::none(), options);
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
            rule(identity.verify(&token(NOW + week - 1), draft.slot.into(), NOW + week - 1)),
            None
        );
        assert_eq!(
            rule(identity.verify(&token(NOW + week), draft.slot.into(), NOW + week)),
            expect,
            "{name}"
        );
    }
}

#[test]
fn without_keys_nothing_passes_and_it_is_called_unavailable() {
    let config = IdentityConfig::parse(&PROVIDERS).unwrap();
    let identity = Identity::new(config, Operators::none(), CacheOptions::default());
    assert_eq!(identity.pending().len(), identity.provider_count());
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
    let identity = identity_of(&PROVIDERS, Operators::none(), options);
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
        (15..=25).contains(&identity.cache_status().entries),
        "{}",
        identity.cache_status().entries
    );
}

#[test]
fn explain_names_provider_key_and_rule_without_the_token() {
    let identity = identity();
    let good = auth0();
    let (verdict, explained) = identity.explain(&good.sign(), Slot::Bearer, NOW);
    assert!(verdict.is_ok() && explained.signature_verified);
    assert_eq!(explained.provider, Some(provider("auth0")));
    assert_eq!(
        (explained.kid.as_deref(), explained.key_found),
        (Some("auth0-1"), true)
    );
    assert!(explained.rule.is_none() && explained.claims.is_some());

    let bad = good.header("kid", "a\nb").sign();
    let (verdict, explained) = identity.explain(&bad, Slot::Bearer, NOW);
    assert_eq!(verdict.unwrap_err().rule, Rule::UnknownKid);
    assert_eq!(
        (explained.kid.as_deref(), explained.key_found),
        (Some("a\\nb"), false)
    );
    assert_eq!(explained.rule, Some(Rule::UnknownKid));
    assert!(explained.stated.is_empty(), "unsigned claims are nobody's word");
    let text = serde_json::to_string(&explained).unwrap();
    assert!(
        text.contains("unknown_kid") && bad.split('.').all(|part| !text.contains(part)),
        "{text}"
    );
}

#[test]
fn explain_tells_what_the_provider_states_also_when_it_is_refused() {
    let identity = identity();
    let told = |draft: &crate::testing::Draft| identity.explain(&draft.sign(), draft.slot.into(), NOW).1;
    let strange = told(&auth0().with("aud", json!(["https://other.example", 7])));
    assert_eq!(strange.rule, Some(Rule::Audience));
    assert_eq!(strange.stated["aud"], "https://other.example, 7");
    assert_eq!(strange.stated["iss"], "https://example.eu.auth0.com/");
    let expired = told(&auth0().with("exp", NOW - 100).with("iat", NOW - 200));
    assert_eq!(expired.rule, Some(Rule::Expired));
    assert_eq!(expired.stated["exp"], (NOW - 100).to_string());
    let long = told(&auth0().with("scope", "x".repeat(1000)));
    assert_eq!(long.stated["scope"].len(), 256);
    let forged = told(&auth0().signed_by(stranger()).header("kid", "auth0-1"));
    assert_eq!((forged.rule, forged.key_found), (Some(Rule::Signature), true));
    assert!(forged.stated.is_empty() && !forged.signature_verified);
    for told in [strange, expired, forged] {
        let text = serde_json::to_string(&told).unwrap();
        assert_eq!(serde_json::from_str::<crate::Explanation>(&text).unwrap(), told);
    }
}

#[test]
fn every_lookup_is_counted_once() {
    let identity = identity();
    let counted = || {
        let status = identity.cache_status();
        (status.hits, status.refused_hits, status.misses)
    };
    let good = auth0().sign();
    let forged = auth0().signed_by(stranger()).header("kid", "auth0-1").sign();
    for _ in 0..3 {
        let _ = identity.verify(&good, Slot::Bearer, NOW);
        let _ = identity.verify(&forged, Slot::Bearer, NOW);
    }
    assert_eq!(counted(), (2, 2, 2));
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| identity.verify(&good, Slot::Bearer, NOW).map(drop));
        }
    });
    assert_eq!(counted(), (42, 2, 2), "of all threads");
    let status = identity.cache_status();
    assert_eq!((status.entries, status.refused_entries), (1, 1));
    assert!(status.weight > 2048);
}
