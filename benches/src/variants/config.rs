//! The configurations of the Envoys that are compared: the production configuration with the same edits, so that they
//! differ only in the filter that decides.
//!
//! The common edits: routes are static (any path is answered by Envoy itself with 200), because without a decision there
//! is no cell to go to, and a cell's own cost would only blur the difference; everything else stays, the xDS stream of
//! clusters, access log, header mutations and overload manager included.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use devkit::exchange;

use super::Variant;

/// The fetch of a key set.
const FETCH: Duration = Duration::from_secs(5);

/// Envoy answers here with the cell that was decided for, in [`SEEN_CELL`].
pub(crate) const SEEN: &str = "/api/seen";
/// No `x-alphaswarm-` header: production strips those from answers.
pub(crate) const SEEN_CELL: &str = "seen-cell";

const ROUTES: &str = "          rds:
            route_config_name: edge
            config_source: { ads: {}, resource_api_version: V3, initial_fetch_timeout: 2s }
";
const STATIC_ROUTES: &str = "          route_config:
            name: edge
            virtual_hosts:
            - name: edge
              domains: [\"*\"]
              routes:
              - match: { path: /api/seen }
                direct_response: { status: 200 }
                response_headers_to_add: [{ header: { key: seen-cell, value: \"%REQ(X-ALPHASWARM-CELL)%\" } }]
              - { match: { prefix: / }, direct_response: { status: 200, body: { inline_string: ok } } }
";
/// The same in the configuration with the decision inside.
const MODULE_ROUTES: &str = "          rds:
            route_config_name: edge
            config_source:
              path_config_source: { path: /var/lib/alphaswarm-router/envoy/routes.pb, watched_directory: { path: /var/lib/alphaswarm-router/envoy } }
              resource_api_version: V3
";
const FILTER: &str = "          - name: envoy.filters.http.ext_authz\n";
const NEXT_FILTER: &str = "          - name: envoy.filters.http.router\n";

/// What the filter does that a router was built for and another maker's server was not, and what it does without.
const FOR_PEERS: [(&str, &str); 3] = [
    // Headers as the map that every server reads, in place of the list of raw lines.
    ("              encode_raw_headers: true\n", ""),
    // A slow answer is waited for. It is neither a failure nor asked for twice, which would count against the server.
    (
        "                timeout: 0.25s\n",
        "                timeout: 5s\n",
    ),
    (
        "per-try-timeout-ms, value: \"80\" }",
        "per-try-timeout-ms, value: \"5000\" }",
    ),
];

/// Open Policy Agent's plugin has no health service.
const HEALTH: (&str, &str) = (
    "      grpc_health_check: { service_name: envoy.service.auth.v3.Authorization }\n",
    "      tcp_health_check: {}\n",
);

/// Where the filter says whom it asks, and what comes after that.
const ASKING: &str = "              grpc_service:\n";
const ASKED: &str = "              # Fail closed.";
/// Ory Oathkeeper is asked over HTTP, as its documentation has it; the cluster is the one of the router's HTTP listener.
const OVER_HTTP: &str = "              http_service:
                server_uri: { uri: http://oathkeeper, cluster: tenant-router-http, timeout: 5s }
                path_prefix: /decisions
                authorization_response: { allowed_upstream_headers: { patterns: [{ prefix: x-alphaswarm- }] } }
";

/// What the variants' configurations are made of.
pub(crate) struct Production {
    /// `envoy.yaml`.
    pub(crate) service: String,
    /// `envoy-module.yaml`.
    pub(crate) module: String,
    /// The ports of the servers beside the router.
    pub(crate) servers: BTreeMap<Variant, u16>,
    pub(crate) issuer: Issuer,
}

/// Who signed the token, as Envoy's own filter wants to know it.
pub(crate) struct Issuer {
    pub(crate) issuer: String,
    pub(crate) audience: String,
    /// The key set as it was fetched, on one line.
    pub(crate) keys: String,
}

impl Production {
    /// The production configuration with a variant's edits.
    pub(crate) fn config(&self, variant: Variant) -> anyhow::Result<String> {
        if variant == Variant::Stack {
            return Ok(self.service.clone());
        }
        if variant == Variant::Module {
            return replace_once(&self.module, MODULE_ROUTES, STATIC_ROUTES);
        }
        let yaml = replace_once(&self.service, ROUTES, STATIC_ROUTES)?;
        let with = |filter: &str| {
            let (before, rest) = yaml.split_once(FILTER).context("no ext_authz filter")?;
            let (_, after) = rest.split_once(NEXT_FILTER).context("no router filter")?;
            Ok(format!("{before}{filter}{NEXT_FILTER}{after}"))
        };
        match variant {
            Variant::None => with(""),
            Variant::Jwt => with(&self.issuer.filter("")),
            Variant::JwtCached => with(
                &self
                    .issuer
                    .filter("                  jwt_cache_config: { jwt_cache_size: 1000 }\n"),
            ),
            Variant::NoOp => self.asking(variant, &yaml),
            Variant::Python | Variant::Opa => {
                let health = (variant == Variant::Opa).then_some(&HEALTH);
                let mut edits = FOR_PEERS.iter().chain(health);
                let yaml = edits.try_fold(yaml, |yaml, (from, to)| replace_once(&yaml, from, to))?;
                self.asking(variant, &yaml)
            }
            Variant::Oathkeeper => {
                let (before, rest) = yaml.split_once(ASKING).context("nobody is asked")?;
                let (_, after) = rest.split_once(ASKED).context("the filter has no end")?;
                self.asking(variant, &format!("{before}{OVER_HTTP}{ASKED}{after}"))
            }
            Variant::Router | Variant::Module | Variant::Stack => Ok(yaml),
        }
    }

    /// The same filter, whose questions go to the variant's own server.
    fn asking(&self, variant: Variant, yaml: &str) -> anyhow::Result<String> {
        let port = self
            .servers
            .get(&variant)
            .context("a variant without its server")?;
        replace_once(
            yaml,
            &format!("port_value: {} ", variant.listens_on()),
            &format!("port_value: {port} "),
        )
    }
}

impl Issuer {
    /// Of this token, whose keys the dev identity provider serves.
    pub(crate) async fn of(token: &str, idp: SocketAddr) -> anyhow::Result<Self> {
        let payload = token.split('.').nth(1).context("no token")?;
        let claims: serde_json::Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload)?)?;
        let text = |name: &str| claims.get(name)?.as_str().map(str::to_owned);
        let issuer = text("iss").context("a token without an issuer")?;
        let directory = issuer
            .strip_suffix("/v2.0")
            .and_then(|url| url.split_once("/entra/"))
            .context("the token is not of Entra's kind")?
            .1;
        let keys = exchange::get(idp, &format!("/entra/{directory}/discovery/v2.0/keys"), FETCH).await?;
        ensure!(keys.status.is_success(), "no keys: {}", keys.text());
        Ok(Self {
            keys: serde_json::to_string(&keys.json::<serde_json::Value>()?)?,
            audience: text("aud").context("a token without an audience")?,
            issuer,
        })
    }

    /// Envoy's filter for it, with a further line.
    fn filter(&self, more: &str) -> String {
        let Self {
            issuer,
            audience,
            keys,
        } = self;
        let keys = keys.replace('\'', "''");
        format!(
            "          - name: envoy.filters.http.jwt_authn
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
              providers:
                dev:
                  issuer: \"{issuer}\"
                  audiences: [\"{audience}\"]
                  forward: true
                  local_jwks: {{ inline_string: '{keys}' }}
{more}              rules: [{{ match: {{ prefix: / }}, requires: {{ provider_name: dev }} }}]
"
        )
    }
}

fn replace_once(text: &str, from: &str, to: &str) -> anyhow::Result<String> {
    let found = text.matches(from).count();
    ensure!(
        found == 1,
        "the configuration has {found} times (needed: once) the text\n{from}"
    );
    Ok(text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use devkit::place;

    use super::*;

    #[test]
    fn the_variants_differ_from_production_where_they_should_and_nowhere_else() {
        let repository = place::repository().unwrap();
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
        let production = Production {
            service: read(place::envoy_config(&repository)),
            module: read(place::envoy_module_config(&repository)),
            servers: [
                (Variant::NoOp, 4711),
                (Variant::Python, 4712),
                (Variant::Opa, 4713),
                (Variant::Oathkeeper, 4714),
            ]
            .into(),
            issuer: Issuer {
                issuer: "https://issuer.example".to_owned(),
                audience: "api".to_owned(),
                keys: "{\"keys\":[]}".to_owned(),
            },
        };
        let config = |variant: Variant| production.config(variant).unwrap();
        let (none, noop, router) = (
            config(Variant::None),
            config(Variant::NoOp),
            config(Variant::Router),
        );
        assert_eq!(config(Variant::Stack), production.service);
        assert_eq!(router.replace(STATIC_ROUTES, ROUTES), production.service);
        assert_eq!(noop.replace("4711", "9191"), router);
        assert_eq!(
            config(Variant::Module).replace(STATIC_ROUTES, MODULE_ROUTES),
            production.module
        );
        assert!(!none.contains("ext_authz.v3") && none.contains("cors.v3") && none.contains("router.v3"));
        let (jwt, cached) = (config(Variant::Jwt), config(Variant::JwtCached));
        assert_eq!(jwt.replace(&production.issuer.filter(""), ""), none);
        assert_eq!(cached.lines().count(), jwt.lines().count() + 1);
        for (peer, port, lines) in [(Variant::Python, "4712", 3), (Variant::Opa, "4713", 4)] {
            // Its port, how long an answer may take, how its health is asked; and one line is gone.
            let peer = config(peer);
            assert_eq!(peer.lines().count() + 1, noop.lines().count());
            let own: Vec<_> = peer.lines().filter(|line| !noop.contains(line)).collect();
            assert_eq!(own.len(), lines, "{own:#?}");
            assert!(own.iter().any(|line| line.contains(port)));
        }
        let oathkeeper = config(Variant::Oathkeeper);
        let (before, after) = oathkeeper.split_once(OVER_HTTP).unwrap();
        let (asking, asked) = (router.find(ASKING).unwrap(), router.find(ASKED).unwrap());
        assert_eq!(before.replace("4714", "8080"), &router[..asking]);
        assert_eq!(after, &router[asked..]);
        assert!(router.contains(SEEN) && router.contains(SEEN_CELL));
        let broken = Production {
            service: "no such text".to_owned(),
            ..production
        };
        assert!(broken.config(Variant::Router).is_err());
    }
}
