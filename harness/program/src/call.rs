//! The calls that a trace holds, as the kernel was asked for them, with names and descriptors resolved.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Arrival, RelPath};

/// One open file description (open(2): what `dup` and `fork` share), numbered in the order of opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Handle(pub u32);

/// What a call that takes either a name or a descriptor was given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Target {
    /// A name; the last component is followed if it is a symbolic link.
    Path(RelPath),
    /// A name whose last component is not followed (`lchown`, `AT_SYMLINK_NOFOLLOW`).
    NoFollow(RelPath),
    /// An open file.
    Handle(Handle),
}

/// One of the two times that utimensat(2) sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Time {
    /// `UTIME_OMIT`.
    Keep,
    /// `UTIME_NOW`.
    Now,
    /// Seconds and nanoseconds since the epoch.
    At(i64, u32),
}

/// Where acknowledged bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Channel {
    /// The standard output that the harness gave the program.
    Stdout,
    /// The standard error that the harness gave the program.
    Stderr,
    /// A socket whose other end is not known to be a recorded process.
    Socket,
}

/// What one op asks of the file system, or promises to the user.
///
/// Flags and modes are Linux x86-64 numbers. `mode` of a creating call has the umask already applied.
#[expect(missing_docs, reason = "each variant's doc explains its fields")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// open(2), creat(2), openat2(2). With `O_TMPFILE` in `flags`, `path` is the directory.
    Open { handle: Handle, path: RelPath, flags: u32, mode: u32 },
    /// The last descriptor of an open file description went away (close, dup2 over it, exec, exit).
    Close { handle: Handle },
    /// Any write: write, pwrite64, writev, pwritev2, sendfile, splice … `offset` is where the bytes landed, for
    /// `O_APPEND` too. `flags` are those of pwritev2(2) (`RWF_DSYNC`, `RWF_SYNC`, `RWF_APPEND`, …). `data` is what was really written.
    Write {
        handle: Handle,
        offset: u64,
        #[serde(with = "crate::bytes")]
        data: Arc<Vec<u8>>,
        flags: u32,
    },
    /// copy_file_range(2) between two recorded files: some file systems share blocks.
    CopyRange { from: Handle, from_offset: u64, to: Handle, to_offset: u64, length: u64 },
    /// truncate(2), ftruncate(2).
    Truncate { target: Target, length: u64 },
    /// fallocate(2), with its mode bits.
    Allocate { handle: Handle, mode: u32, offset: u64, length: u64 },
    /// mkdir(2).
    Mkdir { path: RelPath, mode: u32 },
    /// mknod(2); also bind(2) of a Unix socket. `mode` holds the file type.
    Mknod { path: RelPath, mode: u32, device: u64 },
    /// symlink(2).
    Symlink { path: RelPath, target: Vec<u8> },
    /// link(2), linkat(2); from a handle for `AT_EMPTY_PATH` and `/proc/self/fd`.
    Link { from: Target, to: RelPath },
    /// rename(2), renameat2(2) with its flags (`RENAME_NOREPLACE`, `RENAME_EXCHANGE`, `RENAME_WHITEOUT`).
    Rename { from: RelPath, to: RelPath, flags: u32 },
    /// unlink(2).
    Unlink { path: RelPath },
    /// rmdir(2).
    Rmdir { path: RelPath },
    /// chmod(2) and its kin.
    Chmod { target: Target, mode: u32 },
    /// chown(2) and its kin; `u32::MAX` leaves an id as it is.
    Chown { target: Target, uid: u32, gid: u32 },
    /// utimensat(2) and its kin.
    SetTimes { target: Target, access: Time, modification: Time },
    /// setxattr(2) and its kin.
    SetXattr { target: Target, name: Vec<u8>, value: Vec<u8>, flags: u32 },
    /// removexattr(2) and its kin.
    RemoveXattr { target: Target, name: Vec<u8> },
    /// fsync(2).
    Fsync { handle: Handle },
    /// fdatasync(2).
    Fdatasync { handle: Handle },
    /// sync_file_range(2): starts or awaits writeback, flushes nothing.
    SyncRange { handle: Handle, offset: u64, length: u64, flags: u32 },
    /// syncfs(2).
    SyncFs { handle: Handle },
    /// sync(2).
    SyncAll,
    /// Bytes that left the program.
    Ack { channel: Channel, data: Vec<u8> },
    /// The recorded program itself ended: the last promise. Exit status as a shell would show it (128 + signal); [`Ended`] tells
    /// the two apart.
    ///
    /// [`Ended`]: crate::Ended
    Exit { status: i32 },
    /// posix_fadvise(2) with `POSIX_FADV_DONTNEED`: starts writeback of what is dirty there (mm/fadvise.c,
    /// `generic_fadvise`). A length of 0 is up to the end.
    DontNeed { handle: Handle, offset: u64, length: u64 },
    /// Bytes stored through a shared mapping (mmap(2), `MAP_SHARED`) of an open file: all that changed in a run of pages since
    /// the op before. In which order, and whether some were stored more than once, nobody saw.
    Store {
        handle: Handle,
        offset: u64,
        #[serde(with = "crate::bytes")]
        data: Arc<Vec<u8>>,
    },
    /// msync(2) with `MS_SYNC` of what is mapped of this range: fdatasync(2) of a part of the file (mm/msync.c). `MS_ASYNC` does
    /// nothing (since Linux 2.6.19).
    Msync { handle: Handle, offset: u64, length: u64 },
    /// rename(2), link(2) and their kin, from a name outside the recorded directory: a file, or a directory with all that is in
    /// it (`entries`, itself first), gets the name `to` at once. `flags` are those of renameat2(2); for a link,
    /// `RENAME_NOREPLACE`. With `RENAME_EXCHANGE`, what was at `to` leaves.
    ///
    /// What a file holds was written before, to a handle without a name: how much of that is durable by now is as with any other.
    Arrive { entries: Vec<Arrival>, to: RelPath, flags: u32 },
    /// rename(2) to a name outside the recorded directory, with all that is below.
    Leave { path: RelPath },
}

