//! Judges a run again, by what its journal says that guests saw, under other invariants or another check.
//!
//! The judged run is a run of its own: it has the programs, the executions and the observations of the first, and a results
//! directory with everything that any run leaves. What the first run saw of a state is enough for it if the read plan of
//! the new invariants asks for no more ([`checker::reread`]). A cell in which it asks for more is explored like that of a
//! run that was cut short: what is known is taken as it is, and the rest is looked at on guests.

use std::collections::{BTreeMap, btree_map};
use std::path::PathBuf;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use checker::{ReadPlan, reread};
use explore::{Evidence, Visit};
use filesystems::Filesystem;
use report::{CellReport, Event, Note};
use storage::{DiskModel, Fates, Image, Recovery};
use tokio::sync::mpsc;
use vm::{Limits, Paths};
use workload::Workload;

use crate::cell::{Ask, Cell, Job, Seen};
use crate::cell_report::cell_report;
use crate::execute::{Execution, ExecutionError};
use crate::journal::line::Id;
use crate::journal::{Journal, Known, Observed, Of, Record, decided};
use crate::judging::{self, Confirmed, confirm};
use crate::permit::Permit;
use crate::run::{self, Begun, Finished, RunError};
use crate::store::{Kept, KeptExecution, KeptWorkload, Shown, Store, StoreError};
use crate::subject::{Demands, Subject, SubjectError};
use crate::tally::{Tally, Violation, ViolationKey};
use crate::targets::power::Mounted;
use crate::teeth;
use crate::unit::{self, Executed, RecoveryCrash, ToVisit, Unit};

/// What is to judge, and what may be done for it.
pub struct Judging<'a> {
    /// Workloads whose invariants and checks take the place of those of the same names in the run. The command is that of
    /// the run, whatever theirs are.
    pub workloads: &'a [Workload],
    /// Which of the run's own checks may be run.
    pub permit: &'a Permit,
    /// Guests at once, where something must be looked at again.
    pub workers: usize,
    /// How long guests may take to boot, to execute and to answer.
    pub limits: Limits,
    /// The directories of guest kernels and of what is cached.
    pub paths: &'a Paths,
}

