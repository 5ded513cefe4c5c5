//! Schedules: where, between the ops of a trace, the kernel is made to do background work that it could have done by
//! itself.
//!
//! A short program ends before the kernel's timers fire, so one replay shows a sliver of what can happen. The set is
//! bounded by the number of injections, in the manner of CHESS (Musuvathi and Qadeer, PLDI 2007, bound preemptions).

mod dirty;
mod overtaken;
mod sample;

use protocol::Step;
pub use sample::sample;
use trace::{Call, History, Target, Trace, thousands};

/// One piece of background work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// The file system commits its transaction.
    Commit,
    /// The file system commits while writeback that the op has started is still on its way to the disk. Counts as two
    /// injections.
    CommitInFlight,
    /// Writeback that the op has started is still on its way to the disk when a later op of the program ends, which syncs
    /// something else.
    SyncInFlight {
        /// The op that syncs.
        sync: usize,
    },
    /// Dirty data of one file go to the disk.
    Writeback(Target),
    /// Dirty data of one file go to the disk up to byte `cut`, or from there on (`second`): the kernel writes a file
    /// back in parts if it likes.
    WritebackHalf {
        /// The file.
        target: Target,
        /// Where its dirty data are cut in two: a multiple of the page size.
        cut: u64,
        /// Which half.
        second: bool,
    },
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

/// An injection that can be chosen, or left.
#[derive(Clone, Debug)]
struct Choice {
    injection: Injection,
    /// Whether only right behind a writeback after the same op: elsewhere it would be another choice once more.
    behind_writeback: bool,
}

/// All schedules with up to `bound` injections: those with fewer come first, so the order is the same for any bound.
pub fn schedules(trace: &Trace, history: &History, bound: u32) -> Vec<Schedule> {
    let endings = endings(trace, history);
    let single = injections(trace, history);
    let mut schedules = Vec::new();
    for count in 0..=bound.min(single.iter().map(Choice::count).sum()) {
        for injections in choices(&single, count, None) {
            let with = |&ending| Schedule { injections: injections.clone(), ending };
            schedules.extend(endings.iter().map(with));
        }
    }
    schedules
}

/// How many [`schedules`] there are, without making them: they can be more than any memory holds. `u64::MAX` if more.
pub fn schedule_count(trace: &Trace, history: &History, bound: u32) -> u64 {
    let single = injections(trace, history);
    let most: u32 = single.iter().map(Choice::count).sum();
    // How many choices count as so many injections, and how many of these end with a writeback after the same op.
    let mut all = vec![0_u64; bound.min(most) as usize + 1];
    let mut behind_writeback = all.clone();
    all[0] = 1;
    let mut op = None;
    for choice in &single {
        if op.replace(choice.injection.after_op) != Some(choice.injection.after_op) {
            behind_writeback.fill(0);
        }
        let weight = choice.count() as usize;
        for count in (weight..all.len()).rev() {
            let fewer = if choice.behind_writeback { &behind_writeback } else { &all }[count - weight];
            all[count] = all[count].saturating_add(fewer);
            if choice.injection.work.is_writeback() {
                behind_writeback[count] = behind_writeback[count].saturating_add(fewer);
            }
        }
    }
    all.into_iter().fold(0, u64::saturating_add).saturating_mul(endings(trace, history).len() as u64)
}

/// Every choice of injections behind `previous`, in their order, that counts as `count` of them.
fn choices(from: &[Choice], count: u32, previous: Option<&Injection>) -> Vec<Vec<Injection>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (index, first) in from.iter().enumerate().filter(|(_, first)| first.is_allowed(previous)) {
        let Some(rest) = count.checked_sub(first.count()) else { continue };
        for mut others in choices(&from[index + 1..], rest, Some(&first.injection)) {
            others.insert(0, first.injection.clone());
            all.push(others);
        }
    }
    all
}

impl Choice {
    fn new(after_op: usize, work: Work) -> Self {
        Self { injection: Injection { after_op, work }, behind_writeback: false }
    }

    fn count(&self) -> u32 {
        self.injection.work.count()
    }

    /// Whether it can be chosen where `previous` is the last that was.
    fn is_allowed(&self, previous: Option<&Injection>) -> bool {
        let is_such = |last: &Injection| last.after_op == self.injection.after_op && last.work.is_writeback();
        !self.behind_writeback || previous.is_some_and(is_such)
    }
}

