//! Tenants change cells and a cell is added while 2,000 requests a second run: nothing fails but requests of a tenant
//! in the very moment of its move, and no tenant is ever in two cells.

mod timeline;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use contract::{CellId, TenantId};
use devkit::cell::{Client, EpochStats};
use devkit::dev::{self, DEDICATED_CELL, SHARED_CELL};
use devkit::ports::Block;
use devkit::stack::Stack;
use registry::command::CellSettings;
use registry::moves::{MoveOptions, Runtimes, run_move};
use registry::{AnyStore, CellState, Command, IfVersion, Refused, Store as _};

use self::timeline::{MOVING, Move, Timeline};
use crate::harness::{actor, add_tenant, alone, apply, line, place, registry, wait_until};
use crate::traffic::{SERVED, Traffic};
use crate::wire;

const RATE: u32 = 2000;
const DURATION: Duration = Duration::from_secs(30);
/// The third cell.
const ADDED_CELL: &str = "cell-added-std-local";
/// Tenants under load: the dev stack's, and some more. Those in [`MOVED`] move, the others must not notice.
const TENANTS: [&str; 8] = [
    "acme", "globex", "initech", "still-1", "still-2", "moved-1", "moved-2", "moved-3",
];
const MOVED: [&str; 4] = ["acme", "moved-1", "moved-2", "moved-3"];
/// Placed in the third cell as soon as it is active.
const NEWCOMER: &str = "newcomer";
/// Moves of one tenant: a cell remembers 16 epochs of each tenant.
const MOST_MOVES: usize = 14;

fn cell_id(id: &str) -> CellId {
    CellId::parse(id).unwrap()
}

/// Moves a tenant and notes when what was certain.
async fn move_tenant(store: &AnyStore, tenant: &'static str, from: &str, to: &str) -> Move {
    let options = MoveOptions {
        poll: Duration::from_millis(10),
        deadline: Duration::from_secs(20),
        ..MoveOptions::default()
    };
    let mut moved = Move::begins(tenant, from, to);
    let settled = run_move(
        store,
        &actor(),
        &TenantId::parse(tenant).unwrap(),
        &cell_id(to),
        &Runtimes::new().unwrap(),
        &options,
        |progress| moved.note(progress),
    )
    .await
    .unwrap_or_else(|error| panic!("{tenant} to {to}: {error}"));
    assert_eq!(settled.cell.as_str(), to);
    moved
}

/// Moves one tenant to and fro, also into the third cell once it is there, until `until`.
async fn keep_moving(store: &AnyStore, tenant: &'static str, until: Instant, added: &Instant) -> Vec<Move> {
    let mut moves: Vec<Move> = Vec::new();
    let mut at = SHARED_CELL;
    while Instant::now() < until && moves.len() < MOST_MOVES {
        let cells: &[&str] = if Instant::now() > *added {
            &[SHARED_CELL, DEDICATED_CELL, ADDED_CELL]
        } else {
            &[SHARED_CELL, DEDICATED_CELL]
        };
        let next = cells[(cells.iter().position(|cell| *cell == at).unwrap() + 1) % cells.len()];
        moves.push(move_tenant(store, tenant, at, next).await);
        at = next;
        // Spread over the run. Nothing waits for this.
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    moves
}

/// Adds the third cell while everything runs: known to Envoy, active, used. Gives the time at which it may be used.
async fn add_cell(stack: &Stack, store: &AnyStore, cell: &devkit::cell::Running) {
    let added = Instant::now();
    apply(
        store,
        Command::AddCell(CellSettings {
            id: cell_id(ADDED_CELL),
            tier: "std".to_owned(),
            region: "local".to_owned(),
            endpoints: vec![cell.cell.address().to_string()],
            tls: false,
            weight: 100,
            capacity: None,
            runtime: Some(cell.runtime.url()),
            health_path: None,
        }),
    )
    .await;
    let activate = Command::SetCellState {
        cell: cell_id(ADDED_CELL),
        state: CellState::Active,
    };
    // Refused until the router and its Envoy say that they know it.
    wait_until("the third cell becomes active", async || {
        match store.apply(&activate, &actor(), IfVersion::Any).await {
            Ok(_) => true,
            Err(Refused::NotAcknowledged { .. }) => false,
            Err(refused) => panic!("{refused}"),
        }
    })
    .await;
    println!("a cell: added to active in {} ms", added.elapsed().as_millis());

    let token = line(&stack.token(NEWCOMER).await.unwrap());
    place(store, NEWCOMER, ADDED_CELL).await;
    let placed = Instant::now();
    let mut asked = 0;
    loop {
        asked += 1;
        let reply = wire::get(stack.edge(), "/", &[&token]).await.unwrap();
        if reply.status == 200 {
            assert_eq!(reply.json()["cell"], ADDED_CELL);
            break;
        }
        // Until the router has seen the placement it refuses itself (its denials are not to be stored). It never
        // sends anybody to a cell that Envoy does not know.
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{reply:?}");
        assert!(
            placed.elapsed() < Duration::from_secs(1),
            "not placed after {asked} requests: {} {}",
            reply.status,
            reply.body
        );
    }
    println!(
        "a tenant: placed to served in {:.1} ms",
        placed.elapsed().as_secs_f64() * 1000.0
    );
}

/// A cell and when it served an epoch.
type Span<'a> = (&'a str, EpochStats);

