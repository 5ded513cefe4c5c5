//! At the exit of a call: what it did, written down as ops.

use std::ops::Range;
use std::path::PathBuf;

use libc::pid_t;
use program::{Call, Channel, Handle, RelPath};

use super::Syscall;
use super::data::{FileOffset, OpenAt, Source, Writing};
use crate::files::Descriptor;
use crate::mappings::{Area, FileId, pages};
use crate::recorder::Recorder;
use crate::remote::Span;

/// Results that only the kernel and a tracer see: the call is begun again (`ERESTARTSYS` to `ERESTART_RESTARTBLOCK`).
const RESTART: std::ops::RangeInclusive<i64> = -516..=-512;

/// What a call may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// The disk alone, however long that takes: nobody who waits for its turn can be what it waits for.
    Disk,
    /// That, and a lease, which a thread of the program may have to give back first (fcntl(2), `F_SETLEASE`).
    Lease,
    /// Another thread.
    Anyone,
}

/// What is done once a call has returned. Names and descriptors were resolved at its entry.
#[derive(Debug)]
pub(crate) enum ExitAction {
    /// Write it down: if it succeeded, or in any case.
    Record {
        call: Call,
        even_if_failed: bool,
    },
    /// It gave a descriptor for a file that may be written.
    Open {
        flags: u32,
        mode: u32,
    },
    Close {
        fd: i32,
    },
    CloseRange {
        first: u32,
        last: u32,
        unshare: bool,
    },
    /// It gave (another) descriptor for a recorded file.
    Dup {
        handle: Handle,
    },
    /// It gave a descriptor in the place of another.
    Replace {
        fd: i32,
    },
    Unshare,
    /// `F_SETFL` of a recorded file.
    SetFlags {
        handle: Handle,
        flags: u32,
    },
    /// It wrote from memory to a recorded file.
    Write(Writing),
    /// It moved bytes into a recorded file without passing them through memory.
    Transfer {
        file: OpenAt,
        position: FileOffset,
    },
    /// As above, from another recorded file.
    CopyRange {
        from: (OpenAt, FileOffset),
        to: (OpenAt, FileOffset),
    },
    /// It shared blocks of a file, a recorded one if it has a handle here, with a recorded file.
    Clone {
        source: Source,
        from: Option<Handle>,
        to: OpenAt,
        to_offset: u64,
    },
    /// Bytes left the program from memory.
    Ack {
        channel: Channel,
        spans: Vec<Span>,
    },
    /// Bytes left the program in several messages (`struct mmsghdr` array).
    Acks {
        channel: Channel,
        address: u64,
    },
    /// Bytes left the program by `splice` and its kin.
    UnseenAck {
        channel: Channel,
    },
    /// It made two sockets that are connected with each other, and put their descriptors at this address.
    SocketPair {
        address: u64,
    },
    /// It mapped a recorded file, shared.
    Map {
        handle: Handle,
        file: FileId,
        length: u64,
        offset: u64,
        writable: bool,
    },
    /// It unmapped what is there, or mapped something else in its place.
    Unmap {
        addresses: Range<u64>,
    },
    /// It moved or resized a mapping.
    Remap {
        from: Range<u64>,
        length: u64,
    },
    /// It let a mapping be stored to.
    MakeWritable {
        addresses: Range<u64>,
    },
    /// It synced what is mapped, one part after the other.
    SyncMapped {
        calls: Vec<Call>,
    },
    /// It gave a descriptor in an unusual way.
    Look,
    /// What was outside the directory, at `from` if it had a name, is at `to` now: by renameat2(2) with these flags, or by a link,
    /// which is as with `RENAME_NOREPLACE`.
    Arrive {
        from: Option<PathBuf>,
        to: RelPath,
        flags: u32,
    },
    /// What was at a name in the directory is outside now.
    Leave {
        path: RelPath,
        to: PathBuf,
    },
    /// A file of the directory has this name outside, too.
    LinkOutside {
        path: RelPath,
        to: PathBuf,
    },
    /// It made a file outside the directory durable.
    SyncOutside {
        fd: i32,
    },
    /// It changed what has these canonical paths, outside the directory.
    Outside {
        paths: Vec<PathBuf>,
    },
    /// If it succeeded it went beyond what the recorder can follow.
    Unmodelled {
        detail: String,
    },
}

