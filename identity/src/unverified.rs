//! A token before anybody believes it: cut into parts, decoded, its header read. All of this happens before any
//! cryptography, and none of it can be used without [`crate::keyring`] confirming the signature.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::json::{self, Json, JsonError, Limits, Object};
use crate::refusal::Rule;

/// The longest token that is looked at, in bytes. Entra's largest tokens (200 groups) stay below 12 KiB.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// The longest `kid`, in bytes: room for a thumbprint or a URL.
pub const MAX_KID_BYTES: usize = 256;

/// Header members are flat strings.
const HEADER_LIMITS: Limits = Limits { depth: 2, values: 32 };
/// Room for a few hundred groups, roles or permissions.
const PAYLOAD_LIMITS: Limits = Limits {
    depth: 16,
    values: 2048,
};

/// The decoded parts of a compact JWS.
pub(crate) struct UnverifiedToken<'t> {
    /// What the signature covers: `header.payload` as it came.
    pub(crate) signed: &'t [u8],
    /// Header, payload and signature, decoded, one behind the other: one allocation, never longer than the token.
    decoded: Vec<u8>,
    payload_at: usize,
    signature_at: usize,
}

/// Which parts may be empty.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payload {
    /// A token always says something.
    Claims,
    /// Signature-only verification: an empty payload is a legal JWS.
    Any,
}

impl<'t> UnverifiedToken<'t> {
    /// Cuts and decodes. Each part must be the only base64url text that decodes to its bytes.
    pub(crate) fn decode(token: &'t str, payload: Payload) -> Result<Self, Rule> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Rule::Size);
        }
        let mut parts = token.splitn(4, '.');
        let (Some(header), Some(middle), Some(signature)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Rule::Parts);
        };
        if let Some(rest) = parts.next() {
            let is_jwe = rest.bytes().filter(|b| *b == b'.').count() == 1;
            return Err(if is_jwe { Rule::Encrypted } else { Rule::Parts });
        }
        if header.is_empty() || signature.is_empty() || (middle.is_empty() && payload == Payload::Claims) {
            return Err(Rule::Parts);
        }
        // Four characters are three bytes; each part may leave a group begun.
        let mut decoded = vec![0; token.len() / 4 * 3 + 9];
        let mut filled = 0;
        let mut decode = |part: &str| {
            let free = decoded.get_mut(filled..).unwrap_or_default();
            filled += BASE64_URL_SAFE_NO_PAD
                .decode_slice(part, free)
                .map_err(|_| Rule::Base64)?;
            Ok::<_, Rule>(filled)
        };
        let payload_at = decode(header)?;
        let signature_at = decode(middle)?;
        let end = decode(signature)?;
        decoded.truncate(end);
        Ok(Self {
            signed: token
                .as_bytes()
                .get(..header.len() + 1 + middle.len())
                .ok_or(Rule::Parts)?,
            decoded,
            payload_at,
            signature_at,
        })
    }

    pub(crate) fn header(&self) -> Result<Header<'_>, Rule> {
        Header::parse(self.decoded.get(..self.payload_at).unwrap_or_default())
    }

    fn payload(&self) -> &[u8] {
        self.decoded
            .get(self.payload_at..self.signature_at)
            .unwrap_or_default()
    }

    pub(crate) fn claims(&self) -> Result<Object<'_>, Rule> {
        json::parse_object(self.payload(), PAYLOAD_LIMITS).map_err(|error| match error {
            JsonError::Malformed => Rule::PayloadJson,
            JsonError::Duplicate => Rule::PayloadDuplicate,
        })
    }

    pub(crate) fn signature(&self) -> &[u8] {
        self.decoded.get(self.signature_at..).unwrap_or_default()
    }

    pub(crate) fn into_payload(self) -> Vec<u8> {
        self.payload().to_vec()
    }
}

/// The JOSE header: an allow-list of members that cannot change how a token is verified. `crit`, `b64`, `zip`, `enc`,
/// `cty`, `jku`, `jwk`, `x5u`, `x5c`, `nonce` and everything unknown refuse the token.
#[derive(Debug)]
pub(crate) struct Header<'a> {
    pub(crate) alg: Cow<'a, str>,
    pub(crate) kid: Option<Cow<'a, str>>,
    pub(crate) typ: Option<Cow<'a, str>>,
}

impl<'a> Header<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, Rule> {
        let object = json::parse_object(bytes, HEADER_LIMITS).map_err(|error| match error {
            JsonError::Malformed => Rule::HeaderJson,
            JsonError::Duplicate => Rule::HeaderDuplicate,
        })?;
        if !object
            .names()
            .all(|name| matches!(name, "alg" | "kid" | "typ" | "x5t"))
        {
            return Err(Rule::HeaderMember);
        }
        let text = |name: &str, longest: usize, rule: Rule| match object.get(name) {
            None => Ok(None),
            Some(Json::Text(text)) if !text.is_empty() && text.len() <= longest => Ok(Some(text.clone())),
            Some(_) => Err(rule),
        };
        let header = Self {
            alg: text("alg", 16, Rule::Alg)?.ok_or(Rule::Alg)?,
            kid: text("kid", MAX_KID_BYTES, Rule::Kid)?,
            typ: text("typ", 64, Rule::Typ)?,
        };
        text("x5t", 64, Rule::X5t)?;
        Ok(header)
    }

    /// The key's name, which every token of a provider must carry.
    pub(crate) fn kid(&self) -> Result<&str, Rule> {
        self.kid.as_deref().ok_or(Rule::Kid)
    }
}

#[cfg(test)]
mod tests;
