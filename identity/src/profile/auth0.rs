//! Auth0: access tokens for one API, in either of its two token profiles.

use contract::{LinkKind, PrincipalKind};

use super::{IssuerSpace, NOT_ACCESS_TOKEN, Reading};
use crate::claims::ExternalId;
use crate::json::Object;
use crate::refusal::Rule;

/// How the API's tokens are dressed. One is pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenProfile {
    /// `typ` JWT, client in `azp`.
    Auth0,
    /// RFC 9068: `typ` at+jwt, client in `client_id`, `jti` required.
    Rfc9068,
}

impl TokenProfile {
    pub(super) fn admits_typ(self, typ: Option<&str>) -> bool {
        match self {
            Self::Auth0 => typ == Some("JWT"),
            Self::Rfc9068 => typ.is_some_and(|typ| {
                typ.eq_ignore_ascii_case("at+jwt") || typ.eq_ignore_ascii_case("application/at+jwt")
            }),
        }
    }
}

/// One Auth0 API, as configured.
#[derive(Clone, Debug)]
pub(crate) struct Auth0 {
    pub(crate) profile: TokenProfile,
    audiences: Vec<String>,
    /// `org_id` names a tenant.
    link_organization: bool,
    /// The literal name of a claim that names a tenant: dots and slashes are part of it, not a path.
    link_claim: Option<String>,
    /// The client of a machine-to-machine token names a tenant.
    link_client: bool,
    userinfo: String,
    issuers: [IssuerSpace; 1],
}

/// What the providers file says about one Auth0 API.
pub(crate) struct Auth0Settings {
    /// The issuer, with its trailing slash.
    pub(crate) domain: String,
    pub(crate) profile: TokenProfile,
    pub(crate) audiences: Vec<String>,
    pub(crate) link_organization: bool,
    pub(crate) link_claim: Option<String>,
    pub(crate) link_client: bool,
}

impl Auth0 {
    pub(crate) fn new(settings: Auth0Settings) -> Self {
        let Auth0Settings {
            domain,
            profile,
            audiences,
            link_organization,
            link_claim,
            link_client,
        } = settings;
        let userinfo = format!("{domain}userinfo");
        let issuers = [IssuerSpace::Exact(domain)];
        Self {
            profile,
            audiences,
            link_organization,
            link_claim,
            link_client,
            userinfo,
            issuers,
        }
    }

    pub(super) fn issuers(&self) -> &[IssuerSpace] {
        &self.issuers
    }

    pub(super) fn read<'c>(&'c self, claims: &'c Object<'_>) -> Result<Reading<'c>, Rule> {
        let audience = self.audience(claims)?;
        if claims.has_any(NOT_ACCESS_TOKEN) {
            return Err(Rule::TokenUse);
        }
        let (client, token_id) = match self.profile {
            TokenProfile::Auth0 => (
                claims.id("azp", Rule::Client)?,
                claims.optional_id("jti", Rule::TokenId)?,
            ),
            TokenProfile::Rfc9068 => (
                claims.id("client_id", Rule::Client)?,
                Some(claims.id("jti", Rule::TokenId)?),
            ),
        };
        let subject = claims.id("sub", Rule::Subject)?;
        let grant = claims.any_text("gty", Rule::TokenUse)?.unwrap_or_default();
        // Auth0 writes machine subjects itself, and never for a person: `<client>@clients`.
        let is_machine = subject.strip_suffix("@clients").is_some_and(|own| client == own);
        let kind = if grant == "client-credentials" || is_machine {
            PrincipalKind::Service
        } else {
            PrincipalKind::User
        };

        let organization = claims.optional_id("org_id", Rule::TenantClaim)?;
        let mut links = Vec::new();
        let mut link = |kind, id: Option<&str>| links.extend(id.map(|id| ExternalId { kind, id: id.into() }));
        if self.link_organization {
            link(LinkKind::OrgId, organization);
        }
        if let Some(name) = &self.link_claim {
            link(LinkKind::Claim, claims.optional_id(name, Rule::TenantClaim)?);
        }
        if self.link_client && kind == PrincipalKind::Service {
            link(LinkKind::ClientId, Some(client));
        }

        let mut scopes = claims.texts("permissions", Rule::Scopes)?;
        scopes.extend(
            claims
                .any_text("scope", Rule::Scopes)?
                .unwrap_or_default()
                .split(' '),
        );
        Ok(Reading {
            subject: subject.to_owned(),
            kind,
            links,
            perimeter: false,
            organization,
            audience,
            scopes,
            token_id,
            client: Some(client),
            takes_claims_challenge: false,
        })
    }

    /// One of ours, alone or beside the provider's own userinfo endpoint, which Auth0 adds for OpenID scopes.
    fn audience<'c>(&'c self, claims: &Object<'_>) -> Result<&'c str, Rule> {
        let mut ours = None;
        let mut userinfo = 0;
        for audience in claims.text_or_texts("aud", Rule::Audience)? {
            match self.audiences.iter().find(|known| *known == audience) {
                Some(known) if ours.is_none() => ours = Some(known.as_str()),
                None if audience == self.userinfo && userinfo == 0 => userinfo = 1,
                _ => return Err(Rule::Audience),
            }
        }
        ours.ok_or(Rule::Audience)
    }
}
