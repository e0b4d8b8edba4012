//! The cross matrix at a router that has every provider: each token is its own provider's and tenant's and nobody
//! else's, alone and in pairs.

use conformance::tokens::Draft;
use conformance::{Slot, matrix, providers};
use contract::header;

use super::Failures;
use super::tokens::carrying;
use super::world::{Verdict, World};

/// Whose request the cell would take it for.
fn who(verdict: &Verdict) -> (String, String) {
    let get = |name: &str| verdict.headers.get(name).cloned().unwrap_or_default();
    (get(header::PROVIDER), get(header::TENANT))
}

/// The tenant that the registry's links give a token.
fn tenant_of(provider: &providers::Provider, draft: &Draft) -> &'static str {
    let claims = draft.claims.to_string();
    let named = |id: &str| claims.contains(&format!("{id:?}"));
    let (.., tenant) = provider
        .links
        .iter()
        .find(|(_, id, _)| named(id))
        .expect("every good token has a link");
    tenant
}

pub(super) async fn at_the_router(world: &World) {
    let now = world.setting.now;
    let all = providers::all(now);
    let mut failures = Failures::default();
    let mut good = Vec::new();
    for provider in &all {
        for (name, draft) in &provider.tokens {
            let token = draft.sign();
            let verdict = world.ask(&carrying(&token, draft.slot), "matrix").await;
            let expected = (provider.name.to_owned(), tenant_of(provider, draft).to_owned());
            failures.expect(verdict.status == 200 && who(&verdict) == expected, || {
                format!("{name}: {expected:?}, but {verdict:?}")
            });
            let other = world.ask(&carrying(&token, draft.slot.other()), "matrix").await;
            failures.expect(other.status == 401, || {
                format!("{name} in the other header: {other:?}")
            });
            good.push((*name, draft.slot, token, expected));
        }
    }
    // Tokens that near misses of these configurations would admit.
    let known = ["another-directory", "china-another-directory"];
    let mut foreign = 0;
    for near in matrix::configurations(now).iter().skip(all.len()) {
        for (name, draft) in &near.tokens {
            for slot in Slot::ALL {
                let verdict = world.ask(&carrying(&draft.sign(), slot), "matrix").await;
                // The public cloud admits every directory, but only the linked one has a tenant here.
                let expected = match (slot == draft.slot, near.name) {
                    (true, "another-directory") => 200,
                    (true, name) if known.contains(&name) => 403,
                    _ => 401,
                };
                failures.expect(verdict.status == expected, || {
                    format!("{name} in {slot:?}: {verdict:?}")
                });
                foreign += 1;
            }
        }
    }
    // Two tokens in one request: both are good, and they never name the same tenant.
    let mut pairs = 0;
    for (bearer, slot, token, _) in &good {
        for (access, _, assertion, _) in good.iter().filter(|(_, slot, ..)| *slot == Slot::Assertion) {
            if *slot != Slot::Authorization {
                continue;
            }
            let mut request = carrying(token, Slot::Authorization);
            request.lines.extend(carrying(assertion, Slot::Assertion).lines);
            let verdict = world.ask(&request, "matrix").await;
            let mismatch = (verdict.status, verdict.code.as_str()) == (403, "tenant_mismatch");
            failures.expect(mismatch, || format!("{bearer} beside {access}: {verdict:?}"));
            pairs += 1;
        }
    }
    println!(
        "{} good tokens, {foreign} of near misses, {pairs} pairs",
        good.len()
    );
}
