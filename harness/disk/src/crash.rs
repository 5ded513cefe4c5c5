//! Disks after a crash: one whose writes are decided late, and one whose state is given whole.

use std::collections::HashMap;
use std::sync::Arc;

use crate::backing::Backing;
use crate::overlay::Overlay;
use crate::{BlockLog, Decision, DiskModel, Epoch, Fates, Image, SECTOR, State, WriteEntry};

/// What all crash states of one epoch share: what is durable, and where the volatile writes lie.
#[derive(Debug)]
pub struct Layers {
    durable: Image,
    model: DiskModel,
    /// The volatile writes, in log order.
    volatile: Vec<WriteEntry>,
    /// For each sector that volatile writes cover: their indices in `volatile`, ascending.
    covering: HashMap<u64, Vec<u32>>,
}

impl Layers {
    /// The layers of one epoch of `log`. `durable` holds the start state and the epoch's durable writes
    /// (see [`Epoch::advance`]).
    pub fn new(durable: Image, log: &BlockLog, epoch: &Epoch, model: DiskModel) -> Self {
        let volatile: Vec<WriteEntry> = log.writes[epoch.volatile.clone()].to_vec();
        let mut covering: HashMap<u64, Vec<u32>> = HashMap::new();
        for (index, write) in volatile.iter().enumerate() {
            for sector in write.sector..write.sector + write.sectors() {
                covering.entry(sector).or_default().push(index as u32);
            }
        }
        Self { durable, model, volatile, covering }
    }

    /// All states of the epoch.
    pub fn fates(&self) -> Fates {
        Fates::open(&self.model, &self.volatile)
    }

    /// The volatile writes, in log order.
    pub fn volatile(&self) -> &[WriteEntry] {
        &self.volatile
    }

    /// Number of sectors of the disk.
    pub fn sectors(&self) -> u64 {
        self.durable.sectors()
    }

    /// The unit, within `write`, that holds an absolute sector.
    fn unit(&self, write: &WriteEntry, sector: u64) -> u32 {
        let unit = u64::from(self.model.unit);
        (sector / unit - write.sector / unit) as u32
    }

    /// The whole image of one state, built without any of the late deciding: for brute force and `replay --image`.
    pub fn image(&self, state: &State) -> Image {
        let mut image = self.durable.clone();
        for (index, write) in self.volatile.iter().enumerate() {
            for sector in write.sector..write.sector + write.sectors() {
                if state.survived(index as u32, self.unit(write, sector)) {
                    image.write(sector, write.at(sector));
                }
            }
        }
        image
    }
}

/// A disk after a crash on which the fate of a volatile write is chosen only when the guest reads it.
///
/// A run starts with a set of decisions that hold from the beginning, whatever the order in which the guest reads
/// (so another order cannot break the partition into classes). A question that is met and not settled is settled as
/// *survived*, and noted. What is noted at the end names the class of states that this run stands for.
#[derive(Debug)]
pub struct CrashDisk {
    layers: Arc<Layers>,
    fates: Fates,
    overlay: Overlay,
}

impl CrashDisk {
    /// A disk for one run, on which `prefix` is settled.
    pub fn new(layers: Arc<Layers>, prefix: &[Decision]) -> Self {
        let mut fates = layers.fates();
        for &decision in prefix {
            fates.settle(decision);
        }
        Self { layers, fates, overlay: Overlay::default() }
    }

    /// Ends the run: what it settled, in order, prefix first.
    pub fn into_fates(self) -> Fates {
        self.fates
    }

    /// What is settled so far.
    pub fn fates(&self) -> &Fates {
        &self.fates
    }

    /// The content of one sector that the guest has not written; settles what must be settled to know it.
    fn resolve(&mut self, sector: u64) -> &[u8] {
        let layers = &*self.layers;
        let Some(covering) = layers.covering.get(&sector) else {
            return layers.durable.sector(sector);
        };
        // From the latest write to the earliest: the first that survived holds the sector.
        for (rank, &index) in covering.iter().enumerate().rev() {
            let write = &layers.volatile[index as usize];
            let content = write.at(sector);
            let unit = layers.unit(write, sector);
            match self.fates.forced(index, unit) {
                Some(true) => return content,
                Some(false) => continue,
                None => {}
            }
            // Nothing to decide if every content that is still possible is the same: undecided is as good as any.
            let earlier = covering[..rank].iter().filter(|&&other| {
                let write = &layers.volatile[other as usize];
                self.fates.forced(other, layers.unit(write, sector)) != Some(false)
            });
            let mut others = earlier.map(|&other| layers.volatile[other as usize].at(sector));
            if others.all(|other| other == content) && layers.durable.sector(sector) == content {
                return content;
            }
            self.fates.settle(Decision { write: index, unit, survived: true });
            return content;
        }
        layers.durable.sector(sector)
    }
}

impl Backing for CrashDisk {
    fn sectors(&self) -> u64 {
        self.layers.sectors()
    }

