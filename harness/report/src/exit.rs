//! The exit status of the command line: stable, documented, one file.

use std::process::ExitCode;

use crate::{Report, Verdict};

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
    /// Nothing is violated, but not all was covered and `--exhaustive` was asked.
    Budget = 5,
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
/// A cell that could not be judged never counts as holding, and neither does a run without any.
pub fn exit_status(report: &Report, exhaustive: bool) -> ExitStatus {
    let cells = report.cells.iter().map(|cell| cell.verdict());
    let verdicts: Vec<Verdict> = cells.chain(report.process_crashes.iter().map(|killed| killed.verdict())).collect();
    let any = |verdict| verdicts.contains(&verdict);
    if any(Verdict::Violation) {
        ExitStatus::Violation
    } else if any(Verdict::Invalid) || verdicts.is_empty() {
        ExitStatus::Defect
    } else if exhaustive && any(Verdict::Incomplete) {
        ExitStatus::Budget
    } else {
        ExitStatus::Holds
    }
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
