//! The guest's own writes during one run; they die with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Image, SECTOR};

/// What lies over a disk. Writes are kept as they came: recovery of an xfs log alone clears 2 MiB of it in every run.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    /// By first sector; no two overlap.
    extents: BTreeMap<u64, Extent>,
}

/// The part of one write that no later one covers.
#[derive(Clone, Debug)]
struct Extent {
    /// The sector after its last one.
    end: u64,
    /// The whole write.
    data: Arc<Vec<u8>>,
    /// The sector at which the whole write begins.
    origin: u64,
}

impl Overlay {
    /// Takes a write of whole sectors.
    pub(crate) fn write(&mut self, sector: u64, data: Arc<Vec<u8>>) {
        let end = sector + (data.len() / SECTOR) as u64;
        let first = self.extents.range(..sector).next_back().map_or(sector, |(&start, _)| start);
        let covered = self.extents.range(first..end).filter(|(_, extent)| extent.end > sector);
        for start in covered.map(|(&start, _)| start).collect::<Vec<_>>() {
            let Some(extent) = self.extents.remove(&start) else { continue };
            if start < sector {
                self.extents.insert(start, Extent { end: sector, ..extent.clone() });
            }
            if extent.end > end {
                self.extents.insert(end, extent);
            }
        }
        self.extents.insert(sector, Extent { end, data, origin: sector });
    }

    /// What the guest wrote there last, if it did.
    pub(crate) fn sector(&self, sector: u64) -> Option<&[u8]> {
        let (_, extent) = self.extents.range(..=sector).next_back()?;
        (sector < extent.end).then(|| &extent.data[(sector - extent.origin) as usize * SECTOR..][..SECTOR])
    }

    /// Puts all that was written into an image.
    pub(crate) fn write_to(&self, image: &mut Image) {
        for (&start, extent) in &self.extents {
            let range = (start - extent.origin) as usize * SECTOR..(extent.end - extent.origin) as usize * SECTOR;
            image.write(start, &extent.data[range]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// As if every sector were kept on its own.
        #[test]
        fn the_last_write_of_a_sector_is_what_it_holds(
            writes in prop::collection::vec((0u64..24, 1usize..9), 0..12),
        ) {
            let mut overlay = Overlay::default();
            let mut expected = HashMap::new();
            for (number, &(sector, length)) in writes.iter().enumerate() {
                let byte = |index: usize| (number * 16 + index) as u8;
                let data = (0..length).flat_map(|index| [byte(index); SECTOR]).collect();
                overlay.write(sector, Arc::new(data));
                expected.extend((0..length).map(|index| (sector + index as u64, byte(index))));
            }
            for sector in 0..40 {
                let expected = expected.get(&sector).map(|&byte| vec![byte; SECTOR]);
                prop_assert_eq!(overlay.sector(sector).map(<[u8]>::to_vec), expected);
            }
            let mut image = Image::zeroed(1);
            overlay.write_to(&mut image);
            let bytes: Vec<u8> = (0..40).map(|sector| image.sector(sector)[0]).collect();
            let expected: Vec<u8> = (0..40).map(|sector| expected.get(&sector).copied().unwrap_or(0)).collect();
            prop_assert_eq!(bytes, expected);
        }
    }
}
