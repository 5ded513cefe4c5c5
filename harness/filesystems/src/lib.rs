//! What the harness knows of each file system, as data: one file for each, and here the form that they fill in.
//!
//! The host resolves a name once ([`by_name`]) and works with the definition. The guest's agent is given what concerns it
//! as a [`Recipe`], a small vocabulary that it interprets; it compares no names. An unknown name is an error, never a
//! default: a file system that is treated as another would be explored wrongly without a word.

mod btrfs;
mod chosen;
mod ext4;
mod f2fs;
mod journal;
mod recipe;
mod xfs;

use std::fmt;

pub use btrfs::BTRFS;
pub use chosen::{ChoiceError, Filesystem, shown};
pub use ext4::EXT4;
pub use f2fs::F2FS;
pub use journal::Journal;
pub use recipe::{AfterUnmount, BeforeSync, CommitBy, FlushCovers, Handling, Recipe, Setting, WarmUp};
pub use xfs::XFS;

/// All that are supported, in the order in which they are listed.
pub static ALL: &[&FileSystem] = &[&EXT4, &XFS, &BTRFS, &F2FS];

/// Those that a run is about unless it names others, in the order in which they are run.
pub static DEFAULTS: &[&FileSystem] = &[&EXT4, &XFS, &BTRFS];

/// One file system.
#[derive(Debug)]
pub struct FileSystem {
    /// As mount(2) takes it.
    pub name: &'static str,
    /// How a fresh one is made.
    pub mkfs: Mkfs,
    /// The kernel modules that it is in; what these need is found by itself.
    pub modules: &'static [&'static str],
    /// What is set in a guest's kernel before it is mounted.
    pub settings: &'static [Setting],
    /// What is set once it is mounted to execute a program's calls; `{device}` in the name of a file stands for the disk's.
    pub mounted: &'static [Setting],
    /// Mount options, beside the user's, while a program's calls are executed.
    pub execution: &'static [AddedOption],
    /// Mount options, beside the user's, while a crash state is looked at.
    pub observation: &'static [AddedOption],
    /// What the guest's agent does with it otherwise than with others.
    pub handling: Handling,
    /// What arguments for mkfs change in how it commits.
    pub features: &'static [Feature],
    /// Mount options with which fsync sends no flush to the disk: what it promises is not kept by a disk with a volatile
    /// cache.
    pub without_flush: &'static [&'static str],
    /// Where data go that replace others.
    pub overwrites: Overwrites,
    /// Whether a read ahead may fail.
    pub read_ahead: ReadAhead,
    /// Bytes that it takes for granted that a disk writes whole or not at all, where its own structures lie: cells are
    /// explored on no disk that tears them.
    pub atomic: u32,
    /// The journal, if recovery is known to read it ahead.
    pub journal: Option<&'static Journal>,
    /// What a block write holds of the file system's own structures, by their magic numbers: from the first sector of the
    /// write (512 bytes each) and its bytes. For people who read a report, nothing else.
    pub label: fn(sector: u64, data: &[u8]) -> Option<&'static str>,
}

/// How a fresh file system is made, on the host, by the distribution's own tool: always the same.
#[derive(Debug)]
pub struct Mkfs {
    /// The program.
    pub tool: &'static str,
    /// Its arguments; the device follows them.
    pub arguments: &'static [&'static str],
    /// The Debian package that has it.
    pub package: &'static str,
    /// Bytes of the smallest disk on which it makes what it makes on larger ones.
    pub smallest: u64,
    /// Why what was made cannot be explored with commits that are forced like this, going by the first [`HEAD`] bytes of the
    /// disk; `None` if nothing is against it. A pass over commits that were not forced would be none.
    pub unexplored: fn(head: &[u8], commit: CommitBy) -> Option<&'static str>,
}

/// What an argument for mkfs changes in how a file system commits.
#[derive(Debug)]
pub struct Feature {
    /// The argument, or what stands between two commas of it.
    pub argument: &'static str,
    /// How a commit is forced.
    pub commit: CommitBy,
    /// How a fast commit is forced, if there are such.
    pub fast_commit: Option<CommitBy>,
    /// Options among those that are added which it refuses.
    pub refuses: &'static [&'static str],
    /// Whether a crash leaves it in need of a check by its own tool, which no machine here runs before it mounts it.
    pub unchecked: bool,
}

/// How much of a fresh disk [`Mkfs::unexplored`] looks at, bytes.
pub const HEAD: usize = 4096;

/// A mount option that the harness adds to the user's.
#[derive(Debug)]
pub struct AddedOption {
    /// The option, as mount(8) takes it.
    pub option: &'static str,
    /// Left out if one of the user's begins like this: a user's own choice holds.
    pub unless: Option<&'static str>,
}

