//! One run: workloads, each on each file system, explored and reported.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use checker::Wanted;
use filesystems::{ChoiceError, FileSystem, Filesystem};
use program::Trace;
use report::{Asked, CellReport, Event, Note, ProcessReport, Report};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, mpsc};
use vm::{Choice, KernelError, Limits, Machine, Paths};
use workload::Workload;

use crate::cell::{Cell, CellResult};
use crate::guests::{self, Boot};
use crate::journal::Journal;
use crate::killed::process_crash;
use crate::mkfs;
use crate::permit::{ADVICE, Permit};
use crate::spec::RunSpec;
use crate::store::{Kept, KeptAgain, KeptCell, KeptWorkload, Lock, Shown, Store, StoreError, VERSION};
use crate::subject::{Judges, Subject, SubjectError};
use crate::tally::{Example, Violation};
use crate::unit::{self, Executed};
use crate::words::{cell_report, ops_of};
use crate::worker::{Shared, WorkError, work};
use checks::Checker;

/// Where runs land, relative to the current directory.
pub const RESULTS: &str = "results";

/// What a run is asked to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// What it explores.
    pub spec: RunSpec,
    /// The machine.
    pub vm: Choice,
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
    /// Another machine.
    #[error(
        "the run was begun on {was}, and this host can only go on with {is}: counts would be of two kinds; go on with it \
         on a host that has {was}, or begin it again"
    )]
    OtherMachine {
        /// What it was begun on.
        was: String,
        /// What there is.
        is: String,
    },
    /// Another kernel.
    #[error(
        "the run in {} was begun on Linux {was}, and guests here have Linux {is}: what it has found is of other crash \
         states; go on with it where guests have the first kernel, or begin it again",
        directory.display()
    )]
    OtherKernel {
        /// The run.
        directory: PathBuf,
        /// The release of the kernel that it was begun on.
        was: String,
        /// Of the one that there is.
        is: String,
    },
    /// Something else is not as it was.
    #[error(
        "the run in {} was begun with another {what} ({was}; here: {is}): what it has found may not be what would be \
         found now; begin it again",
        directory.display()
    )]
    Changed {
        /// The run.
        directory: PathBuf,
        /// What.
        what: String,
        /// As it was.
        was: String,
        /// As it is.
        is: String,
    },
    /// A check that nobody has permitted.
    #[error(
        "the run in {} has a check of its own for {name}, and what stands in a results directory is not run unasked:\n  \
         {check}\n{ADVICE}",
        directory.display()
    )]
    NotPermitted {
        /// The run.
        directory: PathBuf,
        /// The workload.
        name: String,
        /// What would be run.
        check: String,
    },
    /// A workload that the run to be judged does not have.
    #[error("the run in {} has no workload named {name}; it has {has}", directory.display())]
    NotOfRun {
        /// The run.
        directory: PathBuf,
        /// The workload's name.
        name: String,
        /// The names that there are.
        has: String,
    },
    /// A run would be overwritten by itself.
    #[error("{} holds the run that is to be judged: name another directory for the results", directory.display())]
    SamePlace {
        /// The run.
        directory: PathBuf,
    },
    /// Perhaps another kernel.
    #[error(
        "the run in {} does not say which kernel its guests had, so that what it has found may be of other crash states \
         than guests have here: begin it again",
        directory.display()
    )]
    UnknownKernel {
        /// The run.
        directory: PathBuf,
    },
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
    /// What ended it early, or kept its report from being written.
    pub cut: Option<RunError>,
}

/// What makes a run what it is, beside its traces.
#[derive(Serialize)]
struct Identity<'a> {
    workloads: Vec<(&'a str, &'a [Wanted])>,
    /// The checks of those workloads that have one, by their index.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checks: Vec<(usize, &'a [String])>,
    machine: &'a str,
    spec: &'a RunSpec,
}

