//! `harness diff`.

use report::{ExitStatus, read_report};

use super::{Failure, show::print};
use crate::cli;

/// Compares two runs.
pub fn diff(arguments: &cli::Diff) -> Result<ExitStatus, Failure> {
    let before = read_report(&arguments.before).map_err(Failure::usage)?;
    let after = read_report(&arguments.after).map_err(Failure::usage)?;
    let diff = report::diff(&before, &after);
    print(&diff.text())?;
    Ok(diff.exit_status())
}
