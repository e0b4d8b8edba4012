//! From a written provider to a checked one. Everything that is wrong is collected before anything is refused.

use contract::{LinkKind, ProviderId};

use super::{Endpoints, KeySource, ProviderConfig, raw, step_up, url};
use crate::algorithm::Algorithm;
use crate::claims::ProviderKind;
use crate::profile::{
    Access, AccessSettings, Application, ApplicationUse, Auth0, Auth0Settings, Entra, EntraSettings, Profile,
    TENANT_PLACEHOLDER, Tenants, TokenProfile,
};
use crate::typed::is_guid;

/// Clocks of synchronized machines differ by less; issuers and we both round.
const DEFAULT_LEEWAY_SECONDS: i64 = 60;
/// More than this and an expired token is simply accepted.
const MAX_LEEWAY_SECONDS: i64 = 300;
/// Entra's continuous access evaluation issues tokens for up to 28 hours, counted from a little before `iat`.
const ENTRA_MAX_LIFETIME_SECONDS: i64 = 29 * 3600;
/// Auth0's default for APIs and Access's default session.
const MAX_LIFETIME_SECONDS: i64 = 24 * 3600;
/// Nobody has a reason for more: Auth0's and Access's own maximum.
const LIFETIME_LIMIT_SECONDS: i64 = 31 * 24 * 3600;

const PUBLIC_CLOUD: &str = "https://login.microsoftonline.com";

/// Collects reasons.
pub(super) struct Reasons(Vec<String>);

impl Reasons {
    fn refuse(&mut self, reason: impl Into<String>) {
        self.0.push(reason.into());
    }

    pub(super) fn check(&mut self, holds: bool, reason: &str) {
        if !holds {
            self.refuse(reason);
        }
    }

    /// A checked base URL; on failure the reason is kept and an empty text returned.
    fn url(&mut self, setting: &str, text: &str) -> String {
        match url::parse(text) {
            Ok(_) => text.to_owned(),
            Err(reason) => {
                self.refuse(format!("{setting} = {reason}"));
                String::new()
            }
        }
    }

    fn base(&mut self, setting: &str, text: &str) -> String {
        self.check(
            !text.ends_with('/'),
            &format!("{setting} = {text:?}: write it without the trailing slash"),
        );
        self.url(setting, text)
    }
}

pub(super) fn provider(table: toml::Table) -> Result<ProviderConfig, Vec<String>> {
    let mut written: raw::Provider = toml::Value::Table(table)
        .try_into()
        .map_err(|error: toml::de::Error| vec![error.message().to_owned()])?;
    let mut reasons = Reasons(Vec::new());
    foreign_settings(&written, &mut reasons);
    let id = ProviderId::parse(&written.name)
        .map_err(|error| reasons.refuse(format!("name: {error}")))
        .ok();

    let algorithm = written.algorithm.unwrap_or(Algorithm::Rs256);
    reasons.check(
        matches!(algorithm, Algorithm::Rs256 | Algorithm::Ps256 | Algorithm::Es256),
        "algorithm: use RS256, PS256 or ES256",
    );
    let leeway = written.leeway_seconds.unwrap_or(DEFAULT_LEEWAY_SECONDS);
    reasons.check(
        (0..=MAX_LEEWAY_SECONDS).contains(&leeway),
        "leeway_seconds: use 0 to 300",
    );
    let max_lifetime = written.max_lifetime_seconds.unwrap_or(match written.kind {
        ProviderKind::Entra => ENTRA_MAX_LIFETIME_SECONDS,
        ProviderKind::Auth0 | ProviderKind::CloudflareAccess => MAX_LIFETIME_SECONDS,
    });
    reasons.check(
        (60..=LIFETIME_LIMIT_SECONDS).contains(&max_lifetime),
        "max_lifetime_seconds: use 60 to 2678400 (31 days)",
    );
    reasons.check(
        written.cell_claim.as_deref() != Some(""),
        "cell_claim: name a claim",
    );

    let (profile, source) = match written.kind {
        ProviderKind::Entra => entra(&mut written, &mut reasons),
        ProviderKind::Auth0 => auth0(&mut written, &mut reasons),
        ProviderKind::CloudflareAccess => access(&mut written, &mut reasons),
    };
    let (step_up, challenge) = step_up::read(written.step_up.take(), &profile, &mut reasons);
    let endpoints = endpoints(written.jwks_uri.as_deref(), source, &profile, &mut reasons);
    match id {
        Some(id) if reasons.0.is_empty() => Ok(ProviderConfig {
            id,
            profile,
            algorithm,
            leeway,
            max_lifetime,
            cell_claim: written.cell_claim,
            step_up,
            challenge,
            endpoints,
        }),
        _ => Err(reasons.0),
    }
}

