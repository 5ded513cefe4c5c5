//! How much of a file a guest reads at a time: pure.
//!
//! Any amount is right, since a run depends on no more than what it read: this is only about cost. Page by page, 64 MiB
//! are 16,384 requests. But whatever is read beyond the first difference may hold open questions that nobody asked.

use checker::CHUNK;
use disk::{DiskModel, TearKind, WriteEntry};

use crate::label::Labels;

/// The most, bytes: what one request of a guest may be long.
pub const MOST: usize = 256 << 10;

/// For states in which the fates of `volatile` are open. A stride lies within two writes of file data at most, unless
/// the file is in pieces; where such a write can be torn, a stride would have a question for each sector.
pub fn stride(volatile: &[WriteEntry], labels: &Labels, model: &DiskModel) -> usize {
    let least = volatile.iter().filter(|write| labels.is_data(write)).map(|write| write.data.len()).min();
    match (least, model.tear) {
        (None, _) => MOST,
        (Some(least), TearKind::None) => least.clamp(CHUNK, MOST) / CHUNK * CHUNK,
        (Some(_), TearKind::One | TearKind::Any) => CHUNK,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trace::{History, Kind, Node, RelPath, Trace, Tree};

    use super::*;

    #[test]
    fn the_least_write_of_data_counts() {
        let content: Vec<u8> = (0..1_000_000_u32).map(|index| (index / 512 + index) as u8).collect();
        let kind = Kind::File(Arc::new(content.clone()));
        let node = Node { kind, mode: 0o644, uid: 0, gid: 0, inode: 0, xattrs: Default::default() };
        let before = Tree([(RelPath::from("data"), node)].into());
        let after = before.clone();
        let trace = Trace { command: vec![], before, ops: vec![], after, limits: vec![], outside: vec![] };
        let labels = Labels::new(&History::new(&trace));
        let write = |data: &[u8]| WriteEntry { sector: 0, data: Arc::new(data.to_vec()), step: 0 };
        let metadata = write(b"IN and nothing that a file holds, for more than thirty-two bytes");
        let (large, small) = (write(&content[4096..4096 + 300_000]), write(&content[8192..8192 + 20_480]));
        let whole = DiskModel { tear: TearKind::None, ..DiskModel::default() };
        let of = |writes: &[&WriteEntry], model| {
            stride(&writes.iter().map(|&write| write.clone()).collect::<Vec<_>>(), &labels, model)
        };
        assert_eq!(of(&[&metadata], &whole), MOST);
        assert_eq!(of(&[&metadata, &large], &whole), MOST);
        assert_eq!(of(&[&metadata, &large, &small], &whole), 20_480);
        let torn = DiskModel { tear: TearKind::One, ..whole };
        assert_eq!(of(&[&metadata, &large], &torn), CHUNK);
        assert_eq!(of(&[&metadata], &torn), MOST);
    }
}
