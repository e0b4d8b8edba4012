//! Entra ID: v1 and v2 access tokens, one directory or many.

use contract::{LinkKind, PrincipalKind};

use super::{IssuerSpace, NOT_ACCESS_TOKEN, Reading};
use crate::claims::ExternalId;
use crate::json::Object;
use crate::keyring::VerificationKey;
use crate::refusal::Rule;
use crate::typed::is_guid;

/// The directory of all personal Microsoft accounts.
const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";
/// Stands for the tenant id in issuer templates, ours and those in Entra's own documents.
pub(crate) const TENANT_PLACEHOLDER: &str = "{tenantid}";

/// Whose directories may sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tenants {
    /// Any. Registry links decide who is served.
    Any,
    /// These GUIDs.
    Listed(Vec<String>),
}

/// One Entra application (an API registration), as configured.
#[derive(Clone, Debug)]
pub(crate) struct Entra {
    tenants: Tenants,
    audiences: Vec<String>,
    v1_template: Option<String>,
    v2_template: String,
    accepts_v2: bool,
    admit_consumers: bool,
    link_client: bool,
    issuers: Vec<IssuerSpace>,
}

/// What the providers file says about one Entra application.
pub(crate) struct EntraSettings {
    pub(crate) tenants: Tenants,
    pub(crate) audiences: Vec<String>,
    /// Issuer template of v1 tokens, if they are accepted.
    pub(crate) v1_template: Option<String>,
    /// Issuer template of v2 tokens, known even where they are not accepted: keys are named by it.
    pub(crate) v2_template: String,
    pub(crate) accepts_v2: bool,
    pub(crate) admit_consumers: bool,
    pub(crate) link_client: bool,
}

impl Entra {
    pub(crate) fn new(settings: EntraSettings) -> Self {
        let EntraSettings {
            tenants,
            audiences,
            v1_template,
            v2_template,
            accepts_v2,
            admit_consumers,
            link_client,
        } = settings;
        let templates = v1_template.iter().chain(accepts_v2.then_some(&v2_template));
        let issuers = match &tenants {
            Tenants::Any => templates
                .filter_map(|template| template.split_once(TENANT_PLACEHOLDER))
                .map(|(prefix, suffix)| IssuerSpace::AnyTenant {
                    prefix: prefix.into(),
                    suffix: suffix.into(),
                })
                .collect(),
            Tenants::Listed(listed) => templates
                .flat_map(|template| {
                    listed
                        .iter()
                        .map(|tid| IssuerSpace::Exact(substitute(template, tid)))
                })
                .collect(),
        };
        Self {
            tenants,
            audiences,
            v1_template,
            v2_template,
            accepts_v2,
            admit_consumers,
            link_client,
            issuers,
        }
    }

    pub(super) fn issuers(&self) -> &[IssuerSpace] {
        &self.issuers
    }

    /// Exactly one directory, if the configuration names exactly one.
    pub(crate) fn only_tenant(&self) -> Option<&str> {
        match &self.tenants {
            Tenants::Listed(listed) => match listed.as_slice() {
                [only] => Some(only),
                _ => None,
            },
            Tenants::Any => None,
        }
    }

    /// The issuer that Entra's own discovery document must state.
    pub(crate) fn v2_template(&self) -> &str {
        &self.v2_template
    }