/// What the cells themselves say: each placement epoch of each tenant was served in one cell only, and none began
/// before the one before it had ended.
async fn assert_one_cell_at_a_time(cells: &[(&str, Client)]) {
    let mut spans: BTreeMap<String, BTreeMap<u64, Vec<Span<'_>>>> = BTreeMap::new();
    for (cell, client) in cells {
        for (tenant, stats) in client.stats().await.unwrap().by_tenant {
            for (epoch, span) in stats.epochs {
                let epochs = spans.entry(tenant.clone()).or_default();
                epochs.entry(epoch).or_default().push((*cell, span));
            }
        }
    }
    let mut changes = 0;
    for (tenant, epochs) in &spans {
        let mut before: Option<(&str, EpochStats)> = None;
        for (epoch, served) in epochs {
            assert_eq!(
                served.len(),
                1,
                "{tenant}, epoch {epoch}, in two cells: {served:?}"
            );
            let (cell, span) = served[0];
            if let Some((old_cell, old)) = before {
                assert!(
                    old.last_us < span.first_us,
                    "{tenant} was in {old_cell} until {} and in {cell} from {}",
                    old.last_us,
                    span.first_us
                );
                changes += 1;
            }
            before = Some((cell, span));
        }
    }
    println!("{changes} changes of cell, as the cells saw them: never two at a time");
    assert!(changes > 20, "{spans:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_requests_a_second_through_moves_and_a_new_cell() {
    let _machine = alone().await;
    let stack = Stack::builder().start().await.unwrap();
    let store = registry(&stack).await;
    for tenant in TENANTS.iter().filter(|tenant| tenant.contains('-')) {
        add_tenant(&store, tenant).await;
        place(&store, tenant, SHARED_CELL).await;
    }
    add_tenant(&store, NEWCOMER).await;
    let ports = Block::free().unwrap();
    let third = devkit::cell::start(devkit::cell::Args {
        id: cell_id(ADDED_CELL),
        listen: ports.ports().addr(contract::port::DEMO_CELLS[0]),
        runtime: ports.ports().addr(contract::port::DEMO_RUNTIMES[0]),
        // Verifies each assertion: another check that the right requests arrive.
        jwks: Some(format!("http://{}/.well-known/jwks.json", stack.router_http())),
        otlp: None,
        audit: false,
        fences: None,
    })
    .await
    .unwrap();
    for tenant in TENANTS {
        crate::harness::wait_for_code(&stack, tenant, "").await;
    }

    let traffic = Traffic::of(&stack, &TENANTS).await;
    let (load, seen) = traffic.start(&stack, RATE, DURATION).await;
    let began = Instant::now();
    let (until, third_from) = (
        began + DURATION - Duration::from_secs(3),
        began + Duration::from_secs(8),
    );
    let adding = async {
        tokio::time::sleep_until((began + Duration::from_secs(4)).into()).await;
        add_cell(&stack, &store, &third).await;
        assert!(
            Instant::now() < third_from,
            "the third cell came too late to be used"
        );
    };
    let [a, b, c, d] = MOVED.map(|tenant| keep_moving(&store, tenant, until, &third_from));
    let ((), a, b, c, d) = tokio::join!(adding, a, b, c, d);
    let report = load.report().await.unwrap();
    println!("{}", report.table());
    let moves: Vec<Move> = [a, b, c, d].into_iter().flatten().collect();
    assert!(moves.iter().any(|moved| moved.to == ADDED_CELL));

    let unexpected: Vec<_> = report
        .outcomes
        .iter()
        .filter(|(outcome, _)| *outcome != SERVED && *outcome != MOVING)
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
    assert_eq!(report.requests, u64::from(RATE) * DURATION.as_secs());
    assert!(report.count(MOVING) > 0, "no move was under load");
    let timeline = Timeline::new(&TENANTS, &moves, |tenant| {
        let known = dev::TENANTS.iter().find(|known| known.id == tenant);
        known.map_or(SHARED_CELL, |known| known.cell)
    });
    for finished in seen.finished() {
        timeline.check(&finished);
    }
    timeline.print(&seen.finished());

    let third_client = Client::new(&third.runtime.url()).unwrap();
    assert!(third_client.stats().await.unwrap().requests > 100);
    assert_one_cell_at_a_time(&[
        (SHARED_CELL, stack.cell_client(0).unwrap()),
        (DEDICATED_CELL, stack.cell_client(1).unwrap()),
        (ADDED_CELL, third_client),
    ])
    .await;
    third.stop().await;
}
