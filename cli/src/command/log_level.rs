//! `alphaswarm log-level`: what a running program logs, shown or changed for a while.

use contract::api::{ChangeLogLevel, LogLevel};
use reqwest::Method;

use super::operator::Asked;
use crate::args::operator;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::{Field, Output};

/// Asks and prints.
pub async fn run(
    args: &operator::LogLevel,
    environment: &Environment,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let (asked, path) = match &args.control_plane {
        Some(base) => (
            Asked::control_plane(&args.operator, base, environment)?,
            "/manage/log-level",
        ),
        None => (Asked::new(&args.operator, environment)?, "/log-level"),
    };
    let request = match &args.filter {
        None => asked.request(Method::GET, path)?,
        Some(filter) => asked.request(Method::POST, path)?.json(&ChangeLogLevel {
            filter: filter.clone(),
            for_seconds: Some(args.lasts),
        }),
    };
    let level: LogLevel = asked.answer(request).await?;
    output.record(&level, &fields(&level))
}

fn fields(level: &LogLevel) -> [(&'static str, Field); 3] {
    [
        ("filter", Field::new(&level.filter)),
        ("configured", Field::new(&level.configured)),
        (
            "reverts in",
            Field::optional(level.reverts_in_seconds.map(|seconds| format!("{seconds}s"))),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_says_when_it_ends() {
        let shown = |reverts_in_seconds| {
            fields(&LogLevel {
                filter: "debug".to_owned(),
                configured: "info".to_owned(),
                reverts_in_seconds,
            })
            .map(|(_, field)| field.text().to_owned())
        };
        assert_eq!(shown(Some(60)), ["debug", "info", "60s"]);
        assert_eq!(shown(None)[2], "-");
    }
}
