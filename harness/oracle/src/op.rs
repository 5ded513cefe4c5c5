//! Single operations of programs.

use std::fmt;
use std::sync::Arc;

use program::{Call, Handle, RelPath, Target};
use serde::{Deserialize, Serialize};

/// One operation. `file` is a number that the program gives to what it opens.
#[expect(missing_docs, reason = "named like the system calls and their arguments")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    Open {
        file: u32,
        path: String,
        flags: i32,
    },
    Close {
        file: u32,
    },
    /// `length` bytes of one letter.
    Write {
        file: u32,
        offset: u64,
        letter: char,
        length: u64,
    },
    Truncate {
        path: String,
        length: u64,
    },
    Rename {
        from: String,
        to: String,
    },
    Link {
        from: String,
        to: String,
    },
    Unlink {
        path: String,
    },
    Symlink {
        path: String,
        target: String,
    },
    Mkdir {
        path: String,
    },
    Fsync {
        file: u32,
    },
    Fdatasync {
        file: u32,
    },
    /// sync_file_range(2), `SYNC_FILE_RANGE_WRITE` of the whole file.
    SyncRange {
        file: u32,
    },
    /// posix_fadvise(2), `POSIX_FADV_DONTNEED` of the whole file.
    DontNeed {
        file: u32,
    },
    /// A promise.
    Print {
        text: String,
    },
}

impl Op {
    /// The call that a recorder sees.
    pub fn call(&self) -> Call {
        let path = |path: &str| RelPath::from(path);
        let handle = |file: &u32| Handle(*file);
        match self {
            Op::Open { file, path: name, flags } => {
                Call::Open { handle: handle(file), path: path(name), flags: *flags as u32, mode: 0o644 }
            }
            Op::Close { file } => Call::Close { handle: handle(file) },
            Op::Write { file, offset, letter, length } => {
                let data = Arc::new(vec![*letter as u8; *length as usize]);
                Call::Write { handle: handle(file), offset: *offset, data, flags: 0 }
            }
            Op::Truncate { path: name, length } => Call::Truncate { target: Target::Path(path(name)), length: *length },
            Op::Rename { from, to } => Call::Rename { from: path(from), to: path(to), flags: 0 },
            Op::Link { from, to } => Call::Link { from: Target::NoFollow(path(from)), to: path(to) },
            Op::Unlink { path: name } => Call::Unlink { path: path(name) },
            Op::Symlink { path: name, target } => {
                Call::Symlink { path: path(name), target: target.as_bytes().to_vec() }
            }
            Op::Mkdir { path: name } => Call::Mkdir { path: path(name), mode: 0o755 },
            Op::Fsync { file } => Call::Fsync { handle: handle(file) },
            Op::Fdatasync { file } => Call::Fdatasync { handle: handle(file) },
            Op::SyncRange { file } => {
                let flags = libc::SYNC_FILE_RANGE_WRITE;
                Call::SyncRange { handle: handle(file), offset: 0, length: 0, flags }
            }
            Op::DontNeed { file } => Call::DontNeed { handle: handle(file), offset: 0, length: 0 },
            Op::Print { text } => {
                Call::Ack { channel: program::Channel::Stdout, data: format!("{text}\n").into_bytes() }
            }
        }
    }

    /// Which letter it writes, if it writes.
    pub fn letter(&self) -> Option<char> {
        match self {
            Op::Write { letter, .. } => Some(*letter),
            _ => None,
        }
    }

    /// The name of the system call.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Open { .. } => "open",
            Op::Close { .. } => "close",
            Op::Write { .. } => "pwrite64",
            Op::Truncate { .. } => "truncate",
            Op::Rename { .. } => "rename",
            Op::Link { .. } => "link",
            Op::Unlink { .. } => "unlink",
            Op::Symlink { .. } => "symlink",
            Op::Mkdir { .. } => "mkdir",
            Op::Fsync { .. } => "fsync",
            Op::Fdatasync { .. } => "fdatasync",
            Op::SyncRange { .. } => "sync_file_range",
            Op::DontNeed { .. } => "fadvise64",
            Op::Print { .. } => "write",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Open { file, path, flags } => {
                let path = if path.is_empty() { "." } else { path };
                write!(f, "#{file} = open {path}")?;
                for (flag, name) in [(libc::O_CREAT, "creat"), (libc::O_TRUNC, "trunc"), (libc::O_DIRECT, "direct")] {
                    if flags & flag != 0 {
                        write!(f, " {name}")?;
                    }
                }
                if flags & libc::O_DSYNC != 0 { f.write_str(" dsync") } else { Ok(()) }
            }
            Op::Write { file, offset, letter, length } => write!(f, "pwrite #{file} {letter}*{length} at {offset}"),
            Op::Truncate { path, length } => write!(f, "truncate {path} {length}"),
            Op::Rename { from, to } => write!(f, "rename {from} {to}"),
            Op::Link { from, to } => write!(f, "link {from} {to}"),
            Op::Unlink { path } | Op::Mkdir { path } => write!(f, "{} {path}", self.name()),
            Op::Symlink { path, target } => write!(f, "symlink {path} -> {target}"),
            Op::Close { file }
            | Op::Fsync { file }
            | Op::Fdatasync { file }
            | Op::SyncRange { file }
            | Op::DontNeed { file } => write!(f, "{} #{file}", self.name()),
            Op::Print { text } => write!(f, "print {text}"),
        }
    }
}
