//! The tokens that requests carry: minted before they are needed, and again when keys change. The load only takes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, bail};
use contract::dev::{DevProvider, MintRequest, Minted};
use devkit::idp::Client;
use devkit::stack::header_value;
use http::{HeaderName, HeaderValue};

use crate::requests::Token;
use crate::tenants::{Part, REVOKED_SUBJECT, TENANTS, Tenant};

/// Fresh tokens that are kept for each tenant.
const UNIQUE: usize = 8;
/// Expired longer than any clock's tolerance.
const AGO: i64 = -3600;

/// A credential header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Its name.
    pub name: HeaderName,
    /// Its value.
    pub value: HeaderValue,
}

/// One tenant's tokens.
#[derive(Clone, Debug, Default)]
struct Purse {
    good: Option<Credential>,
    unique: VecDeque<Credential>,
    expired: Option<Credential>,
    forged: Option<Credential>,
    altered: Option<Credential>,
    wrong_audience: Option<Credential>,
    stranger: Option<Credential>,
}

/// All tenants' tokens.
#[derive(Debug, Default)]
pub struct Wallet {
    // Held for a moment only, never while waiting.
    purses: Mutex<Vec<Purse>>,
    /// Held by whoever mints what will be used, and over a rotation: between a key's first signature and the moment in
    /// which every router knows it, no token of it may come into use.
    pub minting: tokio::sync::Mutex<()>,
}

/// Freshly minted tokens of one provider's tenants, not yet in use.
#[derive(Debug)]
pub struct Fresh(Vec<(usize, Purse)>);

impl Fresh {
    /// A good one, to see whether routers take it.
    #[must_use]
    pub fn sample(&self) -> Option<&Credential> {
        self.0
            .iter()
            .filter(|(tenant, _)| {
                TENANTS
                    .get(*tenant)
                    .is_some_and(|tenant| tenant.part == Part::Still)
            })
            .chain(&self.0)
            .find_map(|(_, purse)| purse.good.as_ref())
    }
}

impl Wallet {
    /// The credential of a request; `None` where it carries none, or where there is none yet.
    #[must_use]
    pub fn credential(&self, token: Token, tenant: usize, index: u64) -> Option<Credential> {
        let purses = self.lock();
        let purse = purses.get(tenant)?;
        match token {
            Token::Good => purse.good.clone(),
            Token::Unique => {
                let count = u64::try_from(purse.unique.len())
                    .ok()
                    .filter(|count| *count > 0)?;
                purse.unique.get(usize::try_from(index % count).ok()?).cloned()
            }
            Token::Expired => purse.expired.clone(),
            Token::Forged => purse.forged.clone(),
            Token::Altered => purse.altered.clone(),
            Token::WrongAudience => purse.wrong_audience.clone(),
            Token::Stranger => purse.stranger.clone(),
            Token::None => None,
        }
    }

    /// Puts tokens into use.
    pub fn install(&self, fresh: Fresh) {
        let mut purses = self.lock();
        purses.resize_with(TENANTS.len(), Purse::default);
        for (tenant, purse) in fresh.0 {
            if let Some(old) = purses.get_mut(tenant) {
                *old = purse;
            }
        }
    }

