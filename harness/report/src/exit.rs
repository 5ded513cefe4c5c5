//! The exit status of the command line: stable, documented, one file.

use std::process::ExitCode;

use crate::{CellReport, Report, Verdict};

/// What the harness exits with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// All hold (where `--exhaustive` was not asked: as far as the budget went).
    Holds = 0,
    /// An invariant is violated; or, from `diff`, a violation is new.
    Violation = 1,
    /// Bad usage or input.
    Usage = 2,
    /// This machine lacks something, or its disk is full.
    Machine = 3,
    /// The workload's own build, setup, command or check failed.
    Command = 4,
    /// Nothing is violated, but of a file that was changed nobody can tell what is right, or a cell had not a single mount;
    /// or not all was covered, and `--exhaustive` was asked.
    Undecided = 5,
    /// The harness could not judge, or has a defect.
    Defect = 70,
    /// Ended early by SIGHUP, as a shell shows it: 128 and the number of the signal. So are the next two.
    HungUp = 129,
    /// Ended early by SIGINT (Ctrl-C).
    Interrupted = 130,
    /// Ended early by SIGTERM.
    Terminated = 143,
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        ExitCode::from(status as u8)
    }
}

/// The exit status of a run: the worst of its cells and process crashes. `exhaustive` is whether `--exhaustive` was asked.
///
/// In this order: a violation, a cell that could not be judged, one with a file that no rule is held against, that nobody
/// has looked at or that is not whole although `exhaustive` asks for that. Neither does a run without any cell count as holding.
pub fn exit_status(report: &Report, exhaustive: bool) -> ExitStatus {
    let cells = report.cells.iter().map(|cell| cell.verdict());
    let verdicts: Vec<Verdict> = cells.chain(report.process_crashes.iter().map(|killed| killed.verdict())).collect();
    let any = |verdict| verdicts.contains(&verdict);
    if any(Verdict::Violation) {
        ExitStatus::Violation
    } else if any(Verdict::Invalid) || verdicts.is_empty() {
        ExitStatus::Defect
    } else if any(Verdict::Unjudged) || report.cells.iter().any(unseen) || (exhaustive && any(Verdict::Incomplete)) {
        ExitStatus::Undecided
    } else {
        ExitStatus::Holds
    }
}

/// Whether nothing can be said of a cell, though nothing is wrong with it: no state of it was looked at.
fn unseen(cell: &CellReport) -> bool {
    cell.verdict() == Verdict::Incomplete && cell.crash_states.mounts == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProcessReport;
    use crate::testing::{self, cell, incomplete, invalid, violated};

    #[test]
    fn the_worst_cell_counts() {
        let status =
            |cells: &[crate::CellReport], exhaustive| exit_status(&Report::new(cells.to_vec()), exhaustive) as u8;
        let (pass, violated, incomplete, invalid) =
            (cell("ext4"), violated("xfs"), incomplete("btrfs"), invalid("xfs"));
        assert_eq!(status(std::slice::from_ref(&pass), true), 0);
        assert_eq!(status(&[pass.clone(), incomplete.clone()], false), 0);
        assert_eq!(status(&[pass.clone(), incomplete.clone()], true), 5);
        assert_eq!(status(&[pass.clone(), incomplete.clone(), invalid.clone()], true), 70);
        assert_eq!(status(&[pass, incomplete, invalid, violated], true), 1);
        assert_eq!(status(&[], false), 70);
    }

    /// `--exhaustive` asks for all of it, and nobody has to ask for some of it.
    #[test]
    fn a_cell_that_nobody_has_looked_at_does_not_hold() {
        let status = |cells: &[CellReport]| exit_status(&Report::new(cells.to_vec()), false) as u8;
        let begun = incomplete("btrfs");
        let unseen =
            CellReport { crash_states: crate::CrashStates { mounts: 0, ..begun.crash_states.clone() }, ..begun };
        let fresh = CellReport { crash_states: crate::CrashStates::default(), ..incomplete("xfs") };
        for none in [unseen, fresh] {
            assert_eq!(status(std::slice::from_ref(&none)), 5);
            assert_eq!(status(&[cell("ext4"), none.clone()]), 5);
            assert_eq!(status(&[none.clone(), invalid("ext4")]), 70);
            assert_eq!(status(&[none, violated("ext4")]), 1);
        }
    }

    /// Neither a pass nor a false alarm.
    #[test]
    fn a_file_that_no_rule_is_held_against_does_not_hold() {
        let status = |cells: &[CellReport]| exit_status(&Report::new(cells.to_vec()), false) as u8;
        let unjudged = testing::unjudged("xfs");
        assert_eq!(status(std::slice::from_ref(&unjudged)), 5);
        assert_eq!(status(&[cell("ext4"), unjudged.clone(), incomplete("btrfs")]), 5);
        assert_eq!(status(&[unjudged.clone(), invalid("ext4")]), 70);
        assert_eq!(status(&[unjudged, invalid("btrfs"), violated("ext4")]), 1);
        let killed = ProcessReport { unjudged: testing::unjudged("xfs").unjudged, ..testing::killed("a") };
        assert_eq!(exit_status(&Report::with_process_crashes(vec![], vec![killed]), false) as u8, 5);
    }

    #[test]
    fn process_crashes_count_as_cells_do() {
        let (holds, violated) = (testing::killed("a"), testing::killed_and_violated("a"));
        let invalid = ProcessReport { states: 0, ..holds.clone() };
        let status = |cells: &[crate::CellReport], killed: &[&ProcessReport]| {
            let killed = killed.iter().map(|&report| report.clone()).collect();
            exit_status(&Report::with_process_crashes(cells.to_vec(), killed), true) as u8
        };
        assert_eq!(status(&[], &[&holds]), 0);
        assert_eq!(status(&[cell("ext4")], &[&holds, &invalid]), 70);
        assert_eq!(status(&[cell("ext4")], &[&holds, &invalid, &violated]), 1);
        assert_eq!(status(&[incomplete("xfs")], &[&holds]), 5);
    }
}
