//! Schedules: where, between and during the ops of a trace, the kernel is made to do background work that it could have
//! done by itself.
//!
//! A short program ends before the kernel's timers fire, so one execution shows a sliver of what can happen. The set is
//! bounded by the number of injections, in the manner of CHESS (Musuvathi and Qadeer, PLDI 2007, bound preemptions).
//! Every execution is on a lazy disk (see [`protocol::frame::LAZY`]): writeback that an op has started is under way until
//! somebody waits for it.
#![forbid(unsafe_code)]

mod dirty;
mod in_place;
mod injections;
mod places;
mod sample;

pub use in_place::Overwrites;
pub use places::O_DIRECT;
use program::{Call, History, Target, Trace, thousands};
use protocol::{Conditions, Step};
pub use sample::sample;

use self::injections::injections;

/// Raised when the schedules for one bound become others: what one set has not shown, another may.
pub const SET: u32 = 2;

/// One piece of background work.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Work {
    /// The file system commits its transaction.
    Commit,
    /// Dirty data of one file go to the disk.
    Writeback {
        /// The file.
        target: Target,
        /// Which of its dirty data: the kernel writes a file back in parts if it likes.
        part: Part,
        /// Whether the work is over when the data have arrived. If not, they are under way until somebody waits for them.
        complete: bool,
    },
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// All of it.
    Whole,
    /// What lies before this byte, a multiple of the page size.
    UpTo(u64),
    /// What lies from this byte on.
    From(u64),
}

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
    /// The op.
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

/// One schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// What is injected, in order.
    pub injections: Vec<Injection>,
    /// What happens at the end.
    pub ending: Ending,
    /// What holds for the whole execution.
    pub conditions: Conditions,
}

/// Where a step of an execution comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The op with this index.
    Op(usize),
    /// Background work, injected or at the end.
    Work(Work),
}

/// A schedule applied to a trace: what the guest does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// Where each step comes from.
    pub origins: Vec<Origin>,
    /// What holds all the while.
    pub conditions: Conditions,
}

/// All schedules with up to `bound` coincidences: those with fewer come first, so the order is the same for any bound.
pub fn schedules(trace: &Trace, history: &History, bound: u32) -> Vec<Schedule> {
    let pool = Pool::new(trace, history);
    let mut schedules = base(trace, history);
    for count in 1..=bound.min(pool.len() as u32) {
        let chosen = choices(0..pool.len(), count as usize).into_iter();
        schedules.extend(chosen.filter_map(|chosen| pool.schedule(chosen)));
    }
    schedules
}

/// What can coincide with an execution: each injection, and that the kernel finishes in another order than the usual one.
struct Pool {
    injections: Vec<Injection>,
    endings: Vec<Ending>,
}

impl Pool {
    fn new(trace: &Trace, history: &History) -> Self {
        Self { injections: injections(trace, history), endings: endings(trace, history) }
    }

    /// How many coincidences there are to choose from. Those that are no injections come last.
    fn len(&self) -> usize {
        self.injections.len() + self.endings.len() - 1
    }

    /// The schedule with these coincidences, which are given in order; `None` if it is in the base set.
    fn schedule(&self, chosen: impl IntoIterator<Item = usize>) -> Option<Schedule> {
        let usual = *self.endings.first()?;
        let mut schedule = Schedule { injections: Vec::new(), ending: usual, conditions: Conditions::default() };
        for index in chosen {
            match self.injections.get(index) {
                Some(injection) => schedule.injections.push(injection.clone()),
                None => schedule.ending = *self.endings.get(1 + index - self.injections.len())?,
            }
        }
        (!schedule.injections.is_empty()).then_some(schedule)
    }
}

/// The schedules without injections: each order in which the kernel can finish, and the usual one under other conditions.
fn base(trace: &Trace, history: &History) -> Vec<Schedule> {
    let usual = Conditions::default();
    let endings = endings(trace, history);
    let others = [Conditions { cold: true, ..usual }, Conditions { still: true, ..usual }];
    let with = |conditions| move |ending| Schedule { injections: Vec::new(), ending, conditions };
    let first = endings.first().copied();
    let others = others.into_iter().filter_map(|conditions| first.map(with(conditions)));
    endings.iter().copied().map(with(usual)).chain(others).collect()
}

