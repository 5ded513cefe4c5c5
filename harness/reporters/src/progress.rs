//! Progress and messages, on stderr.

use std::collections::HashMap;
use std::io::Write;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use num_bigint::BigUint;
use program::thousands;
use report::{CellId, CellReport, Event, ProgressReport, Reporter, Verdict};

use crate::human::of_violation;
use crate::sentences::after;
use crate::text::{count, covered, many, percent, tame};

/// Shows what the run is at: a bar for each cell on a terminal, plain lines elsewhere.
pub struct Progress<W> {
    to: Sink<W>,
    /// For plain lines: the last of the [`tenths`] that was told, by cell.
    told: HashMap<CellId, u64>,
}

enum Sink<W> {
    Lines(W),
    Bars { all: MultiProgress, bars: HashMap<CellId, ProgressBar> },
}

impl<W: Write> Progress<W> {
    /// One line for what matters, and for each tenth of a cell. What cannot be written is dropped: a closed stderr is no reason to stop.
    pub fn lines(writer: W) -> Self {
        Self { to: Sink::Lines(writer), told: HashMap::new() }
    }

    /// One bar for each cell that is at work, messages and finished cells above them. For terminals: a target that is none shows nothing.
    pub fn bars(target: ProgressDrawTarget) -> Self {
        let bars = Sink::Bars { all: MultiProgress::with_draw_target(target), bars: HashMap::new() };
        Self { to: bars, told: HashMap::new() }
    }

    fn say(&mut self, line: &str) {
        match &mut self.to {
            Sink::Lines(writer) => drop(writeln!(writer, "{line}")),
            Sink::Bars { all, .. } => drop(all.println(line)),
        }
    }

    fn started(&mut self, cell: &CellId, vm: &str) {
        if let Sink::Bars { all, bars } = &mut self.to {
            let style = ProgressStyle::with_template("{prefix} [{bar:20}] {msg}").expect("the template is right");
            let bar = all.add(ProgressBar::new(TENTHS).with_style(style.progress_chars("=> ")));
            bar.set_prefix(tame(&cell.to_string()));
            bar.set_message(format!("starts ({})", tame(vm)));
            bars.insert(cell.clone(), bar);
        } else {
            self.say(&tame(&format!("{cell}: starts ({vm})")));
        }
    }

    fn progress(&mut self, cell: &CellId, progress: &ProgressReport) {
        let line = in_words(progress);
        match &mut self.to {
            Sink::Bars { bars, .. } => {
                if let Some(bar) = bars.get(cell) {
                    bar.set_position(tenths(progress));
                    bar.set_message(line);
                }
            }
            Sink::Lines(_) => {
                let now = tenths(progress);
                let told = self.told.entry(cell.clone()).or_insert(0);
                if now > *told {
                    *told = now;
                    self.say(&tame(&format!("{cell}: {line}")));
                }
            }
        }
    }

    fn clear(&mut self) {
        if let Sink::Bars { bars, .. } = &self.to {
            let left: Vec<CellId> = bars.keys().cloned().collect();
            left.iter().for_each(|cell| self.clear_bar(cell));
        }
    }

    fn clear_bar(&mut self, cell: &CellId) {
        if let Sink::Bars { all, bars } = &mut self.to
            && let Some(bar) = bars.remove(cell)
        {
            bar.finish_and_clear();
            all.remove(&bar);
        }
    }

    fn finished(&mut self, cell: &CellReport) {
        let states = match cell.verdict() {
            Verdict::Pass => format!("all {} states", count(&cell.crash_states.allowed)),
            _ => covered(cell),
        };
        let violations = match cell.violations.len() {
            0 => String::new(),
            number => format!(", {} of violation", many(number, "kind")),
        };
        self.clear_bar(&cell.id);
        let mounts = many(cell.crash_states.mounts as usize, "mount");
        let line = format!("{}: {}, {states}, {mounts}{violations}", cell.id, cell.verdict());
        self.say(&tame(&line));
    }
}

/// What [`tenths`] comes to when all is done.
const TENTHS: u64 = 20;

/// How far a cell is: tenths of its schedules, and then of their states, since how many states there are is known only
/// when each schedule has been executed, and exploring them may be what takes long.
fn tenths(progress: &ProgressReport) -> u64 {
    let of_schedules = 10 * progress.schedules_done / progress.schedules_total.max(1);
    if of_schedules < 10 || progress.states_allowed == BigUint::ZERO {
        return of_schedules;
    }
    let of_states = &progress.states_covered * 10u32 / &progress.states_allowed;
    of_schedules + of_states.try_into().unwrap_or(10)
}

