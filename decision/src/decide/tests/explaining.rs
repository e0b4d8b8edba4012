//! Every case of these tests is explained as well, and the explanation ends as the decision does.

use contract::api::StepOutcome;

use super::*;
use crate::explain::explain;

/// The explanation of a request has the outcome of its decision, one step that refuses at most, and nothing of a token.
pub(super) fn agrees(attributes: &Attributes<'_>, world: &World<'_>) {
    let explained = explain(attributes, world, NOW);
    let count = |outcome| {
        explained
            .steps
            .iter()
            .filter(|taken| taken.outcome == outcome)
            .count()
    };
    match decide(attributes, world, NOW) {
        Decision::Allow(route) => {
            assert!(explained.allowed && explained.code.is_none() && explained.reason.is_none());
            assert_eq!(
                explained.destination.as_deref(),
                Some(route.destination.to_string().as_str())
            );
            assert_eq!(
                (count(StepOutcome::Refused), count(StepOutcome::NotReached)),
                (0, 0),
                "{explained:?}"
            );
            if let Some(tenant) = route.tenant {
                let told = explained.tenant.as_ref().unwrap();
                assert_eq!(told.id.as_str(), tenant);
                assert_eq!(
                    told.cell.as_ref().unwrap().as_str(),
                    route.destination.to_string()
                );
            }
            let principal = |claims: &identity::VerifiedClaims| claims.principal.to_string();
            assert_eq!(
                explained
                    .token
                    .as_ref()
                    .and_then(|story| story.claims.as_ref())
                    .map(principal),
                route.token.as_ref().map(|token| principal(&token.claims))
            );
        }
        Decision::Deny { reason, .. } => {
            assert_eq!(
                (explained.allowed, explained.code, &explained.destination),
                (false, Some(reason.code()), &None)
            );
            assert_eq!(explained.reason, Some(reason.to_string()));
            assert_eq!(count(StepOutcome::Refused), 1, "{explained:?}");
            let stories = [&explained.token, &explained.access_token];
            let rules: Vec<_> = stories
                .into_iter()
                .flatten()
                .filter_map(|story| story.rule)
                .collect();
            match reason {
                DenyReason::Token(refusal) | DenyReason::AccessToken(refusal) => {
                    assert_eq!(rules, [refusal.rule]);
                }
                _ => assert!(rules.is_empty(), "{reason}: {rules:?}"),
            }
        }
    }
    let text = serde_json::to_string(&explained).unwrap();
    for field in [attributes.authorization, attributes.access_assertion] {
        let value = String::from_utf8_lossy(field.one().unwrap_or_default()).into_owned();
        for part in value.split(['.', ' ']).filter(|part| part.len() > 8) {
            assert!(!text.contains(part), "{text}");
        }
    }
    assert_eq!(
        serde_json::from_str::<contract::api::Explained<identity::Explanation>>(&text)
            .unwrap()
            .steps,
        explained.steps
    );
}

fn explained(ask: &Ask<'_>) -> contract::api::Explained<identity::Explanation> {
    let bearer = ask.bearer.as_ref().map(|token| format!("Bearer {token}"));
    let world = World {
        snapshot: Some(&FIXTURE.snapshot),
        identity: &FIXTURE.identity,
        policy: &FIXTURE.policy,
        fairness: &FIXTURE.fairness,
        minter: &FIXTURE.minter,
        auth_mode: AuthMode::Required,
        cba_mode: CbaMode::Enforce,
        warm: true,
    };
    let attributes = Attributes {
        method: "GET",
        host: ask.host,
        path: ask.path,
        vouched: true,
        authorization: bearer
            .as_ref()
            .map_or(Field::Absent, |bearer| Field::One(bearer.as_bytes())),
        ..Attributes::default()
    };
    explain(&attributes, &world, NOW)
}

#[test]
fn it_tells_more_than_the_step_that_refused() {
    let refused_at = |explained: &contract::api::Explained<identity::Explanation>| {
        let refused = |taken: &&contract::api::StepTaken| taken.outcome == StepOutcome::Refused;
        explained.steps.iter().find(refused).map(|taken| taken.step)
    };
    for (tenant, state, phase, step) in [
        ("pending-tenant", "pending", "settled", Step::Tenant),
        ("suspended", "suspended", "settled", Step::Tenant),
        ("pending-link", "active", "settled", Step::Tenant),
        ("draining", "active", "draining", Step::Placement),
    ] {
        let explained = explained(&org(tenant));
        let told = explained.tenant.as_ref().unwrap();
        assert_eq!(
            (told.id.as_str(), told.state.as_str(), told.phase.as_deref()),
            (tenant, state, Some(phase))
        );
        assert_eq!((told.epoch, refused_at(&explained)), (Some(7), Some(step)));
        assert_eq!(
            explained.links.len(),
            1,
            "the organization: {:?}",
            explained.links
        );
    }
    let unknown = explained(&org("nobody"));
    assert!(unknown.tenant.is_none() && unknown.links.iter().all(|link| link.state.is_none()));
    let expired = explained(&bearer(json!({"exp": NOW - 600, "iat": NOW - 900})));
    assert_eq!(refused_at(&expired), Some(Step::Token));
    assert_eq!(expired.token.as_ref().unwrap().kid.as_deref(), Some("k"));
    let admin = explained(&Ask {
        path: "/admin",
        ..org("alpha")
    });
    let route = admin.route.unwrap();
    assert_eq!(
        (route.class.as_str(), route.max_age_seconds, route.strictest),
        ("step_up", Some(300), false)
    );
    assert_eq!(route.rule, "any method, any host, paths below /admin");
    let doubtful = explained(&Ask {
        path: "/%61dmin",
        ..org("alpha")
    });
    assert!(doubtful.route.unwrap().strictest);
    let elsewhere = explained(&Ask {
        host: "beta.example.com",
        ..org("alpha")
    });
    assert_eq!(elsewhere.host_tenant.unwrap().as_str(), "beta");
}

#[test]
fn a_step_up_asks_in_the_providers_words() {
    let denied = |claims: Value| {
        let ask = Ask {
            path: "/admin",
            ..bearer(claims)
        };
        let bearer = format!("Bearer {}", ask.bearer.as_ref().unwrap());
        let attributes = Attributes {
            method: "GET",
            path: "/admin",
            vouched: true,
            authorization: Field::One(bearer.as_bytes()),
            ..Attributes::default()
        };
        let world = World {
            snapshot: Some(&FIXTURE.snapshot),
            identity: &FIXTURE.identity,
            policy: &FIXTURE.policy,
            fairness: &FIXTURE.fairness,
            minter: &FIXTURE.minter,
            auth_mode: AuthMode::Required,
            cba_mode: CbaMode::Enforce,
            warm: true,
        };
        match decide(&attributes, &world, NOW) {
            Decision::Deny {
                reason: DenyReason::StepUp(step_up),
                ..
            } => step_up,
            other => panic!("{other:?}"),
        }
    };
    let weak = denied(json!({"org_id": "org_alpha"}));
    assert_eq!(
        (weak.max_age, weak.by_claims, weak.challenge.acr_values.as_str()),
        (Some(300), false, "high")
    );
    let unknown_age = denied(json!({"org_id": "org_alpha", "amr": ["mfa"]}));
    assert_eq!(unknown_age.max_age, Some(300), "nobody knows how old it is");
}