/// How many [`schedules`] there are, without making them: they can be more than any memory holds. `u64::MAX` if more.
pub fn schedule_count(trace: &Trace, history: &History, bound: u32) -> u64 {
    let pool = Pool::new(trace, history);
    let size = pool.len() as u64;
    // Binomial coefficients, each from the one before: the product is a multiple of the divisor at each step.
    let mut choices = Some(1_u64);
    let mut all = base(trace, history).len() as u64;
    for count in 1..=u64::from(bound).min(size) {
        let next = |before: u64| Some((u128::from(before) * u128::from(size - count + 1) / u128::from(count)) as u64);
        choices =
            choices.filter(|before| u128::from(*before) * u128::from(size) <= u128::from(u64::MAX)).and_then(next);
        let Some(choices) = choices else { return u64::MAX };
        // One by itself that is no injection is in the base set.
        let known = if count == 1 { pool.endings.len() as u64 - 1 } else { 0 };
        all = all.saturating_add(choices - known);
    }
    all
}

/// Every choice of `count` of these numbers, in their order.
fn choices(from: std::ops::Range<usize>, count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for first in from.clone() {
        for mut others in choices(first + 1..from.end, count - 1) {
            others.insert(0, first);
            all.push(others);
        }
    }
    all
}

/// Both orders, the usual one first: what is dirty is written back later than a transaction is committed (30 s and 5 s on
/// ext4). Only one if there is nothing to write back.
fn endings(trace: &Trace, history: &History) -> Vec<Ending> {
    let dirty = trace.ops.len().checked_sub(1).map_or(&[][..], |last| history.dirty_files_after(last));
    if dirty.is_empty() { vec![Ending::Commit] } else { vec![Ending::CommitFirst, Ending::WritebackFirst] }
}

impl Work {
    /// Writeback of all dirty data of these files.
    fn writeback(targets: &[Target], complete: bool) -> Vec<Self> {
        let one = |target: &Target| Self::Writeback { target: target.clone(), part: Part::Whole, complete };
        targets.iter().map(one).collect()
    }

    /// For people: `writeback of settings.json`.
    pub fn text(&self) -> String {
        match self {
            Work::Commit => "commit".into(),
            Work::Writeback { target, part, complete } => {
                let part = match part {
                    Part::Whole => String::new(),
                    Part::UpTo(cut) => format!(" up to byte {}", thousands(*cut)),
                    Part::From(cut) => format!(" from byte {}", thousands(*cut)),
                };
                let slow = if *complete { "" } else { " (still under way)" };
                format!("writeback of {}{part}{slow}", target_text(target))
            }
        }
    }

    fn step(&self) -> Step {
        match self {
            Work::Commit => Step::Commit,
            Work::Writeback { target, part, complete } => {
                let (offset, length) = match part {
                    Part::Whole => (0, 0),
                    Part::UpTo(cut) => (0, *cut),
                    Part::From(cut) => (*cut, 0),
                };
                Step::Writeback { target: target.clone(), offset, length, wait: *complete }
            }
        }
    }
}

impl Schedule {
    /// How many coincidences it has, but for the order at the end; other conditions than the usual ones count as one.
    pub fn injected(&self) -> u32 {
        self.injections.len() as u32 + u32::from(self.conditions != Conditions::default())
    }

