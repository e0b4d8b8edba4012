//! The two servers without an Envoy: as many checks as they take over one HTTP/2 connection, which is what one Envoy
//! worker opens. Busy servers wake up less often for each check than at a fixed rate, so this is what a check costs at
//! the limit.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use contract::header;
use devkit::cpu;
use devkit::progress::Progress;
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse};
use prost::Message as _;
use tonic::transport::Channel;

use crate::report::Figure;
use crate::rig::Rig;
use crate::rounds::median;
use crate::variants::Variant;

/// Checks under way at a time.
const IN_FLIGHT: usize = 32;

/// How long.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// Of one server in one round.
    pub duration: Duration,
    /// Rounds that count; one more goes before them.
    pub rounds: usize,
}

/// Runs all rounds; gives the figures and a table.
pub async fn run(rig: &Rig, asking: Asking, progress: &Progress) -> anyhow::Result<(Vec<Figure>, String)> {
    let request = CheckRequest::decode(rig.first_request()?.as_slice())?;
    let servers = [
        (Variant::NoOp, rig.noop_address),
        (Variant::Router, rig.router_address()),
    ];
    let mut clients = Vec::new();
    for (variant, address) in servers {
        clients.push((variant, connect(address).await?, Vec::new(), 0.0_f64));
    }
    same_answer(&request, &mut clients).await?;
    for round in 0..=asking.rounds {
        for (variant, client, cost, best) in &mut clients {
            let pid = rig.server(*variant)?.context("no server")?;
            let what = format!("direct, round {round} of {}: {}", asking.rounds, variant.as_str());
            let (before, start) = (cpu::usage(pid)?.cpu, Instant::now());
            let checks = progress
                .during(&what, ask(client, &request, asking.duration))
                .await?;
            let used = cpu::usage(pid)?.cpu.saturating_sub(before);
            if round > 0 {
                cost.push(used.as_secs_f64() * 1e6 / checks as f64);
                *best = best.max(checks as f64 / start.elapsed().as_secs_f64());
            }
        }
    }
    let mut figures = Vec::new();
    let mut text = format!(
        "servers alone, one connection, {IN_FLIGHT} checks under way\n\n{:8} {:>16} {:>18} {:>12}\n",
        "", "CPU µs a check", "checks/s per core", "checks/s"
    );
    for (variant, _, cost, best) in &clients {
        let (name, cpu) = (variant.as_str(), median(cost));
        let method =
            "tonic client, one connection, 32 checks under way; CPU of the server, median of the rounds";
        figures.push(Figure::new(
            format!("check.direct_cpu_us.{name}"),
            cpu,
            "us",
            method,
        ));
        figures.push(Figure::new(
            format!("check.direct_per_core.{name}"),
            1e6 / cpu,
            "1/s",
            method,
        ));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:8} {cpu:>16.2} {:>18.0} {best:>12.0}", 1e6 / cpu);
    }
    if let [(_, _, noop, _), (_, _, router, _)] = clients.as_slice() {
        figures.push(Figure::new(
            "check.direct_ratio",
            median(router) / median(noop),
            "ratio",
            "router / no-op, CPU of the server for each check, servers alone",
        ));
    }
    Ok((figures, text))
}

async fn connect(address: SocketAddr) -> anyhow::Result<AuthorizationClient<Channel>> {
    AuthorizationClient::connect(format!("http://{address}"))
        .await
        .with_context(|| format!("cannot connect to {address}"))
}

/// The comparison is fair only while both send the same: all but the assertion's text, which names its second.
async fn same_answer(
    request: &CheckRequest,
    clients: &mut [(Variant, AuthorizationClient<Channel>, Vec<f64>, f64)],
) -> anyhow::Result<()> {
    let mut answers = Vec::new();
    for (_, client, ..) in clients {
        answers.push(client.check(request.clone()).await?.into_inner());
    }
    let plain: Vec<_> = answers.iter().cloned().map(without_assertion).collect();
    let lengths: Vec<_> = answers.iter().map(CheckResponse::encoded_len).collect();
    ensure!(
        plain.windows(2).all(|pair| pair.first() == pair.last())
            && lengths.windows(2).all(|pair| pair.first() == pair.last()),
        "the no-op server does not answer what the router answers (lengths {lengths:?})"
    );
    Ok(())
}

fn without_assertion(mut answer: CheckResponse) -> CheckResponse {
    if let Some(HttpResponse::OkResponse(ok)) = &mut answer.http_response {
        for option in &mut ok.headers {
            if let Some(line) = option
                .header
                .as_mut()
                .filter(|line| line.key == header::ASSERTION)
            {
                line.value.clear();
            }
        }
    }
    answer
}

/// Asks for `duration`; gives the number of answers.
async fn ask(
    client: &AuthorizationClient<Channel>,
    request: &CheckRequest,
    duration: Duration,
) -> anyhow::Result<u64> {
    let until = Instant::now() + duration;
    let workers: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let (mut client, request) = (client.clone(), request.clone());
            tokio::spawn(async move {
                let mut checks = 0_u64;
                while Instant::now() < until {
                    let answer = client.check(request.clone()).await?.into_inner();
                    ensure!(
                        answer.status.is_some_and(|status| status.code == 0),
                        "a check was denied"
                    );
                    checks += 1;
                }
                anyhow::Ok(checks)
            })
        })
        .collect();
    let mut checks = 0;
    for worker in workers {
        checks += worker.await??;
    }
    Ok(checks)
}
