//! `harness show`.

use std::io::Write;

use engine::store::{LARGEST_TRACE, read_trace};
use program::listing;
use report::ExitStatus;
use reporters::tame;

use super::Failure;
use crate::cli;

/// Prints a trace, one line for each op.
pub fn show(arguments: &cli::Show) -> Result<ExitStatus, Failure> {
    let path = arguments.trace.display();
    let failed = |error: &dyn std::fmt::Display| Failure::usage(format!("failed to read {path}: {error}"));
    let file = files::open(&arguments.trace, LARGEST_TRACE).map_err(|error| failed(&error))?;
    let trace = read_trace(file).map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
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

/// Prints data. A reader that has seen enough (`| head`) is no error.
pub fn print(text: &str) -> Result<ExitStatus, Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::machine(format!("failed to print: {error}")))
        }
        _ => Ok(ExitStatus::Holds),
    }
}
