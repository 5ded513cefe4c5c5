//! Ops as text: one line each, much like strace prints them.

use std::collections::HashMap;
use std::fmt;

use crate::{ArrivalKind, Call, Channel, Ended, Handle, Op, RelPath, Target, Time, Trace};

/// How many bytes of data a line shows.
const SHOWN: usize = 32;

/// Names of bits, in the order in which they are shown. A name that covers several bits stands before its parts.
type Names = [(u32, &'static str)];

/// `include/uapi/asm-generic/fcntl.h`, x86-64; the access mode, which is no bit, is not in it.
const OPEN: &Names = &[
    (0o100, "O_CREAT"),
    (0o200, "O_EXCL"),
    (0o400, "O_NOCTTY"),
    (0o1000, "O_TRUNC"),
    (0o2000, "O_APPEND"),
    (0o4000, "O_NONBLOCK"),
    (0o4010000, "O_SYNC"),
    (0o10000, "O_DSYNC"),
    (0o20000, "O_ASYNC"),
    (0o40000, "O_DIRECT"),
    (0o100000, "O_LARGEFILE"),
    (0o20200000, "O_TMPFILE"),
    (0o200000, "O_DIRECTORY"),
    (0o400000, "O_NOFOLLOW"),
    (0o1000000, "O_NOATIME"),
    (0o2000000, "O_CLOEXEC"),
    (0o10000000, "O_PATH"),
];
const WRITE: &Names = &[
    (0x1, "RWF_HIPRI"),
    (0x2, "RWF_DSYNC"),
    (0x4, "RWF_SYNC"),
    (0x8, "RWF_NOWAIT"),
    (0x10, "RWF_APPEND"),
    (0x20, "RWF_NOAPPEND"),
    (0x40, "RWF_ATOMIC"),
    (0x80, "RWF_DONTCACHE"),
];
const ALLOCATE: &Names = &[
    (0x1, "FALLOC_FL_KEEP_SIZE"),
    (0x2, "FALLOC_FL_PUNCH_HOLE"),
    (0x8, "FALLOC_FL_COLLAPSE_RANGE"),
    (0x10, "FALLOC_FL_ZERO_RANGE"),
    (0x20, "FALLOC_FL_INSERT_RANGE"),
    (0x40, "FALLOC_FL_UNSHARE_RANGE"),
    (0x80, "FALLOC_FL_WRITE_ZEROES"),
];
const RENAME: &Names = &[(1, "RENAME_NOREPLACE"), (2, "RENAME_EXCHANGE"), (4, "RENAME_WHITEOUT")];
const XATTR: &Names = &[(1, "XATTR_CREATE"), (2, "XATTR_REPLACE")];
const SYNC_RANGE: &Names =
    &[(1, "SYNC_FILE_RANGE_WAIT_BEFORE"), (2, "SYNC_FILE_RANGE_WRITE"), (4, "SYNC_FILE_RANGE_WAIT_AFTER")];
/// The file type in a mode (inode(7)).
const KINDS: &[(u32, &str)] = &[
    (0o140000, "S_IFSOCK"),
    (0o120000, "S_IFLNK"),
    (0o100000, "S_IFREG"),
    (0o060000, "S_IFBLK"),
    (0o020000, "S_IFCHR"),
    (0o010000, "S_IFIFO"),
];

/// The names of the bits that are set; what has no name as a number; `0` for none.
struct Bits(u32, &'static Names);

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut separator = "";
        for (bits, name) in self.1 {
            if rest & bits == *bits {
                write!(f, "{separator}{name}")?;
                rest &= !bits;
                separator = "|";
            }
        }
        match (rest, separator) {
            (0, "") => f.write_str("0"),
            (0, _) => Ok(()),
            _ => write!(f, "{separator}{rest:#x}"),
        }
    }
}

/// Flags of open(2), access mode first.
struct OpenFlags(u32);

impl fmt::Display for OpenFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 & 3 {
            0 => "O_RDONLY",
            1 => "O_WRONLY",
            2 => "O_RDWR",
            _ => "O_ACCMODE",
        })?;
        match self.0 & !3 {
            0 => Ok(()),
            rest => write!(f, "|{}", Bits(rest, OPEN)),
        }
    }
}

