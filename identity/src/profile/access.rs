//! Cloudflare Access: application tokens of users and service tokens. Keys are shared by the whole account, so the AUD
//! tag is all that tells one application's tokens from another's.

use contract::LinkKind;

use super::{IssuerSpace, NOT_ACCESS_TOKEN, Reading};
use crate::claims::{ExternalId, PrincipalKind};
use crate::json::Object;
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
    issuers: [IssuerSpace; 1],
}

impl Access {
    /// `team` is the issuer, without a trailing slash.
    pub(crate) fn new(
        team: String,
        applications: Vec<Application>,
        link_aud: bool,
        link_common_name: bool,
    ) -> Self {
        Self {
            applications,
            link_aud,
            link_common_name,
            issuers: [IssuerSpace::Exact(team)],
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
            scopes: Vec::new(),
            token_id: claims.optional_id("jti", Rule::TokenId)?,
            client: None,
            takes_claims_challenge: false,
        })
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
