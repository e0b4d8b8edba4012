//! The table of endpoints, a file for each family, in the order in which an operator meets them.

mod cells;
mod exchange;
mod feed;
mod hosts;
mod links;
mod log;
mod moves;
mod probes;
mod registry;
mod revocations;
mod staging;
mod tenancy;
mod tenants;

use super::Endpoint;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let families = [
        probes::endpoints(),
        cells::endpoints(),
        tenants::endpoints(),
        links::endpoints(),
        hosts::endpoints(),
        revocations::endpoints(),
        moves::endpoints(),
        registry::endpoints(),
        feed::endpoints(),
        exchange::endpoints(),
        staging::endpoints(),
        tenancy::endpoints(),
        log::endpoints(),
    ];
    families.into_iter().flatten().collect()
}