/// Where data go that replace others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrites {
    /// To other blocks: they are copied on write.
    Elsewhere,
    /// To the same blocks, directly, unless one of these mount options is given, with which data are journaled.
    InPlace {
        /// The mount options.
        unless: &'static [&'static str],
    },
}

/// Whether the disk may fail a read of what is only read ahead, so that nothing comes of that but another read once it is
/// really needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadAhead {
    /// No, or nothing is known of it.
    MustSucceed,
    /// Yes, from this kernel on: major and minor version.
    MayFail {
        /// The first kernel.
        since: (u32, u32),
    },
}

impl FileSystem {
    /// Whether nothing comes of a read ahead that fails, on the kernel with this release (as `uname -r` shows it). One that
    /// cannot be read is taken for an old one.
    pub fn may_refuse_read_ahead(&self, release: &str) -> bool {
        let mut numbers =
            release.split(|letter: char| !letter.is_ascii_digit()).map_while(|number| number.parse().ok());
        let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        matches!(self.read_ahead, ReadAhead::MayFail { since } if version >= since)
    }
}

impl PartialEq for FileSystem {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for FileSystem {}

/// A name that no supported file system has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The name.
    pub name: String,
}

impl fmt::Display for Unknown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = ALL.iter().map(|known| known.name).collect();
        write!(formatter, "unknown file system {:?}: supported: {}", self.name, names.join(", "))
    }
}

impl std::error::Error for Unknown {}

/// The file system of this name.
///
/// # Errors
/// There is none; the message lists those that there are.
pub fn by_name(name: &str) -> Result<&'static FileSystem, Unknown> {
    ALL.iter().find(|known| known.name == name).copied().ok_or_else(|| Unknown { name: name.into() })
}

/// A UUID for all that is made: one by chance would differ from run to run for no reason.
macro_rules! uuid {
    () => {
        "c0ffee00-0000-4000-8000-000000000001"
    };
}
pub(crate) use uuid;

/// Whether `magic` stands at this byte of a write.
fn at(data: &[u8], offset: usize, magic: &[u8]) -> bool {
    data.get(offset..offset + magic.len()) == Some(magic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_an_error_that_lists_the_known_ones() {
        for known in ALL {
            assert_eq!(by_name(known.name), Ok(*known));
        }
        for name in ["zfs", "", "EXT4", "ext4 ", "ext"] {
            let error = by_name(name).unwrap_err().to_string();
            assert_eq!(error, format!("unknown file system {name:?}: supported: ext4, xfs, btrfs, f2fs"));
        }
    }

    #[test]
    fn old_kernels_and_other_file_systems_are_refused_nothing() {
        for release in ["6.1.176", "6.1.0-56-cloud-amd64", "6.12-rc1", "10.0"] {
            assert!(EXT4.may_refuse_read_ahead(release) && XFS.may_refuse_read_ahead(release), "{release}");
            assert!(!BTRFS.may_refuse_read_ahead(release), "{release}");
        }
        for release in ["6.0.19", "5.15.0-91-generic", "4.19", "", "next"] {
            assert!(!EXT4.may_refuse_read_ahead(release), "{release}");
        }
    }

    #[test]
    fn structures_are_known_by_their_magic_numbers() {
        let write = |offset: usize, magic: &[u8]| [&vec![0; offset], magic, &[0; 4096]].concat();
        let jbd2 = |kind| write(0, &[0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, kind]);
        let ext4 = |sector, data: Vec<u8>| (EXT4.label)(sector, &data);
        assert_eq!(ext4(0, write(1024 + 0x38, &[0x53, 0xef])), Some("superblock"));
        assert_eq!(ext4(8, write(1024 + 0x38, &[0x53, 0xef])), None);
        assert_eq!(ext4(8, jbd2(2)), Some("journal commit record"));
        assert_eq!(ext4(8, jbd2(9)), Some("journal"));
        assert_eq!((XFS.label)(8, &write(0, &[0xfe, 0xed, 0xba, 0xbe])), Some("log record"));
        assert_eq!((XFS.label)(8, b"X"), None);
        assert_eq!((BTRFS.label)(128, &write(64, b"_BHRfS_M")), Some("superblock"));
        assert_eq!((BTRFS.label)(128, &[1; 16_384]), Some("tree blocks"));
        assert_eq!((BTRFS.label)(128, &[1; 4096]), None);
        assert_eq!((F2FS.label)(8, &write(1024, &[0x10, 0x20, 0xf5, 0xf2])), Some("superblock"));
        assert_eq!((F2FS.label)(16, &write(1024, &[0x10, 0x20, 0xf5, 0xf2])), None);
    }
}