/// Names a run by what goes into it: the same run has the same name, and with it the same tokens.
///
/// Another recording of a program gives the same trace, unless the program does something else: random names of
/// temporary files, or times in what it writes, make it another run. How the program was called does not: the paths of
/// a checkout say nothing about what a crash may leave.
pub(crate) fn hash(subjects: &[Arc<Subject>], spec: &RunSpec, machine: &str) -> String {
    let identity = Identity {
        workloads: subjects.iter().map(|subject| (subject.name.as_str(), subject.wanted.as_slice())).collect(),
        checks: (0..).zip(subjects).filter_map(|(n, it)| Some((n, it.checker.as_ref()?.command()))).collect(),
        machine,
        spec,
    };
    let mut hasher = Sha256::new();
    hasher.update(serde_json::to_vec(&identity).expect("names and numbers can be written as JSON"));
    for subject in subjects {
        let Trace { command: _, before, holes, ops, after, limits, outside: _, refused: _ } = &subject.trace;
        let recorded = postcard::to_stdvec(&(before, ops, after, limits));
        hasher.update(recorded.expect("a trace holds nothing that postcard cannot write"));
        // Most workloads have none, and keep the name that they always had.
        if !holes.is_empty() {
            hasher.update(postcard::to_stdvec(holes).expect("names and numbers can be written"));
        }
    }
    hex::encode(&hasher.finalize()[..4])
}

/// Runs `workloads`. `directory` is made from the run's hash. Events go to `events` as they happen, all but the last:
/// [`Event::RunFinished`] is sent by the caller, when there is nothing more to say.
///
/// A run that is cut short when some states have been explored has a report all the same.
///
/// # Errors
/// There is nothing to report: see [`RunError`].
pub async fn run(
    workloads: &[Workload],
    options: &Options,
    paths: &Paths,
    stop: &Arc<AtomicBool>,
    events: mpsc::UnboundedSender<Event>,
    directory: impl FnOnce(&str) -> PathBuf,
) -> Result<Finished, RunError> {
    let spec = &options.spec;
    let mut subjects = Vec::new();
    for workload in workloads {
        let doing = if workload.build.is_some() { "building and recording" } else { "recording" };
        let _ = events.send(Event::Note { cell: None, text: format!("{doing} {}", workload.name) });
        let subject =
            tokio::task::block_in_place(|| Subject::record(workload, spec.bounds(), spec.io_uring.into(), stop));
        if stop.load(Ordering::Relaxed) {
            return Err(RunError::Interrupted);
        }
        let subject = subject?;
        if !subject.limits().is_empty() {
            let _ = events.send(Event::Warning { cell: None, text: cannot_be_judged(&subject, spec.explore_invalid) });
        }
        subjects.push(Arc::new(subject));
    }
    run_recorded(subjects, options, paths, stop, events, directory).await
}

/// The same of what has been recorded, or was made from that.
///
/// # Errors
/// There is nothing to report: see [`RunError`].
pub async fn run_recorded(
    subjects: Vec<Arc<Subject>>,
    options: &Options,
    paths: &Paths,
    stop: &Arc<AtomicBool>,
    events: mpsc::UnboundedSender<Event>,
    directory: impl FnOnce(&str) -> PathBuf,
) -> Result<Finished, RunError> {
    let spec = &options.spec;
    let is_explored = |subject: &Arc<Subject>| subject.is_explored(spec.explore_invalid);
    if !spec.crash.power() || !subjects.iter().any(is_explored) {
        let id = hash(&subjects, spec, "none");
        let (store, _lock) = Store::create(&directory(&id))?;
        for (workload, subject) in subjects.iter().enumerate() {
            store.keep_trace(workload, &subject.trace)?;
        }
        let killed = killed(&subjects, spec, stop);
        let whole = !spec.crash.process() || killed.len() == subjects.len();
        if killed.is_empty() && !whole {
            return Err(RunError::Interrupted);
        }
        let filesystems = if spec.crash.power() { spec.filesystems.as_slice() } else { &[] };
        let pairs = subjects.iter().flat_map(|subject| filesystems.iter().map(move |fs| (subject, fs)));
        let cells = pairs.zip(0..).map(|((subject, fs), index)| {
            let cell = Cell::new(index, subject.clone(), fs.clone(), spec);
            cell_report(&cell, &cell.result(), &id)
        });
        let report = Report::with_process_crashes(cells.collect(), killed);
        let explored = spec.crash.power().then(|| spec.explored());
        let report = Report { explored, asked: asked(&subjects), ..report }.with_ops(ops_of(&subjects));
        let written = report::write_report(&report, store.directory());
        let cut = (!whole).then_some(RunError::Interrupted);
        return Ok(Finished { report, store, cut: cut.or(written.err().map(RunError::from)) });
    }
    let machine = choose(options.vm, spec.kernel.as_deref(), paths, stop).await?;
    let id = hash(&subjects, spec, machine.name());
    let begun = Begun::new(&directory(&id), id, subjects, (spec, machine.name(), tools(&spec.filesystems)))?;
    explore(begun, machine, options.workers, options.limits, paths, stop, events).await
}

