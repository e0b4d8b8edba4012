use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use contract::TenantId;
use contract::api::{Fence, FenceReport};
use serde_json::json;

use crate::testing::World;

/// A workload runtime that runs beside the command.
struct Cell {
    address: SocketAddr,
    desk: Arc<Desk>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Default)]
struct Desk {
    fences: Mutex<Vec<Fence>>,
    /// Open requests; each report says one less than the last.
    open: AtomicU64,
}

impl Cell {
    fn start(open: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let desk = Arc::new(Desk {
            open: AtomicU64::new(open),
            ..Desk::default()
        });
        let fence = async |State(desk): State<Arc<Desk>>, Json(fence): Json<Fence>| {
            let less = |open: u64| Some(open.saturating_sub(1));
            let open = desk
                .open
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
                .unwrap();
            desk.fences.lock().unwrap().push(fence.clone());
            Json(FenceReport {
                tenant: fence.tenant,
                fenced: fence.epoch.filter(|_| !fence.reads),
                writes_fenced: fence.epoch,
                open,
                open_writes: None,
                to: None,
                served: None,
            })
        };
        let fenced = async |State(desk): State<Arc<Desk>>, Path(tenant): Path<TenantId>| {
            Json(FenceReport {
                tenant,
                fenced: None,
                writes_fenced: None,
                open: desk.open.load(Ordering::SeqCst),
                open_writes: None,
                to: None,
                served: None,
            })
        };
        let router = Router::new()
            .route("/fence", post(fence))
            .route("/fence/{tenant}", get(fenced));
        Self::serve(router.with_state(Arc::clone(&desk)), desk, runtime)
    }

    /// Answers questions and takes no fence.
    fn stubborn() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let fenced = async |Path(tenant): Path<TenantId>| {
            Json(FenceReport {
                tenant,
                fenced: None,
                writes_fenced: None,
                open: 0,
                open_writes: None,
                to: None,
                served: None,
            })
        };
        Self::serve(
            Router::new().route("/fence/{tenant}", get(fenced)),
            Arc::default(),
            runtime,
        )
    }

    fn serve(router: Router, desk: Arc<Desk>, runtime: tokio::runtime::Runtime) -> Self {
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            desk,
            _runtime: runtime,
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn epochs(&self) -> Vec<Option<u64>> {
        self.desk
            .fences
            .lock()
            .unwrap()
            .iter()
            .map(|fence| fence.epoch)
            .collect()
    }
}

#[test]
fn a_move_waits_for_the_old_cell_and_tells_each_phase() {
    let cell = Cell::start(2);
    let world = World::settled(&cell.url());
    let ran = world.run("tenants move --tenant acme --to cell-b --json");
    assert_eq!(ran.code, 0, "{ran:?}");
    let placement: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (&placement["cell"], &placement["phase"]),
        (&json!("cell-b"), &json!("settled"))
    );
    assert_eq!(
        (&placement["epoch"], &placement["previous"]),
        (&json!(2), &json!("cell-a"))
    );
    let phases = [
        "planned",
        "draining: its",
        "waiting for 2 open",
        "waiting for 1 open",
        "flipped",
        "finished",
    ];
    let mut rest = ran.err.as_str();
    for phase in phases {
        let at = rest
            .find(phase)
            .unwrap_or_else(|| panic!("{phase} is not told in order: {}", ran.err));
        rest = &rest[at..];
    }
    assert_eq!(
        cell.epochs(),
        [Some(1); 4],
        "the epoch of the time before is fenced; at the end the cell is told that the move is over"
    );

    let again = world.run("tenants move --tenant acme --to cell-b");
    assert_eq!(
        (again.code, again.out.as_str()),
        (0, "tenant acme lives in cell cell-b (epoch 2)\n")
    );
}

