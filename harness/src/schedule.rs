//! Schedules: where, between the ops of a trace, the kernel is made to do background work that it could have done by
//! itself.
//!
//! A short program ends before the kernel's timers fire, so one replay shows a sliver of what can happen. The set is
//! bounded by the number of injections, in the manner of CHESS (Musuvathi and Qadeer, PLDI 2007, bound preemptions).

use protocol::Step;
use trace::{Call, History, Target, Trace};

/// One piece of background work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// The file system commits its transaction.
    Commit,
    /// Dirty data of one file go to the disk.
    Writeback(Target),
}

/// Background work after the op with this index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// The op after which it happens.
    pub after_op: usize,
    /// What happens.
    pub work: Work,
}

/// In which order the kernel finishes after the last op, the machine staying up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The transaction first, then all dirty data.
    CommitFirst,
    /// All dirty data first, then the transaction.
    WritebackFirst,
}

/// One schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// What is injected, in order.
    pub injections: Vec<Injection>,
    /// What happens at the end.
    pub ending: Ending,
}

/// Where a step of a replay comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The op with this index.
    Op(usize),
    /// Background work, injected or at the end.
    Work(Work),
}

/// A schedule applied to a trace: what the guest does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// Where each step comes from.
    pub origins: Vec<Origin>,
}

/// All schedules with up to `bound` injections: those with fewer come first, so the order is the same for any bound.
pub fn schedules(trace: &Trace, history: &History, bound: u32) -> Vec<Schedule> {
    let endings = endings(trace, history);
    let single = injections(trace, history);
    let mut schedules = Vec::new();
    let mut chosen: Vec<Vec<usize>> = vec![Vec::new()];
    for count in 0..=bound {
        if count > 0 {
            chosen = longer(&chosen, single.len());
        }
        for set in &chosen {
            for &ending in &endings {
                let injections = set.iter().map(|&index| single[index].clone()).collect();
                schedules.push(Schedule { injections, ending });
            }
        }
    }
    schedules
}

/// Every ascending choice that is one longer.
fn longer(chosen: &[Vec<usize>], size: usize) -> Vec<Vec<usize>> {
    let extend = |set: &Vec<usize>| {
        let first = set.last().map_or(0, |last| last + 1);
        let set = set.clone();
        (first..size).map(move |next| set.iter().copied().chain([next]).collect())
    };
    chosen.iter().flat_map(extend).collect()
}

/// Every single injection, in the order of ops.
fn injections(trace: &Trace, history: &History) -> Vec<Injection> {
    let mut injections = Vec::new();
    for (after_op, op) in trace.ops.iter().enumerate() {
        if op.result < 0 {
            continue;
        }
        let last = after_op + 1 == trace.ops.len();
        let dirty = history.dirty_files_after(after_op);
        // At the end, a commit, and the writeback of the only dirty file, are what every ending begins with.
        if !last {
            injections.push(Injection { after_op, work: Work::Commit });
        }
        if !last || dirty.len() > 1 {
            let work = dirty.iter().map(|target| Work::Writeback(target.clone()));
            injections.extend(work.map(|work| Injection { after_op, work }));
        }
    }
    injections
}

/// Both orders; only one if there is nothing to write back.
fn endings(trace: &Trace, history: &History) -> Vec<Ending> {
    let dirty = trace.ops.len().checked_sub(1).map_or(&[][..], |last| history.dirty_files_after(last));
    if dirty.is_empty() { vec![Ending::CommitFirst] } else { vec![Ending::CommitFirst, Ending::WritebackFirst] }
}

impl Schedule {
    /// What the guest does under this schedule.
    pub fn plan(&self, trace: &Trace, history: &History) -> Plan {
        let mut plan = Plan { steps: Vec::new(), origins: Vec::new() };
        let mut injections = self.injections.iter().peekable();
        for (index, op) in trace.ops.iter().enumerate() {
            if op.result >= 0 {
                plan.steps.push(Step::Call(op.call.clone()));
                plan.origins.push(Origin::Op(index));
            }
            while let Some(injection) = injections.next_if(|injection| injection.after_op == index) {
                plan.work(&injection.work);
            }
        }
        let dirty = trace.ops.len().checked_sub(1).map_or(&[][..], |last| history.dirty_files_after(last));
        let writebacks = dirty.iter().map(|target| Work::Writeback(target.clone()));
        let ending: Vec<Work> = match self.ending {
            Ending::CommitFirst => [Work::Commit].into_iter().chain(writebacks).collect(),
            Ending::WritebackFirst => writebacks.chain([Work::Commit]).collect(),
        };
        ending.iter().for_each(|work| plan.work(work));
        plan
    }

    /// For people: `commit after op 3, then commit and writeback at the end`.
    pub fn text(&self) -> String {
        let injected = self.injections.iter().map(|injection| {
            let what = match &injection.work {
                Work::Commit => "commit".to_owned(),
                Work::Writeback(target) => format!("writeback of {}", target_text(target)),
            };
            format!("{what} after op {}", injection.after_op)
        });
        let ending = match self.ending {
            Ending::CommitFirst => "commit, then writeback at the end",
            Ending::WritebackFirst => "writeback, then commit at the end",
        };
        injected.chain([ending.to_owned()]).collect::<Vec<_>>().join("; ")
    }
}

/// A file as people know it.
pub fn target_text(target: &Target) -> String {
    match target {
        Target::Path(path) | Target::NoFollow(path) => path.to_string(),
        Target::Handle(handle) => format!("the nameless file h{}", handle.0),
    }
}

impl Plan {
    fn work(&mut self, work: &Work) {
        self.steps.push(match work {
            Work::Commit => Step::Commit,
            Work::Writeback(target) => Step::Writeback { target: target.clone(), offset: 0, length: 0 },
        });
        self.origins.push(Origin::Work(work.clone()));
    }

    /// How many ops (not steps) had begun once the first `steps` steps had: counted as indices into the trace, so
    /// that ops which failed and were not replayed count as done when a later one is.
    pub fn ops_begun(&self, steps: usize) -> usize {
        let op = |origin: &Origin| match origin {
            Origin::Op(index) => Some(index + 1),
            Origin::Work(_) => None,
        };
        self.origins[..steps.min(self.origins.len())].iter().rev().find_map(op).unwrap_or(0)
    }
}

/// Bytes that a trace writes, start state included: what the disk must have room for.
pub fn data_of(trace: &Trace) -> u64 {
    let written = trace.ops.iter().map(|op| match &op.call {
        Call::Write { data, .. } => data.len() as u64,
        Call::Allocate { length, .. } | Call::CopyRange { length, .. } => *length,
        _ => 0,
    });
    let before = trace.before.0.values().map(|node| match &node.kind {
        trace::Kind::File(content) => content.len() as u64,
        _ => 0,
    });
    written.sum::<u64>() + before.sum::<u64>()
}
