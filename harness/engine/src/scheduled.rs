//! A schedule as reports have it.

use program::{OpId, Target};
use report::{EndingReport, InjectedReport, InjectionReport, KnownSchedule, WorkReport, WrittenBack};

use plan::{Ending, Event, Injection, Part, Schedule, Work};

/// A schedule; `recovery_crash` is whether the machine crashed again while it recovered.
pub fn schedule(schedule: &Schedule, recovery_crash: bool) -> KnownSchedule {
    let injection = |Injection { op, event }: &Injection| {
        let what = match event {
            Event::CommitDuring => InjectedReport::CommitDuring,
            Event::Idle(works) => InjectedReport::After { work: works.iter().map(work).collect() },
        };
        InjectionReport { op: OpId(*op), what }
    };
    let ending = match schedule.ending {
        Ending::Commit => EndingReport::Commit,
        Ending::CommitFirst => EndingReport::CommitFirst,
        Ending::WritebackFirst => EndingReport::WritebackFirst,
    };
    KnownSchedule {
        injections: schedule.injections.iter().map(injection).collect(),
        ending,
        cold: schedule.conditions.cold,
        still: schedule.conditions.still,
        fast_commits: schedule.conditions.fast_commits,
        recovery_crash,
    }
}

/// A piece of background work.
pub fn work(work: &Work) -> WorkReport {
    match work {
        Work::Commit => WorkReport::Commit,
        Work::Writeback { target, part, complete } => {
            let file = match target {
                Target::Path(path) | Target::NoFollow(path) => WrittenBack::Path(path.to_string()),
                Target::Handle(handle) => WrittenBack::Nameless(handle.0),
            };
            let (up_to, from) = match part {
                Part::Whole => (None, None),
                Part::UpTo(cut) => (Some(*cut), None),
                Part::From(cut) => (None, Some(*cut)),
            };
            WorkReport::Writeback { file, up_to, from, under_way: !complete }
        }
    }
}

#[cfg(test)]
mod tests {
    use program::{Call, Handle, History, Op, Trace};
    use report::ScheduleReport;

    use super::*;
    use plan::schedules;

    /// Errors name a schedule as reporters do.
    #[test]
    fn reporters_say_of_a_schedule_what_it_says_of_itself() {
        let (one, other) = (Handle(0), Handle(1));
        let open = |handle, path: &str| Call::Open { handle, path: path.into(), flags: 0o101, mode: 0o644 };
        let write = |handle| Call::Write { handle, offset: 0, data: std::sync::Arc::new(vec![1; 5000]), flags: 0 };
        let calls = [open(one, "f"), write(one), open(other, "g"), write(other), Call::Fsync { handle: one }];
        let ops = calls.map(|call| Op { call, syscall: String::new(), result: 0, thread: 0 }).to_vec();
        let trace = Trace { ops, ..Trace::default() };
        let all = schedules(&trace, &History::new(&trace), 2);
        assert!(all.len() > 100, "{}", all.len());
        for known in all {
            let told = reporters::sentences::schedule(&ScheduleReport::Known(schedule(&known, false)));
            assert_eq!(told, known.text());
        }
    }
}
