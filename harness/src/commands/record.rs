//! `harness record`.

use std::time::Duration;

use record::RecordSpec;
use report::ExitStatus;

use super::Failure;
use crate::cli;
use crate::subject::SubjectError;

/// Records a command that runs in the current directory.
pub fn record(arguments: cli::Record) -> Result<ExitStatus, Failure> {
    let here = std::env::current_dir()
        .map_err(|error| Failure::machine(format!("failed to find the current directory: {error}")))?;
    let mut spec = RecordSpec::new(&arguments.command, here);
    spec.time_limit = Duration::from_secs(arguments.time_limit);
    spec.echo = true;
    let name = arguments.command[0].clone();
    let trace = record::record(&spec).map_err(|source| SubjectError::Record { name: name.clone(), source })?;
    std::fs::write(&arguments.output, trace.to_bytes())
        .map_err(|error| Failure::machine(format!("failed to write {}: {error}", arguments.output.display())))?;
    for limit in &trace.limits {
        eprintln!("not followed: {} ({}), {} times", limit.call, limit.detail, limit.count);
    }
    eprintln!("{} ops are in {}; `harness show` prints them", trace.ops.len(), arguments.output.display());
    match record::exit_status(&trace) {
        Some(0) | None => Ok(ExitStatus::Holds),
        Some(status) => {
            Err(Failure::new(ExitStatus::Command, format!("{name} ended with status {status}; the trace was kept")))
        }
    }
}
