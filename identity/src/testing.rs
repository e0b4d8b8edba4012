//! The shared cases of `conformance`, at the time of this crate's tests and in its own types.

use std::sync::{Arc, LazyLock};

pub(crate) use conformance::keys::{Signer, encode, key_set, stranger};
pub(crate) use conformance::tokens::{
    AUD_PERIMETER, AUD_TENANT, CLIENT, Draft, OID, OTHER_TID, TENANT_CLAIM, TID,
};
use conformance::{keys, providers, tokens};
use contract::ProviderId;
use serde_json::Value;

use crate::algorithm::Algorithm;
use crate::config::IdentityConfig;
use crate::keyring::KeyRing;
use crate::scopes::Operators;
use crate::verify::{CacheOptions, Identity, KeysFrom, Slot};

/// The time of every test: 2026-01-01T00:00:00Z.
pub(crate) const NOW: i64 = 1_767_225_600;

/// The providers file.
pub(crate) static PROVIDERS: LazyLock<String> = LazyLock::new(|| providers::toml(NOW, None));

/// Some key, for tests to which it does not matter whose it is.
pub(crate) fn signer(at: usize) -> &'static Signer {
    [keys::entra, keys::auth0, keys::rfc, keys::access, keys::stranger][at]()
}

pub(crate) fn ring(keys: &[Value]) -> KeyRing {
    KeyRing::parse(&key_set(keys), Algorithm::Rs256, NOW - 60).unwrap()
}

pub(crate) fn provider(name: &str) -> ProviderId {
    ProviderId::parse(name).unwrap()
}

/// A verifier with the keys of all providers.
pub(crate) fn identity() -> Arc<Identity> {
    identity_of(&PROVIDERS, Operators::none(), CacheOptions::default())
}

/// A verifier with another providers file; those that it shares with [`PROVIDERS`] by name have their keys.
pub(crate) fn identity_of(toml: &str, operators: Operators, options: CacheOptions) -> Arc<Identity> {
    let config = IdentityConfig::parse(toml).unwrap_or_else(|errors| panic!("{errors}"));
    let known = providers::all(NOW);
    let rings: Vec<_> = config
        .providers
        .iter()
        .filter_map(|provider| {
            let known = known.iter().find(|known| known.name == provider.id().as_str())?;
            let ring = KeyRing::parse(&known.key_set(), provider.algorithm, NOW - 60).unwrap();
            Some((provider.id().clone(), ring))
        })
        .collect();
    let identity = Identity::new(config, operators, options);
    for (id, ring) in rings {
        identity.publish_keys(&id, ring, KeysFrom::Network);
    }
    identity
}

impl From<conformance::Slot> for Slot {
    fn from(slot: conformance::Slot) -> Self {
        match slot {
            conformance::Slot::Authorization => Self::Bearer,
            conformance::Slot::Assertion => Self::Access,
        }
    }
}

pub(crate) fn entra_v2() -> Draft {
    tokens::entra_v2(NOW)
}

pub(crate) fn entra_v1() -> Draft {
    tokens::entra_v1(NOW)
}

pub(crate) fn auth0() -> Draft {
    tokens::auth0(NOW)
}

pub(crate) fn auth0_rfc() -> Draft {
    tokens::auth0_rfc(NOW)
}

pub(crate) fn access_user() -> Draft {
    tokens::access_user(NOW)
}

pub(crate) fn access_service() -> Draft {
    tokens::access_service(NOW)
}
