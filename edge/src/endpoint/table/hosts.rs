//! Host names.

use axum::routing::{delete, get, post};

use super::super::fields::PAGE;
use super::super::{Endpoint, endpoint};
use crate::caller::Need;
use crate::manage;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint(
            "get",
            "/manage/hosts",
            "all host names",
            Need::Read,
            PAGE,
            get(manage::hosts::list),
        ),
        endpoint(
            "post",
            "/manage/hosts",
            "gives a host name to a tenant",
            Need::Write,
            &[
                ("host", "string", "the name"),
                ("tenant", "string", "whose it is"),
            ],
            post(manage::hosts::add),
        ),
        endpoint(
            "delete",
            "/manage/hosts/{host}",
            "takes a host name away",
            Need::Destroy,
            &[],
            delete(manage::hosts::remove),
        ),
    ]
}
