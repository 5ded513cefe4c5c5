//! The final text for people, on stdout.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use comfy_table::{Table, TableStyle, presets};
use num_bigint::BigUint;
use program::thousands;

use crate::text::{OTHER_FAILURES, count, covered, headline, many, percent, reached, tame, word};
use crate::{
    CellReport, Durable, Event, OpRef, ProcessReport, ProcessViolation, Promised, Reach, Report, Reporter, Schedules,
    Verdict, ViolationReport, WriteRef,
};

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
        push(&mut text, &table(report, colour));
    }
    for cell in &report.cells {
        for violation in &cell.violations {
            push(&mut text, "");
            push(&mut text, &block(cell, violation, colour, results));
        }
    }
    for killed in &report.process_crashes {
        for violation in &killed.violations {
            push(&mut text, "");
            push(&mut text, &killed_block(killed, violation, colour));
        }
    }
    let mut remarks: Vec<String> = report.cells.iter().flat_map(|cell| remarks(cell, results)).collect();
    for killed in &report.process_crashes {
        let limits = killed.limits.iter().map(|limit| format!("not followed: {limit}"));
        let failure = killed.failure.iter().map(|failure| format!("could not be judged: {failure}"));
        let notes = killed.notes.iter().map(|note| format!("note: {note}"));
        remarks.extend(
            failure.chain(limits).chain(notes).map(|line| tame(&format!("{}, process crash: {line}", killed.workload))),
        );
    }
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

fn style(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Pass => AnsiColor::Green.on_default(),
        Verdict::Violation => AnsiColor::Red.on_default(),
        Verdict::Incomplete | Verdict::Invalid => AnsiColor::Yellow.on_default(),
    }
}

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

fn table(report: &Report, colour: bool) -> String {
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
        Verdict::Incomplete if cell.untouched() => "not begun".to_owned(),
        Verdict::Incomplete => format!("{} covered", percent(&states.covered, &states.allowed)),
        Verdict::Invalid if cell.failure.is_some() => "failed".to_owned(),
        Verdict::Invalid => many(cell.limits.len(), "limit"),
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
        Verdict::Invalid if killed.failure.is_none() => many(killed.limits.len(), "limit"),
        Verdict::Invalid => "failed".to_owned(),
        Verdict::Pass | Verdict::Incomplete => format!("{} states", thousands(killed.states)),
    };
    format!("{}: {rest}", killed.verdict())
}

/// How many lost or kept writes are listed.
const LISTED: usize = 6;

fn block(cell: &CellReport, violation: &ViolationReport, colour: bool, results: Option<&Path>) -> String {
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
    line("found", &violation.observed);
    for printed in printed(violation.output.as_ref()) {
        line("printed", &printed);
    }
    if let Some(old) = &violation.old {
        line("old", old);
    }
    if let Some(new) = &violation.new {
        line("new", new);
    }
    line("earliest", &after(violation.after_op.as_ref()));
    if let Some(op) = &violation.after_op_latest {
        line("latest", &after(Some(op)));
    }
    if let Some(promised) = promised(violation.promised.as_ref(), &violation.acks) {
        line("promised", &promised);
    }
    for (name, writes) in [("lost", &violation.lost), ("kept", &violation.kept), ("unwritten", &violation.unwritten)] {
        for write in writes.iter().take(LISTED) {
            line(name, &written(write));
        }
        if writes.len() > LISTED {
            line(name, &format!("… and {}", many(writes.len() - LISTED, "more write")));
        }
    }
    line("states", &share(cell, violation));
    line("schedule", &violation.schedule);
    if let Some(reason) = &violation.reason {
        line("hint", reason);
    }
    line("token", &reproduce(&violation.token, results));
    text
}

