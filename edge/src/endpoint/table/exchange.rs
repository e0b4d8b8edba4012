//! Many records at once.

use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

use super::super::fields::{EXPORT, IMPORT};
use super::super::{Endpoint, endpoint};
use crate::caller::Need;
use crate::manage;
use crate::manage::exchange::MAX_IMPORT_BYTES;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint(
            "get",
            "/manage/registry/export",
            "all records as a file",
            Need::Read,
            EXPORT,
            get(manage::exchange::export),
        ),
        endpoint(
            "post",
            "/manage/registry/import",
            "takes a file of records, all of them or none",
            Need::Destroy,
            IMPORT,
            post(manage::exchange::import).layer(DefaultBodyLimit::max(MAX_IMPORT_BYTES)),
        ),
        endpoint(
            "post",
            "/manage/registry/rollback",
            "makes the registry what an earlier version was, as a new version",
            Need::Destroy,
            &[
                ("to", "string", "a version, such as 1.42"),
                ("dry_run", "boolean?", "judge only, write nothing"),
            ],
            post(manage::exchange::roll_back),
        ),
    ]
}
