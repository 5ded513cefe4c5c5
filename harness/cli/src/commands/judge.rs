//! `harness judge`.

use std::path::{Path, PathBuf};

use report::ExitStatus;
use vm::{Limits, Paths};

use super::Failure;
use super::run::{Showing, check_place, fresh, load, workers};
use super::signal::{Manner, Scratch, Signals};
use crate::cli;
use engine::judge::{Judging, judge as judge_run};
use engine::permit::Permit;
use engine::run::RESULTS;
use engine::store::Store;

/// Judges a run again, and reports.
pub fn judge(arguments: &cli::Judge) -> Result<ExitStatus, Failure> {
    let store = Store::open(&arguments.run)?;
    let workloads = load(&arguments.workloads)?;
    let permit = Permit::new(arguments.run_check, &[], &arguments.run)?;
    check_place(arguments.out.as_deref(), None)?;
    let _scratch = Scratch::new()?;
    let signals = Signals::handle(Manner::Say("stopping: what has been found is kept (once more to stop at once)"))?;
    let paths = Paths::from_environment();
    let judging = Judging {
        workloads: &workloads,
        permit: &permit,
        workers: workers(arguments.jobs),
        limits: Limits::default(),
        paths: &paths,
    };
    let out = arguments.out.clone();
    let directory = |id: &str| -> PathBuf { out.unwrap_or_else(|| fresh(&Path::new(RESULTS).join("runs"), id)) };
    let showing = Showing { format: arguments.format, chosen: arguments.out.clone(), exhaustive: arguments.exhaustive };
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::machine)?;
    runtime.block_on(
        showing.show(&signals, async |events| judge_run(&store, &judging, &signals.stop, events, directory).await),
    )
}
