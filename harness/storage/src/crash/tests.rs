//! Late decisions compared with a look at every state, by a guest made of a few lines.

use std::collections::BTreeMap;

use filesystems::EXT4;
use num_bigint::BigUint;
use proptest::prelude::*;
use protocol::frame::BEGIN;

use super::*;
use crate::{CacheKind, DiskModel, Entry, Image, LoggingDisk, TearKind, epochs};

const SECTORS: u64 = 16;

fn log(writes: &[(u64, u8, u8)]) -> BlockLog {
    let mut log = BlockLog::default();
    for (index, &(sector, length, fill)) in writes.iter().enumerate() {
        let data = Arc::new(vec![fill; length as usize * SECTOR]);
        let queueing = Queueing { request: index as u64, available: index as u64 + 1 };
        log.write(WriteEntry { sector, data, step: 0 }, queueing);
    }
    log
}

/// A guest that reads sectors one after the other, where to go next depending on what it saw.
fn guest(mut read: impl FnMut(u64) -> u8, start: u64, reads: u32) -> Vec<u8> {
    let mut sector = start;
    let mut seen = Vec::new();
    for _ in 0..reads {
        let byte = read(sector);
        seen.push(byte);
        sector = (sector + 1 + u64::from(byte)) % SECTORS;
    }
    seen
}

fn byte(disk: &mut dyn Backing, sector: u64) -> u8 {
    let mut buffer = [0; SECTOR];
    disk.read(sector, &mut buffer).unwrap();
    buffer[0]
}

/// A kernel that recovers: what it writes and when it flushes depends on what it reads.
fn recover(disk: &mut dyn Backing, start: u64, reads: u32) {
    let (mut request, mut issued) = (0, 0);
    for step in 0..reads {
        let sector = (start + u64::from(step) * 5) % SECTORS;
        let seen = byte(disk, sector);
        if seen > 0 {
            // Every other write completes when the next request has been queued already.
            issued = (request + 1 + u64::from(step % 2)).max(issued);
            let data = vec![(seen + step as u8) % 3; (1 + step as usize % 2) * SECTOR];
            disk.write((sector + 2) % (SECTORS - 2), data, Queueing { request, available: issued });
            request += 1;
        }
        if seen == 2 {
            // And so does every other flush.
            issued = (request + 1 + u64::from(step % 2)).max(issued);
            disk.flush(Queueing { request, available: issued });
            request += 1;
        }
    }
}

/// How often each outcome occurs.
type Outcomes<T> = BTreeMap<T, BigUint>;

/// The depth-first walk in its shortest form: runs `guest` on each class. It gets the class's disk and how many
/// decisions that began with.
fn walk<T: Ord>(
    disk: impl Fn(&[Decision]) -> CrashDisk,
    mut guest: impl FnMut(CrashDisk, usize) -> (T, Fates),
) -> Outcomes<T> {
    let mut outcomes = BTreeMap::new();
    let mut paths: Vec<Vec<Decision>> = vec![Vec::new()];
    while let Some(path) = paths.pop() {
        let (outcome, fates) = guest(disk(&path), path.len());
        *outcomes.entry(outcome).or_default() += fates.count();
        let decisions = fates.decisions();
        for (index, last) in decisions.iter().enumerate().skip(path.len()) {
            let turned = Decision { survived: !last.survived, ..*last };
            paths.push([&decisions[..index], &[turned]].concat());
        }
    }
    outcomes
}

fn explore(layers: &Arc<Layers>, start: u64, reads: u32) -> Outcomes<Vec<u8>> {
    walk(
        |prefix| CrashDisk::new(layers.clone(), prefix),
        |mut disk, _| (guest(|sector| byte(&mut disk, sector), start, reads), disk.into_fates()),
    )
}

/// The same guest, but that it first reads everything ahead, and does without if the disk refuses. Also the most
/// that one of its runs has settled.
fn explore_ahead(layers: &Arc<Layers>, start: u64, reads: u32) -> (Outcomes<Vec<u8>>, usize) {
    let mut most = 0;
    let outcomes = walk(
        |prefix| CrashDisk::new(layers.clone(), prefix).refusing_ahead(EXT4.journal),
        |mut disk, _| {
            disk.mark(Mark { step: CONTENTS, result: 0 });
            let mut all = [0; SECTORS as usize * SECTOR];
            let there = disk.read(0, &mut all).is_ok();
            assert_eq!(disk.has_refused(), !there);
            let read = |sector| if there { all[sector as usize * SECTOR] } else { byte(&mut disk, sector) };
            let seen = guest(read, start, reads);
            most = most.max(disk.fates().decisions().len());
            (seen, disk.into_fates())
        },
    );
    (outcomes, most)
}

fn brute_force(layers: &Layers, start: u64, reads: u32) -> Outcomes<Vec<u8>> {
    let mut outcomes = Outcomes::new();
    for state in layers.fates().enumerate() {
        let image = layers.image(&state);
        *outcomes.entry(guest(|sector| image.sector(sector)[0], start, reads)).or_default() += 1u32;
    }
    outcomes
}

