//! What a token of each provider says: header and claims as the real providers shape them, before anybody's overrides.

use contract::dev::{DevProvider, MintRequest};
use serde_json::{Map, Value, json};

use super::issuer::MintError;
use super::keys::SigningKey;
use super::metadata::{EntraVersion, access_issuer, auth0_issuer, entra_issuer};
use crate::dev;

/// Header and claims.
pub(super) struct Shape {
    pub(super) header: Map<String, Value>,
    pub(super) claims: Map<String, Value>,
}

/// What all shapes are made from.
pub(super) struct Facts<'a> {
    pub(super) base: &'a str,
    pub(super) request: &'a MintRequest,
    pub(super) key: &'a SigningKey,
    /// Seconds since 1970.
    pub(super) now: i64,
    /// One hour unless the request says otherwise; before `now` for an expired token.
    pub(super) expires_at: i64,
    /// A token that is already expired was issued an hour before that, as a real one would be.
    pub(super) issued_at: i64,
}

const HOUR: i64 = 3600;

impl<'a> Facts<'a> {
    pub(super) fn new(base: &'a str, request: &'a MintRequest, key: &'a SigningKey, now: i64) -> Self {
        let expires_at = now.saturating_add(request.lifetime.unwrap_or(HOUR));
        let issued_at = if expires_at > now {
            now
        } else {
            expires_at.saturating_sub(HOUR)
        };
        Self {
            base,
            request,
            key,
            now,
            expires_at,
            issued_at,
        }
    }

    fn strong(&self) -> bool {
        self.request.acr.as_deref() == Some("high")
    }

    /// When the user signed in: at this moment for a strong token, else when it was issued.
    fn signed_in(&self) -> i64 {
        if self.strong() {
            self.now.min(self.issued_at)
        } else {
            self.issued_at.saturating_sub(5)
        }
    }

    fn subject(&self, usual: impl FnOnce() -> String) -> String {
        self.request.subject.clone().unwrap_or_else(usual)
    }

    fn scopes_or(&self, usual: &str) -> String {
        if self.request.scopes.is_empty() {
            usual.to_owned()
        } else {
            self.request.scopes.join(" ")
        }
    }
}

