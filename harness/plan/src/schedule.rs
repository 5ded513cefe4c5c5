//! Schedules: what the kernel does of its own accord while a trace is executed.

use protocol::Conditions;

use crate::work::Work;

/// What the kernel does at one place of its own accord, beginning to end: one coincidence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// The file system commits while the op waits for the disk for the first time: what it waits for is under way.
    CommitDuring,
    /// The machine idles after the op: such work, in this order.
    Idle(Vec<Work>),
}

/// An event at an op.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Injection {
    /// Index of the op in the trace.
    pub op: usize,
    /// What happens during it, or after it.
    pub event: Event,
}

/// In which order the kernel finishes after the last op, the machine staying up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// The transaction: there are no dirty data.
    Commit,
    /// The transaction first, then all dirty data.
    CommitFirst,
    /// All dirty data first, then the transaction.
    WritebackFirst,
}

/// What the kernel does of its own accord while a trace is executed, and afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The injections, in the order of their ops.
    pub injections: Vec<Injection>,
    /// What the kernel does after the last op.
    pub ending: Ending,
    /// What holds for the whole execution.
    pub conditions: Conditions,
}

impl Schedule {
    /// How many coincidences it has, but for the order at the end; other conditions than the usual ones count as one.
    pub fn injected(&self) -> u32 {
        self.injections.len() as u32 + u32::from(self.conditions != Conditions::default())
    }

    /// For people: `commit after op 3, then commit and writeback at the end`.
    pub fn text(&self) -> String {
        let injected = self.injections.iter().map(|Injection { op, event }| match event {
            Event::CommitDuring => format!("commit while op {op} waits for the disk"),
            Event::Idle(works) => {
                format!("{} after op {op}", works.iter().map(Work::text).collect::<Vec<_>>().join(", "))
            }
        });
        let Conditions { cold, still, fast_commits } = self.conditions;
        let conditions = [
            (cold, "no inode looked at before"),
            (still, "all within one tick of the clock"),
            (fast_commits, "commits are fast commits"),
        ];
        let conditions = conditions.into_iter().filter(|(holds, _)| *holds).map(|(_, text)| text.to_owned());
        let ending = match self.ending {
            Ending::Commit => "commit at the end",
            Ending::CommitFirst => "commit, then writeback at the end",
            Ending::WritebackFirst => "writeback, then commit at the end",
        };
        conditions.chain(injected).chain([ending.to_owned()]).collect::<Vec<_>>().join("; ")
    }
}
