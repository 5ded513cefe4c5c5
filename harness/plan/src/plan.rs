//! A schedule applied to a trace: what the guest does, step by step.

use program::{History, Trace};
use protocol::{Conditions, Step};
use serde::Serialize;

use crate::schedule::{Ending, Event, Injection, Schedule};
use crate::work::Work;

/// Where a step of an execution comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Origin {
    /// The op with this index.
    Op(usize),
    /// Background work, injected or at the end.
    Work(Work),
}

/// A schedule applied to a trace: what the guest does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps of the guest, in order.
    pub steps: Vec<Step>,
    /// The origin of each step.
    pub origins: Vec<Origin>,
    /// The conditions that hold for the whole execution.
    pub conditions: Conditions,
    /// The op before whose end no crash is explored ([`Trace::explored_from`]).
    pub explored_from: Option<usize>,
}

impl Schedule {
    /// What the guest does under this schedule.
    pub fn plan(&self, trace: &Trace, history: &History) -> Plan {
        let mut plan = Plan { conditions: self.conditions, explored_from: trace.explored_from, ..Plan::default() };
        let mut injections = self.injections.iter().peekable();
        for (index, op) in trace.ops.iter().enumerate() {
            let during = Injection { op: index, event: Event::CommitDuring };
            let during = injections.next_if(|injection| **injection == during).is_some();
            if op.result >= 0 {
                let call = index as u32;
                plan.push(if during { Step::CallWithCommit(call) } else { Step::Call(call) }, Origin::Op(index));
            }
            while let Some(injection) = injections.next_if(|injection| injection.op == index) {
                if let Event::Idle(works) = &injection.event {
                    works.iter().for_each(|work| plan.work(work.clone()));
                }
            }
        }
        let dirty = trace.ops.len().checked_sub(1).map_or(&[][..], |last| history.dirty_files_after(last));
        let writebacks = Work::writeback(dirty, true).into_iter();
        let ending: Vec<Work> = match self.ending {
            Ending::Commit => vec![Work::Commit],
            Ending::CommitFirst => [Work::Commit].into_iter().chain(writebacks).collect(),
            Ending::WritebackFirst => writebacks.chain([Work::Commit]).collect(),
        };
        ending.into_iter().for_each(|work| plan.work(work));
        plan
    }
}

impl Plan {
    fn push(&mut self, step: Step, origin: Origin) {
        self.steps.push(step);
        self.origins.push(origin);
    }

    fn work(&mut self, work: Work) {
        self.push(work.step(), Origin::Work(work));
    }

    /// How many ops (not steps) had begun once the first `steps` steps had: counted as indices into the trace, so
    /// that ops which failed and were not executed count as done when a later one is.
    pub fn ops_begun(&self, steps: usize) -> usize {
        let op = |origin: &Origin| match origin {
            Origin::Op(index) => Some(index + 1),
            Origin::Work(_) => None,
        };
        self.origins[..steps.min(self.origins.len())].iter().rev().find_map(op).unwrap_or(0)
    }

    /// How many ops at most had ended once the first `steps` steps had, counted likewise: all before the next one that is
    /// executed, which may be under way.
    pub fn ops_ended(&self, steps: usize) -> usize {
        let op = |origin: &Origin| match origin {
            Origin::Op(index) => Some(*index),
            Origin::Work(_) => None,
        };
        let next = self.origins.get(steps..).and_then(|later| later.iter().find_map(op));
        next.unwrap_or_else(|| self.ops_begun(steps))
    }
}
