//! The recorder's thread: takes one event after the other, keeps the order of calls, and knows who is alive.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use libc::pid_t;
use program::{Call, Channel, Handle, Op, RelPath};

use crate::calls;
use crate::files::{Entry, Files, TableId};
use crate::limits::Limits;
use crate::peers::Peers;
use crate::remote;
use crate::stop::{self, EntryStop, Event, ExecStop, ExitStop, ForkStop};
use crate::supervise::{Shared, Stop};
use crate::{RecordError, launch};

/// A thread of the program.
#[derive(Debug)]
pub(crate) struct Thread {
    number: u32,
    /// Its process (thread group).
    pub(crate) process: pid_t,
    pub(crate) table: TableId,
    /// The flags of the `clone` that it is inside of.
    pub(crate) clone_flags: u64,
    pending: Option<Pending>,
}

/// A call that a thread is inside of, and what its result is waited for.
#[derive(Debug)]
struct Pending {
    number: i64,
    action: Action,
    exclusive: bool,
}

/// What is done once a call has returned. Names and descriptors were resolved at its entry.
#[derive(Debug)]
pub(crate) enum Action {
    /// Write it down: if it succeeded, or in any case.
    Record {
        call: Call,
        even_if_failed: bool,
    },
    /// It gave a descriptor for a file that may be written.
    Open {
        flags: u32,
        mode: u32,
    },
    Close {
        fd: i32,
    },
    CloseRange {
        first: u32,
        last: u32,
        unshare: bool,
    },
    /// It gave (another) descriptor for a recorded file.
    Dup {
        handle: Handle,
    },
    /// It gave a descriptor in the place of another.
    Replace {
        fd: i32,
    },
    Unshare,
    /// `F_SETFL` of a recorded file.
    SetFlags {
        handle: Handle,
        flags: u32,
    },
    /// It wrote from memory to a recorded file.
    Write {
        handle: Handle,
        fd: i32,
        spans: Vec<remote::Span>,
        offset: Option<u64>,
        before: Option<u64>,
        flags: u32,
    },
    /// It moved bytes into a recorded file without passing them through memory.
    Transfer {
        handle: Handle,
        fd: i32,
        offset: Option<u64>,
    },
    /// As above, from another recorded file.
    CopyRange {
        from: (Handle, i32),
        from_offset: Option<u64>,
        to: (Handle, i32),
        to_offset: Option<u64>,
    },
    /// Bytes left the program from memory.
    Ack {
        channel: Channel,
        spans: Vec<remote::Span>,
    },
    /// Bytes left the program in several messages (`struct mmsghdr` array).
    Acks {
        channel: Channel,
        address: u64,
    },
    /// Bytes left the program by `splice` and its kin.
    UnseenAck {
        channel: Channel,
    },
    /// It made two sockets that are connected with each other, and put their descriptors at this address.
    SocketPair {
        address: u64,
    },
    /// It gave a descriptor in an unusual way.
    Look,
    /// It changed what has these canonical paths, outside the directory.
    Outside {
        paths: Vec<PathBuf>,
    },
    /// If it succeeded it went beyond what the recorder can follow.
    Limit {
        detail: String,
    },
}

/// What to do with a thread at the entry of a call.
#[derive(Debug)]
pub(crate) enum Plan {
    /// Nothing to learn.
    Pass,
    /// Do `action` when the call returns. While one exclusive call runs, no other does: so their order is exact.
    Await { action: Action, exclusive: bool },
    /// The process ends: exclusive, and the call never returns.
    End,
}

/// Which thread is inside an exclusive call, and who waits for it.
#[derive(Debug, Default)]
struct Turn {
    holder: Option<pid_t>,
    /// Counts the holders, so that the same one is recognised.
    serial: u64,
    seen_serial: u64,
    queue: VecDeque<EntryStop>,
}