/// A setting of another kind is a mistake, not something to ignore.
fn foreign_settings(written: &raw::Provider, reasons: &mut Reasons) {
    use ProviderKind::{Auth0, CloudflareAccess, Entra};
    let settings: [(&str, bool, &[ProviderKind]); 12] = [
        ("authority", written.authority.is_some(), &[Entra]),
        ("sts", written.sts.is_some(), &[Entra]),
        ("tenants", written.tenants.is_some(), &[Entra]),
        ("versions", written.versions.is_some(), &[Entra]),
        (
            "admit_consumer_accounts",
            written.admit_consumer_accounts.is_some(),
            &[Entra],
        ),
        ("audiences", written.audiences.is_some(), &[Entra, Auth0]),
        ("domain", written.domain.is_some(), &[Auth0]),
        ("audience", written.audience.is_some(), &[Auth0]),
        ("tenant_claims", written.tenant_claims.is_some(), &[Auth0]),
        ("team", written.team.is_some(), &[CloudflareAccess]),
        ("application", written.application.is_some(), &[CloudflareAccess]),
        ("scopes_from", written.scopes_from.is_some(), &[CloudflareAccess]),
    ];
    for (setting, is_set, kinds) in settings {
        if is_set && !kinds.contains(&written.kind) {
            reasons.refuse(format!("{setting} is no setting of kind {}", written.kind));
        }
    }
    if written.profile.is_some() && written.kind != Auth0 {
        reasons.refuse(format!("profile is no setting of kind {}", written.kind));
    }
}

/// The link kinds a provider offers, its default, and what is chosen.
fn links(
    written: &raw::Provider,
    offered: &[LinkKind],
    default: &[LinkKind],
    reasons: &mut Reasons,
) -> Vec<LinkKind> {
    let chosen = written.links_from.clone().unwrap_or_else(|| default.to_vec());
    for kind in &chosen {
        if !offered.contains(kind) {
            reasons.refuse(format!("links_from: kind {} has no {kind}", written.kind));
        }
    }
    chosen
}