impl ExitAction {
    /// Whether it is not known what the files are if the call, which had its turn, never returns.
    pub(crate) fn changes_files(&self) -> bool {
        !matches!(
            self,
            Self::Close { .. }
                | Self::Dup { .. }
                | Self::Replace { .. }
                | Self::Map { .. }
                | Self::Unmap { .. }
                | Self::Remap { .. }
                | Self::MakeWritable { .. }
                | Self::Unmodelled { .. }
        )
    }

    /// What the call, which has its turn, may wait for.
    pub(crate) fn waits_for(&self) -> WaitsFor {
        match self {
            // What is no regular file, and may keep its opener waiting, is opened without a turn unless there is nobody else.
            Self::Record { call: Call::Truncate { .. }, .. } | Self::Open { .. } => WaitsFor::Lease,
            // An unmodelled call that has its turn is one with a path that leads nowhere.
            Self::Record { .. } | Self::Unmodelled { .. } | Self::SyncMapped { .. } => WaitsFor::Disk,
            // The lock of the address space is held for faults, which wait for the disk.
            Self::Map { .. } | Self::Unmap { .. } | Self::Remap { .. } | Self::MakeWritable { .. } => WaitsFor::Disk,
            Self::Arrive { .. } | Self::Leave { .. } | Self::LinkOutside { .. } | Self::SyncOutside { .. } => {
                WaitsFor::Disk
            }
            // Into a regular file; a transfer that has its turn is from one, too.
            Self::Write(_) | Self::Transfer { .. } | Self::CopyRange { .. } | Self::Clone { .. } => WaitsFor::Disk,
            _ => WaitsFor::Anyone,
        }
    }

    /// Whether it is to be done for a call that returned `result`.
    fn applies(&self, result: i64) -> bool {
        match self {
            Self::Record { even_if_failed: true, .. } | Self::SyncMapped { .. } => !RESTART.contains(&result),
            // "Linux … always releases the descriptor early" (close(2)), whatever the result.
            Self::Close { .. } => result != -i64::from(libc::EBADF),
            _ => result >= 0,
        }
    }
}

