//! Which writes cover a sector: pure.

use crate::WriteEntry;

/// For each sector, the writes that cover it.
///
/// Writes are long and few, so sectors with the same writes are kept together: a file of 64 MiB is one entry, not
/// 131,072.
#[derive(Debug, Default)]
pub(crate) struct Covering {
    /// Where one run of sectors with the same writes ends and another begins, ascending.
    starts: Vec<u64>,
    /// The writes of the run that begins at each of `starts`, ascending.
    writes: Vec<Vec<u32>>,
}

impl Covering {
    /// For `writes`, which are numbered from `first`.
    pub(crate) fn new(writes: &[WriteEntry], first: u32) -> Self {
        let mut starts: Vec<u64> =
            writes.iter().flat_map(|write| [write.sector, write.sector + write.sectors()]).collect();
        starts.sort_unstable();
        starts.dedup();
        let mut covering = vec![Vec::new(); starts.len()];
        for (write, index) in writes.iter().zip(first..) {
            let from = starts.partition_point(|&start| start < write.sector);
            let to = starts.partition_point(|&start| start < write.sector + write.sectors());
            covering[from..to].iter_mut().for_each(|run| run.push(index));
        }
        Self { starts, writes: covering }
    }

    /// Those that cover `sector`.
    pub(crate) fn of(&self, sector: u64) -> &[u32] {
        match self.starts.partition_point(|&start| start <= sector) {
            0 => &[],
            run => &self.writes[run - 1],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::SECTOR;

    proptest! {
        #[test]
        fn is_what_each_write_says(places in prop::collection::vec((0u64..20, 1usize..6), 0..8), first in 0u32..3) {
            let entry = |&(sector, sectors): &(u64, usize)| {
                WriteEntry { sector, data: Arc::new(vec![0; sectors * SECTOR]), step: 0 }
            };
            let writes: Vec<WriteEntry> = places.iter().map(entry).collect();
            let covering = Covering::new(&writes, first);
            for sector in 0..30 {
                let covers = |write: &WriteEntry| write.sector <= sector && sector < write.sector + write.sectors();
                let expected: Vec<u32> =
                    (first..).zip(&writes).filter(|(_, write)| covers(write)).map(|(index, _)| index).collect();
                prop_assert_eq!(covering.of(sector), expected);
            }
        }
    }
}