    /// One more token of a tenant that no router has seen.
    pub async fn freshen(&self, idp: &Client, tenant: usize) -> anyhow::Result<()> {
        let _minting = self.minting.lock().await;
        let known = TENANTS.get(tenant).context("no such tenant")?;
        let fresh = credential(&idp.mint(&good(known)).await?)?;
        if let Some(purse) = self.lock().get_mut(tenant) {
            if purse.unique.len() >= UNIQUE {
                purse.unique.pop_front();
            }
            purse.unique.push_back(fresh);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Purse>> {
        self.purses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tokens of every tenant of these providers.
pub async fn mint(idp: &Client, providers: &[DevProvider]) -> anyhow::Result<Fresh> {
    let mut fresh = Vec::new();
    for (number, tenant) in TENANTS.iter().enumerate() {
        if providers.contains(&tenant.provider) {
            fresh.push((number, purse(idp, tenant).await?));
        }
    }
    Ok(Fresh(fresh))
}

fn good(tenant: &Tenant) -> MintRequest {
    MintRequest {
        provider: Some(tenant.provider),
        subject: (tenant.part == Part::Revoked).then(|| REVOKED_SUBJECT.to_owned()),
        ..MintRequest::good(tenant.id)
    }
}

async fn purse(idp: &Client, tenant: &Tenant) -> anyhow::Result<Purse> {
    let minted = idp.mint(&good(tenant)).await?;
    let mut unique = VecDeque::new();
    for _ in 0..2 {
        unique.push_back(credential(&idp.mint(&good(tenant)).await?)?);
    }
    let expired = MintRequest {
        lifetime: Some(AGO),
        ..good(tenant)
    };
    let elsewhere = MintRequest {
        // Access names an application by its AUD; the others an API.
        audience: Some("https://api.elsewhere.example".to_owned()),
        ..good(tenant)
    };
    let nobody = MintRequest {
        tenant: format!("nobody-{}", tenant.id),
        ..good(tenant)
    };
    let strange = idp.mint(&nobody).await?;
    Ok(Purse {
        good: Some(credential(&minted)?),
        unique,
        expired: Some(credential(&idp.mint(&expired).await?)?),
        forged: Some(credential(&forged(&minted)?)?),
        altered: Some(credential(&altered(&strange, &minted)?)?),
        wrong_audience: Some(credential(&idp.mint(&elsewhere).await?)?),
        stranger: Some(credential(&strange)?),
    })
}

/// A minted token as a header.
pub fn credential(minted: &Minted) -> anyhow::Result<Credential> {
    let mut value = HeaderValue::from_str(&header_value(minted))?;
    value.set_sensitive(true);
    Ok(Credential {
        name: HeaderName::try_from(minted.header.as_str())?,
        value,
    })
}

fn parts(token: &Minted) -> anyhow::Result<[&str; 3]> {
    let parts: Vec<&str> = token.token.split('.').collect();
    match parts.as_slice() {
        [header, payload, signature] => Ok([header, payload, signature]),
        _ => bail!("the identity provider minted no JWT"),
    }
}

/// The same token with a signature that nobody made: its characters backwards.
fn forged(token: &Minted) -> anyhow::Result<Minted> {
    let [header, payload, signature] = parts(token)?;
    let backwards: String = signature.chars().rev().collect();
    Ok(Minted {
        token: format!("{header}.{payload}.{backwards}"),
        header: token.header.clone(),
    })
}

/// A known tenant's payload between another token's header and signature.
fn altered(signed: &Minted, payload: &Minted) -> anyhow::Result<Minted> {
    let [header, _, signature] = parts(signed)?;
    let [_, payload, _] = parts(payload)?;
    Ok(Minted {
        token: format!("{header}.{payload}.{signature}"),
        header: signed.header.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minted(token: &str) -> Minted {
        Minted {
            token: token.to_owned(),
            header: "authorization".to_owned(),
        }
    }

    #[test]
    fn forgeries_differ_where_they_should() {
        assert_eq!(forged(&minted("h.p.abc")).unwrap().token, "h.p.cba");
        assert_eq!(
            altered(&minted("h1.p1.s1"), &minted("h2.p2.s2")).unwrap().token,
            "h1.p2.s1"
        );
        assert!(forged(&minted("no token")).is_err());
    }

    #[test]
    fn tokens_are_taken_in_turn_and_replaced_whole() {
        let wallet = Wallet::default();
        assert_eq!(wallet.credential(Token::Good, 0, 0), None);
        let token = |text| Some(credential(&minted(text)).unwrap());
        let purse = |good| Purse {
            good: token(good),
            unique: ["u0", "u1"].into_iter().filter_map(token).collect(),
            ..Purse::default()
        };
        wallet.install(Fresh(vec![(0, purse("a")), (1, purse("b"))]));
        wallet.install(Fresh(vec![(1, purse("c"))]));
        assert_eq!(wallet.credential(Token::Good, 0, 0), token("a"));
        assert_eq!(wallet.credential(Token::Good, 1, 0), token("c"));
        assert_eq!(wallet.credential(Token::Unique, 0, 3), token("u1"));
        assert_eq!(wallet.credential(Token::None, 0, 0), None);
        assert_eq!(wallet.credential(Token::Good, 5, 0), None);
    }
}