/// Bytes in quotes, cut short after [`SHOWN`] of them.
struct Data<'a>(&'a [u8]);

impl fmt::Display for Data<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(SHOWN)];
        write!(f, "\"{}\"", shown.escape_ascii())?;
        if shown.len() < self.0.len() { f.write_str("…") } else { Ok(()) }
    }
}

/// A path in quotes.
struct Name<'a>(&'a RelPath);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.to_string())
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep => f.write_str("UTIME_OMIT"),
            Self::Now => f.write_str("UTIME_NOW"),
            Self::At(seconds, nanos) => write!(f, "{seconds}.{nanos:09}"),
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Socket => "socket",
        })
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "h{}", self.0)
    }
}

/// One op, and where its handles were opened, as far as that is known.
struct Line<'a> {
    op: &'a Op,
    opened: &'a HashMap<Handle, RelPath>,
}

impl Line<'_> {
    fn file(&self, handle: &Handle) -> String {
        match self.opened.get(handle) {
            Some(path) => format!("{handle} {}", Name(path)),
            None => handle.to_string(),
        }
    }

    fn target(&self, target: &Target) -> String {
        match target {
            Target::Path(path) => Name(path).to_string(),
            Target::NoFollow(path) => format!("{} (not followed)", Name(path)),
            Target::Handle(handle) => self.file(handle),
        }
    }

    /// What stands between the parentheses.
    fn arguments(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.op.call {
            Call::Open { path, flags, mode, .. } => {
                write!(f, "{}, {}", Name(path), OpenFlags(*flags))?;
                let creates = flags & 0o100 != 0 || flags & 0o20000000 != 0;
                if creates { write!(f, ", 0{mode:03o}") } else { Ok(()) }
            }
            Call::Close { handle } | Call::Fsync { handle } | Call::Fdatasync { handle } | Call::SyncFs { handle } => {
                f.write_str(&self.file(handle))
            }
            Call::Write { handle, offset, data, flags } => {
                write!(f, "{}, {}, {}, at {offset}", self.file(handle), Data(data), data.len())?;
                if *flags == 0 { Ok(()) } else { write!(f, ", {}", Bits(*flags, WRITE)) }
            }
            Call::Store { handle, offset, data } => {
                write!(f, "{}, {}, {}, at {offset}", self.file(handle), Data(data), data.len())
            }
            Call::CopyRange { from, from_offset, to, to_offset, length } => {
                write!(f, "{} at {from_offset}, {} at {to_offset}, {length}", self.file(from), self.file(to))
            }
            Call::Truncate { target, length } => write!(f, "{}, {length}", self.target(target)),
            Call::Allocate { handle, mode, offset, length } => {
                write!(f, "{}, {}, {length} at {offset}", self.file(handle), Bits(*mode, ALLOCATE))
            }
            Call::Mkdir { path, mode } => write!(f, "{}, 0{mode:03o}", Name(path)),
            Call::Mknod { path, mode, device } => {
                let kind = KINDS.iter().find(|(bits, _)| mode & 0o170000 == *bits).map_or("?", |(_, name)| name);
                write!(f, "{}, {kind}|0{:03o}", Name(path), mode & 0o7777)?;
                if *device == 0 { Ok(()) } else { write!(f, ", device {device:#x}") }
            }
            Call::Symlink { path, target } => write!(f, "{}, {}", Data(target), Name(path)),
            Call::Link { from, to } => write!(f, "{}, {}", self.target(from), Name(to)),
            Call::Rename { from, to, flags } => {
                write!(f, "{}, {}", Name(from), Name(to))?;
                if *flags == 0 { Ok(()) } else { write!(f, ", {}", Bits(*flags, RENAME)) }
            }
            Call::Arrive { entries, to, flags } => {
                match entries.first().map(|entry| &entry.kind) {
                    Some(ArrivalKind::File(handle)) => write!(f, "{} (from outside)", self.file(handle))?,
                    Some(ArrivalKind::Directory) => {
                        write!(f, "a directory with {} entries (from outside)", entries.len() - 1)?;
                    }
                    Some(ArrivalKind::Symlink(target)) => write!(f, "a link to {} (from outside)", Data(target))?,
                    Some(ArrivalKind::Special { .. }) | None => f.write_str("something (from outside)")?,
                }
                write!(f, ", {}", Name(to))?;
                if *flags == 0 { Ok(()) } else { write!(f, ", {}", Bits(*flags, RENAME)) }
            }
            Call::Leave { path } => write!(f, "{}, (outside)", Name(path)),
            Call::Rmdir { path } if self.op.syscall == "unlinkat" => write!(f, "{}, AT_REMOVEDIR", Name(path)),
            Call::Unlink { path } | Call::Rmdir { path } => write!(f, "{}", Name(path)),
            Call::Chmod { target, mode } => write!(f, "{}, 0{mode:03o}", self.target(target)),
            Call::Chown { target, uid, gid } => {
                // -1 leaves an id as it is (chown(2)).
                write!(f, "{}, {}, {}", self.target(target), uid.cast_signed(), gid.cast_signed())
            }
            Call::SetTimes { target, access, modification } => {
                write!(f, "{}, {access}, {modification}", self.target(target))
            }
            Call::SetXattr { target, name, value, flags } => {
                write!(f, "{}, {}, {}", self.target(target), Data(name), Data(value))?;
                if *flags == 0 { Ok(()) } else { write!(f, ", {}", Bits(*flags, XATTR)) }
            }
            Call::RemoveXattr { target, name } => write!(f, "{}, {}", self.target(target), Data(name)),
            Call::SyncRange { handle, offset, length, flags } => {
                write!(f, "{}, {length} at {offset}, {}", self.file(handle), Bits(*flags, SYNC_RANGE))
            }
            Call::DontNeed { handle, offset, length } => {
                write!(f, "{}, {length} at {offset}, POSIX_FADV_DONTNEED", self.file(handle))
            }
            Call::Msync { handle, offset, length } => write!(f, "{}, {length} at {offset}, MS_SYNC", self.file(handle)),
            Call::SyncAll | Call::Ack { .. } | Call::Exit { .. } => Ok(()),
        }
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.op.thread > 0 {
            write!(f, "[{}] ", self.op.thread)?;
        }
        if let Call::Ack { channel, data } = &self.op.call {
            return write!(f, "ack {channel} {}", Data(data));
        }
        match Ended::of(self.op) {
            Some(Ended::Exited(status)) => return write!(f, "exit {status}"),
            Some(killed) => return write!(f, "{killed}"),
            None => {}
        }
        // A file that is closed by the end of its process was not closed by a call of that kind.
        let by = &self.op.syscall;
        let name = match &self.op.call {
            Call::Close { .. } => "close",
            Call::Mknod { mode, .. } if mode & 0o170000 == 0o140000 => "bind",
            _ => by.as_str(),
        };
        write!(f, "{name}(")?;
        self.arguments(f)?;
        match &self.op.call {
            Call::Open { handle, .. } => write!(f, ") = {handle}"),
            Call::Close { .. } if by != "close" => write!(f, ") by {by}"),
            Call::Close { .. } => f.write_str(")"),
            _ => write!(f, ") = {}", self.op.result),
        }
    }
}

