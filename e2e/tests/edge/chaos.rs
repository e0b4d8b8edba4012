//! The chaos suite, short: each kind of fault at least once, with the oracle that judges every answer.

use std::time::Duration;

use chaos::plan::Kind;
use chaos::run::{Options, Run};

use crate::harness::alone;

/// Less than `make chaos` demands: a loss in these few seconds may be the machine's. What must never be is as strict.
const AVAILABILITY: f64 = 0.99;

async fn chaos(seed: u64, duration: Duration, least: u64, availability: f64) {
    let _machine = alone().await;
    let options = Options {
        seed,
        duration,
        rate: 500,
        kinds: Kind::ALL.to_vec(),
        availability,
        least,
        folder: None,
    };
    let summary = Run::start(options).await.unwrap().finish().await.unwrap();
    println!("{}", serde_json::to_string(&summary).unwrap());
    let never = (summary.wrong_cell, summary.fail_open, summary.spoofed);
    assert_eq!(never, (0, 0, 0), "{summary:?}");
    assert!(summary.ok, "{summary:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_fault_under_load() {
    chaos(1, Duration::from_secs(36), 1, AVAILABILITY).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "ten minutes: make test-long"]
async fn ten_minutes_of_faults_under_load() {
    chaos(2, Duration::from_secs(600), 15, 0.9999).await;
}
