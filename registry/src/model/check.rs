//! Whether a record makes sense by itself.

use super::{Cell, MAX_ENDPOINTS, MAX_EXTERNAL_ID, MAX_TEXT, Phase, Placement, Revocation, Tenant};

impl Cell {
    pub(super) fn check(&self) -> Result<(), String> {
        check_text("tier", &self.tier)?;
        check_text("region", &self.region)?;
        if self.endpoints.is_empty() || self.endpoints.len() > MAX_ENDPOINTS {
            return Err(format!(
                "a cell has 1 to {MAX_ENDPOINTS} endpoints, this one {}",
                self.endpoints.len()
            ));
        }
        for endpoint in &self.endpoints {
            check_endpoint(endpoint)?;
        }
        check_health_path(self.health_path.as_deref())?;
        match &self.runtime {
            Some(url) if !url.starts_with("http://") && !url.starts_with("https://") => {
                Err(format!("runtime {url:?} is no http:// or https:// URL"))
            }
            Some(url) if url.len() > MAX_TEXT || !url.bytes().all(|b| b.is_ascii_graphic()) => Err(format!(
                "runtime {url:?} is no URL of at most {MAX_TEXT} visible characters"
            )),
            _ => Ok(()),
        }
    }
}

/// A path that can stand in a request line as it is.
fn check_health_path(path: Option<&str>) -> Result<(), String> {
    match path {
        Some(path)
            if !path.starts_with('/')
                || path.len() > MAX_TEXT
                || !path.bytes().all(|b| b.is_ascii_graphic() && b != b'#') =>
        {
            Err(format!(
                "health_path {path:?} is no path: it begins with / and has at most {MAX_TEXT} visible ASCII characters \
                 other than #"
            ))
        }
        _ => Ok(()),
    }
}

impl Tenant {
    pub(super) fn check(&self) -> Result<(), String> {
        check_text("name", &self.name)?;
        if self.requests_per_second == Some(0) {
            return Err("requests_per_second is at least 1; to stop a tenant, suspend it".to_owned());
        }
        for (name, wish) in [
            ("tier", &self.tier),
            ("region", &self.region),
            ("apart", &self.apart),
        ] {
            match wish {
                Some(text) if text.is_empty() => {
                    return Err(format!("{name} is not empty; leave it out instead"));
                }
                Some(text) => check_text(name, text)?,
                None => {}
            }
        }
        Ok(())
    }
}

impl Placement {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.epoch == 0 || self.epoch > i64::MAX.unsigned_abs() {
            return Err("a placement's epoch is at least 1".to_owned());
        }
        match (self.phase, &self.target, &self.previous) {
            (Phase::Planned | Phase::Draining, None, _) => {
                Err("a planned or draining move has a target".to_owned())
            }
            (Phase::Planned | Phase::Draining, Some(target), _) if *target == self.cell => {
                Err("a move's target is another cell".to_owned())
            }
            (Phase::Settled | Phase::Flipped, Some(_), _) => {
                Err("only a planned or draining move has a target".to_owned())
            }
            (Phase::Flipped, _, None) => Err("a flipped placement names its previous cell".to_owned()),
            (_, _, previous) if previous.is_some() != self.flipped_at.is_some() => {
                Err("previous and flipped_at go together".to_owned())
            }
            _ => Ok(()),
        }
    }
}

impl Revocation {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.subject.is_some() && self.token_id.is_some() {
            return Err("a revocation names a subject or a token id, not both".to_owned());
        }
        for text in [&self.subject, &self.token_id].into_iter().flatten() {
            if text.is_empty() || text.len() > MAX_EXTERNAL_ID {
                return Err(format!("a subject or token id has 1 to {MAX_EXTERNAL_ID} bytes"));
            }
        }
        Ok(())
    }
}

fn check_text(name: &str, text: &str) -> Result<(), String> {
    if text.len() > MAX_TEXT || text.chars().any(char::is_control) {
        return Err(format!(
            "{name} has at most {MAX_TEXT} bytes and no control characters"
        ));
    }
    Ok(())
}

pub(super) fn check_external_id(id: &str) -> Result<(), String> {
    if id.is_empty() || id.len() > MAX_EXTERNAL_ID || id.chars().any(char::is_control) {
        return Err(format!(
            "an external id has 1 to {MAX_EXTERNAL_ID} bytes and no control characters"
        ));
    }
    Ok(())
}

fn check_endpoint(endpoint: &str) -> Result<(), String> {
    let wrong = || format!("endpoint {endpoint:?} is not host:port, for example 127.0.0.1:8101");
    let (host, port) = endpoint.rsplit_once(':').ok_or_else(wrong)?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let named = !host.is_empty()
        && host.len() <= 253
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    let legal = bracketed.map_or(named, |address| address.parse::<std::net::Ipv6Addr>().is_ok());
    match port.parse::<u16>() {
        Ok(1..) if legal => Ok(()),
        _ => Err(wrong()),
    }
}

pub(super) fn check_host(host: &str) -> Result<(), String> {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let labels = host
        .split('.')
        .all(|label| !label.is_empty() && label.len() <= 63);
    if host.len() > 253 || !labels || !host.bytes().all(legal) {
        return Err(format!(
            "{host:?} is no host name: lower case, without port and trailing dot"
        ));
    }
    Ok(())
}
