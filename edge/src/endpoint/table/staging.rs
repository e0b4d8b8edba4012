//! Records that wait to be published.

use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, post, put};
use registry::staging::MAX_STAGED_BYTES;

use super::super::{Endpoint, endpoint};
use crate::caller::Need;
use crate::{feed, manage};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint(
            "get",
            "/manage/registry/staged",
            "what is staged, with its records; null where nothing is",
            Need::Follow,
            &[],
            get(feed::staged),
        ),
        endpoint(
            "put",
            "/manage/registry/staged",
            "stages a file of records in place of what is staged, if it could be published now",
            Need::Write,
            &[],
            put(manage::staging::stage).layer(DefaultBodyLimit::max(MAX_STAGED_BYTES)),
        ),
        endpoint(
            "delete",
            "/manage/registry/staged",
            "forgets what is staged",
            Need::Write,
            &[],
            delete(manage::staging::unstage),
        ),
        endpoint(
            "get",
            "/manage/registry/staged/diff",
            "which tenants publishing would move, and what it would change about live requests",
            Need::Read,
            &[],
            get(manage::staging::diff),
        ),
        endpoint(
            "post",
            "/manage/registry/staged/publish",
            "makes what is staged true, all of it or none; who changes cell gets a planned move",
            Need::Destroy,
            &[("set", "string", "which: as staging it or its diff answered")],
            post(manage::staging::publish),
        ),
    ]
}
