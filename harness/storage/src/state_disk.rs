//! A disk after a crash whose state is given whole.

use std::sync::Arc;

use crate::backing::{Backing, Refused};
use crate::overlay::Overlay;
use crate::{Image, Queueing, SECTOR};

/// A disk in one given crash state: no decisions. For brute force, for the
/// states that a report shows, which are looked at once more, and for `harness reproduce`.
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

    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), Refused> {
        for (chunk, sector) in buffer.chunks_exact_mut(SECTOR).zip(sector..) {
            chunk.copy_from_slice(self.overlay.sector(sector).unwrap_or_else(|| self.image.sector(sector)));
        }
        Ok(())
    }

    fn write(&mut self, sector: u64, data: Vec<u8>, _: Queueing) {
        self.overlay.write(sector, Arc::new(data));
    }
}
