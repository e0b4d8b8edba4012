//! A cell that was killed still shuts out whom it had shut out.

use contract::TenantId;
use contract::api::{Fence, FenceReport};
use contract::port;
use devkit::ports::Block;
use devkit::stack::{Part, Stack};
use serde_json::json;

use super::verifiers;
use super::{claims, live_router, with_assertion};
use crate::harness::{among_others, line, wait_until};
use crate::wire::{self, Reply};

#[tokio::test]
async fn a_killed_cell_still_shuts_out_whom_it_had_fenced() {
    let _machine = among_others().await;
    let stack = Stack::builder().start().await.unwrap();
    let acme = TenantId::parse("acme").unwrap();
    let cell = stack.cell_client(0).unwrap();
    let tokens = [
        stack.token("acme").await.unwrap(),
        stack.token("initech").await.unwrap(),
    ];
    let get = async |number: usize| -> Reply {
        wire::get(stack.edge(), "/api/x", &[&line(&tokens[number])])
            .await
            .unwrap()
    };
    assert_eq!(get(0).await.status, 200);
    cell.fence(&acme, Some(1000)).await.unwrap();
    let program = stack.program(Part::Cell(0)).unwrap();
    for _ in 0..3 {
        program.kill().await;
        stack.start(Part::Cell(0)).await.unwrap();
        assert_eq!(cell.fenced(&acme).await.unwrap().fenced, Some(1000));
        // Envoy has to find the cell again: first the other tenant's requests, then nothing but refusals.
        wait_until("the cell serves again", async || get(1).await.status == 200).await;
        let reply = get(0).await;
        assert_eq!((reply.status, reply.code().as_str()), (503, "tenant_moving"));
    }
    cell.fence(&acme, None).await.unwrap();
    program.kill().await;
    stack.start(Part::Cell(0)).await.unwrap();
    wait_until("the lifted fence stays lifted", async || {
        get(0).await.status == 200
    })
    .await;
}

/// The program for cells in other languages: fences as a move asks, admits as a proxy asks, and remembers.
#[tokio::test]
async fn the_program_fences_counts_and_remembers() {
    let _machine = among_others().await;
    let stack = Stack::builder()
        .without(Part::Envoy(0))
        .without(Part::Cell(0))
        .without(Part::Cell(1))
        .start()
        .await
        .unwrap();
    let (minter, _) = live_router(&stack).await;
    let (block, folder) = (Block::free().unwrap(), tempfile::tempdir().unwrap());
    let here = block.ports().addr(port::CONTROL_PLANE);
    let program = verifiers::alone(folder.path().join("cell"), here, stack.router_http());
    program.start(verifiers::START).await.unwrap();
    let good = || with_assertion(&claims(), &minter.mint(&claims()));
    let admit = async || {
        let lines: Vec<String> = good()
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        wire::request(here, "DELETE", "/admit/orders/1", "cell", &lines)
            .await
            .unwrap()
    };
    let validate = async |cell: &str| {
        let body = json!({ "assertion": *minter.mint(&claims()), "cell": cell });
        wire::post(here, "/cell-bound/validate", &[], &body.to_string())
            .await
            .unwrap()
    };
    let own = claims().aud;
    wait_until("the key is known", async || admit().await.status == 200).await;
    let reply = validate(own.as_str()).await;
    assert_eq!(
        (reply.status, &reply.json()["data"]["tenant"]),
        (200, &json!("acme"))
    );
    let reply = validate("cell-other").await;
    assert_eq!((reply.status, reply.code().as_str()), (403, "cell_mismatch"));
    assert_eq!(
        wire::post(here, "/cell-bound/validate", &[], "{}")
            .await
            .unwrap()
            .status,
        400
    );

    let fence = Fence {
        tenant: TenantId::parse("acme").unwrap(),
        epoch: Some(1),
        reads: false,
        to: None,
    };
    let body = serde_json::to_string(&fence).unwrap();
    let reply = wire::post(here, "/fence", &[], &body).await.unwrap();
    let report: FenceReport = serde_json::from_value(reply.json()).unwrap();
    // Nobody tells when those that were asked about end, so they count for a while.
    assert!(report.fenced == Some(1) && report.open >= 1, "{report:?}");
    for restarted in [false, true] {
        if restarted {
            program.kill().await;
            program.start(verifiers::START).await.unwrap();
        }
        for reply in [admit().await, validate(own.as_str()).await] {
            assert_eq!(
                (reply.status, reply.code().as_str(), reply.header("retry-after")),
                (503, "tenant_moving", Some("2")),
                "{restarted}"
            );
        }
    }
    let looked = async || {
        let reply = wire::get(here, "/fence/acme", &[]).await.unwrap();
        serde_json::from_value::<FenceReport>(reply.json()).unwrap()
    };
    wait_until("none counts as open any more", async || looked().await.open == 0).await;
    let metrics = wire::get(here, "/metrics", &[]).await.unwrap().body;
    for line in [
        "alphaswarm_cell_admissions_total{outcome=\"tenant_moving\"} 2",
        "alphaswarm_cell_tenants_fenced 1",
        "alphaswarm_cell_keys 2",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    // A cell that cannot tell whom it has fenced admits nobody, and does not start.
    let log = folder.path().join("cell/fences.log");
    let mut text = std::fs::read_to_string(&log).unwrap();
    text = text.replace("acme", "bcme");
    std::fs::write(&log, text).unwrap();
    let reply = admit().await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (503, "tenant_moving"),
        "it knew before"
    );
    program.kill().await;
    let error = program.start(verifiers::START).await.unwrap_err().to_string();
    assert!(
        error.contains("fences.log") && error.contains("checksum"),
        "{error}"
    );
}