/// The shape of the asked provider's token.
pub(super) fn of(provider: DevProvider, facts: &Facts<'_>) -> Result<Shape, MintError> {
    match facts.request.acr.as_deref() {
        None | Some("high") => {}
        Some(_) => {
            return Err(MintError::Request(
                "acr: only \"high\" is known; set the claim itself in claims",
            ));
        }
    }
    if facts.request.version.is_some() && provider != DevProvider::Entra {
        return Err(MintError::Request("version: only Entra's tokens have versions"));
    }
    match provider {
        DevProvider::Entra => entra(facts),
        DevProvider::Auth0 => Ok(auth0(facts)),
        DevProvider::CloudflareAccess => access(facts),
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn entra(facts: &Facts<'_>) -> Result<Shape, MintError> {
    let request = facts.request;
    let version = match request.version {
        None | Some(2) => EntraVersion::V2,
        Some(1) => EntraVersion::V1,
        Some(_) => return Err(MintError::Request("version: Entra's tokens have version 1 or 2")),
    };
    let v1 = version == EntraVersion::V1;
    let tid = dev::external_id(&request.tenant, DevProvider::Entra);
    let usual_audience = match (request.tenant.as_str(), version) {
        (dev::OPERATOR, _) => dev::OPERATOR_AUDIENCE,
        (_, EntraVersion::V1) => dev::ENTRA_APP_ID_URI,
        (_, EntraVersion::V2) => dev::ENTRA_CLIENT_ID,
    };
    let audience = request.audience.as_deref().unwrap_or(usual_audience);
    let kind = if request.service { "service" } else { "user" };
    // An object id is always a GUID, so any other subject stands for one, always the same.
    let oid = match request.subject.as_deref() {
        Some(subject) if uuid::Uuid::parse_str(subject).is_ok() => subject.to_owned(),
        Some(subject) => dev::guid(&["oid", "named", subject]),
        None => dev::guid(&["oid", kind, &request.tenant]),
    };
    let client = dev::guid(&["client", kind, &request.tenant]);
    let mut claims = object(json!({
        "aud": audience,
        "iss": entra_issuer(facts.base, version, &tid),
        "iat": facts.issued_at, "nbf": facts.issued_at, "exp": facts.expires_at,
        "aio": "dev", "rh": "dev",
        "oid": oid, "tid": tid, "uti": unique(), "ver": if v1 { "1.0" } else { "2.0" },
    }));
    let (client_name, class_name) = if v1 {
        ("appid", "appidacr")
    } else {
        ("azp", "azpacr")
    };
    claims.insert(client_name.to_owned(), client.clone().into());
    claims.insert(
        class_name.to_owned(),
        if request.service { "1" } else { "0" }.into(),
    );
    let mut roles = request.roles.clone();
    if request.service {
        // An application has no scopes of its own: what it may do are roles, and its subject is its object id.
        roles.extend(request.scopes.iter().cloned());
        claims.insert("sub".to_owned(), oid.into());
        claims.insert("idtyp".to_owned(), "app".into());
        if v1 {
            claims.insert("idp".to_owned(), entra_issuer(facts.base, version, &tid).into());
        }
    } else {
        let email = format!("dev@{}.example", request.tenant);
        claims.insert("sub".to_owned(), pairwise(&tid, &oid, &client).into());
        claims.insert("name".to_owned(), "Dev User".into());
        claims.insert("scp".to_owned(), facts.scopes_or("access_as_user").into());
        claims.insert("auth_time".to_owned(), facts.signed_in().into());
        if v1 {
            let methods = if facts.strong() {
                json!(["pwd", "mfa"])
            } else {
                json!(["pwd"])
            };
            claims.insert("acr".to_owned(), "1".into());
            claims.insert("amr".to_owned(), methods);
            claims.insert("unique_name".to_owned(), email.clone().into());
            claims.insert("upn".to_owned(), email.into());
        } else {
            claims.insert("preferred_username".to_owned(), email.into());
            claims.insert("sid".to_owned(), dev::guid(&["sid", &request.tenant]).into());
        }
        if facts.strong() {
            claims.insert("acrs".to_owned(), json!([dev::ENTRA_STRONG]));
        }
    }
    if !roles.is_empty() {
        claims.insert("roles".to_owned(), json!(roles));
    }
    let mut header = object(json!({ "typ": "JWT", "alg": "RS256", "kid": facts.key.kid }));
    if v1 {
        header.insert("x5t".to_owned(), facts.key.x5t().into());
    }
    Ok(Shape { header, claims })
}

/// Auth0's own profile, or RFC 9068's when the request's header asks for `at+jwt`.
fn auth0(facts: &Facts<'_>) -> Shape {
    let request = facts.request;
    let issuer = auth0_issuer(facts.base);
    let audience = request.audience.as_deref().unwrap_or(dev::AUTH0_AUDIENCE);
    let kind = if request.service { "service" } else { "user" };
    let client = dev::hex_id(&["client", kind, &request.tenant])
        .chars()
        .take(32)
        .collect::<String>();
    let rfc9068 = matches!(request.header.get("typ"), Some(Value::String(typ)) if typ == "at+jwt");
    let mut claims = object(json!({
        "iss": issuer,
        "iat": facts.issued_at, "exp": facts.expires_at,
        "org_id": dev::external_id(&request.tenant, DevProvider::Auth0),
        "org_name": request.tenant,
    }));
    if request.service {
        claims.insert(
            "sub".to_owned(),
            facts.subject(|| format!("{client}@clients")).into(),
        );
        claims.insert("aud".to_owned(), audience.into());
        claims.insert("gty".to_owned(), "client-credentials".into());
        if !request.scopes.is_empty() {
            claims.insert("scope".to_owned(), request.scopes.join(" ").into());
        }
    } else {
        let user = || {
            format!(
                "auth0|{}",
                dev::hex_id(&["user", &request.tenant])
                    .get(..24)
                    .unwrap_or_default()
            )
        };
        claims.insert("sub".to_owned(), facts.subject(user).into());
        claims.insert("aud".to_owned(), json!([audience, format!("{issuer}userinfo")]));
        claims.insert("scope".to_owned(), facts.scopes_or("openid profile").into());
        claims.insert("auth_time".to_owned(), facts.signed_in().into());
        if facts.strong() {
            claims.insert("amr".to_owned(), json!([dev::AUTH0_STRONG]));
            claims.insert(
                "acr".to_owned(),
                "http://schemas.openid.net/pape/policies/2007/06/multi-factor".into(),
            );
        }
    }
    if !request.roles.is_empty() {
        claims.insert("permissions".to_owned(), json!(request.roles));
    }
    if rfc9068 {
        claims.insert("client_id".to_owned(), client.into());
        claims.insert("jti".to_owned(), unique().into());
    } else {
        claims.insert("azp".to_owned(), client.into());
    }
    let typ = if rfc9068 { "at+jwt" } else { "JWT" };
    Shape {
        header: object(json!({ "alg": "RS256", "typ": typ, "kid": facts.key.kid })),
        claims,
    }
}

/// Access's application token: of a person, or (without `sub` and `nbf`) of a service token. Access says nothing of
/// scopes, roles or the strength of a sign-in, so a request for them is refused rather than answered with a token
/// that lacks them.
fn access(facts: &Facts<'_>) -> Result<Shape, MintError> {
    let request = facts.request;
    if !request.scopes.is_empty() || !request.roles.is_empty() {
        return Err(MintError::Request(
            "scopes, roles: Cloudflare Access has none; set claims instead",
        ));
    }
    if request.acr.is_some() {
        return Err(MintError::Request(
            "acr: Cloudflare Access has no sign of a strong sign-in; set claims instead",
        ));
    }
    let usual_audience = || dev::external_id(&request.tenant, DevProvider::CloudflareAccess);
    let audience = request.audience.clone().unwrap_or_else(usual_audience);
    let mut claims = object(json!({
        "type": "app",
        "aud": [audience],
        "iss": access_issuer(facts.base),
        "iat": facts.issued_at, "exp": facts.expires_at,
    }));
    if request.service {
        let name = || {
            format!(
                "{}.access",
                dev::hex_id(&["service", &request.tenant])
                    .get(..32)
                    .unwrap_or_default()
            )
        };
        claims.insert("common_name".to_owned(), facts.subject(name).into());
        claims.insert("sub".to_owned(), "".into());
    } else {
        let user = || dev::guid(&["access", &request.tenant]);
        claims.insert("nbf".to_owned(), facts.issued_at.into());
        claims.insert("sub".to_owned(), facts.subject(user).into());
        claims.insert(
            "email".to_owned(),
            format!("dev@{}.example", request.tenant).into(),
        );
        claims.insert("identity_nonce".to_owned(), unique().into());
        claims.insert("country".to_owned(), "DE".into());
    }
    Ok(Shape {
        header: object(json!({ "alg": "RS256", "typ": "JWT", "kid": facts.key.kid })),
        claims,
    })
}

/// An id that no other token has.
fn unique() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Entra's subject differs for each client, so that two applications cannot compare users.
fn pairwise(tid: &str, oid: &str, client: &str) -> String {
    dev::hex_id(&["pairwise", tid, oid, client])
        .chars()
        .take(43)
        .collect()
}