/// Goes on with a run that was cut short: what it has found is not looked for again, and the report is the one that it
/// would have written. Its checks are run if `permit` says so.
///
/// # Errors
/// The run cannot be gone on with, or see [`run`].
pub async fn resume(
    store: Store,
    permit: &Permit,
    workers: usize,
    limits: Limits,
    paths: &Paths,
    stop: &Arc<AtomicBool>,
    events: mpsc::UnboundedSender<Event>,
) -> Result<Finished, RunError> {
    let kept = store.kept()?;
    // Before anything is written or run.
    let checks = checks(&kept, &store, permit, |_| false)?;
    let lock = store.lock()?;
    let id = store.id()?;
    is_as_it_was(&kept, &checks, &store)?;
    let mut subjects = Vec::new();
    for (index, (workload, check)) in kept.workloads.iter().zip(&checks).enumerate() {
        let trace = store.trace(index)?;
        if check.is_some() {
            tell_of_check(workload, permit, &events);
        }
        let judges = judges(check.as_ref(), &trace, stop)?;
        let damaged = |problem| store.damaged("replay.json", problem);
        subjects.push(Arc::new(workload.subject(trace, kept.spec.bounds(), judges).map_err(damaged)??));
    }
    let begun = Begun { id, subjects, kept, store, _lock: lock, done: BTreeMap::new() };
    go_on(begun, workers, limits, paths, stop, events).await
}

/// Goes on with a run some of whose cells may be done: explores the others, on guests of the kind that it had.
///
/// # Errors
/// There are no such guests, or see [`run`].
pub(crate) async fn go_on(
    begun: Begun,
    workers: usize,
    limits: Limits,
    paths: &Paths,
    stop: &Arc<AtomicBool>,
    events: mpsc::UnboundedSender<Event>,
) -> Result<Finished, RunError> {
    let was = &begun.kept.machine;
    let machine = choose(Choice::of(was), begun.kept.spec.kernel.as_deref(), paths, stop).await?;
    if machine.name() != was {
        return Err(RunError::OtherMachine { was: was.clone(), is: machine.name().into() });
    }
    // Before anything is written: what the run has found stays as it is.
    tokio::select! {
        same = begun.has_its_kernel(machine.as_ref(), limits, paths) => same?,
        () = stopped(stop) => return Err(RunError::Interrupted),
    }
    explore(begun, machine, workers, limits, paths, stop, events).await
}

/// Who judges a program: its rules and, if it has one that may be run, this workload's check.
pub(crate) fn judges(check: Option<&Workload>, trace: &Trace, stop: &Arc<AtomicBool>) -> Result<Judges, SubjectError> {
    let Some(check) = check else { return Ok(Judges::Rules) };
    let checker = tokio::task::block_in_place(|| Checker::new(check, trace, stop))?;
    Ok(Judges::Both(Box::new(checker)))
}

/// Says which check is run, if it is one that stands in the results.
pub(crate) fn tell_of_check(workload: &KeptWorkload, permit: &Permit, events: &mpsc::UnboundedSender<Event>) {
    if let Some(kept) = workload.check.as_ref().filter(|_| permit.runs_what_stands_there()) {
        let text = format!("running the check of {}: {}", workload.name, kept.shown());
        let _ = events.send(Event::Note { cell: None, text });
    }
}

