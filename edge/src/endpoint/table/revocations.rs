//! Tokens that are refused although they verify.

use axum::routing::{get, post};

use super::super::fields::PAGE;
use super::super::{Endpoint, endpoint};
use crate::caller::Need;
use crate::manage;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint(
            "get",
            "/manage/revocations",
            "all revocations",
            Need::Read,
            PAGE,
            get(manage::revocations::list),
        ),
        endpoint(
            "post",
            "/manage/revocations",
            "refuses tokens that verify",
            Need::Write,
            &[
                ("provider", "string", "whose tokens"),
                ("subject", "string?", "this subject's only"),
                ("token_id", "string?", "this one token"),
                ("not_before", "integer", "those issued before, seconds since 1970"),
            ],
            post(manage::revocations::add),
        ),
        endpoint(
            "post",
            "/manage/revocations/lift",
            "takes a revocation back",
            Need::Destroy,
            &[
                ("provider", "string", "whose tokens"),
                ("subject", "string?", "the revoked subject"),
                ("token_id", "string?", "the revoked token"),
            ],
            post(manage::revocations::lift),
        ),
    ]
}