fn killed_block(killed: &ProcessReport, violation: &ProcessViolation, colour: bool) -> String {
    let red = if colour { style(Verdict::Violation) } else { Style::new() };
    let ProcessViolation { invariant, kind, path, cause, observed, output, .. } = violation;
    let said = said(cause.as_deref(), observed, output.is_some());
    let headline = headline(path, kind, invariant, said.as_deref());
    let headline = format!("{}, {PROCESS_CRASH}: {headline}", killed.workload);
    let mut text = format!("{red}violation{red:#} in {}", tame(&headline));
    let mut line = |name: &str, value: &str| {
        let _ = write!(text, "\n  {name:<9} {}", tame(value));
    };
    line("found", &violation.observed);
    for printed in printed(violation.output.as_ref()) {
        line("printed", &printed);
    }
    if let Some(old) = &violation.old {
        line("old", old);
    }
    if let Some(new) = &violation.new {
        line("new", new);
    }
    line("killed", &violation.killed.to_string());
    if let Some(promised) = promised(violation.promised.as_ref(), &violation.acks) {
        line("promised", &promised);
    }
    let (states, all) = (thousands(violation.states), thousands(killed.states));
    line("states", &format!("{states} of {all}, one for each point at which the program can be killed"));
    text
}

/// The headline of a violation.
pub(crate) fn of_violation(violation: &ViolationReport) -> String {
    let ViolationReport { path, kind, invariant, cause, observed, output, .. } = violation;
    headline(path, kind, invariant, said(cause.as_deref(), observed, output.is_some()).as_deref())
}

/// What a check said, where it is what found fault.
fn said(cause: Option<&str>, observed: &str, is_check: bool) -> Option<String> {
    match cause {
        Some(OTHER_FAILURES) => Some(format!("{OTHER_FAILURES}, such as {observed}")),
        _ => is_check.then(|| observed.to_owned()),
    }
}

/// What a check printed, line by line, unless it is one line: that is its message.
fn printed(output: Option<&checker::Output>) -> Vec<String> {
    let lines: Vec<String> = output.into_iter().flat_map(checker::Output::lines).collect();
    if lines.len() > 1 { lines } else { Vec::new() }
}

/// The promise that matters, and how many there were before it. Reports of older versions list all.
fn promised(promised: Option<&Promised>, acks: &[String]) -> Option<String> {
    let (ack, before) = match promised {
        Some(Promised { ack, before }) => (ack, *before),
        None => (acks.last()?, acks.len() - 1),
    };
    Some(match before {
        0 => ack.clone(),
        1 => format!("{}, and 1 other before it", tame(ack)),
        _ => format!("{}, and {} others before it", tame(ack), thousands(before as u64)),
    })
}