impl fmt::Display for Op {
    /// One line, without its end. Where several ops are shown, [`listing`] names the files too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Line { op: self, opened: &HashMap::new() }.fmt(f)
    }
}

/// One line for each op of a trace, with each handle followed by the path under which it was opened.
pub fn listing(trace: &Trace) -> Vec<String> {
    let mut opened = HashMap::new();
    trace
        .ops
        .iter()
        .map(|op| {
            if let Call::Open { handle, path, .. } = &op.call {
                opened.insert(*handle, path.clone());
            }
            Line { op, opened: &opened }.to_string()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn op(syscall: &str, result: i64, call: Call) -> Op {
        Op { call, syscall: syscall.into(), result, thread: 0 }
    }

    /// Every kind of call, side by side.
    #[test]
    fn each_call_is_one_line() {
        let (h, path) = (Handle(3), RelPath::from("dir/settings.json"));
        let file = || Target::Handle(Handle(3));
        let data = |text: &str| Arc::new(text.as_bytes().to_vec());
        let long = data(&"{\"volume\": 11}\n".repeat(300));
        let write = |offset, flags| Call::Write { handle: h, offset, data: data("x\0"), flags };
        let open = |handle, flags, mode| Call::Open { handle, path: "dir/settings.json".into(), flags, mode };
        let ops = vec![
            op("openat", 5, open(h, 0o1101, 0o644)),
            op("open", 6, open(Handle(4), 0o200000, 0)),
            op("openat", 7, open(Handle(5), 0o20200002 | 0o2000000, 0o600)),
            op("openat", 8, open(Handle(6), 0o4010001 | 1 << 30, 0)),
            op("write", 4500, Call::Write { handle: h, offset: 0, data: long, flags: 0 }),
            op("pwritev2", 2, write(8192, 0x12)),
            op(
                "copy_file_range",
                9,
                Call::CopyRange { from: h, from_offset: 1, to: Handle(4), to_offset: 2, length: 9 },
            ),
            op("ftruncate", 0, Call::Truncate { target: file(), length: 10 }),
            op("fallocate", 0, Call::Allocate { handle: h, mode: 3, offset: 0, length: 4096 }),
            op("mkdir", 0, Call::Mkdir { path: path.clone(), mode: 0o755 }),
            op("mknod", 0, Call::Mknod { path: path.clone(), mode: 0o010600, device: 0 }),
            op("bind", 0, Call::Mknod { path: path.clone(), mode: 0o140755, device: 0 }),
            op("mknodat", 0, Call::Mknod { path: path.clone(), mode: 0o020600, device: 0x103 }),
            op("symlink", 0, Call::Symlink { path: path.clone(), target: b"../x".to_vec() }),
            op("linkat", 0, Call::Link { from: file(), to: path.clone() }),
            op("rename", 0, Call::Rename { from: "tmp".into(), to: path.clone(), flags: 0 }),
            op("renameat2", 0, Call::Rename { from: "tmp".into(), to: path.clone(), flags: 2 }),
            op("unlink", 0, Call::Unlink { path: path.clone() }),
            op("unlinkat", 0, Call::Rmdir { path: path.clone() }),
            op("chmod", 0, Call::Chmod { target: Target::Path(path.clone()), mode: 0o4755 }),
            op("lchown", 0, Call::Chown { target: Target::NoFollow(path.clone()), uid: 1000, gid: u32::MAX }),
            op("utimensat", 0, Call::SetTimes { target: file(), access: Time::Keep, modification: Time::At(7, 5) }),
            op("setxattr", 0, Call::SetXattr { target: file(), name: b"user.a".to_vec(), value: vec![7], flags: 1 }),
            op("fremovexattr", 0, Call::RemoveXattr { target: file(), name: b"user.a".to_vec() }),
            op("fsync", 0, Call::Fsync { handle: h }),
            op("fdatasync", -5, Call::Fdatasync { handle: h }),
            op("sync_file_range", 0, Call::SyncRange { handle: h, offset: 0, length: 0, flags: 2 }),
            op("fadvise64", 0, Call::DontNeed { handle: h, offset: 0, length: 4096 }),
            op("store", 0, Call::Store { handle: h, offset: 4096, data: data("stored") }),
            op("msync", 0, Call::Msync { handle: h, offset: 0, length: 8192 }),
            op("syncfs", 0, Call::SyncFs { handle: h }),
            op("sync", 0, Call::SyncAll),
            op("close", 0, Call::Close { handle: h }),
            Op { thread: 2, ..op("execve", 0, Call::Close { handle: Handle(4) }) },
            op("write", 6, Call::Ack { channel: Channel::Stdout, data: b"saved\n".to_vec() }),
            op("exit_group", 0, Call::Exit { status: 0 }),
            op("kill", 0, Call::Exit { status: 137 }),
        ];
        let plain: Vec<String> = ops.iter().map(Op::to_string).collect();
        let trace = Trace { ops, ..Trace::default() };
        insta::assert_snapshot!("plain", plain.join("\n"));
        insta::assert_snapshot!("listing", listing(&trace).join("\n"));
    }
}
