//! What the fuzzers add to a target: no input may take long.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};

/// The most CPU time that one input may take, in nanoseconds. Ours is 10 ms; an input of 6 ms
/// under the sanitizer was seen to take 11 on a busy machine, so a finding is four times that.
const MOST: i64 = 40_000_000;
/// The first inputs also pay for keys and tables that live as long as the process.
const WARM_UP: u64 = 100;

static CALLS: AtomicU64 = AtomicU64::new(0);
static LONGEST: AtomicI64 = AtomicI64::new(0);

/// Runs a target and tells each new longest input. CPU time of this thread: how busy the machine is does not count. An
/// input that seems long is run twice more and the shortest run counts, because a cache that tidies up, or the
/// sanitizer, may take its time during any input.
pub fn timed(target: fuzz_targets::Target, data: &[u8]) {
    let once = || {
        let started = clock();
        target(data);
        clock() - started
    };
    let took = once();
    if CALLS.fetch_add(1, Ordering::Relaxed) < WARM_UP || took <= LONGEST.load(Ordering::Relaxed) {
        return;
    }
    let took = took.min(once()).min(once());
    if took > LONGEST.fetch_max(took, Ordering::Relaxed) {
        eprintln!("longest: {} us for {} bytes", took / 1000, data.len());
        assert!(took <= MOST, "a hang: {} us", took / 1000);
    }
}

fn clock() -> i64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}
