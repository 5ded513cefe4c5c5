//! One workload, built, prepared and recorded: what every cell of it needs to know.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use checker::{Description, ReadPlan, RuleError, Rules, Wanted, describe};
use filesystems::Filesystem;
use program::{Ended, History, Limit, RelPath, Trace, cleared_set_ids};
use record::{IoUring, RecordError};
use storage::DiskModel;
use workload::Workload;

use crate::execute::live_read_plan;
use crate::journal::line::Id;
use crate::label::Labels;
use crate::recording::record_in;
use checks::Workplace;
use checks::{CheckError, Checker, LARGEST_FILE};
use plan::{Overwrites, Schedule, data_of, sample, schedule_count};
use protocol::Conditions;

/// Why a workload cannot be tested.
#[derive(Debug, thiserror::Error)]
pub enum SubjectError {
    /// Building or preparing it.
    #[error(transparent)]
    Workload(#[from] workload::Error),
    /// Recording it.
    #[error("failed to record {name}: {source}")]
    Record {
        /// The workload.
        name: String,
        /// Why.
        source: RecordError,
    },
    /// Its command failed.
    #[error("the command of {name} {}{said}", ended.failure())]
    Command {
        /// The workload.
        name: String,
        /// How it ended.
        ended: Ended,
        /// The end of what it printed, in words.
        said: String,
    },
    /// Its files are more than a guest can hold.
    #[error(
        "{name} is too large: its files after the run and what it writes to them are {} MiB together, and a guest has \
         memory for {} MiB: test it with smaller files",
        bytes.div_ceil(1 << 20),
        LARGEST >> 20
    )]
    TooLarge {
        /// The workload.
        name: String,
        /// Files after the run, and data of all writes, bytes.
        bytes: u64,
    },
    /// Its disk would be larger than any that is made.
    #[error(
        "{name} is too large: what it writes, copies and allocates is {} MiB, and no disk is made for more than {} MiB",
        bytes.div_ceil(1 << 20),
        MOST_ON_DISK >> 20
    )]
    NoDisk {
        /// The workload.
        name: String,
        /// Files before the run, and what all calls write, copy and allocate, bytes.
        bytes: u64,
    },
    /// Its invariants do not fit what it does.
    #[error("{name}: {source}")]
    Rules {
        /// The workload.
        name: String,
        /// Why.
        source: RuleError,
    },
    /// No fresh directory.
    #[error("failed to make a fresh directory to run {name} in: {source}")]
    Directory {
        /// The workload.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// Its own check cannot be run, or does not hold where nothing crashed.
    #[error(transparent)]
    Check(#[from] CheckError),
}

/// What a workload may write and leave, bytes. The agent holds the trace's data, what they leave, and the contents that
/// it compares with, some 2 times this, and as much again while it unpacks the last of them. A guest has 1024 MiB, and
/// its kernel needs the rest for the files themselves.
const LARGEST: u64 = 160 << 20;

/// What a workload may write, copy and allocate, bytes: its disk is some times as large, and mkfs writes to all parts of it.
const MOST_ON_DISK: u64 = 2 << 30;

/// Files up to this size, bytes, are read whole where a report shows what they hold.
const WHOLE: u64 = 4 << 20;

/// All schedules of a run are held in memory, and each takes an execution: more than this would take hours.
/// Where there are more, so many of them are chosen.
const MOST_SCHEDULES: usize = 20_000;

/// Which schedules are executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The most injections that a schedule has.
    pub injections: u32,
    /// What the choice depends on, where there are too many.
    pub seed: u64,
    /// Whether each is executed once more with fast commits, on file systems that have such.
    pub fast_commits: bool,
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
    /// The rules; the workload has no check of its own.
    Rules,
    /// The workload's own check, too.
    Both(Box<Checker>),
    /// The workload has a check of its own, which may not be run here: the rules judge what they would judge beside it.
    CheckMissing,
}

