//! What is asked: of whom, with which token, where, and with which headers that nobody may send. Request number *n* of a
//! seed is always the same question; the token's bytes are the wallet's.

use contract::header;
use devkit::dev::DEDICATED_CELL;
use http::{HeaderName, HeaderValue};

use crate::random::Random;
use crate::tenants::{Part, TENANTS, with};

/// Stands in every value that a client makes up.
pub const SPOOFED: &str = "spoofed";

/// What credential comes with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// The tenant's usual one, which routers remember.
    Good,
    /// A good one that routers have hardly seen.
    Unique,
    /// It was good an hour ago.
    Expired,
    /// A good one with another signature.
    Forged,
    /// Another tenant's payload under a good signature.
    Altered,
    /// For another audience.
    WrongAudience,
    /// Of a tenant that no link knows.
    Stranger,
    /// None.
    None,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A path that needs a token.
    Plain,
    /// A path that needs none.
    Public,
    /// A path that needs a strong sign-in.
    Admin,
    /// A path whose class changes with the policy file.
    Gated,
}

impl Place {
    /// Its path.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Plain => "/api/orders?page=2",
            Self::Public => "/public/status",
            Self::Admin => "/admin/users",
            Self::Gated => "/gated/report",
        }
    }
}

/// One question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The tenant's number.
    pub tenant: usize,
    /// Its credential.
    pub token: Token,
    /// Where.
    pub place: Place,
    /// Which made-up identity headers come along, if any.
    pub spoof: Option<usize>,
}

/// Out of a hundred requests. The rest are good ones.
const SHARES: [(u64, Token, Place); 10] = [
    (4, Token::Unique, Place::Plain),
    (3, Token::Expired, Place::Plain),
    (3, Token::Forged, Place::Plain),
    (2, Token::Altered, Place::Plain),
    (3, Token::WrongAudience, Place::Plain),
    (3, Token::Stranger, Place::Plain),
    (2, Token::None, Place::Plain),
    (2, Token::None, Place::Public),
    (1, Token::Good, Place::Admin),
    (4, Token::Good, Place::Gated),
];
/// One in so many carries made-up headers.
const SPOOFS: u64 = 8;

/// Request number `index` of a seed.
#[must_use]
pub fn ask(seed: u64, index: u64) -> Ask {
    let mut random = Random::new(Random::at(seed, index));
    let mut share = random.below(100);
    let mut kind = (Token::Good, Place::Plain);
    for (part, token, place) in SHARES {
        if share < part {
            kind = (token, place);
            break;
        }
        share -= part;
    }
    let count = TENANTS.len() as u64;
    let tenant = usize::try_from(random.below(count)).unwrap_or(0);
    let tenant = match kind {
        // Whoever is barred now and then would only blur what is asked here.
        (_, Place::Gated | Place::Admin) => with(Part::Still).nth(tenant % 3).unwrap_or(0),
        _ => tenant,
    };
    let spoof = (random.below(SPOOFS) == 0).then(|| usize::try_from(random.below(64)).unwrap_or(0));
    Ask {
        tenant,
        token: kind.0,
        place: kind.1,
        spoof,
    }
}

/// Made-up identity headers: one of several sets. None has a `_`, because Envoy refuses those requests whole.
#[must_use]
pub fn made_up(set: usize) -> Vec<(HeaderName, HeaderValue)> {
    let named = |name: &'static str, value: &'static str| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    match set % 6 {
        // The name of a cell that there is, and of one that there is not.
        0 => vec![
            named(header::CELL, DEDICATED_CELL),
            named(header::TENANT, "spoofed"),
        ],
        1 => vec![
            named(header::CELL, "spoofed"),
            named(header::PRINCIPAL, "entra:spoofed"),
        ],
        2 => header::IDENTITY.map(|name| named(name, "spoofed")).to_vec(),
        3 => vec![
            named(header::TENANT, "spoofed"),
            named(header::TENANT, "spoofed-again"),
            named("x-alphaswarm-anything", "spoofed"),
        ],
        4 => vec![
            named("x-alphaswarm.tenant", "spoofed"),
            named("x.alphaswarm.cell", "spoofed"),
        ],
        _ => vec![
            // A client's wish that Envoy or a cell should drop or rewrite headers.
            named("connection", "x-alphaswarm-tenant"),
            named("x-original-url", "/public/spoofed"),
            named("x-alphaswarm-assertion", "spoofed"),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_asks_the_same_again_and_every_kind_comes() {
        let all: Vec<Ask> = (0..20_000).map(|index| ask(7, index)).collect();
        assert!(
            all.iter()
                .enumerate()
                .all(|(index, one)| *one == ask(7, index as u64))
        );
        assert_ne!(
            all[..50],
            (0..50).map(|index| ask(8, index)).collect::<Vec<_>>()[..]
        );
        for (share, token, place) in SHARES {
            let found = all
                .iter()
                .filter(|ask| (ask.token, ask.place) == (token, place))
                .count();
            assert!(found as u64 > share * 150, "{token:?} {place:?}: {found}");
        }
        let good = all
            .iter()
            .filter(|ask| (ask.token, ask.place) == (Token::Good, Place::Plain));
        assert!(good.count() > 12_000);
        for tenant in 0..TENANTS.len() {
            assert!(all.iter().any(|ask| ask.tenant == tenant));
        }
        for set in 0..6 {
            assert!(
                all.iter()
                    .any(|ask| ask.spoof.is_some_and(|spoof| spoof % 6 == set))
            );
        }
    }

    #[test]
    fn made_up_headers_are_told_from_real_ones() {
        for set in 0..6 {
            let headers = made_up(set);
            assert!(
                headers
                    .iter()
                    .any(|(_, value)| value.to_str().unwrap().contains(SPOOFED))
            );
            assert!(headers.iter().all(|(name, _)| !name.as_str().contains('_')));
        }
    }
}
