//! `harness reproduce`.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use checker::{CrashWindow, Entry, EntryKind, Finding, Invariant, Mount, Observation, Seen, Wanted};
use program::OpId;
use report::{ExitStatus, Ops, ScheduleReport, ViolationReport};
use reporters::{headline, sentences, tame};
use storage::{DiskModel, Layers};
use vm::{Choice, KernelError, Limits, Machine, Paths};
use workload::Workload;

use super::failure::say;
use super::run::check_kernel;
use super::signal::{Manner, Scratch, Signals};
use super::{Failure, show::print};
use crate::cli;
use checks::{KeptCheck, LARGEST_FILE, can_be_made, make_empty, unpack};
use engine::cell_report::broken_from;
use engine::execute::{Execution, ExecutionError};
use engine::guests::{Boot, Slot};
use engine::judging::{is_of_check, judge};
use engine::permit::{ADVICE, Permit};
use engine::run::default_results;
use engine::scheduled;
use engine::store::{Kept, KeptCell, KeptExecution, Shown, Store};
use engine::subject::{Demands, Judges, Subject, SubjectError};
use engine::token::Token;
use engine::unit::Executed;
use engine::visit::Guests;
use engine::visit::observe_image;
use engine::window::{begun_latest, torn, window};

/// Files up to this size, bytes, are read whole and shown.
const SHOWN: u64 = 1 << 20;

/// A crash state, rebuilt.
struct Rebuilt {
    subject: Subject,
    cell: KeptCell,
    layers: Layers,
    token: Token,
    /// When the states of the equivalence class can occur that the state stands for.
    window: CrashWindow,
    /// How many ops had begun at the latest point.
    begun_latest: usize,
    /// The check of the workload, as it would be run, if it may not be.
    unchecked: Option<String>,
    /// What the report says of the state.
    said: Vec<Said>,
}

/// One thing that a report says of a state.
struct Said {
    violation: ViolationReport,
    fails: bool,
}

impl Said {
    fn is(&self, finding: &Finding) -> bool {
        let ViolationReport { path, invariant, kind, .. } = &self.violation;
        (path, invariant, *kind, self.fails)
            == (&finding.path.to_string(), &finding.invariant.to_string(), finding.kind, finding.fails)
    }

    fn text(&self) -> String {
        let ViolationReport { path, invariant, kind, observed, output, .. } = &self.violation;
        let observed = sentences::observed(observed);
        match output {
            Some(_) => headline(path, *kind, invariant, Some(&observed)),
            None => format!("{}: {observed}", headline(path, *kind, invariant, None)),
        }
    }
}

/// What a rebuilt state looks like.
pub struct Looked {
    /// What the guest saw, with whole contents.
    pub observation: Observation,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
    /// Whether that is not all: the workload's check was not run, or the report says more.
    pub unsure: bool,
    /// The release of the guest's kernel.
    pub kernel: String,
    /// For people.
    pub text: String,
}

/// Rebuilds the state that a token names, and shows it. Status 1 if it breaks an invariant.
pub fn reproduce(arguments: &cli::Reproduce) -> Result<ExitStatus, Failure> {
    let token: Token = arguments.token.parse().map_err(Failure::usage)?;
    check_kernel(arguments.kernel.as_deref(), arguments.vm.unwrap_or_default())?;
    let _scratch = Scratch::new()?;
    let _signals = Signals::handle(Manner::AtOnce)?;
    let root = arguments.results.clone().unwrap_or_else(default_results);
    let store = Store::find(&root, &token)?;
    let permit = Permit::new(arguments.run_check, &arguments.at_hand, &root)?;
    let rebuilt = rebuild(&store, token, &permit)?;
    if let Some(path) = &arguments.tree {
        make_empty(path).map_err(|error| {
            Failure::usage(format!("cannot unpack into {}: {error}; name an empty directory, or none", path.display()))
        })?;
    }
    if let Some(path) = &arguments.image {
        write_image(&rebuilt, path, arguments.force)?;
        say(&format!("the disk is in {}", path.display()));
    }
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::machine)?;
    let wishes = wishes(arguments.vm, arguments.kernel.as_deref(), &store.kept()?);
    let executed = runtime.block_on(look(rebuilt, &wishes, arguments.tree.is_some()))?;
    if let Some(was) = store.kernel()?.filter(|was| *was != executed.kernel) {
        let is = &executed.kernel;
        say(&format!(
            "warning: this guest has Linux {is}, and those of the run had Linux {was}: what is found may be something else \
             than the run found (--vm and --kernel choose another)"
        ));
    }
    if let Some(path) = &arguments.tree {
        unpack_into(path, &executed.observation)?;
    }
    print(&executed.text)?;
    Ok(match executed.findings.iter().any(|finding| finding.fails) {
        true => ExitStatus::Violation,
        false if executed.unsure => ExitStatus::Defect,
        false => ExitStatus::Holds,
    })
}

