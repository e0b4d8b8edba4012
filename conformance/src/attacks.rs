//! The table of attacks: bad tokens, each with the rule that must refuse it and a good twin that passes in its place.
//!
//! An attack is one idea; where it is tried on several kinds of good token it is one attack with several cases.

mod access;
mod auth0;
mod encoding;
mod entra;
mod header;
mod issuer;
mod key;
mod other_tokens;
mod payload;
mod published;
mod signature;
mod times;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::tokens::{self, Draft};
use crate::{Setting, Slot};

/// The rows of the attack table that the cases come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Row {
    /// alg none/None/""; RS→HS with PEM/DER/modulus; PS256/RS384 swap; key alg/use/`key_ops` mismatch.
    Algorithm,
    /// kid `../`, SQL, NUL, 10 KB, non-string.
    KeyName,
    /// jku, x5u, x5c, jwk; crit, b64, zip, enc, cty.
    HeaderMembers,
    /// Duplicate keys at any depth or escape.
    Duplicates,
    /// exp string/negative/null/1e300/1e19/u64 max/float.
    Expiry,
    /// nbf future/wrong type; iat future; iss array/slash/case; aud [A, EVIL].
    TimesIssuerAudience,
    /// base64 trailing bits, `=`, whitespace, `+/`; nested JSON; megabyte token; JWE, nested JWE.
    Form,
    /// ECDSA (r, n−s), psychic (0, 0), off-curve, RSA-1024, ROCA; Ed25519 small order.
    Curves,
    /// id token or logout token as access token; tid≠iss; key of tenant A with iss of tenant B.
    OtherTokens,
    /// Two Authorization lines, comma-joined, tab/NBSP, scheme in any case, trailing bytes, query, cookie.
    Transport,
    /// The decision cache: nothing but the whole token is its key.
    Cache,
    /// What a provider's own documentation demands of its tokens.
    Provider,
    /// Published vulnerabilities of others.
    Cve,
}

impl Row {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Algorithm,
        Self::KeyName,
        Self::HeaderMembers,
        Self::Duplicates,
        Self::Expiry,
        Self::TimesIssuerAudience,
        Self::Form,
        Self::Curves,
        Self::OtherTokens,
        Self::Transport,
        Self::Cache,
        Self::Provider,
        Self::Cve,
    ];
}

/// One bad token.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is tried.
    pub attack: String,
    /// On which good token.
    pub on: &'static str,
    /// Where it comes from.
    pub row: Row,
    /// The name of the rule that must refuse it.
    pub rule: &'static str,
    /// Where the token stands.
    pub slot: Slot,
    /// The bad token.
    pub token: String,
    /// The good one that differs in nothing but the attack.
    pub twin: Arc<str>,
    /// Where the good one stands: elsewhere only if that is the attack.
    pub twin_slot: Slot,
}

impl Case {
    /// Unique in the table.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} ({})", self.attack, self.on)
    }

    /// Whether the token has no byte that a compact JWS cannot have. One that has is refused before it is a token at
    /// all wherever it comes out of a header.
    #[must_use]
    pub fn is_of_token_characters(&self) -> bool {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        !self.token.is_empty() && self.token.bytes().all(legal)
    }
}

/// An odd token that must pass, and why.
#[derive(Clone, Debug)]
pub struct Oddity {
    /// What is odd.
    pub name: &'static str,
    /// Where the token stands.
    pub slot: Slot,
    /// The token.
    pub token: String,
}

/// Every case, in the order of the modules.
#[must_use]
pub fn cases(setting: &Setting) -> Vec<Case> {
    let mut table = Table {
        setting,
        row: Row::Form,
        cases: Vec::new(),
    };
    encoding::add(&mut table);
    header::add(&mut table);
    key::add(&mut table);
    signature::add(&mut table);
    payload::add(&mut table);
    times::add(&mut table);
    issuer::add(&mut table);
    entra::add(&mut table);
    auth0::add(&mut table);
    access::add(&mut table);
    other_tokens::add(&mut table);
    published::add(&mut table);
    table.cases
}

