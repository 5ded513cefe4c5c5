//! Where the kernel did background work by itself.

use program::thousands;
use report::{EndingReport, InjectedReport, InjectionReport, KnownSchedule, ScheduleReport, WorkReport, WrittenBack};

/// `commit after op 3; commit, then writeback at the end`.
pub fn schedule(schedule: &ScheduleReport) -> String {
    let KnownSchedule { injections, ending, cold, still, fast_commits, recovery_crash } = match schedule {
        ScheduleReport::Known(known) => known,
        ScheduleReport::Text { text } => return text.clone(),
    };
    let conditions = [
        (cold, "no inode looked at before"),
        (still, "all within one tick of the clock"),
        (fast_commits, "commits are fast commits"),
    ];
    let conditions = conditions.into_iter().filter(|(holds, _)| **holds).map(|(_, text)| text.to_owned());
    let ending = match ending {
        EndingReport::Commit => "commit at the end",
        EndingReport::CommitFirst => "commit, then writeback at the end",
        EndingReport::WritebackFirst => "writeback, then commit at the end",
    };
    let recovery_crash = recovery_crash.then(|| "and a second crash, during recovery".to_owned());
    let all = conditions.chain(injections.iter().map(injection)).chain([ending.to_owned()]).chain(recovery_crash);
    all.collect::<Vec<_>>().join("; ")
}

fn injection(InjectionReport { op, what }: &InjectionReport) -> String {
    match what {
        InjectedReport::CommitDuring => format!("commit while op {op} waits for the disk"),
        InjectedReport::After { work: all } => {
            format!("{} after op {op}", all.iter().map(work).collect::<Vec<_>>().join(", "))
        }
    }
}

/// `writeback of settings.json`.
pub(crate) fn work(work: &WorkReport) -> String {
    match work {
        WorkReport::Commit => "commit".to_owned(),
        WorkReport::Writeback { file, up_to, from, under_way } => {
            let file = match file {
                WrittenBack::Path(path) => path.clone(),
                WrittenBack::Nameless(handle) => format!("the nameless file h{handle}"),
            };
            let up_to = up_to.map(|cut| format!(" up to byte {}", thousands(cut))).unwrap_or_default();
            let from = from.map(|cut| format!(" from byte {}", thousands(cut))).unwrap_or_default();
            let slow = if *under_way { " (still under way)" } else { "" };
            format!("writeback of {file}{up_to}{from}{slow}")
        }
    }
}

#[cfg(test)]
mod tests {
    use report::testing;

    use super::*;

    #[test]
    fn every_part_of_a_schedule() {
        let told = schedule(&testing::known_violation().schedule);
        insta::assert_snapshot!(told, @"no inode looked at before; commits are fast commits; writeback of config.tmp from byte 4,096 (still under way), commit after op 2; commit while op 4 waits for the disk; commit, then writeback at the end; and a second crash, during recovery");
    }
}