/// What a guest sees that mounts after the crash of one that recovered: outcomes by the epoch of the recovery.
fn explore_twice(first: &Arc<Layers>, model: &DiskModel, start: u64, reads: u32) -> Outcomes<(usize, Vec<u8>)> {
    let mut outcomes = Outcomes::new();
    // Decisions that the last new mount had made when it ended: a run that turns round a later one mounts the same.
    let mut mount = 0;
    let mut recovered = BigUint::ZERO;
    walk(
        |prefix| CrashDisk::recording(first.clone(), prefix),
        |mut disk, prefix| {
            recover(&mut disk, start, reads);
            disk.mark(Mark { step: MOUNTED, result: 0 });
            let outcome = guest(|sector| byte(&mut disk, sector), start, reads);
            let (fates, recovery) = disk.into_parts();
            if prefix <= mount {
                let Recovery { class, log } = recovery.unwrap();
                mount = class.decisions().len();
                recovered += class.count();
                for (index, epoch) in epochs(&log, model).iter().enumerate() {
                    let second = Arc::new(Layers::recovered(first, &class, &log, epoch));
                    for (outcome, count) in explore(&second, start, reads) {
                        *outcomes.entry((index, outcome)).or_default() += count;
                    }
                }
            }
            (outcome, fates)
        },
    );
    assert_eq!(recovered, first.fates().count(), "each state is recovered once");
    outcomes
}

fn brute_force_twice(first: &Layers, model: &DiskModel, start: u64, reads: u32) -> Outcomes<(usize, Vec<u8>)> {
    let mut outcomes = Outcomes::new();
    for state in first.fates().enumerate() {
        let mut disk = LoggingDisk::new(first.image(&state));
        disk.mark(Mark { step: BEGIN, result: 0 });
        recover(&mut disk, start, reads);
        let (mut durable, log) = disk.finish().unwrap();
        let mut from = 0;
        for (index, epoch) in epochs(&log, model).iter().enumerate() {
            epoch.advance(&mut durable, &log, from);
            from = epoch.durable;
            let atomic = DiskModel { tear: TearKind::None, ..*model };
            let second = Layers::new(durable.clone(), &log, epoch, atomic);
            for (outcome, count) in brute_force(&second, start, reads) {
                *outcomes.entry((index, outcome)).or_default() += count;
            }
        }
    }
    outcomes
}

fn cache() -> impl Strategy<Value = CacheKind> {
    prop_oneof![Just(CacheKind::Writeback), Just(CacheKind::Writethrough), Just(CacheKind::Lying)]
}

fn tear() -> impl Strategy<Value = TearKind> {
    prop_oneof![Just(TearKind::None), Just(TearKind::One), Just(TearKind::Any)]
}

fn last_epoch(writes: &[(u64, u8, u8)], model: DiskModel) -> Arc<Layers> {
    let log = log(writes);
    let epoch = epochs(&log, &DiskModel::default()).pop().unwrap();
    Arc::new(Layers::new(Image::zeroed(1), &log, &epoch, model))
}

/// What is read ahead of a journal is refused, and once more when another block makes the kernel read ahead again; the
/// block is settled when it is needed.
#[test]
fn a_block_that_is_only_read_ahead_is_refused_each_time() {
    const BLOCK: usize = 4096;
    let mut superblock = vec![0; BLOCK];
    superblock[..8].copy_from_slice(&[0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 4]);
    superblock[12..20].copy_from_slice(&[0, 0, 16, 0, 0, 0, 0, 100]);
    let mut log = BlockLog::default();
    for (request, block, data) in [(0, 0, superblock), (1, 46, vec![1; BLOCK])] {
        let entry = WriteEntry { sector: block * 8, data: Arc::new(data), step: 0 };
        log.write(entry, Queueing { request, available: request + 1 });
    }
    let model = DiskModel { tear: TearKind::None, ..DiskModel::default() };
    let epoch = epochs(&log, &model).pop().unwrap();
    let layers = Arc::new(Layers::new(Image::zeroed(1 << 20), &log, &epoch, model));
    let mut disk = CrashDisk::new(layers, &[]).refusing_ahead(EXT4.journal);
    let mut read = |block: u64| (disk.read(block * 8, &mut [0; BLOCK]).is_ok(), disk.fates().decisions().len());
    assert_eq!(read(0), (true, 1));
    assert_eq!([40, 46, 18, 46].map(&mut read), [(true, 1), (false, 1), (true, 1), (false, 1)]);
    assert_eq!(read(46), (true, 2));
}