impl Work {
    /// As how many injections it counts. A commit that overtakes writeback takes two pieces of chance: a disk that is
    /// slow at that moment, and the commit. Where the program itself syncs, the disk is enough.
    fn count(&self) -> u32 {
        match self {
            Work::CommitInFlight => 2,
            Work::Commit | Work::SyncInFlight { .. } | Work::Writeback(_) | Work::WritebackHalf { .. } => 1,
        }
    }

    fn is_in_flight(&self) -> bool {
        matches!(self, Work::CommitInFlight | Work::SyncInFlight { .. })
    }

    fn is_writeback(&self) -> bool {
        matches!(self, Work::Writeback(_) | Work::WritebackHalf { .. })
    }

    /// For people: `writeback of settings.json`.
    pub fn text(&self) -> String {
        match self {
            Work::Commit | Work::CommitInFlight => "commit".into(),
            Work::SyncInFlight { .. } => "end of a slow writeback".into(),
            Work::Writeback(target) => format!("writeback of {}", target_text(target)),
            Work::WritebackHalf { target, cut, second } => {
                let side = if *second { "from" } else { "up to" };
                format!("writeback of {} {side} byte {}", target_text(target), thousands(*cut))
            }
        }
    }
}

/// What can be injected, in the order of ops.
fn injections(trace: &Trace, history: &History) -> Vec<Choice> {
    let mut injections = Vec::new();
    let by_syncs = overtaken::by_syncs(trace, history);
    for ((after_op, op), cuts) in trace.ops.iter().enumerate().zip(dirty::cuts(trace, history)) {
        if op.result < 0 {
            continue;
        }
        let last = after_op + 1 == trace.ops.len();
        let dirty = history.dirty_files_after(after_op);
        // First, for it begins with the op: while the disk holds what is under way, other work would wait for it.
        if starts_writeback(&op.call) {
            injections.push(Choice::new(after_op, Work::CommitInFlight));
        }
        injections.extend(by_syncs[after_op].map(|sync| Choice::new(after_op, Work::SyncInFlight { sync })));
        // At the end, a commit, and the writeback of the only dirty file, are what every ending begins with.
        if !last {
            injections.push(Choice::new(after_op, Work::Commit));
        }
        if !last || dirty.len() > 1 {
            let work = dirty.iter().map(|target| Work::Writeback(target.clone()));
            injections.extend(work.map(|work| Choice::new(after_op, work)));
        }
        for (target, cut) in cuts {
            let half = |second| Work::WritebackHalf { target: target.clone(), cut, second };
            injections.extend([false, true].map(|second| Choice::new(after_op, half(second))));
        }
        // Data that are written back may need this commit, too, to be there after a crash: the blocks of a file that grew
        // are allocated only then. After the next op, it would commit that as well.
        injections.push(Choice { behind_writeback: true, ..Choice::new(after_op, Work::Commit) });
    }
    injections
}

/// Whether a file system may start writeback in passing when it is asked this, without waiting for its end: ext4
/// (`auto_da_alloc`) and btrfs when a file is replaced by rename, ext4 and xfs when one is closed that had been
/// truncated, all of them when sync_file_range(2) asks for it.
fn starts_writeback(call: &Call) -> bool {
    matches!(call, Call::Rename { .. } | Call::Close { .. } | Call::SyncRange { .. })
}

/// Both orders; only one if there is nothing to write back.
fn endings(trace: &Trace, history: &History) -> Vec<Ending> {
    let dirty = trace.ops.len().checked_sub(1).map_or(&[][..], |last| history.dirty_files_after(last));
    if dirty.is_empty() { vec![Ending::Commit] } else { vec![Ending::CommitFirst, Ending::WritebackFirst] }
}

impl Schedule {
    /// As how many injections it counts.
    pub fn injected(&self) -> u32 {
        self.injections.iter().map(|injection| injection.work.count()).sum()
    }

