//! Directories that sign up.

use axum::routing::{get, post};

use super::super::fields::LINKS;
use super::super::{Endpoint, endpoint};
use crate::caller::Need;
use crate::tenancy;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint(
            "get",
            "/tenancy/entra-links",
            "links of Entra directories",
            Need::Read,
            LINKS,
            get(tenancy::list),
        ),
        endpoint(
            "post",
            "/tenancy/entra-links",
            "a directory signs up for a tenant; waits for promotion",
            Need::Write,
            &[
                ("tid", "string", "the directory's id"),
                ("tenant", "string", "whom it names"),
                (
                    "provider",
                    "string?",
                    "needed where there are several Entra providers",
                ),
            ],
            post(tenancy::add),
        ),
        endpoint(
            "post",
            "/tenancy/entra-links/{id}/promote",
            "pending becomes active; again is no change",
            Need::Write,
            &[],
            post(tenancy::promote),
        ),
    ]
}
