//! Lets a lazy disk know that somebody waits for it.
//!
//! During an execution the disk completes no write (see [`frame::LAZY`](protocol::frame::LAZY)) until somebody waits for
//! one. That is seen from here: a thread of the lowest priority (SCHED_IDLE, sched(7)) gets the only processor when
//! nothing else can run, and then a call that has not ended waits for the disk.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use nix::errno::Errno;

use crate::commit::Commit;
use crate::mailbox::Mailbox;
use crate::rest;

/// The watcher, and the thread that commits, as the thread that makes the calls sees them. Both end with it.
pub struct Watch {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Whether a call is under way.
    call: bool,
    /// How many calls have begun: what was seen during one says nothing of the next.
    begun: u64,
    commit: Wanted,
    over: bool,
    /// What went wrong in a thread.
    failure: Option<String>,
}

/// A commit that is wanted while a call waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wanted {
    #[default]
    No,
    /// When the call waits next.
    Next,
    /// Now.
    Now,
    /// It has ended.
    Done(Result<(), Errno>),
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(&self, condition: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        self.changed.wait_while(self.lock(), |state| condition(state)).unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) {
        self.change(|state| {
            state.call = true;
            state.begun += 1;
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

impl Watch {
    /// Begins to watch. The watcher has a `mailbox` of its own; `commit` is how the file system is made to commit.
    pub fn new(mailbox: Mailbox, commit: Commit) -> Result<Self, String> {
        let shared = Arc::<Shared>::default();
        let mut watch = Self { shared: shared.clone(), threads: Vec::new() };
        let fail = |error: std::io::Error| format!("failed to start a thread: {error}");
        let start = |act: Box<dyn FnOnce() + Send>| std::thread::Builder::new().spawn(act).map_err(fail);
        let (watcher, committer) = (shared.clone(), shared);
        watch.threads.push(start(Box::new(move || watch_in_thread(&watcher, mailbox)))?);
        watch.threads.push(start(Box::new(move || commit_when_told(&committer, commit)))?);
        Ok(watch)
    }

    /// Makes a call, for which a lazy disk completes what it waits for.
    pub fn call<T>(&self, call: impl FnOnce() -> T) -> T {
        self.shared.begin();
        let outcome = call();
        self.shared.change(|state| state.call = false);
        outcome
    }

    /// The same; the file system commits while the call waits for the first time. If it never waits, nothing commits.
    pub fn call_with_commit<T>(&self, call: impl FnOnce() -> T) -> (T, Result<(), Errno>) {
        self.shared.change(|state| state.commit = Wanted::Next);
        let outcome = self.call(call);
        let waited = {
            let mut state = self.shared.lock();
            if state.commit == Wanted::Next {
                state.commit = Wanted::No;
            }
            state.commit != Wanted::No
        };
        // The call may have ended before the commit has.
        (outcome, if waited { self.end_of_commit() } else { Ok(()) })
    }

    /// Has the file system commit, and waits for the end of that.
    pub fn commit(&self) -> Result<(), Errno> {
        self.shared.change(|state| state.commit = Wanted::Now);
        self.end_of_commit()
    }

    fn end_of_commit(&self) -> Result<(), Errno> {
        self.call(|| {
            let mut state = self.shared.wait_while(|state| state.commit == Wanted::Now);
            match std::mem::take(&mut state.commit) {
                Wanted::Done(result) => result,
                _ => Ok(()),
            }
        })
    }

    /// What went wrong in the watching thread, if anything did.
    pub fn failure(&self) -> Option<String> {
        self.shared.lock().failure.take()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.change(|state| state.over = true);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn watch_in_thread(shared: &Shared, mut mailbox: Mailbox) {
    let (quiet, release) = (rest::is_quiet, |mailbox: &mut Mailbox| mailbox.mark(protocol::frame::RELEASE, 0));
    let outcome = lowest_priority().and_then(|()| watch(shared, &mut mailbox, quiet, release));
    if let Err(failure) = outcome {
        shared.change(|state| state.failure = Some(failure));
    }
}

/// Releases writes when a call waits, that is, when all was `quiet` while it was under way. Until all is over.
fn watch<D>(
    shared: &Shared,
    disk: &mut D,
    quiet: impl Fn(&mut D) -> Result<bool, String>,
    release: impl Fn(&mut D) -> Result<(), String>,
) -> Result<(), String> {
    loop {
        let state = shared.wait_while(|state| !state.call && !state.over);
        if state.over {
            return Ok(());
        }
        let call = state.begun;
        drop(state);
        if !quiet(disk)? {
            continue;
        }
        let mut state = shared.lock();
        if !state.call || state.begun != call {
            continue;
        }
        if state.commit == Wanted::Next {
            state.commit = Wanted::Now;
            shared.changed.notify_all();
            continue;
        }
        drop(state);
        release(disk)?;
    }
}

fn commit_when_told(shared: &Shared, mut commit: Commit) {
    while !shared.wait_while(|state| state.commit != Wanted::Now && !state.over).over {
        let done = commit.force().map(drop);
        shared.change(|state| state.commit = Wanted::Done(done));
    }
}

/// Has this thread run only when no other can.
fn lowest_priority() -> Result<(), String> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is the calling thread, and `parameters` outlives the call.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &parameters) };
    Errno::result(result).map(drop).map_err(|error| format!("failed to give a thread the lowest priority: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// While the watcher looks, the call that it watches ends, and the next one begins: that one has not been seen to wait.
    #[test]
    fn what_was_seen_during_one_call_releases_nothing_for_the_next() {
        let shared = Shared::default();
        shared.begin();
        let looks = |looks: &mut Vec<&str>| {
            looks.push("look");
            match looks.len() {
                1 => shared.begin(),
                _ => shared.change(|state| state.over = true),
            }
            Ok(true)
        };
        let mut seen = Vec::new();
        watch(&shared, &mut seen, looks, |seen| {
            seen.push("release");
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, ["look", "look", "release"]);
    }
}
