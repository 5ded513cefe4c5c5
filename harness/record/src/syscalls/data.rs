//! Calls that change what files hold: writes, transfers within the kernel, lengths.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use libc::pid_t;
use program::{Call, Handle, Target};

use super::{AtEntry, ExitAction};
use crate::files::Descriptor;
use crate::recorder::Recorder;
use crate::remote::{self, Span};
use crate::stop::Asked;

/// pwritev2(2).
const RWF_APPEND: u32 = 0x10;
const RWF_NOAPPEND: u32 = 0x20;

/// A write from memory, as it is known at its entry.
#[derive(Debug)]
pub(crate) struct Writing {
    file: OpenAt,
    spans: Vec<Span>,
    position: FileOffset,
    /// Of pwritev2(2).
    flags: u32,
}

/// A recorded file, and a descriptor of the calling thread for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenAt {
    handle: Handle,
    fd: i32,
}

/// What a clone takes: `length` bytes from `offset` on, or all that are there if that is 0, of a descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    pub(super) fd: i32,
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Where in its file a call puts (or takes) bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FileOffset {
    /// At an offset that the call says.
    Given(u64),
    /// At the file's own position, which moves along. `before`: where that was, if others may move it meanwhile.
    OfPosition { before: Option<u64> },
}

impl FileOffset {
    const OWN: Self = Self::OfPosition { before: None };
}

pub(super) fn write(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    writing(recorder, call, None, 0, |call| Ok(vec![call.span(1, 2)]))
}

pub(super) fn pwrite64(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    writing(recorder, call, Some(call.args[3]), 0, |call| Ok(vec![call.span(1, 2)]))
}

pub(super) fn writev(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    writing(recorder, call, None, 0, pieces)
}

pub(super) fn pwritev(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    writing(recorder, call, Some(call.args[3]), 0, pieces)
}

pub(super) fn pwritev2(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    // "If the offset argument is -1, then the current file offset is used."
    let offset = Some(call.args[3]).filter(|offset| *offset != u64::MAX);
    writing(recorder, call, offset, call.u32(5), pieces)
}

pub(super) fn sendfile(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    transferring(recorder, call.tid, Some(call.fd(1)), call.fd(0), None)
}

pub(super) fn splice(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    transferring(recorder, call.tid, None, call.fd(2), Some(call.args[3]))
}

pub(super) fn tee(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    transferring(recorder, call.tid, None, call.fd(1), None)
}

pub(super) fn copy_file_range(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    let (from, to) = (call.fd(0), call.fd(2));
    let handle = match recorder.descriptor(call.tid, to) {
        Some(Descriptor::File(handle)) => handle,
        Some(Descriptor::Outside(id)) => {
            recorder.outside.change(id);
            return Ok(AtEntry::Pass);
        }
        _ => return Ok(AtEntry::Pass),
    };
    let to = OpenAt { handle, fd: to };
    let (from_position, to_position) = (position_at(call.tid, call.args[1])?, position_at(call.tid, call.args[3])?);
    Ok(AtEntry::exclusive(match recorder.handle(call.tid, from) {
        Some(handle) => {
            ExitAction::CopyRange { from: (OpenAt { handle, fd: from }, from_position), to: (to, to_position) }
        }
        None => ExitAction::Transfer { file: to, position: to_position },
    }))
}

/// A request to share blocks (ioctl_ficlone(2)) with `to`, an open file and a descriptor for it. A guest copies: only some file
/// systems share.
pub(super) fn cloning(
    recorder: &mut Recorder<'_>,
    tid: pid_t,
    source: Source,
    (handle, fd): (Handle, i32),
    to_offset: u64,
) -> AtEntry {
    let from = recorder.handle(tid, source.fd);
    AtEntry::exclusive(ExitAction::Clone { source, from, to: OpenAt { handle, fd }, to_offset })
}

pub(super) fn truncate(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    let length = call.args[1];
    recorder.on_target(call.tid, call.path(0), 0, |target| AtEntry::record(Call::Truncate { target, length }))
}

pub(super) fn ftruncate(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    let length = call.args[1];
    Ok(recorder.changing(call, |handle| AtEntry::record(Call::Truncate { target: Target::Handle(handle), length })))
}

pub(super) fn fallocate(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    let [_, _, offset, length, ..] = call.args;
    let mode = call.u32(1);
    Ok(recorder.changing(call, |handle| AtEntry::record(Call::Allocate { handle, mode, offset, length })))
}

