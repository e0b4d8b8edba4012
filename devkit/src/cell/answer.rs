//! What the cell received, as it says it back.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use axum::http::request::Parts;
use contract::dev::DemoCellAnswer;
use contract::{CellId, header};

/// The answer, as yet without trailers: they come after the body.
pub(super) fn to(cell: &CellId, parts: &Parts) -> DemoCellAnswer {
    let mut headers = values(&parts.headers);
    // Over HTTP/2 the host is a pseudo-header, which the library keeps in the URI.
    if let (Some(authority), false) = (parts.uri.authority(), headers.contains_key("host")) {
        headers.insert("host".to_owned(), vec![authority.to_string()]);
    }
    DemoCellAnswer {
        cell: cell.to_string(),
        tenant: first(&parts.headers, header::TENANT),
        principal: first(&parts.headers, header::PRINCIPAL),
        method: parts.method.to_string(),
        path: parts
            .uri
            .path_and_query()
            .map_or_else(|| parts.uri.to_string(), ToString::to_string),
        headers,
        trailers: BTreeMap::new(),
    }
}

/// All values of all names. Bytes that are no UTF-8 are shown as replacement characters.
pub(super) fn values(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        all.entry(name.as_str().to_owned()).or_default().push(value);
    }
    all
}

/// The first value of a header, as an application would read it.
pub(super) fn first(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get(name)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}
