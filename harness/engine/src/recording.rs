//! Records the command of a workload.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use checker::{Ack, first_ack};
use program::Trace;
use record::{IoUring, RecordSpec};
use workload::Workload;

use crate::subject::SubjectError;

/// The command of the harness that runs a server and its client: it is recorded in the place of the client.
pub const SERVE: &str = "run-with-server";

/// Records the command of a workload, which has been prepared in `directory`, with the server that it needs.
pub(crate) fn record_in(
    workload: &Workload,
    directory: &Path,
    io_uring: IoUring,
    stop: &Arc<AtomicBool>,
) -> Result<Trace, SubjectError> {
    let name = workload.name.clone();
    let invocation = workload.command_in(directory)?;
    let mut spec = RecordSpec::new(&invocation.argv, &invocation.directory);
    spec.command[0] = invocation.program.clone().into();
    if let Some(task) = workload.served(&invocation)? {
        let this = std::env::current_exe().map_err(|source| SubjectError::Directory { name: name.clone(), source })?;
        spec.command = vec![this.into(), SERVE.into(), task.into()];
    }
    spec.env = invocation.env.iter().map(|(name, value)| (name.into(), value.clone())).collect();
    spec.time_limit = workload.time_limit;
    spec.cancel = Some(stop.clone());
    spec.io_uring = io_uring;
    spec.at = invocation.at.clone();
    let mut trace = record::record(&spec).map_err(|source| SubjectError::Record { name: name.clone(), source })?;
    // As without a server.
    trace.command = std::iter::once(invocation.program.to_string_lossy().into_owned())
        .chain(invocation.argv.iter().skip(1).cloned())
        .collect();
    match record::ended(&trace).filter(|ended| !ended.is_success()) {
        None => {
            if let Some(text) = &workload.explore_from {
                let from = first_ack(&trace, &Ack::Text(text.clone()));
                trace.explored_from =
                    Some(from.map_err(|source| SubjectError::Rules { name, source: Box::new(source) })?);
            }
            Ok(trace)
        }
        Some(ended) => {
            let hint = invocation.hint(workload.directory.as_deref());
            // Perhaps it cannot do without.
            let refused = trace.refused.iter().map(|refused| format!("{refused}: see --io-uring"));
            let said = [record::said(&trace.ops)].into_iter().chain(refused).chain(hint);
            let said = said.collect::<Vec<_>>().join("\n");
            Err(SubjectError::Command { name, ended, said })
        }
    }
}