/// The array of `struct iovec` that arguments 1 and 2 give.
fn pieces(call: &Asked) -> io::Result<Vec<Span>> {
    remote::iovecs(call.tid, call.args[1], call.args[2])
}

/// Where the offset at `address` in the program's memory says; without one, at the file's position.
fn position_at(tid: pid_t, address: u64) -> io::Result<FileOffset> {
    Ok(if address == 0 { FileOffset::OWN } else { FileOffset::Given(remote::words::<1>(tid, address)?[0]) })
}

fn writing(
    recorder: &mut Recorder<'_>,
    call: &Asked,
    offset: Option<u64>,
    flags: u32,
    spans: impl FnOnce(&Asked) -> io::Result<Vec<Span>>,
) -> io::Result<AtEntry> {
    let (tid, fd) = (call.tid, call.fd(0));
    Ok(match recorder.descriptor(tid, fd) {
        Some(Descriptor::File(handle)) => {
            let position = match offset {
                Some(offset) => FileOffset::Given(offset),
                // With another user of the position, where the bytes went can only be told if it moved by them alone.
                None if recorder.files.shared(recorder.table(tid), handle) => {
                    FileOffset::OfPosition { before: Some(recorder.files.position(tid, fd, handle)?) }
                }
                None => FileOffset::OWN,
            };
            let file = OpenAt { handle, fd };
            AtEntry::exclusive(ExitAction::Write(Writing { file, spans: spans(call)?, position, flags }))
        }
        Some(Descriptor::Channel(_)) => match recorder.channel(tid, fd, None) {
            Some(channel) => AtEntry::free(ExitAction::Ack { channel, spans: spans(call)? }),
            None => AtEntry::Pass,
        },
        Some(Descriptor::Outside(id)) => {
            recorder.outside.change(id);
            AtEntry::Pass
        }
        _ => AtEntry::Pass,
    })
}

/// A call that moves bytes from descriptor `from`, or else from a pipe, to descriptor `to`. `offset`: the address of the
/// offset there, if the call takes one; 0 for the file's position.
fn transferring(
    recorder: &mut Recorder<'_>,
    tid: pid_t,
    from: Option<i32>,
    to: i32,
    offset: Option<u64>,
) -> io::Result<AtEntry> {
    Ok(match recorder.descriptor(tid, to) {
        Some(Descriptor::File(handle)) => {
            let position = position_at(tid, offset.unwrap_or(0))?;
            // Waiting for a pipe must not keep its writer from getting a turn.
            let waits =
                from.is_none_or(|from| fs::metadata(remote::fd_link(tid, from)).is_ok_and(|from| !from.is_file()));
            let file = OpenAt { handle, fd: to };
            AtEntry::Await { action: ExitAction::Transfer { file, position }, exclusive: !waits }
        }
        Some(Descriptor::Channel(_)) => match recorder.channel(tid, to, None) {
            Some(channel) => AtEntry::free(ExitAction::UnseenAck { channel }),
            None => AtEntry::Pass,
        },
        Some(Descriptor::Outside(id)) => {
            recorder.outside.change(id);
            AtEntry::Pass
        }
        _ => AtEntry::Pass,
    })
}

