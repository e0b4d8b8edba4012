//! Identity links.

use axum::routing::{get, post};

use super::super::fields::LINKS;
use super::super::{Endpoint, endpoint};
use crate::caller::Need;
use crate::manage;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint(
            "get",
            "/manage/links",
            "all identity links",
            Need::Read,
            LINKS,
            get(manage::links::list),
        ),
        endpoint(
            "post",
            "/manage/links",
            "a new link, pending",
            Need::Write,
            &[
                ("provider", "string", "the provider's name"),
                (
                    "kind",
                    "string",
                    "tid, org_id, claim, client_id, common_name or aud",
                ),
                ("external_id", "string", "its value"),
                ("tenant", "string", "whom it names"),
            ],
            post(manage::links::add),
        ),
        endpoint(
            "post",
            "/manage/links/{provider}/{kind}/{id}/promote",
            "pending becomes active",
            Need::Write,
            &[],
            post(manage::links::promote),
        ),
        endpoint(
            "post",
            "/manage/links/{provider}/{kind}/{id}/revoke",
            "the link names nobody any more",
            Need::Destroy,
            &[],
            post(manage::links::revoke),
        ),
    ]
}