    /// What the guest does under this schedule.
    pub fn plan(&self, trace: &Trace, history: &History) -> Plan {
        let mut plan = Plan { steps: Vec::new(), origins: Vec::new() };
        let mut injections = self.injections.iter().peekable();
        for (index, op) in trace.ops.iter().enumerate() {
            let held = self.injections.iter().find(|held| held.after_op == index && held.work.is_in_flight());
            if let Some(held) = held {
                plan.push(Step::Hold, Origin::Work(held.work.clone()));
            }
            if op.result >= 0 {
                plan.push(Step::Call(index as u32), Origin::Op(index));
            }
            if let Some(held) = held {
                plan.push(Step::Pass, Origin::Work(held.work.clone()));
            }
            for overtaken in self.injections.iter().filter(|held| held.work == Work::SyncInFlight { sync: index }) {
                plan.push(Step::Release, Origin::Work(overtaken.work.clone()));
            }
            while let Some(injection) = injections.next_if(|injection| injection.after_op == index) {
                plan.work(&injection.work);
            }
        }
        let dirty = trace.ops.len().checked_sub(1).map_or(&[][..], |last| history.dirty_files_after(last));
        let writebacks = dirty.iter().map(|target| Work::Writeback(target.clone()));
        let ending: Vec<Work> = match self.ending {
            Ending::Commit => vec![Work::Commit],
            Ending::CommitFirst => [Work::Commit].into_iter().chain(writebacks).collect(),
            Ending::WritebackFirst => writebacks.chain([Work::Commit]).collect(),
        };
        ending.iter().for_each(|work| plan.work(work));
        plan
    }

