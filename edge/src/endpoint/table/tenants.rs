//! Tenants, and which cell they get.

use axum::routing::{get, post, put};

use super::super::fields::{TENANT, TENANTS};
use super::super::{Endpoint, endpoint};
use crate::caller::Need;
use crate::manage;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint(
            "get",
            "/manage/tenants",
            "all tenants",
            Need::Read,
            TENANTS,
            get(manage::tenants::list),
        ),
        endpoint(
            "post",
            "/manage/tenants",
            "a new tenant, pending",
            Need::Write,
            TENANT,
            post(manage::tenants::add),
        ),
        endpoint(
            "get",
            "/manage/tenants/{tenant}",
            "one tenant with its placement",
            Need::Read,
            &[],
            get(manage::tenants::show),
        ),
        endpoint(
            "put",
            "/manage/tenants/{tenant}",
            "a tenant's settings, not its state",
            Need::Write,
            TENANT,
            put(manage::tenants::set),
        ),
        endpoint(
            "post",
            "/manage/tenants/{tenant}/activate",
            "serves the tenant",
            Need::Write,
            &[],
            post(manage::tenants::activate),
        ),
        endpoint(
            "post",
            "/manage/tenants/{tenant}/suspend",
            "stops serving the tenant",
            Need::Destroy,
            &[],
            post(manage::tenants::suspend),
        ),
        endpoint(
            "post",
            "/manage/tenants/{tenant}/placement",
            "a tenant's first cell",
            Need::Write,
            &[("cell", "string?", "an active cell; without one, policy chooses")],
            post(manage::placement::place),
        ),
        endpoint(
            "post",
            "/manage/placement/plan",
            "which tenants a change of policy would move; changes nothing",
            Need::Read,
            &[(
                "cells",
                "array?",
                "cells as they would be; the others stay as they are",
            )],
            post(manage::placement::plan),
        ),
    ]
}