/// What findings depend on beside the guest: this harness, and what makes file systems.
fn tools(filesystems: &[Filesystem]) -> BTreeMap<String, String> {
    let tools: BTreeSet<&str> = filesystems.iter().map(|filesystem| filesystem.kind.mkfs.tool).collect();
    let mkfs = tools.into_iter().map(|tool| (tool.to_owned(), mkfs::version(tool)));
    std::iter::once(("build of the harness".to_owned(), env!("HARNESS_BUILD").to_owned())).chain(mkfs).collect()
}

/// The file systems of a run, one for each cell.
fn filesystems_of(kept: &Kept, store: &Store) -> Result<Vec<Filesystem>, StoreError> {
    let all: Result<_, ChoiceError> = kept.cells.iter().map(KeptCell::filesystem).collect();
    all.map_err(|unknown| store.damaged("replay.json", unknown))
}

/// For each workload of a run, whose check is run as its own, if it has one and another does not take its place.
pub(crate) fn checks(
    kept: &Kept,
    store: &Store,
    permit: &Permit,
    is_replaced: impl Fn(&str) -> bool,
) -> Result<Vec<Option<Workload>>, RunError> {
    let check = |KeptWorkload { name, check, .. }: &KeptWorkload| {
        let Some(check) = check.as_ref().filter(|_| !is_replaced(name)) else { return Ok(None) };
        let permitted = permit.check(name, check).map_err(SubjectError::from)?;
        let refused =
            || RunError::NotPermitted { directory: store.directory().into(), name: name.clone(), check: check.shown() };
        permitted.ok_or_else(refused).map(Some)
    };
    kept.workloads.iter().map(check).collect()
}

/// Refuses to mix what a run has found with what would be found now, by other means.
pub(crate) fn is_as_it_was(kept: &Kept, checks: &[Option<Workload>], store: &Store) -> Result<(), RunError> {
    let filesystems = filesystems_of(kept, store)?;
    let was = |what: &str| kept.tools.get(what).map_or("unknown", String::as_str).to_owned();
    let mut all: Vec<(String, String, String)> =
        tools(&filesystems).into_iter().map(|(what, is)| (was(&what), is, what)).collect();
    for (KeptWorkload { name, check, .. }, workload) in kept.workloads.iter().zip(checks) {
        if let (Some(check), Some(workload)) = (check, workload) {
            let (was, is) = check.files_in(workload);
            all.push((was, is, format!("check of {name}")));
        }
    }
    match all.into_iter().find(|(was, is, _)| was != is) {
        Some((was, is, what)) => Err(RunError::Changed { directory: store.directory().into(), what, was, is }),
        None => Ok(()),
    }
}

/// A run whose programs have been recorded.
pub(crate) struct Begun {
    pub id: String,
    pub subjects: Vec<Arc<Subject>>,
    pub kept: Kept,
    pub store: Store,
    _lock: Lock,
    /// The reports of the cells that are done, by their indices.
    pub done: BTreeMap<usize, CellReport>,
}

impl Begun {
    /// Begins a run of this name: keeps its programs, and what else is needed to go on with it: what it explores, the
    /// machine, and the tools that its findings depend on.
    pub fn new(
        directory: &Path,
        id: String,
        subjects: Vec<Arc<Subject>>,
        (spec, machine, tools): (&RunSpec, &str, BTreeMap<String, String>),
    ) -> Result<Self, StoreError> {
        let (store, lock) = Store::create(directory)?;
        let mut cells = Vec::new();
        for (workload, subject) in subjects.iter().enumerate() {
            store.keep_trace(workload, &subject.trace)?;
            for Filesystem { kind, options, mkfs } in &spec.filesystems {
                let (mount_options, mkfs_options) = (options.clone(), mkfs.clone());
                cells.push(KeptCell { workload, fs: kind.name.into(), mount_options, mkfs_options });
            }
        }
        let check = |subject: &Subject| subject.checker.as_ref().map(Checker::kept);
        let keep = |subject: &Arc<Subject>| KeptWorkload::new(&subject.name, &subject.wanted, check(subject));
        let kept = Kept {
            version: VERSION,
            machine: machine.into(),
            spec: spec.clone(),
            cells,
            workloads: subjects.iter().map(keep).collect(),
            tools,
        };
        store.keep(&id, &kept)?;
        Ok(Self { id, subjects, kept, store, _lock: lock, done: BTreeMap::new() })
    }