/// Bytes of an ack that could not be read from the program, to be taken from what its pipe carried.
#[derive(Debug)]
pub(crate) struct Gap {
    pub(crate) op: usize,
    pub(crate) channel: Channel,
    pub(crate) start: usize,
    pub(crate) length: usize,
}

/// What a run gave.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) ops: Vec<Op>,
    pub(crate) gaps: Vec<Gap>,
    /// How many bytes the acks explain: standard output, standard error.
    pub(crate) acked: [u64; 2],
    pub(crate) limits: Limits,
    pub(crate) outside: BTreeSet<String>,
    /// Set if the run did not come to its own end.
    pub(crate) cut: Option<Cut>,
}

/// Why everything that still ran was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The time was over; who was still running then.
    TimeOut(&'static str),
    Cancelled,
}

/// Where a run takes place.
#[derive(Debug)]
pub(crate) struct Scene {
    /// Canonical.
    pub(crate) root: PathBuf,
    /// `st_dev` of the directory.
    pub(crate) device: u64,
    /// Inode numbers of the pipes that are the program's standard output and error.
    pub(crate) pipes: [u64; 2],
}

/// All that is known of a run.
#[derive(Debug)]
pub(crate) struct Recorder<'a> {
    pub(crate) scene: &'a Scene,
    shared: &'a Shared,
    pub(crate) threads: HashMap<pid_t, Thread>,
    next_number: u32,
    /// Threads that stopped, or ended, before their parent's stop told of them.
    early: HashMap<pid_t, Event>,
    ended_early: HashSet<pid_t>,
    /// Threads that an exec removed, whose end is still to be reported.
    replaced: HashSet<pid_t>,
    turn: Turn,
    pub(crate) files: Files,
    /// Inode numbers of sockets that socketpair(2) made: like a pipe's, their bytes stay within the program.
    pub(crate) paired: HashSet<u64>,
    /// What is known of the other ends of sockets.
    pub(crate) peers: Peers,
    /// All processes that there are or were.
    pub(crate) processes: HashSet<pid_t>,
    main: pid_t,
    bell: pid_t,
    started: bool,
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
    let first = Thread { number: 0, process: launched.pid, table, clone_flags: 0, pending: None };
    let recorded = Recorded {
        ops: Vec::new(),
        gaps: Vec::new(),
        acked: [0; 2],
        limits: Limits::default(),
        outside: BTreeSet::new(),
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
    fn dispatch(&mut self, event: Event) {
        let tid = event.tid();
        if tid == self.bell {
            return self.rung(event);
        }
        if !self.threads.contains_key(&tid) && !matches!(event, Event::Ended { .. } | Event::Exec(_)) {
            self.early.insert(tid, event);
            return;
        }
        match event {
            Event::Entry(stop) => self.enter(stop),
            Event::Exit(stop) => self.leave(stop),
            Event::Signal(stop) => stop.deliver(),
            Event::Group(stop) => stop.listen(),
            Event::Trap(stop) => stop.resume(),
            Event::Fork(stop) => self.forked(stop),
            Event::Exec(stop) => self.executed(stop),
            Event::Ended { tid, status, signalled } => self.ended(tid, status, signalled),
        }
        self.shared.waiting.store(self.turn.queue.len(), Ordering::Relaxed);
    }

    fn enter(&mut self, stop: EntryStop) {
        let tid = stop.asked.tid;
        let Some(number) = stop.asked.number else {
            let detail = "32-bit or x32 calls are not followed: what this program does to files is not in the trace";
            self.recorded.limits.add("foreign architecture", detail);
            stop.pass();
            return;
        };
        if self.turn.holder.is_some() && calls::only_changes_files(number) {
            // The holder may change what its names mean, and planning can write down that a file is open.
            self.turn.queue.push_back(stop);
            return;
        }
        let plan = self.plan(&stop.asked, number);
        let exclusive = matches!(plan, Plan::Await { exclusive: true, .. } | Plan::End);
        if exclusive {
            if self.turn.holder.is_some() {
                // Planned anew at its turn: names may mean something else by then.
                self.turn.queue.push_back(stop);
                return;
            }
            self.turn.holder = Some(tid);
            self.turn.serial += 1;
        }
        let (goes_on, pending) = match plan {
            Plan::Await { action, exclusive } => (stop.run_to_exit(), Some(Pending { number, action, exclusive })),
            Plan::Pass | Plan::End => (stop.pass(), None),
        };
        if goes_on && let Some(thread) = self.threads.get_mut(&tid) {
            thread.pending = pending;
        }
        if !goes_on && exclusive {
            // Killed while it waited, by exit_group of another thread, say: it never was inside.
            self.turn.holder = None;
        }
    }

    fn leave(&mut self, stop: ExitStop) {
        let tid = stop.tid;
        if let Some(pending) = self.threads.get_mut(&tid).and_then(|thread| thread.pending.take()) {
            self.finish(tid, pending.number, pending.action, stop.result);
        }
        stop.resume();
        self.give_up_turn(tid);
    }

    fn give_up_turn(&mut self, tid: pid_t) {
        if self.turn.holder == Some(tid) {
            self.turn.holder = None;
        }
        while self.turn.holder.is_none() {
            let Some(next) = self.turn.queue.pop_front() else { return };
            self.enter(next);
        }
    }

    /// The supervisor found that threads have been waiting for a while.
    fn rung(&mut self, event: Event) {
        match event {
            Event::Signal(stop) => stop.swallow(),
            Event::Group(stop) => stop.listen(),
            Event::Trap(stop) => stop.resume(),
            _ => return,
        }
        let Some(holder) = self.turn.holder else { return };
        if self.turn.queue.is_empty() || self.turn.seen_serial != self.turn.serial {
            self.turn.seen_serial = self.turn.serial;
            return;
        }
        // Whoever runs, or waits for a processor or for the disk, waits for nobody who waits for its turn.
        if load::is_at_work(holder) == Some(true) {
            return;
        }
        let pending = self.threads.get_mut(&holder).and_then(|thread| thread.pending.as_mut());
        if pending.as_ref().is_some_and(|pending| pending.waits_for_nobody()) {
            return;
        }
        let name = match pending {
            Some(pending) => {
                pending.exclusive = false;
                calls::name(pending.number)
            }
            None => "exit_group".to_owned(),
        };
        self.limit(&name, "took so long that other calls were let run beside it: their order is not known");
        self.give_up_turn(holder);
    }

    fn forked(&mut self, stop: ForkStop) {
        let (tid, child) = (stop.tid, stop.child);
        if self.ended_early.remove(&child) {
            return stop.resume();
        }
        if let Some(parent) = self.threads.get_mut(&tid) {
            let flags = std::mem::take(&mut parent.clone_flags);
            let (table, process) = (parent.table, parent.process);
            let process = if flags & libc::CLONE_THREAD as u64 != 0 { process } else { child };
            let table = if flags & libc::CLONE_FILES as u64 != 0 {
                self.files.share(table)
            } else {
                let siblings = self.files.threads(table) > 1;
                let copy = self.files.copy(table);
                if siblings {
                    // Another thread may have opened or closed something while the kernel copied the table.
                    self.drop_missing(child, copy, tid, "fork");
                }
                copy
            };
            self.adopt(child, process, table);
        }
        stop.resume();
        self.handle_early(child);
    }

    fn adopt(&mut self, tid: pid_t, process: pid_t, table: TableId) {
        let number = self.next_number;
        self.next_number += 1;
        self.processes.insert(process);
        self.threads.insert(tid, Thread { number, process, table, clone_flags: 0, pending: None });
    }

    fn handle_early(&mut self, tid: pid_t) {
        if let Some(event) = self.early.remove(&tid) {
            self.dispatch(event);
        }
    }

    /// Drops the entries of a table that the kernel does not have.
    fn drop_missing(&mut self, tid: pid_t, table: TableId, by: pid_t, syscall: &str) {
        // A thread that was killed meanwhile has no descriptors, and will be reported.
        let Some(open) = self.seen(by, syscall, remote::open_fds(tid)) else { return };
        for handle in self.files.retain_only(table, |fd| open.contains(&fd)) {
            self.push_closed(by, syscall, handle);
        }
    }

    fn executed(&mut self, stop: ExecStop) {
        let tid = stop.tid;
        if let Some(mut thread) = self.threads.remove(&stop.former) {
            let gone: Vec<pid_t> =
                self.threads.iter().filter(|(_, other)| other.process == thread.process).map(|(tid, _)| *tid).collect();
            for other in gone {
                // "The thread group leader … disappears without a notification" (ptrace(2)); all others are reported.
                if other != tid {
                    self.replaced.insert(other);
                }
                self.forget(other, "execve");
            }
            thread.table = self.files.unshare(thread.table);
            thread.pending = None;
            let table = thread.table;
            self.threads.insert(tid, thread);
            self.drop_missing(tid, table, tid, "execve");
        }
        self.started |= tid == self.main;
        stop.resume();
    }

    /// A thread is gone, and maybe a table with it.
    fn forget(&mut self, tid: pid_t, syscall: &str) {
        self.turn.queue.retain(|stop| stop.asked.tid != tid);
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        let (table, number) = (thread.table, thread.number);
        if let Some(pending) = thread.pending.take().filter(|pending| pending.changes_files()) {
            let name = calls::name(pending.number);
            self.limit(&name, "its thread was killed inside it: whether it took effect is not known");
        }
        for handle in self.files.leave(table) {
            self.push_numbered(number, syscall, Call::Close { handle }, 0);
        }
        self.threads.remove(&tid);
        self.give_up_turn(tid);
    }

    fn ended(&mut self, tid: pid_t, status: i32, signalled: bool) {
        self.early.remove(&tid);
        if self.replaced.remove(&tid) {
            return;
        }
        if !self.threads.contains_key(&tid) {
            self.ended_early.insert(tid);
            return;
        }
        self.forget(tid, if signalled { "kill" } else { "exit_group" });
        if tid == self.main {
            let syscall = if signalled { "kill" } else { "exit_group" };
            self.push_numbered(0, syscall, Call::Exit { status }, 0);
        }
        self.adopt_orphans();
    }

    /// Threads whose parent was killed before it could tell of them.
    fn adopt_orphans(&mut self) {
        let orphans: Vec<pid_t> = self.early.keys().copied().collect();
        for tid in orphans {
            let Some((process, parent)) = self.seen(tid, "clone", remote::family(tid)) else { continue };
            let known = |process: pid_t| self.threads.values().any(|thread| thread.process == process);
            if known(process) || known(parent) {
                continue;
            }
            let table = self.files.table();
            self.adopt(tid, process, table);
            self.handle_early(tid);
        }
    }

    /// Ends everything that still runs.
    fn kill_all(&mut self, first: Event, reason: Stop) -> Cut {
        let main_runs = self.threads.contains_key(&self.main);
        let mut event = Some(first);
        loop {
            if let Some(event) = event.take() {
                match event {
                    Event::Ended { tid, .. } => drop(self.threads.remove(&tid)),
                    Event::Fork(stop) => self.adopt(stop.child, stop.child, TableId::default()),
                    // A killed thread leaves its stop by itself.
                    _ => {}
                }
            }
            for tid in self.threads.keys().chain(self.early.keys()) {
                stop::kill(*tid);
            }
            if self.threads.is_empty() {
                break;
            }
            match stop::next() {
                Ok(Event::Signal(stop)) if stop.tid == self.bell => stop.swallow(),
                Ok(next) => event = Some(next),
                // Nobody is left.
                Err(_) => break,
            }
        }
        match reason {
            Stop::Cancelled => Cut::Cancelled,
            Stop::TimeOut if main_runs => Cut::TimeOut("the command"),
            Stop::TimeOut => Cut::TimeOut("a process that the command left behind"),
        }
    }

    /// Counts something that the trace cannot hold.
    pub(crate) fn limit(&mut self, call: &str, detail: impl Into<String>) {
        self.recorded.limits.add(call, detail);
    }

    /// What was seen of a stopped thread. What this process may not, or cannot, look at is a limit of `call`.
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
            self.limit(call, format!("cannot look into the program ({error}){remedy}"));
        }
        looked.ok()
    }

    /// Writes an op down.
    pub(crate) fn push(&mut self, tid: pid_t, syscall: &str, call: Call, result: i64) {
        let number = self.threads.get(&tid).map_or(0, |thread| thread.number);
        self.push_numbered(number, syscall, call, result);
    }

    fn push_numbered(&mut self, thread: u32, syscall: &str, call: Call, result: i64) {
        self.recorded.ops.push(Op { call, syscall: syscall.to_owned(), result, thread });
    }

    /// Writes down that an open file lost its last descriptor.
    pub(crate) fn push_closed(&mut self, tid: pid_t, syscall: &str, handle: Handle) {
        self.push(tid, syscall, Call::Close { handle }, 0);
    }

    /// Where a canonical path lies below the directory.
    pub(crate) fn inside(&self, path: &Path) -> Option<RelPath> {
        RelPath::new(path.strip_prefix(&self.scene.root).ok()?)
    }

    /// The table of a thread.
    pub(crate) fn table(&self, tid: pid_t) -> TableId {
        self.threads.get(&tid).map(|thread| thread.table).unwrap_or_default()
    }

    /// What a descriptor is, looked up if need be. `None`: it is not open.
    pub(crate) fn entry(&mut self, tid: pid_t, fd: i32) -> Option<Entry> {
        let table = self.table(tid);
        if let Some(entry) = self.files.get(table, fd) {
            return Some(entry);
        }
        let entry = self.look_up(tid, fd)?;
        if self.files.get(table, fd).is_none() {
            self.files.set(table, fd, entry);
        }
        Some(entry)
    }
}

