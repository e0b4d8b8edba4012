//! What was counted: on the way a line every ten seconds and the story of whatever is wrong, at the end one line of JSON.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::answer::Received;
use crate::oracle::Verdict;
use crate::plan::Kind;
use crate::requests::Ask;
use crate::truth::Window;

/// Violations that are told in full; the others are counted only, so that a broken build does not fill a disk.
const TOLD: u64 = 40;
/// Troubles that are kept.
const TROUBLES: usize = 40;

/// Something that must not be.
#[derive(Debug)]
pub struct Violation {
    /// What it is counted as.
    pub verdict: &'static str,
    /// Why.
    pub problem: String,
    /// The request's number in its load.
    pub request: u64,
    /// What was asked.
    pub ask: Ask,
    /// When.
    pub window: Window,
    /// What came back.
    pub answer: String,
    /// What a cell received, if one answered. No credential is in it, but the assertion, which lives for a minute.
    pub received: Option<Received>,
    /// The faults before it.
    pub story: Vec<String>,
}

impl Violation {
    fn told(&self) -> String {
        let Self {
            verdict,
            problem,
            request,
            ask,
            window,
            answer,
            received,
            story,
        } = self;
        let received = received.as_ref().map_or_else(String::new, |received| {
            format!(
                "\n  received by {} through router {:?}: {:?}",
                received.cell,
                received.router(),
                received
                    .identity
                    .iter()
                    .filter(|(name, _)| *name != contract::header::ASSERTION)
                    .collect::<BTreeMap<_, _>>()
            )
        });
        format!(
            "VIOLATION {verdict}: {problem}\n  request {request}: {ask:?}, from {:.3} to {:.3} s, answered {answer}\
             {received}\n  before it:\n    {}",
            window.from.as_secs_f64(),
            window.to.as_secs_f64(),
            story.join("\n    ")
        )
    }
}

#[derive(Debug, Default)]
struct Counts {
    verdicts: BTreeMap<&'static str, u64>,
    answers: BTreeMap<String, u64>,
    faults: BTreeMap<Kind, u64>,
    troubles: Vec<String>,
    told: u64,
}

/// Counts what happens, from any thread.
#[derive(Debug, Default)]
pub struct Tally {
    counts: Mutex<Counts>,
}

/// The last line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// What the plan came from.
    pub seed: u64,
    /// Requests that were answered or failed.
    pub requests: u64,
    /// Requests that a wrong cell served, or a cell as the wrong tenant.
    pub wrong_cell: u64,
    /// Requests that were allowed and should have been denied.
    pub fail_open: u64,
    /// Requests with which a cell saw identity headers that no router set, or a client saw any.
    pub spoofed: u64,
    /// The part of the good requests outside of declared outages that was served.
    pub availability: f64,
    /// Good requests outside of declared outages that were not served.
    pub lost: u64,
    /// Good requests within declared outages.
    pub excused: u64,
    /// Faults by kind.
    pub faults: BTreeMap<Kind, u64>,
    /// Faults that did not come to their end.
    pub troubles: Vec<String>,
    /// All is as it must be.
    pub ok: bool,
}

impl Tally {
    /// One answer.
    pub fn count(&self, verdict: &Verdict, answer: &str) {
        let mut counts = self.lock();
        *counts.verdicts.entry(verdict.name()).or_default() += 1;
        match counts.answers.get_mut(answer) {
            Some(count) => *count += 1,
            None => drop(counts.answers.insert(answer.to_owned(), 1)),
        }
    }

    /// One fault that has happened.
    pub fn fault(&self, kind: Kind) {
        *self.lock().faults.entry(kind).or_default() += 1;
    }

    /// A fault that did not come to its end, or something else that makes the run worth nothing.
    pub fn trouble(&self, what: String) {
        eprintln!("TROUBLE {what}");
        let mut counts = self.lock();
        if counts.troubles.len() < TROUBLES {
            counts.troubles.push(what);
        }
    }