/// A recorded workload.
pub struct Subject {
    /// Its name.
    pub name: String,
    /// What the author wants to hold.
    pub wanted: Vec<Wanted>,
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
    pub live: Arc<ReadPlan>,
    /// What to execute; with fast commits, where a file system of the run has such, come last.
    pub schedules: Vec<Schedule>,
    /// How many schedules there are with one kind of commit: more than are executed, if these are a choice. `u64::MAX` if more
    /// than that.
    pub all_schedules: u64,
    /// Which of them show nothing of their own on a file system that overwrites in place.
    overwrites: Overwrites,
    /// Which file the data of a block write belong to.
    pub labels: Labels,
    /// The workload's own check.
    pub checker: Option<Checker>,
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
        let judges = match &workload.check {
            Some(_) => Judges::Both(Box::new(Checker::new(workload, &trace, stop)?)),
            None => Judges::Rules,
        };
        Self::new(name, workload.invariants.clone(), trace, bounds, judges)
    }

    /// A subject from a trace that is there.
    pub fn of(name: String, wanted: Vec<Wanted>, trace: Trace, bounds: Bounds) -> Result<Self, SubjectError> {
        Self::new(name, wanted, trace, bounds, Judges::Rules)
    }

    /// The same; with a check of its own, nothing has to be replaced atomically unless it is wanted.
    pub fn new(
        name: String,
        wanted: Vec<Wanted>,
        trace: Trace,
        bounds: Bounds,
        judges: Judges,
    ) -> Result<Self, SubjectError> {
        // A trace that is read from a file may be anyone's.
        fits(&name, &trace)?;
        let history = History::new(&trace);
        let mut rules = rules(&name, &trace, &history, &wanted, !matches!(judges, Judges::Rules))?;
        let checker = match judges {
            Judges::Both(checker) => Some(*checker),
            Judges::Rules | Judges::CheckMissing => None,
        };
        if checker.is_some() {
            rules.read_all_up_to(LARGEST_FILE);
        }
        let mut unmodelled_calls = trace.limits.clone();
        for wanted in &wanted {
            if let Wanted::MetadataPreserved { path } = wanted {
                unmodelled_calls.extend(cleared_set_ids(&trace, path));
            }
        }
        let read_plan = Arc::new(rules.read_plan().clone());
        Ok(Self {
            name,
            wanted,
            plan: Id::of_value(&*read_plan),
            read_plan,
            live: Arc::new(live_read_plan(&trace.after)),
            schedules: bounds.schedules(&trace, &history),
            all_schedules: schedule_count(&trace, &history, bounds.injections),
            overwrites: Overwrites::new(&trace, &history),
            labels: Labels::new(&history),
            trace,
            unmodelled_calls,
            history,
            rules,
            checker,
        })
    }

    /// How far the guest reads of the same program if this is wanted of it, and it has a check of its own or not.
    ///
    /// # Errors
    /// What is wanted does not fit the program.
    pub fn read_plan_under(&self, wanted: &[Wanted], has_check: bool) -> Result<ReadPlan, SubjectError> {
        let mut rules = rules(&self.name, &self.trace, &self.history, wanted, has_check)?;
        if has_check {
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
        if filesystem.has_fast_commits() {
            return Scheduled { chosen: self.schedules.len(), of: self.all_schedules.saturating_mul(2) };
        }
        let chosen = self.schedules.iter().take_while(|schedule| !schedule.conditions.fast_commits).count();
        Scheduled { chosen, of: self.all_schedules }
    }

    /// Whether all crash states of a schedule are among those of others that are executed, on this file system and disk.
    pub fn is_implied(&self, schedule: usize, filesystem: &Filesystem, model: &DiskModel) -> bool {
        // Those of others may have come before the exploration begins.
        if self.trace.explored_from.is_some() {
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

    /// What the recorder could not follow, and what no guest can show of what is wanted.
    pub fn unmodelled_calls(&self) -> &[Limit] {
        &self.unmodelled_calls
    }
}

/// The rules of a program of this name; with a check of its own, nothing has to be replaced atomically unless it is wanted.
fn rules(
    name: &str,
    trace: &Trace,
    history: &History,
    wanted: &[Wanted],
    has_check: bool,
) -> Result<Rules, SubjectError> {
    let make = if has_check { Rules::asked_for } else { Rules::new };
    match make(trace, history, wanted) {
        // What the recorder did not follow may be what the rules are about: that is the reason then.
        Err(error) if is_doubtful(&error, trace) => Ok(Rules::default()),
        made => made.map_err(|source| SubjectError::Rules { name: name.into(), source }),
    }
}

/// Whether an error of the rules may be wrong, since it speaks of what the command did, and not all of that is known.
fn is_doubtful(error: &RuleError, trace: &Trace) -> bool {
    let speaks_of_changes = match error {
        RuleError::NothingChanged
        | RuleError::NotAFile { .. }
        | RuleError::NotAppended { .. }
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

/// Whether a guest has memory, and this host a disk, for what this trace does.
fn fits(name: &str, trace: &Trace) -> Result<(), SubjectError> {
    let (held, on_disk) = (size(trace), data_of(trace));
    if held > LARGEST {
        Err(SubjectError::TooLarge { name: name.into(), bytes: held })
    } else if on_disk > MOST_ON_DISK {
        Err(SubjectError::NoDisk { name: name.into(), bytes: on_disk })
    } else {
        Ok(())
    }
}

/// What a guest has to be given of a trace, bytes.
fn size(trace: &Trace) -> u64 {
    let written = trace.ops.iter().map(|op| match &op.call {
        program::Call::Write { data, .. } | program::Call::Store { data, .. } => data.len(),
        _ => 0,
    });
    let left = trace.after.0.values().map(|node| match &node.kind {
        program::Kind::File(content) => content.len(),
        _ => 0,
    });
    written.chain(left).sum::<usize>() as u64
}

#[cfg(test)]
mod tests {
    use program::{Call, Handle, Kind, Node, Op, Tree};

    use super::*;

    fn subject(limits: Vec<Limit>, wanted: &[Wanted]) -> Result<Subject, SubjectError> {
        let node = Node {
            kind: Kind::File(Arc::new(b"new".to_vec())),
            mode: 0o644,
            uid: 0,
            gid: 0,
            inode: 2,
            xattrs: Default::default(),
        };
        let mut after = Tree::default();
        after.0.insert("f".into(), node);
        let close = Op { call: Call::Close { handle: Handle(0) }, syscall: "close".into(), result: 0, thread: 0 };
        let (before, holes) = (Tree::default(), Default::default());
        let trace = Trace { before, holes, ops: vec![close], after, limits, ..Trace::default() };
        Subject::of("w".into(), wanted.to_vec(), trace, Bounds::default())
    }

    /// A call can allocate what no disk has, and a trace can say that it did: mkfs filled the host's disk.
    #[test]
    fn no_disk_is_made_for_more_than_there_is_room_for() {
        let allocates = |length| {
            let call = Call::Allocate { handle: Handle(0), mode: 1, offset: 0, length };
            let ops = vec![Op { call, syscall: "fallocate".into(), result: 0, thread: 0 }];
            let limits = vec![Limit { call: "mmap".into(), detail: "f".into(), count: 1 }];
            Subject::of("w".into(), vec![], Trace { ops, limits, ..Trace::default() }, Bounds::default())
        };
        assert!(allocates(1 << 30).is_ok());
        for length in [(2 << 30) + 1, u64::MAX] {
            let error = allocates(length).err().unwrap().to_string();
            assert!(error.ends_with("MiB, and no disk is made for more than 2048 MiB"), "{error}");
        }
    }

    /// They come last, so that a schedule has the same number on all file systems of a run.
    #[test]
    fn fast_commits_are_scheduled_where_there_are_such() {
        let with = |fast_commits| {
            // O_WRONLY | O_CREAT: rules want something to change.
            let call = Call::Open { handle: Handle(0), path: "f".into(), flags: 0o101, mode: 0o644 };
            let ops = vec![Op { call, syscall: "open".into(), result: 0, thread: 0 }];
            let bounds = Bounds { injections: 1, fast_commits, ..Bounds::default() };
            Subject::of("w".into(), vec![], Trace { ops, ..Trace::default() }, bounds).unwrap()
        };
        let (plain, both) = (with(false), with(true));
        let count = plain.schedules.len();
        let on = |subject: &Subject, text: &str| subject.scheduled(&text.parse().unwrap());
        let once = Scheduled { chosen: count, of: count as u64 };
        assert_eq!([on(&plain, "ext4"), on(&both, "ext4"), on(&both, "xfs")], [once; 3]);
        let twice = Scheduled { chosen: 2 * count, of: 2 * count as u64 };
        assert_eq!(on(&both, "ext4;mkfs=-O fast_commit"), twice);
        assert_eq!(both.schedules[..count], plain.schedules);
        assert!(both.schedules[count..].iter().all(|schedule| schedule.conditions.fast_commits));
    }

    /// "Changed no file" is false where the change is what the recorder could not follow.
    #[test]
    fn what_was_not_followed_is_the_reason() {
        let limit = || vec![Limit { call: "mmap".into(), detail: "shared mapping of f".into(), count: 1 }];
        let known = subject(limit(), &[]).unwrap();
        assert!(!known.is_explored(false) && known.is_explored(true));
        assert_eq!(known.unmodelled_calls(), limit());
        let atomic = |path: &str| [Wanted::AtomicReplace { path: path.into() }];
        assert!(subject(limit(), &atomic("f")).is_ok());
        let error = |made: Result<Subject, SubjectError>| made.err().unwrap().to_string();
        assert!(error(subject(limit(), &atomic("g"))).contains("names g, which never exists"));
        assert!(error(subject(vec![], &[])).contains("the command changed no file"));
    }
}
