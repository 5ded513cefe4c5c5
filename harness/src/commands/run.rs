//! `harness run`.

use std::io::{IsTerminal, stderr, stdout};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use disk::DiskModel;
use protocol::Filesystem;
use report::{All, Event, ExitStatus, Human, Json, Progress, Reporter, exit_status};
use tokio::sync::mpsc;
use vm::{Limits, Paths};
use workload::Workload;

use super::{Failure, signal};
use crate::cli;
use crate::mkfs;
use crate::run::{Options, link_latest, run as run_workloads};

/// Where runs land, relative to the current directory.
pub const RESULTS: &str = "results";

/// Runs workloads and reports.
pub fn run(arguments: cli::Run) -> Result<ExitStatus, Failure> {
    let workloads: Vec<Workload> = if arguments.command.is_empty() {
        arguments.workloads.iter().map(|path| Workload::load(path)).collect::<Result<_, _>>()?
    } else {
        vec![Workload::bare(arguments.command.clone(), arguments.from.as_deref())?]
    };
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::machine)?;
    runtime.block_on(run_async(&arguments, &workloads))
}

fn options(arguments: &cli::Run) -> Options {
    let all = || mkfs::KINDS.map(|kind| Filesystem { kind: kind.into(), options: String::new() }).to_vec();
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    Options {
        filesystems: if arguments.filesystems.is_empty() { all() } else { arguments.filesystems.clone() },
        vm: arguments.vm.into(),
        kernel: arguments.kernel.clone(),
        model: DiskModel { cache: arguments.disk.into(), tear: arguments.tear.into(), unit: 1 },
        schedules: arguments.schedules,
        budget: arguments.budget,
        workers: arguments.jobs.unwrap_or_else(processors),
        limits: Limits::default(),
    }
}

async fn run_async(arguments: &cli::Run, workloads: &[Workload]) -> Result<ExitStatus, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    signal::stop_on_signal(&stop);
    let (sender, mut events) = mpsc::unbounded_channel();
    let format = arguments.format;
    let show = std::thread::spawn(move || {
        let mut reporters = reporters(format);
        while let Some(event) = events.blocking_recv() {
            reporters.event(&event);
        }
        reporters.finish()
    });
    let root = PathBuf::from(RESULTS);
    let directory =
        |id: &str| arguments.out.clone().unwrap_or_else(|| root.join("runs").join(format!("{}-{id}", now())));
    let finished =
        run_workloads(workloads, &options(arguments), &Paths::from_environment(), &stop, sender.clone(), directory)
            .await;
    if let Ok(finished) = &finished
        && arguments.out.is_none()
        && let Err(error) = link_latest(&root, finished.store.directory())
    {
        let text = format!("failed to point {RESULTS}/latest at this run: {error}");
        let _ = sender.send(Event::Warning { cell: None, text });
    }
    if let Ok(finished) = &finished {
        let text = format!("results are in {}", finished.store.directory().display());
        let _ = sender.send(Event::Note { cell: None, text });
    }
    drop(sender);
    let shown = show.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let finished = finished?;
    shown.map_err(|error| Failure::machine(format!("failed to print the report: {error}")))?;
    if finished.interrupted {
        return Err(Failure::new(ExitStatus::Command, "interrupted: the report holds what was found before that"));
    }
    Ok(exit_status(&finished.report, arguments.exhaustive))
}

fn reporters(format: cli::Format) -> All {
    let progress: Box<dyn Reporter> = if stderr().is_terminal() {
        let nowhere: Progress<Vec<u8>> = Progress::bars(indicatif::ProgressDrawTarget::stderr());
        Box::new(nowhere)
    } else {
        Box::new(Progress::lines(stderr()))
    };
    let colour = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let last: Box<dyn Reporter> = match format {
        cli::Format::Human => Box::new(Human::new(stdout(), colour)),
        cli::Format::Json => Box::new(Json::new(stdout())),
    };
    All(vec![progress, last])
}

/// The moment, so that names sort by time: seconds since 1970.
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Where `harness replay` looks for runs.
pub fn default_results() -> PathBuf {
    Path::new(RESULTS).join("runs")
}
