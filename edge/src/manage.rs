//! `/manage`: the registry's records. Each file is one kind: parameters in, one command or one list out.

pub(crate) mod cells;

pub(crate) mod tenants;

pub(crate) mod links;

pub(crate) mod hosts;

pub(crate) mod revocations;

pub(crate) mod moves;

pub(crate) mod evacuations;

pub(crate) mod registry;

pub(crate) mod exchange;

pub(crate) mod staging;

pub(crate) mod placement;

pub(crate) mod log_level;

mod list;

use axum::Json;
use axum::extract::rejection::JsonRejection;

use crate::answer::Problem;

pub(crate) use list::{Listed, PageQuery, next_page};

/// A body that could be read, or what is wrong with it. It holds no secret, so it may be said.
pub(crate) type Body<T> = Result<Json<T>, JsonRejection>;

/// The body, or 400.
pub(crate) fn read<T>(body: Body<T>) -> Result<T, Problem> {
    body.map(|Json(body)| body)
        .map_err(|rejection| Problem::invalid(format!("the body cannot be read: {}", rejection.body_text())))
}

/// An id of the path.
pub(crate) fn id<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, Problem>
where
    T::Err: std::fmt::Display,
{
    text.parse()
        .map_err(|error| Problem::invalid(format!("{text:?} is no {what}: {error}")))
}