#[test]
fn a_read_only_move_waits_for_writes_first() {
    let cell = Cell::start(2);
    let world = World::settled(&cell.url());
    let ran = world.run("tenants move --tenant acme --to cell-b --drain read-only");
    assert_eq!(ran.code, 0, "{ran:?}");
    let phases = [
        "planned",
        "draining: reads are still served",
        "waiting for 2 open requests or streams that may write",
        "waiting for 1 open requests or streams that may write",
        "flipped",
        "finished",
    ];
    let mut rest = ran.err.as_str();
    for phase in phases {
        let at = rest
            .find(phase)
            .unwrap_or_else(|| panic!("{phase} is not told in order: {}", ran.err));
        rest = &rest[at..];
    }
    let reads: Vec<bool> = cell
        .desk
        .fences
        .lock()
        .unwrap()
        .iter()
        .map(|fence| fence.reads)
        .collect();
    assert_eq!(
        reads,
        [true, true, true, false, false],
        "the whole fence comes last"
    );

    // As a policy of the tenant.
    world.ok("tenants set --tenant acme --drain read-only");
    let ran = world.run("tenants move --tenant acme --to cell-a");
    assert!(ran.err.contains("reads are still served"), "{ran:?}");
    let ran = world.run("tenants move --tenant acme --to cell-b --drain refuse");
    assert!(!ran.err.contains("reads are still served"), "{ran:?}");
    for dead in ["--old-cell-is-dead", "--rollback"] {
        world.fails(
            2,
            &format!("tenants move --tenant acme --to cell-a --drain read-only {dead}"),
        );
    }
    assert!(
        world
            .fails(2, "tenants set --tenant acme --drain slowly")
            .contains("read_only")
    );
    world.fails(2, "tenants set --tenant acme");
}

#[test]
fn a_cell_that_cannot_be_fenced_begins_no_outage() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let world = World::settled(&format!("http://{closed}"));
    let error = world.fails(1, "tenants move --tenant acme --to cell-b");
    assert!(
        error.contains("nothing was moved") && error.contains("cannot be reached"),
        "{error}"
    );
    assert!(error.contains("--old-cell-is-dead"), "{error}");
    assert_eq!(
        world.json("tenants show --tenant acme")["placement"]["phase"],
        "settled"
    );

    let said = world.ok("tenants move --tenant acme --to cell-b --old-cell-is-dead");
    assert_eq!(said, "tenant acme lives in cell cell-b (epoch 2)\n");
}

#[test]
fn a_move_that_gives_up_stays_where_it_is_and_can_be_taken_back_or_resumed() {
    let stubborn = Cell::stubborn();
    let world = World::settled(&stubborn.url());
    let error = world.fails(1, "tenants move --tenant acme --to cell-b --wait 2");
    assert!(
        error.contains("cannot be fenced") && error.contains("status 404"),
        "{error}"
    );
    assert!(error.contains("--rollback"), "{error}");
    let shown = world.json("tenants show --tenant acme");
    assert_eq!(
        (&shown["placement"]["phase"], &shown["placement"]["cell"]),
        (&json!("draining"), &json!("cell-a"))
    );
    assert!(world.ok("tenants list").contains("draining → cell-b"));

    // The old cell may have fenced the epoch, so the tenant comes back with a higher one.
    assert_eq!(
        world.ok("tenants move --tenant acme --rollback"),
        "tenant acme lives in cell cell-a (epoch 2)\n"
    );

    world.fails(1, "tenants move --tenant acme --to cell-b --wait 2");
    let cell = Cell::start(0);
    world.ok(&format!("cells set --cell cell-a --runtime {}", cell.url()));
    assert_eq!(
        world.ok("tenants move --tenant acme --to cell-b"),
        "tenant acme lives in cell cell-b (epoch 3)\n"
    );
    assert_eq!(cell.epochs(), [Some(2), Some(2)]);
}

#[test]
fn a_cell_without_runtime_says_which_command_helps() {
    let world = World::empty();
    for cell in ["cell-a", "cell-b"] {
        world.ok(&format!("cells add --cell {cell} --endpoint 127.0.0.1:8101"));
        world.ok(&format!("cells activate --cell {cell}"));
    }
    world.ok("tenants add --tenant acme");
    world.ok("tenants place --tenant acme --cell cell-a");
    let error = world.fails(1, "tenants move --tenant acme --to cell-b");
    assert!(
        error.contains("alphaswarm cells set --cell cell-a --runtime"),
        "{error}"
    );
    assert_eq!(
        world.json("tenants show --tenant acme")["placement"]["phase"],
        "settled"
    );
}

#[test]
fn what_cannot_be_moved_is_refused() {
    let cell = Cell::start(0);
    let world = World::settled(&cell.url());
    assert!(
        world
            .fails(1, "tenants move --tenant nobody --to cell-b")
            .contains("place the tenant")
    );
    assert!(
        world
            .fails(1, "tenants move --tenant acme --to cell-x")
            .contains("cell-x does not exist")
    );
    world.fails(2, "tenants move --tenant acme");
    world.fails(2, "tenants move --tenant acme --to cell-b --rollback");
    // Nothing to take back: it is settled.
    assert_eq!(
        world.ok("tenants move --tenant acme --rollback"),
        "tenant acme lives in cell cell-a (epoch 1)\n"
    );
}
