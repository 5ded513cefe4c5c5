//! Deciding late finds what a flat enumeration finds: the same outcomes, each in the same number of states.

use std::sync::Arc;

use disk::{BlockLog, CacheKind, DiskModel, Entry, Layers, TearKind, epochs};
use harness::brute::{Outcomes, brute_force, count};
use harness::explore::explore;
use harness::replay::Replay;
use num_bigint::BigUint;
use protocol::Filesystem;

use crate::support::{OneGuest, filesystem, record_script, replay_on, subject, uml};

/// The part of a log up to and with this many writes.
fn beginning(log: &BlockLog, writes: usize) -> BlockLog {
    let mut entries = Vec::new();
    for entry in &log.entries {
        if matches!(entry, Entry::Write(index) if *index as usize == writes) {
            break;
        }
        entries.push(entry.clone());
    }
    let writes: Vec<_> = log.writes.iter().take(writes).cloned().collect();
    BlockLog { queueing: log.queueing[..writes.len()].to_vec(), writes, entries }
}

/// Compares both ways on every epoch that the flat one can manage; how many states that were, and in how many mounts.
async fn compare(guests: &mut OneGuest, filesystem: &Filesystem, replay: &Replay, model: DiskModel) -> (BigUint, u64) {
    let mut durable = replay.start.clone();
    let (mut from, mut states, mut mounts) = (0, BigUint::ZERO, 0);
    for epoch in epochs(&replay.log, &model) {
        epoch.advance(&mut durable, &replay.log, from);
        from = epoch.durable;
        let layers = Arc::new(Layers::new(durable.clone(), &replay.log, &epoch, model));
        let all = layers.fates().count();
        if all > BigUint::from(4096u32) {
            continue;
        }
        let mut late = Outcomes::new();
        let class = |class: harness::explore::Class| {
            mounts += 1;
            count(&mut late, &class.observation, class.fates.count());
        };
        assert!(explore(guests, filesystem, &layers, || true, class).await.unwrap());
        let flat = brute_force(guests, filesystem, &layers).await.unwrap();
        assert_eq!(late, flat, "{filesystem:?} {model:?} {:?}", epoch.volatile);
        assert_eq!(flat.values().sum::<BigUint>(), all);
        states += all;
    }
    (states, mounts)
}

async fn agree(kind: &str) {
    let Some(uml) = uml() else { return };
    let filesystem = filesystem(kind);
    // Several rounds, so that every file system makes a dozen writes of it.
    let durable = subject(record_script(
        "yes old | head -c 5000 > config",
        "for i in 1 2 3 4; do yes new$i | head -c 6000 > tmp; sync tmp; mv tmp config; sync .; done",
    ));
    let naive = subject(record_script("yes old | head -c 5000 > config", "yes new | head -c 6000 > config"));
    let obeying = |tear| DiskModel { tear, ..DiskModel::default() };
    for (subject, schedule) in [(&durable, 0), (&naive, 2)] {
        let mut guests = OneGuest::new(uml.clone(), subject.guide.clone());
        let replay = replay_on(&mut guests, &filesystem, subject, schedule).await;
        for tear in [TearKind::None, TearKind::One] {
            let (states, mounts) = compare(&mut guests, &filesystem, &replay, obeying(tear)).await;
            eprintln!("{kind}, tear {tear:?}: {states} states, {mounts} mounts");
            assert!(states > BigUint::ZERO);
        }
    }
    // A disk that ignores flushes puts as many writes as one likes into one epoch.
    let lying = DiskModel { cache: CacheKind::Lying, tear: TearKind::None, unit: 1 };
    let mut guests = OneGuest::new(uml, durable.guide.clone());
    let Replay { start, log } = replay_on(&mut guests, &filesystem, &durable, 0).await;
    assert!(log.writes.len() >= 12, "{} writes", log.writes.len());
    let cut = Replay { start, log: beginning(&log, 12) };
    let (states, mounts) = compare(&mut guests, &filesystem, &cut, lying).await;
    eprintln!("{kind}, twelve writes: {states} states, {mounts} mounts");
    assert_eq!(states, BigUint::from(4096u32));
}

#[tokio::test]
async fn on_ext4() {
    agree("ext4").await;
}

#[tokio::test]
async fn on_xfs() {
    agree("xfs").await;
}

#[tokio::test]
async fn on_btrfs() {
    agree("btrfs").await;
}
