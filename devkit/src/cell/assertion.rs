//! The placement epoch that a request was routed under, from its routing assertion.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::header;
use serde::Deserialize;

#[derive(Deserialize)]
struct Epoch {
    epoch: u64,
}

/// The epoch, if exactly one assertion came and it can be read.
///
/// The signature is *not* checked: a demo cell on loopback shows what it received and fences by it, it does not decide
/// who may enter. A real cell verifies first. A fence stays safe all the same, because a request without a readable
/// epoch is refused by it.
pub(super) fn unverified_epoch(headers: &HeaderMap) -> Option<u64> {
    let mut values = headers.get_all(header::ASSERTION).iter();
    let (first, None) = (values.next()?, values.next()) else { return None };
    let payload = first.to_str().ok()?.split('.').nth(1)?;
    let json = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice::<Epoch>(&json).ok().map(|claims| claims.epoch)
}