impl Call {
    /// The bytes that it puts into a file, and where: of a write, or of stores through a mapping.
    pub fn written(&self) -> Option<(Handle, u64, &Arc<Vec<u8>>)> {
        match self {
            Self::Write { handle, offset, data, .. } | Self::Store { handle, offset, data } => {
                Some((*handle, *offset, data))
            }
            _ => None,
        }
    }

    /// The file whose data it may change, if it names one: not opening with `O_TRUNC`, of which only the file system knows
    /// whether there was a file.
    pub fn changes_data_of(&self) -> Option<Target> {
        match self {
            Self::Write { handle, data, .. } | Self::Store { handle, data, .. } if !data.is_empty() => {
                Some(Target::Handle(*handle))
            }
            Self::CopyRange { to, .. } => Some(Target::Handle(*to)),
            Self::Allocate { handle, .. } => Some(Target::Handle(*handle)),
            Self::Truncate { target, .. } => Some(target.clone()),
            _ => None,
        }
    }

    /// What is left of a call that waits for data to be durable if it does not wait; `None` if it does not wait as it is.
    ///
    /// Closing and truncating may start writeback on some file systems, but wait for nothing: they stay as they are, and so
    /// does sync_file_range(2) without a flag that waits.
    pub fn without_sync(&self) -> Option<Unsynced> {
        match self {
            Self::Open { handle, path, flags, mode } if flags & O_SYNC != 0 => {
                let flags = flags & !O_SYNC;
                Some(Unsynced::Call(Self::Open { handle: *handle, path: path.clone(), flags, mode: *mode }))
            }
            Self::Write { handle, offset, data, flags } if flags & RWF_SYNC != 0 => {
                let flags = flags & !RWF_SYNC;
                Some(Unsynced::Call(Self::Write { handle: *handle, offset: *offset, data: data.clone(), flags }))
            }
            Self::SyncRange { flags, .. } if flags & SYNC_FILE_RANGE_WAIT != 0 => Some(Unsynced::Nothing),
            Self::Fsync { .. } | Self::Fdatasync { .. } | Self::Msync { .. } | Self::SyncFs { .. } | Self::SyncAll => {
                Some(Unsynced::Nothing)
            }
            _ => None,
        }
    }
}

/// `O_SYNC` of open(2), which has `O_DSYNC` within.
const O_SYNC: u32 = 0o4010000;
/// `RWF_DSYNC` and `RWF_SYNC` of pwritev2(2): either has the write wait for its data.
pub const RWF_SYNC: u32 = 2 | 4;
/// `SYNC_FILE_RANGE_WAIT_BEFORE` and `SYNC_FILE_RANGE_WAIT_AFTER` of sync_file_range(2).
const SYNC_FILE_RANGE_WAIT: u32 = 1 | 4;

/// What is left of a call whose sync is taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// It did nothing else.
    Nothing,
    /// This.
    Call(Call),
}

/// One recorded call, or one promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Op {
    /// What was asked.
    pub call: Call,
    /// The name of the system call that asked it (`creat`, `pwritev2`, `exit_group` …).
    pub syscall: String,
    /// What the call returned. Calls that failed are kept only where failing matters (the sync family) and are not replayed.
    pub result: i64,
    /// The thread that asked: 0 is the program's first, others are numbered as they appear.
    pub thread: u32,
}

impl Op {
    /// Whether this printed or sent nothing but the end of a line: that is no promise of its own, but belongs to what
    /// was printed before it.
    pub fn ends_line(&self) -> bool {
        matches!(&self.call, Call::Ack { data, .. } if data.iter().all(|byte| matches!(byte, b'\n' | b'\r')))
    }
}