/// Writes the disk of a state to a file that is not there yet, or that the user wants to lose.
fn write_image(rebuilt: &Rebuilt, path: &Path, force: bool) -> Result<(), Failure> {
    let mut options = File::options();
    let options = options.write(true).create(true).truncate(force).create_new(!force);
    let written = options.open(path).and_then(|file| rebuilt.layers.image(&rebuilt.token.state).write_raw(&file));
    written.map_err(|error| {
        let force = if error.kind() == ErrorKind::AlreadyExists { " (--force overwrites it)" } else { "" };
        Failure::io(&error, format!("failed to write the disk image {}: {error}{force}", path.display()))
    })
}

/// The same, for programs.
pub async fn reproduce_token(store: &Store, token: Token, permit: &Permit, vm: Choice) -> Result<Looked, Failure> {
    look(rebuild(store, token, permit)?, &[(vm, None)], false).await
}

/// Puts the files of a state into an empty directory: those that can be read.
fn unpack_into(directory: &Path, observation: &Observation) -> Result<(), Failure> {
    let (whole, left_out): (Vec<_>, Vec<_>) = observation.entries.iter().partition(|(_, entry)| is_whole(entry));
    for (path, entry) in left_out {
        say(&tame(&format!("not unpacked, since it was not read whole: {}", entry_line(path, entry).trim_start())));
    }
    let own = |(path, entry): (&program::RelPath, &Entry)| (path.clone(), entry.clone());
    let mut entries: std::collections::BTreeMap<_, _> = whole.into_iter().map(own).collect();
    // Another name of what cannot be read cannot be read either, whatever was reported of it.
    let names: std::collections::BTreeSet<_> = entries.keys().cloned().collect();
    entries.retain(|_, entry| entry.same_as.as_ref().is_none_or(|first| names.contains(first)));
    if observation.mount == Mount::Mounted {
        let failed = |error| Failure::machine(format!("cannot unpack into {}: {error}", directory.display()));
        unpack(directory, &entries).map_err(failed)?;
        say(&format!("the files are in {}", directory.display()));
    } else {
        say(&format!("{} stays empty: this state has no files that can be read", directory.display()));
    }
    Ok(())
}

/// Whether all of a file was read, or all that there is of something else.
fn is_whole(entry: &Entry) -> bool {
    match &entry.kind {
        EntryKind::File { size, seen: Seen::Bytes(content) } => content.len() as u64 == *size,
        EntryKind::File { size, .. } => *size == 0,
        EntryKind::Unreadable { .. } => false,
        EntryKind::Directory { .. } | EntryKind::Symlink { .. } => true,
        // What can only be made by root is a device.
        EntryKind::Special { mode } => can_be_made(*mode),
    }
}

/// A kind of machine, and a kernel for it, if it is not to have the one that it has by itself.
type Wish = (Choice, Option<PathBuf>);

/// The machines that would do, the best first: what the user names; else what the run had, which shows what the run
/// found; else any.
fn wishes(vm: Option<cli::Vm>, kernel: Option<&Path>, kept: &Kept) -> Vec<Wish> {
    let of_run = || kept.spec.kernel.clone().filter(|kernel| kernel.is_file());
    match (vm, kernel) {
        (None, None) => vec![(Choice::of(&kept.machine), of_run()), (Choice::Auto, None)],
        (Some(cli::Vm::Qemu), None) => vec![(Choice::Qemu, of_run())],
        (vm, kernel) => vec![(vm.unwrap_or_default().into(), kernel.map(Path::to_path_buf))],
    }
}

