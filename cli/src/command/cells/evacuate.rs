//! `alphaswarm cells evacuate`: every tenant of a cell moves, a few at once. What was begun and not ended is found in
//! the registry, so the same command goes on with it.

use std::time::Duration;

use contract::{CellId, TenantId};
use registry::moves::evacuate::{self, Leaving, Targets, Towards};
use registry::moves::{MoveError, MoveOptions, Runtimes, run_move};
use registry::store::{Page, Placements};
use registry::{Actor, AnyStore, Cell, CellState, Command, IfVersion, Phase, Record, Store as _};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};

use crate::args::registry::Evacuate;
use crate::failure::Failure;
use crate::output::Output;
use crate::store::{Registry, refused, unusable};

/// As with a single move: for routers that are slow to report.
const SPARE: Duration = Duration::from_secs(60);
/// Tenants that did not move and are named in the end.
const MOST_NAMED: usize = 20;

/// What came of it.
#[derive(Serialize)]
struct Evacuated {
    cell: CellId,
    moved: u64,
    not_moved: Vec<NotMoved>,
}

#[derive(Serialize)]
struct NotMoved {
    tenant: TenantId,
    reason: String,
}

type Moved = (TenantId, Result<(), String>);

/// Moves that run, and what came of those that have ended.
struct Moving {
    mover: Mover,
    running: JoinSet<Moved>,
    at_once: usize,
    rate: Interval,
    total: u64,
    ended: u64,
    not_moved: Vec<NotMoved>,
}

/// What every move of an evacuation is made with.
#[derive(Clone)]
struct Mover {
    store: AnyStore,
    actor: Actor,
    runtimes: Runtimes,
    options: MoveOptions,
}

/// Empties a cell.
pub(super) async fn run(args: Evacuate, registry: &Registry, output: &mut Output<'_>) -> Result<(), Failure> {
    let store = &registry.store;
    let runtimes = Runtimes::new().map_err(|error| Failure::failed(error.what).next(error.next))?;
    let actor = registry.actor(args.actor.as_deref())?;
    let from = evacuate::cell(store, &args.cell.cell).await.map_err(failed)?;
    let towards = args.to.map_or(Towards::Spread, Towards::Cell);
    let targets = Targets::of(store, &from, &towards).await.map_err(failed)?;
    if !args.dead {
        answers(&from, &runtimes).await?;
    }
    close(store, &from, &actor, output).await?;
    let left = evacuate::remaining(store, &from.id).await.map_err(failed)?;
    let longest_stream = Duration::from_secs(args.longest_stream.into());
    let options = MoveOptions {
        longest_stream,
        deadline: args
            .wait
            .map_or(longest_stream + SPARE, |wait| Duration::from_secs(wait.into())),
        old_cell_is_dead: args.dead,
        drain: args.drain,
        ..MoveOptions::default()
    };
    let mut rate = tokio::time::interval(Duration::from_secs(1) / args.rate);
    rate.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let moving = Moving {
        mover: Mover {
            store: store.clone(),
            actor,
            runtimes,
            options,
        },
        running: JoinSet::new(),
        at_once: usize::try_from(args.concurrency).unwrap_or(1),
        rate,
        total: left.tenants + left.flipped,
        ended: 0,
        not_moved: Vec::new(),
    };
    let evacuated = tokio::select! {
        evacuated = moving.all(&from.id, targets, output) => evacuated?,
        // Where no signal can be listened to, Ctrl-C still ends the process, only without these words.
        Ok(()) = tokio::signal::ctrl_c() => {
            return Err(Failure::failed("the evacuation was interrupted").next(
                "tenants whose move was under way stay where it stands (while one drains, its requests get 503); the \
                 same command goes on",
            ));
        }
    };
    report(&evacuated, output)
}

impl Moving {
    async fn all(
        mut self,
        from: &CellId,
        mut targets: Targets,
        output: &mut Output<'_>,
    ) -> Result<Evacuated, Failure> {
        // Flipped by somebody who stopped before the end: out of the cell, but not finished.
        for (tenant, to) in flipped_away(&self.mover.store, from).await? {
            self.begin(tenant, to, output).await?;
        }
        let mut page = Page::default();
        loop {
            let found = evacuate::leaving(&self.mover.store, from, &mut targets, page)
                .await
                .map_err(failed)?;
            for tenant in found.homeless {
                self.note((tenant, Err("no cell has room for it".to_owned())), output)?;
            }
            for tenant in found.arriving {
                let reason = "it was only just moved here; finish that move or roll it back";
                self.note((tenant, Err(reason.to_owned())), output)?;
            }
            for Leaving { tenant, to, .. } in found.leaving {
                self.begin(tenant, to, output).await?;
            }
            match found.next {
                Some(next) => page.after = next,
                None => break,
            }
        }
        while let Some(moved) = self.running.join_next().await {
            self.take(moved, output)?;
        }
        Ok(Evacuated {
            cell: from.clone(),
            moved: self.ended - self.not_moved.len() as u64,
            not_moved: self.not_moved,
        })
    }

