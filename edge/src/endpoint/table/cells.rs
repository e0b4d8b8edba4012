//! Cells.

use axum::routing::{get, post, put};

use super::super::fields::{CELL, PAGE, STATE};
use super::super::{Endpoint, endpoint};
use crate::caller::Need;
use crate::manage;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint(
            "get",
            "/manage/cells",
            "all cells",
            Need::Read,
            PAGE,
            get(manage::cells::list),
        ),
        endpoint(
            "post",
            "/manage/cells",
            "a new cell, provisioning",
            Need::Write,
            CELL,
            post(manage::cells::add),
        ),
        endpoint(
            "get",
            "/manage/cells/{cell}",
            "one cell",
            Need::Read,
            &[],
            get(manage::cells::show),
        ),
        endpoint(
            "put",
            "/manage/cells/{cell}",
            "a cell's settings, not its state",
            Need::Write,
            CELL,
            put(manage::cells::set),
        ),
        endpoint(
            "post",
            "/manage/cells/{cell}/state",
            "the next state: active, draining",
            Need::Write,
            STATE,
            post(manage::cells::state),
        ),
        endpoint(
            "post",
            "/manage/cells/{cell}/retire",
            "retires a draining cell",
            Need::Destroy,
            &[],
            post(manage::cells::retire),
        ),
    ]
}
