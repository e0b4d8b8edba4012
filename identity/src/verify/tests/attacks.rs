//! Attack cases, each with the rule that must refuse it and a good twin that passes.

mod claims;
mod entra;
mod header;
mod others;
mod text;

use serde_json::Value;

use crate::refusal::Rule;
use crate::testing::*;
use crate::verify::{Identity, Slot};

struct Attack {
    name: String,
    rule: Rule,
    token: String,
    slot: Slot,
    twin: String,
}

#[derive(Default)]
struct Table(Vec<Attack>);

impl Table {
    /// A changed draft; its twin is `twin`.
    fn add(&mut self, name: &str, rule: Rule, twin: &Draft, bad: Draft) {
        self.raw(name, rule, twin, bad.sign());
    }

    /// Any text in place of the twin.
    fn raw(&mut self, name: &str, rule: Rule, twin: &Draft, token: String) {
        self.0.push(Attack {
            name: name.to_owned(),
            rule,
            token,
            slot: twin.slot,
            twin: twin.sign(),
        });
    }

    /// The same change to each of several values of a claim.
    fn claim(&mut self, rule: Rule, twin: &Draft, name: &str, values: &[Value]) {
        for value in values {
            self.add(
                &format!("{name} = {value:.60}"),
                rule,
                twin,
                twin.clone().with(name, value.clone()),
            );
        }
    }

    fn missing(&mut self, rule: Rule, twin: &Draft, name: &str) {
        self.add(
            &format!("{name} is missing"),
            rule,
            twin,
            twin.clone().without(name),
        );
    }

    fn check(self, identity: &Identity) {
        assert!(self.0.len() > 3);
        for attack in self.0 {
            let twin = identity.verify(&attack.twin, attack.slot, NOW);
            assert!(
                twin.is_ok(),
                "the good twin of {:?} is refused: {:?}",
                attack.name,
                twin.err()
            );
            let refused = identity
                .verify(&attack.token, attack.slot, NOW)
                .err()
                .map(|refusal| refusal.rule);
            assert_eq!(refused, Some(attack.rule), "{}", attack.name);
            let again = identity
                .verify(&attack.token, attack.slot, NOW)
                .err()
                .map(|refusal| refusal.rule);
            assert_eq!(again, Some(attack.rule), "the second time: {}", attack.name);
        }
    }
}

fn bases() -> [Draft; 6] {
    [
        entra_v2(),
        entra_v1(),
        auth0(),
        auth0_rfc(),
        access_user(),
        access_service(),
    ]
}

fn swap_part(token: &str, at: usize, part: &str) -> String {
    let mut parts: Vec<&str> = token.split('.').collect();
    parts[at] = part;
    parts.join(".")
}

/// Every good token passes in its own slot at its own provider, and nowhere else.
#[test]
fn only_the_diagonal_passes() {
    let all = identity();
    let names = ["entra", "entra", "auth0", "auth0-rfc", "access", "access"];
    for (draft, name) in bases().iter().zip(names) {
        let token = draft.sign();
        assert_eq!(
            all.verify(&token, draft.slot, NOW)
                .unwrap()
                .claims
                .provider
                .as_str(),
            name
        );
        let other_slot = if draft.slot == Slot::Bearer {
            Slot::Access
        } else {
            Slot::Bearer
        };
        assert_eq!(
            all.verify(&token, other_slot, NOW).unwrap_err().rule,
            Rule::Issuer,
            "{name} in the other slot"
        );
        // Claims of one provider, key and key name of every other: the name is unknown there.
        for at in 0..5 {
            let foreign = signer(at);
            if foreign.kid != draft.signer.kid {
                let forged = draft.clone().signed_by(foreign).header("kid", foreign.kid).sign();
                assert_eq!(
                    all.verify(&forged, draft.slot, NOW).unwrap_err().rule,
                    Rule::UnknownKid,
                    "{name} by {at}"
                );
            }
        }
        // Claims of this provider under the issuer of every other, signed by this one's key.
        for other in bases() {
            if other.slot == draft.slot && other.signer.kid != draft.signer.kid {
                let forged = draft.clone().with("iss", other.claims["iss"].clone());
                let refused = all.verify(&forged.sign(), draft.slot, NOW).unwrap_err().rule;
                assert!(
                    matches!(refused, Rule::UnknownKid | Rule::Typ),
                    "{name} as {}: {refused}",
                    other.signer.kid
                );
            }
        }
    }
}
