//! `harness show`.

use std::io::Write;
use std::path::Path;

use engine::store::{LARGEST_TRACE, read_trace};
use program::{Trace, listing};
use report::ExitStatus;
use reporters::tame;

use super::Failure;
use crate::cli;

/// Prints a trace, one line for each op.
pub fn show(arguments: &cli::Show) -> Result<ExitStatus, Failure> {
    let trace = read(&arguments.trace)?;
    let mut lines = listing(&trace);
    for limit in &trace.limits {
        lines.push(format!("not followed: {limit}"));
    }
    let numbered = record::numbered(&trace);
    if !numbered.is_empty() {
        lines.push(format!("random names, numbered by the recorder: {}", numbered.join(", ")));
    }
    print(&lines.iter().map(|line| tame(line) + "\n").collect::<String>())
}

/// Reads a trace, which may be anyone's.
pub fn read(path: &Path) -> Result<Trace, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::usage(format!("failed to read {}: {error}", path.display()));
    let file = files::open(path, LARGEST_TRACE).map_err(|error| failed(&error))?;
    read_trace(file).map_err(|error| failed(&error))?.map_err(|error| failed(&error))
}

/// Prints data. A reader that has seen enough (`| head`) is no error.
pub fn print(text: &str) -> Result<ExitStatus, Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::machine(format!("failed to print: {error}")))
        }
        _ => Ok(ExitStatus::Holds),
    }
}
