//! Calls to running programs: one client, bounded in time and size.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};

use crate::failure::{Failure, chain};

/// How long a program may take to answer. They answer from memory; longer means that nobody listens properly.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// The largest answer that is read, in bytes. Ours have a few hundred.
const MAX_ANSWER: usize = 1 << 20;

/// A client that talks to exactly the address it is given.
pub fn client() -> Result<Client, Failure> {
    Client::builder()
        // A redirect would carry a token to somebody else; no program of ours sends one.
        .redirect(reqwest::redirect::Policy::none())
        // Operators' shells often name a proxy, which cannot reach loopback or a cell's private runtime.
        .no_proxy()
        .connect_timeout(Duration::from_secs(3))
        .timeout(DEADLINE)
        .build()
        .map_err(|error| Failure::failed(format!("the HTTP client cannot start: {}", chain(&error))))
}

/// Parses a base URL from the command line. `option` is named in the error.
pub fn parse_base(url: &str, option: &str) -> Result<Url, Failure> {
    let wrong = |why: String| {
        Failure::usage(format!("{option} {url:?} is no base URL: {why}"))
            .next(format!("give it as {option} http://127.0.0.1:8080"))
    };
    let parsed = Url::parse(url).map_err(|error| wrong(error.to_string()))?;
    if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
        return Err(wrong(
            "it must begin with http:// or https:// and a host".to_owned(),
        ));
    }
    if parsed.query().is_some() || parsed.fragment().is_some() || !parsed.username().is_empty() {
        return Err(wrong("no user, query or fragment is used".to_owned()));
    }
    Ok(parsed)
}

/// A base URL followed by `path` (which begins with `/`), byte for byte: an error if URL rules would change it, because
/// the answer would then be about another path.
pub fn join(base: &Url, path: &str) -> Result<Url, Failure> {
    let text = format!("{}{path}", base.as_str().trim_end_matches('/'));
    match Url::parse(&text) {
        Ok(url) if url.as_str() == text && url.fragment().is_none() => Ok(url),
        _ => Err(Failure::usage(format!("{path:?} cannot be sent as it is")).next(
            "write it as it stands on the wire: percent-encoded, without . and .. segments and without #",
        )),
    }
}

/// Sends a request and reads the whole answer. `peer` names the program, `next` says what to do if it does not answer.
pub async fn exchange(
    request: RequestBuilder,
    peer: &str,
    next: &str,
) -> Result<(StatusCode, Vec<u8>), Failure> {
    let failed = |error: reqwest::Error| {
        let what = if error.is_timeout() {
            format!("{peer} did not answer within {} s", DEADLINE.as_secs())
        } else if error.is_connect() {
            format!("{peer} cannot be reached: {}", root_cause(&error))
        } else {
            format!("the exchange with {peer} failed: {}", root_cause(&error))
        };
        Failure::failed(what).next(next)
    };
    let mut response = request.send().await.map_err(failed)?;
    let body = read(&mut response, peer).await.map_err(|error| match error {
        Reading::Broken(error) => failed(error),
        Reading::TooLarge(failure) => failure,
    })?;
    Ok((response.status(), body))
}

enum Reading {
    Broken(reqwest::Error),
    TooLarge(Failure),
}

async fn read(response: &mut Response, peer: &str) -> Result<Vec<u8>, Reading> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Reading::Broken)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            let failure = Failure::failed(format!("{peer} answered more than {MAX_ANSWER} bytes"));
            return Err(Reading::TooLarge(
                failure.next("check that the address is the right program's"),
            ));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The innermost cause: "connection refused" rather than four layers of "error sending request".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_sent_as_it_is_or_not_at_all() {
        let base = parse_base("http://127.0.0.1:8080/", "--router").unwrap();
        for path in ["/", "/api/x?y=1&z=%2F", "/a//b", "/%2e%2e%2fx"] {
            let joined = join(&base, &format!("/resolve{path}")).unwrap();
            assert_eq!(joined.as_str(), format!("http://127.0.0.1:8080/resolve{path}"));
        }
        for path in ["/../readyz", "/a/./b", "/a b", "/a#b", "/%2e%2e/readyz", "/ä"] {
            assert_eq!(
                join(&base, &format!("/resolve{path}")).unwrap_err().exit_code(),
                2,
                "{path}"
            );
        }
    }

    #[test]
    fn a_base_url_is_plain() {
        for bad in [
            "",
            "127.0.0.1:8080",
            "ftp://x",
            "http://u:p@x",
            "http://x?y",
            "http://x#y",
            "unix:/x",
        ] {
            let failure = parse_base(bad, "--router").unwrap_err();
            assert_eq!(failure.exit_code(), 2, "{bad}");
            assert!(failure.what.contains("--router"), "{}", failure.what);
        }
    }
}
