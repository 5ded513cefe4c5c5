//! The numbers of docs/disk-model.md: if one of these fails, the page is wrong, or the disk model is.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

use std::sync::Arc;

use num_bigint::BigUint;
use storage::{
    Backing, BlockLog, CrashDisk, Decision, DiskModel, Entry, Fates, Image, Layers, Queueing, SECTOR, TearKind, epochs,
};

/// The log of one write after the other, `(first sector, sectors)`, with no flush.
fn log(writes: &[(u64, usize)]) -> BlockLog {
    let mut log = BlockLog::default();
    for &(sector, sectors) in writes {
        log.entries.push(Entry::Write(log.writes.len() as u32));
        log.writes.push(storage::WriteEntry { sector, data: Arc::new(vec![1; sectors * SECTOR]), step: 0 });
        log.queueing.push(Queueing::default());
    }
    log
}

fn layers(writes: &[(u64, usize)], tear: TearKind) -> Arc<Layers> {
    let model = DiskModel { tear, ..DiskModel::default() };
    let log = log(writes);
    let epoch = epochs(&log, &model).pop().expect("a log has an epoch");
    Arc::new(Layers::new(Image::zeroed(1 << 20), &log, &epoch, model))
}

fn count(writes: &[(u64, usize)], tear: TearKind) -> BigUint {
    layers(writes, tear).fates().count()
}

/// The epochs of the example: what ext4 wrote when `naive_config` ran with a commit after its first op.
const EPOCHS: [&[(u64, usize)]; 5] =
    [&[(524_320, 40)], &[(524_360, 8)], &[(266_240, 24), (524_368, 32)], &[(524_400, 8)], &[]];

#[test]
fn the_table_of_epochs() {
    let column = |tear| EPOCHS.map(|writes| count(writes, tear));
    let numbers = |numbers: [u64; 5]| numbers.map(BigUint::from);
    assert_eq!(column(TearKind::None), numbers([2, 2, 4, 2, 1]));
    assert_eq!(column(TearKind::One), numbers([80, 16, 220, 16, 1]));
    assert_eq!(column(TearKind::Any), numbers([1 << 40, 1 << 8, 1 << 56, 1 << 8, 1]));
    assert_eq!(column(TearKind::One).iter().sum::<BigUint>(), BigUint::from(333u32));
}

#[test]
fn the_formula_for_one_tear() {
    for writes in EPOCHS {
        let sectors: usize = writes.iter().map(|(_, sectors)| sectors).sum();
        let formula = BigUint::from(1 + sectors - writes.len()) << writes.len();
        assert_eq!(count(writes, TearKind::One), formula);
    }
}

/// A guest that reads the commit record, and the data behind it only if the record is there: the number of mounts,
/// and of the states that they stand for.
fn mounts(tear: TearKind) -> (u32, BigUint) {
    let layers = layers(&[(100, 8), (108, 8), (200, 1)], tear);
    let (mut mounts, mut states) = (0, BigUint::ZERO);
    let mut prefixes: Vec<Vec<Decision>> = vec![Vec::new()];
    while let Some(prefix) = prefixes.pop() {
        let mut disk = CrashDisk::new(layers.clone(), &prefix);
        let mut record = [0; SECTOR];
        disk.read(200, &mut record).unwrap();
        if record[0] == 1 {
            disk.read(100, &mut [0; 8 * SECTOR]).unwrap();
        }
        let fates: Fates = disk.into_fates();
        mounts += 1;
        states += fates.count();
        let path = fates.decisions();
        for (index, decision) in path.iter().enumerate().skip(prefix.len()) {
            let turned = Decision { survived: !decision.survived, ..*decision };
            prefixes.push([&path[..index], &[turned]].concat());
        }
    }
    (mounts, states)
}

#[test]
fn the_example_of_deciding_late() {
    assert_eq!(mounts(TearKind::None), (3, BigUint::from(8u32)));
    assert_eq!(mounts(TearKind::One), (17, BigUint::from(120u32)));
    assert_eq!(mounts(TearKind::Any), (257, BigUint::from(131_072u32)));
}
