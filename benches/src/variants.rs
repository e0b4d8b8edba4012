//! What is compared: Envoys that differ only in who decides.

pub(crate) mod config;

use contract::port;
use devkit::dev;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// No ext_authz filter.
    None,
    /// ext_authz asks the no-op server.
    NoOp,
    /// ext_authz asks the router, as in production.
    Router,
    /// No callout: the module decides inside Envoy, by what the router publishes.
    Module,
    /// Envoy's own check of signature, issuer, audience and time; it knows no tenants.
    Jwt,
    /// The same, remembering tokens.
    JwtCached,
    /// The production configuration as it is: the router decides and a demo cell answers. Not comparable with the
    /// others, which have no upstream.
    Stack,
    /// ext_authz asks a router in Python: the design that this one replaces.
    Python,
    /// ext_authz asks Open Policy Agent.
    Opa,
    /// ext_authz asks Ory Oathkeeper, over HTTP.
    Oathkeeper,
}

impl Variant {
    /// Ours, in the order of a round.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::NoOp,
        Self::Router,
        Self::Module,
        Self::Jwt,
        Self::JwtCached,
        Self::Stack,
    ];

    /// Servers of other makers.
    pub const PEERS: [Self; 3] = [Self::Python, Self::Opa, Self::Oathkeeper];

    /// Its name in figures.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::NoOp => "noop",
            Self::Router => "router",
            Self::Module => "module",
            Self::Jwt => "jwt",
            Self::JwtCached => "jwt_cached",
            Self::Stack => "stack",
            Self::Python => "python",
            Self::Opa => "opa",
            Self::Oathkeeper => "oathkeeper",
        }
    }

    /// Whether it lets nobody pass without a token.
    pub(crate) const fn refuses(self) -> bool {
        !matches!(self, Self::None | Self::NoOp)
    }

    /// Whether a server answers for it that answers for no other; the router's is counted once.
    pub(crate) fn asks(self) -> bool {
        matches!(self, Self::NoOp | Self::Router) || self.is_peer()
    }

    /// Whether that server can be asked as Envoy asks a router.
    pub(crate) fn speaks_grpc(self) -> bool {
        self.asks() && self != Self::Oathkeeper
    }

    /// The default port of its block on which its server is asked.
    pub(crate) fn listens_on(self) -> u16 {
        if self == Self::Oathkeeper {
            port::ROUTER_HTTP
        } else {
            port::ROUTER_GRPC
        }
    }

    /// Whether it is another maker's.
    #[must_use]
    pub fn is_peer(self) -> bool {
        Self::PEERS.contains(&self)
    }

    /// The cell that it names for a token of `tenant`; none where it finds no tenants.
    pub(crate) fn cell_of(self, tenant: &str) -> Option<&'static str> {
        if self.asks() || self == Self::Module {
            dev::TENANTS
                .iter()
                .find(|known| known.id == tenant)
                .map(|known| known.cell)
        } else {
            None
        }
    }
}

/// What is compared in one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineup {
    /// In the order of a round.
    pub variants: Vec<Variant>,
}

impl Lineup {
    /// Ours alone.
    #[must_use]
    pub fn ours() -> Self {
        Self {
            variants: Variant::ALL.to_vec(),
        }
    }

    /// What answers as a router does, beside `peers`.
    #[must_use]
    pub fn beside(peers: &[Variant]) -> Self {
        let ours = [Variant::None, Variant::NoOp, Variant::Router, Variant::Module];
        Self {
            variants: ours.into_iter().chain(peers.iter().copied()).collect(),
        }
    }

    /// Requests a second, unless somebody has `chosen`: with other makers' servers no more than all of them can do on two cores
    /// beside Envoy and the load.
    #[must_use]
    pub fn rate(&self, chosen: Option<u32>) -> u32 {
        chosen.unwrap_or(if self.has_peers() { 500 } else { 2000 })
    }

    /// Whether other makers' servers are in it.
    #[must_use]
    pub fn has_peers(&self) -> bool {
        self.variants.iter().any(|variant| variant.is_peer())
    }

    /// The first part of its figures' names: with peers it is another, because another rate gives other costs.
    #[must_use]
    pub fn prefix(&self) -> &'static str {
        if self.has_peers() { "peers" } else { "check" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_variants_apart() {
        let all = Variant::ALL.into_iter().chain(Variant::PEERS);
        let mut names: Vec<_> = all.map(Variant::as_str).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Variant::ALL.len() + Variant::PEERS.len());
        assert!(
            Variant::PEERS.into_iter().all(Variant::is_peer)
                && !Variant::ALL.into_iter().any(Variant::is_peer)
        );
    }

    #[test]
    fn who_finds_tenants_names_their_cell() {
        for variant in Lineup::beside(&Variant::PEERS).variants {
            let cell = (variant != Variant::None).then_some(dev::SHARED_CELL);
            assert_eq!(variant.cell_of("acme"), cell, "{variant:?}");
        }
        assert_eq!(Variant::JwtCached.cell_of("acme"), None);
        assert_eq!(Variant::Router.cell_of("nobody"), None);
    }
}
