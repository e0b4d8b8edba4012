//! Cloudflare Access: application tokens of users and service tokens. Keys are shared by the whole account, so the AUD
//! tag is all that tells one application's tokens from another's.

use contract::{LinkKind, PrincipalKind};

use super::{IssuerSpace, NOT_ACCESS_TOKEN, Reading};
use crate::claims::ExternalId;
use crate::json::{Json, Object};
use crate::refusal::Rule;

/// What an application's tokens mean here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApplicationUse {
    /// They name a tenant.
    Tenant,
    /// They only prove that the request came through Access.
    Perimeter,
}

/// An Access application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Application {
    pub(crate) aud: String,
    pub(crate) purpose: ApplicationUse,
}

/// One Access team, as configured.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    applications: Vec<Application>,
    link_aud: bool,
    link_common_name: bool,
    scopes_from: Option<String>,
    issuers: [IssuerSpace; 1],
}

/// What the providers file says about one Access team.
pub(crate) struct AccessSettings {
    /// The issuer, without a trailing slash.
    pub(crate) team: String,
    pub(crate) applications: Vec<Application>,
    pub(crate) link_aud: bool,
    pub(crate) link_common_name: bool,
    /// The claim whose strings are scopes.
    pub(crate) scopes_from: Option<String>,
}

impl Access {
    pub(crate) fn new(settings: AccessSettings) -> Self {
        Self {
            applications: settings.applications,
            link_aud: settings.link_aud,
            link_common_name: settings.link_common_name,
            scopes_from: settings.scopes_from,
            issuers: [IssuerSpace::Exact(settings.team)],
        }
    }

    pub(super) fn issuers(&self) -> &[IssuerSpace] {
        &self.issuers
    }

    pub(super) fn read<'c>(&'c self, claims: &'c Object<'_>) -> Result<Reading<'c>, Rule> {
        let application = self.application(claims)?;
        if claims.any_text("type", Rule::TokenType)? != Some("app") {
            return Err(Rule::TokenType);
        }
        if claims.has_any(NOT_ACCESS_TOKEN) {
            return Err(Rule::TokenUse);
        }
        let common_name = claims.optional_id("common_name", Rule::Subject)?;
        // A service token has a common name and an empty `sub`; a user has a `sub` and no common name. Service names
        // end in `.access`, which no user's id may imitate.
        let (subject, kind) = match (claims.any_text("sub", Rule::Subject)?, common_name) {
            (None | Some(""), Some(name)) => (name, PrincipalKind::Service),
            (Some(_), None) => (claims.id("sub", Rule::Subject)?, PrincipalKind::User),
            _ => return Err(Rule::Subject),
        };
        if kind == PrincipalKind::User && subject.ends_with(".access") {
            return Err(Rule::Subject);
        }

        let perimeter = application.purpose == ApplicationUse::Perimeter;
        let mut links = Vec::new();
        if !perimeter {
            if self.link_aud {
                links.push(ExternalId {
                    kind: LinkKind::Aud,
                    id: application.aud.as_str().into(),
                });
            }
            if self.link_common_name {
                links.extend(common_name.map(|name| ExternalId {
                    kind: LinkKind::CommonName,
                    id: name.into(),
                }));
            }
        }
        Ok(Reading {
            subject: subject.to_owned(),
            kind,
            links,
            perimeter,
            organization: Some(&application.aud),
            audience: &application.aud,
            scopes: self.scopes(claims)?,
            token_id: claims.optional_id("jti", Rule::TokenId)?,
            client: None,
            takes_claims_challenge: false,
        })
    }

    /// Access knows no scopes; an operator may name a claim whose strings are to count as some. `custom.<name>` is the
    /// member of that literal name in `custom`, where Access puts an identity provider's own claims; any other name is
    /// a claim's literal name, dots included.
    fn scopes<'c>(&self, claims: &'c Object<'_>) -> Result<Vec<&'c str>, Rule> {
        let Some(name) = &self.scopes_from else {
            return Ok(Vec::new());
        };
        match name.strip_prefix("custom.") {
            None => claims.text_or_texts(name, Rule::Scopes),
            Some(name) => match claims.get("custom") {
                None => Ok(Vec::new()),
                Some(Json::Object(custom)) => custom.text_or_texts(name, Rule::Scopes),
                Some(_) => Err(Rule::Scopes),
            },
        }
    }

    /// Exactly one AUD tag, and one of ours.
    fn application(&self, claims: &Object<'_>) -> Result<&Application, Rule> {
        match claims.text_or_texts("aud", Rule::Audience)?.as_slice() {
            [aud] => self
                .applications
                .iter()
                .find(|known| known.aud == *aud)
                .ok_or(Rule::Audience),
            _ => Err(Rule::Audience),
        }
    }
}
