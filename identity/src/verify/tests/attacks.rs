//! The shared table of attacks against the verifier, and what the table itself must be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;

use conformance::attacks::{self, Case, Row};
use conformance::{Setting, providers};

use crate::algorithm::Algorithm;
use crate::keyring::KeyRing;
use crate::refusal::Rule;
use crate::testing::*;
use crate::verify::{Identity, KeysFrom, Slot};

/// Distinct attacks that the table must hold at least, however many kinds of token each is tried on.
const ENOUGH: usize = 300;

fn setting() -> Setting {
    Setting {
        now: NOW,
        canary: "http://127.0.0.1:9".to_owned(),
    }
}

fn refused(identity: &Identity, token: &str, slot: conformance::Slot) -> Option<&'static str> {
    identity
        .verify(token, slot.into(), NOW)
        .err()
        .map(|refusal| refusal.rule.name())
}

/// The second time, a remembered verdict answers: it must be the same. The bad token comes before and after its twin,
/// so that neither learns from the other.
fn check(identity: &Identity, case: &Case) {
    let name = case.name();
    for time in ["first", "second"] {
        let rule = refused(identity, &case.token, case.slot);
        assert_eq!(rule, Some(case.rule), "{name}, the {time} time");
        assert_eq!(
            refused(identity, &case.twin, case.twin_slot),
            None,
            "the good twin of {name}, the {time} time"
        );
    }
}

#[test]
fn every_bad_token_is_refused_by_its_rule_and_its_good_twin_passes() {
    let canary = TcpListener::bind("127.0.0.1:0").unwrap();
    canary.set_nonblocking(true).unwrap();
    let setting = Setting {
        canary: format!("http://{}", canary.local_addr().unwrap()),
        ..setting()
    };
    let identity = identity();
    let cases = attacks::cases(&setting);
    for case in &cases {
        check(&identity, case);
    }
    let nobody = canary.accept().unwrap_err();
    assert_eq!(
        nobody.kind(),
        std::io::ErrorKind::WouldBlock,
        "somebody asked the attacker's server"
    );
}

#[test]
fn the_table_is_large_and_leaves_out_no_rule_and_no_row() {
    let cases = attacks::cases(&setting());
    let distinct = attacks::one_of_each(&cases).len();
    assert!(distinct >= ENOUGH, "{distinct} attacks");
    let names: BTreeSet<String> = cases.iter().map(Case::name).collect();
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for case in &cases {
        *count.entry(case.name()).or_default() += 1;
    }
    count.retain(|_, times| *times > 1);
    assert!(count.is_empty(), "names that occur twice: {count:?}");

    let rules: BTreeSet<&str> = cases.iter().map(|case| case.rule).collect();
    let known: BTreeSet<&str> = Rule::ALL.iter().map(|rule| rule.name()).collect();
    let unknown: Vec<_> = rules.difference(&known).collect();
    assert!(unknown.is_empty(), "no such rules: {unknown:?}");
    let untried: Vec<_> = known.difference(&rules).copied().collect();
    // No token can bring about the state of the keys or of the clock; an assertion is verified by cells, not here.
    assert_eq!(untried, ["assertion_claims", "keys_stale", "no_keys", "no_time"]);

    let rows: BTreeSet<Row> = cases.iter().map(|case| case.row).collect();
    let without: Vec<_> = Row::ALL.iter().filter(|row| !rows.contains(row)).collect();
    // Where a token stands is a matter of requests: `conformance::requests`.
    assert_eq!(without, [&Row::Transport]);
    println!("{distinct} attacks, {} cases", names.len());
}

#[test]
fn every_cve_that_teaches_is_in_the_table() {
    let cases = attacks::cases(&setting());
    let requests = conformance::requests::all(&setting());
    let names: Vec<String> = cases
        .iter()
        .map(Case::name)
        .chain(requests.into_iter().map(|request| request.name))
        .collect();
    for cve in [
        "CVE-2026-25537",
        "CVE-2025-59420",
        "CVE-2026-32597",
        "CVE-2026-35042",
        "CVE-2026-34950",
        "CVE-2026-35039",
        "CVE-2026-22817",
        "CVE-2026-29000",
        "CVE-2025-30204",
        "CVE-2025-55241",
        "CVE-2025-64484",
        "CVE-2024-47616",
        "CVE-2017-15361",
        "CVE-2022-21449",
    ] {
        assert!(names.iter().any(|name| name.contains(cve)), "{cve}");
    }
}

