//! Stacks of several routers and Envoys: every Envoy has its own router, all share one registry.

use std::time::{Duration, Instant};

use contract::port;
use devkit::stack::{Part, Stack};

use crate::harness::among_others;

#[tokio::test]
async fn two_routers_behind_two_envoys_serve_and_fail_apart() {
    let _machine = among_others().await;
    let stack = Stack::builder().routers(2).envoys(2).start().await.unwrap();
    let token = stack.token("globex").await.unwrap();
    let status = async |n: usize| {
        let edge = stack.ports_of(n).addr(port::EDGE);
        stack
            .get_from(edge, "/api/x", Some(&token))
            .await
            .unwrap()
            .status
            .as_u16()
    };
    assert_eq!((status(0).await, status(1).await), (200, 200));

    stack.program(Part::Router(1)).unwrap().kill().await;
    assert_eq!((status(0).await, status(1).await), (200, 503));

    stack.start(Part::Router(1)).await.unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while status(1).await != 200 {
        assert!(Instant::now() < until, "Envoy does not find its router again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let forced = stack.stop().await;
    assert!(forced.is_empty(), "{forced:?} had to be killed");
}