/// Judges the run in `first` again, into a results directory of its own.
///
/// # Errors
/// The run's results are damaged, an invariant does not fit its program, or see [`run::resume`].
pub async fn judge(
    first: &Store,
    judging: &Judging<'_>,
    stop: &Arc<AtomicBool>,
    events: mpsc::UnboundedSender<Event>,
    directory: impl FnOnce(&str) -> PathBuf,
) -> Result<Finished, RunError> {
    let kept = first.kept()?;
    let unknown = judging.workloads.iter().find(|given| kept.workloads.iter().all(|kept| kept.name != given.name));
    if let Some(Workload { name, .. }) = unknown {
        let has = kept.workloads.iter().map(|kept| kept.name.clone()).collect::<Vec<_>>().join(", ");
        return Err(RunError::NotOfRun { directory: first.directory().into(), name: name.clone(), has });
    }
    let id = first.id()?;
    let known = Known::of(first, &id)?;
    let subjects = subjects(first, &kept, judging, stop, &events)?;
    let plans = kept.workloads.iter().zip(&subjects).map(|(was, subject)| Plans::of(was, subject, first));
    let plans: Vec<Plans> = plans.collect::<Result<_, RunError>>()?;
    // What the report of the first run says beside what was seen.
    let said = cells(first)?;
    let failures = failures(&said);
    let new = run::hash(&subjects, &kept.spec, &kept.machine);
    let kernel = first.kernel()?;
    // That file is one word, and has no checksum of its own.
    let other = |cell: &CellReport| !cell.kernel.is_empty() && kernel.as_ref().is_some_and(|kept| *kept != cell.kernel);
    if let Some(cell) = said.iter().find(|cell| other(cell)) {
        let problem = format!("the report says that guests of {} had Linux {}", cell.id, cell.kernel);
        return Err(first.damaged("kernel", problem).into());
    }

    let place = directory(&new);
    if std::fs::canonicalize(&place)
        .is_ok_and(|place| std::fs::canonicalize(first.directory()).is_ok_and(|it| it == place))
    {
        return Err(RunError::SamePlace { directory: place });
    }
    // What it finds was found by means of the first run, whatever there is now.
    let mut begun = Begun::new(&place, new, subjects, (&kept.spec, &kept.machine, kept.tools.clone()))?;
    if let Some(kernel) = &kernel {
        begun.store.keep_kernel(kernel)?;
    }
    let translated = |cell: usize, observed: &Observed, of: Of| {
        // Those behind all others try out their rules.
        let tried = cell.checked_sub(kept.cells.len()).unwrap_or(cell);
        let workload = kept.cells.get(tried).map(|cell| cell.workload);
        let both = workload.and_then(|workload| Some((plans.get(workload)?, begun.subjects.get(workload)?)));
        both.map_or_else(Vec::new, |(plans, subject)| plans.translate(observed, subject, of))
    };
    let lines = known.lines(translated);
    Journal::begin(&begun.store, &begun.id, &lines)?;
    let before = known.visits();
    let known = Known::of_lines(lines).map_err(|problem| first.damaged(crate::journal::NAME, problem))?;
    let after = known.visits();

    let vm = Machine { name: kept.machine.clone(), kernel: kernel.unwrap_or_default() };
    let mut again = 0;
    for (index, cell) in begun.kept.cells.iter().enumerate() {
        let count = |visits: &BTreeMap<usize, u64>| visits.get(&index).copied().unwrap_or(0);
        let lost = count(&before).saturating_sub(count(&after));
        let subject = begun.subjects[cell.workload].clone();
        if lost > 0 {
            again += lost;
            let what = if lost == 1 { "visit".to_owned() } else { format!("{lost} visits") };
            let text = format!(
                "{what} of {} on {} must be made again, since what was kept of the files does not say enough",
                subject.name, cell.fs
            );
            let _ = events.send(Event::Note { cell: None, text });
            continue;
        }
        if !subject.is_explored(kept.spec.explore_invalid) {
            continue;
        }
        let filesystem = cell.filesystem().map_err(|unknown| first.damaged_manifest(unknown))?;
        let until = executed(&known, index, &subject, (&filesystem, &kept.spec.model(filesystem.kind)));
        let cell = Cell::new(index, subject, filesystem, &kept.spec).among(kept.cells.len()).up_to(until);
        let cell = Arc::new(cell);
        let folded = fold(&cell, &known, &vm).await.map_err(|error| match error {
            _ if stop.load(Ordering::Relaxed) => RunError::Interrupted,
            ExecutionError::Check(error) => SubjectError::from(error).into(),
            other => first.damaged(crate::journal::NAME, other).into(),
        })?;
        if let Some(failure) = failures.get(&index) {
            cell.failed_before(failure.clone());
        }
        let report = report(&cell, &begun, first, &folded, &events)?;
        cell.concluded(report.verdict());
        begun.done.insert(index, run::with_note(report, tried(&cell, &known, &vm, &kept).await));
    }
    let text = format!("judged by the observations of run {id}");
    let _ = events.send(Event::Note { cell: None, text });
    if again == 0 {
        return begun.finish(stop, &events);
    }
    run::is_as_it_was(&kept, &[], first)?;
    run::go_on(begun, judging.workers, judging.limits, judging.paths, stop, events).await
}

/// The machine that guests of the first run had.
struct Machine {
    name: String,
    kernel: String,
}

/// The programs with what is to judge now.
fn subjects(
    first: &Store,
    kept: &Kept,
    judging: &Judging<'_>,
    stop: &Arc<AtomicBool>,
    events: &mpsc::UnboundedSender<Event>,
) -> Result<Vec<Arc<Subject>>, RunError> {
    let own = run::checks(kept, first, judging.permit, |name| judging.workloads.iter().any(|it| it.name == name))?;
    let mut subjects = Vec::new();
    for (index, (workload, own)) in kept.workloads.iter().zip(own).enumerate() {
        let trace = first.trace(index)?;
        let given = judging.workloads.iter().find(|given| given.name == workload.name);
        if own.is_some() {
            let told = run::tell_of_check(workload, judging.permit, events);
            told.map_err(|problem| first.damaged_manifest(problem))?;
        }
        let given = given.map(|given| kept.spec.ignoring(given.clone()));
        let judges = run::judges(given.as_ref().or(own.as_ref()), &trace, stop)?;
        let demands = match &given {
            Some(given) => Demands::of(given),
            None => workload.demands().map_err(|problem| first.damaged_manifest(problem))?,
        };
        let name = workload.name.clone();
        subjects.push(Arc::new(Subject::new(name, demands, trace, kept.spec.bounds(), judges)?));
    }
    Ok(subjects)
}

/// Along which plans the guests of the first run have read the files of one program.
struct Plans([(Id, ReadPlan); 2]);

impl Plans {
    /// `was` is what the run kept of it, and `subject` the same program with what is to judge now.
    fn of(was: &KeptWorkload, subject: &Subject, first: &Store) -> Result<Self, RunError> {
        let demands = was.demands().map_err(|problem| first.damaged_manifest(problem))?;
        let plan = subject.read_plan_under(&demands)?;
        let whole = Subject::whole_of(&plan);
        Ok(Self([plan, whole].map(|plan| (Id::of_value(&plan), plan))))
    }