#[test]
fn odd_but_good_tokens_pass() {
    let identity = identity();
    let mut ids = BTreeSet::new();
    for oddity in attacks::oddities(&setting()) {
        let verified = identity.verify(&oddity.token, oddity.slot.into(), NOW);
        let verified = verified.unwrap_or_else(|refusal| panic!("{}: {refusal}", oddity.name));
        ids.insert(verified.claims.token_id.clone());
    }
    // Two spellings of one token: what revokes one revokes the other.
    assert_eq!(ids.len(), 1);
    assert!(!ids.contains(&None));
}

/// A weak key is left out for its own reason, and the good ones beside it serve.
#[test]
fn weak_keys_are_named_with_their_reason() {
    for provider in providers::all(NOW) {
        let config = crate::IdentityConfig::parse(&provider.toml(None)).unwrap();
        let ring = KeyRing::parse(&provider.key_set(), config.providers[0].algorithm, NOW).unwrap();
        let told: BTreeSet<(String, String)> = ring
            .skipped()
            .iter()
            .map(|key| {
                let kid = key.kid.as_deref().unwrap_or_default();
                (kid.to_owned(), key.reason.to_string())
            })
            .collect();
        let expected: BTreeSet<(String, String)> = provider
            .weak
            .iter()
            .map(|weak| (weak.kid.clone(), weak.reason.to_owned()))
            .collect();
        assert_eq!(told, expected, "{}", provider.name);
        assert_eq!(ring.kids().len(), provider.keys.len(), "{}", provider.name);
    }
}

/// The table keeps some seconds away from the edge of the leeway, because other runs of it take time.
#[test]
fn the_leeway_ends_to_the_second() {
    let identity = identity();
    let rule = |draft: &Draft| refused(&identity, &draft.sign(), draft.slot);
    for draft in [
        entra_v2(),
        entra_v1(),
        auth0(),
        auth0_rfc(),
        access_user(),
        access_service(),
    ] {
        assert_eq!(rule(&draft.clone().with("iat", NOW + 60)), None);
        assert_eq!(rule(&draft.clone().with("iat", NOW + 61)), Some("iat"));
        assert_eq!(rule(&draft.clone().with("nbf", NOW + 60)), None);
        assert_eq!(rule(&draft.clone().with("nbf", NOW + 61)), Some("nbf"));
        let expired = |at: i64| draft.clone().with("iat", NOW - 600).with("exp", at);
        assert_eq!(rule(&expired(NOW - 59)), None);
        assert_eq!(rule(&expired(NOW - 60)), Some("exp"));
    }
}

/// A key signs only for the issuer that its own `issuer` names; the name alone of the same key decides nothing.
#[test]
fn entra_keys_belong_to_issuers() {
    let v2 = |tid: &str| format!("https://login.microsoftonline.com/{tid}/v2.0");
    let template = v2("{tenantid}");
    for (issuer, expect) in [
        (Some(template.clone()), None),
        (Some(v2(TID)), None),
        (Some(v2(OTHER_TID)), Some("key_issuer")),
        (
            Some("https://login.microsoftonline.us/{tenantid}/v2.0".to_owned()),
            Some("key_issuer"),
        ),
        (
            Some("https://example.eu.auth0.com/".to_owned()),
            Some("key_issuer"),
        ),
        (Some(format!("{template}/")), Some("key_issuer")),
        (None, Some("key_issuer")),
    ] {
        let identity = identity();
        let jwk = issuer
            .as_ref()
            .map_or_else(|| signer(0).jwk(), |issuer| signer(0).jwk_for(issuer));
        identity.publish_keys(&provider("entra"), ring(&[jwk]), KeysFrom::Network);
        for draft in [entra_v2(), entra_v1()] {
            assert_eq!(
                refused(&identity, &draft.sign(), draft.slot),
                expect,
                "{issuer:?}"
            );
        }
    }
}

/// The same key, pinned to another algorithm: what the header says is not asked.
#[test]
fn a_provider_verifies_with_its_own_algorithm_alone() {
    for algorithm in [Algorithm::Rs384, Algorithm::Ps256, Algorithm::Ps384] {
        let identity = identity();
        let ring = KeyRing::parse(&key_set(&[signer(1).jwk()]), algorithm, NOW).unwrap();
        identity.publish_keys(&provider("auth0"), ring, KeysFrom::Network);
        assert_eq!(
            identity
                .verify(&auth0().sign(), Slot::Bearer, NOW)
                .unwrap_err()
                .rule,
            Rule::Signature
        );
    }
}
