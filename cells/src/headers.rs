//! What a request's headers say, held against its assertion. A header that no assertion confirms is what somebody wrote
//! who reached the cell another way.

use contract::assertion::AssertionClaims;
use contract::header;
use http::HeaderMap;

/// A header's value, if exactly one came.
pub(crate) fn single<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(only), None) => only.to_str().ok(),
        _ => None,
    }
}

/// The identity headers say what the assertion says: each exactly once where the claim is there, and not at all where it
/// is not. The provider is no claim of its own: its header may be missing, but must be the principal's.
pub(crate) fn confirmed(headers: &HeaderMap, claims: &AssertionClaims) -> bool {
    let count = |name: &str| headers.get_all(name).iter().count();
    let same = |name: &str, claim: Option<&str>| {
        count(name) == usize::from(claim.is_some()) && single(headers, name) == claim
    };
    let principal = claims.sub.as_ref().map(contract::Principal::as_str);
    let provider = principal.and_then(|principal| principal.split(':').next());
    same(header::CELL, Some(claims.aud.as_str()))
        && same(
            header::TENANT,
            claims.tenant.as_ref().map(contract::TenantId::as_str),
        )
        && same(header::PRINCIPAL, principal)
        && same(header::SCOPES, claims.scopes.as_deref())
        && (count(header::PROVIDER) == 0 || same(header::PROVIDER, provider))
        && !headers.keys().any(|name| is_misspelled(name.as_str()))
}

/// One of our names with `_` or `.` in it: servers of other make read it as the name itself.
fn is_misspelled(name: &str) -> bool {
    let prefix_len = header::PREFIX.len();
    name.len() >= prefix_len
        && !name.starts_with(header::PREFIX)
        && name.is_char_boundary(prefix_len)
        && name
            .bytes()
            .zip(header::PREFIX.bytes())
            .all(|(found, ours)| found == ours || (ours == b'-' && matches!(found, b'_' | b'.')))
}

#[cfg(test)]
mod tests {
    use contract::{CellId, Principal, ProviderId, TenantId};
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn claims() -> AssertionClaims {
        AssertionClaims {
            iss: "router-1".to_owned(),
            aud: CellId::parse("cell-a1").unwrap(),
            sub: Some(Principal::new(&ProviderId::parse("entra").unwrap(), "p")),
            principal_kind: None,
            tenant: Some(TenantId::parse("acme").unwrap()),
            scopes: Some("a b".to_owned()),
            epoch: 1,
            access: None,
            iat: 0,
            exp: 60,
        }
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        map
    }

    const GOOD: [(&str, &str); 5] = [
        (header::CELL, "cell-a1"),
        (header::TENANT, "acme"),
        (header::PRINCIPAL, "entra:p"),
        (header::PROVIDER, "entra"),
        (header::SCOPES, "a b"),
    ];

    #[test]
    fn each_header_is_the_claim_and_comes_once() {
        assert!(confirmed(&headers(&GOOD), &claims()));
        for (at, (name, value)) in GOOD.iter().enumerate() {
            let mut lines = GOOD.to_vec();
            lines[at].1 = "other";
            assert!(!confirmed(&headers(&lines), &claims()), "{name} differs");
            let mut lines = GOOD.to_vec();
            lines.push((name, value));
            assert!(!confirmed(&headers(&lines), &claims()), "{name} comes twice");
            let mut lines = GOOD.to_vec();
            lines.remove(at);
            // The provider is part of the principal, and may be left out.
            assert_eq!(
                confirmed(&headers(&lines), &claims()),
                *name == header::PROVIDER,
                "{name} is missing"
            );
        }
    }

    #[test]
    fn without_a_claim_there_is_no_header() {
        let anonymous = AssertionClaims {
            sub: None,
            tenant: None,
            scopes: None,
            ..claims()
        };
        assert!(confirmed(&headers(&GOOD[..1]), &anonymous));
        for line in &GOOD[1..] {
            assert!(!confirmed(&headers(&[GOOD[0], *line]), &anonymous), "{line:?}");
            assert!(
                !confirmed(&headers(&[GOOD[0], (line.0, "")]), &anonymous),
                "{line:?}"
            );
        }
    }

    #[test]
    fn another_spelling_of_our_names_is_no_other_header() {
        for name in ["x_alphaswarm_tenant", "x-alphaswarm_admin", "x.alphaswarm.tenant"] {
            let mut lines = GOOD.to_vec();
            lines.push((name, "globex"));
            assert!(!confirmed(&headers(&lines), &claims()), "{name}");
        }
        let mut lines = GOOD.to_vec();
        lines.extend([("x_alpha", "1"), ("x-alphaswarmed", "1"), ("x-request-id", "1")]);
        assert!(confirmed(&headers(&lines), &claims()));
    }
}
