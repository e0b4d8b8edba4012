//! `alphaswarm explain`: why a request is let in or refused, told by a router to operators.

use contract::api::{ExplainRequest, Explained, Step, StepOutcome};
use contract::assertion::Access;
use identity::Explanation;
use reqwest::Method;

use super::operator::Asked;
use crate::args::operator::Explain;
use crate::command::{resolve, token};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::{Field, Output, Tone};

/// A router's answer.
type Story = Explained<Explanation>;

/// Asks and prints. A refusal is a failure: exit code 1, after the report.
pub async fn run(args: Explain, environment: &Environment, output: &mut Output<'_>) -> Result<(), Failure> {
    let asked = Asked::new(&args.operator, environment)?;
    let question = question(&args)?;
    // Not through a builder's `json`, which has an error type that could quote the body.
    let body = serde_json::to_vec(&question)
        .map_err(|_| Failure::failed("the question cannot be written as JSON"))?;
    let request = asked
        .request(Method::POST, "/explain")?
        .header(reqwest::header::CONTENT_TYPE, "application/json")
        .body(body);
    let story: Story = asked.answer(request).await?;
    output.record(&story, &report(&story))?;
    refusal(&story).map_or(Ok(()), Err)
}

fn question(args: &Explain) -> Result<ExplainRequest, Failure> {
    let read = |file| {
        let token = token::read(file)?;
        if token.is_empty() {
            return Err(Failure::usage("the token is empty").next("use --anonymous to ask without a token"));
        }
        Ok(Some(token))
    };
    let (mut bearer, mut access) = (None, None);
    if !args.anonymous {
        let token = read(&args.token_file)?;
        *(if args.access { &mut access } else { &mut bearer }) = token;
        if let Some(file) = &args.access_token_file {
            access = read(file)?;
        }
    }
    Ok(ExplainRequest {
        token: bearer,
        access_token: access,
        method: Some(args.method.clone()),
        host: args.host.clone(),
        path: Some(args.path.clone()),
    })
}

fn refusal(story: &Story) -> Option<Failure> {
    if story.allowed {
        return None;
    }
    let reason = story.reason.as_deref().unwrap_or("no reason given");
    let Some(code) = story.code else {
        return Some(Failure::failed(format!("would be refused: {reason}")));
    };
    let failure = Failure::failed(format!("would be refused: {} {code}: {reason}", code.status()));
    Some(failure.next(resolve::advice(code)).code(code.as_str()))
}

