//! `harness diff`.

use std::path::Path;

use report::{ExitStatus, Report, read_report};

use super::{Failure, show::print};
use crate::cli;

/// Compares two runs.
pub fn diff(arguments: &cli::Diff) -> Result<ExitStatus, Failure> {
    let before = read(&arguments.before)?;
    let after = read(&arguments.after)?;
    let diff = report::diff(&before, &after);
    print(&reporters::diff_text(&diff, results(&arguments.after)))?;
    Ok(diff.exit_status())
}

/// The results directory of a report, if tokens can be looked for there.
fn results(report: &Path) -> Option<&Path> {
    let directory = if report.is_dir() { Some(report) } else { report.parent() };
    directory.filter(|directory| directory.join("run-id").exists())
}

fn read(path: &Path) -> Result<Report, Failure> {
    read_report(path).map_err(|error| {
        let runs = path.is_dir() && !path.join("report.json").exists();
        let failure = Failure::usage(error);
        if runs {
            failure.and("name the directory of one run: results/latest, or one below results/runs")
        } else {
            failure
        }
    })
}
