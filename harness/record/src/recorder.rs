//! The recorder's thread: takes one event after the other, and holds all that is known of a run.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use libc::pid_t;
use program::{Call, Handle, Op, RelPath};

use crate::files::{Files, TableId};
use crate::kept::Kept;
use crate::mappings::{FileId, Mappings, SpaceId};
use crate::mirror::Mirror;
use crate::outside::{OutsideFiles, Prelude};
use crate::peers::Peers;
use crate::stop::{self, TraceeEvent};
use crate::supervise::{Shared, Stop};
use crate::turns::{Pending, Turn};
use crate::unmodelled::UnmodelledCalls;
use crate::{IoUring, RecordError, launch};
use crate::{remote, resolve};

/// A thread of the program.
#[derive(Debug)]
pub(crate) struct Thread {
    /// In the order of their beginning, from 0.
    pub(crate) number: u32,
    /// Its process (thread group).
    pub(crate) process: pid_t,
    pub(crate) table: TableId,
    pub(crate) space: SpaceId,
    /// The flags of the `clone` that it is inside of.
    pub(crate) clone_flags: u64,
    pub(crate) pending: Option<Pending>,
}

/// What a run gave.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// Without the data of writes and acks.
    pub(crate) ops: Vec<Op>,
    /// Those data.
    pub(crate) kept: Kept,
    pub(crate) unmodelled: UnmodelledCalls,
    pub(crate) outside: BTreeSet<String>,
    /// What comes before all ops: what was outside before the run, and came in.
    pub(crate) prelude: Prelude,
    /// How often each call was refused.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// Set if the run did not come to its own end.
    pub(crate) cut: Option<Cut>,
}

/// Everything that still ran was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Why.
    pub(crate) stop: Stop,
    /// Who was still running.
    pub(crate) who: &'static str,
}

/// Where a run takes place.
#[derive(Debug)]
pub(crate) struct Scene {
    /// Canonical.
    pub(crate) root: PathBuf,
    /// Where it appears to the program, too: as the program's own paths lead there.
    pub(crate) at: Vec<PathBuf>,
    /// `st_dev` of the directory.
    pub(crate) device: u64,
    /// Inode numbers of the pipes that are the program's standard output and error.
    pub(crate) pipes: [u64; 2],
    pub(crate) io_uring: IoUring,
    /// See [`RecordSpec::data_limit`].
    ///
    /// [`RecordSpec::data_limit`]: crate::RecordSpec::data_limit
    pub(crate) data_limit: u64,
}

/// All that is known of a run.
#[derive(Debug)]
pub(crate) struct Recorder<'a> {
    pub(crate) scene: &'a Scene,
    pub(crate) shared: &'a Shared,
    pub(crate) threads: HashMap<pid_t, Thread>,
    pub(crate) next_number: u32,
    /// Threads that stopped, or ended, before their parent's stop told of them.
    pub(crate) early: HashMap<pid_t, TraceeEvent>,
    pub(crate) ended_early: HashSet<pid_t>,
    /// Threads that an exec removed, whose end is still to be reported.
    pub(crate) replaced: HashSet<pid_t>,
    pub(crate) turn: Turn,
    pub(crate) files: Files,
    pub(crate) outside: OutsideFiles,
    /// What is mapped of recorded files.
    pub(crate) mappings: Mappings,
    /// What the files held, when they were last looked at, that can be stored to.
    pub(crate) mirrors: BTreeMap<FileId, Mirror>,
    /// Inode numbers of sockets that socketpair(2) made: like a pipe's, their bytes stay within the program.
    pub(crate) paired: HashSet<u64>,
    /// What is known of the other ends of sockets.
    pub(crate) peers: Peers,
    /// All processes that there are or were.
    pub(crate) processes: HashSet<pid_t>,
    pub(crate) main: pid_t,
    pub(crate) bell: pid_t,
    pub(crate) started: bool,
    pub(crate) recorded: Recorded,
}

/// Runs the launched program to its end, and all that it starts, or to the end of the supervisor's patience.
pub(crate) fn run(
    scene: &Scene,
    shared: &Shared,
    launched: launch::Launched,
    bell: pid_t,
) -> Result<Recorded, RecordError> {
    let mut files = Files::default();
    let table = files.table();
    let mut mappings = Mappings::default();
    let space = mappings.space();
    let first = Thread { number: 0, process: launched.pid, table, space, clone_flags: 0, pending: None };
    let recorded = Recorded {
        ops: Vec::new(),
        kept: Kept::new(scene.data_limit),
        unmodelled: UnmodelledCalls::default(),
        outside: BTreeSet::new(),
        prelude: Prelude::default(),
        refused: BTreeMap::new(),
        cut: None,
    };
    let mut recorder = Recorder {
        scene,
        shared,
        threads: HashMap::from([(launched.pid, first)]),
        next_number: 1,
        early: HashMap::new(),
        ended_early: HashSet::new(),
        replaced: HashSet::new(),
        turn: Turn::default(),
        files,
        outside: OutsideFiles::new(),
        mappings,
        mirrors: BTreeMap::new(),
        paired: HashSet::new(),
        peers: Peers::default(),
        processes: HashSet::from([launched.pid]),
        main: launched.pid,
        bell,
        started: false,
        recorded,
    };
    while !recorder.threads.is_empty() {
        let event = stop::next().map_err(RecordError::system("wait for the program"))?;
        if let Some(stop) = shared.stop() {
            recorder.recorded.cut = Some(recorder.kill_all(event, stop));
            return Ok(recorder.recorded);
        }
        recorder.dispatch(event);
    }
    if !recorder.started
        && let Some(error) = launched.failure()
    {
        return Err(error);
    }
    Ok(recorder.recorded)
}