impl Recorder<'_> {
    /// Does what was decided at the entry of a call that now returned `result`.
    pub(crate) fn finish(&mut self, tid: pid_t, syscall: &Syscall, action: ExitAction, result: i64) {
        if !action.applies(result) {
            return;
        }
        let name = syscall.name;
        let (fd, length) = (result as i32, result as u64);
        let looked = match action {
            ExitAction::Record { call, .. } => {
                if result >= 0 && matches!(call, Call::SyncAll | Call::SyncFs { .. }) {
                    self.synced_all_outside(tid, name);
                }
                self.push(tid, name, call, result);
                Ok(())
            }
            ExitAction::Open { flags, mode } => self.opened(tid, name, fd, flags, mode),
            ExitAction::Close { fd } => {
                self.closed(tid, name, fd);
                Ok(())
            }
            ExitAction::CloseRange { first, last, unshare } => {
                self.closed_range(tid, name, (first, last), unshare);
                Ok(())
            }
            ExitAction::Dup { handle } => {
                self.set_descriptor(tid, name, fd, Descriptor::File(handle));
                Ok(())
            }
            ExitAction::Replace { fd: from } => {
                self.replaced(tid, name, from, fd);
                Ok(())
            }
            ExitAction::Unshare => {
                self.unshare_table(tid);
                Ok(())
            }
            ExitAction::SetFlags { handle, flags } => {
                self.flags_set(name, handle, flags);
                Ok(())
            }
            ExitAction::Write(write) => self.written(tid, name, &write, length),
            ExitAction::Transfer { file, position } => self.transferred(tid, name, file, position, length),
            ExitAction::CopyRange { from, to } => self.copied(tid, name, from, to, length),
            ExitAction::Clone { source, from, to, to_offset } => self.cloned(tid, name, source, from, (to, to_offset)),
            ExitAction::Ack { channel, spans } => self.acked(tid, name, channel, &spans, length),
            ExitAction::Acks { channel, address } => self.acked_many(tid, name, channel, address, length),
            ExitAction::UnseenAck { channel } => {
                self.acked_unseen(tid, name, channel, length);
                Ok(())
            }
            ExitAction::SocketPair { address } => self.paired(tid, address),
            ExitAction::Map { handle, file, length, offset, writable } => {
                let area = Area { addresses: pages(result as u64, length), offset, file, handle, writable };
                self.map(tid, area);
                Ok(())
            }
            ExitAction::Unmap { addresses } => {
                self.unmap(tid, &addresses);
                Ok(())
            }
            ExitAction::Remap { from, length } => {
                self.remap(tid, &from, &pages(result as u64, length));
                Ok(())
            }
            ExitAction::MakeWritable { addresses } => {
                self.make_writable(tid, &addresses);
                Ok(())
            }
            ExitAction::SyncMapped { calls } => {
                // Where a part of the range is not mapped, "the call fails with the error ENOMEM", and the rest is synced (mm/msync.c).
                let result = if result == -i64::from(libc::ENOMEM) { 0 } else { result };
                calls.into_iter().for_each(|call| self.push(tid, name, call, result));
                Ok(())
            }
            ExitAction::Look => {
                self.descriptor(tid, fd);
                Ok(())
            }
            ExitAction::Arrive { from, to, flags } => {
                from.iter().for_each(|path| self.name_outside(path));
                self.arrived(tid, name, &to, flags)
            }
            ExitAction::Leave { path, to } => {
                self.name_outside(&to);
                self.push(tid, name, Call::Leave { path }, result);
                Ok(())
            }
            ExitAction::LinkOutside { path, to } => {
                self.name_outside(&to);
                self.linked_outside(path, &to)
            }
            ExitAction::SyncOutside { fd } => self.synced_outside(tid, name, fd),
            ExitAction::Outside { paths } => {
                paths.iter().for_each(|path| self.name_outside(path));
                Ok(())
            }
            ExitAction::Unmodelled { detail } => {
                self.unmodelled(name, detail);
                Ok(())
            }
        };
        if let Err(error) = looked {
            self.unmodelled(name, format!("cannot see what it did ({error})"));
        }
    }
}

#[cfg(test)]
mod tests {
    use program::Target;

    use super::*;

    #[test]
    fn a_slow_disk_is_no_deadlock() {
        let waits_for = |call: Call| ExitAction::Record { call, even_if_failed: true }.waits_for();
        let handle = Handle(0);
        let syncs = [
            Call::Fsync { handle },
            Call::Fdatasync { handle },
            Call::SyncRange { handle, offset: 0, length: 0, flags: 0 },
            Call::SyncFs { handle },
            Call::SyncAll,
        ];
        assert!(syncs.into_iter().all(|call| waits_for(call) == WaitsFor::Disk));
        assert_eq!(waits_for(Call::Unlink { path: "f".into() }), WaitsFor::Disk);
        assert_eq!(waits_for(Call::Truncate { target: Target::Handle(handle), length: 0 }), WaitsFor::Lease);
        assert_eq!(ExitAction::Open { flags: 0, mode: 0 }.waits_for(), WaitsFor::Lease);
        assert_eq!(ExitAction::SetFlags { handle, flags: 0 }.waits_for(), WaitsFor::Anyone);
    }
}