/// The steps with a tick or a cross, then the facts.
fn report(story: &Story) -> Vec<(&'static str, Field)> {
    let mut lines: Vec<(&'static str, Field)> = story
        .steps
        .iter()
        .map(|taken| {
            let detail = detail(story, taken.step, taken.outcome);
            let space = if detail.is_empty() { "" } else { " " };
            let (mark, tone) = match taken.outcome {
                StepOutcome::Passed => ("\u{2713}", Tone::Good),
                StepOutcome::Refused => ("\u{2717}", Tone::Bad),
                StepOutcome::NotNeeded | StepOutcome::NotReached => ("\u{b7}", Tone::Faint),
            };
            (
                taken.step.as_str(),
                Field::toned(format!("{mark}{space}{detail}"), tone),
            )
        })
        .collect();
    for (names, token) in [
        (["provider", "key", "rule", "states"], &story.token),
        (
            ["access provider", "access key", "access rule", "access states"],
            &story.access_token,
        ),
    ] {
        if let Some(token) = token {
            lines.extend(names.into_iter().zip(token_lines(token)));
        }
    }
    if let Some(claims) = story.token.as_ref().and_then(|token| token.claims.as_ref()) {
        lines.push(("principal", Field::new(claims.principal.as_str())));
        lines.push(("subject", Field::new(&claims.subject)));
        lines.push(("token id", Field::optional(claims.token_id.as_ref())));
        lines.push(("scopes", Field::new(&claims.scopes)));
        lines.push(("audience", Field::new(&claims.audience)));
        lines.push(("issued", Field::new(time(claims.issued_at))));
        lines.push(("expires", Field::new(time(claims.expires_at))));
        lines.push(("signed in", Field::optional(claims.auth_time.map(time))));
        lines.push((
            "strong sign-in",
            Field::new(if claims.strong { "yes" } else { "no" }),
        ));
    }
    for link in &story.links {
        let known = match (&link.state, &link.tenant) {
            (Some(state), Some(tenant)) => format!("{state}, to {tenant}"),
            _ => "not known to the registry".to_owned(),
        };
        let name = if link.access { "access link" } else { "link" };
        let text = format!("{} {} {}: {known}", link.provider, link.kind, link.id);
        lines.push((name, Field::new(text)));
    }
    lines.push(("host's tenant", Field::optional(story.host_tenant.as_ref())));
    if let Some(tenant) = &story.tenant {
        lines.push(("tenant", Field::new(format!("{} ({})", tenant.id, tenant.state))));
        lines.push(("cell", Field::optional(tenant.cell.as_ref())));
        lines.push(("cell state", Field::optional(tenant.cell_state.as_ref())));
        lines.push(("placement epoch", Field::optional(tenant.epoch)));
        let phase = tenant.phase.as_ref().map(|phase| match &tenant.drain {
            Some(drain) => format!("{phase} (drain: {drain})"),
            None => phase.clone(),
        });
        lines.push(("placement phase", Field::optional(phase)));
    }
    if let Some(destination) = &story.destination {
        lines.push(("goes to", Field::toned(destination, Tone::Good)));
    }
    lines.push((
        "registry version",
        Field::optional(story.registry_version.as_ref()),
    ));
    lines
}

/// What stands behind a step's mark.
fn detail(story: &Story, step: Step, outcome: StepOutcome) -> String {
    match (outcome, step) {
        (StepOutcome::Refused, _) => story.reason.clone().unwrap_or_default(),
        (StepOutcome::NotReached, _) => "not reached".to_owned(),
        (StepOutcome::NotNeeded, _) => "not needed".to_owned(),
        (StepOutcome::Passed, Step::Route) => story.route.as_ref().map_or_else(String::new, |route| {
            let mut text = format!("{}: {}", route.class, route.rule);
            if route.strictest {
                text.push_str("; every demand of the policy, because the path can be read in several ways");
            }
            if !route.scopes.is_empty() {
                text.push_str(&format!("; scopes {}", route.scopes.join(" ")));
            }
            if let Some(seconds) = route.max_age_seconds {
                text.push_str(&format!("; signed in at most {seconds} s ago"));
            }
            text.push_str(match route.access {
                Some(Access::Read) => "; only reads",
                Some(Access::Write) => "; may write",
                None => "",
            });
            text
        }),
        (StepOutcome::Passed, Step::Credential) if story.token.is_none() => "no token".to_owned(),
        _ => String::new(),
    }
}

/// Provider, key, rule, and what the provider states.
fn token_lines(token: &Explanation) -> [Field; 4] {
    let provider = token.provider.as_ref().map(|provider| match token.provider_kind {
        Some(kind) if kind.as_str() != provider.as_str() => format!("{provider} ({kind})"),
        _ => provider.to_string(),
    });
    let key = token.kid.as_ref().map(|kid| {
        let found = match (token.key_found, token.signature_verified) {
            (true, true) => "known, signed the token",
            (true, false) => "known",
            (false, _) => "not known, or not looked for",
        };
        format!("{kid} ({found})")
    });
    let rule = match &token.rule {
        Some(rule) => Field::toned(rule.to_string(), Tone::Bad),
        None => Field::toned("passed every rule", Tone::Good),
    };
    let stated: Vec<String> = token
        .stated
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    [
        Field::optional(provider),
        Field::optional(key),
        rule,
        Field::optional(Some(stated.join(" ")).filter(|stated| !stated.is_empty())),
    ]
}

fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}

#[cfg(test)]
mod tests;
