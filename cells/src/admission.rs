//! Whether a request may enter: its assertion, its headers, its tenant's fence, in this order. The middleware, the answer
//! to a proxy that asks and the answer about a lone assertion are all this.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::response::IntoResponse as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::assertion::AssertionClaims;
use contract::{CellId, Code, Envelope, header};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::headers::{confirmed, single};
use crate::keys::{Disbelief, Keys};
use crate::metrics::Metrics;
use crate::occupancy::{Admitted, Occupancy, Placed};

/// How far a cell believes the headers it receives.
#[derive(Clone)]
pub enum Trust {
    /// Only what an assertion of a live router confirms.
    Enforce(Keys),
    /// As they come, counting and logging what would be refused: for the time in which a cell is put behind routers.
    Audit(Keys),
    /// As they come. The epoch is read *without* checking the signature, so whoever reaches the cell's port can claim
    /// any; only fences read it, and they refuse what names none.
    Off,
}

/// A cell's admission. Cloning is cheap.
#[derive(Clone)]
pub struct Admission {
    cell: CellId,
    trust: Trust,
    occupancy: Arc<Occupancy>,
    metrics: Metrics,
}

/// A request that was let in.
#[derive(Clone)]
pub struct Entry {
    /// Its place in the cell, which it has until the last clone is dropped.
    pub admitted: Arc<Admitted>,
    /// What a router says of it; `None` where that was not verified.
    pub claims: Option<Arc<AssertionClaims>>,
}

/// A request that was not, and an extension of the answer that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What its client learns.
    pub code: Code,
    /// The placement that it came under, if that is known.
    pub placed: Option<Placed>,
}

impl Admission {
    /// Admission to `cell`.
    #[must_use]
    pub const fn new(cell: CellId, trust: Trust, occupancy: Arc<Occupancy>, metrics: Metrics) -> Self {
        Self {
            cell,
            trust,
            occupancy,
            metrics,
        }
    }

    /// The cell's own id.
    #[must_use]
    pub const fn cell(&self) -> &CellId {
        &self.cell
    }

    /// Who is in the cell.
    #[must_use]
    pub const fn occupancy(&self) -> &Arc<Occupancy> {
        &self.occupancy
    }

    /// What keeps everybody out; empty when nothing does.
    #[must_use]
    pub fn pending(&self) -> Vec<String> {
        let mut pending = Vec::new();
        if let Trust::Enforce(keys) = &self.trust
            && keys.count().is_none()
        {
            pending.push("assertion keys: none that are young enough".to_owned());
        }
        if !self.occupancy.is_readable() {
            pending.push("fences: cannot be read".to_owned());
        }
        pending
    }

    /// Judges a request by its headers.
    pub async fn admit(&self, headers: &HeaderMap) -> Result<Entry, Refused> {
        let judged = match &self.trust {
            Trust::Off => Ok(None),
            Trust::Enforce(keys) => self.confirm(keys, headers).await.map(Some),
            Trust::Audit(keys) => Ok(match self.confirm(keys, headers).await {
                Ok(claims) => Some(claims),
                Err(_) => {
                    self.metrics.audited.inc();
                    None
                }
            }),
        };
        let claims = match judged {
            Ok(claims) => claims,
            Err(code) => return Err(self.enter(None, Err(code)).err().unwrap_or(refused(code))),
        };
        let (tenant, placed) = match &claims {
            Some(claims) => (
                claims.tenant.as_ref().map(contract::TenantId::as_str),
                Some(Placed::from(claims)),
            ),
            None => (
                as_received(headers),
                single(headers, header::ASSERTION).and_then(unverified),
            ),
        };
        let admitted = self.enter(tenant, Ok(placed))?;
        Ok(Entry {
            admitted,
            claims: claims.map(Arc::new),
        })
    }

    /// Judges a lone assertion, as its holder sends it: without headers to compare it with.
    pub async fn admit_assertion(&self, assertion: &str) -> Result<Entry, Refused> {
        let verified = match &self.trust {
            Trust::Enforce(keys) | Trust::Audit(keys) => keys.verify(assertion, &self.cell).await,
            Trust::Off => Err(Disbelief::NoKeys),
        };
        let claims = match verified {
            Ok(claims) => claims,
            Err(disbelief) => {
                self.log(disbelief.name());
                let code = match disbelief {
                    Disbelief::NoKeys => Code::NotReady,
                    // As routers answer the same question.
                    Disbelief::Rule(_) => Code::CellMismatch,
                };
                return Err(self.enter(None, Err(code)).err().unwrap_or(refused(code)));
            }
        };
        let tenant = claims.tenant.as_ref().map(contract::TenantId::as_str);
        let admitted = self.enter(tenant, Ok(Some(Placed::from(&claims))))?;
        Ok(Entry {
            admitted,
            claims: Some(Arc::new(claims)),
        })
    }

    /// What a live router says of the request, if its headers say the same.
    async fn confirm(&self, keys: &Keys, headers: &HeaderMap) -> Result<AssertionClaims, Code> {
        let Some(assertion) = single(headers, header::ASSERTION) else {
            self.log("no assertion, or several");
            return Err(Code::Forbidden);
        };
        let claims = keys.verify(assertion, &self.cell).await.map_err(|disbelief| {
            self.log(disbelief.name());
            disbelief.code()
        })?;
        if confirmed(headers, &claims) {
            Ok(claims)
        } else {
            self.log("the identity headers differ from the assertion");
            Err(Code::Forbidden)
        }
    }

    fn enter(
        &self,
        tenant: Option<&str>,
        placed: Result<Option<Placed>, Code>,
    ) -> Result<Arc<Admitted>, Refused> {
        let outcome = self.occupancy.admit(tenant, placed);
        self.metrics.admission(outcome.as_ref().err().copied());
        match outcome {
            Ok(admitted) => Ok(Arc::new(admitted)),
            Err(code) => Err(Refused {
                code,
                placed: placed.ok().flatten(),
            }),
        }
    }

    /// Nothing of the request is in the line: whoever wrote it could be anybody.
    fn log(&self, reason: &'static str) {
        tracing::warn!(target: "admission", cell = %self.cell, reason, "assertion refused");
    }
}

const fn refused(code: Code) -> Refused {
    Refused { code, placed: None }
}

impl Refused {
    /// What the client gets: the envelope, with this extension.
    #[must_use]
    pub fn response(self, request: &HeaderMap) -> Response<Body> {
        let request_id = single(request, header::REQUEST_ID).unwrap_or_default();
        let envelope = Envelope::<()>::refused(self.code, request_id);
        let mut response = (StatusCode::from(self.code), Json(envelope)).into_response();
        response
            .headers_mut()
            .insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.code.retry_after_seconds() {
            response
                .headers_mut()
                .insert(http::header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// The tenant that is named first, as an application would read it.
fn as_received(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::TENANT).and_then(|value| value.to_str().ok())
}

fn unverified(token: &str) -> Option<Placed> {
    let json = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&json).ok()
}
