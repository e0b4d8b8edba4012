//! What is said of files that cannot be used: once, and again when it is something else, however often somebody looks. A
//! file that changes all the time gets a line every ten seconds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::host::Level;

/// Between two lines about the same thing.
const QUIET: Duration = Duration::from_secs(10);

/// What is wrong, and what was said of it.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    of: BTreeMap<String, Complaint>,
}

#[derive(Debug, Default)]
struct Complaint {
    wrong: Option<String>,
    said: Option<String>,
    /// How loud `wrong` is.
    fatal: bool,
    at: Option<Instant>,
}

impl Complaints {
    /// What is wrong with `source` from now on.
    pub(super) fn note(&mut self, source: &str, wrong: Option<String>) {
        self.put(source, wrong, false);
    }

    /// What a decision waits for, which is a denial for everybody.
    pub(super) fn readiness(&mut self, pending: &[String]) {
        // Ages change by the second; that they are too old is said once.
        let without_age = |text: &String| match text.rsplit_once(" for ") {
            Some((what, age)) if age.ends_with(" s") => format!("{what} for too long"),
            _ => text.clone(),
        };
        let wrong: Vec<String> = pending.iter().map(without_age).collect();
        let wrong = (!wrong.is_empty()).then(|| wrong.join("; "));
        self.put("not ready", wrong, true);
    }

    fn put(&mut self, source: &str, wrong: Option<String>, fatal: bool) {
        if let Some(complaint) = self.of.get_mut(source) {
            complaint.wrong = wrong;
        } else if wrong.is_some() {
            let complaint = Complaint {
                wrong,
                fatal,
                ..Complaint::default()
            };
            self.of.insert(source.to_owned(), complaint);
        }
    }

    /// Says what was not said yet.
    pub(super) fn say(&mut self, mut log: impl FnMut(Level, &str)) {
        for (source, complaint) in &mut self.of {
            let quiet = complaint.at.is_some_and(|at| at.elapsed() < QUIET);
            if quiet || complaint.wrong == complaint.said {
                continue;
            }
            match &complaint.wrong {
                Some(wrong) if complaint.fatal => log(Level::Error, &format!("{source}: {wrong}")),
                Some(wrong) => log(Level::Warn, &format!("{source}: {wrong}")),
                None => log(Level::Info, &format!("{source}: good again")),
            }
            complaint.said.clone_from(&complaint.wrong);
            complaint.at = Some(Instant::now());
        }
        self.of
            .retain(|_, complaint| complaint.wrong.is_some() || complaint.said.is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(complaints: &mut Complaints) -> Vec<String> {
        let mut lines = Vec::new();
        complaints.say(|level, line| lines.push(format!("{level:?} {line}")));
        lines
    }

    #[test]
    fn each_thing_is_said_once_and_not_all_the_time() {
        let mut complaints = Complaints::default();
        assert!(said(&mut complaints).is_empty());
        complaints.note("policy", Some("line 3".to_owned()));
        let pending = |age: u32| {
            [
                format!("registry: not heard from for {age} s"),
                "keys of provider auth0".to_owned(),
            ]
        };
        complaints.readiness(&pending(90));
        assert_eq!(
            said(&mut complaints),
            [
                "Error not ready: registry: not heard from for too long; keys of provider auth0",
                "Warn policy: line 3"
            ]
        );
        complaints.readiness(&pending(91));
        complaints.note("policy", Some("line 4".to_owned()));
        assert!(said(&mut complaints).is_empty(), "for ten seconds");
        for complaint in complaints.of.values_mut() {
            complaint.at = None;
        }
        complaints.note("policy", None);
        assert_eq!(said(&mut complaints), ["Info policy: good again"]);
    }
}