    /// The report of a run all of whose cells are done, or are known not to be judged.
    pub fn finish(self, stop: &AtomicBool, events: &mpsc::UnboundedSender<Event>) -> Result<Finished, RunError> {
        let Self { id, subjects, kept, store, mut done, .. } = self;
        let cells = cells(&kept, &subjects, &store)?;
        let mut reports = Vec::new();
        for cell in &cells {
            let report = done.remove(&cell.index).unwrap_or_else(|| cell_report(cell, &cell.result(), &id));
            let _ = events.send(Event::CellFinished(Box::new(report.clone())));
            reports.push(report);
        }
        let killed = killed(&subjects, &kept.spec, stop);
        let explored = Some(kept.spec.explored());
        let report = Report { explored, asked: asked(&subjects), ..Report::with_process_crashes(reports, killed) };
        let report = report.with_ops(ops_of(&subjects));
        let written = report::write_report(&report, store.directory());
        Ok(Finished { report, store, cut: written.err().map(RunError::from) })
    }

    /// The initramfs for its guests.
    fn initramfs(&self, machine: &dyn Machine, paths: &Paths) -> Result<PathBuf, RunError> {
        let all = filesystems_of(&self.kept, &self.store)?;
        let mut kinds: Vec<&FileSystem> = all.iter().map(|filesystem| filesystem.kind).collect();
        kinds.sort_by_key(|kind| kind.name);
        kinds.dedup();
        Ok(machine.initramfs(&paths.cache, &kinds)?)
    }

    /// The size of their data disk, 512-byte sectors.
    fn sectors(&self) -> u64 {
        self.subjects.iter().map(|subject| subject.disk_size()).max().unwrap_or_default() / storage::SECTOR as u64
    }

    /// Boots a guest, and refuses if what the run has found was found on another kernel.
    async fn has_its_kernel(&self, machine: &dyn Machine, limits: Limits, paths: &Paths) -> Result<(), RunError> {
        let directory = || self.store.directory().to_path_buf();
        let Some(was) = self.store.kernel()? else {
            let unknown = self.store.has_begun();
            return if unknown { Err(RunError::UnknownKernel { directory: directory() }) } else { Ok(()) };
        };
        let initramfs = self.initramfs(machine, paths)?;
        let guest = guests::boot(machine, &initramfs, self.sectors(), limits).await;
        let is = guest.map_err(WorkError::Guest)?.kernel().to_owned();
        if is == was { Ok(()) } else { Err(RunError::OtherKernel { directory: directory(), was, is }) }
    }
}

/// The cells of a run.
fn cells(kept: &Kept, subjects: &[Arc<Subject>], store: &Store) -> Result<Vec<Arc<Cell>>, StoreError> {
    let filesystems = filesystems_of(kept, store)?;
    let cell = |(index, (cell, filesystem)): (usize, (&KeptCell, Filesystem))| {
        let subject = subjects.get(cell.workload)?.clone();
        Some(Arc::new(Cell::new(index, subject, filesystem, &kept.spec)))
    };
    let cells: Option<Vec<Arc<Cell>>> = kept.cells.iter().zip(filesystems).enumerate().map(cell).collect();
    cells.ok_or_else(|| store.damaged("replay.json", "a cell names a workload that is not there"))
}