    /// What the guest does under this schedule.
    pub fn plan(&self, trace: &Trace, history: &History) -> Plan {
        let mut plan = Plan { conditions: self.conditions, ..Plan::default() };
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

    /// For people: `commit after op 3, then commit and writeback at the end`.
    pub fn text(&self) -> String {
        let injected = self.injections.iter().map(|Injection { op, event }| match event {
            Event::CommitDuring => format!("commit while op {op} waits for the disk"),
            Event::Idle(works) => {
                format!("{} after op {op}", works.iter().map(Work::text).collect::<Vec<_>>().join(", "))
            }
        });
        let Conditions { cold, still } = self.conditions;
        let conditions = [(cold, "no inode looked at before"), (still, "all within one tick of the clock")];
        let conditions = conditions.into_iter().filter(|(holds, _)| *holds).map(|(_, text)| text.to_owned());
        let ending = match self.ending {
            Ending::Commit => "commit at the end",
            Ending::CommitFirst => "commit, then writeback at the end",
            Ending::WritebackFirst => "writeback, then commit at the end",
        };
        conditions.chain(injected).chain([ending.to_owned()]).collect::<Vec<_>>().join("; ")
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
    fn push(&mut self, step: Step, origin: Origin) {
        self.steps.push(step);
        self.origins.push(origin);
    }

    fn work(&mut self, work: Work) {
        self.push(work.step(), Origin::Work(work));
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

    /// How many ops at most had ended once the first `steps` steps had, counted likewise: all before the next one that is
    /// replayed, which may be under way.
    pub fn ops_ended(&self, steps: usize) -> usize {
        let op = |origin: &Origin| match origin {
            Origin::Op(index) => Some(*index),
            Origin::Work(_) => None,
        };
        let next = self.origins.get(steps..).and_then(|later| later.iter().find_map(op));
        next.unwrap_or_else(|| self.ops_begun(steps))
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
        program::Kind::File(content) => content.len() as u64,
        _ => 0,
    });
    written.sum::<u64>() + before.sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_hold_as_many_as_asked() {
        assert_eq!(choices(0..3, 0), [Vec::<usize>::new()]);
        assert_eq!(choices(0..3, 1), [vec![0], vec![1], vec![2]]);
        assert_eq!(choices(0..3, 2), [vec![0, 1], vec![0, 2], vec![1, 2]]);
    }

    fn trace_of(calls: Vec<Call>) -> Trace {
        let op = |call| program::Op { call, syscall: String::new(), result: 0, thread: 0 };
        let (before, after) = (program::Tree::default(), program::Tree::default());
        let ops = calls.into_iter().map(op).collect();
        Trace {
            command: vec![],
            before,
            holes: Default::default(),
            ops,
            after,
            limits: vec![],
            outside: vec![],
            refused: vec![],
        }
    }

    /// What the schedules without injections are called, for a program that makes these calls.
    fn endings_of(calls: Vec<Call>) -> Vec<String> {
        let trace = trace_of(calls);
        let all = schedules(&trace, &History::new(&trace), 0);
        all.iter().filter(|schedule| schedule.injected() == 0).map(Schedule::text).collect()
    }

    fn save(number: u32, name: &str, length: usize) -> [Call; 2] {
        let handle = program::Handle(number);
        let open = Call::Open { handle, path: name.into(), flags: 0o101, mode: 0o644 };
        [open, Call::Write { handle, offset: 0, data: std::sync::Arc::new(vec![1; length]), flags: 0 }]
    }

    /// Three files, one of them renamed over another; that has so many bytes.
    pub(super) fn three_saves(length: usize) -> (Trace, History) {
        let rename = Call::Rename { from: "a".into(), to: "b".into(), flags: 0 };
        let trace = trace_of([&save(0, "b", 1)[..], &save(1, "a", length), &[rename], &save(2, "c", 1)].concat());
        let history = History::new(&trace);
        (trace, history)
    }

    fn injected(calls: Vec<Call>) -> String {
        let trace = trace_of(calls);
        let all = schedules(&trace, &History::new(&trace), 1);
        let first = all[0].ending;
        let texts = all.iter().filter(|schedule| schedule.ending == first && schedule.injected() > 0);
        let text = |schedule: &Schedule| schedule.text().rsplit_once("; ").unwrap().0.to_owned();
        texts.map(text).collect::<Vec<_>>().join("\n")
    }

    /// "The machine idled here", and "somebody else synced here", each as one event.
    #[test]
    fn what_can_happen_once() {
        let handle = program::Handle(0);
        let calls = [&save(0, "f", 5000)[..], &[Call::Fsync { handle }]].concat();
        insta::assert_snapshot!(injected(calls), @"
        no inode looked at before
        all within one tick of the clock
        commit after op 0
        commit after op 1
        writeback of f (still under way), commit after op 1
        writeback of f, commit after op 1
        writeback of f up to byte 4,096, commit after op 1
        writeback of f from byte 4,096, commit after op 1
        commit while op 2 waits for the disk
        ");
    }

    /// One file by itself, each by itself, and all at once.
    #[test]
    fn files_are_written_back_by_themselves_and_together() {
        let calls = [save(0, "f", 1), save(1, "g", 1)].concat();
        let all = injected(calls);
        let after_last: Vec<&str> = all.lines().filter(|line| line.ends_with("after op 3")).collect();
        insta::assert_snapshot!(after_last.join("\n"), @"
        writeback of f (still under way), commit after op 3
        writeback of f, commit after op 3
        writeback of g (still under way), commit after op 3
        writeback of g, commit after op 3
        writeback of f (still under way), writeback of g (still under way), commit after op 3
        ");
    }

    /// Work that the program's own commit overtakes, since it syncs something else next.
    #[test]
    fn what_is_under_way_may_be_passed_by_a_sync() {
        let handle = program::Handle(1);
        let calls = [&save(0, "f", 1)[..], &save(1, "g", 1), &[Call::Fsync { handle }]].concat();
        let all = injected(calls);
        let without_commit: Vec<&str> = all.lines().filter(|line| !line.contains("commit")).skip(2).collect();
        insta::assert_snapshot!(without_commit.join("\n"), @"
        writeback of f (still under way) after op 1
        writeback of f after op 1
        writeback of f (still under way) after op 3
        writeback of f after op 3
        writeback of f (still under way), writeback of g (still under way) after op 3
        writeback of f, writeback of g after op 3
        ");
    }

    /// 500 lines that a program prints before it saves, and files that it only reads, add nothing; nor do they keep what
    /// happens after the last change from being the last.
    #[test]
    fn what_changes_nothing_is_no_place() {
        let handle = program::Handle(9);
        let print = Call::Ack { channel: program::Channel::Stdout, data: b"hello\n".to_vec() };
        let read =
            [Call::Open { handle, path: program::RelPath::root(), flags: 0o200000, mode: 0 }, Call::Close { handle }];
        let quiet = save(0, "f", 5000).to_vec();
        let chatty = [&vec![print; 500], &quiet[..1], &read, &quiet[1..], &read, &[Call::Exit { status: 0 }]].concat();
        let count = |calls: Vec<Call>| {
            let trace = trace_of(calls);
            schedule_count(&trace, &History::new(&trace), 1)
        };
        assert_eq!(count(chatty), count(quiet));
    }

    /// A log to which 200 records are appended is no 200 places.
    #[test]
    fn a_long_run_of_writes_is_a_few_places() {
        let handle = program::Handle(0);
        let append = |index: u64| {
            let data = std::sync::Arc::new(b"a record\n".to_vec());
            Call::Write { handle, offset: 9 * index, data, flags: 0 }
        };
        let all = |count: u64| {
            let trace = trace_of(save(0, "log", 0)[..1].iter().cloned().chain((0..count).map(append)).collect());
            places::places(&trace, &History::new(&trace)).iter().filter(|place| **place).count()
        };
        assert_eq!([all(1), all(6), all(7), all(200)], [2, 7, 6, 6]);
    }

    /// What an op waits for is not there yet when the commit comes.
    #[test]
    fn a_commit_comes_while_an_op_waits() {
        let (trace, history) = {
            let trace = trace_of([&save(0, "f", 1)[..], &[Call::Fsync { handle: program::Handle(0) }]].concat());
            let history = History::new(&trace);
            (trace, history)
        };
        let all = schedules(&trace, &history, 1);
        let during = Injection { op: 2, event: Event::CommitDuring };
        let found = all.iter().find(|schedule| schedule.injections == [during.clone()]).unwrap();
        let steps = found.plan(&trace, &history).steps;
        assert_eq!(steps, [Step::Call(0), Step::Call(1), Step::CallWithCommit(2), Step::Commit]);
    }

    #[test]
    fn as_many_as_are_counted() {
        let check = |(trace, history): (Trace, History), bound: u32| {
            let count = schedule_count(&trace, &history, bound);
            assert_eq!(count, schedules(&trace, &history, bound).len() as u64, "{bound}");
        };
        for bound in [0, 1, 2] {
            check(three_saves(1), bound);
            check(three_saves(5000), bound);
        }
        let trace = trace_of(save(0, "f", 1).to_vec());
        let history = History::new(&trace);
        assert_eq!(injections(&trace, &history).len(), 2);
        check((trace, history), 4_000_000_000);
    }

    #[test]
    fn without_dirty_data_nothing_is_written_back_at_the_end() {
        let handle = program::Handle(0);
        // O_WRONLY | O_CREAT
        let open = Call::Open { handle, path: "f".into(), flags: 0o101, mode: 0o644 };
        let write = Call::Write { handle, offset: 0, data: std::sync::Arc::new(vec![1]), flags: 0 };
        let dirty = vec![open, write];
        let clean = [dirty.clone(), vec![Call::Fsync { handle }]].concat();
        assert_eq!(endings_of(clean), ["commit at the end"]);
        assert_eq!(endings_of(dirty), ["commit, then writeback at the end", "writeback, then commit at the end"]);
    }
}
