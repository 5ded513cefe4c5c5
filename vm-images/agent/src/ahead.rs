//! Reads a file in large pieces, and hands it out in chunks.

use std::fs::File;
use std::io::Result;
use std::os::unix::fs::FileExt;

use checker::CHUNK;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

/// A file that is read from its start on.
pub struct Ahead<'a> {
    file: &'a File,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins.
    start: u64,
    filled: usize,
}

impl<'a> Ahead<'a> {
    /// Reads `stride` bytes at a time, a multiple of [`CHUNK`].
    pub fn new(file: &'a File, stride: usize) -> Self {
        Self { file, buffer: vec![0; stride.max(CHUNK)], start: 0, filled: 0 }
    }

    /// The chunk at `offset`, as much of it as there is. Fails if it cannot be read, however much before it can.
    pub fn chunk(&mut self, offset: u64) -> Result<&[u8]> {
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

    fn fill(&mut self, offset: u64) -> Result<()> {
        (self.start, self.filled) = (offset, 0);
        if self.buffer.len() > CHUNK {
            // Read-ahead is off, and without it each page is a request of its own (mm/readahead.c,
            // `page_cache_sync_ra`). This asks for exactly these pages; if it fails, so does the read.
            let _ = posix_fadvise(
                self.file,
                offset as i64,
                self.buffer.len() as i64,
                PosixFadviseAdvice::POSIX_FADV_WILLNEED,
            );
        }
        while self.filled < self.buffer.len() {
            match self.file.read_at(&mut self.buffer[self.filled..], offset + self.filled as u64) {
                Ok(0) => break,
                Ok(count) => self.filled += count,
                Err(error) => {
                    // What was read of the chunk that failed says nothing.
                    self.filled -= self.filled % CHUNK;
                    return if self.filled > 0 { Ok(()) } else { Err(error) };
                }
            }
        }
        Ok(())
    }
}
