//! `harness run`.

use std::fs;
use std::io::{self, ErrorKind, IsTerminal, stderr, stdout};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use checker::{View, Wanted};
use program::Trace;
use report::{All, Event, ExitStatus, Reporter, exit_status};
use reporters::{Human, Json, Progress, write_matrix};
use tokio::sync::mpsc;
use vm::{Limits, Paths};
use workload::Workload;

use super::Failure;
use super::failure::say;
use super::show::read;
use super::signal::{Manner, Scratch, Signals};
use crate::cli;
use engine::permit::Permit;
use engine::run::{
    Finished, Options, RESULTS, RunError, elsewhere, link_latest, resume, run as run_workloads, run_recorded,
};
use engine::spec::RunSpec;
use engine::store::Store;
use engine::subject::{Demands, Judges, Subject};

/// Runs workloads and reports.
pub fn run(arguments: cli::Run) -> Result<ExitStatus, Failure> {
    if let Some(directory) = &arguments.resume {
        // Before anything else: what cannot be gone on with needs no guests.
        Store::open(directory)?;
    }
    let begun = arguments.resume.as_deref().unwrap_or(Path::new(RESULTS));
    let at_hand = if arguments.trace.is_some() { &[][..] } else { &arguments.at_hand };
    let permit = Permit::new(arguments.run_check, at_hand, begun)?;
    let traced = arguments.trace.as_deref().map(|path| traced(path, &arguments)).transpose()?;
    let mut workloads: Vec<Workload> = if arguments.trace.is_some() {
        Vec::new()
    } else if arguments.command.is_empty() {
        load(&arguments.workloads).map_err(|failure| match cli::dashes(&arguments.workloads) {
            Some(tip) => failure.and(tip),
            None => failure,
        })?
    } else {
        let mut workload = Workload::bare(arguments.command.clone(), arguments.from.as_deref())?;
        workload.name = arguments.name.clone().unwrap_or(workload.name);
        workload.time_limit = arguments.time_limit.map_or(workload.time_limit, Duration::from_secs);
        workload.at = arguments.at.clone();
        vec![workload]
    };
    let views: Vec<Wanted> = arguments.views.iter().map(|line| Wanted::View(View::by_command(line))).collect();
    for workload in &mut workloads {
        // They are asked for as the workload's own are: so they name the run, and are kept with it.
        let new = views.iter().filter(|view| !workload.invariants.contains(view)).cloned().collect::<Vec<_>>();
        workload.invariants.extend(new);
    }
    check_kernel(arguments.spec.kernel.as_deref(), arguments.vm)?;
    if !arguments.idle.is_empty() {
        let idle = arguments.idle.join(", ");
        say(&format!("warning: --crash process needs no machine that crashes, so without effect: {idle}"));
    }
    check_place(arguments.out.as_deref(), arguments.resume.as_deref())?;
    let _scratch = Scratch::new()?;
    let signals = Signals::handle(Manner::Say("stopping: what has been found is kept (once more to stop at once)"))?;
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::machine)?;
    let to_run = match traced {
        Some(traced) => ToRun::Recorded(vec![Arc::new(subject_of(traced, &views, &arguments.spec, &signals)?)]),
        None => ToRun::Workloads(&workloads),
    };
    runtime.block_on(run_async(&arguments, to_run, &permit, &signals))
}

/// What is run.
enum ToRun<'a> {
    Workloads(&'a [Workload]),
    Recorded(Vec<Arc<Subject>>),
}

/// A trace that was recorded elsewhere, and who says what must hold of it.
struct Traced {
    trace: Trace,
    name: String,
    workload: Option<Workload>,
}

fn traced(path: &Path, arguments: &cli::Run) -> Result<Traced, Failure> {
    let trace = read(path)?;
    let workload = match arguments.at_hand.as_slice() {
        [] => None,
        [directory] => Some(Workload::load(directory)?),
        _ => return Err(Failure::usage("a trace is of one workload: --workload may be given once with --trace")),
    };
    let program = trace.command.first().map(Path::new).and_then(Path::file_name);
    let program = program.or(path.file_stem()).unwrap_or_default().to_string_lossy().into_owned();
    let name = arguments.name.clone().or_else(|| workload.as_ref().map(|workload| workload.name.clone()));
    Ok(Traced { trace, name: name.unwrap_or(program), workload })
}

