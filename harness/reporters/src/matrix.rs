//! `matrix.md`: workloads by file systems, to commit and to read on a web page.

use std::path::Path;

use program::thousands;
use report::{CellReport, FileError, ProcessReport, ProcessViolation, Report, ViolationReport, write_file};

use crate::human::{PROCESS_CRASH, distinct, executed, in_table, killed_in_table, reproduce, share};
use crate::sentences;
use crate::text::{count, reached, tame};

/// Writes `matrix.md` into a results directory.
///
/// # Errors
///
/// The file system says no.
pub fn write_matrix(report: &Report, directory: &Path, results: Option<&Path>) -> Result<(), FileError> {
    write_file(directory, "matrix.md", &matrix(report, results))
}

/// The text of `matrix.md`. `results` is where tokens have to be looked for, if it is not where they are looked for by
/// themselves.
pub fn matrix(report: &Report, results: Option<&Path>) -> String {
    let systems = distinct(report, |cell| cell.id.file_system());
    let mut lines = vec!["# Crash consistency by workload and file system".to_owned(), String::new()];
    let process = (!report.process_crashes.is_empty()).then(|| PROCESS_CRASH.to_owned());
    let header: Vec<String> =
        std::iter::once("workload".to_owned()).chain(systems.iter().cloned()).chain(process).collect();
    lines.push(row(header.iter().cloned()));
    lines.push(row(std::iter::repeat_n("---".to_owned(), header.len())));
    for workload in report.workloads() {
        let cells = systems.iter().map(|system| {
            let cells =
                report.cells.iter().filter(|cell| cell.id.workload == workload && cell.id.file_system() == *system);
            cells.map(in_table).collect::<Vec<_>>().join("; ")
        });
        let killed = report.process_crashes.iter().filter(|killed| killed.workload == workload).map(killed_in_table);
        lines.push(row(std::iter::once(workload.clone()).chain(cells).chain(killed)));
    }
    lines.push(String::new());
    lines.push(
        "`pass`: every crash state that the disk model allows was covered, and every invariant holds in each. \
         `violation`: some state breaks one. `unjudged`: none does, but the command changed files of which nobody can tell \
         what is right. `incomplete`: none so far, but not every state was covered. \
         `invalid`: the harness could not judge. \
         `not durable`: some state after the end of the command lacks what it wrote, whether or not anyone asked for that."
            .to_owned(),
    );
    if let Some(explored) = &report.explored {
        lines.extend([String::new(), format!("Explored with `{explored}`.")]);
    }
    let section = |title: &str, of: fn(&CellReport) -> &Vec<ViolationReport>| {
        let mut section = Vec::new();
        for cell in report.cells.iter().filter(|cell| !of(cell).is_empty()) {
            if section.is_empty() {
                section.extend([String::new(), format!("## {title}"), String::new()]);
                section.push(row(["cell", "file", "is", "invariant", "states", "hint", "token"].map(str::to_owned)));
                section.push(row(std::iter::repeat_n("---".to_owned(), 7)));
            }
            let ops = report.ops_of(&cell.id.workload);
            for violation in of(cell) {
                section.push(row([
                    cell.id.to_string(),
                    violation.path.clone(),
                    kind(violation.kind, violation.cause.as_deref()),
                    violation.invariant.clone(),
                    share(cell, violation),
                    violation.hint.as_ref().map(|hint| sentences::hint(hint, ops)).unwrap_or_default(),
                    format!("`{}`", reproduce(&violation.token, results)),
                ]));
            }
        }
        section
    };
    lines.extend(section("Violations", |cell| &cell.violations));
    for (number, (killed, violation)) in killed_violations(report).enumerate() {
        if number == 0 {
            lines.extend([String::new(), "## Violations where the program is killed".to_owned(), String::new()]);
            let header = ["workload", "file", "is", "invariant", "states", "killed"];
            lines.push(row(header.map(str::to_owned)));
            lines.push(row(std::iter::repeat_n("---".to_owned(), header.len())));
        }
        lines.push(row([
            killed.workload.clone(),
            violation.path.clone(),
            kind(violation.kind, violation.cause.as_deref()),
            violation.invariant.clone(),
            format!("{} of {}", thousands(violation.states), thousands(killed.states)),
            sentences::killed(&violation.killed, report.ops_of(&killed.workload)),
        ]));
    }
    lines.extend(section("Not durable after exit", |cell| &cell.not_durable));
    lines.extend(section("Weaknesses of the file system itself", |cell| &cell.weaknesses));
    lines.extend(section("Warnings", |cell| &cell.warnings));
    lines.extend([String::new(), "## Cells".to_owned(), String::new()]);
    let header = ["cell", "machine", "kernel", "schedules", "states covered", "mounts", "limits and notes"];
    lines.push(row(header.map(str::to_owned)));
    lines.push(row(std::iter::repeat_n("---".to_owned(), header.len())));
    for cell in &report.cells {
        let calls = cell.unmodelled_calls.iter().map(|call| format!("not followed: {call}"));
        let reach = cell.reach.iter().map(|reach| format!("of {}: {}", executed(cell, reach), reached(reach)));
        let ops = report.ops_of(&cell.id.workload);
        let notes = cell.notes.iter().map(|note| sentences::note(note, ops));
        let unjudged = cell.unjudged.iter().map(|file| format!("not judged: {}", sentences::unjudged(file)));
        let remarks = cell.failure.iter().cloned().chain(reach).chain(calls).chain(unjudged).chain(notes);
        let remarks: Vec<String> = remarks.collect();
        let states = &cell.crash_states;
        let covered = match cell.untouched() {
            true => "none".to_owned(),
            false => format!("{} of {}", count(&states.covered), count(&states.allowed)),
        };
        lines.push(row([
            cell.id.to_string(),
            cell.vm.clone(),
            cell.kernel.clone(),
            format!("{} of {}", thousands(cell.schedules.explored), thousands(cell.schedules.total)),
            covered,
            thousands(states.mounts),
            remarks.join("; "),
        ]));
    }
    for killed in &report.process_crashes {
        let calls = killed.unmodelled_calls.iter().map(|call| format!("not followed: {call}"));
        let unjudged = killed.unjudged.iter().map(|file| format!("not judged: {}", sentences::unjudged(file)));
        let remarks = killed.failure.iter().cloned().chain(calls).chain(unjudged);
        let ops = report.ops_of(&killed.workload);
        let remarks = remarks.chain(killed.notes.iter().map(|note| sentences::note(note, ops)));
        let remarks: Vec<String> = remarks.collect();
        let (name, states) = (format!("{}, {PROCESS_CRASH}", killed.workload), thousands(killed.states));
        let nothing = String::new;
        lines.push(row([name, nothing(), nothing(), nothing(), states, nothing(), remarks.join("; ")]));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn killed_violations(report: &Report) -> impl Iterator<Item = (&ProcessReport, &ProcessViolation)> {
    report.process_crashes.iter().flat_map(|killed| killed.violations.iter().map(move |violation| (killed, violation)))
}

/// Failures of a check with their causes.
fn kind(kind: checker::Kind, cause: Option<&str>) -> String {
    cause.map_or_else(|| kind.to_string(), |cause| format!("{kind}: {cause}"))
}

fn row(cells: impl IntoIterator<Item = String>) -> String {
    let cells: Vec<String> =
        cells.into_iter().map(|cell| tame(&cell).replace('|', "\\|").replace('<', "&lt;")).collect();
    format!("| {} |", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use report::testing;

    use super::*;

    #[test]
    fn every_kind_of_line_side_by_side() {
        let mut report = testing::report();
        report.cells[0].id.workload = "a|b <c>".into();
        insta::assert_snapshot!(matrix(&report, None));
    }

    #[test]
    fn commands_find_results_that_are_elsewhere() {
        let text = matrix(&testing::report(), Some(Path::new("my results")));
        let commands = || text.lines().filter(|line| line.contains("harness reproduce "));
        assert!(commands().count() > 2 && commands().all(|line| line.contains(" --results 'my results'`")), "{text}");
    }

    #[test]
    fn process_crashes_have_a_column() {
        let report = Report { cells: vec![testing::cell("ext4")], ..testing::with_process_crashes() };
        insta::assert_snapshot!(matrix(&report, None));
    }
}
