//! The data of regular files: writes, copies, truncation, allocation, and which of it is dirty.

use std::sync::Arc;

use super::inodes::Body;
use super::{Event, Vfs, Why};
use crate::{Content, Handle, RWF_SYNC, sparse};

/// `fallocate(2)` modes (`include/uapi/linux/falloc.h`).
pub(super) mod fl {
    pub const KEEP_SIZE: u32 = 0x01;
    pub const PUNCH_HOLE: u32 = 0x02;
    pub const COLLAPSE_RANGE: u32 = 0x08;
    pub const ZERO_RANGE: u32 = 0x10;
    pub const INSERT_RANGE: u32 = 0x20;
    pub const UNSHARE_RANGE: u32 = 0x40;
    pub const WRITE_ZEROES: u32 = 0x80;
}

/// Contents are held in memory whole; a (sparse) file beyond this many bytes is not followed.
pub(super) const MAX_FILE: u64 = 1 << 30;

/// Bytes that come into being without having been written: copies, holes, what is allocated. Programs make few; a trace of a
/// few hundred bytes may tell of more than there is memory for.
pub(super) const MAX_GROWN: u64 = 512 << 20;

impl Vfs {
    /// Files are to grow by so many bytes that nobody has written.
    fn grow(&mut self, bytes: u64) -> Result<(), Why> {
        self.grown = self.grown.checked_add(bytes).filter(|grown| *grown <= MAX_GROWN).ok_or(Why::TooLarge)?;
        Ok(())
    }

    pub(super) fn write_through(&mut self, handle: Handle, offset: u64, data: &[u8], flags: u32) -> Result<(), Why> {
        let syncs = flags & RWF_SYNC != 0 || self.writes_sync(handle);
        let id = self.open_file(handle)?;
        self.write(id, offset, data, syncs)
    }

    /// Through a mapping, a file does not grow, and nothing is synchronous.
    pub(super) fn store(&mut self, handle: Handle, offset: u64, data: &[u8]) -> Result<(), Why> {
        let id = self.open_file(handle)?;
        let end = offset.checked_add(data.len() as u64).ok_or(Why::TooLarge)?;
        if end > self.content(id)?.len() as u64 {
            return Err(Why::Invalid);
        }
        self.write(id, offset, data, false)
    }

    /// copy_file_range(2): `length` bytes of `from`, or what there is of them.
    pub(super) fn copy_range(
        &mut self,
        (from, from_offset): (Handle, u64),
        (to, to_offset): (Handle, u64),
        length: u64,
    ) -> Result<(), Why> {
        let source = self.open_file(from)?;
        let id = self.open_file(to)?;
        let content = self.content(source)?.clone();
        let start = from_offset.min(content.len() as u64) as usize;
        let end = from_offset.saturating_add(length).min(content.len() as u64) as usize;
        self.grow(end.saturating_sub(start) as u64)?;
        self.write(id, to_offset, &content[start..end], self.writes_sync(to))
    }

    fn write(&mut self, id: u64, offset: u64, data: &[u8], syncs: bool) -> Result<(), Why> {
        if data.is_empty() {
            return Ok(());
        }
        let end = offset.checked_add(data.len() as u64).filter(|end| *end <= MAX_FILE).ok_or(Why::TooLarge)? as usize;
        self.grow(offset.saturating_sub(self.content(id)?.len() as u64))?;
        self.node(id).data_changed = true;
        if self.content(id)?.get(offset as usize..end) == Some(data) {
            let rewritten = self.names(id).into_iter().map(Event::Rewritten);
            self.events.extend(rewritten);
        } else {
            let content = self.content_mut(id)?;
            if content.len() < end {
                sparse::resize(content, end);
            }
            sparse::put(content, offset as usize, data);
            self.changed(id);
        }
        // A synchronous write cleans only what it wrote: data that were dirty before stay dirty.
        if !syncs {
            self.dirty.insert(id);
        }
        Ok(())
    }

