//! At the exit of a call: what it did, written down as ops.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libc::pid_t;
use program::{Call, Channel, Handle, RelPath};

use crate::calls;
use crate::files::Entry;
use crate::recorder::{Action, Gap, Recorder};
use crate::remote::{self, Span};

/// Flags of open(2) that only matter while opening, and `O_LARGEFILE` (zero in the C library), which the kernel adds by itself.
const CREATION: u32 =
    (libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC | libc::O_NOCTTY | libc::O_CLOEXEC) as u32 | 0o100_000;
const TMPFILE: u32 = (libc::O_TMPFILE & !libc::O_DIRECTORY) as u32;
/// pwritev2(2).
const RWF_APPEND: u32 = 0x10;
const RWF_NOAPPEND: u32 = 0x20;
/// Results that only the kernel and a tracer see: the call is begun again (`ERESTARTSYS` to `ERESTART_RESTARTBLOCK`).
const RESTART: std::ops::RangeInclusive<i64> = -516..=-512;

impl Recorder<'_> {
    /// Does what was planned for a call that returned `result`.
    pub(crate) fn finish(&mut self, tid: pid_t, number: i64, action: Action, result: i64) {
        let name = calls::name(number);
        if let Action::Record { call, even_if_failed: true } = action {
            if !RESTART.contains(&result) {
                self.push(tid, &name, call, result);
            }
            return;
        }
        if let Action::Close { fd } = action {
            // "Linux … always releases the descriptor early" (close(2)), whatever the result.
            if result != -i64::from(libc::EBADF)
                && let Some(handle) = self.files.remove(self.table(tid), fd)
            {
                self.push_closed(tid, &name, handle);
            }
            return;
        }
        if result < 0 {
            return;
        }
        let done = match action {
            Action::Record { call, .. } => {
                self.push(tid, &name, call, result);
                Ok(())
            }
            Action::Open { flags, mode } => self.opened(tid, &name, result as i32, flags, mode),
            Action::Write { handle, fd, spans, offset, before, flags } => {
                self.written(tid, &name, (handle, fd), &spans, (offset, before), flags, result as u64)
            }
            Action::Transfer { handle, fd, offset } => {
                self.transferred(tid, &name, (handle, fd), offset, result as u64)
            }
            Action::CopyRange { from, from_offset, to, to_offset } => {
                self.copied(tid, &name, (from, from_offset), (to, to_offset), result as u64)
            }
            Action::Ack { channel, spans } => self.acked(tid, &name, channel, &spans, result as u64),
            Action::Acks { channel, address } => self.acked_many(tid, &name, channel, address, result as u64),
            Action::UnseenAck { channel } => {
                self.acked_unseen(tid, &name, channel, result as u64);
                Ok(())
            }
            Action::SocketPair { address } => self.paired(tid, address),
            Action::Limit { detail } => {
                self.limit(&name, detail);
                Ok(())
            }
            Action::Outside { paths } => {
                paths.iter().for_each(|path| self.name_outside(path));
                Ok(())
            }
            descriptor => {
                self.descriptors_changed(tid, &name, descriptor, result as i32);
                Ok(())
            }
        };
        if let Err(error) = done {
            self.limit(&name, format!("cannot see what it did ({error})"));
        }
    }

    fn descriptors_changed(&mut self, tid: pid_t, name: &str, action: Action, result: i32) {
        let table = self.table(tid);
        match action {
            Action::Dup { handle } => {
                if let Some(closed) = self.files.set(table, result, Entry::File(handle)) {
                    self.push_closed(tid, name, closed);
                }
            }
            Action::Replace { fd } => {
                let closed = match self.files.get(table, fd) {
                    Some(entry) => self.files.set(table, result, entry),
                    None => self.files.remove(table, result),
                };
                if let Some(closed) = closed {
                    self.push_closed(tid, name, closed);
                }
            }
            Action::CloseRange { first, last, unshare } => {
                if unshare {
                    self.unshare(tid);
                }
                let table = self.table(tid);
                let range = i64::from(first)..=i64::from(last);
                for closed in self.files.retain_only(table, |fd| !range.contains(&i64::from(fd))) {
                    self.push_closed(tid, name, closed);
                }
            }
            Action::Unshare => self.unshare(tid),
            Action::SetFlags { handle, flags } => {
                let former = self.files.file(handle).map_or(0, |file| file.flags);
                if (former ^ flags) & libc::O_DIRECT as u32 != 0 {
                    self.limit(name, "switched direct I/O on or off for an open file");
                }
                let append = libc::O_APPEND as u32;
                self.files.set_flags(handle, |former| former & !append | flags & append);
            }
            Action::Look => drop(self.entry(tid, result)),
            _ => {}
        }
    }

    fn unshare(&mut self, tid: pid_t) {
        let table = self.files.unshare(self.table(tid));
        if let Some(thread) = self.threads.get_mut(&tid) {
            thread.table = table;
        }
    }

    fn opened(&mut self, tid: pid_t, name: &str, fd: i32, flags: u32, mode: u32) -> io::Result<()> {
        let path = remote::fd_name(tid, fd)?;
        if !path.starts_with(&self.scene.root) {
            return self.opened_elsewhere(tid, fd, &path);
        }
        let metadata = fs::metadata(remote::fd_link(tid, fd))?;
        if !metadata.is_file() && !metadata.is_dir() {
            // Bytes written to a FIFO or a device are no file's.
            self.set_entry(tid, name, fd, Entry::Other);
            return Ok(());
        }
        // A file without a name shows up as one that was deleted from its directory.
        let nameless = flags & TMPFILE != 0;
        let path = if nameless { path.parent().map(Path::to_path_buf).unwrap_or_default() } else { path };
        if metadata.nlink() == 0 && !nameless {
            self.limit(name, "opened a file that has no name any more");
            self.set_entry(tid, name, fd, Entry::Other);
            return Ok(());
        }
        let Some(path) = self.inside(&path) else { return Ok(()) };
        let creates = flags & libc::O_CREAT as u32 != 0 || nameless;
        let mode = if creates { mode & 0o7777 & !remote::umask(tid)? } else { 0 };
        self.open_file(tid, name, fd, path, flags, mode);
        Ok(())
    }

    fn opened_elsewhere(&mut self, tid: pid_t, fd: i32, path: &Path) -> io::Result<()> {
        if fs::metadata(remote::fd_link(tid, fd))?.is_file() {
            self.name_outside(path);
        }
        // Saves a look at each write to it; `/dev/stdout` and the like lead to a channel.
        self.entry(tid, fd);
        Ok(())
    }

    /// Remembers that a canonical path outside the directory was written.
    fn name_outside(&mut self, path: &Path) {
        // Nothing in these outlives a power failure.
        let volatile = ["/dev", "/proc", "/sys"].iter().any(|folder| path.starts_with(folder));
        if path.is_absolute() && !volatile {
            self.recorded.outside.insert(path.to_string_lossy().into_owned());
        }
    }

    fn open_file(&mut self, tid: pid_t, name: &str, fd: i32, path: RelPath, flags: u32, mode: u32) -> Handle {
        let (handle, closed) = self.files.open(self.table(tid), fd, path.clone(), flags);
        if let Some(closed) = closed {
            self.push_closed(tid, name, closed);
        }
        self.push(tid, name, Call::Open { handle, path, flags, mode }, i64::from(fd));
        handle
    }

    fn set_entry(&mut self, tid: pid_t, name: &str, fd: i32, entry: Entry) {
        if let Some(closed) = self.files.set(self.table(tid), fd, entry) {
            self.push_closed(tid, name, closed);
        }
    }

    /// Remembers both sockets, whose descriptors are a `[int; 2]` in the program's memory.
    fn paired(&mut self, tid: pid_t, address: u64) -> io::Result<()> {
        for descriptor in 0..2 {
            let fd = i32::from_ne_bytes(remote::array(tid, address + 4 * descriptor)?);
            let name = remote::fd_name(tid, fd)?;
            self.paired.extend(name.to_str().and_then(|name| inode("socket", name)));
        }
        Ok(())
    }

    /// Finds out what a descriptor is that was not seen before.
    pub(crate) fn look_up(&mut self, tid: pid_t, fd: i32) -> Option<Entry> {
        let path = self.seen(tid, "descriptor", remote::fd_name(tid, fd))?;
        if path.starts_with(&self.scene.root) {
            return self.look_up_inside(tid, fd, path);
        }
        let name = path.to_str().unwrap_or_default();
        if name.starts_with("socket:") {
            let paired = inode("socket", name).is_some_and(|inode| self.paired.contains(&inode));
            return Some(if paired { Entry::Other } else { Entry::Channel(Channel::Socket) });
        }
        Some(match inode("pipe", name) {
            Some(inode) if inode == self.scene.pipes[0] => Entry::Channel(Channel::Stdout),
            Some(inode) if inode == self.scene.pipes[1] => Entry::Channel(Channel::Stderr),
            _ => Entry::Other,
        })
    }

    fn look_up_inside(&mut self, tid: pid_t, fd: i32, path: PathBuf) -> Option<Entry> {
        let (_, flags) = self.seen(tid, "descriptor", remote::fd_info(tid, fd))?;
        let metadata = self.seen(tid, "descriptor", fs::metadata(remote::fd_link(tid, fd)))?;
        if flags & libc::O_PATH as u32 != 0 {
            return Some(Entry::Name);
        }
        if !metadata.is_file() && !metadata.is_dir() {
            return Some(Entry::Other);
        }
        if flags & libc::O_ACCMODE as u32 == libc::O_RDONLY as u32 {
            return Some(Entry::Reader);
        }
        // It came over a socket or from another process: maybe it is known there.
        if let Some(handle) = self.same_open_file(tid, fd) {
            return Some(Entry::File(handle));
        }
        let shown = remote::without_deleted(path.clone());
        let shown = shown.strip_prefix(&self.scene.root).unwrap_or(&shown).display().to_string();
        if metadata.nlink() == 0 {
            self.limit("descriptor", format!("{shown} was opened in a way that is not followed, and has no name"));
            return Some(Entry::Other);
        }
        self.limit("descriptor", format!("{shown} was opened for writing in a way that is not followed"));
        Some(match self.inside(&path) {
            Some(path) => {
                let handle = self.open_file(tid, "open", fd, path, flags & !CREATION, 0);
                Entry::File(handle)
            }
            None => Entry::Other,
        })
    }

    fn same_open_file(&self, tid: pid_t, fd: i32) -> Option<Handle> {
        self.files.descriptors().find_map(|(table, other, handle)| {
            let owner = *self.threads.iter().find(|(_, thread)| thread.table == table)?.0;
            remote::same_file((tid, fd), (owner, other)).then_some(handle)
        })
    }

    /// The recorded file of a descriptor; one that was open for reading only is recorded from now on.
    pub(crate) fn handle(&mut self, tid: pid_t, fd: i32) -> Option<Handle> {
        match self.entry(tid, fd)? {
            Entry::File(handle) => Some(handle),
            Entry::Reader => {
                let (_, flags) = self.seen(tid, "descriptor", remote::fd_info(tid, fd))?;
                let path = self.seen(tid, "descriptor", remote::fd_name(tid, fd))?;
                let path = self.inside(&path)?;
                if self.seen(tid, "descriptor", fs::metadata(remote::fd_link(tid, fd)))?.nlink() == 0 {
                    // Nothing that is done to it can matter after a crash.
                    return None;
                }
                Some(self.open_file(tid, "open", fd, path, flags & !CREATION, 0))
            }
            Entry::Name | Entry::Channel(_) | Entry::Other => None,
        }
    }

    /// Where a call that returned put its bytes.
    fn landed(
        &mut self,
        tid: pid_t,
        name: &str,
        (handle, fd): (Handle, i32),
        (offset, before): (Option<u64>, Option<u64>),
        flags: u32,
        length: u64,
    ) -> io::Result<u64> {
        let appends = self.files.file(handle).is_some_and(|file| file.flags & libc::O_APPEND as u32 != 0);
        if flags & RWF_APPEND != 0 || (appends && flags & RWF_NOAPPEND == 0) {
            // "On Linux, pwrite() on a file opened with O_APPEND appends, regardless of the offset" (pwrite(2)). Nobody else
            // changes the size meanwhile.
            return Ok(fs::metadata(remote::fd_link(tid, fd))?.len().saturating_sub(length));
        }
        if let Some(offset) = offset {
            return Ok(offset);
        }
        let start = self.files.position(tid, fd, handle)?.saturating_sub(length);
        if before.is_some_and(|before| before != start) {
            self.limit(
                name,
                "another thread moved the file's position during the call: where the bytes went is not sure",
            );
        }
        Ok(start)
    }

    #[expect(clippy::too_many_arguments, reason = "it is one call's arguments and result")]
    fn written(
        &mut self,
        tid: pid_t,
        name: &str,
        file: (Handle, i32),
        spans: &[Span],
        place: (Option<u64>, Option<u64>),
        flags: u32,
        length: u64,
    ) -> io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        let offset = self.landed(tid, name, file, place, flags, length)?;
        let data = Arc::new(remote::bytes(tid, spans, length as usize)?);
        self.push(tid, name, Call::Write { handle: file.0, offset, data, flags }, length as i64);
        Ok(())
    }

    fn transferred(
        &mut self,
        tid: pid_t,
        name: &str,
        file: (Handle, i32),
        offset: Option<u64>,
        length: u64,
    ) -> io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        let offset = self.landed(tid, name, file, (offset, None), 0, length)?;
        let mut data = vec![0; length as usize];
        fs::File::open(remote::fd_link(tid, file.1))?.read_exact_at(&mut data, offset)?;
        self.push(tid, name, Call::Write { handle: file.0, offset, data: Arc::new(data), flags: 0 }, length as i64);
        Ok(())
    }

    fn copied(
        &mut self,
        tid: pid_t,
        name: &str,
        (from, from_offset): ((Handle, i32), Option<u64>),
        (to, to_offset): ((Handle, i32), Option<u64>),
        length: u64,
    ) -> io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        let from_offset = match from_offset {
            Some(offset) => offset,
            None => self.files.position(tid, from.1, from.0)?.saturating_sub(length),
        };
        let to_offset = self.landed(tid, name, to, (to_offset, None), 0, length)?;
        let call = Call::CopyRange { from: from.0, from_offset, to: to.0, to_offset, length };
        self.push(tid, name, call, length as i64);
        Ok(())
    }

    fn acked(&mut self, tid: pid_t, name: &str, channel: Channel, spans: &[Span], length: u64) -> io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        match remote::bytes(tid, spans, length as usize) {
            Ok(data) => {
                self.count_ack(channel, length);
                self.push(tid, name, Call::Ack { channel, data }, length as i64);
                Ok(())
            }
            Err(error) if channel == Channel::Socket => Err(error),
            Err(_) => {
                self.acked_unseen(tid, name, channel, length);
                Ok(())
            }
        }
    }

    fn acked_many(&mut self, tid: pid_t, name: &str, channel: Channel, address: u64, messages: u64) -> io::Result<()> {
        // `struct mmsghdr`: a `struct msghdr` of 56 bytes, and how much of it was sent.
        for index in 0..messages {
            let header = address + 64 * index;
            let [_, _, vector, count, _, _, _, sent] = remote::words(tid, header)?;
            let spans = remote::iovecs(tid, vector, count)?;
            self.acked(tid, name, channel, &spans, sent & 0xffff_ffff)?;
        }
        Ok(())
    }

    fn acked_unseen(&mut self, tid: pid_t, name: &str, channel: Channel, length: u64) {
        if length == 0 {
            return;
        }
        if channel == Channel::Socket {
            self.limit(name, "what it sent over a socket was not in the program's memory");
            return;
        }
        let start = self.count_ack(channel, length) as usize;
        self.recorded.gaps.push(Gap { op: self.recorded.ops.len(), channel, start, length: length as usize });
        self.push(tid, name, Call::Ack { channel, data: Vec::new() }, length as i64);
    }

    /// Gives how many bytes went there before.
    fn count_ack(&mut self, channel: Channel, length: u64) -> u64 {
        let count = match channel {
            Channel::Stdout => &mut self.recorded.acked[0],
            Channel::Stderr => &mut self.recorded.acked[1],
            Channel::Socket => return 0,
        };
        let before = *count;
        *count += length;
        before
    }
}

/// The number in the name of a descriptor that is no path: `socket:[123]` (proc(5), `/proc/pid/fd`).
pub(crate) fn inode(kind: &str, name: &str) -> Option<u64> {
    name.strip_prefix(kind)?.strip_prefix(":[")?.strip_suffix(']')?.parse().ok()
}
