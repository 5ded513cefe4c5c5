//! The order of calls: while a thread is inside a call that changes files, all others wait for their turn.

use std::collections::VecDeque;
use std::fs;

use libc::pid_t;

use crate::recorder::Recorder;
use crate::stop::{EntryStop, ExitStop, TraceeEvent};
use crate::syscalls::{self, AtEntry, Class, ExitAction, Syscall, WaitsFor};

/// A call that a thread is inside of, and what its result is waited for.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) syscall: &'static Syscall,
    action: ExitAction,
    exclusive: bool,
}

impl Pending {
    /// Whether it is not known what the files are if it never returns.
    pub(crate) fn changes_files(&self) -> bool {
        self.exclusive && self.action.changes_files()
    }
}

/// Which thread is inside an exclusive call, and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    holder: Option<pid_t>,
    /// Counts the holders, so that the same one is recognised.
    serial: u64,
    seen_serial: u64,
    queue: VecDeque<EntryStop>,
}

impl Turn {
    /// How many threads wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Drops a thread that is gone from those that wait.
    pub(crate) fn forget(&mut self, tid: pid_t) {
        self.queue.retain(|stop| stop.asked.tid != tid);
    }
}

/// Whether anybody may be waiting for a lease to be given back: proc(5), `/proc/locks`.
fn is_lease_wanted() -> bool {
    let locks = fs::read("/proc/locks");
    locks.map_or(true, |locks| String::from_utf8_lossy(&locks).lines().any(|lock| lock.contains(" BREAKING ")))
}

impl Recorder<'_> {
    pub(crate) fn enter(&mut self, stop: EntryStop) {
        let tid = stop.asked.tid;
        let Some(number) = stop.asked.number else {
            let detail = "32-bit or x32 calls are not followed: what this program does to files is not in the trace";
            self.unmodelled("foreign architecture", detail);
            stop.pass();
            return;
        };
        let Some(syscall) = syscalls::find(number) else {
            // The program has a filter of its own that stops it.
            stop.pass();
            return;
        };
        if self.turn.holder.is_some() && syscall.class == Class::FilesOnly {
            // The holder may change what its names mean, and decoding can write down that a file is open.
            self.turn.queue.push_back(stop);
            return;
        }
        let decoded = (syscall.enter)(self, &stop.asked);
        // No such memory, no such thread: then the call will fail as well.
        let at_entry = self.seen(tid, syscall.name, decoded).unwrap_or(AtEntry::Pass);
        let exclusive = at_entry.is_exclusive();
        if self.follows_stores() && !matches!(at_entry, AtEntry::Pass | AtEntry::Refuse) {
            if self.turn.holder.is_some() {
                // What was stored since the holder's call began comes after it.
                self.turn.queue.push_back(stop);
                return;
            }
            self.catch_stores(tid);
        }
        if exclusive {
            if self.turn.holder.is_some() {
                // Decoded anew at its turn: names may mean something else by then.
                self.turn.queue.push_back(stop);
                return;
            }
            self.turn.holder = Some(tid);
            self.turn.serial += 1;
        }
        let (goes_on, pending) = match at_entry {
            AtEntry::Await { action, exclusive } => (stop.run_to_exit(), Some(Pending { syscall, action, exclusive })),
            AtEntry::Refuse => {
                *self.recorded.refused.entry(syscall.name).or_default() += 1;
                (stop.refuse(), None)
            }
            AtEntry::Pass | AtEntry::End => (stop.pass(), None),
        };
        if goes_on && let Some(thread) = self.threads.get_mut(&tid) {
            thread.pending = pending;
        }
        if !goes_on && exclusive {
            // Killed while it waited, by exit_group of another thread, say: it never was inside.
            self.turn.holder = None;
        }
    }

    pub(crate) fn leave(&mut self, stop: ExitStop) {
        let tid = stop.tid;
        if let Some(pending) = self.threads.get_mut(&tid).and_then(|thread| thread.pending.take()) {
            self.finish(tid, pending.syscall, pending.action, stop.result);
        }
        stop.resume();
        self.give_up_turn(tid);
    }

    pub(crate) fn give_up_turn(&mut self, tid: pid_t) {
        if self.turn.holder == Some(tid) {
            self.turn.holder = None;
        }
        while self.turn.holder.is_none() {
            let Some(next) = self.turn.queue.pop_front() else { return };
            self.enter(next);
        }
    }

    /// The supervisor found that threads have been waiting for a while.
    pub(crate) fn rung(&mut self, event: TraceeEvent) {
        match event {
            TraceeEvent::Signal(stop) => stop.swallow(),
            TraceeEvent::Group(stop) => stop.listen(),
            TraceeEvent::Trap(stop) => stop.resume(),
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
        let waits_for = pending.as_ref().map_or(WaitsFor::Anyone, |pending| pending.action.waits_for());
        if waits_for == WaitsFor::Disk || waits_for == WaitsFor::Lease && !is_lease_wanted() {
            return;
        }
        let name = match pending {
            Some(pending) => {
                pending.exclusive = false;
                pending.syscall.name
            }
            None => "exit_group",
        };
        self.unmodelled(name, "took so long that other calls were let run beside it: their order is not known");
        self.give_up_turn(holder);
    }
}
