//! What is lost after the end of a command, though nobody asked for it to be durable.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use anstyle::{AnsiColor, Style};
use report::{CellReport, Ops, Report, ViolationReport};

use super::block::seen;
use super::{of_violation, reproduce};
use crate::sentences::{self, after};
use crate::text::{many, tame};

/// What stands above.
const HEADING: &str = "Not durable once the command has ended (nobody asked for that, so it fails nothing):";

/// How many more are listed that lack the same call.
const LISTED: usize = 3;

/// A block for each thing that is missing in a cell, beneath a heading; `None` if all is durable.
pub(super) fn blocks(report: &Report, colour: bool, results: Option<&Path>) -> Option<String> {
    let of_cell = |cell| of_cell(cell, report.ops_of(&cell.id.workload), colour, results);
    let blocks: Vec<String> = report.cells.iter().flat_map(of_cell).collect();
    (!blocks.is_empty()).then(|| format!("{HEADING}\n\n{}", blocks.join("\n\n")))
}

/// One thing that is missing can show in many files, and in many ways: it is said once, with the first of them.
fn of_cell(cell: &CellReport, ops: &Ops, colour: bool, results: Option<&Path>) -> Vec<String> {
    let violated: BTreeSet<&str> = cell.violations.iter().map(|violation| violation.path.as_str()).collect();
    let mut groups: Vec<Vec<&ViolationReport>> = Vec::new();
    for lost in &cell.not_durable {
        let is_alike = |group: &&mut Vec<&ViolationReport>| match (&group[0].hint, &lost.hint) {
            (None, None) => group[0].path == lost.path,
            (one, other) => one == other,
        };
        match groups.iter_mut().find(is_alike) {
            Some(group) => group.push(lost),
            None => groups.push(vec![lost]),
        }
    }
    let block = |group: Vec<&ViolationReport>| {
        // What is wrong with such a file is told above, whole.
        let is_short = group.iter().all(|lost| violated.contains(lost.path.as_str()));
        of_group(cell, &group, is_short, ops, colour, results)
    };
    groups.into_iter().map(block).collect()
}

fn of_group(
    cell: &CellReport,
    group: &[&ViolationReport],
    is_short: bool,
    ops: &Ops,
    colour: bool,
    results: Option<&Path>,
) -> String {
    let [first, others @ ..] = group else { return String::new() };
    let style = if colour { AnsiColor::Cyan.on_default() } else { Style::new() };
    let headline = tame(&format!("{}: {}", cell.id, of_violation(first)));
    let mut text = format!("{style}not durable{style:#} in {headline}");
    let mut line = |name: &str, value: &str| {
        let _ = write!(text, "\n  {name:<9} {}", tame(value));
    };
    if !is_short {
        seen(&mut line, &first.observed, first.output.as_ref(), [&first.old, &first.new]);
        line("earliest", &after(first.after_op, ops));
    }
    for other in others.iter().take(LISTED) {
        line("also", &format!("{}: {}", of_violation(other), reproduce(&other.token, results)));
    }
    if others.len() > LISTED {
        line("also", &format!("… and {}", many(others.len() - LISTED, "more")));
    }
    if let Some(hint) = &first.hint {
        line("hint", &sentences::hint(hint, ops));
    }
    line("token", &reproduce(&first.token, results));
    text
}