    /// Begins a move as soon as there is room for one, and not sooner than the rate allows.
    async fn begin(&mut self, tenant: TenantId, to: CellId, output: &mut Output<'_>) -> Result<(), Failure> {
        while self.running.len() >= self.at_once {
            if let Some(moved) = self.running.join_next().await {
                self.take(moved, output)?;
            }
        }
        self.rate.tick().await;
        let mover = self.mover.clone();
        self.running.spawn(async move {
            let Mover {
                store,
                actor,
                runtimes,
                options,
            } = &mover;
            let moved = run_move(store, actor, &tenant, &to, runtimes, options, |_| {}).await;
            (tenant, moved.map(drop).map_err(|error| error.to_string()))
        });
        Ok(())
    }

    fn take(
        &mut self,
        moved: Result<Moved, tokio::task::JoinError>,
        output: &mut Output<'_>,
    ) -> Result<(), Failure> {
        let moved = moved.map_err(|error| Failure::failed(format!("a move ended unexpectedly: {error}")))?;
        self.note(moved, output)
    }

    fn note(&mut self, (tenant, moved): Moved, output: &mut Output<'_>) -> Result<(), Failure> {
        self.ended += 1;
        let said = match &moved {
            Ok(()) => format!("tenant {tenant} has moved"),
            Err(reason) => format!("tenant {tenant} has not moved: {reason}"),
        };
        if let Err(reason) = moved {
            self.not_moved.push(NotMoved { tenant, reason });
        }
        output.progress(&format!(
            "{} of {}: {said}",
            self.ended,
            self.total.max(self.ended)
        ))
    }
}

/// Better no evacuation than one that begins an outage for each tenant and then waits.
async fn answers(from: &Cell, runtimes: &Runtimes) -> Result<(), Failure> {
    let dead = "if the cell is dead: --dead";
    let Some(runtime) = &from.runtime else {
        return Err(Failure::failed(format!(
            "cell {} has no runtime that could fence its tenants",
            from.id
        ))
        .next(format!(
            "set it with: alphaswarm cells set --cell {} --runtime URL; {dead}",
            from.id
        ))
        .code("no_runtime"));
    };
    // Any tenant will do: it says whether somebody answers.
    let anybody = TenantId::parse("anybody").map_err(|error| Failure::failed(error.to_string()))?;
    runtimes.look(runtime, &anybody).await.map(drop).map_err(|error| {
        Failure::failed(format!("nothing was moved: {}", error.what))
            .next(format!("{}; {dead}", error.next))
            .code("no_runtime")
    })
}

/// Lets nobody in any longer.
async fn close(store: &AnyStore, from: &Cell, actor: &Actor, output: &mut Output<'_>) -> Result<(), Failure> {
    if from.state != CellState::Active {
        return Ok(());
    }
    let command = Command::SetCellState {
        cell: from.id.clone(),
        state: CellState::Draining,
    };
    store
        .apply(&command, actor, IfVersion::Any)
        .await
        .map_err(refused)?;
    output.progress(&format!("cell {} takes no more tenants", from.id))
}

async fn flipped_away(store: &AnyStore, from: &CellId) -> Result<Vec<(TenantId, CellId)>, Failure> {
    let mut flipped = Vec::new();
    let mut page = Page::default();
    loop {
        let listing = store
            .placements(&Placements::Moving, page)
            .await
            .map_err(unusable)?;
        flipped.extend(
            listing
                .records
                .into_iter()
                .filter_map(|found| match found.record {
                    // What the control plane carries on, it finishes itself.
                    Record::Placement(placement)
                        if placement.phase == Phase::Flipped
                            && placement.previous.as_ref() == Some(from)
                            && !placement.mover.is_control_plane() =>
                    {
                        Some((placement.tenant, placement.cell))
                    }
                    _ => None,
                }),
        );
        match listing.next {
            Some(next) => page.after = next,
            None => return Ok(flipped),
        }
    }
}

fn report(evacuated: &Evacuated, output: &mut Output<'_>) -> Result<(), Failure> {
    let Evacuated {
        cell,
        moved,
        not_moved,
    } = evacuated;
    if not_moved.is_empty() {
        return output.result(
            evacuated,
            &format!("cell {cell} is empty: {moved} tenants have moved"),
        );
    }
    let named: Vec<String> = not_moved
        .iter()
        .take(MOST_NAMED)
        .map(|not| not.tenant.to_string())
        .collect();
    Err(Failure::failed(format!(
        "cell {cell}: {moved} tenants have moved, {} have not: {}",
        not_moved.len(),
        named.join(", ")
    ))
    .next("the reasons are above; the same command goes on"))
}

fn failed(error: MoveError) -> Failure {
    match error {
        MoveError::Refused(refusal) => refused(refusal),
        MoveError::Store(error) => unusable(error),
        other => Failure::failed(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