    /// Tells of something that must not be.
    pub fn violation(&self, violation: Violation) {
        let told = {
            let mut counts = self.lock();
            counts.told += 1;
            counts.told
        };
        if told <= TOLD {
            eprintln!("{}", violation.told());
        } else if told == TOLD + 1 {
            eprintln!("further violations are only counted");
        }
    }

    /// One line for whoever waits.
    #[must_use]
    pub fn progress(&self, elapsed: Duration, of: Duration) -> String {
        let counts = self.lock();
        let faults: u64 = counts.faults.values().sum();
        format!(
            "{:6.0} of {:.0} s  {}  faults {faults}  answers {:?}",
            elapsed.as_secs_f64(),
            of.as_secs_f64(),
            counts
                .verdicts
                .iter()
                .map(|(name, count)| format!("{name} {count}"))
                .collect::<Vec<_>>()
                .join("  "),
            counts.answers,
        )
    }

    /// What it came to. `availability` is what must be reached; each kind in `kinds` must have happened `least` times.
    #[must_use]
    pub fn summary(&self, seed: u64, availability: f64, kinds: &[Kind], least: u64) -> Summary {
        let counts = self.lock();
        let of = |name| counts.verdicts.get(name).copied().unwrap_or_default();
        let [wrong_cell, fail_open, spoofed] = ["wrong_cell", "fail_open", "spoofed"].map(of);
        let [served, lost, excused] = ["served", "lost", "excused"].map(of);
        let reached = if served + lost == 0 {
            0.0
        } else {
            served as f64 / (served + lost) as f64
        };
        let all_kinds = kinds
            .iter()
            .all(|kind| counts.faults.get(kind).copied().unwrap_or_default() >= least);
        Summary {
            seed,
            requests: counts.verdicts.values().sum(),
            wrong_cell,
            fail_open,
            spoofed,
            availability: reached,
            lost,
            excused,
            faults: counts.faults.clone(),
            troubles: counts.troubles.clone(),
            ok: wrong_cell + fail_open + spoofed == 0
                && reached >= availability
                && all_kinds
                && counts.troubles.is_empty(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(served: u64, lost: u64) -> Tally {
        let tally = Tally::default();
        for _ in 0..served {
            tally.count(&Verdict::Served, "200");
        }
        for _ in 0..lost {
            tally.count(&Verdict::Lost(String::new()), "503 not_ready");
        }
        tally.fault(Kind::Move);
        tally
    }

    #[test]
    fn each_thing_that_must_not_be_makes_a_run_fail() {
        let ok = |tally: &Tally| tally.summary(1, 0.999, &[Kind::Move], 1).ok;
        assert!(ok(&tally(999, 1)));
        assert!(!ok(&tally(998, 2)));
        assert!(!ok(&Tally::default()), "nothing was asked");
        for verdict in [
            Verdict::WrongCell(String::new()),
            Verdict::FailOpen(String::new()),
            Verdict::Spoofed(String::new()),
        ] {
            let tally = tally(999, 0);
            tally.count(&verdict, "200");
            assert!(!ok(&tally), "{verdict:?}");
        }
        let stuck = tally(999, 0);
        stuck.trouble("a move".to_owned());
        assert!(!ok(&stuck));
        let few = tally(999, 0);
        assert!(!few.summary(1, 0.999, &[Kind::Move], 2).ok);
        assert!(!few.summary(1, 0.999, &[Kind::RouterKill], 1).ok);
    }

    #[test]
    fn what_need_not_be_served_does_not_count_for_availability() {
        let tally = tally(10, 0);
        tally.count(&Verdict::Excused, "503 tenant_moving");
        tally.count(&Verdict::Refused, "401 unauthenticated");
        tally.count(&Verdict::ServedYet, "200");
        let summary = tally.summary(3, 1.0, &[], 0);
        assert_eq!(
            (summary.requests, summary.excused, summary.availability),
            (13, 1, 1.0)
        );
        let line = serde_json::to_value(&summary).unwrap();
        assert_eq!(line["faults"]["move"], 1);
        assert_eq!(line["ok"], true);
    }
}