/// The program of a trace, of which nothing is run but the check and the views that the user names.
fn subject_of(traced: Traced, views: &[Wanted], spec: &RunSpec, signals: &Signals) -> Result<Subject, Failure> {
    let Traced { trace, name, workload } = traced;
    let workload = workload.map_or_else(|| Workload::bare(vec![name.clone()], None), Ok)?;
    let mut workload = spec.ignoring(Workload { name: name.clone(), ..workload });
    workload.invariants.extend(views.iter().cloned());
    let judges = Judges::of(&workload, &trace, &signals.stop)?;
    Ok(Subject::new(name, Demands::of(&workload), trace, spec.bounds(), judges)?)
}

/// Finds out whether a kernel of the user's choice can be read, and whether it is for this machine.
pub fn check_kernel(kernel: Option<&Path>, vm: cli::Vm) -> Result<(), Failure> {
    let Some(kernel) = kernel else { return Ok(()) };
    if vm == cli::Vm::Uml {
        return Err(Failure::usage("--kernel is for QEMU: User Mode Linux is a kernel of its own"));
    }
    let failed = |error| Failure::io(&error, format!("cannot read the kernel {}: {error}", kernel.display()));
    fs::File::open(kernel).map(drop).map_err(failed)
}

/// One that is named twice is run once.
pub(super) fn load(paths: &[PathBuf]) -> Result<Vec<Workload>, Failure> {
    let mut workloads: Vec<Workload> = Vec::new();
    for path in paths {
        let new = Workload::load(path)?;
        match workloads.iter().find(|known| known.name == new.name) {
            None => workloads.push(new),
            Some(known) if known.directory == new.directory => {}
            // In reports, and when they are compared, the name is all there is to tell workloads apart by.
            Some(known) => {
                let (one, other) = (known.directory.as_deref(), new.directory.as_deref());
                let [one, other] = [one, other].map(|path| path.unwrap_or(Path::new("")).display().to_string());
                return Err(Failure::usage(format!(
                    "{one} and {other} are both named {}: rename one, or run them apart",
                    new.name
                )));
            }
        }
    }
    Ok(workloads)
}

/// Finds out, before anything is run, whether results can be put where they are to go: into `out`, a new directory, or
/// into that of a run that is gone on with, or else below [`RESULTS`].
pub(super) fn check_place(out: Option<&Path>, resume: Option<&Path>) -> Result<(), Failure> {
    let place = out.or(resume).unwrap_or(Path::new(RESULTS));
    check(place).map_err(|error| {
        let elsewhere = if out.is_none() { " (--out DIR takes them elsewhere)" } else { "" };
        Failure::io(&error, format!("cannot put results into {}: {error}{elsewhere}", place.display()))
    })?;
    if let Some(out) = out {
        Store::check(out)?;
    }
    Ok(())
}

