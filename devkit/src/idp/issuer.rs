//! The three issuers as one value: keys in, tokens out. HTTP stands around it; tests and benches may use it directly.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use contract::dev::{DevProvider, MintRequest, Minted};
use contract::header;
use serde_json::{Map, Value};

use super::api::{Rotate, Rotated, SignRequest};
use super::keys::SigningKey;
use super::metadata::{self, Directory, EntraVersion};
use super::ring::{PerProvider, Ring};
use super::shape::{self, Facts};
use super::{sign, store};
use crate::dev;

/// Why there is no token.
#[derive(Debug)]
pub enum MintError {
    /// The request asks for what does not exist; the text says what.
    Request(&'static str),
    /// The signature failed.
    Sign(anyhow::Error),
}

impl std::fmt::Display for MintError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Request(what) => f.write_str(what),
            Self::Sign(error) => write!(f, "cannot sign: {error:#}"),
        }
    }
}

impl std::error::Error for MintError {}

/// The three issuers. No `Debug`: it holds private keys.
pub struct Issuer {
    base: String,
    keys: RwLock<PerProvider<Ring>>,
    file: Option<PathBuf>,
}

impl Issuer {
    /// Issuers whose names begin with `base` (no slash at its end). Keys come from `directory` if it holds some, else
    /// they are generated, and stored there. Takes about a second of CPU when keys are generated.
    pub fn open(base: &str, directory: Option<&Path>) -> anyhow::Result<Self> {
        let file = directory.map(store::path);
        let stored = file.as_deref().map(store::load).transpose()?.flatten();
        let generated = stored.is_none();
        let keys = match stored {
            Some(keys) => keys,
            None => PerProvider {
                entra: Ring::generate(DevProvider::Entra)?,
                auth0: Ring::generate(DevProvider::Auth0)?,
                access: Ring::generate(DevProvider::CloudflareAccess)?,
            },
        };
        if let (Some(file), true) = (&file, generated) {
            store::save(file, &keys)?;
        }
        Ok(Self {
            base: base.to_owned(),
            keys: RwLock::new(keys),
            file,
        })
    }

    /// The base URL of all issuers, without a slash at the end.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A token as the provider would issue it, with the request's overrides.
    pub fn mint(&self, request: &MintRequest) -> Result<Minted, MintError> {
        let provider = request
            .provider
            .unwrap_or_else(|| dev::provider_of(&request.tenant));
        let asked = request.header.get("kid").and_then(Value::as_str);
        let key = self.key(provider, asked);
        let now = jiff::Timestamp::now().as_second();
        let mut shape = shape::of(provider, &Facts::new(&self.base, request, &key, now))?;
        overwrite(&mut shape.header, &request.header);
        overwrite(&mut shape.claims, &request.claims);
        let alg = shape.header.get("alg").and_then(Value::as_str).unwrap_or("RS256");
        let encode = |members: &Map<String, Value>| {
            serde_json::to_vec(members).map_err(|error| MintError::Sign(error.into()))
        };
        let token = sign::compact(&key, alg, &encode(&shape.header)?, &encode(&shape.claims)?)
            .map_err(MintError::Sign)?;
        let header = match provider {
            DevProvider::CloudflareAccess => header::ACCESS_ASSERTION,
            DevProvider::Entra | DevProvider::Auth0 => header::AUTHORIZATION,
        };
        Ok(Minted {
            token,
            header: header.to_owned(),
        })
    }

    /// A token of exactly these bytes.
    pub fn sign(&self, request: &SignRequest) -> Result<String, MintError> {
        let key = self.key(request.provider, request.kid.as_deref());
        let header = request.header.replace("${kid}", &key.kid);
        let alg = request.alg.as_deref().unwrap_or("RS256");
        sign::compact(&key, alg, header.as_bytes(), request.payload.as_bytes()).map_err(MintError::Sign)
    }

    /// Lets a fresh key sign. Takes about 100 ms of CPU. On an error (the disk) the old key goes on.
    pub fn rotate(&self, request: Rotate) -> anyhow::Result<Rotated> {
        let fresh = SigningKey::generate(request.provider)?;
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let before = keys.get(request.provider).clone();
        let rotated = keys.get_mut(request.provider).rotate(fresh, request.emergency);
        if let Some(file) = &self.file
            && let Err(error) = store::save(file, &keys)
        {
            *keys.get_mut(request.provider) = before;
            return Err(error);
        }
        Ok(rotated)
    }

    /// The key set that a verifier of all directories fetches from `provider`.
    #[must_use]
    pub fn key_set(&self, provider: DevProvider) -> Value {
        match provider {
            DevProvider::Entra => {
                self.entra_keys(EntraVersion::V2, &Directory::Any("organizations".to_owned()))
            }
            DevProvider::Auth0 => metadata::auth0_keys(&self.ring(provider)),
            DevProvider::CloudflareAccess => metadata::access_keys(&self.ring(provider)),
        }
    }

    pub(super) fn entra_keys(&self, version: EntraVersion, directory: &Directory) -> Value {
        metadata::entra_keys(&self.base, version, directory, &self.ring(DevProvider::Entra))
    }

    /// The key called `kid`, else the current one: a token that names a foreign key id is signed all the same.
    fn key(&self, provider: DevProvider, kid: Option<&str>) -> Arc<SigningKey> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let ring = keys.get(provider);
        Arc::clone(
            kid.and_then(|kid| ring.find(kid))
                .unwrap_or_else(|| ring.current()),
        )
    }

    fn ring(&self, provider: DevProvider) -> Ring {
        self.keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(provider)
            .clone()
    }
}

/// Puts `overrides` over `members`; a null removes.
fn overwrite(members: &mut Map<String, Value>, overrides: &Map<String, Value>) {
    for (name, value) in overrides {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
}
