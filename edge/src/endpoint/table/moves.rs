//! Tenants on their way to another cell: one by one, or a whole cell's.

use axum::routing::{get, post};

use super::super::fields::{EVACUATION, MOVE, MOVES};
use super::super::{Endpoint, endpoint};
use crate::caller::Need;
use crate::manage;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint(
            "get",
            "/manage/moves",
            "tenants on their way to another cell",
            Need::Read,
            MOVES,
            get(manage::moves::list),
        ),
        endpoint(
            "post",
            "/manage/moves",
            "moves a tenant to another cell; the control plane carries the move on until it is finished",
            Need::Write,
            MOVE,
            post(manage::moves::plan),
        ),
        endpoint(
            "get",
            "/manage/moves/{tenant}",
            "where a move is, and what it waits for",
            Need::Read,
            &[],
            get(manage::moves::show),
        ),
        endpoint(
            "post",
            "/manage/moves/{tenant}/drain",
            "refuses the tenant's requests until the old cell is empty",
            Need::Write,
            &[],
            post(manage::moves::drain),
        ),
        endpoint(
            "post",
            "/manage/moves/{tenant}/confirm",
            "flips a drained move; 409 says what is still open, or which router has not applied the drain",
            Need::Write,
            &[(
                "old_cell_is_dead",
                "boolean?",
                "your word that nothing runs in the old cell: it is not asked",
            )],
            post(manage::moves::confirm),
        ),
        endpoint(
            "post",
            "/manage/moves/{tenant}/finish",
            "ends a flipped move for good",
            Need::Write,
            &[],
            post(manage::moves::finish),
        ),
        endpoint(
            "post",
            "/manage/moves/{tenant}/rollback",
            "takes a move back in any phase; of a reversed flip it warns of what was served since",
            Need::Write,
            &[],
            post(manage::moves::roll_back),
        ),
        endpoint(
            "post",
            "/manage/cells/{cell}/evacuate",
            "moves every tenant out of a retiring or dead cell, some at a time; asking again goes on",
            Need::Write,
            EVACUATION,
            post(manage::evacuations::begin),
        ),
        endpoint(
            "get",
            "/manage/cells/{cell}/evacuation",
            "who is still in a cell, and how far their moves are",
            Need::Read,
            &[],
            get(manage::evacuations::show),
        ),
    ]
}
