//! What Envoy counts and shows for us. A counter for each outcome instead of one with a label: Envoy looks labels up by
//! their text, which would be a noticeable part of what a request costs here.

use contract::Code;

/// Something that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Requests that were let through.
    Allowed,
    /// Requests that were denied, by what the client was told.
    Denied(Code),
    /// Cell claims that `CBA_MODE=audit` let pass.
    CellClaimAudited,
    /// Requests that ended in a panic, which is a bug; they were denied.
    Panicked,
}

impl Counter {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::Allowed, Self::CellClaimAudited, Self::Panicked]
            .into_iter()
            .chain(Code::ALL.iter().copied().map(Self::Denied))
    }

    /// The name, below the metrics namespace of Envoy's configuration.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Allowed => "checks.allowed".to_owned(),
            Self::Denied(code) => format!("checks.denied.{code}"),
            Self::CellClaimAudited => "cell_claims_audited".to_owned(),
            Self::Panicked => "panics".to_owned(),
        }
    }
}

/// Something that is shown as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gauge {
    /// 1 when requests can be decided, else 0.
    Ready,
    /// The number of the registry's version.
    RegistryVersion,
    /// Seconds since the router last heard from the registry; [`UNKNOWN`] where nobody knows.
    RegistryStaleness,
    /// Registry records that are malformed and left out.
    SetAside,
    /// Providers whose keys are too old.
    StaleProviders,
}

/// An age that nobody knows: beyond any that an alarm waits for.
pub const UNKNOWN: u64 = 0xffff_ffff;

impl Gauge {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Ready,
        Self::RegistryVersion,
        Self::RegistryStaleness,
        Self::SetAside,
        Self::StaleProviders,
    ];

    /// The name, below the metrics namespace of Envoy's configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::RegistryVersion => "registry_version",
            Self::RegistryStaleness => "registry_staleness_seconds",
            Self::SetAside => "registry_set_aside",
            Self::StaleProviders => "stale_providers",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_metric_has_a_name_of_its_own() {
        let names: Vec<String> = Counter::all()
            .map(Counter::name)
            .chain(Gauge::ALL.map(|gauge| gauge.name().to_owned()))
            .collect();
        let distinct: BTreeSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        assert!(names.contains(&"checks.denied.tenant_moving".to_owned()));
    }
}
