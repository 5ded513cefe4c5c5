//! The table of workloads and file systems.

use anstyle::Style;
use comfy_table::{Table, TableStyle, presets};
use program::thousands;
use report::{CellReport, Durable, ProcessReport, Report, Verdict};

use super::style;
use crate::text::{count, many, percent, tame};

/// The values of each distinct key, in the order of first appearance.
pub(crate) fn distinct(report: &Report, key: impl Fn(&CellReport) -> String) -> Vec<String> {
    let mut keys = Vec::new();
    for cell in &report.cells {
        let key = key(cell);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

pub(super) fn table(report: &Report, colour: bool) -> String {
    let systems = distinct(report, |cell| cell.id.file_system());
    let mut table = Table::new();
    table.load_style(LINES);
    let header = [String::new()].into_iter().chain(systems.iter().map(|name| tame(name)));
    table.set_header(header.chain((!report.process_crashes.is_empty()).then(|| PROCESS_CRASH.to_owned())));
    // The styles of the verdicts in each row, and of how many lines the row consists.
    let mut styles = Vec::new();
    for workload in report.workloads() {
        let mut row = vec![tame(&workload)];
        let mut verdicts = Vec::new();
        let mut height = 1;
        for system in &systems {
            let cells =
                report.cells.iter().filter(|cell| cell.id.workload == workload && cell.id.file_system() == *system);
            let cells: Vec<&CellReport> = cells.collect();
            row.push(cells.iter().map(|cell| in_table(cell)).collect::<Vec<_>>().join("\n"));
            let worst = cells.iter().map(|cell| cell.verdict()).find(|verdict| *verdict != Verdict::Pass);
            verdicts.push(if cells.is_empty() { Style::new() } else { style(worst.unwrap_or(Verdict::Pass)) });
            height = height.max(cells.len());
        }
        if let Some(killed) = report.process_crashes.iter().find(|killed| killed.workload == workload) {
            row.push(killed_in_table(killed));
            verdicts.push(style(killed.verdict()));
        } else if !report.process_crashes.is_empty() {
            verdicts.push(Style::new());
        }
        table.add_row(row);
        styles.extend(std::iter::repeat_n(verdicts, height));
    }
    let text = table.trim_fmt();
    if !colour {
        return text;
    }
    let header = std::iter::repeat_n(Vec::new(), 2);
    let lines: Vec<String> =
        text.lines().zip(header.chain(styles)).map(|(line, styles)| painted(line, &styles)).collect();
    lines.join("\n")
}

/// Returns a line of the table with a style for each of its last cells. The table itself measures plain text only.
///
/// These cells hold verdicts and numbers, which contain no bar; the name of a workload, to their left, may.
fn painted(line: &str, styles: &[Style]) -> String {
    let mut rest = line;
    let mut cells = Vec::new();
    for style in styles.iter().rev() {
        let Some((before, cell)) = rest.strip_suffix('|').and_then(|line| line.rsplit_once('|')) else { break };
        let shown = cell.trim();
        cells.push(if shown.is_empty() {
            cell.to_owned()
        } else {
            cell.replacen(shown, &format!("{style}{shown}{style:#}"), 1)
        });
        rest = &line[..before.len() + 1];
    }
    let mut text = rest.to_owned();
    for cell in cells.iter().rev() {
        text.push_str(cell);
        text.push('|');
    }
    text
}

/// Plain lines: one below the header, none between rows.
const LINES: TableStyle = presets::ASCII_MARKDOWN;

/// A cell in few words: the verdict, and how many states it rests on.
pub(crate) fn in_table(cell: &CellReport) -> String {
    let states = &cell.crash_states;
    let rest = match cell.verdict() {
        Verdict::Pass => format!("{} states", count(&states.allowed)),
        Verdict::Violation => many(cell.violations.len(), "kind"),
        Verdict::Unjudged => many(cell.unjudged.len(), "file"),
        Verdict::Incomplete if cell.untouched() => "not begun".to_owned(),
        Verdict::Incomplete => format!("{} covered", percent(&states.covered, &states.allowed)),
        Verdict::Invalid if cell.failure.is_some() => "failed".to_owned(),
        Verdict::Invalid => many(cell.unmodelled_calls.len(), "limit"),
    };
    let partial = if cell.verdict() == Verdict::Violation && !cell.exhaustive() { ", not all covered" } else { "" };
    let volatile = if cell.durable_after_exit == Durable::No { ", not durable" } else { "" };
    format!("{}: {rest}{partial}{volatile}", cell.verdict())
}

/// The name of the column.
pub(crate) const PROCESS_CRASH: &str = "process crash";

/// The same, where the program was killed.
pub(crate) fn killed_in_table(killed: &ProcessReport) -> String {
    let rest = match killed.verdict() {
        Verdict::Violation => many(killed.violations.len(), "kind"),
        Verdict::Invalid if killed.failure.is_none() => many(killed.unmodelled_calls.len(), "limit"),
        Verdict::Invalid => "failed".to_owned(),
        Verdict::Unjudged => many(killed.unjudged.len(), "file"),
        Verdict::Pass | Verdict::Incomplete => format!("{} states", thousands(killed.states)),
    };
    format!("{}: {rest}", killed.verdict())
}
