//! The text of a token. Input: the text; or, after a byte 0xff, a header and a payload with a line feed between, which
//! are signed as they are.

use identity::{Slot, verify_jws_with_jwks};

use crate::world::{NOW, WORLD};

/// Begins an input that is to be signed.
pub const SIGN: u8 = 0xff;

/// Whatever the text: a verdict, the same from the cache, in full, and explained.
pub fn run(data: &[u8]) {
    let world = &*WORLD;
    let text = match data.split_first() {
        Some((&SIGN, parts)) => {
            let parts = String::from_utf8_lossy(parts);
            let (header, payload) = parts.split_once('\n').unwrap_or((&parts, "{}"));
            let kid = serde_json::from_str::<serde_json::Value>(header)
                .ok()
                .and_then(|header| Some(header.get("kid")?.as_str()?.to_owned()));
            world.sign(kid.as_deref().unwrap_or_default(), header, payload)
        }
        _ => String::from_utf8_lossy(data).into_owned(),
    };
    let dear = crate::chosen(data, 16);
    for (at, slot) in (0..).zip([Slot::Bearer, Slot::Access]) {
        // One of them an input, unless it is a dear one.
        if !dear && crate::fingerprint(data) % 2 != at {
            continue;
        }
        let verdict = || {
            world
                .identity
                .verify(&text, slot, NOW)
                .map_err(|refusal| refusal.rule)
        };
        let first = verdict();
        let again = verdict();
        assert_eq!(
            first.as_ref().err(),
            again.as_ref().err(),
            "the cache answers otherwise"
        );
        if !dear {
            continue;
        }
        let (in_full, told) = world.identity.explain(&text, slot, NOW);
        let rule = in_full.as_ref().err().map(|refusal| refusal.rule);
        assert_eq!(
            first.as_ref().err().copied(),
            rule,
            "the explanation is another one"
        );
        assert_eq!(told.rule, rule);
        assert!(in_full.is_err() || (told.signature_verified && told.key_found));
        if let Ok(verified) = &first {
            assert_eq!(
                Some(&verified.claims),
                in_full.as_ref().ok().map(|token| &token.claims)
            );
            let provider = world
                .providers
                .iter()
                .find(|provider| provider.name == verified.claims.provider.as_str());
            let keys: Vec<_> = provider.unwrap().keys.values().cloned().collect();
            let set = conformance::keys::key_set(&keys);
            assert!(
                verify_jws_with_jwks(&text, std::str::from_utf8(&set).unwrap()).is_ok(),
                "a verified token whose signature does not verify"
            );
        }
    }
}
