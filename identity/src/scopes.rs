//! Scopes, roles and permissions in one normal form: space-separated, sorted, each once. Operator scopes count only
//! from operators.

use contract::ProviderId;

use crate::refusal::Rule;

/// The longest normal form, in bytes: it travels in one header.
const MAX_BYTES: usize = 4096;

/// What operators of the platform may do. A customer who puts these into tokens of their own directory gains nothing.
const OPERATOR_PREFIXES: [&str; 3] = ["cluster:", "registry:", "operator:"];

/// Whether this is a scope over the platform itself, in any letter case.
#[must_use]
pub fn is_operator_scope(scope: &str) -> bool {
    OPERATOR_PREFIXES.iter().any(|prefix| {
        scope
            .get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    })
}

/// RFC 6749 §3.3 without the characters that would need escaping in a header. A role with a space would fall apart
/// into two scopes, so it must not pass.
fn is_scope(scope: &str) -> bool {
    !scope.is_empty()
        && scope != "/" // Entra's placeholder for an autonomous agent without scopes
        && scope.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

/// Normalizes. Words outside the grammar are dropped: a scope only ever grants.
pub(crate) fn normalize<'a>(
    scopes: impl IntoIterator<Item = &'a str>,
    operator: bool,
) -> Result<Box<str>, Rule> {
    let mut scopes: Vec<&str> = scopes
        .into_iter()
        .filter(|scope| is_scope(scope) && (operator || !is_operator_scope(scope)))
        .collect();
    scopes.sort_unstable();
    scopes.dedup();
    let length: usize = scopes.iter().map(|scope| scope.len() + 1).sum();
    if length > MAX_BYTES {
        return Err(Rule::Scopes);
    }
    let mut text = String::with_capacity(length);
    for scope in scopes {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(scope);
    }
    Ok(text.into())
}

/// Who may hold operator scopes: `ALPHASWARM_OPERATORS`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operators(Vec<Operator>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Operator {
    provider: ProviderId,
    organization: String,
    audience: String,
}

impl Operators {
    /// Nobody.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Parses a comma-separated list of `<provider>/<tid or org_id>@<audience>`. Empty text is nobody. The error names
    /// every entry that is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut operators, mut errors) = (Vec::new(), Vec::new());
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let parts = entry.split_once('/').and_then(|(provider, rest)| {
                rest.split_once('@')
                    .map(|(tenant, audience)| (provider, tenant, audience))
            });
            match parts {
                Some((provider, tenant, audience)) if !tenant.is_empty() && !audience.is_empty() => {
                    match ProviderId::parse(provider) {
                        Ok(provider) => operators.push(Operator {
                            provider,
                            organization: tenant.to_owned(),
                            audience: audience.to_owned(),
                        }),
                        Err(error) => errors.push(format!("{entry:?}: {error}")),
                    }
                }
                _ => errors.push(format!("{entry:?} is not <provider>/<tid or org_id>@<audience>")),
            }
        }
        if errors.is_empty() {
            Ok(Self(operators))
        } else {
            Err(errors.join("; "))
        }
    }

    /// The providers that are named, for checking them against the providers file.
    pub fn providers(&self) -> impl Iterator<Item = &ProviderId> {
        self.0.iter().map(|operator| &operator.provider)
    }

    pub(crate) fn admit(&self, provider: &ProviderId, organization: Option<&str>, audience: &str) -> bool {
        self.0.iter().any(|operator| {
            operator.provider == *provider
                && Some(operator.organization.as_str()) == organization
                && operator.audience == audience
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scopes: &[&str], operator: bool, expect: &str) {
        assert_eq!(
            normalize(scopes.iter().copied(), operator).unwrap().as_ref(),
            expect,
            "{scopes:?}"
        );
    }

    #[test]
    fn normal_form() {
        check(&["b", "a", "b"], false, "a b");
        check(&[], false, "");
        check(
            &["/", "", "a b", "ä", "x\u{7f}", "q\"", "tab\t", "ok:read", "a\\b"],
            false,
            "ok:read",
        );
    }

    #[test]
    fn operator_scopes_count_only_from_operators() {
        let scopes = [
            "cluster:admin",
            "registry:write",
            "operator:explain",
            "CLUSTER:x",
            "clusters:read",
            "cluster",
        ];
        check(&scopes, false, "cluster clusters:read");
        check(
            &scopes,
            true,
            "CLUSTER:x cluster cluster:admin clusters:read operator:explain registry:write",
        );
        check(&["x cluster:admin"], false, "");
    }

    #[test]
    fn too_many_are_refused_not_cut() {
        let many: Vec<String> = (0..1000).map(|n| format!("scope:{n}")).collect();
        assert_eq!(
            normalize(many.iter().map(String::as_str), false),
            Err(Rule::Scopes)
        );
    }

    #[test]
    fn operators_need_provider_tenant_and_audience() {
        let entra = ProviderId::parse("entra").unwrap();
        let operators = Operators::parse("entra/t1@api://ops, auth0/org_1@https://ops.example/").unwrap();
        assert!(operators.admit(&entra, Some("t1"), "api://ops"));
        assert!(!operators.admit(&entra, Some("t2"), "api://ops"));
        assert!(!operators.admit(&entra, Some("t1"), "api://alphaswarm"));
        assert!(!operators.admit(&entra, None, "api://ops"));
        assert!(!operators.admit(&ProviderId::parse("auth0").unwrap(), Some("t1"), "api://ops"));
        assert_eq!(Operators::parse(" ").unwrap(), Operators::none());
        let error = Operators::parse("entra,x/@y,UP/t@a").unwrap_err();
        assert!(
            error.contains("\"entra\"") && error.contains("\"x/@y\"") && error.contains("UP"),
            "{error}"
        );
    }
}
