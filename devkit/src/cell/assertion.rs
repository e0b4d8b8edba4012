//! The routing assertion of a request: where it comes from decides how far the cell believes it.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::assertion::{Access, AssertionClaims};
use contract::{CellId, Code, header};
use identity::{AssertionKeys, Rule};
use serde::Deserialize;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

/// How often the routers' keys are fetched when nobody asks for a new one.
const REFRESH: Duration = Duration::from_secs(5);
/// The least time between two fetches.
const SPACING: Duration = Duration::from_millis(200);
/// How long one fetch may take, and how long a request waits for a key that it is the first to name.
const DEADLINE: Duration = Duration::from_secs(1);
/// The largest key set that is read, in bytes.
const MAX_JWKS: usize = 256 * 1024;

/// What an assertion says that fences look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Placed {
    /// The placement's epoch.
    pub(super) epoch: u64,
    /// What the router holds the request to.
    #[serde(default)]
    pub(super) access: Option<Access>,
}

impl Placed {
    /// Whether a router has let the request through because it only reads.
    pub(super) fn only_reads(&self) -> bool {
        self.access == Some(Access::Read)
    }
}

/// How far a cell believes the headers it receives.
#[derive(Clone)]
pub(super) enum Trust {
    /// As they come: for a cell that shows what it received. The epoch is read *without* checking the signature, so
    /// whoever reaches the cell's port can claim any; only fences read it, and they refuse what names none.
    AsReceived,
    /// Only what an assertion of a live router confirms.
    Verified(Verifier),
}

/// Assertion keys of the live routers, refreshed in the background.
#[derive(Clone)]
pub(super) struct Verifier {
    keys: watch::Receiver<Option<Arc<AssertionKeys>>>,
    wanted: Arc<Notify>,
}

impl Trust {
    /// How a request was placed, if that can be read; an error where the cell must refuse.
    pub(super) async fn placed(&self, headers: &HeaderMap, cell: &CellId) -> Result<Option<Placed>, Code> {
        match self {
            Self::AsReceived => Ok(single(headers, header::ASSERTION).and_then(unverified)),
            Self::Verified(verifier) => {
                let token = single(headers, header::ASSERTION).ok_or(Code::Forbidden)?;
                let claims = verifier.verify(token, cell).await?;
                if confirmed(headers, &claims) {
                    Ok(Some(Placed {
                        epoch: claims.epoch,
                        access: claims.access,
                    }))
                } else {
                    Err(Code::Forbidden)
                }
            }
        }
    }
}

impl Verifier {
    /// Starts to fetch `url`; ends with the last clone.
    pub(super) fn start(url: String) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(DEADLINE)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let (publish, keys) = watch::channel(None);
        let wanted = Arc::new(Notify::new());
        tokio::spawn(refresh(http, url, publish, Arc::clone(&wanted)));
        Ok(Self { keys, wanted })
    }

    async fn verify(&self, token: &str, cell: &CellId) -> Result<AssertionClaims, Code> {
        let mut keys = self.keys.clone();
        let judge = |keys: &Option<Arc<AssertionKeys>>| {
            let now = jiff::Timestamp::now().as_second();
            keys.as_ref().map(|keys| keys.verify(token, cell, now))
        };
        let seen = keys.borrow_and_update().clone();
        let outcome = match judge(&seen) {
            // A router that has just started signs with a key that was not fetched yet.
            None => None,
            Some(Err(refusal)) if refusal.rule == Rule::UnknownKid => None,
            Some(outcome) => Some(outcome),
        };
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => {
                self.wanted.notify_one();
                // Whether or not a fetch came in time: what is known by then decides.
                let _ = timeout(DEADLINE, keys.changed()).await;
                let fetched = keys.borrow().clone();
                judge(&fetched).ok_or(Code::NotReady)?
            }
        };
        outcome.map_err(|refusal| {
            tracing::warn!(rule = %refusal.rule, "assertion refused");
            Code::Forbidden
        })
    }
}

/// The identity headers say what the assertion says, each at most once.
fn confirmed(headers: &HeaderMap, claims: &AssertionClaims) -> bool {
    let same = |name: &str, claim: Option<&str>| {
        headers.get_all(name).iter().count() == usize::from(claim.is_some()) && single(headers, name) == claim
    };
    same(header::CELL, Some(claims.aud.as_str()))
        && same(
            header::TENANT,
            claims.tenant.as_ref().map(contract::TenantId::as_str),
        )
        && same(
            header::PRINCIPAL,
            claims.sub.as_ref().map(contract::Principal::as_str),
        )
        && same(header::SCOPES, claims.scopes.as_deref())
}

/// A header's value, if exactly one came.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(only), None) => only.to_str().ok(),
        _ => None,
    }
}

fn unverified(token: &str) -> Option<Placed> {
    let json = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&json).ok()
}

async fn refresh(
    http: reqwest::Client,
    url: String,
    publish: watch::Sender<Option<Arc<AssertionKeys>>>,
    wanted: Arc<Notify>,
) {
    while !publish.is_closed() {
        match fetch(&http, &url).await {
            Ok(keys) => drop(publish.send_replace(Some(Arc::new(keys)))),
            // The last good keys stay; whoever waits is told that nothing better came.
            Err(error) => {
                tracing::debug!(%error, "cannot fetch assertion keys");
                publish.send_modify(|_| ());
            }
        }
        sleep(SPACING).await;
        let _ = timeout(REFRESH, wanted.notified()).await;
    }
}

async fn fetch(http: &reqwest::Client, url: &str) -> anyhow::Result<AssertionKeys> {
    let mut response = http.get(url).send().await?.error_for_status()?;
    let mut document = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        anyhow::ensure!(
            document.len() + chunk.len() <= MAX_JWKS,
            "the key set is larger than {MAX_JWKS} bytes"
        );
        document.extend_from_slice(&chunk);
    }
    Ok(AssertionKeys::from_jwks(std::str::from_utf8(&document)?)?)
}
