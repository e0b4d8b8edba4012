//! What this process logs.

use axum::routing::{get, post};

use super::super::{Endpoint, endpoint};
use crate::caller::Need;
use crate::manage;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint(
            "get",
            "/manage/log-level",
            "the log's filter, and when a changed one ends",
            Need::Read,
            &[],
            get(manage::log_level::show),
        ),
        endpoint(
            "post",
            "/manage/log-level",
            "another filter for a while; the configured one then comes back",
            Need::Write,
            &[
                ("filter", "string", "for example info,edge=debug"),
                (
                    "for_seconds",
                    "integer?",
                    "how long, up to 86400; 600 when absent",
                ),
            ],
            post(manage::log_level::change),
        ),
    ]
}
