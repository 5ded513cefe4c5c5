//! What the guest's agent is told of a file system: a vocabulary that it interprets, without a name to compare.

use serde::{Deserialize, Serialize};

/// How the agent mounts a file system and what it does with it. Travels in commands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// As mount(2) takes it; for that, and to tell people.
    pub name: String,
    /// The user's mount options, as mount(8) takes them, comma-separated; may be empty.
    pub options: String,
    /// All mount options while a program's calls are executed.
    pub execution: String,
    /// All mount options while a crash state is looked at.
    pub observation: String,
    /// Files below `/proc/sys` and what is written to each before the file system is mounted. One that is not there is left
    /// alone.
    pub settings: Vec<(String, String)>,
    /// Files below `/sys`, and what is written to each once the file system is mounted to execute a
    /// program's calls; `{device}` stands for the name of the disk. One that is not there is left alone.
    pub mounted: Vec<(String, String)>,
    /// What is done otherwise than with other file systems.
    pub handling: Handling,
    /// How a fast commit is forced, where fsync does not commit a transaction but writes what is changed into a log of its own.
    pub fast_commit: Option<CommitBy>,
}

/// A file below `/proc/sys`, or below `/sys` of what is mounted, and what is written to it, if it is there.
#[derive(Debug)]
pub struct Setting {
    /// The file, as an absolute path.
    pub file: &'static str,
    /// What is written.
    pub value: &'static str,
}

/// What the agent does otherwise with one file system than with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handling {
    /// How a commit is forced.
    pub commit: CommitBy,
    /// How one that has just been mounted is brought to rest.
    pub warm_up: WarmUp,
    /// What comes before a call that waits for data.
    pub before_sync: BeforeSync,
    /// What comes after unmounting, and after a mount that failed.
    pub after_unmount: AfterUnmount,
    /// Which writes a flush is taken to make durable.
    pub flush_covers: FlushCovers,
}

/// Which writes a flush is taken to make durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlushCovers {
    /// Those that had completed when it was sent: all that a disk promises (Documentation/block/writeback_cache_control.rst).
    Completed,
    /// Also those that the same call of the program had sent before, and had not waited for. A disk may well take the flush
    /// first; then the file system has lost what was synced, whatever the program does. This is an assumption, and every
    /// report of such a file system says so.
    OwnWrites,
}

/// How a commit of the running transaction is forced, without anyone's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommitBy {
    /// By fsync of an unrelated file whose metadata has just changed. It has no data.
    FsyncOfUnrelatedFile,
    /// By the ioctls `BTRFS_IOC_START_SYNC` and `BTRFS_IOC_WAIT_SYNC`.
    StartAndWaitSync,
    /// The same, but by fsync of the root directory: with ext4's fast commits, that of a directory commits the whole
    /// transaction (fs/ext4/fsync.c, `ext4_fsync_journal`), as the journal's timer does. An fsync of a file that no fast commit can
    /// tell of comes to that, too, but waits first for all writeback that is under way (fs/jbd2/journal.c,
    /// `jbd2_fc_begin_commit`), which the timer does not.
    FsyncOfDirectory,
    /// By the ioctl `F2FS_IOC_WRITE_CHECKPOINT`.
    WriteCheckpoint,
    /// There are no transactions: all metadata that are dirty in the cache of the device are written out, by
    /// sync_file_range(2).
    WritebackOfDevice,
}

/// How a file system that has just been mounted is brought to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WarmUp {
    /// By waiting until nothing is under way.
    Wait,
    /// Also by replacing an extent, and with it the tree blocks that know of it, twice.
    ReplaceAnExtent,
}

/// What comes before a call of the program that waits for data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BeforeSync {
    /// Nothing.
    Nothing,
    /// The data are written out, and what follows that in the background has ended.
    WriteDataOut,
}

/// What comes after unmounting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AfterUnmount {
    /// Nothing.
    Nothing,
    /// The kernel is made to forget the device, by the ioctl `BTRFS_IOC_FORGET_DEV`.
    ForgetDevice,
}
