//! `alphaswarm xds status`: the Envoys of one or several routers, and what they have.

use contract::api::{EnvoyStatus, XdsStatus};
use reqwest::Method;
use serde::Serialize;

use super::jwks::age;
use super::operator::Asked;
use crate::args::operator::{self, Operator};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::{Field, Output, Row, Tone};

/// Asks every router and prints what they say. Whatever is not as it should be is a failure, after the report.
pub async fn status(
    args: operator::XdsStatus,
    environment: &Environment,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let routers: Vec<Option<String>> = if args.routers.is_empty() {
        vec![None]
    } else {
        args.routers.into_iter().map(Some).collect()
    };
    let (mut found, mut silent) = (Vec::new(), Vec::new());
    for router in routers {
        let operator = Operator {
            operator_token_file: args.operator_token_file.clone(),
            router,
        };
        // What is wrong with the command line is told at once; a router that does not answer, after the others.
        let asked = Asked::new(&operator, environment)?;
        let request = asked.request(Method::GET, "/xds/status")?;
        match asked.answer::<XdsStatus>(request).await {
            Ok(status) => found.push(status),
            Err(failure) => silent.push(failure),
        }
    }
    print(&found, output)?;
    // The first router's own words say what to do; the others are named with it.
    if let Some(first) = silent.pop() {
        let others = silent.into_iter().fold(String::new(), |mut told, failure| {
            told.push('\n');
            told.push_str(&failure.what);
            told
        });
        return Err(Failure {
            what: format!("{}{others}", first.what),
            ..first
        });
    }
    verdict(&found, args.grace).map_or(Ok(()), Err)
}

fn print(found: &[XdsStatus], output: &mut Output<'_>) -> Result<(), Failure> {
    if output.is_json() {
        return output.record(&found, &[]);
    }
    let lines: Vec<EnvoyLine<'_>> = found
        .iter()
        .flat_map(|status| {
            status.envoys.iter().map(|envoy| EnvoyLine {
                router: &status.router,
                wanted: status.version.as_deref(),
                envoy,
            })
        })
        .collect();
    output.list(&lines, "no Envoy is connected")?;
    for status in found {
        for reason in &status.set_aside {
            output.progress(&format!("not given to Envoys by {}: {reason}", status.router))?;
        }
    }
    Ok(())
}

/// The first thing that is not as it should be, the worst first.
fn verdict(found: &[XdsStatus], grace: u64) -> Option<Failure> {
    let envoys = || {
        found
            .iter()
            .flat_map(|status| status.envoys.iter().map(move |envoy| (status, envoy)))
    };
    if let Some((status, envoy)) = envoys().find(|(_, envoy)| envoy.refusal.is_some()) {
        return Some(
            Failure::failed(format!(
                "Envoy {:?} at router {} refuses what it is given and keeps its last good configuration",
                envoy.node, status.router
            ))
            .code("refused")
            .next("correct the cell that its words name; the router's log has more of them"),
        );
    }
    if let Some(status) = found.iter().find(|status| !status.set_aside.is_empty()) {
        return Some(
            Failure::failed(format!(
                "router {} cannot give all cells to Envoys",
                status.router
            ))
            .code("set_aside")
            .next("correct the endpoints of those cells with: alphaswarm cells set-endpoints"),
        );
    }
    if let Some(status) = found.iter().find(|status| status.version.is_none()) {
        return Some(
            Failure::failed(format!(
                "router {} has no registry yet and tells Envoys nothing",
                status.router
            ))
            .code("not_ready")
            .next("look at the router's /readyz, which says what it waits for"),
        );
    }
    let late = |envoy: &EnvoyStatus| envoy.behind_seconds.filter(|seconds| *seconds > grace);
    if let Some((status, envoy, seconds)) =
        envoys().find_map(|(status, envoy)| late(envoy).map(|seconds| (status, envoy, seconds)))
    {
        return Some(
            Failure::failed(format!(
                "Envoy {:?} at router {} is behind for {}: it has {} of {}",
                envoy.node,
                status.router,
                age(seconds),
                envoy.acknowledged,
                status.version.as_deref().unwrap_or("-"),
            ))
            .code("behind")
            .next(
                "look at that Envoy's log; a router that is behind its Envoys (after a restore) catches up with: \
                 alphaswarm registry adopt",
            ),
        );
    }
    if envoys().next().is_none() {
        return Some(
            Failure::failed("no Envoy is connected")
                .code("no_envoy")
                .next("name every router with --router: an Envoy is connected to one of them"),
        );
    }
    None
}

