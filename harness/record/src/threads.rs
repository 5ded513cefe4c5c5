//! Who is alive: threads and processes that begin, run another program, and end.

use libc::pid_t;
use program::Call;

use crate::files::TableId;
use crate::mappings::SpaceId;
use crate::recorder::{Cut, Recorder, Thread};
use crate::remote;
use crate::set_id;
use crate::stop::{self, ExecStop, ForkStop, TraceeEvent};
use crate::supervise::Stop;
use crate::syscalls::OTHER_MOUNTS;

impl Recorder<'_> {
    pub(crate) fn forked(&mut self, stop: ForkStop) {
        let (tid, child) = (stop.tid, stop.child);
        let flags = self.threads.get_mut(&tid).map_or(0, |parent| std::mem::take(&mut parent.clone_flags));
        if flags & libc::CLONE_NEWNS as u64 != 0 {
            self.unmodelled("clone", OTHER_MOUNTS);
        }
        // If the thread that ended is another one, whose parent never told of it, its number was given away again.
        if self.ended_early.remove(&child) && !stop::is_traced(child) {
            return stop.resume();
        }
        if let Some(parent) = self.threads.get(&tid) {
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
            let space = self.threads.get(&tid).map(|parent| parent.space).unwrap_or_default();
            let space = match flags & libc::CLONE_VM as u64 != 0 {
                true => self.mappings.share(space),
                false => self.mappings.copy(space),
            };
            self.adopt(child, process, table, space);
        }
        stop.resume();
        self.handle_early(child);
    }

    fn adopt(&mut self, tid: pid_t, process: pid_t, table: TableId, space: SpaceId) {
        let number = self.next_number;
        self.next_number += 1;
        self.processes.insert(process);
        self.threads.insert(tid, Thread { number, process, table, space, clone_flags: 0, pending: None });
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

    pub(crate) fn executed(&mut self, stop: ExecStop) {
        let tid = stop.tid;
        // What it had mapped is gone.
        self.leave_space(stop.former, "execve");
        if let Some(mut thread) = self.threads.remove(&stop.former) {
            thread.space = self.mappings.space();
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
        if let Some(rights) = set_id::lost(tid) {
            let detail = format!(
                "{rights}, which it does not get while it is recorded: what it would do with them is not known"
            );
            self.unmodelled("execve", detail);
        }
        self.started |= tid == self.main;
        stop.resume();
    }

    /// A thread is gone, and maybe a table with it.
    fn forget(&mut self, tid: pid_t, syscall: &str) {
        self.turn.forget(tid);
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        let (table, number) = (thread.table, thread.number);
        if let Some(pending) = thread.pending.take().filter(|pending| pending.changes_files()) {
            self.unmodelled(
                pending.syscall.name,
                "its thread was killed inside it: whether it took effect is not known",
            );
        }
        self.leave_space(tid, syscall);
        for handle in self.files.leave(table) {
            self.push_numbered(number, syscall, Call::Close { handle }, 0);
        }
        self.threads.remove(&tid);
        self.give_up_turn(tid);
    }

    pub(crate) fn ended(&mut self, tid: pid_t, status: i32, signalled: bool) {
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
            let space = self.mappings.space();
            self.adopt(tid, process, table, space);
            self.handle_early(tid);
        }
    }

    /// Ends everything that still runs.
    pub(crate) fn kill_all(&mut self, first: TraceeEvent, reason: Stop) -> Cut {
        let main_runs = self.threads.contains_key(&self.main);
        let mut event = Some(first);
        loop {
            if let Some(event) = event.take() {
                match event {
                    TraceeEvent::Ended { tid, .. } => drop(self.threads.remove(&tid)),
                    TraceeEvent::Fork(stop) => {
                        self.adopt(stop.child, stop.child, TableId::default(), SpaceId::default());
                    }
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
                Ok(TraceeEvent::Signal(stop)) if stop.tid == self.bell => stop.swallow(),
                Ok(next) => event = Some(next),
                // Nobody is left.
                Err(_) => break,
            }
        }
        let who = if main_runs { "the command" } else { "a process that the command left behind" };
        Cut { stop: reason, who }
    }
}
