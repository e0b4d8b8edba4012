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

/// Whether a provider can have this address: not link-local (where clouds keep their metadata services), multicast or
/// unspecified; and loopback for a host that says so, and for no other.
pub(crate) fn is_admitted(address: IpAddr, host_is_loopback: bool) -> bool {
    let address = address.to_canonical();
    let is_link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !is_link_local
        && !address.is_multicast()
        && !address.is_unspecified()
        && address.is_loopback() == host_is_loopback
}

/// Why no provider can have this host. Names are judged again when they are resolved.
fn check_host(host: &str) -> Result<(), &'static str> {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = literal.parse::<IpAddr>() {
        return if is_admitted(address, is_loopback(host)) {
            Ok(())
        } else {
            Err("no provider has this address")
        };
    }
    // Resolvers read 2852039166, 0xa9fea9fe and 169.254.43518 as addresses.
    let last = literal.rsplit('.').next().unwrap_or_default();
    if last.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("write an address as four decimal numbers");
    }
    if literal
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
    {
        Ok(())
    } else {
        Err("write the host in letters, digits, hyphens and dots")
    }
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
    if let Err(reason) = check_host(authority.host()) {
        return refuse(reason);
    }
    if authority.port_u16().is_none() && authority.as_str() != authority.host() {
        return refuse("the port is no number");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_no_provider_has() {
        for (address, host_is_loopback, admitted) in [
            ("20.190.128.1", false, true),
            ("10.1.2.3", false, true),
            ("2603:1006:2000::1", false, true),
            ("169.254.169.254", false, false),
            ("::ffff:169.254.169.254", false, false),
            ("fe80::1", false, false),
            ("127.0.0.1", false, false),
            ("::1", false, false),
            ("0.0.0.0", false, false),
            ("::", false, false),
            ("224.0.0.1", false, false),
            ("255.255.255.255", false, false),
            ("127.0.0.1", true, true),
            ("::1", true, true),
            ("10.1.2.3", true, false),
        ] {
            assert_eq!(
                is_admitted(address.parse().unwrap(), host_is_loopback),
                admitted,
                "{address}"
            );
        }
    }

    #[test]
    fn urls_that_could_mean_another_server_are_refused() {
        for (url, reason) in [
            ("https://login.example@evil.example/", "user name"),
            ("https://login.example:443@evil.example/", "user name"),
            ("https://login.example%2eevil.example/", "not a URL"),
            ("https://login.example&evil.example/", "letters, digits"),
            ("https://login.example:443.evil.example/", "port"),
            ("https://login.example:/", "port"),
            ("https://login.example\\@evil.example/", "not a URL"),
            ("https://login.example\u{3002}evil.example/", "not a URL"),
            ("https://login.example /", "not a URL"),
            ("https://login.example\t/", "not a URL"),
            ("https://login.example/#@evil.example", "fragment"),
            ("https://LOGIN.example/", "lower case"),
            ("//login.example/", "not an absolute URL"),
            ("login.example", "not an absolute URL"),
            ("/keys", "not an absolute URL"),
            ("https:///keys", "not a URL"),
            ("", "not a URL"),
            ("ftp://login.example/", "use https"),
            ("javascript:alert(1)", "not"),
            ("file:///etc/passwd", "not"),
            ("http://login.example/", "http is allowed to loopback only"),
            (
                "http://127.0.0.1.evil.example/",
                "http is allowed to loopback only",
            ),
            (
                "http://localhost.evil.example/",
                "http is allowed to loopback only",
            ),
            ("http://10.0.0.1/", "http is allowed to loopback only"),
            (
                "https://169.254.169.254/latest/meta-data",
                "no provider has this address",
            ),
            ("https://[fe80::1]/", "no provider has this address"),
            (
                "https://[::ffff:169.254.169.254]/",
                "no provider has this address",
            ),
            ("https://[::ffff:127.0.0.1]/", "no provider has this address"),
            ("https://0.0.0.0/", "no provider has this address"),
            ("https://[::]/", "no provider has this address"),
            ("https://2852039166/", "four decimal numbers"),
            ("https://0xa9fea9fe/", "four decimal numbers"),
            ("https://0251.0376.0251.0376/", "four decimal numbers"),
            ("https://169.254.43518/", "four decimal numbers"),
            ("https://127.1/", "four decimal numbers"),
        ] {
            let error = endpoint(url).map(|_| ()).expect_err(url);
            assert!(error.contains(reason), "{error}");
        }
        for url in [
            "https://login.example/",
            "https://login.example:8443/keys?x=1",
            "https://10.1.2.3/",
            "https://[2001:db8::1]:8443/",
            "https://localhost:1/",
            "http://127.0.0.1:1/",
            "http://[::1]:1/",
        ] {
            endpoint(url).unwrap();
        }
    }
}
