//! Changed good tokens, judged by us and by `jsonwebtoken` with the same keys and audiences at the same time. Input: a
//! byte that chooses the good token, then changes (see [`Change`]).
//!
//! Whatever we accept, the other accepts; and where a rule of ours refuses that the other has as well ([`ground`]), it
//! refuses too.

mod ground;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use conformance::Slot;
use conformance::tokens::Draft;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use crate::world::{Provider, WORLD, wall_clock};
use ground::Ground;

/// The letters that begin a change; each takes the two bytes behind it.
pub enum Change {}

impl Change {
    /// A claim gets a value.
    pub const CLAIM: u8 = b'c';
    /// A claim goes.
    pub const NO_CLAIM: u8 = b'C';
    /// A header member gets a value.
    pub const HEADER: u8 = b'h';
    /// A header member goes.
    pub const NO_HEADER: u8 = b'H';
    /// A claim is written a second time.
    pub const TWICE: u8 = b't';
    /// A time, so many seconds from now.
    pub const TIME: u8 = b'i';
    /// Another key signs.
    pub const SIGNER: u8 = b's';
    /// A byte of the finished token is another one.
    pub const BYTE: u8 = b'b';
}

/// Names that some rule reads, and two that none does.
const CLAIMS: [&str; 30] = [
    "iss",
    "aud",
    "exp",
    "nbf",
    "iat",
    "sub",
    "tid",
    "oid",
    "ver",
    "azp",
    "appid",
    "scp",
    "roles",
    "scope",
    "permissions",
    "type",
    "common_name",
    "org_id",
    "jti",
    "uti",
    "client_id",
    "amr",
    "acr",
    "acrs",
    "idtyp",
    "auth_time",
    "nonce",
    "xms_act_fct",
    "x",
    "",
];
const HEADERS: [&str; 9] = ["alg", "kid", "typ", "x5t", "crit", "jku", "jwk", "b64", "nonce"];
/// Far enough from the leeway that both judge the same second.
const OFFSETS: [i64; 8] = [-100_000, -7_200, -600, -10, 0, 600, 7_200, 200_000];

/// What a claim or a header member may be changed to: oddities, then what good tokens say, so that an issuer, an
/// audience or a tenant of somebody else is among them.
static VALUES: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let special = json!([
        null, true, 0, -1, 1e300, 1.5, u64::MAX, i64::MIN,
        "", "RS256", "ES256", "none", "HS256", "JWT", "at+jwt",
        "app", "org", "id_token", "2.0", "1.0", "stranger", [],
        [""], {}, ["exp"], {"a": {"b": [1]}}, "a b", ["p1"],
        "https://evil.example/", ["https://api.alphaswarm.ai", "https://evil.example/"],
        "\u{0}", "\u{202e}",
    ]);
    let said = WORLD.drafts().flat_map(|draft| {
        let claims = ["iss", "aud", "tid", "azp", "sub", "ver"].map(|name| draft.claims[name].clone());
        claims.into_iter().chain([draft.header["kid"].clone()])
    });
    special.as_array().unwrap().iter().cloned().chain(said).collect()
});

fn value(at: u8) -> Value {
    VALUES[usize::from(at) % VALUES.len()].clone()
}

/// Whose keys can sign: those of the good tokens, and nobody's.
static SIGNERS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let known = WORLD.drafts().map(|draft| draft.signer.kid);
    known.chain(["stranger"]).collect()
});

static BASES: LazyLock<Vec<&'static Draft>> = LazyLock::new(|| WORLD.drafts().collect());

struct Changed {
    draft: Draft,
    signer: &'static str,
    /// Written behind the claims, so that a name occurs twice.
    twice: Vec<String>,
    bytes: Vec<(u8, u8)>,
}

impl Changed {
    fn change(&mut self, change: [u8; 3], now: i64) {
        let [letter, which, what] = change;
        let claim = CLAIMS[usize::from(which) % CLAIMS.len()];
        let header = HEADERS[usize::from(which) % HEADERS.len()];
        match letter {
            Change::CLAIM => self.draft.claims[claim] = value(what),
            Change::NO_CLAIM => self.draft = self.draft.clone().without(claim),
            Change::HEADER => self.draft.header[header] = value(what),
            Change::NO_HEADER => self.draft = self.draft.clone().without_header(header),
            Change::TWICE => self.twice.push(format!("{}:{}", json!(claim), value(what))),
            Change::TIME => {
                let name = ["exp", "nbf", "iat", "auth_time"][usize::from(which) % 4];
                self.draft.claims[name] = (now + OFFSETS[usize::from(what) % OFFSETS.len()]).into();
            }
            Change::SIGNER => {
                self.signer = SIGNERS[usize::from(which) % SIGNERS.len()];
            }
            Change::BYTE => self.bytes.push((which, what)),
            _ => {}
        }
    }

