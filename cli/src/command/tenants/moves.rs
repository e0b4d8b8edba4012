//! `alphaswarm tenants move`: a tenant to another cell, with what it waits for told on the way.

use std::time::Duration;

use contract::{CellId, TenantId};
use registry::moves::{MoveError, MoveOptions, Progress, Runtimes, roll_back, run_move};
use registry::{Cell, Drain, Key, Phase, Placement, Record, Store as _};
use tokio::sync::mpsc;

use crate::args::registry::Move;
use crate::failure::Failure;
use crate::output::Output;
use crate::store::{Registry, refused, unusable};

/// How much longer than the longest stream a move waits by default: for routers that are slow to report.
const SPARE: Duration = Duration::from_secs(60);
/// Lines of progress between the move and the terminal. What does not fit is not told; the next line is.
const LINES: usize = 64;

/// Moves, or takes a move back.
pub async fn run(args: Move, registry: &Registry, output: &mut Output<'_>) -> Result<(), Failure> {
    let tenant = args.tenant.tenant;
    let actor = registry.actor(args.actor.as_deref())?;
    let runtimes = Runtimes::new().map_err(|error| Failure::failed(error.what).next(error.next))?;
    let longest_stream = Duration::from_secs(args.longest_stream.into());
    let options = MoveOptions {
        longest_stream,
        deadline: args
            .wait
            .map_or(longest_stream + SPARE, |wait| Duration::from_secs(wait.into())),
        old_cell_is_dead: args.old_cell_is_dead,
        drain: args.drain,
        ..MoveOptions::default()
    };
    if !args.old_cell_is_dead {
        look_ahead(registry, &tenant, args.to.as_ref(), &runtimes).await?;
    }
    if args.rollback {
        warn_of_writes(registry, &tenant, &runtimes, output).await?;
    }
    let (lines, mut told) = mpsc::channel(LINES);
    let mut last = String::new();
    let progress = move |progress: &Progress| {
        let line = describe(progress);
        // A move asks ten times a second; people want to read what is new.
        if line != last {
            last.clone_from(&line);
            // A full queue means that nobody reads as fast; see `LINES`.
            let _ = lines.try_send(line);
        }
    };
    let moving = async {
        match &args.to {
            Some(to) => {
                run_move(
                    &registry.store,
                    &actor,
                    &tenant,
                    to,
                    &runtimes,
                    &options,
                    progress,
                )
                .await
            }
            None => roll_back(&registry.store, &actor, &tenant, &runtimes, &options, progress).await,
        }
    };
    let mut moving = std::pin::pin!(moving);
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    let moved = loop {
        tokio::select! {
            biased;
            Some(line) = told.recv() => output.progress(&format!("tenant {tenant}: {line}"))?,
            moved = &mut moving => break moved,
            // Where no signal can be listened to, Ctrl-C still ends the process, only without these words.
            Ok(()) = &mut interrupt => return Err(stopped("the move was interrupted".to_owned())),
        }
    };
    while let Ok(line) = told.try_recv() {
        output.progress(&format!("tenant {tenant}: {line}"))?;
    }
    let placement = moved.map_err(failed)?;
    output.result(&placement, &sentence(&placement))
}

/// Before a drain stops the tenant's requests: is there a runtime that will fence it in the cell that it leaves? Better
/// no move than one that begins an outage and then waits.
async fn look_ahead(
    registry: &Registry,
    tenant: &TenantId,
    to: Option<&CellId>,
    runtimes: &Runtimes,
) -> Result<(), Failure> {
    // What is missing is the move's to say, and it says so before it changes anything.
    let key = Key::Placement(tenant.to_string());
    let Some(Record::Placement(placement)) = find(registry, &key).await? else {
        return Ok(());
    };
    let drains = match (to, placement.phase) {
        (Some(to), Phase::Settled | Phase::Planned) => placement.cell != *to,
        (None, Phase::Flipped) => true,
        _ => false,
    };
    if !drains {
        return Ok(());
    }
    let Some(Record::Cell(cell)) = find(registry, &Key::Cell(placement.cell.to_string())).await? else {
        return Ok(());
    };
    let Some(runtime) = &cell.runtime else {
        return Err(failed(MoveError::NoRuntime(cell.id)));
    };
    runtimes.look(runtime, tenant).await.map(drop).map_err(|failure| {
        let what = format!("nothing was moved: cell {} could not fence tenant {tenant}: {}", cell.id, failure.what);
        Failure::failed(what)
            .next(
                "start that runtime, or correct its address with: alphaswarm cells set --runtime URL; if the cell is \
                 dead: --old-cell-is-dead",
            )
            .code("no_runtime")
    })
}

