//! One run: workloads, each on each file system, explored and reported.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use disk::DiskModel;
use protocol::Filesystem;
use report::{CellReport, Event, Report};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, mpsc};
use vm::{Choice, KernelError, Limits, Paths};
use workload::Workload;

use crate::cell::{Budget, Cell};
use crate::store::{Kept, KeptCell, KeptWorkload, Store, StoreError, VERSION};
use crate::subject::{Subject, SubjectError};
use crate::words::cell_report;
use crate::worker::{WorkError, Yard, work};

/// What a run is asked to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// File systems, in the order of the report.
    pub filesystems: Vec<Filesystem>,
    /// The machine.
    pub vm: Choice,
    /// A kernel of the user's choice.
    pub kernel: Option<PathBuf>,
    /// The disk model.
    pub model: DiskModel,
    /// The bound on injections.
    pub schedules: u32,
    /// The budget of each cell.
    pub budget: Budget,
    /// Guests at once.
    pub workers: usize,
    /// Time limits of guests.
    pub limits: Limits,
}

/// Why a run came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A workload.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// The machine.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The work itself.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// The results directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The report.
    #[error(transparent)]
    Report(#[from] report::FileError),
    /// Ctrl-C, before there was anything to report.
    #[error("interrupted")]
    Interrupted,
}

/// What a run leaves.
pub struct Finished {
    /// The report.
    pub report: Report,
    /// Where it is.
    pub store: Store,
    /// Whether it was ended early.
    pub interrupted: bool,
}

/// Names a run by what goes into it, so that the same run has the same tokens.
fn hash(subjects: &[Arc<Subject>], options: &Options) -> String {
    let mut hasher = Sha256::new();
    for subject in subjects {
        hasher.update(subject.name.as_bytes());
        hasher.update(subject.trace.to_bytes());
        hasher.update(format!("{:?}", subject.wanted));
    }
    hasher.update(format!("{:?} {:?} {:?} {}", options.filesystems, options.vm, options.model, options.schedules));
    hasher.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// Runs `workloads`. Events go to `events` as they happen; `directory` is made from the run's hash.
pub async fn run(
    workloads: &[Workload],
    options: &Options,
    paths: &Paths,
    stop: &Arc<AtomicBool>,
    events: mpsc::UnboundedSender<Event>,
    directory: impl FnOnce(&str) -> PathBuf,
) -> Result<Finished, RunError> {
    let mut subjects = Vec::new();
    for workload in workloads {
        let _ = events.send(Event::Note { cell: None, text: format!("recording {}", workload.name) });
        let subject = tokio::task::block_in_place(|| Subject::record(workload, options.schedules, stop));
        if stop.load(Ordering::Relaxed) {
            return Err(RunError::Interrupted);
        }
        subjects.push(Arc::new(subject?));
    }
    let id = hash(&subjects, options);
    let machine = vm::choose(options.vm, options.kernel.as_deref(), paths).await?;
    let mut kinds: Vec<String> = options.filesystems.iter().map(|filesystem| filesystem.kind.clone()).collect();
    kinds.sort();
    kinds.dedup();
    let initramfs = machine.initramfs(&paths.cache, &kinds)?;
    let size = subjects.iter().map(|subject| subject.disk_size()).max().unwrap_or_default();

    let store = Store::create(&directory(&id))?;
    let mut cells = Vec::new();
    let mut kept = Vec::new();
    for (workload, subject) in subjects.iter().enumerate() {
        store.keep_trace(workload, &subject.trace)?;
        for filesystem in &options.filesystems {
            let cell = Cell::new(cells.len(), subject.clone(), filesystem.clone(), options.model, options.budget);
            cells.push(Arc::new(cell));
            let (fs, mount_options) = (filesystem.kind.clone(), filesystem.options.clone());
            kept.push(KeptCell { workload, fs, mount_options });
        }
    }
    let workloads = subjects.iter().map(|subject| KeptWorkload::new(&subject.name, &subject.wanted)).collect();
    let all = Kept { version: VERSION, model: options.model, schedules: options.schedules, cells: kept, workloads };
    store.keep(&id, &all)?;

    let _ = events.send(Event::RunStarted { cells: cells.iter().map(|cell| cell.id.clone()).collect() });
    let finish = Arc::new(finisher(store.clone(), id, events.clone()));
    let reports = Arc::new(std::sync::Mutex::new(std::collections::BTreeMap::<usize, CellReport>::new()));
    let yard = Yard {
        machine,
        initramfs,
        sectors: size / disk::SECTOR as u64,
        limits: options.limits,
        cells: cells.clone(),
        stop: stop.clone(),
        bell: Notify::new(),
        events: events.clone(),
        finish: Box::new({
            let (finish, reports) = (finish.clone(), reports.clone());
            move |cell| {
                let report = finish(cell);
                let mut reports = reports.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                reports.insert(cell.index, report.clone());
                report
            }
        }),
    };
    let outcome = workers(Arc::new(yard), options.workers, stop).await;
    let interrupted = stop.load(Ordering::Relaxed);
    if !interrupted {
        outcome?;
    }
    let mut done = std::mem::take(&mut *reports.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    // A cell that was cut short has what it has.
    let report =
        Report::new(cells.iter().map(|cell| done.remove(&cell.index).unwrap_or_else(|| finish(cell))).collect());
    report::write_results(&report, store.directory())?;
    let _ = events.send(Event::RunFinished(report.clone()));
    Ok(Finished { report, store, interrupted })
}

/// Runs the workers; one that fails ends the others. After a stop they get a moment to hand in what they have.
async fn workers(yard: Arc<Yard>, count: usize, stop: &Arc<AtomicBool>) -> Result<(), WorkError> {
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..count.max(1) {
        let yard = yard.clone();
        set.spawn(async move { work(&yard).await });
    }
    let stopped = async {
        while !stop.load(Ordering::Relaxed) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    };
    let all = async {
        while let Some(done) = set.join_next().await {
            match done {
                Ok(result) => result?,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => {}
            }
        }
        Ok(())
    };
    let result = tokio::select! {
        result = all => result,
        () = stopped => Ok(()),
    };
    // Aborted workers drop their guests.
    set.shutdown().await;
    result
}

/// Turns a finished cell into its report and keeps the replays that its tokens need.
fn finisher(
    store: Store,
    id: String,
    events: mpsc::UnboundedSender<Event>,
) -> impl Fn(&Cell) -> CellReport + Send + Sync {
    move |cell| {
        let result = cell.result();
        let report = cell_report(cell, &result, &id);
        let shown: std::collections::BTreeSet<usize> =
            result.tally.violations.values().map(|violation| violation.example.schedule).collect();
        for schedule in shown {
            if let Some((start, log)) = result.replays.get(&schedule)
                && let Err(error) = store.keep_replay(cell.index, schedule, start, log)
            {
                let text = format!("tokens of schedule {schedule} will not work: {error}");
                let _ = events.send(Event::Warning { cell: Some(cell.id.clone()), text });
            }
        }
        report
    }
}

/// Points `results/latest` at a run. Only a convenience: nothing depends on it.
pub fn link_latest(root: &Path, run: &Path) -> std::io::Result<()> {
    let link = root.join("latest");
    let new = root.join(format!("latest.{}", std::process::id()));
    let target = run.strip_prefix(root).unwrap_or(run);
    std::os::unix::fs::symlink(target, &new)?;
    std::fs::rename(&new, &link)
}