proptest! {
    /// Deciding late finds the same outcomes, each as often, as looking at every state.
    #[test]
    fn agrees_with_brute_force(
        writes in prop::collection::vec((0u64..12, 1u8..4, 0u8..3), 0..5),
        tear in tear(),
        unit in prop_oneof![Just(1u32), Just(2u32)],
        start in 0..SECTORS,
        reads in 0u32..12,
    ) {
        let layers = last_epoch(&writes, DiskModel { tear, unit, ..DiskModel::default() });
        prop_assert_eq!(explore(&layers, start, reads), brute_force(&layers, start, reads));
    }

    /// So it does where it refuses what is read ahead, and nothing is settled for that.
    #[test]
    fn what_is_read_ahead_settles_nothing(
        writes in prop::collection::vec((0u64..12, 1u8..4, 0u8..3), 0..5),
        tear in tear(),
        start in 0..SECTORS,
        reads in 0u32..12,
    ) {
        let layers = last_epoch(&writes, DiskModel { tear, ..DiskModel::default() });
        let (late, most) = explore_ahead(&layers, start, reads);
        prop_assert_eq!(late, brute_force(&layers, start, reads));
        prop_assert!(most <= reads as usize * writes.len());
    }

    /// So it does if the machine crashes once more while it recovers.
    #[test]
    fn a_crash_during_recovery_agrees_with_brute_force(
        writes in prop::collection::vec((0u64..12, 1u8..3, 0u8..3), 0..4),
        (cache, tear) in (cache(), tear()),
        unit in prop_oneof![Just(1u32), Just(2u32)],
        start in 0..SECTORS,
        reads in 0u32..7,
    ) {
        let model = DiskModel { cache, tear, unit, fua: true };
        let layers = last_epoch(&writes, model);
        let late = explore_twice(&layers, &model, start, reads);
        prop_assert_eq!(late, brute_force_twice(&layers, &model, start, reads));
    }
}

#[test]
fn recovery_ends_with_the_mount() {
    let layers = last_epoch(&[(0, 1, 7), (1, 1, 7)], DiskModel::default());
    let mut disk = CrashDisk::recording(layers.clone(), &[]);
    let write = |disk: &mut CrashDisk, request| {
        disk.write(9, vec![9; SECTOR], Queueing { request, available: request + 1 });
    };
    byte(&mut disk, 0);
    write(&mut disk, 0);
    disk.flush(Queueing { request: 1, available: 2 });
    disk.mark(Mark { step: MOUNTED, result: 0 });
    byte(&mut disk, 1);
    write(&mut disk, 2);
    disk.flush(Queueing { request: 3, available: 4 });
    let (fates, recovery) = disk.into_parts();
    let Recovery { class, log } = recovery.unwrap();
    assert_eq!((fates.decisions().len(), class.decisions().len()), (2, 1));
    assert_eq!(log.entries, [Entry::Write(0), Entry::Flush { covers: 1, available: 2 }]);
    let epoch = epochs(&log, &DiskModel::default()).remove(0);
    let second = Layers::recovered(&layers, &class, &log, &epoch);
    assert_eq!((second.before_recovery(), second.volatile().len()), (2, 3));
    assert_eq!(second.fates().count(), BigUint::from(4u32));
}

#[test]
fn a_mount_that_is_refused_is_all_recovery() {
    let mut disk = CrashDisk::recording(last_epoch(&[(0, 1, 7)], DiskModel::default()), &[]);
    byte(&mut disk, 0);
    disk.write(9, vec![9; SECTOR], Queueing { request: 0, available: 1 });
    let (fates, recovery) = disk.into_parts();
    let Recovery { class, log } = recovery.unwrap();
    assert_eq!(class.decisions(), fates.decisions());
    assert_eq!(log.writes.len(), 1);
}

/// A journal of three blocks behind its superblock, the last two with something open, as recovery of ext4 reads it.
#[test]
fn a_journal_is_read_ahead_in_vain_until_a_block_is_needed() {
    let mut superblock = vec![0; 8 * SECTOR];
    superblock[..8].copy_from_slice(&[0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 4]);
    superblock[12..20].copy_from_slice(&[0, 0, 16, 0, 0, 0, 0, 4]);
    let layers = last_epoch(&[(16, 8, 1), (24, 8, 1)], DiskModel::default());
    let mut disk = CrashDisk::new(layers, &[]).refusing_ahead(EXT4.journal);
    disk.write(0, superblock, Queueing::default());
    let mut read = |block: u64| disk.read(block * 8, &mut [0; 8 * SECTOR]).is_ok();
    assert_eq!([0, 1, 2, 3].map(&mut read), [true, true, false, false]);
    assert_eq!([2, 1].map(&mut read), [true, true]);
    // All that was settled is about the block that was asked for twice.
    assert!(disk.fates().decisions().iter().all(|decision| decision.write == 0));
    assert!(disk.has_refused() && !disk.fates().decisions().is_empty());
}

#[test]
fn what_the_guest_writes_hides_what_survived() {
    let mut disk = CrashDisk::new(last_epoch(&[(0, 1, 7)], DiskModel::default()), &[]);
    disk.write(0, vec![9; SECTOR], Queueing::default());
    assert_eq!(byte(&mut disk, 0), 9);
    assert!(disk.fates().decisions().is_empty());
}