/// An Envoy and the router it is connected to.
#[derive(Serialize)]
struct EnvoyLine<'a> {
    router: &'a str,
    wanted: Option<&'a str>,
    envoy: &'a EnvoyStatus,
}

impl Row for EnvoyLine<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "router",
        "envoy",
        "state",
        "has",
        "wanted",
        "connected",
        "accepted",
        "refused",
        "words",
    ];

    fn fields(&self) -> Vec<Field> {
        let envoy = self.envoy;
        let state = match (&envoy.refusal, envoy.behind_seconds) {
            (Some(_), _) => Field::toned("refuses", Tone::Bad),
            (None, Some(seconds)) => Field::toned(format!("behind {}", age(seconds)), Tone::Waiting),
            (None, None) => Field::toned("in sync", Tone::Good),
        };
        vec![
            Field::new(self.router),
            Field::new(&envoy.node),
            state,
            Field::new(&envoy.acknowledged),
            Field::optional(self.wanted),
            Field::new(age(envoy.connected_seconds)),
            Field::optional(
                envoy
                    .accepted_seconds
                    .map(|seconds| format!("{} ago", age(seconds))),
            ),
            Field::new(envoy.refused.to_string()),
            match &envoy.refusal {
                Some(refusal) => Field::toned(format!("{}: {}", refusal.resources, refusal.words), Tone::Bad),
                None => Field::optional(None::<String>),
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use contract::api::XdsRefusal;

    use super::*;

    fn envoy(behind: Option<u64>, refused: bool) -> EnvoyStatus {
        EnvoyStatus {
            node: "edge-1".to_owned(),
            acknowledged: "1.7".to_owned(),
            behind_seconds: behind,
            connected_seconds: 130,
            accepted_seconds: Some(5),
            refused: u64::from(refused),
            refusal: refused.then(|| XdsRefusal {
                resources: "clusters".to_owned(),
                words: "cell/a: no\nCA".to_owned(),
                seconds: 3,
            }),
        }
    }

    fn router(envoys: Vec<EnvoyStatus>) -> XdsStatus {
        XdsStatus {
            router: "router-1".to_owned(),
            version: Some("1.9".to_owned()),
            envoys,
            sent: 4,
            accepted: 3,
            refused: 1,
            set_aside: Vec::new(),
        }
    }

    fn code(found: &[XdsStatus]) -> Option<String> {
        verdict(found, 10).map(|failure| {
            assert!(
                failure.exit_code() == 1 && failure.next.is_some(),
                "{}",
                failure.what
            );
            failure.code.unwrap()
        })
    }

    #[test]
    fn what_is_not_as_it_should_be_is_a_failure() {
        let good = || router(vec![envoy(None, false)]);
        assert_eq!(code(&[good()]), None);
        assert_eq!(
            code(&[router(vec![envoy(Some(10), false)])]),
            None,
            "a change under way"
        );
        assert_eq!(
            code(&[good(), router(vec![envoy(Some(11), false)])]).as_deref(),
            Some("behind")
        );
        assert_eq!(
            code(&[router(vec![envoy(None, false), envoy(Some(0), true)])]).as_deref(),
            Some("refused")
        );
        let aside = XdsStatus {
            set_aside: vec!["cell/a: it has no endpoint".to_owned()],
            ..good()
        };
        assert_eq!(code(&[aside]).as_deref(), Some("set_aside"));
        let cold = XdsStatus {
            version: None,
            ..good()
        };
        assert_eq!(code(&[cold]).as_deref(), Some("not_ready"));
        assert_eq!(code(&[router(Vec::new())]).as_deref(), Some("no_envoy"));
        assert_eq!(
            code(&[router(Vec::new()), good()]),
            None,
            "each Envoy is at one of the routers"
        );
    }

    #[test]
    fn a_line_has_what_the_columns_say() {
        let envoy = envoy(Some(150), true);
        let line = EnvoyLine {
            router: "router-1",
            wanted: Some("1.9"),
            envoy: &envoy,
        };
        let fields = line.fields();
        assert_eq!(fields.len(), EnvoyLine::COLUMNS.len());
        let texts: Vec<&str> = fields.iter().map(Field::text).collect();
        assert_eq!(
            texts,
            [
                "router-1",
                "edge-1",
                "refuses",
                "1.7",
                "1.9",
                "2m",
                "5s ago",
                "1",
                "clusters: cell/a: no\u{fffd}CA"
            ]
        );
    }
}
