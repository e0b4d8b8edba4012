//! What a verifier fetches: discovery documents and key sets, each in its provider's own shape.

use serde_json::{Value, json};

use super::ring::Ring;

/// The directory of personal accounts; a literal in the issuer of the consumers' key.
pub(super) const CONSUMERS_TID: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// Entra's two kinds of documents and tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntraVersion {
    V1,
    V2,
}

/// Whose documents a path names: one directory, or a multi-tenant endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Directory {
    /// `common` and `organizations`: documents speak of `{tenantid}`.
    Any(String),
    /// One directory's GUID, lower case.
    One(String),
}

impl Directory {
    /// The path segment; `None` if it names no directory.
    pub(super) fn parse(segment: &str) -> Option<Self> {
        match segment {
            "common" | "organizations" => Some(Self::Any(segment.to_owned())),
            "consumers" => Some(Self::One(CONSUMERS_TID.to_owned())),
            guid if guid.len() == 36 => uuid::Uuid::parse_str(guid)
                .ok()
                .map(|guid| Self::One(guid.to_string())),
            _ => None,
        }
    }

    fn segment(&self) -> &str {
        match self {
            Self::Any(text) | Self::One(text) => text,
        }
    }

    fn in_issuer(&self) -> &str {
        match self {
            Self::Any(_) => "{tenantid}",
            Self::One(tid) => tid,
        }
    }
}

/// The issuer of a directory's tokens; `tid` may be the template's `{tenantid}`.
pub(super) fn entra_issuer(base: &str, version: EntraVersion, tid: &str) -> String {
    match version {
        EntraVersion::V1 => format!("{base}/entra-sts/{tid}/"),
        EntraVersion::V2 => format!("{base}/entra/{tid}/v2.0"),
    }
}

/// Auth0's issuer, with its slash.
pub(super) fn auth0_issuer(base: &str) -> String {
    format!("{base}/auth0/")
}

/// Access's issuer, without one.
pub(super) fn access_issuer(base: &str) -> String {
    format!("{base}/access")
}

pub(super) fn entra_discovery(base: &str, version: EntraVersion, directory: &Directory) -> Value {
    let root = format!("{base}/entra/{}", directory.segment());
    let (keys, oauth2) = match version {
        EntraVersion::V1 => ("discovery/keys", "oauth2"),
        EntraVersion::V2 => ("discovery/v2.0/keys", "oauth2/v2.0"),
    };
    json!({
        "issuer": entra_issuer(base, version, directory.in_issuer()),
        "jwks_uri": format!("{root}/{keys}"),
        "authorization_endpoint": format!("{root}/{oauth2}/authorize"),
        "token_endpoint": format!("{root}/{oauth2}/token"),
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "cloud_instance_name": "microsoftonline.com",
        "tenant_region_scope": null,
    })
}

/// Entra's keys. v2: each says whose tokens it signs, by template on the multi-tenant endpoints (where the consumers'
/// key stands among them, with a literal) and literally on a directory's own. v1: the same keys without that.
pub(super) fn entra_keys(base: &str, version: EntraVersion, directory: &Directory, ring: &Ring) -> Value {
    let issuer = |tid: &str| (version == EntraVersion::V2).then(|| entra_issuer(base, version, tid));
    let of_directory = issuer(directory.in_issuer());
    let of_consumers = issuer(CONSUMERS_TID);
    let multi_tenant = matches!(directory, Directory::Any(_));
    let keys: Vec<_> = ring
        .published()
        .map(|key| key.entra_jwk(of_directory.as_deref()))
        .chain(
            ring.consumer()
                .filter(|_| multi_tenant)
                .map(|key| key.entra_jwk(of_consumers.as_deref())),
        )
        .collect();
    json!({ "keys": keys })
}

pub(super) fn auth0_discovery(base: &str) -> Value {
    let issuer = auth0_issuer(base);
    json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}.well-known/jwks.json"),
        "authorization_endpoint": format!("{issuer}authorize"),
        "token_endpoint": format!("{issuer}oauth/token"),
        "userinfo_endpoint": format!("{issuer}userinfo"),
        "response_types_supported": ["code", "token", "id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["HS256", "RS256", "PS256"],
    })
}

pub(super) fn auth0_keys(ring: &Ring) -> Value {
    json!({ "keys": ring.published().map(|key| key.auth0_jwk()).collect::<Vec<_>>() })
}

/// Access serves its keys twice: as JWKs and as certificates.
pub(super) fn access_keys(ring: &Ring) -> Value {
    let certificate = |kid: &str, pem: String| json!({ "kid": kid, "cert": pem });
    json!({
        "keys": ring.published().map(|key| key.access_jwk()).collect::<Vec<_>>(),
        "public_cert": certificate(&ring.current().kid, ring.current().certificate_pem()),
        "public_certs":
            ring.published().map(|key| certificate(&key.kid, key.certificate_pem())).collect::<Vec<_>>(),
    })
}

/// A key set in which one sloppy parser or another would stumble, among the good keys of `good`.
pub(super) fn odd_keys(mut good: Value) -> Value {
    let Some(keys) = good.get_mut("keys").and_then(Value::as_array_mut) else {
        return good;
    };
    // An RSA-1024 modulus: right in form, too short to be trusted.
    let short = "AQAB".repeat(43);
    let duplicate = keys.first().cloned().map(|mut key| {
        if let Some(members) = key.as_object_mut() {
            members.insert("kty".to_owned(), Value::from("EC"));
        }
        key
    });
    keys.insert(
        0,
        json!({ "kty": "RSA", "use": "sig", "kid": "short", "n": short, "e": "AQAB" }),
    );
    keys.insert(
        0,
        json!({ "kty": "oct", "use": "sig", "alg": "HS256", "kid": "symmetric", "k": "c2VjcmV0" }),
    );
    keys.push(json!({ "kty": "RSA", "use": "enc", "kid": "encryption", "n": "AQAB", "e": "AQAB" }));
    keys.push(json!({ "kty": "RSA", "kid": 7, "n": 7, "e": null }));
    keys.push(json!("not an object"));
    keys.extend(duplicate);
    good
}
