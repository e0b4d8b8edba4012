//! The shared table of attacks, as the router answers it and as a client of Envoy meets it: every bad token and every
//! odd request, each beside its good twin, on one stack whose providers file, keys and links are the table's own.

mod matrix;
mod requests;
mod tokens;
mod world;

use std::collections::BTreeMap;

use crate::harness::{among_others, requests_in_cells};

use self::world::World;

/// What went wrong, all of it: a table is read as a whole.
#[derive(Default)]
struct Failures(Vec<String>);

impl Failures {
    fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.0.push(what());
        }
    }
}

impl Drop for Failures {
    fn drop(&mut self) {
        let count = self.0.len();
        if count > 0 && !std::thread::panicking() {
            self.0.truncate(40);
            panic!(
                "{count} expectations do not hold, such as:\n{}",
                self.0.join("\n")
            );
        }
    }
}

#[tokio::test]
async fn the_table_of_attacks_at_the_router_and_through_envoy() {
    let _machine = among_others().await;
    let world = World::start().await;
    let before = requests_in_cells(&world.stack).await;
    let mut bodies = BTreeMap::new();
    let mut arrived = 0;

    matrix::at_the_router(&world).await;
    tokens::at_the_router(&world, &mut bodies).await;
    requests::at_the_router(&world, &mut bodies).await;
    arrived += tokens::through_envoy(&world, &mut bodies).await;
    arrived += requests::through_envoy(&world, &mut bodies).await;

    tokens::odd_but_good(&world).await;

    // Nothing but what was allowed reached a cell.
    assert_eq!(requests_in_cells(&world.stack).await - before, arrived);
    world.assert_nobody_asked_the_attacker();

    // No oracle: whatever was wrong with a token, the client reads the same, headers included. With no credential at
    // all the challenge names no error, as RFC 6750 demands.
    let kinds: Vec<&str> = bodies.keys().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "Envoy, no credential",
            "Envoy, refused",
            "router, no credential",
            "router, refused"
        ],
        "the same denial was told in several ways"
    );
}
