//! One run: workloads, each on each file system, explored and reported.
//!
//! `begin.rs` records the workloads, or `go_on.rs` reads what a run has kept; `explore.rs` has workers explore the cells;
//! `finish.rs` reports.

use std::path::{Path, PathBuf};

use report::Report;
use vm::{Choice, Limits};

use crate::spec::RunSpec;
use crate::store::Store;

mod begin;
mod begun;
mod error;
mod explore;
mod finish;
mod go_on;
mod identity;

pub use begin::{run, run_recorded};
pub(crate) use begun::Begun;
pub use error::RunError;
pub(crate) use explore::with_note;
pub(crate) use finish::keep_shown;
pub use go_on::resume;
pub(crate) use go_on::{checks, go_on, is_as_it_was, judges, tell_of_check};
pub(crate) use identity::hash;

/// Where runs land, relative to the current directory.
pub const RESULTS: &str = "results";

/// What a run is asked to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the run explores, and how far.
    pub spec: RunSpec,
    /// The kind of machine that guests run on.
    pub vm: Choice,
    /// How many guests run at once, at most.
    pub workers: usize,
    /// How long guests may take to boot, to execute and to answer.
    pub limits: Limits,
    /// How often each workload is recorded, at least 1; recordings that differ are explored each.
    pub recordings: usize,
}

/// What a run leaves.
pub struct Finished {
    /// What the run came to.
    pub report: Report,
    /// The results directory.
    pub store: Store,
    /// What ended it early, or kept its report from being written.
    pub cut: Option<RunError>,
}

/// Where `harness reproduce` looks for runs.
pub fn default_results() -> PathBuf {
    Path::new(RESULTS).join("runs")
}

/// The directory of a run, if `harness reproduce` does not look there by itself.
pub fn elsewhere(directory: &Path) -> Option<&Path> {
    let parent = directory.parent().map(std::path::absolute)?.ok()?;
    let usual = std::path::absolute(default_results()).ok()?;
    (parent != usual).then_some(directory)
}

/// Points `results/latest` at a run. Only a convenience: nothing depends on it.
pub fn link_latest(root: &Path, run: &Path) -> std::io::Result<()> {
    let link = root.join("latest");
    let new = root.join(format!("latest.{}", std::process::id()));
    let target = run.strip_prefix(root).unwrap_or(run);
    std::os::unix::fs::symlink(target, &new)?;
    std::fs::rename(&new, &link).inspect_err(|_| drop(std::fs::remove_file(&new)))
}