/// `after op 4: rename("config.tmp", "config.json")`.
pub fn after(op: Option<&OpRef>) -> String {
    op.map_or_else(|| "before the first op".to_owned(), |op| format!("after {op}"))
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

fn written(write: &WriteRef) -> String {
    match &write.op {
        Some(op) => format!("{} ({op})", write.write),
        None => write.write.clone(),
    }
}

/// The command that rebuilds the state of a token, from what is kept in `results`, or else where it looks by itself.
pub(crate) fn reproduce(token: &str, results: Option<&Path>) -> String {
    let results = results.map(|directory| format!(" --results {}", word(&directory.to_string_lossy())));
    format!("harness reproduce {token}{}", results.unwrap_or_default())
}

/// What else there is to know of a cell, one line each.
fn remarks(cell: &CellReport, results: Option<&Path>) -> Vec<String> {
    let reproduce = |shown: &ViolationReport| reproduce(&shown.token, results);
    let mut lines = Vec::new();
    if let Some(failure) = &cell.failure {
        lines.push(format!("could not be judged: {failure}"));
    }
    lines.extend(cell.limits.iter().map(|limit| format!("not followed: {limit}")));
    if cell.untouched() && !cell.limits.is_empty() {
        lines.push(
            "nothing was explored, since what is missing may matter (--explore-invalid does all the same)".into(),
        );
    } else if cell.untouched() && cell.failure.is_none() {
        lines.push(covered(cell));
    } else if !cell.exhaustive() && cell.failure.is_none() {
        let Schedules { explored, total, .. } = cell.schedules;
        lines.push(match &cell.reach {
            Some(reach) => {
                format!("not exhaustive: {} of {}: {}", covered(cell), executed(cell, reach), reached(reach))
            }
            None => {
                format!(
                    "not exhaustive: {} of {} of {} schedules",
                    covered(cell),
                    thousands(explored),
                    thousands(total)
                )
            }
        });
    }
    for lost in &cell.not_durable {
        let headline = of_violation(lost);
        lines.push(format!("not durable: {headline}: {}", reproduce(lost)));
    }
    // One thing that is missing can show in many ways.
    let mut hints: Vec<&str> = Vec::new();
    for hint in cell.not_durable.iter().filter_map(|lost| lost.reason.as_deref()) {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    lines.extend(hints.into_iter().map(|hint| format!("not durable, hint: {hint}")));
    for weak in &cell.weaknesses {
        let plural = if weak.states == BigUint::from(1u32) { "" } else { "s" };
        let states = format!("{} state{plural}", count(&weak.states));
        let why = "because a write of its own was torn, which no program can prevent";
        lines.push(format!("weakness of the file system: {} in {states} {why}: {}", weak.kind, reproduce(weak)));
    }
    for warning in &cell.warnings {
        let headline = of_violation(warning);
        lines.push(format!("warning: {headline}: {}", reproduce(warning)));
    }
    lines.extend(cell.notes.iter().map(|note| format!("note: {note}")));
    lines.into_iter().map(|line| tame(&format!("{}: {line}", cell.id))).collect()
}

/// `all 974 schedules`, `the 900 schedules executed of 974`.
pub(crate) fn executed(cell: &CellReport, reach: &Reach) -> String {
    let total = cell.schedules.total;
    let all = many(usize::try_from(reach.executed).unwrap_or(usize::MAX), "schedule");
    if reach.executed == total { format!("all {all}") } else { format!("the {all} executed of {}", thousands(total)) }
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
        if killed(Verdict::Invalid) > 0 {
            process.push(format!("{} {}", thousands(killed(Verdict::Invalid) as u64), Verdict::Invalid));
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
    for verdict in [Verdict::Incomplete, Verdict::Invalid] {
        if with(verdict) > 0 {
            parts.push(format!("{} {verdict}", thousands(with(verdict) as u64)));
        }
    }
    let cells = parts.join(", ");
    if process.is_empty() { cells } else { format!("{cells}; {}", process.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn every_kind_of_line_side_by_side() {
        insta::assert_snapshot!(final_text(&testing::report(), false, None));
    }

    #[test]
    fn colours_are_those_of_verdicts_and_change_nothing_else() {
        let mut report = testing::report();
        // What a bar and a wide letter in a name do to the columns must not matter.
        for cell in report.cells.iter_mut().filter(|cell| cell.id.workload == "naive_config") {
            cell.id.workload = "na|ve 設定".into();
        }
        let process = testing::with_process_crashes().process_crashes;
        let more = report.cells[0].clone();
        report.cells.push(CellReport { violations: vec![], ..more });
        let report = Report::with_process_crashes(report.cells, process);
        let (plain, coloured) = (final_text(&report, false, None), final_text(&report, true, None));
        let mut bare = coloured.clone();
        for code in ["\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"] {
            bare = bare.replace(code, "");
        }
        assert_eq!(bare, plain);
        let table: Vec<&str> = coloured.lines().take_while(|line| !line.is_empty()).collect();
        insta::assert_snapshot!(table.join("\n").replace('\x1b', "ESC"));
    }

    #[test]
    fn a_program_that_is_killed_has_a_column_and_blocks_of_its_own() {
        let report = testing::with_process_crashes();
        insta::assert_snapshot!(final_text(&Report::with_process_crashes(vec![], report.process_crashes), false, None));
    }

    #[test]
    fn process_crashes_stand_beside_file_systems() {
        let report = Report { cells: testing::report().cells.split_off(3), ..testing::with_process_crashes() };
        insta::assert_snapshot!(final_text(&report, false, None));
    }

    #[test]
    fn a_count_over_some_states_says_so() {
        let cell = CellReport { violations: vec![testing::violation()], ..testing::incomplete("xfs") };
        let text = final_text(&Report::new(vec![cell]), false, None);
        let line = text.lines().find(|line| line.trim_start().starts_with("states")).unwrap();
        assert_eq!(
            line,
            "  states    332 of about 3.85 × 10^76 covered so far; the disk model allows about 1.15 × 10^77"
        );
        assert!(text.contains("violation: 1 kind, not all covered"), "{text}");
    }

    #[test]
    fn where_nothing_was_lost_it_tells_what_came_too_late() {
        let violation = testing::violation();
        let violation = ViolationReport { unwritten: violation.lost[..1].to_vec(), lost: vec![], ..violation };
        let text = final_text(
            &Report::new(vec![CellReport { violations: vec![violation], ..testing::cell("xfs") }]),
            false,
            None,
        );
        let lines: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("  kept")).take(2).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    /// However much a program prints, and its check.
    #[test]
    fn nothing_grows_with_what_is_printed() {
        let lines: Vec<String> = (0..40).map(|number| format!("frame {number}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let check = ViolationReport {
            invariant: "check".into(),
            kind: checker::Kind::CheckFailed,
            path: ".".into(),
            observed: "exit 11: one is empty".into(),
            cause: Some("exit #: one is empty".into()),
            output: Some(checker::Output::of(&lines, 5)),
            promised: Some(Promised { ack: "ack stdout \"done\\n\"".into(), before: 7999 }),
            ..testing::bare_violation()
        };
        let others = ViolationReport {
            cause: Some(OTHER_FAILURES.into()),
            output: Some(checker::Output::of(&["one is empty"], 5)),
            promised: Some(Promised { ack: "exit 0".into(), before: 1 }),
            ..check.clone()
        };
        // Of an older version.
        let acks = (0..3).map(|number| format!("ack stdout \"{number}\"")).collect();
        let older = ViolationReport { cause: None, output: None, promised: None, acks, ..check.clone() };
        let cell = CellReport { violations: vec![check, others, older], ..testing::cell("xfs") };
        let report = Report::new(vec![cell]);
        insta::assert_snapshot!(final_text(&report, false, None));
    }

    #[test]
    fn a_cell_that_was_not_begun_says_so() {
        let cell = CellReport { crash_states: Default::default(), notes: vec![], ..testing::incomplete("xfs") };
        insta::assert_snapshot!(final_text(&Report::new(vec![cell]), false, None));
    }

    #[test]
    fn a_cell_that_is_not_whole_says_what_is() {
        let line = |cell: CellReport| {
            let text = final_text(&Report::new(vec![cell]), false, None);
            let line = text.lines().find(|line| line.contains("not exhaustive")).unwrap().to_owned();
            line.replacen(
                "naive_config on xfs: not exhaustive: about 3.85 × 10^76 of about 1.15 × 10^77 states ",
                "",
                1,
            )
        };
        let known = testing::incomplete("xfs");
        let whole = "all 24 with no loss, all 3,072 with one loss or tear, 12 % of 196,608 with two";
        assert_eq!(line(known.clone()), format!("of all 12 schedules: {whole}"));
        let some = known.reach.clone().map(|reach| Reach { executed: 9, ..reach });
        let some = CellReport { reach: some, ..known.clone() };
        assert_eq!(line(some), format!("of the 9 schedules executed of 12: {whole}"));
        // Of an older version.
        assert_eq!(line(CellReport { reach: None, ..known }), "of 3 of 12 schedules");
    }

    /// Whoever asks for it sees it, and it is no violation.
    #[test]
    fn what_could_not_be_judged_is_no_violation() {
        let seen = CellReport { violations: vec![testing::violation()], ..testing::invalid("xfs") };
        let text = final_text(&Report::new(vec![seen]), true, None);
        assert!(text.contains("\nseen, not judged, in naive_config on xfs: config.json is empty"), "{text}");
        assert!(!text.contains("violation"), "{text}");
    }

    #[test]
    fn what_was_not_explored_says_how_to() {
        let CellReport { schedules, .. } = testing::invalid("xfs");
        let schedules = Schedules { explored: 0, new: 0, ..schedules };
        let cell = CellReport { schedules, crash_states: Default::default(), ..testing::invalid("xfs") };
        let text = final_text(&Report::new(vec![cell]), false, None);
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("naive_config on xfs: ")).collect();
        assert!(lines[0].ends_with("not followed: mmap, shared mapping of data.db (2 times)"), "{text}");
        assert!(lines[1].contains("nothing was explored") && lines[1].contains("--explore-invalid"), "{text}");
        assert_eq!(lines.len(), 2, "{text}");
    }

    /// As in `matrix.md`; what one missing call shows in many ways is said once.
    #[test]
    fn what_is_not_durable_has_its_hint() {
        let lost = |path: &str, hint: Option<&str>| ViolationReport {
            path: path.into(),
            reason: hint.map(str::to_owned),
            ..testing::bare_violation()
        };
        let hint = Some("no fsync of the directory");
        let not_durable = vec![lost("a", hint), lost("b", hint), lost("c", None)];
        let cell = CellReport { not_durable, durable_after_exit: Durable::No, ..testing::cell("xfs") };
        let text = final_text(&Report::new(vec![cell]), false, None);
        let lines: Vec<&str> =
            text.lines().filter(|line| line.contains("not durable") && !line.contains('|')).collect();
        let found =
            ["a", "b", "c"].map(|path| format!("{path} is stale (durable-after exit): harness reproduce cc1-2"));
        let expected = found.map(|found| format!("naive_config on xfs: not durable: {found}"));
        assert_eq!(lines[..3], expected);
        assert_eq!(lines[3..], ["naive_config on xfs: not durable, hint: no fsync of the directory"]);
    }

    #[test]
    fn commands_find_results_that_are_elsewhere() {
        let mut out = Vec::new();
        let mut human = Human::new(&mut out, false).with_results(Some("my results".into()));
        human.event(&Event::RunFinished(testing::report()));
        human.finish().unwrap();
        let text = String::from_utf8(out).unwrap();
        let commands = || text.lines().filter(|line| line.contains("harness reproduce "));
        assert!(commands().count() > 2 && commands().all(|line| line.ends_with(" --results 'my results'")), "{text}");
    }

    #[test]
    fn colours_on_request_only() {
        let report = Report::new(vec![testing::violated("xfs"), testing::cell("ext4")]);
        let text = final_text(&report, true, None);
        assert!(text.contains("\x1b[31mviolation\x1b[0m in naive_config on xfs"), "{text}");
        assert_eq!(text.matches('\x1b').count(), 6, "two cells of the table and one headline: {text:?}");
        assert!(!final_text(&report, false, None).contains('\x1b'));
    }

    #[test]
    fn a_run_of_nothing_says_so() {
        assert_eq!(final_text(&Report::new(vec![]), false, None), "nothing was tested\n");
    }

    #[test]
    fn the_reporter_writes_at_the_end_only() {
        let mut out = Vec::new();
        let mut human = Human::new(&mut out, false);
        for event in testing::events() {
            human.event(&event);
        }
        human.finish().unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), final_text(&testing::report(), false, None));
    }
}
