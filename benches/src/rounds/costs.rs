//! What one variant costs beside another: the figures that have targets.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};

use crate::report::{Figure, Target};
use crate::variants::Variant;

/// The whole decision for the price of an empty answer.
const SERVER_RATIO: f64 = 1.0;
/// The module's price over that of Envoy's own check of tokens, and over that of a callout.
const MODULE_OVER_JWT: f64 = 1.0;
const MODULE_OVER_CALLOUT: f64 = 0.1;
/// The design's advantage over a server that can only be asked through Envoy: checks a core does.
const PER_CORE_OVER: f64 = 10.0;
/// The module's price over that of asking the Python router: a sixtieth.
const MODULE_OVER_PYTHON: f64 = 0.0167;

/// µs of CPU a request, by variant.
#[derive(Debug, Default)]
pub(super) struct Costs {
    /// Envoy's.
    pub(super) envoy: BTreeMap<Variant, f64>,
    /// The asked server's, less what it uses when idle.
    pub(super) server: BTreeMap<Variant, f64>,
}

impl Costs {
    /// Ours beside each other.
    pub(super) fn ours(&self, at: &str) -> anyhow::Result<Vec<Figure>> {
        let of = |variant: Variant| {
            self.server
                .get(&variant)
                .copied()
                .context("a server was not measured")
        };
        let ratios = [
            (
                "check.module_over_jwt_cached",
                self.added(Variant::Module)? / positive(self.added(Variant::JwtCached)?)?,
                MODULE_OVER_JWT,
                "what the module adds to Envoy's CPU, over what jwt_cached adds",
            ),
            (
                "check.module_over_callout",
                self.module_over(Variant::NoOp)?,
                MODULE_OVER_CALLOUT,
                "what the module adds to Envoy's CPU, over what a callout adds to Envoy and the no-op server together",
            ),
            (
                "check.server_ratio",
                of(Variant::Router)? / positive(of(Variant::NoOp)?)?,
                SERVER_RATIO,
                "router / no-op",
            ),
        ];
        let figure = |(name, value, bound, method): (&str, f64, f64, &str)| {
            Figure::new(name, value, "ratio", &format!("{at}; {method}")).target(Target::AtMost(bound))
        };
        Ok(ratios.map(figure).into())
    }

    /// Servers of other makers beside the router and the module.
    pub(super) fn peers(&self, at: &str) -> anyhow::Result<Vec<Figure>> {
        let router = self.server.get(&Variant::Router).copied();
        let router = positive(router.context("the router was not measured")?)?;
        let mut figures = Vec::new();
        for (peer, cost) in self.server.iter().filter(|(variant, _)| variant.is_peer()) {
            let name = peer.as_str();
            let method =
                format!("{at}; {name} / router, CPU of the authz server for each check less its idle CPU");
            let over =
                |what: &str| Figure::new(format!("peers.{what}.{name}"), cost / router, "ratio", &method);
            figures.push(over("server_over_router"));
            if !peer.speaks_grpc() {
                figures.push(over("per_core_over").target(Target::AtLeast(PER_CORE_OVER)));
            }
            let module = Figure::new(
                format!("peers.module_over_callout.{name}"),
                self.module_over(*peer)?,
                "ratio",
                &format!(
                    "{at}; what the module adds to Envoy's CPU, over what asking {name} adds to Envoy and costs it"
                ),
            );
            figures.push(if *peer == Variant::Python {
                module.target(Target::AtMost(MODULE_OVER_PYTHON))
            } else {
                module
            });
        }
        Ok(figures)
    }

    /// What the module adds to Envoy, over what a server that is asked adds and uses itself.
    fn module_over(&self, asked: Variant) -> anyhow::Result<f64> {
        let used = self.server.get(&asked).copied().unwrap_or_default();
        Ok(self.added(Variant::Module)? / positive(self.added(asked)? + used)?)
    }

    /// What a variant's filter adds to Envoy.
    fn added(&self, variant: Variant) -> anyhow::Result<f64> {
        let of = |variant: Variant| {
            let cost = self.envoy.get(&variant);
            cost.with_context(|| format!("{variant:?} was not measured"))
        };
        Ok(of(variant)? - of(Variant::None)?)
    }
}

/// A cost that others are divided by.
fn positive(cost: f64) -> anyhow::Result<f64> {
    ensure!(cost > 0.0, "too noisy: a filter seems to cost nothing");
    Ok(cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(envoy: &[(Variant, f64)], server: &[(Variant, f64)]) -> Costs {
        Costs {
            envoy: envoy.iter().copied().collect(),
            server: server.iter().copied().collect(),
        }
    }

    #[test]
    fn the_module_is_held_to_what_asking_costs_in_all() {
        let costs = costs(
            &[
                (Variant::None, 30.0),
                (Variant::NoOp, 60.0),
                (Variant::Module, 34.0),
                (Variant::JwtCached, 38.0),
                (Variant::Python, 70.0),
                (Variant::Opa, 70.0),
                (Variant::Oathkeeper, 60.0),
            ],
            &[
                (Variant::NoOp, 50.0),
                (Variant::Router, 55.0),
                (Variant::Python, 360.0),
                (Variant::Opa, 110.0),
                (Variant::Oathkeeper, 550.0),
            ],
        );
        let of = |figures: Vec<Figure>| -> Vec<_> {
            figures
                .into_iter()
                .map(|figure| (figure.name, figure.value, figure.target))
                .collect()
        };
        let at_most = |name: &str, value, bound| (name.to_owned(), value, Some(Target::AtMost(bound)));
        let plain = |name: &str, value| (name.to_owned(), value, None);
        assert_eq!(
            of(costs.ours("at").unwrap()),
            [
                at_most("check.module_over_jwt_cached", 0.5, MODULE_OVER_JWT),
                at_most("check.module_over_callout", 0.05, MODULE_OVER_CALLOUT),
                at_most("check.server_ratio", 1.1, SERVER_RATIO),
            ]
        );
        assert_eq!(
            of(costs.peers("at").unwrap()),
            [
                plain("peers.server_over_router.python", 6.545),
                at_most("peers.module_over_callout.python", 0.01, MODULE_OVER_PYTHON),
                plain("peers.server_over_router.opa", 2.0),
                plain("peers.module_over_callout.opa", 0.02667),
                plain("peers.server_over_router.oathkeeper", 10.0),
                (
                    "peers.per_core_over.oathkeeper".to_owned(),
                    10.0,
                    Some(Target::AtLeast(PER_CORE_OVER)),
                ),
                plain("peers.module_over_callout.oathkeeper", 0.0069),
            ]
        );
    }

    #[test]
    fn noise_is_no_figure() {
        let costs = costs(
            &[
                (Variant::None, 30.0),
                (Variant::Module, 31.0),
                (Variant::JwtCached, 29.0),
            ],
            &[(Variant::Router, 50.0)],
        );
        assert!(costs.ours("at").is_err());
        assert!(positive(0.0).is_err());
    }
}
