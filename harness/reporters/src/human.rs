//! The final text for people, on stdout.

mod block;
mod not_durable;
mod remarks;
mod table;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use program::thousands;
use report::{Event, Report, Reporter, Verdict, word};

pub(crate) use self::block::{of_violation, share};
pub(crate) use self::remarks::executed;
pub(crate) use self::table::{PROCESS_CRASH, distinct, in_table, killed_in_table};
use crate::text::many;

/// Writes the final text when the run has finished.
pub struct Human<W> {
    out: W,
    colour: bool,
    results: Option<PathBuf>,
    result: io::Result<()>,
}

impl<W: Write> Human<W> {
    /// Writes to `out`, with colours if it is a terminal that wants them: the caller knows.
    pub fn new(out: W, colour: bool) -> Self {
        Self { out, colour, results: None, result: Ok(()) }
    }

    /// With commands that look for tokens in this directory, where they would not be looked for by themselves.
    pub fn with_results(self, directory: Option<PathBuf>) -> Self {
        Self { results: directory, ..self }
    }
}

impl<W: Write> Reporter for Human<W> {
    fn event(&mut self, event: &Event) {
        if let Event::RunFinished(report) = event {
            let text = final_text(report, self.colour, self.results.as_deref());
            self.result = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        std::mem::replace(&mut self.result, Ok(()))
    }
}

/// The table of workloads and file systems, one block for each violation, what else there is to know of each cell, which
/// crash states all that is about, and one line that sums up. `results` is where tokens have to be looked for, if it is
/// not where they are looked for by themselves.
pub fn final_text(report: &Report, colour: bool, results: Option<&Path>) -> String {
    let mut text = String::new();
    let workloads = report.workloads();
    if !workloads.is_empty() {
        push(&mut text, &table::table(report, colour));
    }
    for cell in &report.cells {
        for violation in &cell.violations {
            push(&mut text, "");
            push(&mut text, &block::power((cell, violation), report.ops_of(&cell.id.workload), colour, results));
        }
    }
    for killed in &report.process_crashes {
        for violation in &killed.violations {
            push(&mut text, "");
            push(&mut text, &block::killed(killed, violation, report.ops_of(&killed.workload), colour));
        }
    }
    if let Some(blocks) = not_durable::blocks(report, colour, results) {
        push(&mut text, "");
        push(&mut text, &blocks);
    }
    let cells = report.cells.iter().flat_map(|cell| remarks::of_cell(cell, report.ops_of(&cell.id.workload), results));
    let killed = report.process_crashes.iter();
    let killed = killed.flat_map(|killed| remarks::of_killed(killed, report.ops_of(&killed.workload)));
    let remarks: Vec<String> = cells.chain(killed).collect();
    if !remarks.is_empty() {
        push(&mut text, "");
        push(&mut text, &remarks.join("\n"));
    }
    if !workloads.is_empty() {
        push(&mut text, "");
    }
    if let Some(explored) = &report.explored {
        push(&mut text, &format!("explored with {explored}"));
    }
    push(&mut text, &summary(report));
    text
}

fn push(text: &mut String, lines: &str) {
    text.push_str(lines);
    text.push('\n');
}

/// The command that rebuilds the state of a token, from what is kept in `results`, or else where it looks by itself.
pub(crate) fn reproduce(token: &str, results: Option<&Path>) -> String {
    let results = results.map(|directory| format!(" --results {}", word(&directory.to_string_lossy())));
    format!("harness reproduce {token}{}", results.unwrap_or_default())
}

fn style(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Pass => AnsiColor::Green.on_default(),
        Verdict::Violation => AnsiColor::Red.on_default(),
        Verdict::Unjudged | Verdict::Incomplete | Verdict::Invalid => AnsiColor::Yellow.on_default(),
    }
}

fn summary(report: &Report) -> String {
    let killed = |verdict| report.process_crashes.iter().filter(|killed| killed.verdict() == verdict).count();
    let mut process = Vec::new();
    if !report.process_crashes.is_empty() {
        let (pass, all) = (thousands(killed(Verdict::Pass) as u64), thousands(report.process_crashes.len() as u64));
        process.push(format!("{PROCESS_CRASH}: {pass} of {all} pass"));
        if killed(Verdict::Violation) > 0 {
            process.push(many(killed(Verdict::Violation), "violation"));
        }
        for verdict in [Verdict::Unjudged, Verdict::Invalid] {
            if killed(verdict) > 0 {
                process.push(format!("{} {verdict}", thousands(killed(verdict) as u64)));
            }
        }
    }
    if report.cells.is_empty() {
        return if process.is_empty() { "nothing was tested".to_owned() } else { process.join(", ") };
    }
    let with = |verdict| report.cells.iter().filter(|cell| cell.verdict() == verdict).count();
    let mut parts =
        vec![format!("{} of {} pass", thousands(with(Verdict::Pass) as u64), many(report.cells.len(), "cell"))];
    if with(Verdict::Violation) > 0 {
        parts.push(many(with(Verdict::Violation), "violation"));
    }
    for verdict in [Verdict::Unjudged, Verdict::Incomplete, Verdict::Invalid] {
        if with(verdict) > 0 {
            parts.push(format!("{} {verdict}", thousands(with(verdict) as u64)));
        }
    }
    let cells = parts.join(", ");
    if process.is_empty() { cells } else { format!("{cells}; {}", process.join(", ")) }
}

#[cfg(test)]
mod tests;