/// The first of them that this host has.
async fn machine(wishes: &[Wish], paths: &Paths) -> Result<Box<dyn Machine>, KernelError> {
    let [others @ .., (last, kernel)] = wishes else { return vm::choose(Choice::Auto, None, paths).await };
    for (choice, kernel) in others {
        if let Ok(machine) = vm::choose(*choice, kernel.as_deref(), paths).await {
            return Ok(machine);
        }
    }
    vm::choose(*last, kernel.as_deref(), paths).await
}

fn rebuild(store: &Store, token: Token, permit: &Permit) -> Result<Rebuilt, Failure> {
    let kept = store.kept()?;
    let none = |what: String| Failure::usage(format!("the run in {} has no {what}", store.directory().display()));
    let cell = kept.cells.get(token.cell).cloned().ok_or_else(|| none(format!("cell {}", token.cell)))?;
    let workload = kept.workloads.get(cell.workload).ok_or_else(|| none(format!("workload {}", cell.workload)))?;
    let trace = store.trace(cell.workload)?;
    let damaged = |problem| Failure::from(store.damaged_manifest(problem));
    // Whether there is such a state is found out before anything is run.
    let commands = workload.commands().map_err(damaged)?;
    let Demands { wanted, ignore, .. } = workload.demands().map_err(damaged)?;
    let mut subject = workload.subject(trace, kept.spec.bounds(), Judges::CheckMissing).map_err(damaged)??;
    let chosen = subject.defaults.iter().flat_map(|defaults| &defaults.wanted);
    let has_views = wanted.iter().chain(chosen).any(|wanted| matches!(wanted, Wanted::View(_)));
    if token.schedule >= subject.schedules.len() {
        return Err(none(format!("schedule {}", token.schedule)));
    }
    let schedule = &subject.schedules[token.schedule];
    let plan = schedule.plan(&subject.trace, &subject.history);
    let model = kept.spec.model(cell.filesystem().map_err(|error| store.damaged_manifest(error))?.kind);
    let KeptExecution { start, log, shown } = store.execution(token.cell, token.schedule)?;
    let executed = Executed::new(token.schedule, plan, Execution { start, log }, &model);
    let missing = || none(format!("crash state {token}: its epoch or its writes do not exist"));
    let epoch = executed.epochs.get(token.epoch).cloned().ok_or_else(missing)?;
    let layers = layers(&executed, &shown, model, &token).ok_or_else(missing)?;
    let shown = shown.iter().find(|shown| shown.is(&token));
    let window =
        shown.map_or_else(|| window(&executed.plan, &epoch, &executed.log, torn(&token.state)), |shown| shown.window);
    let begun_latest = begun_latest(&executed.plan, &epoch);
    let mut unchecked = None;
    let nothing = KeptCheck::default();
    let mut found = None;
    match &commands {
        None => found = has_views.then(|| nothing.workload(&workload.name)).transpose().map_err(SubjectError::from)?,
        Some(commands) => {
            let at_hand = permit.check(&workload.name, commands).map_err(SubjectError::from)?;
            match at_hand.filter(|found| permit.runs_what_stands_there() || commands.has_files_of(found)) {
                Some(at_hand) => {
                    if permit.runs_what_stands_there() {
                        let what = commands.what();
                        say(&tame(&format!("running the {what} of {}: {}", workload.name, commands.shown())));
                    }
                    found = Some(at_hand);
                }
                None => unchecked = Some(commands.shown()),
            }
        }
    }
    if let Some(found) = found {
        let found = Workload { invariants: wanted, ignore, ..found };
        let judges = Judges::of(&found, &subject.trace, &Arc::default())?.keeping_all();
        subject = workload.subject(subject.trace, kept.spec.bounds(), judges).map_err(damaged)??;
    }
    let said = said(store, &token);
    Ok(Rebuilt { subject, cell, layers, token, window, begun_latest, unchecked, said })
}

