//! `alphaswarm resolve`: where a request would go, by the router's own decision.

use contract::api::Resolved;
use contract::envelope::ErrorBody;
use contract::{Code, Envelope, header, port};
use reqwest::header::HeaderValue;
use reqwest::{RequestBuilder, StatusCode};

use crate::args::{MintShape, Resolve};
use crate::command::token::{self, mint};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::http;
use crate::output::{Field, Output, Tone};

/// Asks and prints. A denial is a failure: exit code 1.
pub async fn run(args: Resolve, environment: &Environment, output: &mut Output<'_>) -> Result<(), Failure> {
    let base = args
        .router
        .clone()
        .unwrap_or_else(|| environment.local(port::ROUTER_HTTP));
    let url = http::join(
        &http::parse_base(&base, "--router")?,
        &format!("/resolve{}", args.path),
    )?;
    let mut request = original(http::client()?.request(args.method.clone(), url), &args)?;
    if let Some((name, value)) = credential(&args, environment).await? {
        request = request.header(name, secret(&value)?);
    }
    let peer = format!("the router at {base}");
    let next = "start the dev stack with: alphaswarm up (or name another router with --router URL)";
    let (status, body) = http::exchange(request, &peer, next).await?;
    let resolved = read(status, &body, &peer)?;
    output.record(&resolved, &fields(&resolved))
}

/// What the request was, in the words of every proxy that `RESOLVE_FROM` may name; the router reads those of one.
fn original(request: RequestBuilder, args: &Resolve) -> Result<RequestBuilder, Failure> {
    let mut request = request;
    for prefix in ["x-original", "x-forwarded"] {
        request = request
            .header(format!("{prefix}-method"), args.method.as_str())
            .header(format!("{prefix}-uri"), &args.path);
        if let Some(host) = &args.host {
            request = request.header(format!("{prefix}-host"), host_value(host)?);
        }
    }
    match &args.host {
        Some(host) => Ok(request.header(reqwest::header::HOST, host_value(host)?)),
        None => Ok(request),
    }
}

fn host_value(host: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(host).map_err(|_| Failure::usage(format!("--host {host:?} is no host name")))
}

/// The header that carries the token, and its value. `None` without a token.
async fn credential(args: &Resolve, environment: &Environment) -> Result<Option<(String, String)>, Failure> {
    if let Some(file) = &args.token_file {
        let token = token::read(file)?;
        if token.is_empty() {
            return Err(
                Failure::usage("the token is empty").next("leave --token-file out to ask without a token")
            );
        }
        return Ok(Some(if args.access {
            (header::ACCESS_ASSERTION.to_owned(), token)
        } else {
            (header::AUTHORIZATION.to_owned(), format!("Bearer {token}"))
        }));
    }
    let Some(tenant) = &args.tenant else {
        return Ok(None);
    };
    let shape = MintShape {
        provider: args.provider,
        acr: args.acr.clone(),
        idp: args.idp.clone(),
        ..MintShape::good(tenant)
    };
    let minted = mint::mint(&shape, environment).await?;
    let value = mint::header_value(&minted);
    Ok(Some((minted.header, value)))
}

/// A header value that no `Debug` shows.
fn secret(value: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| Failure::usage("the token holds characters that cannot travel in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn read(status: StatusCode, body: &[u8], peer: &str) -> Result<Resolved, Failure> {
    let strange = || {
        Failure::failed(format!(
            "{peer} answered status {} without our envelope",
            status.as_u16()
        ))
        .next("check that --router names the HTTP listener of a tenant-router (port 8080 by default)")
    };
    let envelope: Envelope<Resolved> = serde_json::from_slice(body).map_err(|_| strange())?;
    match (envelope.data, envelope.error) {
        (Some(resolved), None) if status.is_success() => Ok(resolved),
        (_, Some(error)) => Err(denied(status, error)),
        _ => Err(strange()),
    }
}

fn denied(status: StatusCode, error: ErrorBody) -> Failure {
    let failure = Failure::failed(format!(
        "denied: {} {}: {}",
        status.as_u16(),
        error.code,
        error.message
    ));
    let failure = match Code::ALL.iter().find(|code| code.as_str() == error.code) {
        Some(code) => failure.next(advice(*code)),
        None => failure,
    };
    failure.code(error.code)
}

/// What an operator can do about a denial. Clients are never told this much.
pub(super) const fn advice(code: Code) -> &'static str {
    match code {
        Code::BadRequest => "send at most one token, and a host and path as they stand on the wire",
        Code::Unauthenticated => {
            "send a good token (alphaswarm token mint --tenant acme in the dev stack); alphaswarm explain names the rule \
             that refused this one"
        }
        Code::StepUpRequired => {
            "sign in again with a second factor (dev: --acr high); where the router's RESOLVE_FROM is unset, every path \
             is judged by the strictest class of its policy"
        }
        Code::Forbidden => "alphaswarm explain names the scopes that the route asks for",
        Code::UnknownTenant => {
            "no link knows this token's organization: alphaswarm links list, then links add"
        }
        Code::TenantPending => {
            "the tenant or its link waits for you: alphaswarm tenants activate --tenant …, or links activate …; a \
             tenant without a cell needs tenants place"
        }
        Code::TenantSuspended => "to let it in again: alphaswarm tenants activate --tenant …",
        Code::TenantMismatch => "the host belongs to another tenant: alphaswarm hosts list",
        Code::TenantRequired => "the token speaks for several tenants: name one of their hosts with --host",
        Code::CellMismatch => "the token names another cell than the tenant's: sign in again for a new one",
        Code::RateLimited => "try again in a second; the limit is the tenant's requests_per_second",
        Code::TenantMoving => "a move is under way: alphaswarm tenants show --tenant … tells how far it is",
        Code::CellUnavailable => "look at the tenant's cell: alphaswarm cells list",
        Code::Overloaded => "the router sheds load: start more routers",
        Code::NotReady => "GET /readyz on the router names what is pending",
    }
}

fn fields(resolved: &Resolved) -> Vec<(&'static str, Field)> {
    vec![
        ("tenant", Field::optional(resolved.tenant.as_ref())),
        ("cell", Field::toned(&resolved.cell, Tone::Good)),
        ("principal", Field::optional(resolved.principal.as_ref())),
        ("provider", Field::optional(resolved.provider.as_ref())),
        ("registry version", Field::new(&resolved.registry_version)),
    ]
}

#[cfg(test)]
mod tests;
