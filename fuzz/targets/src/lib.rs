//! What the fuzzers call: one function per target, which panics where an input shows something wrong. They live in the
//! main workspace so that `make test` replays every seed, with mutations, on a stable compiler; `fuzz/` drives the same
//! functions with libFuzzer.
//!
//! 1. [`world`]: providers whose keys sign fast, a small registry, a policy.
//! 2. [`token`]: the text of a token, in both slots.
//! 3. [`jwks`]: a key document.
//! 4. [`check`]: the attributes of a request, up to the decision and its explanation.
//! 5. [`differential`]: changed good tokens, judged by us and by `jsonwebtoken`.
//! 6. [`seeds`]: where the fuzzers start.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a target reports"
)]

pub mod world;

pub mod token;

pub mod jwks;

pub mod check;

pub mod differential;

pub mod seeds;

#[cfg(test)]
mod replay;

/// Whether the dear part of a target runs on this input: one in `of`. A fuzzer that verified every signature anew would
/// try a tenth as much; which inputs are chosen depends on them alone, so that a finding is found again.
pub(crate) fn chosen(data: &[u8], of: u64) -> bool {
    fingerprint(data).is_multiple_of(of)
}

/// FNV-1a.
pub(crate) fn fingerprint(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A target: it returns, or the input is a finding.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Target); 4] = [
    ("token", token::run),
    ("jwks", jwks::run),
    ("check", check::run),
    ("differential", differential::run),
];