/// What the report of the run says of a state, if there is one.
fn said(store: &Store, token: &Token) -> Vec<Said> {
    let report = match report::read_report(store.directory()) {
        Ok(report) => report,
        // It was cut short.
        Err(_) if !store.files().has("report.json") => return Vec::new(),
        Err(error) => {
            say(&format!("warning: it is not known what the report says of this state: {error}"));
            return Vec::new();
        }
    };
    let Some(cell) = report.cells.into_iter().nth(token.cell) else { return Vec::new() };
    let told = [cell.not_durable, cell.weaknesses, cell.warnings].into_iter().flatten();
    let told = told.map(|violation| Said { violation, fails: false });
    let all = cell.violations.into_iter().map(|violation| Said { violation, fails: true }).chain(told);
    all.filter(|said| said.violation.token == token.to_string()).collect()
}

/// What the states of a token's epoch share, if its own is one of them.
fn layers(executed: &Executed, shown: &[Shown], model: DiskModel, token: &Token) -> Option<Layers> {
    let first = executed.layers(token.epoch, model);
    let recovered =
        |decision: &storage::Decision| token.state.survived(decision.write, decision.unit) == decision.survived;
    let layers = match &token.recovery_crash {
        None => first,
        Some(name) => {
            let kept =
                shown.iter().filter_map(|shown| shown.recovery_crash.as_ref()).find(|crash| crash.name == *name)?;
            let epoch = storage::epochs(&kept.log, &model).into_iter().nth(kept.index)?;
            let mut class = first.fates();
            // Of another class recovery would have written something else.
            let is_of_class = kept.settled.iter().all(recovered);
            (is_of_class && class.settle_these(&kept.settled))
                .then(|| Layers::recovered(&Arc::new(first), &class, &kept.log, &epoch))?
        }
    };
    layers.fates().allows(&token.state).then_some(layers)
}

async fn look(rebuilt: Rebuilt, wishes: &[Wish], whole: bool) -> Result<Looked, Failure> {
    let paths = Paths::from_environment();
    let machine = machine(wishes, &paths).await?;
    let filesystem = rebuilt.cell.filesystem().map_err(Failure::usage)?;
    let initramfs = machine.initramfs(&paths.cache, &[filesystem.kind])?;
    let boot = Boot::new(machine, initramfs, rebuilt.layers.sectors(), Limits::default(), None);
    let mut slot = Slot::new(&boot);
    let mut read_plan = (*rebuilt.subject.read_plan).clone();
    read_plan.read_all_up_to = read_plan.read_all_up_to.max(if whole { LARGEST_FILE } else { SHOWN });
    slot.set_read_plan(&Arc::new(read_plan));
    let kernel = slot.guest().await?.kernel().to_owned();
    let (layers, state) = (&rebuilt.layers, &rebuilt.token.state);
    let observation = observe_image(&mut slot, &filesystem, layers.image(state)).await?;
    let mut fates = layers.fates();
    fates.settle_all(state);
    let subject = &rebuilt.subject;
    let judged = judge(subject, fates.torn(), &observation, &rebuilt.window).await;
    let mut findings = judged.map_err(|error| match error {
        ExecutionError::Guest(error) => error.into(),
        ExecutionError::Check(error) => SubjectError::from(error).into(),
        other => Failure::machine(other),
    })?;
    for finding in &mut findings {
        // As the report has it.
        finding.observed = subject.rules.in_ranges(finding, &observation).unwrap_or_else(|| finding.observed.clone());
    }
    let text = text(&rebuilt, &observation, &findings);
    let unseen = rebuilt.said.iter().any(|said| !findings.iter().any(|finding| said.is(finding)));
    let unsure = unseen || rebuilt.unchecked.is_some();
    Ok(Looked { observation, findings, unsure, kernel, text })
}