    fn sign(&self) -> String {
        let mut payload = self.draft.claims.to_string();
        for member in &self.twice {
            payload.pop();
            payload = format!("{payload},{member}}}");
        }
        let token = WORLD.sign(self.signer, &self.draft.header.to_string(), &payload);
        let mut token = token.into_bytes();
        for (at, byte) in &self.bytes {
            // From either end, so that header, payload and signature are all within reach of one byte.
            let at = match usize::from(*at) {
                at if at < 128 => at % token.len(),
                at => token.len() - 1 - (at - 128) % token.len(),
            };
            token[at] = b"ABab01-_.=+/ {"[usize::from(*byte) % 14];
        }
        String::from_utf8(token).unwrap()
    }
}

/// Judges one token twice.
pub fn run(data: &[u8]) {
    let Some((base, changes)) = data.split_first() else {
        return;
    };
    let now = wall_clock();
    let base = BASES[usize::from(*base) % BASES.len()];
    let mut changed = Changed {
        draft: at(base.clone(), now),
        signer: base.signer.kid,
        twice: Vec::new(),
        bytes: Vec::new(),
    };
    for change in changes.chunks_exact(3).take(8) {
        changed.change([change[0], change[1], change[2]], now);
    }
    let token = changed.sign();
    let slot = match base.slot {
        Slot::Authorization => identity::Slot::Bearer,
        Slot::Assertion => identity::Slot::Access,
    };
    let ours = WORLD.identity.verify(&token, slot, now);
    match &ours {
        Ok(verified) => {
            let name = verified.claims.provider.as_str();
            let provider = WORLD
                .providers
                .iter()
                .find(|provider| provider.name == name)
                .unwrap();
            assert!(theirs(provider, &token), "accepted by us alone: {token}");
        }
        Err(refusal) => {
            let of_slot = WORLD
                .providers
                .iter()
                .filter(|provider| provider.drafts[0].slot == base.slot);
            let taker = of_slot.clone().find(|provider| theirs(provider, &token));
            if let Some(taker) = taker {
                assert_eq!(
                    ground::of(refusal.rule),
                    Ground::OursAlone,
                    "{} refuses what is good at {}: {token}",
                    refusal.rule.name(),
                    taker.name
                );
            }
        }
    }
    // A good token nobody touched passes: else agreement would be cheap.
    assert!(!changes.is_empty() || ours.is_ok(), "{ours:?}");
}

/// The drafts' times are those of the fixture.
fn at(mut draft: Draft, now: i64) -> Draft {
    for name in ["exp", "nbf", "iat"] {
        if let Some(at) = draft.claims.get(name).and_then(Value::as_i64) {
            draft.claims[name] = (at - crate::world::NOW + now).into();
        }
    }
    draft.header("alg", "ES256")
}

/// What `jsonwebtoken` is told about a provider's tokens.
struct Theirs {
    keys: BTreeMap<&'static str, DecodingKey>,
    validation: Validation,
}

static THEIRS: LazyLock<BTreeMap<&'static str, Theirs>> = LazyLock::new(|| {
    let told = WORLD.providers.iter().map(|provider| {
        let keys = provider.keys.iter().map(|(kid, jwk)| {
            let jwk: Jwk = serde_json::from_value(jwk.clone()).unwrap();
            (kid.as_str(), DecodingKey::from_jwk(&jwk).unwrap())
        });
        let mut validation = Validation::new(Algorithm::ES256);
        validation.validate_nbf = true;
        validation.set_audience(&provider.audiences);
        let issuers = provider
            .drafts
            .iter()
            .filter_map(|draft| draft.claims["iss"].as_str());
        validation.set_issuer(&issuers.collect::<Vec<_>>());
        validation.set_required_spec_claims(&["exp", "aud", "iss"]);
        let keys = keys.collect();
        (provider.name, Theirs { keys, validation })
    });
    told.collect()
});

/// Whether `jsonwebtoken` accepts the token as one of this provider.
fn theirs(provider: &Provider, token: &str) -> bool {
    let Ok(header) = jsonwebtoken::decode_header(token) else {
        return false;
    };
    let Theirs { keys, validation } = &THEIRS[provider.name];
    header
        .kid
        .and_then(|kid| keys.get(kid.as_str()))
        .is_some_and(|key| jsonwebtoken::decode::<Value>(token, key, validation).is_ok())
}
