//! The shared table of attacks, as the router answers it and as a client of Envoy meets it: every bad token and every
//! odd request, each beside its good twin, on one stack whose providers file, keys and links are the table's own.

mod matrix;
mod requests;
mod tokens;
mod world;

use std::collections::BTreeMap;

use crate::harness::{among_others, requests_in_cells};

use self::world::{PACKAGINGS, Verdict, World};

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

/// How requests fared on their way through an Envoy.
#[derive(Default)]
struct Passage {
    /// How many reached a cell.
    arrived: u64,
    /// Each request's name with what must not depend on who decided.
    answers: Vec<(String, String)>,
}

impl Passage {
    fn answered(&mut self, request: &str, verdict: &Verdict) {
        self.answers.push((request.to_owned(), verdict.answer()));
    }
}

/// Both packagings, request by request.
fn compare(service: &Passage, module: &Passage) {
    let mut failures = Failures::default();
    assert_eq!(service.answers.len(), module.answers.len());
    for ((name, service), (same, module)) in service.answers.iter().zip(&module.answers) {
        assert_eq!(name, same);
        failures.expect(service == module, || {
            format!("{name}: the service answers\n  {service}\nand the module\n  {module}")
        });
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
    let [service, module] = PACKAGINGS;
    // Both get the same bytes: some signatures come out differently each time.
    let cases = conformance::attacks::cases(&world.setting);
    let by_service = tokens::through_envoy(&world, service, &cases, &mut bodies).await;
    let by_module = tokens::through_envoy(&world, module, &cases, &mut bodies).await;
    compare(&by_service, &by_module);
    arrived += by_service.arrived + by_module.arrived;
    let odd = conformance::requests::all(&world.setting);
    let by_service = requests::through_envoy(&world, service, &odd, &mut bodies).await;
    let by_module = requests::through_envoy(&world, module, &odd, &mut bodies).await;
    compare(&by_service, &by_module);
    arrived += by_service.arrived + by_module.arrived;

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