impl Pending {
    fn changes_files(&self) -> bool {
        let harmless = matches!(
            self.action,
            Action::Close { .. } | Action::Dup { .. } | Action::Replace { .. } | Action::Limit { .. }
        );
        self.exclusive && !harmless
    }

    /// Whether it waits for the disk alone, however long that takes: nobody who waits for its turn can be what it waits for.
    fn waits_for_nobody(&self) -> bool {
        match &self.action {
            // Waits for a lease to be given back (fcntl(2), `F_SETLEASE`).
            Action::Record { call: Call::Truncate { .. }, .. } => false,
            // A limit that has its turn is that of a path which leads nowhere.
            Action::Record { .. } | Action::Limit { .. } => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use program::Target;

    use super::*;

    #[test]
    fn a_slow_disk_is_no_deadlock() {
        let waits_for_nobody = |call: Call| {
            let action = Action::Record { call, even_if_failed: true };
            Pending { number: 0, action, exclusive: true }.waits_for_nobody()
        };
        let handle = Handle(0);
        let syncs = [
            Call::Fsync { handle },
            Call::Fdatasync { handle },
            Call::SyncRange { handle, offset: 0, length: 0, flags: 0 },
            Call::SyncFs { handle },
            Call::SyncAll,
        ];
        assert!(syncs.into_iter().all(waits_for_nobody));
        assert!(waits_for_nobody(Call::Unlink { path: "f".into() }));
        assert!(!waits_for_nobody(Call::Truncate { target: Target::Handle(handle), length: 0 }));
    }
}