/// A flip that is reversed leaves behind what the tenant wrote in the new cell: how much that may be, as far as the
/// registry and the cell know.
async fn warn_of_writes(
    registry: &Registry,
    tenant: &TenantId,
    runtimes: &Runtimes,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let Some(Record::Placement(placement)) = find(registry, &Key::Placement(tenant.to_string())).await?
    else {
        return Ok(());
    };
    if placement.phase != Phase::Flipped {
        return Ok(());
    }
    let served = match find(registry, &Key::Cell(placement.cell.to_string())).await? {
        Some(Record::Cell(Cell {
            runtime: Some(runtime),
            ..
        })) => runtimes.look(&runtime, tenant).await.ok(),
        _ => None,
    };
    let served = match served.and_then(|report| report.served) {
        Some(served) if served.epoch == placement.epoch => format!("{} requests", served.requests),
        Some(_) => "no request".to_owned(),
        None => "an unknown number of requests".to_owned(),
    };
    let flipped_ms = placement.flipped_at.unwrap_or_default().saturating_mul(1000);
    let seconds = registry.store.now_ms().saturating_sub(flipped_ms).max(0) / 1000;
    output.progress(&format!(
        "warning: cell {} has begun to serve {served} of tenant {tenant} in the {seconds} s since the flip; what they \
         wrote stays there, unless you copy it",
        placement.cell
    ))
}

async fn find(registry: &Registry, key: &Key) -> Result<Option<Record>, Failure> {
    Ok(registry
        .store
        .find(key)
        .await
        .map_err(unusable)?
        .map(|found| found.record))
}

fn sentence(placement: &Placement) -> String {
    format!(
        "tenant {} lives in cell {} (epoch {})",
        placement.tenant, placement.cell, placement.epoch
    )
}

fn describe(progress: &Progress) -> String {
    match progress {
        Progress::Planned => "planned".to_owned(),
        Progress::Draining(Drain::Refuse) => "draining: its requests get 503 tenant_moving".to_owned(),
        Progress::Draining(Drain::ReadOnly) => {
            "draining: reads are still served, its other requests get 503 tenant_moving".to_owned()
        }
        Progress::WaitingForRouters(routers) => {
            format!(
                "draining: waiting for the drain to reach routers {}",
                routers.join(", ")
            )
        }
        Progress::WaitingForWrites { open } => {
            format!("draining: waiting for {open} open requests or streams that may write in the old cell")
        }
        Progress::WaitingForCell { open } => {
            format!("draining: waiting for {open} open requests or streams in the old cell")
        }
        Progress::WaitingForStreams { open, routers } => format!(
            "draining: waiting for {open} long streams that Envoys hold open to the old cell, as told by routers {}",
            routers.join(", ")
        ),
        Progress::CellSilent(error) => format!("draining: the old cell cannot be fenced: {error}"),
        Progress::Flipped { epoch } => format!("flipped: requests go to the new cell, epoch {epoch}"),
        Progress::Finished => "finished".to_owned(),
    }
}

fn failed(error: MoveError) -> Failure {
    match error {
        MoveError::Refused(refusal) => refused(refusal),
        MoveError::Store(error) => unusable(error),
        MoveError::NoRuntime(cell) => Failure::failed(MoveError::NoRuntime(cell.clone()).to_string())
            .next(format!(
                "set it with: alphaswarm cells set --cell {cell} --runtime URL; if the cell is dead: --old-cell-is-dead"
            ))
            .code("no_runtime"),
        MoveError::Deadline(_) => stopped(error.to_string()).code("deadline"),
        MoveError::TakenOver(_) => Failure::failed(error.to_string()).code("taken_over"),
    }
}

fn stopped(what: String) -> Failure {
    Failure::failed(what).next(
        "the tenant stays where the move stands, which alphaswarm tenants show tells (while it drains, its requests get \
         503); the same command resumes the move, --rollback takes it back",
    )
}

#[cfg(test)]
mod tests;
