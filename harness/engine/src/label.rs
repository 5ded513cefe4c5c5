//! What a block write holds, as far as its bytes tell.

use filesystems::FileSystem;
use program::{Content, History, RelPath, State};
use report::BlockContent;
use storage::WriteEntry;

/// What a write holds of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    /// The file.
    pub path: &'a RelPath,
    /// The first byte, as it is counted in the file.
    pub byte: u64,
}

/// Knows the files of a trace.
#[derive(Clone)]
pub struct Labels {
    files: Vec<(RelPath, Content)>,
}

/// The block size of all file systems here, bytes.
const BLOCK: usize = 4096;

impl Labels {
    /// Labels for the files that the command changed.
    pub fn new(history: &History) -> Self {
        let mut files = Vec::new();
        for (path, versions) in history.paths() {
            for version in versions.iter().rev() {
                if let State::File(content) = &version.state
                    && !content.is_empty()
                {
                    files.push((path.clone(), content.clone()));
                }
            }
        }
        // A temporary file has what its target gets: prefer the name that people know, the target's.
        files.sort_by_key(|(path, _)| !history.changed().contains(path));
        Self { files }
    }

    /// What it holds: data of a file, or something of the file system's.
    pub fn content(&self, filesystem: &FileSystem, write: &WriteEntry) -> BlockContent {
        match self.data(write) {
            Some(Data { path, byte }) => BlockContent::Data { path: path.to_string(), byte },
            None if zeros(&write.data) => BlockContent::Zeros,
            None => {
                let label = (filesystem.label)(write.sector, &write.data);
                BlockContent::Metadata { label: label.map(str::to_owned) }
            }
        }
    }

    /// Which file's data it holds: the write's first block that is not all zeros stands at a multiple of the block size
    /// in the file, with as many blocks of zeros before it, and the file ends in zeros within its last block. Zeros alone
    /// may be anybody's: file systems write them too.
    pub fn data(&self, write: &WriteEntry) -> Option<Data<'_>> {
        let blank = write.data.chunks(BLOCK).take_while(|block| zeros(block)).count();
        let first = write.data.chunks(BLOCK).nth(blank)?;
        let holds = |block: &[u8]| first.strip_prefix(block).is_some_and(zeros);
        self.files.iter().find_map(|(path, content)| {
            let blocks = || content.chunks(BLOCK);
            let begins = |index: &usize| {
                blocks().nth(index + blank).is_some_and(holds) && blocks().skip(*index).take(blank).all(zeros)
            };
            let index = (0..blocks().len()).find(begins)?;
            Some(Data { path, byte: (index * BLOCK) as u64 })
        })
    }
}

fn zeros(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use filesystems::{BTRFS, EXT4, XFS};
    use program::{Kind, Node, Trace, Tree};

    use super::*;

    /// A trace that does nothing to these files.
    fn labels(files: &[(&str, &[u8])]) -> Labels {
        let node = |content: &[u8]| Node {
            kind: Kind::File(Arc::new(content.to_vec())),
            mode: 0o644,
            uid: 0,
            gid: 0,
            inode: 0,
            xattrs: Default::default(),
        };
        let tree = |(inode, (path, content)): (usize, &(&str, &[u8]))| {
            (RelPath::from(*path), Node { inode: inode as u64, ..node(content) })
        };
        let before = Tree(files.iter().enumerate().map(tree).collect());
        let after = before.clone();
        let trace = Trace { before, after, ..Trace::default() };
        Labels::new(&History::new(&trace))
    }

    fn write(sector: u64, content: &[u8]) -> WriteEntry {
        let mut data = content.to_vec();
        data.resize(content.len().next_multiple_of(storage::SECTOR), 0);
        WriteEntry { sector, data: Arc::new(data), step: 0 }
    }

    /// In the words of reports.
    fn told(labels: &Labels, filesystem: &FileSystem, write: &WriteEntry) -> String {
        let holds = labels.content(filesystem, write);
        reporters::sentences::block(write.sector, write.data.len() as u64, Some(&holds))
    }

    #[test]
    fn what_writes_hold() {
        let large: Vec<u8> = (0..12_000u32).flat_map(u32::to_le_bytes).collect();
        let labels = labels(&[("large", &large), ("small", b"key = 1\n")]);
        let mut block = vec![0; 4096];
        block[..8].copy_from_slice(b"key = 1\n");
        insta::assert_snapshot!(
            [
                told(&labels, &EXT4, &write(524_360, &large[..8192])),
                told(&labels, &EXT4, &write(524_360, &large[40_960..])),
                told(&labels, &EXT4, &write(8, &block)),
                // Shorter than the first block of the file before it.
                told(&labels, &XFS, &write(8, b"key = 1\n")),
                told(&labels, &XFS, &write(8, b"key = 2\n")),
                told(&labels, &XFS, &write(0, b"XFSB")),
            ]
            .join("\n"),
            @"
        8,192 bytes at sector 524,360: data of large from byte 0
        7,168 bytes at sector 524,360: data of large from byte 40,960
        4,096 bytes at sector 8: data of small from byte 0
        512 bytes at sector 8: data of small from byte 0
        512 bytes at sector 8: metadata
        512 bytes at sector 0: superblock
        "
        );
    }

    /// File systems write zeros of their own: a cleared log, a bitmap of nothing.
    #[test]
    fn zeros_are_of_no_file() {
        let [mut late, mut end] = [vec![0; 8192], vec![0; 4096]];
        late[4096] = 1;
        end.extend(b"end");
        let labels = labels(&[("log", &[0; 8192]), ("late", &late), ("end", &end)]);
        insta::assert_snapshot!(
            [
                told(&labels, &XFS, &write(8, &[0; 4096])),
                told(&labels, &XFS, &write(8, &[0; 2 << 20])),
                told(&labels, &BTRFS, &write(8, &[0; 16_384])),
                told(&labels, &XFS, &write(8, &late)),
                told(&labels, &XFS, &write(8, &late[4096..])),
                told(&labels, &XFS, &write(8, &end)),
                // The file has not so many zeros before it.
                told(&labels, &XFS, &write(8, &[&late[..4096], &late].concat())),
            ]
            .join("\n"),
            @"
        4,096 bytes at sector 8: zeros
        2,097,152 bytes at sector 8: zeros
        16,384 bytes at sector 8: zeros
        8,192 bytes at sector 8: data of late from byte 0
        4,096 bytes at sector 8: data of late from byte 4,096
        4,608 bytes at sector 8: data of end from byte 0
        12,288 bytes at sector 8: metadata
        "
        );
    }
}
