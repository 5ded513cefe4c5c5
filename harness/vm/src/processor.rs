//! A processor for each guest.
//!
//! A guest and its disk take turns: one waits while the other works, some fifty times a mount. On two processors each
//! turn wakes an idle one, which costs more than most requests do, above all where the host is itself a virtual
//! machine; on one processor it is a switch between two threads.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

/// The calling thread. Threads and processes that it starts have its processors.
const SELF: Pid = Pid::from_raw(0);

/// A processor that no other guest on this host has, as long as this lives.
pub(crate) struct Processor {
    number: usize,
    /// A name that only one process can have and that goes with it: nothing else is said over it.
    _claim: UnixListener,
}

impl Processor {
    /// The first one free, from where this thread runs on; `None` if there is none, or if this process may use fewer
    /// than it sees: then others use the same ones, and the kernel had better choose.
    pub(crate) fn claim() -> Option<Self> {
        let allowed = sched_getaffinity(SELF).ok()?;
        let numbers: Vec<usize> = (0..CpuSet::count()).filter(|&number| allowed.is_set(number) == Ok(true)).collect();
        if std::thread::available_parallelism().ok()?.get() < numbers.len() {
            return None;
        }
        let here = sched_getcpu().unwrap_or(0);
        let (before, from): (Vec<usize>, Vec<usize>) = numbers.into_iter().partition(|&number| number < here);
        from.into_iter().chain(before).find_map(|number| {
            let name = SocketAddr::from_abstract_name(format!("crash-harness-processor-{number}")).ok()?;
            let _claim = UnixListener::bind_addr(&name).ok()?;
            Some(Self { number, _claim })
        })
    }

    /// Has this thread, and what it starts, run on this processor only, until the result is dropped.
    pub(crate) fn enter(&self) -> Option<Entered> {
        let before = sched_getaffinity(SELF).ok()?;
        let mut only = CpuSet::new();
        only.set(self.number).ok()?;
        sched_setaffinity(SELF, &only).ok()?;
        Some(Entered { before })
    }
}

/// A thread that runs on one processor for now.
pub(crate) struct Entered {
    before: CpuSet,
}

impl Drop for Entered {
    fn drop(&mut self) {
        // It was allowed before.
        let _ = sched_setaffinity(SELF, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_run_on() -> Vec<usize> {
        let allowed = sched_getaffinity(SELF).expect("an affinity");
        (0..CpuSet::count()).filter(|&number| allowed.is_set(number) == Ok(true)).collect()
    }

    #[test]
    fn a_thread_and_what_it_starts_stay_on_the_claimed_processor() {
        let Some(processor) = Processor::claim() else {
            return testkit::skip(testkit::Need::Processor, &"no processor is free");
        };
        let before = may_run_on();
        let entered = processor.enter().expect("a processor that is allowed");
        assert_eq!(may_run_on(), [processor.number]);
        assert_eq!(std::thread::spawn(may_run_on).join().expect("a thread"), [processor.number]);
        drop(entered);
        assert_eq!(may_run_on(), before);
    }

    #[test]
    fn no_processor_is_claimed_twice() {
        let claims: Vec<Processor> = std::iter::from_fn(Processor::claim).collect();
        if claims.is_empty() {
            return testkit::skip(testkit::Need::Processor, &"no processor is free");
        }
        let numbers: std::collections::BTreeSet<usize> = claims.iter().map(|claim| claim.number).collect();
        assert_eq!(numbers.len(), claims.len());
    }
}
