//! Addresses of providers: https, or http to this machine alone.

use std::net::IpAddr;

use http::Uri;

/// Whether a URL's host can only mean this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// A base URL: scheme, host, optional port and path; no user, query or fragment. The reason is for the operator.
pub(crate) fn parse(text: &str) -> Result<Uri, String> {
    let uri = endpoint(text)?;
    if uri.query().is_some() {
        Err(format!("{text:?}: a query has no place here"))
    } else {
        Ok(uri)
    }
}

/// The address of a document: as a base URL, but it may have a query.
pub(crate) fn endpoint(text: &str) -> Result<Uri, String> {
    let refuse = |reason: &str| Err(format!("{text:?}: {reason}"));
    if text.contains('#') {
        return refuse("a fragment has no place here");
    }
    let Ok(uri) = text.parse::<Uri>() else {
        return refuse("not a URL");
    };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return refuse("not an absolute URL");
    };
    if authority.as_str().contains('@') {
        return refuse("a user name has no place here");
    }
    if authority.as_str().bytes().any(|b| b.is_ascii_uppercase()) {
        return refuse("write the host in lower case, as issuers do");
    }
    match scheme {
        "https" => Ok(uri),
        "http" if is_loopback(authority.host()) => Ok(uri),
        "http" => refuse("http is allowed to loopback only; use https"),
        _ => refuse("use https"),
    }
}

/// `host[:port]`, to pin.
pub(crate) fn authority(uri: &Uri) -> String {
    uri.authority()
        .map(|authority| authority.as_str().to_owned())
        .unwrap_or_default()
}