/// Explores every cell that is not done, and reports.
async fn explore(
    begun: Begun,
    machine: Box<dyn Machine>,
    count: usize,
    limits: Limits,
    paths: &Paths,
    stop: &Arc<AtomicBool>,
    events: mpsc::UnboundedSender<Event>,
) -> Result<Finished, RunError> {
    let (initramfs, sectors) = (begun.initramfs(machine.as_ref(), paths)?, begun.sectors());
    let count = workers_with_room(machine.as_ref(), count, &events);
    let Begun { id, subjects, kept, store, _lock, mut done } = begun;
    let cells = cells(&kept, &subjects, &store)?;
    let journal = Journal::open(&store, &id, kept.spec.seed)?;

    let _ = events.send(Event::RunStarted { cells: cells.iter().map(|cell| cell.id.clone()).collect() });
    // Those of which it is known that they cannot be judged have a report already.
    let is_explored = |cell: &&Arc<Cell>| cell.subject.is_explored(kept.spec.explore_invalid);
    for cell in cells.iter().filter(|cell| !is_explored(cell)) {
        done.insert(cell.index, cell_report(cell, &cell.result(), &id));
    }
    let at_work: Vec<Arc<Cell>> = cells.iter().filter(|cell| !done.contains_key(&cell.index)).cloned().collect();
    for report in done.values() {
        let _ = events.send(Event::CellFinished(Box::new(report.clone())));
    }
    let finish = Arc::new(finisher(store.clone(), id.clone(), events.clone()));
    let reports = Arc::new(std::sync::Mutex::new(done));
    let shared = Shared {
        run: id,
        boot: Boot::new(machine, initramfs, sectors, limits, Some(store.clone())).telling(events.clone()),
        cells: at_work,
        journal,
        stop: stop.clone(),
        news: Notify::new(),
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
    // Before what takes its time, so that a run that is cut short has it.
    let killed = killed(&subjects, &kept.spec, stop);
    let outcome = workers(Arc::new(shared), count, stop).await;
    if let Err(error @ WorkError::Journal { .. }) = outcome {
        // Nothing that was found before is reported: it would be said of states that nobody has looked at.
        return Err(error.into());
    }
    let mut cut = outcome.err().map(RunError::from);
    if stop.load(Ordering::Relaxed) {
        cut = Some(RunError::Interrupted);
    }
    let mut done = std::mem::take(&mut *reports.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    let report = |cell: &Arc<Cell>| {
        done.remove(&cell.index).unwrap_or_else(|| {
            // A cell that was cut short has what it has.
            let mut report = finish(cell);
            if let Some(cut) = &cut {
                report.notes.extend(cut_short(&report, cut));
            }
            report
        })
    };
    let cells = cells.iter().map(report).collect();
    let explored = Some(kept.spec.explored());
    let report = Report { explored, asked: asked(&subjects), ..Report::with_process_crashes(cells, killed) };
    let report = report.with_ops(ops_of(&subjects));
    let written = report::write_report(&report, store.directory());
    let nothing = report.process_crashes.is_empty() && report.cells.iter().all(|cell| cell.crash_states.mounts == 0);
    if let Some(error) = cut.take_if(|_| nothing) {
        return Err(error);
    }
    Ok(Finished { report, store, cut: cut.or(written.err().map(RunError::from)) })
}

/// How many workers there are: as many as asked, if the host has room for the memory of all their guests, which is asked
/// before any of them starts. A guest that finds none left is killed in the middle of anything, or kills this process.
fn workers_with_room(machine: &dyn Machine, asked: usize, events: &mpsc::UnboundedSender<Event>) -> usize {
    let asked = asked.max(1);
    match machine.room() {
        Some((room, place)) if room < asked => {
            let text = format!(
                "fewer guests run at once than asked for, {room} instead of {asked}: {} has no room for the memory of more, \
                 1 GiB each (a container gets a larger /dev/shm with --shm-size)",
                place.display()
            );
            let _ = events.send(Event::Warning { cell: None, text });
            room
        }
        _ => asked,
    }
}

/// What was asked for of each workload.
fn asked(subjects: &[Arc<Subject>]) -> Vec<Asked> {
    let asked = |subject: &Arc<Subject>| Asked {
        workload: subject.name.clone(),
        invariants: subject.wanted.clone(),
        check: subject.checker.as_ref().map(|checker| checker.command().to_vec()),
    };
    subjects.iter().map(asked).collect()
}

/// What there is to know of a cell that a run which was cut short did not finish.
fn cut_short(cell: &CellReport, cut: &RunError) -> Vec<Note> {
    let CellReport { violations, not_durable, weaknesses, warnings, .. } = cell;
    let shown = [violations, not_durable, weaknesses, warnings];
    let unconfirmed = shown.iter().any(|shown| !shown.is_empty());
    let unconfirmed = unconfirmed.then_some(Note::NotConfirmed);
    std::iter::once(Note::CutShort { error: cut.to_string() }).chain(unconfirmed).collect()
}

/// What becomes of the programs' files if they are killed, if that was asked: of each of them, or of those before a stop.
fn killed(subjects: &[Arc<Subject>], spec: &RunSpec, stop: &AtomicBool) -> Vec<ProcessReport> {
    let asked = if spec.crash.process() { subjects } else { &[] };
    let here = tokio::runtime::Handle::current();
    let killed = |subject: &Arc<Subject>| here.block_on(process_crash(subject, spec.explore_invalid, stop));
    tokio::task::block_in_place(|| asked.iter().map_while(killed).collect())
}

/// What is known as soon as a workload has been recorded: that it cannot be judged, and why.
fn cannot_be_judged(subject: &Subject, explore_invalid: bool) -> String {
    /// Enough to see what it is about; the report has all.
    const SHOWN: usize = 3;
    let limits = subject.limits();
    let mut reasons: Vec<String> = limits.iter().take(SHOWN).map(ToString::to_string).collect();
    if limits.len() > SHOWN {
        reasons.push(format!("… and {} more", limits.len() - SHOWN));
    }
    let explored = if explore_invalid { "explored all the same" } else { "not explored (--explore-invalid does)" };
    format!(
        "{} cannot be judged, since its files were changed in a way that the recorder does not follow: {}; {explored}",
        subject.name,
        reasons.join("; ")
    )
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

/// Finds a machine, for which it may boot a guest.
async fn choose(
    choice: Choice,
    kernel: Option<&Path>,
    paths: &Paths,
    stop: &AtomicBool,
) -> Result<Box<dyn Machine>, RunError> {
    tokio::select! {
        machine = vm::choose(choice, kernel, paths) => Ok(machine?),
        () = stopped(stop) => Err(RunError::Interrupted),
    }
}

/// Returns soon after `stop` was set.
async fn stopped(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Runs the workers; one that fails ends the others. After a stop they get a moment to hand in what they have.
async fn workers(shared: Arc<Shared>, count: usize, stop: &Arc<AtomicBool>) -> Result<(), WorkError> {
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..count {
        let shared = shared.clone();
        set.spawn(async move { work(&shared).await });
    }
    let stopped = async {
        stopped(stop).await;
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
        keep_shown(cell, &result, &store, &events);
        cell_report(cell, &result, &id)
    }
}

/// Keeps what the tokens of a cell need: the executions whose states are shown, as far as their data are there.
pub(crate) fn keep_shown(cell: &Cell, result: &CellResult, store: &Store, events: &mpsc::UnboundedSender<Event>) {
    let mut shown: BTreeMap<usize, (Arc<Executed>, Vec<Shown>)> = BTreeMap::new();
    for Violation { example, .. } in result.tally.violations.values() {
        let Some(unit) = result.units.get(&example.place.unit) else { continue };
        let again = unit.recovery_crash.as_ref().map(|again| KeptAgain {
            name: unit::short(&unit.key),
            settled: again.class.decisions().to_vec(),
            log: (*again.log).clone(),
            index: again.index,
        });
        let Example { ref state, window, .. } = *example;
        let of_schedule = shown.entry(unit.executed.schedule).or_insert((unit.executed.clone(), Vec::new()));
        of_schedule.1.push(Shown { epoch: unit.epoch, state: state.clone(), window, again });
    }
    for (schedule, (executed, shown)) in shown {
        let kept = match executed.has_data {
            true => store.keep_execution(cell.index, schedule, (&executed.start, &executed.log), &shown),
            false => Err(store.damaged("journal.jsonl", "what the disk was given is not in it")),
        };
        if let Err(error) = kept {
            let text = format!("tokens of schedule {schedule} will not work: {error}");
            let _ = events.send(Event::Warning { cell: Some(cell.id.clone()), text });
        }
    }
}

/// Points `results/latest` at a run. Only a convenience: nothing depends on it.
pub fn link_latest(root: &Path, run: &Path) -> std::io::Result<()> {
    let link = root.join("latest");
    let new = root.join(format!("latest.{}", std::process::id()));
    let target = run.strip_prefix(root).unwrap_or(run);
    std::os::unix::fs::symlink(target, &new)?;
    std::fs::rename(&new, &link).inspect_err(|_| drop(std::fs::remove_file(&new)))
}

#[cfg(test)]
mod tests {
    use program::{Call, Handle, Op, Tree};

    use super::*;
    use crate::spec::{Budget, Disk};
    use crate::subject::Bounds;

    fn subject(name: &str) -> Arc<Subject> {
        called(name, &[])
    }

    fn called(name: &str, command: &[&str]) -> Arc<Subject> {
        let command = command.iter().map(ToString::to_string).collect();
        let (before, after) = (Tree::default(), Tree::default());
        // O_WRONLY | O_CREAT: rules want something to change.
        let open = Call::Open { handle: Handle(0), path: "f".into(), flags: 0o101, mode: 0o644 };
        let ops = vec![Op { call: open, syscall: "open".into(), result: 0, thread: 0 }];
        let trace = Trace {
            command,
            before,
            holes: Default::default(),
            ops,
            after,
            limits: vec![],
            outside: vec![],
            refused: vec![],
        };
        Arc::new(Subject::of(name.into(), vec![], trace, Bounds::default()).unwrap())
    }

    /// What was seen only once must not look like what was seen twice.
    #[test]
    fn a_cell_that_was_cut_short_says_what_was_not_confirmed() {
        let cell = serde_json::json!({
            "workload": "w", "fs": "ext4", "mount_options": "", "vm": "uml", "kernel": "6.1", "verdict": "incomplete",
            "exhaustive": false, "schedules": {"explored": 0, "new": 0, "total": 1},
            "crash_states": {"allowed": "2", "covered": "1", "mounts": 1},
            "durable_after_exit": "unknown", "violations": [],
        });
        let mut cell: CellReport = serde_json::from_value(cell).unwrap();
        let cut = || Note::CutShort { error: "interrupted".into() };
        assert_eq!(cut_short(&cell, &RunError::Interrupted), [cut()]);
        let shown = serde_json::json!({
            "invariant": "durable-after exit", "kind": "empty", "path": "f", "states": "1", "token": "t", "after_op": null,
            "after_op_latest": null, "lost": [], "kept": [], "observed": {"seen": "empty"},
            "schedule": {"injections": [], "ending": "commit"},
        });
        cell.not_durable.push(serde_json::from_value(shown).unwrap());
        assert_eq!(cut_short(&cell, &RunError::Interrupted), [cut(), Note::NotConfirmed]);
    }

    #[test]
    fn the_name_of_a_run_depends_on_all_that_tokens_depend_on() {
        let ext4 = Filesystem::from(&filesystems::EXT4);
        let spec = RunSpec { filesystems: vec![ext4.clone()], ..RunSpec::default() };
        let name = |subjects: &[&str], spec: &RunSpec, machine| {
            let subjects: Vec<_> = subjects.iter().map(|name| subject(name)).collect();
            hash(&subjects, spec, machine)
        };
        let first = name(&["a"], &spec, "uml");
        let elsewhere = called("a", &["/another/checkout/save.py"]);
        assert_eq!(first, hash(&[elsewhere], &spec, "uml"));
        let mut names = vec![
            first,
            name(&["b"], &spec, "uml"),
            name(&["a", "a"], &spec, "uml"),
            name(&["a"], &spec, "qemu-kvm"),
            name(&["a"], &RunSpec { filesystems: vec![ext4.clone(), ext4], ..spec.clone() }, "uml"),
            name(&["a"], &RunSpec { kernel: Some("vmlinuz".into()), ..spec.clone() }, "uml"),
            name(&["a"], &RunSpec { disk: Disk::Lying, ..spec.clone() }, "uml"),
            name(&["a"], &RunSpec { schedules: 2, ..spec.clone() }, "uml"),
            name(&["a"], &RunSpec { recovery_crashes: true, ..spec.clone() }, "uml"),
            name(&["a"], &RunSpec { explore_invalid: true, ..spec.clone() }, "uml"),
            name(&["a"], &RunSpec { seed: 1, ..spec.clone() }, "uml"),
            name(&["a"], &RunSpec { budget: Budget { mounts: Some(9), time: None }, ..spec.clone() }, "uml"),
        ];
        names.sort();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all, "{names:?}");
    }
}
