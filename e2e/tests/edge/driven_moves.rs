//! Moves that the control plane carries on by itself, while it is killed at every step of them: every move ends where it
//! was meant to, no tenant is ever in two cells, and a router that is cut off from the registry meets the fence.

mod world;

use std::time::{Duration, Instant};

use devkit::dev::{DEDICATED_CELL, SHARED_CELL};
use registry::{Mover, Phase};
use serde_json::json;

use self::world::{Kills, MOVING, World};
use crate::harness::{among_others, wait_until};
use crate::traffic::SERVED;

/// What a move of one round is meant to come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meant {
    /// In the other cell.
    Moved,
    /// Taken back while it drains.
    Cancelled,
    /// Taken back after the flip.
    Reversed,
}

/// One round: each tenant begins a move, and the control plane is killed when some move is planned, when one drains,
/// when one is flipped, and once more, each time after `later`.
async fn round(world: &World, tenants: &[String], round: usize, kills: &mut Kills) {
    let admin = world.admin().await;
    let mut meant = Vec::new();
    // What is open in the old cell keeps the drain from ending at once, and that of a move which is to be cancelled for
    // as long as a control plane takes to start again.
    let (cancelled, others) = tenants.split_at(usize::from(round % 4 == 1));
    let mut slow = world.slow_requests(cancelled, Duration::from_secs(5)).await;
    slow.extend(world.slow_requests(others, Duration::from_millis(900)).await);
    for (index, tenant) in tenants.iter().enumerate() {
        let from = world.placement(tenant).await;
        assert_eq!(from.phase, Phase::Settled);
        let to = if from.cell.as_str() == SHARED_CELL {
            DEDICATED_CELL
        } else {
            SHARED_CELL
        };
        // In every second round somebody changes their mind.
        let outcome = match (round % 4, index) {
            (1, 0) => Meant::Cancelled,
            (3, 0) => Meant::Reversed,
            _ => Meant::Moved,
        };
        let begun = world
            .post(&admin, "/manage/moves", json!({"tenant": tenant, "to": to}))
            .await;
        assert_eq!(begun.status, 201, "{begun:?}");
        meant.push((tenant, from, to, outcome));
    }
    // At different moments of each step, round by round.
    let later = Duration::from_millis([0, 30, 70, 110, 160][round % 5]);
    world.kill(kills, later).await;
    for (tenant, _, _, outcome) in &meant {
        if *outcome == Meant::Cancelled {
            world.wait_for_phase(tenant, Phase::Draining).await;
        }
    }
    world
        .wait_for_any(tenants, |placement| placement.phase == Phase::Draining)
        .await;
    for (tenant, _, _, outcome) in &meant {
        if *outcome == Meant::Cancelled {
            let reply = world
                .post(&admin, &format!("/manage/moves/{tenant}/rollback"), json!({}))
                .await;
            assert_eq!(reply.status, 200, "{reply:?}");
        }
    }
    world.kill(kills, later).await;
    world
        .wait_for_any(tenants, |placement| placement.phase == Phase::Flipped)
        .await;
    for (tenant, _, _, outcome) in &meant {
        if *outcome == Meant::Reversed {
            world.wait_for_phase(tenant, Phase::Flipped).await;
            world.reverse(&admin, tenant).await;
        }
    }
    world.kill(kills, later).await;
    // Some are finished, some wait for the end of the time in which they can be reversed.
    world.kill(kills, later).await;
    for (tenant, from, to, outcome) in &meant {
        let (cell, raised) = match outcome {
            Meant::Moved => (*to, 1),
            Meant::Cancelled => (from.cell.as_str(), 1),
            Meant::Reversed => (from.cell.as_str(), 2),
        };
        world.wait_for_phase(tenant, Phase::Settled).await;
        let placement = world.placement(tenant).await;
        assert_eq!(
            (placement.cell.as_str(), placement.epoch, placement.mover),
            (cell, from.epoch + raised, Mover::Operator),
            "{tenant}, {outcome:?}"
        );
    }
    for answer in slow {
        let answer = answer.await.unwrap();
        assert_eq!(
            answer.status, 200,
            "what was open is served to its end: {answer:?}"
        );
    }
}

async fn moves_survive_kills(tenants: usize, rounds: usize) {
    let names: Vec<String> = (1..=tenants).map(|number| format!("moved-{number}")).collect();
    let mut world = World::start(&names).await;
    let (load, stale) = world.load(&names).await;
    let mut kills = Kills::default();
    let began = Instant::now();
    for number in 0..rounds {
        round(&world, &names, number, &mut kills).await;
        world.note_spans().await;
    }
    let moved = began.elapsed();
    // Requests go on for a moment after the last move.
    let served = load.seen.count(SERVED);
    wait_until("requests pass after the last move", async || {
        load.seen.count(SERVED) > served + 50
    })
    .await;
    let live = load.end().await;
    let cut_off = stale.end().await;
    world.note_spans().await;
    println!(
        "{} moves in {:.1} s, {} kills; moves at the kills: {kills}",
        tenants * rounds,
        moved.as_secs_f64(),
        kills.count()
    );
    kills.assert_every_step();
    world.assert_one_cell_at_a_time();
    live.assert_only(&[SERVED, MOVING]);
    cut_off.assert_only(&[SERVED, MOVING]);
    live.assert_others_unharmed(&names);
    cut_off.assert_refused_after_the_first_flip(&names, &world.first_flips());
}

/// 20 moves.
#[tokio::test(flavor = "multi_thread")]
async fn moves_survive_a_control_plane_that_is_killed_at_every_step() {
    let _machine = among_others().await;
    moves_survive_kills(4, 5).await;
}

/// 200 moves.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make test-long"]
async fn two_hundred_moves_survive_a_control_plane_that_is_killed_at_every_step() {
    let _machine = among_others().await;
    moves_survive_kills(8, 25).await;
}
