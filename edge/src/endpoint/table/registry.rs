//! The registry itself.

use axum::routing::{get, post};

use super::super::{Endpoint, endpoint};
use crate::caller::Need;
use crate::manage;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint(
            "get",
            "/manage/registry/status",
            "version, counts, what is set aside, routers",
            Need::Read,
            &[],
            get(manage::registry::status),
        ),
        endpoint(
            "get",
            "/manage/registry/log",
            "the change log: who changed what",
            Need::Read,
            &[
                ("after", "string?", "a version, such as 1.42"),
                (
                    "limit",
                    "integer?",
                    "at most so many, up to 1000; 100 when absent",
                ),
            ],
            get(manage::registry::log),
        ),
        endpoint(
            "post",
            "/manage/registry/adopt",
            "a registry that went back is the truth: a new epoch",
            Need::Destroy,
            &[],
            post(manage::registry::adopt),
        ),
    ]
}