impl Recorder<'_> {
    pub(super) fn written(&mut self, tid: pid_t, name: &str, write: &Writing, length: u64) -> io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        let Writing { file, spans, position, flags } = write;
        let offset = self.landed(tid, name, *file, *position, *flags, length)?;
        self.push_written(tid, name, *file, offset, length, *flags, Some(spans))
    }

    pub(super) fn transferred(
        &mut self,
        tid: pid_t,
        name: &str,
        file: OpenAt,
        position: FileOffset,
        length: u64,
    ) -> io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        let offset = self.landed(tid, name, file, position, 0, length)?;
        self.push_written(tid, name, file, offset, length, 0, None)
    }

    /// Writes down a write that put `length` bytes to `offset`, from memory if it has `spans`.
    #[expect(clippy::too_many_arguments, reason = "what a write is")]
    fn push_written(
        &mut self,
        tid: pid_t,
        name: &str,
        file: OpenAt,
        offset: u64,
        length: u64,
        flags: u32,
        spans: Option<&[Span]>,
    ) -> io::Result<()> {
        if let Err(stop) = self.recorded.kept.count_written(length) {
            self.shared.set_stop(stop);
            return Ok(());
        }
        // The file holds what the kernel took: nobody else changes it now, while another thread may change the memory. It
        // cannot be read if its permissions forbid that.
        let start = match (self.keep_from_file(tid, file, offset, length), spans) {
            (Err(_), Some(spans)) => self.keep_from_memory(tid, spans, length)?,
            (kept, _) => kept?,
        };
        self.recorded.kept.were_seen(self.recorded.ops.len(), start, length);
        let call = Call::Write { handle: file.handle, offset, data: Arc::default(), flags };
        self.push(tid, name, call, length as i64);
        Ok(())
    }

    /// Keeps `length` bytes that a recorded file holds from `offset` on; gives where they are kept.
    fn keep_from_file(&mut self, tid: pid_t, file: OpenAt, offset: u64, length: u64) -> io::Result<u64> {
        let start = self.recorded.kept.next();
        let mut buffer = vec![0; length.min(remote::PIECE) as usize];
        let mut done = 0;
        while done < length {
            let part = &mut buffer[..(length - done).min(remote::PIECE) as usize];
            let content = self.files.content(tid, file.fd, file.handle)?;
            content.read_exact_at(part, offset.saturating_add(done))?;
            if self.follows_stores() {
                self.mirror_wrote(file.handle, offset.saturating_add(done), part);
            }
            if let Err(stop) = self.recorded.kept.append(part) {
                self.shared.set_stop(stop);
            }
            done += part.len() as u64;
        }
        Ok(start)
    }

    /// Keeps the first `length` bytes that `spans` of the program's memory hold; gives where they are kept.
    pub(super) fn keep_from_memory(&mut self, tid: pid_t, spans: &[Span], length: u64) -> io::Result<u64> {
        let start = self.recorded.kept.next();
        remote::pieces(tid, spans, length, |piece| {
            if let Err(stop) = self.recorded.kept.append(piece) {
                self.shared.set_stop(stop);
            }
            Ok(())
        })?;
        Ok(start)
    }

    pub(super) fn copied(
        &mut self,
        tid: pid_t,
        name: &str,
        (from, from_position): (OpenAt, FileOffset),
        (to, to_position): (OpenAt, FileOffset),
        length: u64,
    ) -> io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        let from_offset = match from_position {
            FileOffset::Given(offset) => offset,
            FileOffset::OfPosition { .. } => self.files.position(tid, from.fd, from.handle)?.saturating_sub(length),
        };
        let to_offset = self.landed(tid, name, to, to_position, 0, length)?;
        let call = Call::CopyRange { from: from.handle, from_offset, to: to.handle, to_offset, length };
        self.push(tid, name, call, length as i64);
        Ok(())
    }

    /// A clone is done: as a copy, or, from a file outside, as a write of what it was given.
    pub(super) fn cloned(
        &mut self,
        tid: pid_t,
        name: &str,
        source: Source,
        from: Option<Handle>,
        (to, to_offset): (OpenAt, u64),
    ) -> io::Result<()> {
        let length = match source.length {
            0 => fs::metadata(remote::fd_link(tid, source.fd))?.len().saturating_sub(source.offset),
            length => length,
        };
        match from {
            _ if length == 0 => Ok(()),
            Some(handle) => {
                let from = (OpenAt { handle, fd: source.fd }, FileOffset::Given(source.offset));
                self.copied(tid, name, from, (to, FileOffset::Given(to_offset)), length)
            }
            None => self.push_written(tid, name, to, to_offset, length, 0, None),
        }
    }

    /// Where a call that returned put its bytes.
    fn landed(
        &mut self,
        tid: pid_t,
        name: &str,
        OpenAt { handle, fd }: OpenAt,
        position: FileOffset,
        flags: u32,
        length: u64,
    ) -> io::Result<u64> {
        let appends = self.files.file(handle).is_some_and(|file| file.flags & libc::O_APPEND as u32 != 0);
        if flags & RWF_APPEND != 0 || (appends && flags & RWF_NOAPPEND == 0) {
            // "On Linux, pwrite() on a file opened with O_APPEND appends, regardless of the offset" (pwrite(2)). Nobody else
            // changes the size meanwhile.
            return Ok(fs::metadata(remote::fd_link(tid, fd))?.len().saturating_sub(length));
        }
        let before = match position {
            FileOffset::Given(offset) => return Ok(offset),
            FileOffset::OfPosition { before } => before,
        };
        let start = self.files.position(tid, fd, handle)?.saturating_sub(length);
        if before.is_some_and(|before| before != start) {
            self.unmodelled(
                name,
                "another thread moved the file's position during the call: where the bytes went is not sure",
            );
        }
        Ok(start)
    }
}