    pub(super) fn read<'c>(
        &'c self,
        issuer: &str,
        claims: &'c Object<'_>,
        key: &VerificationKey,
    ) -> Result<Reading<'c>, Rule> {
        let tid = self.directory(issuer, claims)?;
        self.check_key(issuer, tid, key)?;

        let audience = claims.any_text("aud", Rule::Audience)?.ok_or(Rule::Audience)?;
        let audience = self
            .audiences
            .iter()
            .find(|ours| *ours == audience)
            .ok_or(Rule::Audience)?;

        let is_v1 = claims.any_text("ver", Rule::Version)? == Some("1.0");
        let client = claims.optional_id(if is_v1 { "appid" } else { "azp" }, Rule::Client)?;
        let app_only = claims.any_text("idtyp", Rule::TokenUse)? == Some("app");
        let scp = claims.any_text("scp", Rule::Scopes)?;
        let roles = claims.texts("roles", Rule::Scopes)?;
        // An id token names no client, and grants nothing unless the application gives it roles.
        if claims.has_any(NOT_ACCESS_TOKEN)
            || client.is_none()
            || (scp.is_none() && roles.is_empty() && !app_only)
        {
            return Err(Rule::TokenUse);
        }
        let client = client.filter(|client| is_guid(client)).ok_or(Rule::Client)?;

        let oid = claims
            .any_text("oid", Rule::Subject)?
            .filter(|oid| is_guid(oid))
            .ok_or(Rule::Subject)?;
        // 11: an agent acts; 11 or 13: the subject is an agent's own identity or its user account.
        let is_agent =
            has_facet(claims, "xms_act_fct", &["11"])? | has_facet(claims, "xms_sub_fct", &["11", "13"])?;
        let kind = if is_agent {
            PrincipalKind::Agent
        } else if app_only || scp.is_none() {
            PrincipalKind::Service
        } else {
            PrincipalKind::User
        };
        let mut links = vec![ExternalId {
            kind: LinkKind::Tid,
            id: tid.into(),
        }];
        if self.link_client && kind == PrincipalKind::Service {
            links.push(ExternalId {
                kind: LinkKind::ClientId,
                id: client.into(),
            });
        }
        let mut scopes = roles;
        scopes.extend(scp.unwrap_or_default().split(' '));
        Ok(Reading {
            subject: format!("{tid}/{oid}"),
            kind,
            links,
            perimeter: false,
            organization: Some(tid),
            audience,
            scopes,
            token_id: claims.optional_id("uti", Rule::TokenId)?,
            client: Some(client),
            takes_claims_challenge: takes_claims_challenge(claims)?,
        })
    }

    /// The directory that issued the token: `tid`, which must produce exactly `iss`.
    fn directory<'c>(&self, issuer: &str, claims: &'c Object<'_>) -> Result<&'c str, Rule> {
        let tid = claims
            .any_text("tid", Rule::Tid)?
            .filter(|tid| is_guid(tid))
            .ok_or(Rule::Tid)?;
        let template = match claims.any_text("ver", Rule::Version)? {
            Some("1.0") => self.v1_template.as_deref(),
            Some("2.0") => self.accepts_v2.then_some(self.v2_template.as_str()),
            _ => None,
        }
        .ok_or(Rule::Version)?;
        if substitute(template, tid) != issuer {
            // The issuer is one of ours: either the version or the directory is not its own.
            let is_this_directory = issuer.contains(tid);
            return Err(if is_this_directory {
                Rule::Version
            } else {
                Rule::Tid
            });
        }
        match &self.tenants {
            Tenants::Listed(listed) if !listed.iter().any(|known| known == tid) => Err(Rule::Tid),
            Tenants::Any if tid == CONSUMERS && !self.admit_consumers => Err(Rule::ConsumerAccount),
            _ => Ok(tid),
        }
    }

    /// A key signs for the issuer that its own `issuer` member names, a literal or a template. Without one it signs
    /// for nobody: otherwise a key of one cloud or directory could sign for another. Version 1 key documents carry no
    /// issuers; the version 2 document holds the same keys, and names the version 2 issuer for both.
    fn check_key(&self, issuer: &str, tid: &str, key: &VerificationKey) -> Result<(), Rule> {
        let own = substitute(key.issuer().ok_or(Rule::KeyIssuer)?, tid);
        if own == issuer || own == substitute(&self.v2_template, tid) {
            Ok(())
        } else {
            Err(Rule::KeyIssuer)
        }
    }
}

fn substitute(template: &str, tid: &str) -> String {
    template.replace(TENANT_PLACEHOLDER, tid)
}

/// Facets are space-separated numbers in no order; unknown ones are ignored.
fn has_facet(claims: &Object<'_>, name: &str, sought: &[&str]) -> Result<bool, Rule> {
    let facets = claims.any_text(name, Rule::Subject)?.unwrap_or_default();
    Ok(facets.split(' ').any(|held| sought.contains(&held)))
}

/// Whether the client announced `cp1`. `xms_cc` is a string in some tokens and an array in others, in any letter case.
fn takes_claims_challenge(claims: &Object<'_>) -> Result<bool, Rule> {
    Ok(claims
        .text_or_texts("xms_cc", Rule::Client)?
        .into_iter()
        .flat_map(|held| held.split(' '))
        .any(|held| held.eq_ignore_ascii_case("cp1")))
}