    /// What was seen, as guests of the judged run would have seen it: along its own plan and, in a look at a state that is
    /// shown, along that of looks which read files whole. Nothing where it says too little.
    fn translate(&self, observed: &Observed, subject: &Subject, of: Of) -> Vec<Observed> {
        let Some((_, old)) = self.0.iter().find(|(id, _)| *id == observed.plan) else { return Vec::new() };
        let whole = subject.whole();
        let mut plans = vec![(subject.plan, &*subject.read_plan)];
        if of == Of::Look && whole != *subject.read_plan {
            plans.push((Id::of_value(&whole), &whole));
        }
        let reread = |(plan, new): (Id, &ReadPlan)| {
            let observation = Arc::new(reread(&observed.observation, old, new).ok()?);
            Some(Observed { plan, observation })
        };
        plans.into_iter().filter_map(reread).collect()
    }
}

/// The cells of the first run, as it reported them. None if it was cut short before it had a report.
fn cells(first: &Store) -> Result<Vec<CellReport>, RunError> {
    match report::read_report(first.directory()) {
        Ok(report) => Ok(report.cells),
        Err(_) if !first.files().has("report.json") => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// Why cells of the first run could not be judged, by a fault of the harness: no invariant changes that.
fn failures(cells: &[CellReport]) -> BTreeMap<usize, String> {
    cells.iter().enumerate().filter_map(|(index, cell)| Some((index, cell.failure.clone()?))).collect()
}

/// How many schedules of a cell, from the first, were executed, or are not to be.
fn executed(known: &Known, index: usize, subject: &Subject, on: (&Filesystem, &DiskModel)) -> usize {
    let (filesystem, model) = on;
    let is_there = |schedule: &usize| {
        known.execution(index, *schedule).is_some() || subject.is_implied(*schedule, filesystem, model)
    };
    (0..subject.scheduled(filesystem).chosen).take_while(is_there).count()
}

/// What the fold of a cell came to, beside the cell itself.
struct Folded {
    /// Whether each state that is shown was looked at by itself in the first run.
    confirmed: bool,
}

/// Answers all that a cell asks by what is known.
async fn fold(cell: &Cell, known: &Known, machine: &Machine) -> Result<Folded, ExecutionError> {
    let mut folded = Folded { confirmed: true };
    loop {
        match cell.ask() {
            Ask::Job(Job::Prepare) => cell.prepared(Image::zeroed(1), &machine.name, &machine.kernel),
            Ask::Job(Job::Execute(schedule, _)) => {
                let plan = cell.subject.schedules[schedule].plan(&cell.subject.trace, &cell.subject.history);
                let sectors = cell.subject.disk_size() / storage::SECTOR as u64;
                match known.execution(cell.index, schedule).and_then(|shape| shape.of_zeros(sectors)) {
                    Some(log) => cell.executed(Executed::without_data(schedule, plan, log, &cell.model)),
                    None => cell.failed(format!("the journal has no log of schedule {schedule} that can be")),
                }
            }
            Ask::Job(Job::Enter(entries)) => {
                let mut tally = Tally::default();
                let mut entered = Vec::new();
                for entry in entries {
                    match visited(cell, known, &entry) {
                        None => cell.left(),
                        Some(visit) => {
                            let (subject, unit) = (&cell.subject, &*entry.unit);
                            let observation = &visit.observation.observation;
                            let findings =
                                judging::judge_equivalence_class(subject, unit, &visit.class, observation).await?;
                            entered.push(judging::entered(cell, entry, visit, &findings, &mut tally));
                        }
                    }
                }
                cell.entered(entered, tally);
            }
            Ask::Job(Job::Confirm(shown)) => {
                let mut looked = Vec::new();
                for (key, violation, unit) in shown {
                    match look(cell, known, (&key, &violation), &unit).await? {
                        Some(seen) => looked.push((key, seen)),
                        None => folded.confirmed = false,
                    }
                }
                cell.confirmed(looked);
            }
            // There is nobody else at work.
            Ask::Later | Ask::Nothing => return Ok(folded),
        }
    }
}

/// What is known of the cell that tried out the rules of this one, if it has passed and there was such a cell.
async fn tried(cell: &Arc<Cell>, known: &Known, machine: &Machine, kept: &Kept) -> Option<Note> {
    let trial = teeth::trials(slice::from_ref(cell), kept.cells.len(), &kept.spec).pop()?;
    let until = executed(known, trial.index, &trial.subject, (&trial.filesystem, &trial.model));
    // No budget: what there is to know is in the journal.
    let trial = Cell::new(trial.index, trial.subject.clone(), trial.filesystem.clone(), &kept.spec);
    let trial = trial.up_to(until).trying(cell.clone());
    fold(&trial, known, machine).await.ok()?;
    teeth::note(&trial, &trial.result())
}

/// What is known of a branch.
fn visited(cell: &Cell, known: &Known, entry: &ToVisit) -> Option<Visit<Fates, Mounted>> {
    let Record { decisions, observed, recovery } = known.find(cell.index, entry)?;
    let class = entry.unit.settled(&decisions)?;
    let recovery = match recovery.filter(|_| cell.recovery_crashes) {
        None => None,
        Some(kept) => {
            let settled: Vec<_> = decided(&kept.settled).collect();
            let class = entry.unit.settled(&settled)?;
            let shape: storage::LogShape = postcard::from_bytes(&kept.log).ok()?;
            let sectors = cell.subject.disk_size() / storage::SECTOR as u64;
            Some(Recovery { class, log: shape.of_zeros(sectors)? })
        }
    };
    let observed = observed.filter(|observed| observed.plan == cell.subject.plan)?;
    let observation = Mounted { observation: observed.observation, recovery, from_journal: true };
    Some(Visit { class, observation })
}

/// What the looks of the first run at a shown state say; `None` if it was not shown there.
async fn look(
    cell: &Cell,
    known: &Known,
    (key, violation): (&ViolationKey, &Violation),
    unit: &Arc<Unit>,
) -> Result<Option<Result<Seen, String>>, ExecutionError> {
    let subject = &cell.subject;
    let looks = |plan: Id| {
        known.looks(cell.index, &unit.key, &violation.example.state).find(move |observed| observed.plan == plan)
    };
    let Some(first) = looks(subject.plan) else { return Ok(None) };
    Ok(match confirm(cell, (key, violation), unit, &first.observation).await? {
        Confirmed::Yes(seen) => Some(Ok(seen)),
        Confirmed::No(wrong) => Some(Err(wrong)),
        Confirmed::InPart(finding) => looks(Id::of_value(&subject.whole())).map(|whole| {
            let observed = subject.rules.in_ranges(&finding, &whole.observation);
            Ok(Seen { observed, hint: None })
        }),
    })
}

/// The report of a cell that was judged by the journal; keeps what its tokens need, as far as the first run kept it.
///
/// # Errors
/// What the first run kept of a schedule that is shown is damaged: the report would say less of its writes than that of the
/// first run did.
fn report(
    cell: &Cell,
    begun: &Begun,
    first: &Store,
    folded: &Folded,
    events: &mpsc::UnboundedSender<Event>,
) -> Result<CellReport, StoreError> {
    let mut result = cell.result();
    // What the first run kept of the schedules that are shown, for the contents of their writes.
    let mut kept = BTreeMap::new();
    for unit in result.units.values_mut() {
        let schedule = unit.executed.schedule;
        let of_schedule = match kept.entry(schedule) {
            btree_map::Entry::Occupied(known) => known.into_mut(),
            btree_map::Entry::Vacant(new) => new.insert(match first.execution(cell.index, schedule) {
                Ok(KeptExecution { start, log, shown }) => {
                    let (plan, execution) = (unit.executed.plan.clone(), Execution { start, log });
                    let executed = Executed::new(schedule, plan, execution, &cell.model);
                    (executed.keys() == unit.executed.keys()).then(|| (Arc::new(executed), shown))
                }
                Err(StoreError::NoSuch { .. }) => None,
                Err(damaged) => return Err(damaged),
            }),
        };
        if let Some((executed, shown)) = of_schedule
            && let Some(whole) = with_data(unit, executed, shown)
        {
            *unit = Arc::new(whole);
        }
    }
    let mut report = cell_report(cell, &result, &begun.id);
    if !folded.confirmed {
        report.notes.push(Note::JudgedUnconfirmed);
    }
    run::keep_shown(cell, &result, &begun.store, events);
    Ok(report)
}

/// The same unit with the data of its writes, as far as they were kept.
fn with_data(unit: &Unit, executed: &Arc<Executed>, shown: &[Shown]) -> Option<Unit> {
    let recovery_crash = match &unit.recovery_crash {
        None => None,
        Some(RecoveryCrash { class, index, epoch, .. }) => {
            let name = unit::short(&unit.key);
            let kept =
                shown.iter().filter_map(|shown| shown.recovery_crash.as_ref()).find(|crash| crash.name == name)?;
            let (class, log) = (class.clone(), Arc::new(kept.log.clone()));
            Some(RecoveryCrash { class, log, index: *index, epoch: epoch.clone() })
        }
    };
    let Unit { index, epoch, key, .. } = *unit;
    Some(Unit { index, executed: executed.clone(), epoch, key, recovery_crash })
}
