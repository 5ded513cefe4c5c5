//! The same plan gives the same block log, on every boot: what differs between schedules is what was injected.

use storage::{BlockLog, Entry};
use testkit::rounds;

use crate::support::{OneGuest, durable_trace, execute_on, filesystem, record_script, subject, uml};

/// Which sectors were written and when, and what each flush covers: all but the bytes, which hold random numbers.
fn structure(log: &BlockLog) -> String {
    let line = |entry: &Entry| match entry {
        Entry::Write(index) => {
            let write = &log.writes[*index as usize];
            format!("step {}: {} sectors at {}", write.step, write.sectors(), write.sector)
        }
        Entry::Flush { covers, .. } => format!("flush of {covers}"),
        Entry::Forced { from, until, .. } => format!("writes {from} to {until} are durable"),
        Entry::Mark(mark) => format!("end of step {}: {}", mark.step, mark.result),
    };
    log.entries.iter().map(line).collect::<Vec<_>>().join("\n")
}

async fn repeats_itself(kind: &str) {
    let Some(uml) = uml() else { return };
    let filesystem = filesystem(kind);
    let several = "for i in 1 2 3; do mkdir d$i; seq 9000 > t$i; mv t$i d$i/; done; mv d1/t1 config; rm -r d2";
    for subject in [subject(durable_trace()), subject(record_script("seq 2000 > config", several))] {
        for schedule in [0, subject.schedules.len() - 1] {
            let mut first = None;
            for boot in 0..2 {
                let mut guests = OneGuest::new(uml.clone(), subject.read_plan.clone());
                for execution in 0..3 {
                    // On a file system that was made and filled anew.
                    let found = structure(&execute_on(&mut guests, &filesystem, &subject, schedule).await.log);
                    let first = first.get_or_insert_with(|| found.clone());
                    assert_eq!(*first, found, "{kind}, schedule {schedule}, boot {boot}, execution {execution}");
                }
            }
        }
    }
}

#[tokio::test]
async fn on_ext4() {
    repeats_itself("ext4").await;
}

#[tokio::test]
async fn on_xfs() {
    repeats_itself("xfs").await;
}

#[tokio::test]
async fn on_btrfs() {
    repeats_itself("btrfs").await;
}

/// However the host divides its time: replays on more guests than there are processors.
async fn repeats_itself_beside_others(kind: &str, setup: &str, script: &str) {
    let Some(uml) = uml() else { return };
    let filesystem = filesystem(kind);
    let subject = subject(record_script(setup, script));
    let executions = || async {
        let mut guests = OneGuest::new(uml.clone(), subject.read_plan.clone());
        let mut found = Vec::new();
        for _ in 0..3 {
            found.push(structure(&execute_on(&mut guests, &filesystem, &subject, 0).await.log));
        }
        found
    };
    let (a, b, c, d) = tokio::join!(executions(), executions(), executions(), executions());
    let all = [a, b, c, d].concat();
    for (index, found) in all.iter().enumerate() {
        let differ = all[0].lines().zip(found.lines()).find(|(one, other)| one != other);
        assert_eq!(differ, None, "execution {index}");
        assert_eq!(all[0], *found, "execution {index}");
    }
}

#[tokio::test]
async fn fsync_races_with_nothing() {
    let script = "dd if=/dev/zero of=config bs=5000 count=1 conv=notrunc,fdatasync";
    repeats_itself_beside_others("btrfs", "seq 2000 > config", script).await;
}

#[tokio::test]
async fn a_synchronous_write_races_with_nothing() {
    let script = "dd if=/dev/zero of=config bs=5000 count=1 conv=notrunc oflag=dsync,nofollow";
    repeats_itself_beside_others("btrfs", "seq 2000 > config", script).await;
}

#[tokio::test]
async fn sync_races_with_nothing() {
    let script = "for i in 1 2 3; do seq 2000 > t$i; done; mv t1 config; sync";
    repeats_itself_beside_others("btrfs", "seq 2000 > config", script).await;
}

/// Writeback of ext4 goes on with the next extent while the ones before it end.
#[tokio::test]
async fn writeback_of_much_races_with_nothing() {
    let script = "dd if=/dev/zero of=config bs=1M count=64";
    repeats_itself_beside_others("ext4", script, script).await;
}

/// Every schedule of a careless save, again and again, on guests that share the processors. `scripts/test --full` does it
/// more often: what happens once in a thousand executions is seen by that alone.
async fn every_schedule_repeats_itself(kind: &str) {
    let Some(uml) = uml() else { return };
    let filesystem = filesystem(kind);
    let subject = subject(record_script("echo old > f; ln f g", "echo newer > f"));
    let executions = || async {
        let mut guests = OneGuest::new(uml.clone(), subject.read_plan.clone());
        let mut found = Vec::new();
        for round in 0..rounds(1, 60) {
            for schedule in 0..subject.schedules.len() {
                let log = execute_on(&mut guests, &filesystem, &subject, schedule).await.log;
                found.push((round, schedule, structure(&log)));
            }
        }
        found
    };
    let (a, b, c, d) = tokio::join!(executions(), executions(), executions(), executions());
    let differs = |(_, schedule, found): &&(usize, usize, String)| a[*schedule].2 != *found;
    let text = |(round, schedule, found): &(usize, usize, String)| {
        let name = subject.schedules[*schedule].text();
        format!("{name}, round {round}:\n{}\nand then:\n{found}", a[*schedule].2)
    };
    let wrong: Vec<String> = a.iter().chain(&b).chain(&c).chain(&d).filter(differs).map(text).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_schedule_repeats_itself_on_ext4() {
    every_schedule_repeats_itself("ext4").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_schedule_repeats_itself_on_xfs() {
    every_schedule_repeats_itself("xfs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_schedule_repeats_itself_on_btrfs() {
    every_schedule_repeats_itself("btrfs").await;
}
