//! What killing a recorded program at every point comes to, as a report has it. What can be killed, and what is seen then,
//! says [`crate::targets::process`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use explore::{Budget, Exploration};
use program::OpId;
use report::{Killed, ProcessReport, ProcessViolation};

use crate::cell_report::notes_on;
use crate::judging::{self, JudgedUnit, Looked};
use crate::promises::promises;
use crate::subject::Subject;
use crate::tally::ViolationKey;
use crate::targets::process::{self, KillPoint, KillPoints, KilledExample};

/// Judges every point at which a recorded program can be killed; `None` once `stop` is set. What cannot be judged is
/// looked at only if `explore_invalid` says so.
pub async fn process_crash(subject: &Subject, explore_invalid: bool, stop: &AtomicBool) -> Option<ProcessReport> {
    let mut report = ProcessReport {
        workload: subject.name.clone(),
        states: 0,
        violations: vec![],
        unjudged: subject.unjudged().to_vec(),
        unmodelled_calls: subject.unmodelled_calls().to_vec(),
        failure: None,
        notes: notes_on(subject),
    };
    if !subject.is_explored(explore_invalid) {
        return Some(report);
    }
    // The points are walked to their end, in order: there is no budget, and nothing is left to chance.
    let mut exploration: Exploration<KillPoint, ViolationKey, KilledExample> = Exploration::new(0, Budget::default());
    exploration.admit(&Arc::new(KillPoints::of(&subject.trace)));
    let mut target = process::Killed::new(subject);
    let mut unchecked = None;
    'points: loop {
        let taken = exploration.take();
        if taken.is_empty() {
            break;
        }
        for to_visit in taken {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            let Looked { visit, findings } = match judging::look(&mut target, subject, &to_visit).await {
                Ok(looked) => looked,
                Err(not_followed) => {
                    report.failure = Some(not_followed.to_string());
                    break 'points;
                }
            };
            let unit = to_visit.unit.clone();
            // Where the check could not be run, the rules say what they can.
            let findings = findings.or_else(|error| {
                unchecked.get_or_insert(error.to_string());
                let window = unit.window(&visit.class);
                judging::judge_by_rules(subject, false, &visit.observation, &window)
            });
            let findings = findings.unwrap_or_default();
            let tally = &mut exploration.tally;
            let answer = judging::fold(subject, to_visit, (&visit.class, 0), &findings, tally);
            if exploration.visited(answer).is_err() {
                report.failure = Some("a defect of the harness: a point is not one state".into());
                break 'points;
            }
        }
    }
    // Looked at once more: a check that was under way ended without a word.
    if stop.load(Ordering::Relaxed) {
        return None;
    }
    report.failure = report.failure.or(unchecked);
    report.states = exploration.tally.visits;
    exploration.tally.fold();
    let fails = exploration.tally.violations.iter().filter(|(key, _)| !key.informational);
    // What the workload's own check says comes last.
    let (of_check, of_rules): (Vec<_>, Vec<_>) = fails.partition(|(key, _)| key.cause.text().is_some());
    let violations = of_rules.into_iter().chain(of_check);
    report.violations = violations.map(|(key, found)| violation(subject, key, found)).collect();
    Some(report)
}

/// One way in which an invariant is broken, for the report.
fn violation(subject: &Subject, key: &ViolationKey, found: &explore::Violation<KilledExample>) -> ProcessViolation {
    let trace = &subject.trace;
    let ViolationKey { path, invariant, kind, cause, .. } = key;
    let KilledExample { point, observed, output, .. } = &found.example;
    let promises = promises(trace, invariant, point.ended);
    let op = point.begun().checked_sub(1).map(OpId);
    // What a view is about, it shows itself.
    let of_check = judging::is_of_check(invariant);
    let [old, new] = if of_check { [None, None] } else { subject.old_and_new(path) };
    ProcessViolation {
        invariant: invariant.to_string(),
        kind: *kind,
        path: path.to_string(),
        // As many as there are points, each of one state.
        states: u64::try_from(&found.states).unwrap_or(u64::MAX),
        killed: Killed { op, written: point.written },
        observed: observed.clone(),
        acks: promises.acks,
        acks_left_out: promises.left_out,
        promised: promises.promised,
        cause: cause.text(),
        output: output.clone(),
        old,
        new,
    }
}

#[cfg(test)]
mod tests;
