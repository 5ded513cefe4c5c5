//! A crash during recovery: deciding late on both crashes finds what mounting every state finds, one by one, of every
//! recovery. On each file system.
//!
//! A file system that recovers rightly looks the same after a second recovery, wherever the first one was cut. So what is
//! compared is also where the second recovery writes, which tells what it found.

use std::sync::Arc;

use checker::{Observation, ReadPlan};
use engine::brute::{Outcomes, count};
use engine::subject::{Bounds, Subject};
use engine::visit::{EquivalenceClass, Guests, enter};
use explore::Branch;
use filesystems::Filesystem;
use num_bigint::BigUint;
use protocol::frame::{BEGIN, MOUNTED};
use protocol::{Command, Reply};
use storage::{
    BlockLog, Decision, DiskModel, Entry, Fates, Image, Layers, LoggingDisk, Mark, Recovery, TearKind, epochs,
};

use crate::support::{OneGuest, execute_on, filesystem, record_program, uml};

/// So many pairs of states are mounted one by one for each epoch of a recovery at most, and so many in all.
const MOST: u32 = 300;
const IN_ALL: u64 = 2000;

/// What a kernel writes while it recovers one given disk, as it happens, and what is seen then: nothing is decided late.
async fn recover(guests: &mut OneGuest, filesystem: &Filesystem, image: Image) -> (Image, BlockLog, Observation) {
    let mut disk = LoggingDisk::new(image);
    storage::Backing::mark(&mut disk, Mark { step: BEGIN, result: 0 });
    let guest = guests.guest().await.unwrap();
    guest.insert(Box::new(disk));
    let reply = guest.call(&Command::Observe { filesystem: filesystem.recipe(), mark: true }).await;
    let Ok(Reply::Observed(observation)) = reply else { panic!("{reply:?}") };
    let disk: Box<dyn std::any::Any> = guest.eject();
    let (start, mut log) = disk.downcast::<LoggingDisk>().unwrap().finish().unwrap();
    let mounted = |entry: &Entry| matches!(entry, Entry::Mark(mark) if mark.step == MOUNTED);
    if let Some(end) = log.entries.iter().position(mounted) {
        log.entries.truncate(end);
        let writes = log.entries.iter().filter(|entry| matches!(entry, Entry::Write(_))).count();
        log.writes.truncate(writes);
        log.queueing.truncate(writes);
    }
    (start, log, observation)
}

/// Adds what was seen, and where was written to.
fn add(outcomes: &mut Outcomes, log: &BlockLog, observation: &Observation, states: BigUint) {
    let places: Vec<(u64, u64)> = log.writes.iter().map(|write| (write.sector, write.sectors())).collect();
    let mut one = Outcomes::new();
    count(&mut one, observation, states);
    for (outcome, states) in one {
        *outcomes.entry(format!("{outcome}, writes {places:?}")).or_default() += states;
    }
}

/// The walk, with a record of each mount.
async fn walk(guests: &mut OneGuest, filesystem: &Filesystem, layers: &Arc<Layers>) -> Outcomes {
    let mut outcomes = Outcomes::new();
    let mut branches = vec![Branch::root()];
    while let Some(branch) = branches.pop() {
        let EquivalenceClass { fates, observation, recovery } =
            enter(guests, filesystem, layers, &branch.prefix(), true).await.unwrap();
        branches.extend(branch.rest(fates.decisions(), 0));
        add(&mut outcomes, &recovery.unwrap().log, &observation, fates.count());
    }
    outcomes
}

/// The states of the first crash that agree with `decisions`.
fn states(layers: &Layers, decisions: &[Decision]) -> Vec<storage::State> {
    let agrees = |state: &storage::State| {
        decisions.iter().all(|decision| state.survived(decision.write, decision.unit) == decision.survived)
    };
    layers.fates().enumerate().into_iter().filter(agrees).collect()
}

/// What one recovery was compared in.
#[derive(Default, Debug)]
struct Compared {
    recoveries: u64,
    /// Pairs of states that were mounted one by one.
    pairs: u64,
    /// Epochs of recoveries in which something of the recovery was durable already.
    durable: usize,
    outcomes: usize,
}