fn text(rebuilt: &Rebuilt, observation: &Observation, findings: &[Finding]) -> String {
    let subject = &rebuilt.subject;
    let KeptCell { fs, mount_options, mkfs_options, .. } = &rebuilt.cell;
    let schedule = scheduled::schedule(&subject.schedules[rebuilt.token.schedule], false);
    let mut lines = vec![
        format!("{} on {}", subject.name, filesystems::shown(fs, mount_options, mkfs_options)),
        format!("schedule: {}", sentences::schedule(&ScheduleReport::Known(schedule))),
    ];
    let earliest = rebuilt.window.begun_earliest.checked_sub(1);
    let ops = Ops::all(&subject.trace);
    let after = |index: Option<usize>| sentences::after(index.map(OpId), &ops);
    for (name, index) in [("earliest", earliest), ("latest", rebuilt.begun_latest.checked_sub(1))] {
        lines.push(format!("{name}: {}", after(index)));
    }
    match &observation.mount {
        Mount::Mounted => lines.extend(observation.entries.iter().map(|(path, entry)| entry_line(path, entry))),
        Mount::Refused { errno, log } => {
            lines.push(format!("the kernel refuses to mount: {}", std::io::Error::from_raw_os_error(*errno)));
            lines.extend(log.lines().map(str::to_owned));
        }
        Mount::Died { reason } => lines.push(format!("the guest died: {reason}")),
    }
    for finding in findings {
        let weight = match (finding.fails, &finding.invariant) {
            (true, _) => "violation",
            (false, Invariant::Mountable) => {
                "weakness of the file system itself, which is refused only because a write was torn"
            }
            (false, Invariant::NoLeftovers) => "warning",
            (false, _) => "not durable",
        };
        let Finding { invariant, kind, path, .. } = finding;
        // As the report says it: what was promised is broken from the promise on, however early the state can occur.
        let broken = broken_from(&subject.trace, invariant, &rebuilt.window);
        if broken != earliest {
            lines.push(format!("earliest: {}", after(broken)));
        }
        let observed = sentences::observed(&finding.observed);
        match &finding.check {
            None => {
                let headline = headline(&path.to_string(), *kind, invariant, None);
                lines.push(format!("{weight}: {headline}: {observed}"));
            }
            Some(check) => {
                let headline = headline(&path.to_string(), *kind, invariant, Some(&observed));
                lines.push(format!("{weight}: {headline}"));
                lines.extend(check.output.lines().map(|line| format!("  | {line}")));
            }
        }
        let hint = match invariant {
            invariant if is_of_check(invariant) => {
                checker::check_reason(&subject.trace, &subject.rules.not_versions(observation), &rebuilt.window)
            }
            _ => checker::reason(&subject.trace, invariant, *kind, path, &rebuilt.window),
        };
        if let Some(hint) = hint {
            lines.push(format!("  {}", sentences::hint(&hint, &ops)));
        }
    }
    match &rebuilt.unchecked {
        Some(check) => lines.push(format!("check not run, since it stands in the results: {check} ({ADVICE})")),
        None if findings.is_empty() => lines.push("every invariant holds in this state".into()),
        None => {}
    }
    for said in rebuilt.said.iter().filter(|said| !findings.iter().any(|finding| said.is(finding))) {
        let invariant = &said.violation.invariant;
        let by_command = *invariant == Invariant::Check.to_string() || invariant.starts_with("view ");
        let of_check = rebuilt.unchecked.is_some() && by_command;
        let why = if of_check { "the check was not run" } else { "this state does not show that" };
        lines.push(format!("the report says of this state: {}; {why}", said.text()));
    }
    lines.iter().map(|line| tame(line) + "\n").collect()
}

fn entry_line(path: &program::RelPath, entry: &Entry) -> String {
    let what = match &entry.kind {
        EntryKind::File { seen: Seen::Bytes(content), .. } => {
            sentences::description(&checker::describe(&program::State::File(content.clone())))
        }
        EntryKind::File { size, .. } => format!("{} bytes", program::thousands(*size)),
        EntryKind::Directory { error: None } => "directory".into(),
        EntryKind::Directory { error: Some(errno) } => {
            format!("directory that cannot be listed: {}", std::io::Error::from_raw_os_error(*errno))
        }
        EntryKind::Symlink { target } => format!("-> {}", String::from_utf8_lossy(target)),
        EntryKind::Special { .. } => "FIFO, socket or device".into(),
        EntryKind::Unreadable { errno } => format!("unreadable: {}", std::io::Error::from_raw_os_error(*errno)),
    };
    format!("  {path}: {what}, mode {:04o}", entry.mode)
}

#[cfg(test)]
mod tests;