fn entra(written: &mut raw::Provider, reasons: &mut Reasons) -> (Profile, KeySource) {
    let authority = reasons.base("authority", written.authority.as_deref().unwrap_or(PUBLIC_CLOUD));
    let is_ciam = authority.ends_with(".ciamlogin.com");
    let sts = match (written.sts.as_deref(), authority.as_str()) {
        (Some(sts), _) => Some(reasons.base("sts", sts)),
        (None, PUBLIC_CLOUD | "https://login.microsoftonline.us") => {
            Some("https://sts.windows.net".to_owned())
        }
        (None, "https://login.partner.microsoftonline.cn") => Some("https://sts.chinacloudapi.cn".to_owned()),
        (None, _) => None,
    };
    let versions = written.versions.take().unwrap_or_else(|| match sts {
        Some(_) => vec![raw::Version::V1, raw::Version::V2],
        None => vec![raw::Version::V2],
    });
    let accepts_v1 = versions.contains(&raw::Version::V1);
    let accepts_v2 = versions.contains(&raw::Version::V2);
    reasons.check(accepts_v1 || accepts_v2, "versions: name v1, v2 or both");
    reasons.check(
        !accepts_v1 || sts.is_some(),
        "versions: v1 at this authority needs sts, the host of v1 issuers",
    );

    let tenants = match written.tenants.take() {
        Some(raw::Tenants::Word(word)) if word == "any" => Tenants::Any,
        Some(raw::Tenants::Listed(listed)) if !listed.is_empty() => {
            for tid in listed.iter().filter(|tid| !is_guid(tid)) {
                reasons.refuse(format!("tenants: {tid:?} is no directory GUID in lower case"));
            }
            Tenants::Listed(listed)
        }
        _ => {
            reasons.refuse("tenants: say \"any\" or list directory GUIDs");
            Tenants::Any
        }
    };
    let audiences = written.audiences.take().unwrap_or_default();
    check_audiences(&audiences, reasons);
    let chosen = links(
        written,
        &[LinkKind::Tid, LinkKind::ClientId],
        &[LinkKind::Tid],
        reasons,
    );
    let link_client = chosen.contains(&LinkKind::ClientId);
    reasons.check(
        chosen.contains(&LinkKind::Tid),
        "links_from: tid must be among them",
    );
    reasons.check(
        !link_client || tenants != Tenants::Any,
        "links_from: client_id needs a list of tenants, because a client of any directory could be named",
    );

    let v2_template = if is_ciam {
        format!("https://{TENANT_PLACEHOLDER}.ciamlogin.com/{TENANT_PLACEHOLDER}/v2.0")
    } else {
        format!("{authority}/{TENANT_PLACEHOLDER}/v2.0")
    };
    let entra = Entra::new(EntraSettings {
        tenants,
        audiences,
        v1_template: sts
            .filter(|_| accepts_v1)
            .map(|sts| format!("{sts}/{TENANT_PLACEHOLDER}/")),
        v2_template,
        accepts_v2,
        admit_consumers: written.admit_consumer_accounts.unwrap_or(false),
        link_client,
    });
    reasons.check(
        !is_ciam || entra.only_tenant().is_some(),
        "tenants: an external (CIAM) authority belongs to one directory; list its GUID",
    );
    // Asking a directory for its own document gives its literal issuer; the shared one gives the template.
    let directory = entra.only_tenant().unwrap_or("common").to_owned();
    let issuer = match entra.only_tenant() {
        Some(tid) => entra.v2_template().replace(TENANT_PLACEHOLDER, tid),
        None => entra.v2_template().to_owned(),
    };
    let url = format!("{authority}/{directory}/v2.0/.well-known/openid-configuration");
    (Profile::Entra(entra), KeySource::Discovery { url, issuer })
}

fn auth0(written: &mut raw::Provider, reasons: &mut Reasons) -> (Profile, KeySource) {
    let domain = written.domain.take().unwrap_or_default();
    reasons.check(
        domain.ends_with('/'),
        "domain: write the issuer with its trailing slash, such as \"https://example.eu.auth0.com/\"",
    );
    let domain = reasons.url("domain", &domain);
    let mut audiences = written.audiences.take().unwrap_or_default();
    audiences.extend(written.audience.take());
    check_audiences(&audiences, reasons);

    let tenant_claims = written
        .tenant_claims
        .take()
        .unwrap_or_else(|| vec!["org_id".to_owned()]);
    let (organization, mut others): (Vec<String>, Vec<String>) =
        tenant_claims.into_iter().partition(|claim| claim == "org_id");
    reasons.check(
        others.len() <= 1,
        "tenant_claims: at most one claim besides org_id, because links do not say which claim they mean",
    );
    reasons.check(
        others.iter().all(|claim| !claim.is_empty()),
        "tenant_claims: name a claim",
    );
    reasons.check(
        !others.iter().any(|claim| claim == "org_name"),
        "tenant_claims: org_name can be changed by the organization; use org_id",
    );
    let mut default = vec![LinkKind::ClientId];
    default.extend((!organization.is_empty()).then_some(LinkKind::OrgId));
    default.extend((!others.is_empty()).then_some(LinkKind::Claim));
    let chosen = links(written, &default, &default, reasons);
    let auth0 = Auth0::new(Auth0Settings {
        domain: domain.clone(),
        profile: match written.profile {
            Some(raw::TokenProfile::Rfc9068) => TokenProfile::Rfc9068,
            Some(raw::TokenProfile::Auth0) | None => TokenProfile::Auth0,
        },
        audiences,
        link_organization: chosen.contains(&LinkKind::OrgId),
        link_claim: others.pop().filter(|_| chosen.contains(&LinkKind::Claim)),
        link_client: chosen.contains(&LinkKind::ClientId),
    });
    let url = format!("{domain}.well-known/openid-configuration");
    (
        Profile::Auth0(auth0),
        KeySource::Discovery { url, issuer: domain },
    )
}