    /// For people: `commit after op 3, then commit and writeback at the end`.
    pub fn text(&self) -> String {
        let injected = self.injections.iter().map(|Injection { after_op, work }| match work {
            Work::CommitInFlight => format!("commit, while writeback by the op is in flight, after op {after_op}"),
            Work::SyncInFlight { sync } => format!("writeback by op {after_op}, in flight until op {sync} has ended"),
            _ => format!("{} after op {after_op}", work.text()),
        });
        let ending = match self.ending {
            Ending::Commit => "commit at the end",
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
    fn push(&mut self, step: Step, origin: Origin) {
        self.steps.push(step);
        self.origins.push(origin);
    }

    fn work(&mut self, work: &Work) {
        let writeback = |target: &Target, offset, length| Step::Writeback { target: target.clone(), offset, length };
        let steps = match work {
            Work::Commit => vec![Step::Commit],
            Work::CommitInFlight => vec![Step::Commit, Step::Release],
            // It ends with the op that syncs.
            Work::SyncInFlight { .. } => vec![],
            Work::Writeback(target) => vec![writeback(target, 0, 0)],
            Work::WritebackHalf { target, cut, second: false } => vec![writeback(target, 0, *cut)],
            Work::WritebackHalf { target, cut, second: true } => vec![writeback(target, *cut, 0)],
        };
        steps.into_iter().for_each(|step| self.push(step, Origin::Work(work.clone())));
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
        trace::Kind::File(content) => content.len() as u64,
        _ => 0,
    });
    written.sum::<u64>() + before.sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_count_what_they_hold() {
        let all = [(0, Work::Commit), (1, Work::CommitInFlight), (2, Work::Commit)];
        let all = all.map(|(after_op, work)| Choice::new(after_op, work));
        let chosen = |count| {
            let ops = |set: Vec<Injection>| set.iter().map(|injection| injection.after_op).collect::<Vec<_>>();
            choices(&all, count, None).into_iter().map(ops).collect::<Vec<_>>()
        };
        assert_eq!(chosen(0), [Vec::<usize>::new()]);
        assert_eq!(chosen(1), [vec![0], vec![2]]);
        assert_eq!(chosen(2), [vec![0, 2], vec![1]]);
        assert_eq!(chosen(3), [vec![0, 1], vec![1, 2]]);
    }

    fn trace_of(calls: Vec<Call>) -> Trace {
        let op = |call| trace::Op { call, syscall: String::new(), result: 0, thread: 0 };
        let (before, after) = (trace::Tree::default(), trace::Tree::default());
        let ops = calls.into_iter().map(op).collect();
        Trace { command: vec![], before, holes: Default::default(), ops, after, limits: vec![], outside: vec![] }
    }

    /// What the schedules without injections are called, for a program that makes these calls.
    fn endings_of(calls: Vec<Call>) -> Vec<String> {
        let trace = trace_of(calls);
        schedules(&trace, &History::new(&trace), 0).iter().map(Schedule::text).collect()
    }

    /// Three files, one of them renamed over another; that has so many bytes.
    pub(super) fn three_saves(length: usize) -> (Trace, History) {
        let save = |number: u32, name: &str, length: usize| {
            let handle = trace::Handle(number);
            let open = Call::Open { handle, path: name.into(), flags: 0o101, mode: 0o644 };
            [open, Call::Write { handle, offset: 0, data: std::sync::Arc::new(vec![1; length]), flags: 0 }]
        };
        let rename = Call::Rename { from: "a".into(), to: "b".into(), flags: 0 };
        let trace = trace_of([&save(0, "b", 1)[..], &save(1, "a", length), &[rename], &save(2, "c", 1)].concat());
        let history = History::new(&trace);
        (trace, history)
    }

    #[test]
    fn halves_of_a_file_of_two_pages() {
        let (trace, history) = three_saves(5000);
        let halves: Vec<String> = schedules(&trace, &history, 1)
            .iter()
            .filter(|schedule| matches!(schedule.injections[..], [Injection { work: Work::WritebackHalf { .. }, .. }]))
            .filter(|schedule| schedule.ending == Ending::CommitFirst)
            .map(Schedule::text)
            .collect();
        insta::assert_snapshot!(halves.join("\n"), @"
        writeback of a up to byte 4,096 after op 3; commit, then writeback at the end
        writeback of a from byte 4,096 after op 3; commit, then writeback at the end
        writeback of b up to byte 4,096 after op 4; commit, then writeback at the end
        writeback of b from byte 4,096 after op 4; commit, then writeback at the end
        writeback of b up to byte 4,096 after op 5; commit, then writeback at the end
        writeback of b from byte 4,096 after op 5; commit, then writeback at the end
        writeback of b up to byte 4,096 after op 6; commit, then writeback at the end
        writeback of b from byte 4,096 after op 6; commit, then writeback at the end
        ");
        let half = Work::WritebackHalf { target: Target::NoFollow("a".into()), cut: 4096, second: true };
        let schedule =
            Schedule { injections: vec![Injection { after_op: 3, work: half }], ending: Ending::CommitFirst };
        let target = Target::NoFollow("a".into());
        let step = Step::Writeback { target, offset: 4096, length: 0 };
        assert!(schedule.plan(&trace, &history).steps.contains(&step));
    }

    /// A disk that holds what is under way holds what other work needs, too.
    #[test]
    fn a_commit_in_flight_comes_before_other_work_after_the_op() {
        let (trace, history) = three_saves(1);
        let after_rename = |schedule: &&Schedule| {
            schedule.injections.len() > 1
                && schedule.injections.iter().any(|injection| injection.work == Work::CommitInFlight)
                && schedule.injections.iter().all(|injection| injection.after_op == 4)
        };
        let all = schedules(&trace, &history, 4);
        let plans: Vec<Plan> = all.iter().filter(after_rename).map(|all| all.plan(&trace, &history)).collect();
        assert!(!plans.is_empty());
        for plan in plans {
            let held = plan.steps.iter().position(|step| *step == Step::Hold).unwrap();
            assert_eq!(plan.steps[held + 1..held + 5], [Step::Call(4), Step::Pass, Step::Commit, Step::Release]);
        }
    }

    /// A log is written back and committed before the next op begins: that op's change is not in that commit.
    #[test]
    fn what_is_written_back_can_be_committed_before_the_next_op() {
        let (trace, history) = three_saves(1);
        let after = |op| {
            let all = schedules(&trace, &history, 2);
            let all: Vec<String> = all
                .iter()
                .filter(|schedule| schedule.injections.len() == 2 && schedule.ending == Ending::CommitFirst)
                .filter(|schedule| schedule.injections.iter().all(|injection| injection.after_op == op))
                .map(Schedule::text)
                .collect();
            all.join("\n")
        };
        insta::assert_snapshot!(after(1), @"
        commit after op 1; writeback of b after op 1; commit, then writeback at the end
        writeback of b after op 1; commit after op 1; commit, then writeback at the end
        ");
        insta::assert_snapshot!(after(6), @"
        writeback of the nameless file h0 after op 6; writeback of b after op 6; commit, then writeback at the end
        writeback of the nameless file h0 after op 6; writeback of c after op 6; commit, then writeback at the end
        writeback of the nameless file h0 after op 6; commit after op 6; commit, then writeback at the end
        writeback of b after op 6; writeback of c after op 6; commit, then writeback at the end
        writeback of b after op 6; commit after op 6; commit, then writeback at the end
        writeback of c after op 6; commit after op 6; commit, then writeback at the end
        ");
        let both = [Work::Writeback(Target::NoFollow("b".into())), Work::Commit];
        let injections = both.map(|work| Injection { after_op: 1, work }).to_vec();
        let plan = Schedule { injections, ending: Ending::CommitFirst }.plan(&trace, &history);
        assert!(matches!(plan.steps[1..5], [Step::Call(1), Step::Writeback { .. }, Step::Commit, Step::Call(2)]));
    }

    /// A save that syncs the directory, and not the file, whose data the rename has sent to the disk.
    #[test]
    fn a_sync_of_something_else_can_overtake_writeback() {
        let handle = trace::Handle(0);
        let open = Call::Open { handle, path: "tmp".into(), flags: 0o101, mode: 0o644 };
        let write = Call::Write { handle, offset: 0, data: std::sync::Arc::new(vec![1]), flags: 0 };
        let rename = Call::Rename { from: "tmp".into(), to: "f".into(), flags: 0 };
        let directory = trace::Handle(1);
        let open_directory = Call::Open { handle: directory, path: trace::RelPath::root(), flags: 0o200000, mode: 0 };
        let (fsync, sync) = (Call::Fsync { handle }, Call::Fsync { handle: directory });
        let held = |calls: &[&Call]| {
            let mut trace = trace_of(calls.iter().map(|&call| call.clone()).collect());
            let (kind, xattrs) = (trace::Kind::File(Default::default()), Default::default());
            let node = trace::Node { kind, mode: 0o644, uid: 0, gid: 0, inode: 1, xattrs };
            trace.before.0.insert("f".into(), node);
            let history = History::new(&trace);
            let all = schedules(&trace, &history, 1);
            let held = all.iter().find(|schedule| {
                schedule.injections.iter().any(|injection| matches!(injection.work, Work::SyncInFlight { .. }))
            })?;
            Some((held.text(), held.plan(&trace, &history).steps))
        };
        let wrong = [&open, &write, &rename, &open_directory, &sync];
        let (text, steps) = held(&wrong).unwrap();
        insta::assert_snapshot!(text, @"writeback by op 2, in flight until op 4 has ended; commit, then writeback at the end");
        let call = Step::Call;
        let expected =
            [call(0), call(1), Step::Hold, call(2), Step::Pass, call(3), call(4), Step::Release, Step::Commit];
        assert_eq!(steps[..9], expected);
        // Nothing is under way, or the sync waits for it.
        assert_eq!(held(&[&open, &write, &fsync, &rename, &open_directory, &sync]), None);
        assert_eq!(held(&[&open, &write, &rename, &fsync, &open_directory, &sync]), None);
        assert_eq!(held(&[&open, &write, &rename, &Call::SyncAll, &open_directory, &sync]), None);
    }

    #[test]
    fn as_many_as_are_counted() {
        let check = |(trace, history): (Trace, History), bound: u32| {
            let count = schedule_count(&trace, &history, bound);
            assert_eq!(count, schedules(&trace, &history, bound).len() as u64, "{bound}");
        };
        for bound in [0, 1, 2, 3, 4] {
            check(three_saves(1), bound);
            check(three_saves(5000), bound);
        }
        let (mut trace, _) = three_saves(1);
        trace.ops.truncate(5);
        let history = History::new(&trace);
        check((trace, history), 4_000_000_000);
        let (trace, history) = three_saves(1);
        assert!(trace.ops.len() == 7 && schedule_count(&trace, &history, 1) > 2);
    }

    #[test]
    fn without_dirty_data_nothing_is_written_back_at_the_end() {
        let handle = trace::Handle(0);
        // O_WRONLY | O_CREAT
        let open = Call::Open { handle, path: "f".into(), flags: 0o101, mode: 0o644 };
        let write = Call::Write { handle, offset: 0, data: std::sync::Arc::new(vec![1]), flags: 0 };
        let dirty = vec![open, write];
        let clean = [dirty.clone(), vec![Call::Fsync { handle }]].concat();
        assert_eq!(endings_of(clean), ["commit at the end"]);
        assert_eq!(endings_of(dirty), ["commit, then writeback at the end", "writeback, then commit at the end"]);
    }
}
