//! Which part of a file has dirty data.

use std::collections::BTreeMap;
use std::ops::Range;

use program::{Call, History, Target, Trace, Vfs};

/// Bytes of a page, in which file systems keep and write back data.
const PAGE: u64 = 4096;

/// For each op: where the dirty files can be cut in two, at a page, so that each half has a dirty page.
pub(super) fn cuts(trace: &Trace, history: &History) -> Vec<Vec<(Target, u64)>> {
    let mut vfs = Vfs::new(&trace.before);
    // From the first dirty byte to the last, by inode.
    let mut written: BTreeMap<u64, Range<u64>> = BTreeMap::new();
    let mut cuts = Vec::with_capacity(trace.ops.len());
    for (index, op) in trace.ops.iter().enumerate() {
        if op.result >= 0 && vfs.apply(&op.call).is_ok() {
            let (handle, start, length) = match &op.call {
                Call::Write { handle, offset, data, .. } | Call::Store { handle, offset, data } => {
                    (Some(*handle), *offset, data.len() as u64)
                }
                Call::CopyRange { to, to_offset, length, .. } => (Some(*to), *to_offset, *length),
                _ => (None, 0, 0),
            };
            if let Some(inode) = handle.and_then(|handle| vfs.inode_of(&Target::Handle(handle))) {
                let range = written.entry(inode).or_insert(start..start);
                *range = range.start.min(start)..range.end.max(start.saturating_add(length));
            }
        }
        let dirty = history.dirty_files_after(index);
        let inodes: Vec<Option<u64>> = dirty.iter().map(|target| vfs.inode_of(target)).collect();
        written.retain(|inode, _| inodes.contains(&Some(*inode)));
        let cut = |(target, inode): (&Target, &Option<u64>)| {
            let inode = (*inode)?;
            let range = written.get(&inode)?;
            let end = range.end.min(vfs.length(inode)?);
            Some((target.clone(), cut(range.start..end)?))
        };
        cuts.push(dirty.iter().zip(&inodes).filter_map(cut).collect());
    }
    cuts
}

/// Where to cut bytes in two; `None` if they are all in one page.
fn cut(range: Range<u64>) -> Option<u64> {
    let (first, end) = (range.start / PAGE, range.end.div_ceil(PAGE));
    (end > first + 1).then(|| (first + end).div_ceil(2) * PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_cut_at_pages_and_each_has_one() {
        let cuts = [
            0..0,
            0..4096,
            5..4097,
            4095..4097,
            0..9407,
            8192..20480,
            8192..8193,
            std::ops::Range { start: 9000, end: 8000 },
        ]
        .map(cut);
        assert_eq!(cuts, [None, None, Some(4096), Some(4096), Some(8192), Some(16384), None, None]);
    }
}