/// Finds out whether a directory can be written to, or made.
fn check(directory: &Path) -> io::Result<()> {
    match fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => tempfile::tempfile_in(directory).map(drop),
        Ok(_) => Err(ErrorKind::NotADirectory.into()),
        Err(error) if error.kind() == ErrorKind::NotFound => match directory.parent() {
            Some(parent) if parent.as_os_str().is_empty() => check(Path::new(".")),
            Some(parent) => check(parent),
            None => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// How many guests run at once: as many as asked, or as there are processors.
pub(super) fn workers(jobs: Option<usize>) -> usize {
    jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

fn options(arguments: &cli::Run) -> Options {
    Options {
        spec: arguments.spec.clone().normalised(),
        vm: arguments.vm.into(),
        workers: workers(arguments.jobs),
        limits: Limits::default(),
        recordings: arguments.recordings.into(),
    }
}

async fn run_async(
    arguments: &cli::Run,
    to_run: ToRun<'_>,
    permit: &Permit,
    signals: &Signals,
) -> Result<ExitStatus, Failure> {
    let out = arguments.out.clone();
    let directory = |id: &str| out.clone().unwrap_or_else(|| fresh(&Path::new(RESULTS).join("runs"), id));
    let (options, paths) = (options(arguments), Paths::from_environment());
    let work = async |events| match &arguments.resume {
        Some(begun) => {
            let (store, workers, limits) = (Store::open(begun)?, options.workers, options.limits);
            resume(store, permit, workers, limits, &paths, &signals.stop, events).await
        }
        None => match to_run {
            ToRun::Workloads(workloads) => {
                run_workloads(workloads, &options, &paths, &signals.stop, events, directory).await
            }
            ToRun::Recorded(subjects) => {
                run_recorded(subjects, &options, &paths, &signals.stop, events, directory).await
            }
        },
    };
    let showing = Showing {
        format: arguments.format,
        chosen: arguments.out.clone().or_else(|| arguments.resume.clone()),
        exhaustive: arguments.exhaustive,
    };
    showing.show(signals, work).await
}

/// How a run is shown.
pub(super) struct Showing {
    /// What is printed at the end.
    pub format: cli::Format,
    /// The results directory, if the user chose one: `results/latest` is for the others.
    pub chosen: Option<PathBuf>,
    /// Whether a run that is not exhaustive has a status of its own.
    pub exhaustive: bool,
}

impl Showing {
    /// Does the work of a run, shows its events as they happen, and then its report.
    pub async fn show(
        self,
        signals: &Signals,
        work: impl AsyncFnOnce(mpsc::UnboundedSender<Event>) -> Result<Finished, RunError>,
    ) -> Result<ExitStatus, Failure> {
        let Self { format, chosen, exhaustive } = self;
        let (sender, mut events) = mpsc::unbounded_channel();
        let at = chosen.clone();
        let show = std::thread::spawn(move || {
            let mut reporters = reporters(format, at);
            while let Some(event) = events.blocking_recv() {
                reporters.event(&event);
            }
            reporters.finish()
        });
        let mut finished = work(sender.clone()).await;
        if let Ok(Finished { report, store, cut }) = &mut finished
            && !matches!(cut, Some(RunError::Report(_)))
            && let Err(error) = write_matrix(report, store.directory(), elsewhere(store.directory()))
        {
            cut.get_or_insert(RunError::Report(error));
        }
        if let Ok(finished) = &finished
            && !matches!(finished.cut, Some(RunError::Report(_)))
        {
            let directory = finished.store.directory();
            if chosen.is_none()
                && let Err(error) = link_latest(Path::new(RESULTS), directory)
            {
                let text = format!("failed to point {RESULTS}/latest at this run: {error}");
                let _ = sender.send(Event::Warning { cell: None, text });
            }
            let text = format!("results are in {}", directory.display());
            let _ = sender.send(Event::Note { cell: None, text });
        }
        if let Ok(finished) = &finished {
            let _ = sender.send(Event::RunFinished(finished.report.clone()));
        }
        drop(sender);
        let shown = show.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let finished = finished.map_err(|error| match error {
            RunError::Interrupted => Failure::new(signals.status(), "interrupted before any crash state was explored"),
            error => error.into(),
        })?;
        match finished.cut {
            None => {}
            Some(RunError::Interrupted) => {
                let failure =
                    Failure::new(signals.status(), "interrupted: the report holds what was found before that");
                let directory = finished.store.directory();
                // A run without machines has nothing to go on with.
                return Err(match Store::open(directory) {
                    Ok(_) => {
                        let directory = report::word(&directory.to_string_lossy());
                        failure.and(format!("to go on with it: harness run --resume {directory}"))
                    }
                    Err(_) => failure,
                });
            }
            Some(error @ RunError::Report(_)) => {
                return Err(Failure::from(error).and("the report was printed, but could not be kept"));
            }
            Some(error) => return Err(Failure::from(error).and("the report holds what was found before that")),
        }
        match shown {
            // A reader that has seen enough (`| head`) is no error.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Failure::machine(format!("failed to print the report: {error}")))
            }
            _ => Ok(exit_status(&finished.report, exhaustive)),
        }
    }
}

/// A directory of this run's own, made below `runs`: seconds since 1970, so that names sort by time, and the run's hash.
///
/// What is made for that in somebody's project stays out of its history: a `.gitignore` in it says so. A directory that is
/// there already is somebody's own.
pub(super) fn fresh(runs: &Path, id: &str) -> PathBuf {
    let made = runs.parent().into_iter().chain([runs]).find(|directory| !directory.exists());
    let _ = fs::create_dir_all(runs);
    if let Some(made) = made {
        let _ = fs::write(made.join(".gitignore"), "*\n");
    }
    let mut seconds = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    loop {
        let directory = runs.join(format!("{seconds}-{id}"));
        match fs::create_dir(&directory) {
            // The same run, begun in the same second.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => seconds += 1,
            // Any other error is met again by who writes there, and told.
            _ => return directory,
        }
    }
}

/// Those that show a run whose results are in the directory `chosen` by the user, if one was.
fn reporters(format: cli::Format, chosen: Option<PathBuf>) -> All {
    let progress: Box<dyn Reporter> = if stderr().is_terminal() {
        let nowhere: Progress<Vec<u8>> = Progress::bars(indicatif::ProgressDrawTarget::stderr());
        Box::new(nowhere)
    } else {
        Box::new(Progress::lines(stderr()))
    };
    let colour = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let last: Box<dyn Reporter> = match format {
        cli::Format::Human => Box::new(Human::new(stdout(), colour).with_results(chosen)),
        cli::Format::Json => Box::new(Json::new(stdout())),
    };
    All(vec![progress, last])
}
