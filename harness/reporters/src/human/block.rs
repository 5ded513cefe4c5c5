//! The block of one violation.

use std::fmt::Write as _;
use std::path::Path;

use anstyle::Style;
use checker::{Description, Observed};
use program::thousands;
use report::{
    AckRef, CellReport, OTHER_FAILURES, Ops, ProcessReport, ProcessViolation, Promised, Verdict, ViolationReport,
};

use super::{PROCESS_CRASH, reproduce, style};
use crate::sentences::{self, after};
use crate::text::{count, headline, many, tame};

/// How many lost or kept writes are listed.
const LISTED: usize = 6;

/// What there is to say of a violation after a power failure.
pub(super) fn power(
    (cell, violation): (&CellReport, &ViolationReport),
    ops: &Ops,
    colour: bool,
    results: Option<&Path>,
) -> String {
    let mut text = String::new();
    let red = if colour { style(Verdict::Violation) } else { Style::new() };
    let headline = format!("{}: {}", cell.id, of_violation(violation));
    // What could not be judged has no violations. It was asked for all the same, or found before the cell failed.
    match cell.verdict() {
        Verdict::Invalid => {
            let _ = write!(text, "seen, not judged, in {}", tame(&headline));
        }
        _ => {
            let _ = write!(text, "{red}violation{red:#} in {}", tame(&headline));
        }
    }
    let mut line = |name: &str, value: &str| {
        let _ = write!(text, "\n  {name:<9} {}", tame(value));
    };
    seen(&mut line, &violation.observed, violation.output.as_ref(), [&violation.old, &violation.new]);
    line("earliest", &after(violation.after_op, ops));
    if let Some(op) = violation.after_op_latest {
        line("latest", &after(Some(op), ops));
    }
    if let Some(promised) = promised(violation.promised.as_ref(), &violation.acks, ops) {
        line("promised", &promised);
    }
    for (name, writes) in [("lost", &violation.lost), ("kept", &violation.kept), ("unwritten", &violation.unwritten)] {
        for write in writes.iter().take(LISTED) {
            line(name, &sentences::write(write, ops));
        }
        if writes.len() > LISTED {
            line(name, &format!("… and {}", many(writes.len() - LISTED, "more write")));
        }
    }
    line("states", &share(cell, violation));
    line("schedule", &sentences::schedule(&violation.schedule));
    if let Some(hint) = &violation.hint {
        line("hint", &sentences::hint(hint, ops));
    }
    line("token", &reproduce(&violation.token, results));
    text
}

/// What there is to say of a violation where the program was killed.
pub(super) fn killed(killed: &ProcessReport, violation: &ProcessViolation, ops: &Ops, colour: bool) -> String {
    let red = if colour { style(Verdict::Violation) } else { Style::new() };
    let ProcessViolation { invariant, kind, path, cause, observed, output, .. } = violation;
    let said = said(cause.as_deref(), observed, output.is_some());
    let headline = headline(path, kind, invariant, said.as_deref());
    let headline = format!("{}, {PROCESS_CRASH}: {headline}", killed.workload);
    let mut text = format!("{red}violation{red:#} in {}", tame(&headline));
    let mut line = |name: &str, value: &str| {
        let _ = write!(text, "\n  {name:<9} {}", tame(value));
    };
    seen(&mut line, &violation.observed, violation.output.as_ref(), [&violation.old, &violation.new]);
    line("killed", &sentences::killed(&violation.killed, ops));
    if let Some(promised) = promised(violation.promised.as_ref(), &violation.acks, ops) {
        line("promised", &promised);
    }
    let (states, all) = (thousands(violation.states), thousands(killed.states));
    line("states", &format!("{states} of {all}, one for each point at which the program can be killed"));
    text
}

/// Tells what was found, and what the file was before and after the run.
pub(super) fn seen(
    line: &mut impl FnMut(&str, &str),
    observed: &Observed,
    output: Option<&checker::Output>,
    [old, new]: [&Option<Description>; 2],
) {
    line("found", &sentences::observed(observed));
    for printed in printed(output) {
        line("printed", &printed);
    }
    if let Observed::View { shows, right, .. } = observed {
        let right = right.iter().flat_map(|right| &right.lines);
        // One line of each is all told.
        let more = shows.lines.len() > 1 || right.clone().count() > 1;
        let lines = shows.lines.iter().map(|line| ("shows", line)).chain(right.map(|line| ("right", line)));
        lines.filter(|_| more).for_each(|(name, text)| line(name, text));
    }
    for (name, file) in [("old", old), ("new", new)] {
        if let Some(file) = file {
            line(name, &sentences::description(file));
        }
    }
}

/// The headline of a violation.
pub(crate) fn of_violation(violation: &ViolationReport) -> String {
    let ViolationReport { path, kind, invariant, cause, observed, output, .. } = violation;
    headline(path, kind, invariant, said(cause.as_deref(), observed, output.is_some()).as_deref())
}

/// What a check said, where it is what found fault.
fn said(cause: Option<&str>, observed: &Observed, is_check: bool) -> Option<String> {
    match cause {
        Some(OTHER_FAILURES) => Some(format!("{OTHER_FAILURES}, such as {}", sentences::observed(observed))),
        _ => is_check.then(|| sentences::observed(observed)),
    }
}

/// What a check printed, line by line, unless it is one line: that is its message.
fn printed(output: Option<&checker::Output>) -> Vec<String> {
    let lines: Vec<String> = output.into_iter().flat_map(checker::Output::lines).collect();
    if lines.len() > 1 { lines } else { Vec::new() }
}

/// The promise that matters, and how many there were before it. Reports of older versions list all.
fn promised(promised: Option<&Promised>, acks: &[AckRef], ops: &Ops) -> Option<String> {
    let (promise, before) = match promised {
        Some(Promised { ack, before }) => (ack, *before),
        None => (acks.last()?, acks.len() - 1),
    };
    let ack = sentences::ack(promise, ops);
    Some(match before {
        0 => ack.to_owned(),
        1 => format!("{}, and 1 other before it", tame(ack)),
        _ => format!("{}, and {} others before it", tame(ack), thousands(before as u64)),
    })
}

/// How many states show it, of how many: a count over some states is not passed off as one over all.
pub(crate) fn share(cell: &CellReport, violation: &ViolationReport) -> String {
    let (states, all) = (count(&violation.states), &cell.crash_states);
    if cell.exhaustive() {
        format!("{states} of {} that the disk model allows", count(&all.allowed))
    } else {
        format!("{states} of {} covered so far; the disk model allows {}", count(&all.covered), count(&all.allowed))
    }
}