    pub(super) fn truncate(&mut self, id: u64, length: u64) -> Result<(), Why> {
        let old = self.content(id)?.len() as u64;
        if length > MAX_FILE {
            return Err(Why::TooLarge);
        }
        self.grow(length.saturating_sub(old))?;
        self.node(id).data_changed = true;
        if length == old {
            return Ok(());
        }
        if length == 0 {
            let state = self.state_of(id);
            let ended = self.names(id).into_iter().map(|path| Event::Ended(path, state.clone()));
            self.events.extend(ended);
            // A new buffer: what ended may still be held by the event.
            self.node(id).body = Body::File(Content::default());
        } else {
            sparse::resize(self.content_mut(id)?, length as usize);
        }
        self.changed(id);
        self.dirty.insert(id);
        Ok(())
    }

    /// fallocate(2). Space that is only reserved changes nothing that can be seen.
    pub(super) fn allocate(&mut self, id: u64, mode: u32, offset: u64, length: u64) -> Result<(), Why> {
        let size = self.content(id)?.len() as u64;
        let end = offset.checked_add(length).filter(|_| length > 0).ok_or(Why::Invalid)?;
        let zeroes = fl::PUNCH_HOLE | fl::ZERO_RANGE | fl::WRITE_ZEROES;
        let mut new = self.content(id)?.clone();
        match mode & !fl::KEEP_SIZE {
            0 | fl::UNSHARE_RANGE => {}
            fl::PUNCH_HOLE | fl::ZERO_RANGE | fl::WRITE_ZEROES => {
                let (start, stop) = (offset.min(size) as usize, end.min(size) as usize);
                sparse::clear(sparse::make_mut(&mut new), start..stop);
            }
            fl::COLLAPSE_RANGE if end < size => {
                Arc::make_mut(&mut new).drain(offset as usize..end as usize);
            }
            fl::INSERT_RANGE if offset < size => {
                if size.saturating_add(length) > MAX_FILE {
                    return Err(Why::TooLarge);
                }
                self.grow(length)?;
                let at = offset as usize;
                Arc::make_mut(&mut new).splice(at..at, std::iter::repeat_n(0, length as usize));
            }
            _ => return Err(Why::Invalid),
        }
        // PUNCH_HOLE is always given with KEEP_SIZE; the shifting modes set the size themselves.
        let extends = mode & fl::KEEP_SIZE == 0 && mode & (fl::COLLAPSE_RANGE | fl::INSERT_RANGE) == 0;
        if extends && end > size {
            if end > MAX_FILE {
                return Err(Why::TooLarge);
            }
            self.grow(end - size)?;
            sparse::resize(sparse::make_mut(&mut new), end as usize);
        }
        self.node(id).data_changed = true;
        if new.len() as u64 != size || mode & (zeroes | fl::COLLAPSE_RANGE | fl::INSERT_RANGE) != 0 {
            self.node(id).body = Body::File(new);
            self.changed(id);
            self.dirty.insert(id);
        }
        Ok(())
    }

    /// fsync(2) and fdatasync(2).
    pub(super) fn sync(&mut self, handle: Handle) -> Result<(), Why> {
        let id = self.handle(handle)?;
        self.dirty.remove(&id);
        Ok(())
    }

    /// msync(2). A file of which only a part was synced stays dirty.
    pub(super) fn sync_range(&mut self, handle: Handle, offset: u64, length: u64) -> Result<(), Why> {
        let id = self.handle(handle)?;
        if self.is_whole(handle, offset, length) {
            self.dirty.remove(&id);
        }
        Ok(())
    }

    /// Whether a range is all that an open file holds.
    pub fn is_whole(&self, handle: Handle, offset: u64, length: u64) -> bool {
        let held = self.handle(handle).ok().and_then(|id| self.length(id));
        offset == 0 && held.is_some_and(|held| held <= length)
    }

    pub(super) fn sync_fs(&mut self, handle: Handle) -> Result<(), Why> {
        self.handle(handle)?;
        self.dirty.clear();
        Ok(())
    }

    pub(super) fn content(&self, id: u64) -> Result<&Content, Why> {
        match &self.inodes[&id].body {
            Body::File(content) => Ok(content),
            Body::Directory(_) => Err(Why::IsADirectory),
            _ => Err(Why::Invalid),
        }
    }

    fn content_mut(&mut self, id: u64) -> Result<&mut Vec<u8>, Why> {
        match &mut self.node(id).body {
            Body::File(content) => Ok(sparse::make_mut(content)),
            Body::Directory(_) => Err(Why::IsADirectory),
            _ => Err(Why::Invalid),
        }
    }
}
