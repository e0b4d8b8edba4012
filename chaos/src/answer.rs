//! What came back: what the demo cell says that it received, or why nobody was asked.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::dev::DemoCellAnswer;
use contract::header;
use devkit::load::{self, Failure};
use serde::Deserialize;

use crate::truth::ROUTERS;

/// An answer, as far as the oracle looks at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status; none if the request failed.
    pub status: Option<u16>,
    /// Our code of a refusal, or why there is no answer.
    pub code: String,
    /// The cell that answered with what it received, if one did.
    pub received: Option<Received>,
    /// Identity headers that came back to the client: none may.
    pub leaked: Vec<String>,
}

/// What a cell received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The cell's own id.
    pub cell: String,
    /// Every header that could be taken for one of ours, with all its values. The names in small letters, `_` and `.`
    /// as `-`.
    pub identity: BTreeMap<String, Vec<String>>,
    /// Names of such headers that are not spelled as ours are.
    pub misspelled: Vec<String>,
}

impl Answer {
    /// Reads a whole answer, or notes the failure.
    #[must_use]
    pub fn of(result: Result<&load::Answer, Failure>) -> Self {
        let answer = match result {
            Ok(answer) => answer,
            Err(failure) => {
                return Self {
                    code: failure.as_str().to_owned(),
                    ..Self::default()
                };
            }
        };
        let leaked = answer.headers.keys().map(http::HeaderName::as_str);
        let leaked = leaked.filter(|name| is_identity(name)).map(str::to_owned);
        let mut read = Self {
            status: Some(answer.status.as_u16()),
            leaked: leaked.collect(),
            ..Self::default()
        };
        if answer.status.is_success() {
            read.received = serde_json::from_slice(&answer.body).ok().map(received);
        } else {
            read.code = code(&answer.body);
        }
        read
    }

    /// A name for counting.
    #[must_use]
    pub fn name(&self) -> String {
        match self.status {
            Some(status) if self.code.is_empty() => status.to_string(),
            Some(status) => format!("{status} {}", self.code),
            None => self.code.clone(),
        }
    }
}

fn code(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        error: Option<Refusal<'a>>,
    }
    #[derive(Deserialize)]
    struct Refusal<'a> {
        #[serde(borrow)]
        code: std::borrow::Cow<'a, str>,
    }
    let read = serde_json::from_slice::<Body<'_>>(body).ok();
    read.and_then(|body| body.error).map_or_else(
        || "without an envelope".to_owned(),
        |error| error.code.into_owned(),
    )
}

fn plain(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '.'], "-")
}

fn is_identity(name: &str) -> bool {
    plain(name).starts_with(header::PREFIX)
}

fn received(answer: DemoCellAnswer) -> Received {
    let mut read = Received {
        cell: answer.cell,
        ..Received::default()
    };
    for (name, values) in answer.headers.into_iter().chain(answer.trailers) {
        if !is_identity(&name) {
            continue;
        }
        let spelled = plain(&name);
        if spelled != name {
            read.misspelled.push(name);
        }
        read.identity.entry(spelled).or_default().extend(values);
    }
    read
}

impl Received {
    /// The value of an identity header that came exactly once.
    #[must_use]
    pub fn one(&self, name: &str) -> Option<&str> {
        match self.identity.get(name).map(Vec::as_slice) {
            Some([value]) => Some(value),
            _ => None,
        }
    }

    /// Which router let the request in: the issuer of its assertion. Not verified, which is the cell's task.
    #[must_use]
    pub fn router(&self) -> Option<usize> {
        #[derive(Deserialize)]
        struct Claims {
            iss: String,
        }
        let payload = self.one(header::ASSERTION)?.split('.').nth(1)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let claims: Claims = serde_json::from_slice(&payload).ok()?;
        // As the stack names them: tenant-router, tenant-router-2, …
        let number = match claims.iss.strip_prefix(devkit::place::ROUTER)? {
            "" => 1,
            rest => rest.strip_prefix('-')?.parse::<usize>().ok()?,
        };
        number.checked_sub(1).filter(|number| *number < ROUTERS)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, StatusCode};

    use super::*;

    fn answer(status: u16, body: &str) -> load::Answer {
        load::Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::from(body.to_owned()),
        }
    }

    #[test]
    fn what_a_cell_received_is_read() {
        let body = r#"{"cell":"c","tenant":"t","principal":null,"method":"GET","path":"/",
            "headers":{"host":["h"],"x-alphaswarm-cell":["c"],"x-alphaswarm_tenant":["a"],"x-alphaswarm-tenant":["t"]}}"#;
        let read = Answer::of(Ok(&answer(200, body)));
        let received = read.received.clone().unwrap();
        assert_eq!(
            (received.cell.as_str(), received.one(header::CELL)),
            ("c", Some("c"))
        );
        assert_eq!(received.one(header::TENANT), None, "it came twice");
        assert_eq!(received.misspelled, ["x-alphaswarm_tenant"]);
        assert_eq!(read.name(), "200");
    }

    #[test]
    fn refusals_failures_and_leaks_are_read() {
        let refused =
            r#"{"status":"error","data":null,"error":{"code":"not_ready","message":"m","request_id":""}}"#;
        assert_eq!(Answer::of(Ok(&answer(503, refused))).name(), "503 not_ready");
        assert_eq!(
            Answer::of(Ok(&answer(502, "<html>"))).name(),
            "502 without an envelope"
        );
        assert_eq!(Answer::of(Err(Failure::Closed)).name(), "failed: closed");
        let mut leaking = answer(401, refused);
        leaking
            .headers
            .insert("X-Alphaswarm.Cell", HeaderValue::from_static("c"));
        assert_eq!(Answer::of(Ok(&leaking)).leaked, ["x-alphaswarm.cell"]);
    }

    #[test]
    fn the_assertion_names_the_router() {
        let issued_by = |iss: &str| {
            let payload = URL_SAFE_NO_PAD.encode(format!(r#"{{"iss":"{iss}","exp":1}}"#));
            Received {
                identity: BTreeMap::from([(
                    header::ASSERTION.to_owned(),
                    vec![format!("e30.{payload}.c2ln")],
                )]),
                ..Received::default()
            }
            .router()
        };
        assert_eq!(issued_by("tenant-router"), Some(0));
        assert_eq!(issued_by("tenant-router-3"), Some(2));
        assert_eq!(issued_by("tenant-router-9"), None);
        assert_eq!(issued_by("somebody"), None);
    }
}