fn access(written: &mut raw::Provider, reasons: &mut Reasons) -> (Profile, KeySource) {
    let team = written.team.take().unwrap_or_default();
    let team = reasons.base("team", &team);
    let mut applications: Vec<Application> = Vec::new();
    for application in written.application.take().unwrap_or_default() {
        let is_tag = application.aud.len() == 64
            && application
                .aud
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_tag {
            reasons.refuse(format!(
                "application: aud {:?} is no AUD tag of 64 hexadecimal digits",
                application.aud
            ));
        }
        if applications.iter().any(|known| known.aud == application.aud) {
            reasons.refuse(format!("application: aud {:?} is listed twice", application.aud));
        }
        let purpose = match application.purpose {
            raw::Use::Tenant => ApplicationUse::Tenant,
            raw::Use::Perimeter => ApplicationUse::Perimeter,
        };
        applications.push(Application {
            aud: application.aud,
            purpose,
        });
    }
    reasons.check(
        !applications.is_empty(),
        "application: list at least one [[provider.application]]",
    );
    let offered = [LinkKind::Aud, LinkKind::CommonName];
    let chosen = links(written, &offered, &offered, reasons);
    let certs = format!("{team}/cdn-cgi/access/certs");
    let scopes_from = written.scopes_from.take();
    reasons.check(
        scopes_from
            .as_deref()
            .is_none_or(|name| !name.is_empty() && name != "custom" && name != "custom."),
        "scopes_from: name a claim, or custom.<name> for one of the identity provider's own",
    );
    let access = Access::new(AccessSettings {
        team,
        applications,
        link_aud: chosen.contains(&LinkKind::Aud),
        link_common_name: chosen.contains(&LinkKind::CommonName),
        scopes_from,
    });
    (Profile::Access(access), KeySource::Jwks(certs))
}

fn check_audiences(audiences: &[String], reasons: &mut Reasons) {
    reasons.check(
        !audiences.is_empty(),
        "audiences: name at least one; tokens for anybody are tokens for nobody",
    );
    reasons.check(
        audiences.iter().all(|audience| !audience.is_empty()),
        "audiences: an audience cannot be empty",
    );
}

fn endpoints(
    configured: Option<&str>,
    source: KeySource,
    profile: &Profile,
    reasons: &mut Reasons,
) -> Endpoints {
    let source = match configured {
        Some(jwks_uri) => {
            if let Err(reason) = url::endpoint(jwks_uri) {
                reasons.refuse(format!("jwks_uri = {reason}"));
            }
            KeySource::Jwks(jwks_uri.to_owned())
        }
        None => source,
    };
    let first = match &source {
        KeySource::Jwks(url) | KeySource::Discovery { url, .. } => url,
    };
    let mut pinned: Vec<String> = url::endpoint(first).iter().map(url::authority).collect();
    if let (Profile::Entra(entra), KeySource::Discovery { issuer, .. }) = (profile, &source)
        && entra.only_tenant().is_some()
    {
        // An external (CIAM) directory's documents name two hosts: its own name's and its GUID's.
        pinned.extend(url::parse(issuer).iter().map(url::authority));
        pinned.dedup();
    }
    Endpoints { source, pinned }
}
