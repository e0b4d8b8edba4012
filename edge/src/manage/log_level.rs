//! The log's filter. A change is no write of the registry: it is this process's alone, and ends with it.

use std::time::Duration;

use contract::Code;
use contract::api::{ChangeLogLevel, LogLevel};
use service::log;

use super::{Body, read};
use crate::answer::{Answer, Problem};
use crate::write::Request;

pub(crate) async fn show() -> Result<Answer<LogLevel>, Problem> {
    log::level()
        .map(Answer::ok)
        .ok_or_else(|| Problem::of(Code::NotReady))
}

pub(crate) async fn change(
    request: Request,
    body: Body<ChangeLogLevel>,
) -> Result<Answer<LogLevel>, Problem> {
    let asked = read(body)?;
    let lasts = asked.for_seconds.map_or(log::USUAL, Duration::from_secs);
    // Before the change, which may silence this line.
    tracing::info!(
        target: "audit",
        actor = request.actor().name,
        action = "log-level",
        outcome = "asked",
        filter = asked.filter.escape_debug().to_string(),
        seconds = lasts.as_secs(),
        request_id = request.id,
    );
    log::change(&asked.filter, lasts)
        .map(Answer::ok)
        .map_err(|why| Problem::invalid(why).for_request(&request.id))
}
