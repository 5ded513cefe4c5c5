//! Says what a block write holds, as far as its bytes tell: for people who read a report.

use disk::WriteEntry;
use trace::{Content, History, RelPath, State};

/// Knows the files of a trace.
pub struct Labels {
    files: Vec<(RelPath, Content)>,
}

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

    /// `4,096 bytes at sector 1,234: data of settings.json from byte 0`.
    pub fn describe(&self, filesystem: &str, write: &WriteEntry) -> String {
        let place = format!("{} bytes at sector {}", write.data.len(), write.sector);
        match self.data(write).or_else(|| structure(filesystem, write).map(String::from)) {
            Some(what) => format!("{place}: {what}"),
            None => format!("{place}: metadata"),
        }
    }

    /// Which file's data it holds: the write's first block stands at a multiple of the block size in the file, and
    /// the file ends in zeros within its last block.
    fn data(&self, write: &WriteEntry) -> Option<String> {
        const BLOCK: usize = 4096;
        let first = write.data.get(..BLOCK.min(write.data.len()))?;
        for (path, content) in &self.files {
            for (index, block) in content.chunks(BLOCK).enumerate() {
                let tail = first.get(block.len()..)?;
                if first.starts_with(block) && tail.iter().all(|&byte| byte == 0) {
                    return Some(format!("data of {path} from byte {}", index * BLOCK));
                }
            }
        }
        None
    }
}

/// The file system's own structures, by their magic numbers.
fn structure(filesystem: &str, write: &WriteEntry) -> Option<&'static str> {
    let at = |offset: usize, magic: &[u8]| write.data.get(offset..offset + magic.len()) == Some(magic);
    match filesystem {
        // fs/ext4/ext4.h, include/linux/jbd2.h.
        "ext4" if write.sector == 0 && at(1024 + 0x38, &[0x53, 0xef]) => Some("superblock"),
        "ext4" if at(0, &[0xc0, 0x3b, 0x39, 0x98]) => Some(match write.data.get(7) {
            Some(1) => "journal, beginning with a descriptor",
            Some(2) => "journal commit record",
            Some(3 | 4) => "journal superblock",
            Some(5) => "journal revoke record",
            _ => "journal",
        }),
        // fs/xfs/libxfs/xfs_format.h, xfs_log_format.h.
        "xfs" if at(0, b"XFSB") => Some("superblock"),
        "xfs" if at(0, &[0xfe, 0xed, 0xba, 0xbe]) => Some("log record"),
        "xfs" if at(0, b"IN") => Some("inodes"),
        "xfs" if at(0, b"XAG") => Some("allocation group header"),
        // fs/btrfs/ctree.h: the magic lies 64 bytes into a superblock.
        "btrfs" if at(64, b"_BHRfS_M") => Some("superblock"),
        "btrfs" if write.data.len() >= 16384 => Some("tree blocks"),
        _ => None,
    }
}
