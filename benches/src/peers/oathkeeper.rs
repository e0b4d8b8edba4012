//! What Ory Oathkeeper is told of the world: settings of its handlers. It has no table of tenants to look anything up in, so its
//! templates have the table written out; in one of them a tenant that is not there can only be an error (500).

use std::collections::BTreeMap;
use std::path::Path;

use contract::{header, port};
use devkit::ports::Ports;
use serde_json::{Value, json};

use super::Place;
use crate::variants::config::Issuer;

/// The file of settings, for the tenants `places` and the key set in the file `keys`.
pub(super) fn settings(issuer: &Issuer, places: &BTreeMap<&str, Place>, keys: &Path) -> Value {
    let cell = found_in(places, |place| place.cell);
    let tenant = found_in(places, |place| place.tenant);
    let jwt = json!({
        "jwks_urls": [format!("file://{}", keys.display())],
        "trusted_issuers": [issuer.issuer],
        "target_audience": [issuer.audience],
        "allowed_algorithms": ["RS256"],
        "scope_strategy": "none",
    });
    let headers = json!({
        (header::CELL): cell,
        (header::TENANT): tenant,
        (header::PRINCIPAL): "entra:{{ print .Extra.tid }}/{{ print .Extra.oid }}",
        (header::PROVIDER): "entra",
        // It reads `scp` as a list, whatever it was.
        (header::SCOPES): r#"{{ .Extra.scp | sortAlpha | join " " }}"#,
    });
    json!({
        "authenticators": { "jwt": { "config": jwt } },
        "mutators": { "header": { "config": { "headers": headers } } },
    })
}

/// A template that gives what `of` says of the place of the token's directory.
fn found_in(places: &BTreeMap<&str, Place>, of: impl Fn(&Place) -> &'static str) -> String {
    let table: String = places
        .iter()
        .map(|(directory, place)| format!(" {directory:?} {:?}", of(place)))
        .collect();
    format!(
        "{{{{ $found := get (dict{table}) (print .Extra.tid) }}}}\
         {{{{ if not $found }}}}{{{{ fail \"unknown tenant\" }}}}{{{{ end }}}}{{{{ $found }}}}"
    )
}

/// Its ports and its rule. It opens a proxy beside the API that is asked, and always answers scrapes.
pub(super) fn environment(ports: Ports, rules: &Path) -> BTreeMap<String, String> {
    let host = || "127.0.0.1".to_owned();
    [
        ("SERVE_API_HOST", host()),
        ("SERVE_API_PORT", ports.at(port::ROUTER_HTTP).to_string()),
        ("SERVE_PROXY_HOST", host()),
        ("SERVE_PROXY_PORT", ports.at(port::EDGE).to_string()),
        ("SERVE_PROMETHEUS_PORT", ports.at(port::EDGE_ADMIN).to_string()),
        ("ACCESS_RULES_REPOSITORIES", format!("file://{}", rules.display())),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_written_out() {
        let place = |tenant, cell| Place { tenant, cell };
        let places = [("t1", place("acme", "a")), ("t2", place("initech", "b"))].into();
        assert_eq!(
            found_in(&places, |place| place.cell),
            r#"{{ $found := get (dict "t1" "a" "t2" "b") (print .Extra.tid) }}{{ if not $found }}{{ fail "unknown tenant" }}{{ end }}{{ $found }}"#
        );
    }
}
