//! Reads a file in large pieces, and hands it out in chunks.

use std::fs::File;
use std::io::Result;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use checker::CHUNK;
use nix::errno::Errno;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::unistd::{Whence, lseek};

/// How much is read at a time, bytes: what one request may be long.
const MOST: u64 = 256 << 10;

/// Files of more bytes than this are asked for their holes (lseek(2), `SEEK_DATA`), of which nothing is read: it takes long,
/// and memory for pages. In shorter ones, the question would cost more than it spares.
const WITH_HOLES: u64 = 16 << 20;

/// A file that is read from its start on.
pub struct Ahead<'a> {
    file: &'a File,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins.
    start: u64,
    filled: usize,
    /// Up to where the file was read ahead.
    asked: u64,
    size: u64,
    /// The end of the last hole that was met.
    hole: u64,
}

impl<'a> Ahead<'a> {
    /// Reads a file of `size` bytes.
    pub fn new(file: &'a File, size: u64) -> Self {
        let buffer = vec![0; (size.clamp(1, MOST) as usize).next_multiple_of(CHUNK)];
        Self { file, buffer, start: 0, filled: 0, asked: 0, size, hole: 0 }
    }

    /// The chunk at `offset`, as much of it as there is. Fails if it cannot be read, however much before it can.
    pub fn chunk(&mut self, offset: u64) -> Result<&[u8]> {
        static ZEROS: [u8; CHUNK] = [0; CHUNK];
        if self.is_in_hole(offset) {
            return Ok(&ZEROS);
        }
        let within = |ahead: &Self| offset.checked_sub(ahead.start).filter(|&within| within < ahead.filled as u64);
        let begin = match within(self) {
            Some(begin) => begin as usize,
            None => {
                self.fill(offset)?;
                0
            }
        };
        Ok(&self.buffer[begin..self.filled.min(begin + CHUNK)])
    }

    /// Whether all of a chunk, which begins where the one before it ended, lies in a hole.
    fn is_in_hole(&mut self, offset: u64) -> bool {
        let end = offset + CHUNK as u64;
        if self.size <= WITH_HOLES || end > self.size {
            return false;
        }
        // Once for each piece that is read: what was read already is data.
        if end > self.hole && offset >= self.start + self.filled as u64 {
            self.hole = match lseek(self.file, offset as i64, Whence::SeekData) {
                Ok(data) => data as u64,
                // No data beyond it.
                Err(Errno::ENXIO) => self.size,
                // Reading tells what is wrong, if something is.
                Err(_) => 0,
            };
        }
        end <= self.hole
    }

    /// Reads the chunk at `offset`, and what lies behind it and costs nothing more.
    fn fill(&mut self, offset: u64) -> Result<()> {
        if self.buffer.len() > CHUNK && offset >= self.asked {
            self.asked = offset + self.buffer.len() as u64;
            // Read-ahead is off, and without it each page is a request of its own (mm/readahead.c,
            // `page_cache_sync_ra`). This asks for exactly these pages, in one request. If the disk refuses that, since
            // questions are open there, they are read once more, each by itself and only when it is its turn
            // (mm/filemap.c, `filemap_update_page`).
            let _ = posix_fadvise(
                self.file,
                offset as i64,
                self.buffer.len() as i64,
                PosixFadviseAdvice::POSIX_FADV_WILLNEED,
            );
        }
        let asked = self.asked.saturating_sub(offset).min(self.buffer.len() as u64);
        let there = &mut self.buffer[..asked as usize];
        (self.start, self.filled) = (offset, 0);
        // What is in memory by now, and nothing that would have to be read. It ends at a page or with the file.
        if let Ok(count @ 1..) = read_cached(self.file, there, offset) {
            self.filled = count;
            return Ok(());
        }
        self.filled = self.file.read_at(&mut self.buffer[..CHUNK], offset)?;
        Ok(())
    }
}

/// Reads from `offset` on what is in the page cache (preadv2(2), `RWF_NOWAIT`), and returns how many bytes that is.
///
/// # Errors
/// `EAGAIN` if not even the first page is there; else as read(2).
fn read_cached(file: &File, buffer: &mut [u8], offset: u64) -> nix::Result<usize> {
    let part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: the one buffer is as long as it says, and nobody else has it during the call.
    let count = unsafe { libc::preadv2(file.as_raw_fd(), &part, 1, offset as i64, libc::RWF_NOWAIT) };
    Ok(Errno::result(count)? as usize)
}
