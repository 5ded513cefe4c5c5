//! One workload, built, prepared and recorded: what every cell of it needs to know.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use checker::{Defaults, Description, ReadPlan, RuleError, Rules, Unjudged, View, Wanted, describe};
use filesystems::Filesystem;
use program::{History, Limit, Op, RelPath, Trace, cleared_set_ids, unexplained_paths};
use record::IoUring;
use storage::DiskModel;
use workload::{IgnorePattern, Ignored, Workload};

use crate::execute::Live;
use crate::journal::line::Id;
use crate::label::Labels;
use crate::recording::record_in;
use checks::{CheckError, Checker, LARGEST_FILE, Workplace};
use plan::{Overwrites, Schedule, data_of, sample, schedule_count};
use protocol::Conditions;

use self::size::fits;

mod error;
mod size;

pub use error::SubjectError;

/// Files up to this size, bytes, are read whole where a report shows what they hold.
const WHOLE: u64 = 4 << 20;

/// All schedules of a run are held in memory, and each takes an execution: more than this would take hours.
/// Where there are more, so many of them are chosen.
const MOST_SCHEDULES: usize = 20_000;

/// What of a run's specification a workload depends on: which schedules are executed, and what has to hold unasked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The most injections that a schedule has.
    pub injections: u32,
    /// What the choice depends on, where there are too many.
    pub seed: u64,
    /// Whether each is executed once more with fast commits, on file systems that have such.
    pub fast_commits: bool,
    /// Whether what is not durable after the exit fails.
    pub require_durable: bool,
}

impl Bounds {
    /// The schedules within these bounds: at most [`MOST_SCHEDULES`], and as many again, behind them, with fast commits.
    fn schedules(self, trace: &Trace, history: &History) -> Vec<Schedule> {
        let mut schedules = sample(trace, history, self.injections, self.seed, MOST_SCHEDULES);
        if self.fast_commits {
            let fast = |schedule: &Schedule| {
                let conditions = Conditions { fast_commits: true, ..schedule.conditions };
                Schedule { conditions, ..schedule.clone() }
            };
            schedules.extend(schedules.iter().map(fast).collect::<Vec<_>>());
        }
        schedules
    }
}

/// How many schedules there are for one file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduled {
    /// Those of [`Subject::schedules`], from the first, that are executed on it.
    pub chosen: usize,
    /// All that there are: more, if these are a choice. `u64::MAX` if more than that.
    pub of: u64,
}

/// Who judges crash states.
pub enum Judges {
    /// The rules; the workload has neither a check of its own nor views.
    Rules,
    /// The workload's own check and views, too; without views that were chosen for it and see nothing in files that no crash
    /// has touched.
    Both(Box<Checker>, Vec<BlindView>),
    /// The workload has commands that judge, which may not be run here: the rules judge what they would judge beside them.
    CheckMissing,
}

/// A view that was chosen for a program, but fails wherever it would be right: of an encrypted database, say.
pub struct BlindView {
    view: View,
    /// How it fails.
    problem: String,
}