impl Recorder<'_> {
    pub(crate) fn dispatch(&mut self, event: TraceeEvent) {
        let tid = event.tid();
        if tid == self.bell {
            return self.rung(event);
        }
        if !self.threads.contains_key(&tid) && !matches!(event, TraceeEvent::Ended { .. } | TraceeEvent::Exec(_)) {
            self.early.insert(tid, event);
            return;
        }
        match event {
            TraceeEvent::Entry(stop) => self.enter(stop),
            TraceeEvent::Exit(stop) => self.leave(stop),
            TraceeEvent::Signal(stop) => stop.deliver(),
            TraceeEvent::Group(stop) => stop.listen(),
            TraceeEvent::Trap(stop) => stop.resume(),
            TraceeEvent::Fork(stop) => self.forked(stop),
            TraceeEvent::Exec(stop) => self.executed(stop),
            TraceeEvent::Ended { tid, status, signalled } => self.ended(tid, status, signalled),
        }
        self.shared.waiting.store(self.turn.waiting(), Ordering::Relaxed);
    }

    /// Counts something that the trace cannot hold.
    pub(crate) fn unmodelled(&mut self, call: &str, detail: impl Into<String>) {
        self.recorded.unmodelled.add(call, detail);
    }

    /// What was seen of a stopped thread. What this process may not, or cannot, look at makes `call` an unmodelled one.
    pub(crate) fn seen<T>(&mut self, tid: pid_t, call: &str, looked: io::Result<T>) -> Option<T> {
        // Of a thread that was killed meanwhile nobody but root sees anything (proc(5)): its call is none any more.
        if let Err(error) = &looked
            && !remote::foretells_failure(error)
            && stop::is_stopped(tid)
        {
            let remedy = match remote::is_denied(error) {
                true => {
                    ": it must stay dumpable (see PR_SET_DUMPABLE in prctl(2)), or the recorder needs CAP_SYS_PTRACE"
                }
                false => "",
            };
            self.unmodelled(call, format!("cannot look into the program ({error}){remedy}"));
        }
        looked.ok()
    }

    /// Writes an op down.
    pub(crate) fn push(&mut self, tid: pid_t, syscall: &str, call: Call, result: i64) {
        let number = self.threads.get(&tid).map_or(0, |thread| thread.number);
        self.push_numbered(number, syscall, call, result);
    }

    pub(crate) fn push_numbered(&mut self, thread: u32, syscall: &str, call: Call, result: i64) {
        if result >= 0 && self.follows_stores() {
            self.mirror(&call);
        }
        let op = Op { call, syscall: syscall.to_owned(), result, thread };
        match self.recorded.kept.count_op(&op) {
            Ok(()) => self.recorded.ops.push(op),
            Err(stop) => self.shared.set_stop(stop),
        }
    }

    /// Writes down that an open file lost its last descriptor.
    pub(crate) fn push_closed(&mut self, tid: pid_t, syscall: &str, handle: Handle) {
        self.push(tid, syscall, Call::Close { handle }, 0);
    }

    /// Where a canonical path lies below the directory.
    pub(crate) fn inside(&self, path: &Path) -> Option<RelPath> {
        let tops = std::iter::once(&self.scene.root).chain(&self.scene.at);
        RelPath::new(tops.map(|top| path.strip_prefix(top)).find_map(Result::ok)?)
    }

    /// A path as this process must spell it to reach what thread `tid` means by `text`.
    pub(crate) fn spell(&self, tid: pid_t, dirfd: i32, text: &[u8]) -> PathBuf {
        resolve::spell(tid, self.process(tid), dirfd, text, !self.scene.at.is_empty())
    }

    /// The process of a thread.
    pub(crate) fn process(&self, tid: pid_t) -> pid_t {
        self.threads.get(&tid).map_or(tid, |thread| thread.process)
    }

    /// The table of a thread.
    pub(crate) fn table(&self, tid: pid_t) -> TableId {
        self.threads.get(&tid).map(|thread| thread.table).unwrap_or_default()
    }
}