    fn read(&mut self, sector: u64, buffer: &mut [u8]) {
        for (chunk, sector) in buffer.chunks_exact_mut(SECTOR).zip(sector..) {
            match self.overlay.sector(sector) {
                Some(own) => chunk.copy_from_slice(own),
                None => chunk.copy_from_slice(self.resolve(sector)),
            }
        }
    }

    fn write(&mut self, sector: u64, data: Vec<u8>, _available: u64) {
        self.overlay.write(sector, data);
    }
}

/// A disk in one given crash state: no decisions. What brute force and `harness replay` run on.
#[derive(Debug)]
pub struct StateDisk {
    image: Image,
    overlay: Overlay,
}

impl StateDisk {
    /// A disk that holds `image`; the guest's writes are forgotten with the disk.
    pub fn new(image: Image) -> Self {
        Self { image, overlay: Overlay::default() }
    }
}

impl Backing for StateDisk {
    fn sectors(&self) -> u64 {
        self.image.sectors()
    }

    fn read(&mut self, sector: u64, buffer: &mut [u8]) {
        for (chunk, sector) in buffer.chunks_exact_mut(SECTOR).zip(sector..) {
            chunk.copy_from_slice(self.overlay.sector(sector).unwrap_or_else(|| self.image.sector(sector)));
        }
    }

    fn write(&mut self, sector: u64, data: Vec<u8>, _available: u64) {
        self.overlay.write(sector, data);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use num_bigint::BigUint;
    use proptest::prelude::*;

    use super::*;
    use crate::{CacheKind, Entry, TearKind, epochs};

    const SECTORS: u64 = 16;

    fn log(writes: &[(u64, u8, u8)]) -> BlockLog {
        let mut log = BlockLog::default();
        for (index, &(sector, length, fill)) in writes.iter().enumerate() {
            let data = Arc::new(vec![fill; length as usize * SECTOR]);
            log.writes.push(WriteEntry { sector, data, step: 0 });
            log.entries.push(Entry::Write(index as u32));
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

    /// The depth-first walk in its shortest form.
    fn explore(layers: &Arc<Layers>, start: u64, reads: u32) -> BTreeMap<Vec<u8>, BigUint> {
        let mut outcomes = BTreeMap::new();
        let mut path: Vec<Decision> = Vec::new();
        loop {
            let mut disk = CrashDisk::new(layers.clone(), &path);
            let outcome = guest(
                |sector| {
                    let mut buffer = [0; SECTOR];
                    disk.read(sector, &mut buffer);
                    buffer[0]
                },
                start,
                reads,
            );
            let fates = disk.into_fates();
            *outcomes.entry(outcome).or_default() += fates.count();
            path = fates.decisions().to_vec();
            loop {
                match path.pop() {
                    None => return outcomes,
                    Some(last) if last.survived => {
                        path.push(Decision { survived: false, ..last });
                        break;
                    }
                    Some(_) => {}
                }
            }
        }
    }

    fn brute_force(layers: &Layers, start: u64, reads: u32) -> BTreeMap<Vec<u8>, BigUint> {
        let mut outcomes: BTreeMap<Vec<u8>, BigUint> = BTreeMap::new();
        for state in layers.fates().enumerate() {
            let image = layers.image(&state);
            *outcomes.entry(guest(|sector| image.sector(sector)[0], start, reads)).or_default() += 1u32;
        }
        outcomes
    }

    proptest! {
        /// Deciding late finds the same outcomes, each as often, as looking at every state.
        #[test]
        fn agrees_with_brute_force(
            writes in prop::collection::vec((0u64..12, 1u8..4, 0u8..3), 0..5),
            tear in prop_oneof![Just(TearKind::None), Just(TearKind::One), Just(TearKind::Any)],
            unit in prop_oneof![Just(1u32), Just(2u32)],
            start in 0..SECTORS,
            reads in 0u32..12,
        ) {
            let model = DiskModel { cache: CacheKind::Writeback, tear, unit };
            let log = log(&writes);
            let epoch = epochs(&log, &model).pop().unwrap();
            let layers = Arc::new(Layers::new(Image::zeroed(1), &log, &epoch, model));
            prop_assert_eq!(explore(&layers, start, reads), brute_force(&layers, start, reads));
        }
    }

    #[test]
    fn what_the_guest_writes_hides_what_survived() {
        let log = log(&[(0, 1, 7)]);
        let model = DiskModel::default();
        let epoch = epochs(&log, &model).pop().unwrap();
        let layers = Arc::new(Layers::new(Image::zeroed(1), &log, &epoch, model));
        let mut disk = CrashDisk::new(layers, &[]);
        disk.write(0, vec![9; SECTOR], 1);
        let mut buffer = [0; SECTOR];
        disk.read(0, &mut buffer);
        assert_eq!(buffer[0], 9);
        assert!(disk.fates().decisions().is_empty());
    }
}
