//! The files of a results directory: their names, and how large they may be.

use crate::journal;

/// The file that holds the release of the guest's kernel.
pub(super) const KERNEL: &str = "kernel";

/// The manifest.
pub(super) const MANIFEST: &str = "run.json";

/// The manifest, in directories of older builds.
pub(super) const OLD_MANIFEST: &str = "replay.json";

/// The largest `run-id` and `kernel` that are read, bytes.
pub(super) const LARGEST_WORD: u64 = 4 << 10;
/// The largest manifest that is read, bytes.
pub(super) const LARGEST_MANIFEST: u64 = 64 << 20;
/// The largest file of a trace that is read, bytes.
pub const LARGEST_TRACE: u64 = 1 << 30;
/// The largest file of a block log that is read, bytes.
pub(super) const LARGEST_LOG: u64 = 768 << 20;
/// The largest image that is read, bytes.
pub(super) const LARGEST_IMAGE: u64 = 4 << 30;

/// The file that is locked while a run is at work.
pub(super) const LOCK: &str = "lock";

/// What a new run removes beside traces and executions: first what says that there is a run. The report goes, too: it would
/// tell that the new run is over.
pub(super) const LEFT: [&str; 7] =
    ["run-id", MANIFEST, OLD_MANIFEST, journal::NAME, KERNEL, "report.json", "matrix.md"];

/// Names that tell a directory that a run has been at work in from any other.
pub(super) const SIGNS: [&str; 4] = [LOCK, "run-id", MANIFEST, OLD_MANIFEST];

/// The file of a workload's trace.
pub(super) fn trace_name(workload: usize) -> String {
    format!("workload-{workload}.trace")
}

/// The files of an execution, without their extensions: its start state (`image`) and what the disk saw (`log`).
pub(super) fn execution_name(cell: usize, schedule: usize) -> String {
    format!("cell-{cell}-schedule-{schedule}")
}

/// Whether this is a file that [`keep_execution`] or [`keep_trace`] makes, or what is left of any of ours if
/// its writer is killed.
///
/// [`keep_execution`]: super::Store::keep_execution
/// [`keep_trace`]: super::Store::keep_trace
pub(super) fn is_kept(name: &str) -> bool {
    let of_execution = |name: &str| {
        let (stem, "image" | "log") = name.rsplit_once('.')? else { return None };
        let (cell, schedule) = stem.strip_prefix("cell-")?.split_once("-schedule-")?;
        Some(execution_name(cell.parse().ok()?, schedule.parse().ok()?) == stem)
    };
    let of_trace = |name: &str| {
        let workload = name.strip_prefix("workload-")?.strip_suffix(".trace")?;
        Some(trace_name(workload.parse().ok()?) == name)
    };
    is_unfinished(name) || of_execution(name).or_else(|| of_trace(name)).unwrap_or(false)
}

/// Whether this is what is left of a file of ours whose writer was killed before it was whole.
pub(super) fn is_unfinished(name: &str) -> bool {
    let whole = name.strip_prefix('.').and_then(|rest| rest.rsplitn(3, '.').nth(2));
    whole.is_some_and(|whole| files::is_temporary_of(name, whole) && (LEFT.contains(&whole) || is_kept(whole)))
}
