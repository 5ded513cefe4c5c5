//! A disk after a crash whose writes are decided late, and what is kept of its recovery.

use std::ops::Range;
use std::sync::Arc;

use filesystems::Journal;
use protocol::frame::{CONTENTS, MOUNTED};

use crate::ahead::ReadAhead;
use crate::backing::{Backing, Refused};
use crate::overlay::Overlay;
use crate::{BlockLog, Decision, Fates, Layers, Mark, Queueing, SECTOR, WriteEntry};

/// A disk after a crash on which the fate of a volatile write is chosen only when the guest reads it.
///
/// A run starts with a set of decisions that hold from the beginning, whatever the order in which the guest reads
/// (so another order cannot break the partition into classes). A question that is met and not settled is settled
/// ([`Fates::rather_survived`]), and noted. What is noted at the end names the class of states that this run stands for.
#[derive(Debug)]
pub struct CrashDisk {
    layers: Arc<Layers>,
    fates: Fates,
    overlay: Overlay,
    recovery: Option<Recovery>,
    /// Whether the guest's writes are recovery's.
    recovering: bool,
    /// Which reads are refused if they ask what is open.
    ahead: Option<ReadAhead>,
    refused: bool,
}

/// What a kernel wrote while it recovered a class of crash states: between the crash and the end of the mount.
///
/// What comes later is written by a system that runs again: its programs, its background work, its unmount. The harness
/// does not run these programs, so it does not let the machine crash there either.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// The states that were recovered: all that agree with what was settled when the mount had ended. What a run
    /// settles afterwards, while the tree is looked at, has had no influence on the log.
    pub class: Fates,
    /// Its writes and flushes. Steps mean nothing here.
    pub log: BlockLog,
}

impl CrashDisk {
    /// A disk for one run, on which `prefix` is settled.
    pub fn new(layers: Arc<Layers>, prefix: &[Decision]) -> Self {
        let mut fates = layers.fates();
        for &decision in prefix {
            fates.settle(decision);
        }
        Self {
            layers,
            fates,
            overlay: Overlay::default(),
            recovery: None,
            recovering: false,
            ahead: None,
            refused: false,
        }
    }

    /// A disk for one run that also keeps what recovery writes.
    pub fn recording(layers: Arc<Layers>, prefix: &[Decision]) -> Self {
        let disk = Self::new(layers, prefix);
        let recovery = Recovery { class: disk.fates.clone(), log: BlockLog::default() };
        Self { recovery: Some(recovery), recovering: true, ..disk }
    }

    /// The same disk, but that it settles nothing for what the guest only reads ahead: it refuses to read that if anything
    /// is open there. `journal` is what recovery reads ahead.
    pub fn refusing_ahead(self, journal: Option<&'static Journal>) -> Self {
        Self { ahead: Some(ReadAhead::new(journal)), ..self }
    }

    /// Whether it has refused anything.
    pub fn has_refused(&self) -> bool {
        self.refused
    }

    /// Ends the run: what it settled, in order, prefix first.
    pub fn into_fates(self) -> Fates {
        self.fates
    }

    /// Ends the run: what it settled, and what recovery did, if that was recorded. A mount that was refused, or that
    /// its guest did not live through, is all recovery.
    pub fn into_parts(self) -> (Fates, Option<Recovery>) {
        let recovery = self.recovery.map(|recovery| match self.recovering {
            true => Recovery { class: self.fates.clone(), ..recovery },
            false => recovery,
        });
        (self.fates, recovery)
    }

    /// What is settled so far.
    pub fn fates(&self) -> &Fates {
        &self.fates
    }

    /// Whether something must be settled to know these sectors.
    fn is_open(&self, mut sectors: Range<u64>) -> bool {
        let open = |sector| self.layers.look(sector, &self.fates).undecided.is_some();
        sectors.any(|sector| self.overlay.sector(sector).is_none() && open(sector))
    }

    /// The content of one sector that the guest has not written; settles what must be settled to know it.
    fn resolve(&mut self, sector: u64) -> &[u8] {
        let layers = &*self.layers;
        loop {
            let look = layers.look(sector, &self.fates);
            let Some((write, unit)) = look.undecided else { return look.content };
            let survived = self.fates.rather_survived(write);
            self.fates.settle(Decision { write, unit, survived });
            if survived {
                return look.content;
            }
        }
    }
}

impl Backing for CrashDisk {
    fn sectors(&self) -> u64 {
        self.layers.sectors()
    }

    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), Refused> {
        let is_ahead = self.ahead.as_mut().is_some_and(|ahead| ahead.is_ahead(sector, buffer.len() / SECTOR));
        if is_ahead && self.is_open(sector..sector + (buffer.len() / SECTOR) as u64) {
            self.ahead.iter_mut().for_each(|ahead| ahead.refused(sector));
            self.refused = true;
            return Err(Refused);
        }
        for (chunk, sector) in buffer.chunks_exact_mut(SECTOR).zip(sector..) {
            match self.overlay.sector(sector) {
                Some(own) => chunk.copy_from_slice(own),
                None => chunk.copy_from_slice(self.resolve(sector)),
            }
        }
        if let Some(ahead) = &mut self.ahead {
            ahead.read(sector, buffer);
        }
        Ok(())
    }

    fn write(&mut self, sector: u64, data: Vec<u8>, queueing: Queueing) {
        let data = Arc::new(data);
        if let Some(recovery) = self.recovery.as_mut().filter(|_| self.recovering) {
            recovery.log.write(WriteEntry { sector, data: data.clone(), step: 0 }, queueing);
        }
        self.overlay.write(sector, data);
    }

    fn flush(&mut self, queueing: Queueing) {
        if let Some(recovery) = self.recovery.as_mut().filter(|_| self.recovering) {
            recovery.log.flush(queueing);
        }
    }

    fn mark(&mut self, mark: Mark) {
        if mark.step == MOUNTED {
            self.recovering = false;
            if let Some(recovery) = &mut self.recovery {
                recovery.class = self.fates.clone();
            }
        } else if mark.step == CONTENTS
            && let Some(ahead) = &mut self.ahead
        {
            ahead.contents();
        }
    }
}

#[cfg(test)]
mod tests;