impl Judges {
    /// Who judges a program by a workload's check and views, if it has any, or if views are chosen for it.
    ///
    /// # Errors
    /// See [`Checker::new`].
    pub fn of(workload: &Workload, trace: &Trace, stop: &Arc<AtomicBool>) -> Result<Self, SubjectError> {
        let demands = Demands::of(workload);
        let chosen = demands.choose(&workload.name, trace, &History::new(trace))?;
        let mut views: Vec<View> =
            chosen.iter().flat_map(|defaults| &defaults.wanted).filter_map(view).cloned().collect();
        let mut blind = Vec::new();
        loop {
            let mut workload = workload.clone();
            workload.invariants.extend(views.iter().cloned().map(Wanted::View));
            if !Checker::is_needed(&workload) && blind.is_empty() {
                return Ok(Self::Rules);
            }
            match Checker::new(&workload, trace, stop) {
                Ok(checker) => return Ok(Self::Both(Box::new(checker), blind)),
                Err(CheckError::Blind { view, problem, .. }) if views.iter().any(|it| it.to_string() == view) => {
                    let (blinded, left) = views.into_iter().partition(|it| it.to_string() == view);
                    views = left;
                    blind.extend(Vec::into_iter(blinded).map(|view| BlindView { view, problem: problem.clone() }));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The same, and all that a check prints is kept.
    pub fn keeping_all(self) -> Self {
        match self {
            Self::Both(checker, blind) => Self::Both(Box::new(checker.keeping_all()), blind),
            other => other,
        }
    }
}

/// What is asked of a workload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Demands {
    /// What the author wants to hold; if that is nothing, and there is no check either, it is chosen.
    pub wanted: Vec<Wanted>,
    /// Whether it has a check of its own.
    pub has_check: bool,
    /// Names that matter to nobody.
    pub ignore: Vec<IgnorePattern>,
}

impl Demands {
    /// What a workload asks for.
    pub fn of(workload: &Workload) -> Self {
        let Workload { invariants, check, ignore, .. } = workload;
        Self { wanted: invariants.clone(), has_check: check.is_some(), ignore: ignore.clone() }
    }

    /// What is chosen for a program of this name, if nothing is asked for.
    fn choose(&self, name: &str, trace: &Trace, history: &History) -> Result<Option<Defaults>, SubjectError> {
        let asks = self.has_check || !self.wanted.is_empty();
        let no_data = if asks { BTreeSet::new() } else { no_data(name, trace, history, &self.ignore)? };
        Ok((!asks).then(|| Defaults::new(trace, history, &no_data)))
    }
}

/// A recorded workload.
#[derive(Clone)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// What is asked of it.
    pub demands: Demands,
    /// What was chosen, if nothing is asked for.
    pub defaults: Option<Defaults>,
    /// What the recorder saw of the program.
    pub trace: Trace,
    /// See [`Subject::unmodelled_calls`].
    unmodelled_calls: Vec<Limit>,
    /// What its files went through.
    pub history: History,
    /// The invariants, compiled for this program.
    pub rules: Rules,
    /// How far the guest reads.
    pub read_plan: Arc<ReadPlan>,
    /// The hash of the read plan.
    pub plan: Id,
    /// How the guest looks at the live tree.
    pub live: Live,
    /// What to execute; with fast commits, where a file system of the run has such, come last.
    pub schedules: Vec<Schedule>,
    /// How many schedules there are with one kind of commit: more than are executed, if these are a choice. `u64::MAX` if more
    /// than that.
    pub all_schedules: u64,
    /// Which of them show nothing of their own on a file system that overwrites in place.
    overwrites: Overwrites,
    /// Which file the data of a block write belong to.
    pub labels: Labels,
    /// The workload's own check and views.
    pub checker: Option<Arc<Checker>>,
    /// Whether what is not durable after the exit fails.
    pub requires_durability: bool,
    /// Whether it is executed as if none of its calls waited for data to be durable ([`Subject::without_syncs`]).
    pub without_syncs: bool,
}

impl Subject {
    /// Builds, prepares and records a workload in a fresh directory.
    pub fn record(
        workload: &Workload,
        bounds: Bounds,
        io_uring: IoUring,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, SubjectError> {
        let name = workload.name.clone();
        workload.build(stop)?;
        let fresh = Workplace::new("crash-harness-run-");
        let fresh = fresh.map_err(|source| SubjectError::Directory { name: name.clone(), source })?;
        workload.prepare(fresh.path(), stop)?;
        let trace = record_in(workload, fresh.path(), io_uring, stop)?;
        // Before the check is tried on it.
        fits(&name, &trace)?;
        let judges = Judges::of(workload, &trace, stop)?;
        Self::new(name, Demands::of(workload), trace, bounds, judges)
    }

    /// A subject from a trace that is there.
    pub fn of(name: String, wanted: Vec<Wanted>, trace: Trace, bounds: Bounds) -> Result<Self, SubjectError> {
        Self::new(name, Demands { wanted, ..Demands::default() }, trace, bounds, Judges::Rules)
    }

    /// The same; with a check of its own, nothing is chosen.
    pub fn new(
        name: String,
        demands: Demands,
        trace: Trace,
        bounds: Bounds,
        judges: Judges,
    ) -> Result<Self, SubjectError> {
        // A trace that is read from a file may be anyone's.
        fits(&name, &trace)?;
        let history = History::new(&trace);
        let no_data = no_data(&name, &trace, &history, &demands.ignore)?;
        let (mut rules, mut defaults) = rules(&name, (&trace, &history), &demands, &no_data)?;
        let chosen = defaults.iter().flat_map(|defaults| &defaults.wanted);
        let has_views = demands.wanted.iter().chain(chosen).any(|wanted| view(wanted).is_some());
        let mut checker = match judges {
            Judges::Both(checker, blind) => {
                if let Some(defaults) = &mut defaults {
                    blind.iter().for_each(|blind| defaults.give_up(&blind.view, &blind.problem));
                }
                Some(*checker)
            }
            // A pass would be none.
            Judges::Rules if has_views => return Err(SubjectError::NobodyLooks { name }),
            Judges::Rules | Judges::CheckMissing => None,
        };
        if bounds.require_durable {
            rules.require_durability();
            checker.iter_mut().for_each(Checker::require_durability);
        }
        if checker.is_some() {
            rules.read_all_up_to(LARGEST_FILE);
        }
        let mut unmodelled_calls = limits(&trace, &no_data);
        for wanted in &demands.wanted {
            if let Wanted::MetadataPreserved { path } = wanted {
                unmodelled_calls.extend(cleared_set_ids(&trace, path));
            }
        }
        let read_plan = Arc::new(rules.read_plan().clone());
        Ok(Self {
            name,
            demands,
            defaults,
            plan: Id::of_value(&*read_plan),
            read_plan,
            live: Live::new(&trace.after, no_data),
            schedules: bounds.schedules(&trace, &history),
            all_schedules: schedule_count(&trace, &history, bounds.injections),
            overwrites: Overwrites::new(&trace, &history),
            labels: Labels::new(&history),
            trace,
            unmodelled_calls,
            history,
            rules,
            checker: checker.map(Arc::new),
            requires_durability: bounds.require_durable,
            without_syncs: false,
        })
    }

    /// The same program held to the same rules, but executed without its syncs, in the base schedules alone: whether the
    /// rules would notice. `None` for a program without syncs.
    pub fn without_syncs(&self) -> Option<Self> {
        let syncs = |op: &Op| op.result >= 0 && op.call.without_sync().is_some();
        self.trace.ops.iter().any(syncs).then(|| {
            let schedules = plan::schedules(&self.trace, &self.history, 0);
            Self { all_schedules: schedules.len() as u64, schedules, without_syncs: true, ..self.clone() }
        })
    }

    /// How far the guest reads of the same program if this is wanted of it, and it has a check of its own or not.
    ///
    /// # Errors
    /// What is wanted does not fit the program.
    pub fn read_plan_under(&self, demands: &Demands) -> Result<ReadPlan, SubjectError> {
        let no_data = no_data(&self.name, &self.trace, &self.history, &demands.ignore)?;
        let (mut rules, defaults) = rules(&self.name, (&self.trace, &self.history), demands, &no_data)?;
        let chosen = defaults.iter().flat_map(|defaults| &defaults.wanted);
        if demands.has_check || demands.wanted.iter().chain(chosen).any(|wanted| view(wanted).is_some()) {
            rules.read_all_up_to(LARGEST_FILE);
        }
        Ok(rules.read_plan().clone())
    }

    /// How far the guest reads where a report shows what files hold: as else, and all files up to [`WHOLE`] to their end.
    pub fn whole(&self) -> ReadPlan {
        Self::whole_of(&self.read_plan)
    }

    /// The same for another plan.
    pub fn whole_of(read_plan: &ReadPlan) -> ReadPlan {
        ReadPlan { read_all_up_to: read_plan.read_all_up_to.max(WHOLE), ..read_plan.clone() }
    }

    /// Bytes of the disk that it needs.
    pub fn disk_size(&self) -> u64 {
        crate::mkfs::disk_size(data_of(&self.trace))
    }

    /// How many schedules there are for a file system: those with fast commits, only where it has such.
    pub fn scheduled(&self, filesystem: &Filesystem) -> Scheduled {
        if self.without_syncs {
            return Scheduled { chosen: self.schedules.len(), of: self.all_schedules };
        }
        if filesystem.has_fast_commits() {
            return Scheduled { chosen: self.schedules.len(), of: self.all_schedules.saturating_mul(2) };
        }
        let chosen = self.schedules.iter().take_while(|schedule| !schedule.conditions.fast_commits).count();
        Scheduled { chosen, of: self.all_schedules }
    }

    /// Whether all crash states of a schedule are among those of others that are executed, on this file system and disk.
    pub fn is_implied(&self, schedule: usize, filesystem: &Filesystem, model: &DiskModel) -> bool {
        // Those of others may have come before the exploration begins.
        // Without syncs, nobody has thought about which do.
        if self.trace.explored_from.is_some() || self.without_syncs {
            return false;
        }
        // In a choice of schedules, the others may be missing.
        let Scheduled { chosen, of } = self.scheduled(filesystem);
        let all = chosen as u64 == of;
        let schedule = self.schedules.get(schedule).filter(|_| all);
        schedule.is_some_and(|schedule| self.overwrites.imply(schedule, filesystem, model))
    }

    /// Whether there is any use in exploring it: not where it is known that it cannot be judged, unless that is asked for.
    pub fn is_explored(&self, explore_invalid: bool) -> bool {
        explore_invalid || self.unmodelled_calls.is_empty()
    }

    /// What a file was before and after the run. None of the root, which stands for the whole file system.
    pub fn old_and_new(&self, path: &RelPath) -> [Option<Description>; 2] {
        let versions = if path.is_root() { &[] } else { self.history.versions(path) };
        [versions.first(), versions.last()].map(|version| version.map(|version| describe(&version.state)))
    }

    /// The files that were changed and that no rule is held against.
    pub fn unjudged(&self) -> &[Unjudged] {
        self.defaults.as_ref().map_or(&[], |defaults| &defaults.unjudged)
    }

    /// What the recorder could not follow, and what no guest can show of what is wanted.
    pub fn unmodelled_calls(&self) -> &[Limit] {
        &self.unmodelled_calls
    }
}

fn view(wanted: &Wanted) -> Option<&View> {
    if let Wanted::View(view) = wanted { Some(view) } else { None }
}

/// The names that matter to nobody: by their format, and since they are to be ignored.
fn no_data(
    name: &str,
    trace: &Trace,
    history: &History,
    ignore: &[IgnorePattern],
) -> Result<BTreeSet<RelPath>, SubjectError> {
    let ignored = Ignored::new(ignore);
    let ignored = ignored.map_err(|source| SubjectError::Ignore { name: name.into(), source })?;
    let names = history.paths().map(|(path, _)| path).chain(trace.after.0.keys());
    let names = names.filter(|path| !path.is_root() && ignored.has(path)).cloned();
    Ok(names.chain(checker::scratch(history)).collect())
}

/// What the recorder could not follow, without what it noticed by the end of files that matter to nobody.
fn limits(trace: &Trace, no_data: &BTreeSet<RelPath>) -> Vec<Limit> {
    let mut limits = trace.limits.clone();
    if !limits.is_empty() && !no_data.is_empty() {
        let of_nobody = unexplained_paths(trace).into_iter();
        let of_nobody = of_nobody.filter(|(path, _)| path.as_ref().is_some_and(|path| no_data.contains(path)));
        let of_nobody: Vec<Limit> = of_nobody.map(|(_, limit)| limit).collect();
        limits.retain(|limit| !of_nobody.contains(limit));
    }
    limits
}

/// The rules of a program of this name, and what was chosen, if nothing is asked for.
fn rules(
    name: &str,
    (trace, history): (&Trace, &History),
    demands: &Demands,
    no_data: &BTreeSet<RelPath>,
) -> Result<(Rules, Option<Defaults>), SubjectError> {
    let chosen = demands.choose(name, trace, history)?;
    let made = match &chosen {
        Some(defaults) => Rules::chosen(trace, history, defaults, no_data),
        None => Rules::asked_for(trace, history, &demands.wanted, no_data),
    };
    match made {
        // What the recorder did not follow may be what the rules are about: that is the reason then.
        Err(error) if is_doubtful(&error, trace) => Ok((Rules::default(), chosen)),
        made => made
            .map(|rules| (rules, chosen))
            .map_err(|source| SubjectError::Rules { name: name.into(), source: Box::new(source) }),
    }
}

/// Whether an error of the rules may be wrong, since it speaks of what the command did, and not all of that is known.
fn is_doubtful(error: &RuleError, trace: &Trace) -> bool {
    let speaks_of_changes = match error {
        RuleError::NothingChanged
        | RuleError::NotAFile { .. }
        | RuleError::NotAppended { .. }
        | RuleError::NoMarker { .. }
        | RuleError::NothingBelow { .. }
        | RuleError::OpenRecord { .. } => true,
        // A name that nobody ever saw is a misspelt one.
        RuleError::UnknownPath { path, .. } => trace.after.0.contains_key(path),
        RuleError::NoAck { .. }
        | RuleError::NoExit
        | RuleError::Contradiction { .. }
        | RuleError::NoOldFile { .. }
        | RuleError::TooMuchHistory { .. } => false,
    };
    speaks_of_changes && !trace.limits.is_empty()
}

#[cfg(test)]
mod tests;