async fn compare(guests: &mut OneGuest, filesystem: &Filesystem, subject: &Subject, compared: &mut Compared) {
    let model = DiskModel { tear: TearKind::One, ..DiskModel::default() };
    let atomic = DiskModel { tear: TearKind::None, ..model };
    let execution = execute_on(guests, filesystem, subject, 0).await;
    for epoch in epochs(&execution.log, &model) {
        let mut durable = execution.start.clone();
        epoch.advance(&mut durable, &execution.log, 0);
        let first = Arc::new(Layers::new(durable, &execution.log, &epoch, model));
        if first.fates().count() > BigUint::from(200u32) {
            continue;
        }
        let mut branches = vec![Branch::root()];
        while let Some(branch) = branches.pop() {
            let record = branch.mounts_anew;
            let found = enter(guests, filesystem, &first, &branch.prefix(), record).await.unwrap();
            let EquivalenceClass { fates, recovery, .. } = found;
            let mounted = recovery.as_ref().map_or(0, |recovery| recovery.class.decisions().len());
            branches.extend(branch.rest(fates.decisions(), mounted));
            let Some(Recovery { class, log }) = recovery else { continue };
            let whole = states(&first, class.decisions());
            let pairs = |epoch: &storage::Epoch| {
                Fates::open(&atomic, epoch.volatile_writes(&log)).count() * BigUint::from(whole.len())
            };
            let second = epochs(&log, &model);
            let few: Vec<bool> = second.iter().map(|epoch| pairs(epoch) <= BigUint::from(MOST)).collect();
            if !few.contains(&true) || compared.pairs >= IN_ALL {
                continue;
            }
            let mut late = vec![Outcomes::new(); second.len()];
            for (index, epoch) in second.iter().enumerate().filter(|(index, _)| few[*index]) {
                let layers = Arc::new(Layers::recovered(&first, &class, &log, epoch));
                late[index] = walk(guests, filesystem, &layers).await;
                compared.pairs += u64::try_from(pairs(epoch)).unwrap();
                compared.durable += usize::from(epoch.durable > 0);
            }
            let mut flat = vec![Outcomes::new(); second.len()];
            for state in &whole {
                let (mut durable, log, _) = recover(guests, filesystem, first.image(state)).await;
                let mut from = 0;
                let epochs = epochs(&log, &model);
                assert_eq!(epochs.len(), second.len(), "the same class recovers in different ways");
                for (index, epoch) in epochs.iter().enumerate() {
                    epoch.advance(&mut durable, &log, from);
                    from = epoch.durable;
                    if !few[index] {
                        continue;
                    }
                    let layers = Layers::new(durable.clone(), &log, epoch, atomic);
                    for state in layers.fates().enumerate() {
                        let (_, log, observation) = recover(guests, filesystem, layers.image(&state)).await;
                        add(&mut flat[index], &log, &observation, BigUint::from(1u32));
                    }
                }
            }
            assert_eq!(late, flat, "{filesystem:?} {epoch:?} {:?}", class.decisions());
            compared.recoveries += 1;
            compared.outcomes = compared.outcomes.max(flat.iter().map(Outcomes::len).max().unwrap_or(0));
        }
    }
}

/// Whether recovery makes some of its writes `durable` before others: xfs flushes nothing while it mounts.
fn agree(kind: &str, durable: bool) {
    let Some(uml) = uml() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let read_plan = ReadPlan { read_all_up_to: 1 << 20, ..ReadPlan::default() };
    let mut guests = OneGuest::new(uml, Arc::new(read_plan));
    let trace = record_program(
        "yes old | head -c 3000 > a",
        &[
            "python3",
            "-c",
            "import os\n\
             f = os.open('b', os.O_WRONLY | os.O_CREAT)\n\
             os.write(f, b'new' * 900)\n\
             os.fsync(f)\n\
             os.rename('b', 'a')\n\
             os.fsync(f)\n",
        ],
    );
    let subject = Subject::of("twice".into(), Vec::new(), trace, Bounds::default()).unwrap();
    let mut compared = Compared::default();
    runtime.block_on(compare(&mut guests, &filesystem(kind), &subject, &mut compared));
    runtime.block_on(async { drop(guests) });
    eprintln!("{kind}: {compared:?}");
    assert!(
        compared.recoveries > 0 && (compared.durable > 0) == durable && compared.outcomes > 1,
        "{kind}: {compared:?}"
    );
}

#[test]
fn on_ext4() {
    agree("ext4", true);
}

#[test]
fn on_xfs() {
    agree("xfs", false);
}

#[test]
fn on_btrfs() {
    agree("btrfs", true);
}