/// Tokens that look like attacks and are none.
#[must_use]
pub fn oddities(setting: &Setting) -> Vec<Oddity> {
    signature::oddities(setting.now)
}

/// One case of each attack, the first.
#[must_use]
pub fn one_of_each(cases: &[Case]) -> Vec<&Case> {
    let mut first: BTreeMap<&str, &Case> = BTreeMap::new();
    for case in cases {
        first.entry(&case.attack).or_insert(case);
    }
    cases
        .iter()
        .filter(|case| std::ptr::eq(first[case.attack.as_str()], *case))
        .collect()
}

/// A good token that cases are made of.
pub(crate) struct Base {
    name: &'static str,
    draft: Draft,
    token: Arc<str>,
}

impl Base {
    fn new(name: &'static str, draft: Draft) -> Self {
        let token = draft.sign().into();
        Self { name, draft, token }
    }

    fn draft(&self) -> Draft {
        self.draft.clone()
    }

    fn part(&self, at: usize) -> &str {
        self.token.split('.').nth(at).unwrap()
    }

    /// The token with another part in its place.
    fn swap(&self, at: usize, part: &str) -> String {
        let mut parts: Vec<&str> = self.token.split('.').collect();
        parts[at] = part;
        parts.join(".")
    }

    /// Another header text over the same claims, signed.
    fn with_header_text(&self, header: &str) -> String {
        self.draft.signer.sign(header, &self.draft.claims.to_string())
    }

    /// Another payload text under the same header, signed.
    fn with_payload_text(&self, payload: &str) -> String {
        self.draft.signer.sign(&self.draft.header.to_string(), payload)
    }
}

struct Table<'s> {
    setting: &'s Setting,
    row: Row,
    cases: Vec<Case>,
}

impl Table<'_> {
    /// The kinds of token that rules for all are tried on.
    fn bases(&self) -> [Base; 6] {
        let now = self.setting.now;
        [
            Base::new("Entra v2", tokens::entra_v2(now)),
            Base::new("Entra v1", tokens::entra_v1(now)),
            Base::new("Auth0", tokens::auth0(now)),
            Base::new("RFC 9068", tokens::auth0_rfc(now)),
            Base::new("Access user", tokens::access_user(now)),
            Base::new("Access service", tokens::access_service(now)),
        ]
    }

    fn base(&self, name: &'static str, draft: fn(i64) -> Draft) -> Base {
        Base::new(name, draft(self.setting.now))
    }

    /// A changed draft.
    fn add(&mut self, attack: &str, rule: &'static str, base: &Base, bad: &Draft) {
        self.raw(attack, rule, base, bad.sign());
    }

    /// Any text in place of the token.
    fn raw(&mut self, attack: &str, rule: &'static str, base: &Base, token: String) {
        self.cases.push(Case {
            attack: attack.to_owned(),
            on: base.name,
            row: self.row,
            rule,
            slot: base.draft.slot,
            token,
            twin: Arc::clone(&base.token),
            twin_slot: base.draft.slot,
        });
    }

    /// A claim with each of several values.
    fn claim(&mut self, rule: &'static str, base: &Base, name: &str, values: &[Value]) {
        for value in values {
            let attack = format!("{} = {}", short(name), shown(value));
            self.add(&attack, rule, base, &base.draft().with(name, value.clone()));
        }
    }

    /// A token without a claim.
    fn missing(&mut self, rule: &'static str, base: &Base, name: &str) {
        self.add(&format!("no {name}"), rule, base, &base.draft().without(name));
    }

    /// A member of the header with each of several values.
    fn member(&mut self, rule: &'static str, base: &Base, name: &str, values: &[Value]) {
        for value in values {
            let attack = format!("header {name:?} = {}", shown(value));
            self.add(&attack, rule, base, &base.draft().header(name, value.clone()));
        }
    }
}

/// A claim's name without the address that makes it unique elsewhere.
fn short(name: &str) -> &str {
    name.strip_prefix("https://").unwrap_or(name)
}

/// A value as part of a name: cut, and then with its length, so that names stay unique.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(64) {
        Some((end, _)) => format!("{}… of {} bytes", &text[..end], text.len()),
        None => text,
    }
}
