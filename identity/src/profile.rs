//! Provider profiles: what makes a signed JWT an access token *of this provider, for us*. The profiles exclude each
//! other: no token passes two of them (RFC 8725 §3.12).

mod access;
mod auth0;
mod entra;

pub(crate) use access::{Access, AccessSettings, Application, ApplicationUse};
pub(crate) use auth0::{Auth0, Auth0Settings, TokenProfile};
pub(crate) use entra::{Entra, EntraSettings, TENANT_PLACEHOLDER, Tenants};

use contract::PrincipalKind;

use crate::claims::{ExternalId, ProviderKind};
use crate::json::Object;
use crate::keyring::VerificationKey;
use crate::refusal::Rule;
use crate::unverified::Header;

/// The rules of one provider, with its configured values.
#[derive(Clone, Debug)]
pub(crate) enum Profile {
    Entra(Entra),
    Auth0(Auth0),
    Access(Access),
}

/// What a profile reads from a token. Before the signature is checked it only serves [`crate::admission`].
pub(crate) struct Reading<'c> {
    pub(crate) subject: String,
    pub(crate) kind: PrincipalKind,
    pub(crate) links: Vec<ExternalId>,
    pub(crate) perimeter: bool,
    /// What `ALPHASWARM_OPERATORS` names: `tid` or `org_id`.
    pub(crate) organization: Option<&'c str>,
    pub(crate) audience: &'c str,
    pub(crate) scopes: Vec<&'c str>,
    pub(crate) token_id: Option<&'c str>,
    pub(crate) client: Option<&'c str>,
    pub(crate) takes_claims_challenge: bool,
}

/// The issuers that a provider speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IssuerSpace {
    /// One issuer, compared byte for byte.
    Exact(String),
    /// `<prefix><GUID><suffix>` for any GUID.
    AnyTenant {
        /// Before the tenant id.
        prefix: String,
        /// After it.
        suffix: String,
    },
}

impl IssuerSpace {
    pub(crate) fn contains(&self, issuer: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == issuer,
            Self::AnyTenant { prefix, suffix } => issuer
                .strip_prefix(prefix.as_str())
                .and_then(|rest| rest.strip_suffix(suffix.as_str()))
                .is_some_and(crate::typed::is_guid),
        }
    }

    /// Whether some issuer lies in both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(issuer), space) | (space, Self::Exact(issuer)) => space.contains(issuer),
            (any, other) => any == other,
        }
    }
}

impl Profile {
    pub(crate) fn kind(&self) -> ProviderKind {
        match self {
            Self::Entra(_) => ProviderKind::Entra,
            Self::Auth0(_) => ProviderKind::Auth0,
            Self::Access(_) => ProviderKind::CloudflareAccess,
        }
    }

    pub(crate) fn issuers(&self) -> &[IssuerSpace] {
        match self {
            Self::Entra(entra) => entra.issuers(),
            Self::Auth0(auth0) => auth0.issuers(),
            Self::Access(access) => access.issuers(),
        }
    }

    /// Whether `issuer` is this provider's. Only then are its keys looked at.
    pub(crate) fn speaks_for(&self, issuer: &str) -> bool {
        self.issuers().iter().any(|space| space.contains(issuer))
    }

    /// The JOSE `typ` of this provider's access tokens.
    pub(crate) fn check_typ(&self, header: &Header<'_>) -> Result<(), Rule> {
        let typ = header.typ.as_deref();
        let fits = match self {
            Self::Entra(_) => typ == Some("JWT"),
            Self::Auth0(auth0) => auth0.profile.admits_typ(typ),
            Self::Access(_) => matches!(typ, None | Some("JWT")),
        };
        if fits { Ok(()) } else { Err(Rule::Typ) }
    }

    /// Reads the claims of a token that `key` signed and whose issuer [`speaks_for`](Self::speaks_for) this provider.
    pub(crate) fn read<'c>(
        &'c self,
        issuer: &str,
        claims: &'c Object<'_>,
        key: &VerificationKey,
    ) -> Result<Reading<'c>, Rule> {
        match self {
            Self::Entra(entra) => entra.read(issuer, claims, key),
            Self::Auth0(auth0) => auth0.read(claims),
            Self::Access(access) => access.read(claims),
        }
    }
}

/// Claims that only id tokens (`nonce`, hashes) and logout tokens (`events`) carry.
const NOT_ACCESS_TOKEN: &[&str] = &["nonce", "at_hash", "c_hash", "s_hash", "events"];
