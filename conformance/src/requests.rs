//! Requests that carry good tokens in odd ways: what no token alone can express. Most must be refused as if they carried
//! none; a few are merely unusual and must pass.

mod elsewhere;
mod one_line;

use crate::attacks::Row;
use crate::{Setting, Slot, tokens};

/// What must come of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It goes to its tenant's cell.
    Allowed,
    /// The client reads `code`, the operator's log `reason`.
    Denied {
        /// The code of the envelope.
        code: &'static str,
        /// The beginning of the reason.
        reason: &'static str,
    },
    /// The proxy refuses it as malformed and asks nobody.
    Malformed,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Unique.
    pub name: String,
    /// Where it comes from.
    pub row: Row,
    /// The method.
    pub method: &'static str,
    /// Path and query.
    pub path: String,
    /// Header lines in this order, name and value; bytes as on the wire.
    pub lines: Vec<(&'static str, Vec<u8>)>,
    /// The body.
    pub body: String,
    /// What the decision must say, where the request can be put to it at all.
    pub check: Option<Answer>,
    /// What a client of the proxy must get.
    pub proxy: Answer,
}

const REPEATED: &str = "credential authorization: repeated";
const NO_BEARER: &str = "credential authorization: not a bearer token";
const NO_TOKEN: &str = "credential token: not a compact JWS";
const NONE: &str = "no credential";

fn refused(reason: &'static str) -> Answer {
    Answer::Denied {
        code: "unauthenticated",
        reason,
    }
}

struct List {
    requests: Vec<Request>,
    row: Row,
}

impl List {
    fn add(&mut self, name: &str, lines: Vec<(&'static str, Vec<u8>)>, answer: Answer) -> &mut Request {
        self.requests.push(Request {
            name: name.to_owned(),
            row: self.row,
            method: "GET",
            path: "/api/x".to_owned(),
            lines,
            body: String::new(),
            check: Some(answer.clone()),
            proxy: answer,
        });
        self.requests.last_mut().unwrap()
    }

    fn authorization(&mut self, name: &str, value: impl AsRef<[u8]>, answer: Answer) -> &mut Request {
        self.add(name, vec![("authorization", value.as_ref().to_vec())], answer)
    }
}

/// The good twin of all of them: the same tokens where they belong.
#[must_use]
pub fn twins(setting: &Setting) -> Vec<Request> {
    let mut list = List {
        requests: Vec::new(),
        row: Row::Transport,
    };
    for draft in [tokens::entra_v2(setting.now), tokens::access_user(setting.now)] {
        let line = (draft.slot.header(), draft.slot.value(&draft.sign()).into_bytes());
        list.add(draft.slot.header(), vec![line], Answer::Allowed);
    }
    list.requests
}

/// Every request.
#[must_use]
pub fn all(setting: &Setting) -> Vec<Request> {
    let mut list = List {
        requests: Vec::new(),
        row: Row::Transport,
    };
    let now = setting.now;
    let good = tokens::entra_v2(now).sign();
    let second = tokens::entra_v2(now).with("uti", "uti-2").sign();
    let expired = tokens::entra_v2(now).with("exp", now - 3600).sign();
    let access = tokens::access_user(now).sign();
    let stale = tokens::access_user(now).with("exp", now - 3600).sign();

    one_line::schemes(&mut list, &good);
    one_line::bytes(&mut list, &good, &second);
    repeated(&mut list, &good, &second, &expired, &access);
    both(&mut list, &good, &expired, &access, &stale);
    elsewhere::places(&mut list, &good, &access);
    list.requests
}

fn repeated(list: &mut List, good: &str, second: &str, expired: &str, access: &str) {
    let line = |token: &str| ("authorization", format!("Bearer {token}").into_bytes());
    for (name, lines) in [
        ("the same line twice", vec![line(good), line(good)]),
        ("two good lines", vec![line(good), line(second)]),
        ("a good line and an expired one", vec![line(good), line(expired)]),
        ("an expired line and a good one", vec![line(expired), line(good)]),
        (
            "a good line and an empty one",
            vec![line(good), ("authorization", Vec::new())],
        ),
        (
            "an empty line and a good one",
            vec![("authorization", Vec::new()), line(good)],
        ),
        (
            "a good line and a basic one",
            vec![line(good), ("authorization", b"Basic dTpw".to_vec())],
        ),
        ("three lines", vec![line(good), line(good), line(good)]),
    ] {
        // Envoy joins the lines by a comma before it asks, and an empty line adds nothing: one value is left, and the cell
        // gets the same.
        let joined = if lines.iter().any(|(_, value)| value.is_empty()) {
            Answer::Allowed
        } else {
            refused(NO_TOKEN)
        };
        list.add(&format!("authorization: {name}"), lines, refused(REPEATED))
            .proxy = joined;
    }
    let line = |token: &str| ("cf-access-jwt-assertion", token.as_bytes().to_vec());
    let twice = "credential access assertion: repeated";
    list.add(
        "two Access assertions",
        vec![line(access), line(access)],
        refused(twice),
    );
    list.add(
        "an Access assertion and an empty one",
        vec![line(access), line("")],
        refused(twice),
    );
    for (name, value) in [
        ("an Access assertion with a scheme", format!("Bearer {access}")),
        ("two Access assertions with a comma", format!("{access},{access}")),
        ("a quoted Access assertion", format!("\"{access}\"")),
        ("an empty Access assertion", String::new()),
    ] {
        list.add(name, vec![line(&value)], refused(NO_TOKEN));
    }
}

/// Both headers: both must verify, and agree on the tenant.
fn both(list: &mut List, good: &str, expired: &str, access: &str, stale: &str) {
    let pair = |bearer: &str, assertion: &str| {
        vec![
            ("authorization", format!("Bearer {bearer}").into_bytes()),
            ("cf-access-jwt-assertion", assertion.as_bytes().to_vec()),
        ]
    };
    let disagree = Answer::Denied {
        code: "tenant_mismatch",
        reason: "bearer and access token name different tenants",
    };
    list.add(
        "a bearer and an Access token of different tenants",
        pair(good, access),
        disagree,
    );
    list.add(
        "an expired Access token beside a good bearer",
        pair(good, stale),
        refused("access token refused: exp: "),
    );
    list.add(
        "a bearer beside itself as an Access token",
        pair(good, good),
        refused("access token refused: iss: "),
    );
    list.add(
        "an expired bearer beside a good Access token",
        pair(expired, access),
        refused("token refused: exp: "),
    );
    list.add(
        "an Access token as bearer beside itself",
        pair(access, access),
        refused("token refused: iss: "),
    );
    list.add(
        "a bearer beside an empty Access token",
        pair(good, ""),
        refused(NO_TOKEN),
    );
    list.add(
        "an Access token beside a basic credential",
        vec![
            ("authorization", b"Basic dTpw".to_vec()),
            ("cf-access-jwt-assertion", access.as_bytes().to_vec()),
        ],
        refused(NO_BEARER),
    );
    for (name, slot, token) in [
        ("a bearer token in the Access header", Slot::Assertion, good),
        ("an Access token as bearer", Slot::Authorization, access),
    ] {
        list.add(
            name,
            vec![(slot.header(), slot.value(token).into_bytes())],
            refused("token refused: iss: "),
        );
    }
}
