//! `alphaswarm-dev load`: load on a running dev stack, from the command line.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
use contract::port;
use serde::Deserialize;

use super::{Load, Outcome, Plan, Protocol, Shot, Template};
use crate::ports::Ports;
use crate::{dev, idp, stack};

/// What `alphaswarm-dev load` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Requests a second
    #[arg(long, default_value_t = 200)]
    pub rate: u32,
    /// For how many seconds
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Connections, all open from the start
    #[arg(long, default_value_t = 32)]
    pub connections: usize,
    /// http1, or http2 without TLS
    #[arg(long, value_enum, default_value = "http1")]
    pub protocol: Protocol,
    /// http2: requests at a time on one connection
    #[arg(long, default_value_t = 8)]
    pub streams: usize,
    /// Whose requests, in turn; a good token of each is minted at the dev identity provider
    #[arg(long = "tenant", value_name = "TENANT", default_values = ["acme", "globex", "initech"])]
    pub tenants: Vec<String>,
    /// Sends no token
    #[arg(long, conflicts_with = "tenants")]
    pub anonymous: bool,
    /// Path and query
    #[arg(long, default_value = "/load")]
    pub path: String,
    /// The host header
    #[arg(long, default_value = "localhost")]
    pub host: String,
    /// Where to [default: the dev stack's edge]
    #[arg(long)]
    pub target: Option<SocketAddr>,
    /// Seconds after which a request has failed
    #[arg(long, default_value_t = 10.0)]
    pub timeout: f64,
    /// Moves the default ports
    #[arg(long, env = "ALPHASWARM_PORT_OFFSET", default_value_t = 0)]
    pub port_offset: u16,
    /// One JSON document instead of the table
    #[arg(long)]
    pub json: bool,
}

/// Runs the load and prints the report. An error when no request had an answer with status 200.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let ports = Ports::new(args.port_offset)?;
    let target = args
        .target
        .unwrap_or_else(|| (Ipv4Addr::LOCALHOST, ports.at(port::EDGE)).into());
    let seconds = |name: &str, value: f64| {
        Duration::try_from_secs_f64(value)
            .ok()
            .with_context(|| format!("--{name} {value} is no time"))
    };
    let mut plan = Plan::new(target, args.rate, seconds("seconds", args.seconds)?);
    plan.protocol = args.protocol;
    plan.connections = args.connections;
    plan.streams = args.streams;
    plan.timeout = seconds("timeout", args.timeout)?;

    let plain = Template::get(args.protocol, &args.host, &args.path)?;
    let mut templates = Vec::new();
    if args.anonymous {
        templates.push(plain);
    } else {
        let idp = idp::Client::new(&dev::idp_url(args.port_offset))?;
        for tenant in &args.tenants {
            let token = idp
                .good(tenant)
                .await
                .context("no token: is `alphaswarm up` running?")?;
            templates.push(
                plain
                    .clone()
                    .header(&token.header, &stack::header_value(&token))?,
            );
        }
    }
    let mut turn = (0..templates.len()).cycle();
    let make = move |_| {
        turn.next()
            .and_then(|n| templates.get(n))
            .map(Template::request)
            .unwrap_or_default()
    };
    let report = Load::run(plan, make, by_cell).await?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", report.table());
    }
    if report.outcomes.keys().any(|outcome| outcome.starts_with("200")) {
        Ok(())
    } else {
        bail!("no request had an answer with status 200")
    }
}

/// The status with the demo cell that answered, or with the code of a refusal.
#[must_use]
pub fn by_cell(shot: &Shot<'_>) -> Outcome {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        cell: Option<&'a str>,
        #[serde(borrow)]
        error: Option<Refusal<'a>>,
    }
    #[derive(Deserialize)]
    struct Refusal<'a> {
        code: &'a str,
    }
    let answer = match shot.result {
        Ok(answer) => answer,
        Err(failure) => return failure.as_str().into(),
    };
    let named = serde_json::from_slice::<Answer<'_>>(&answer.body).ok();
    match named.and_then(|body| body.cell.or(body.error.map(|refusal| refusal.code))) {
        Some(name) => format!("{} {name}", answer.status.as_u16()).into(),
        None => answer.status.as_str().to_owned().into(),
    }
}