/// `3 of 12 schedules, 40 % of 1,204 states, 96 mounts, 1 violation`.
fn in_words(progress: &ProgressReport) -> String {
    let violations = match progress.violations {
        0 => String::new(),
        number => format!(", {}", many(number, "violation")),
    };
    format!(
        "{} of {} schedules, {} of {} states, {}{violations}",
        thousands(progress.schedules_done),
        thousands(progress.schedules_total),
        percent(&progress.states_covered, &progress.states_allowed),
        count(&progress.states_allowed),
        many(progress.mounts as usize, "mount")
    )
}

impl<W: Write> Reporter for Progress<W> {
    fn event(&mut self, event: &Event) {
        let of = |cell: &Option<CellId>| cell.as_ref().map_or_else(String::new, |cell| format!("{cell}: "));
        match event {
            Event::RunStarted { cells } => self.say(&format!("{} to test", many(cells.len(), "cell"))),
            Event::CellStarted { cell, vm } => self.started(cell, vm),
            Event::Progress { cell, progress } => self.progress(cell, progress),
            Event::Note { cell, text } => self.say(&tame(&format!("{}{text}", of(cell)))),
            Event::Warning { cell, text } => self.say(&tame(&format!("warning: {}{text}", of(cell)))),
            Event::ViolationFound { cell, violation, ops } => {
                let headline = of_violation(violation);
                let what = format!("{headline}, earliest {}", after(violation.after_op, ops));
                self.say(&tame(&format!("{cell}: violation: {what}")));
            }
            Event::CellFinished(cell) => self.finished(cell),
            Event::RunFinished(_) => self.clear(),
        }
    }

    /// What the run left unfinished has no bar any more, so that the table stands on a clean screen.
    fn finish(&mut self) -> std::io::Result<()> {
        self.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;
    use report::testing;

    use super::*;

    #[test]
    fn every_kind_of_line_side_by_side() {
        let mut lines = Vec::new();
        let mut progress = Progress::lines(&mut lines);
        for event in testing::events() {
            progress.event(&event);
        }
        insta::assert_snapshot!(String::from_utf8(lines).unwrap());
    }

    #[test]
    fn lines_go_on_while_the_states_of_executed_schedules_are_explored() {
        let cell = testing::id("xfs");
        let mut lines = Vec::new();
        let mut progress = Progress::lines(&mut lines);
        for covered in [0u32, 19, 20, 29, 100] {
            let report = ProgressReport {
                schedules_done: 12,
                schedules_total: 12,
                states_covered: covered.into(),
                states_allowed: 100u32.into(),
                mounts: 0,
                violations: 0,
            };
            progress.event(&Event::Progress { cell: cell.clone(), progress: report });
        }
        let told = String::from_utf8(lines).unwrap();
        let shares: Vec<&str> = told.lines().filter_map(|line| line.split(", ").nth(1)).collect();
        assert_eq!(shares, ["0 % of 100 states", "19 % of 100 states", "20 % of 100 states", "100 % of 100 states"]);
    }

    #[test]
    fn bars_on_a_terminal() {
        let terminal = InMemoryTerm::new(40, 120);
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let mut progress: Progress<Vec<u8>> = Progress::bars(target);
        let report = testing::report();
        let (done, working) = (&report.cells[0], &report.cells[1]);
        let at_work = testing::progress(working, 2);
        for event in [
            Event::CellStarted { cell: done.id.clone(), vm: "uml".into() },
            Event::CellStarted { cell: working.id.clone(), vm: "uml".into() },
            Event::CellStarted { cell: testing::id("btrfs"), vm: "qemu-kvm".into() },
            Event::CellFinished(Box::new(done.clone())),
            Event::Progress { cell: working.id.clone(), progress: ProgressReport { schedules_done: 6, ..at_work } },
            Event::Warning { cell: Some(working.id.clone()), text: "a message".into() },
        ] {
            progress.event(&event);
        }
        insta::assert_snapshot!(terminal.contents());

        progress.event(&Event::RunFinished(report.clone()));
        let left = terminal.contents();
        assert!(!left.contains('['), "a bar is left of a cell that did not end: {left}");
    }
}
