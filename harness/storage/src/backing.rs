//! What stands behind the device at a given moment.

use std::collections::BTreeMap;

use protocol::frame::{BEGIN, END};

use crate::contents::Zeros;
use crate::{BlockLog, Entry, Image, Mark, Queueing, WriteEntry};

/// The side of the guest's disk that decides what reads return and what becomes of writes.
///
/// Called under one lock and in the order of the requests. Addresses have been checked: they lie within
/// [`Backing::sectors`], and buffers are whole sectors.
pub trait Backing: Send + std::any::Any {
    /// Size in 512-byte sectors.
    fn sectors(&self) -> u64;

    /// Fills `buffer` from `sector` on.
    ///
    /// # Errors
    /// The disk does not answer; the guest is told that the read has failed. Only for what it reads ahead, and can do
    /// without.
    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), Refused>;

    /// Takes a write, which thereby completes.
    fn write(&mut self, sector: u64, data: Vec<u8>, queueing: Queueing);

    /// A write, the guest's request number `request` on this device, has been issued. It is taken later than others that
    /// the guest issues after it.
    fn issue(&mut self, request: u64) {
        let _ = request;
    }

    /// Takes a flush, which thereby completes.
    fn flush(&mut self, queueing: Queueing) {
        let _ = queueing;
    }

    /// The end of a replay step, in order with the requests.
    fn mark(&mut self, mark: Mark) {
        let _ = mark;
    }
}

/// A read that was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// No disk is wanted right now: one of zeros. Late writes of a file system that is being taken down land here.
#[derive(Debug)]
pub struct Parked {
    /// Size in sectors: the guest was told once and does not ask again.
    pub sectors: u64,
}

impl Backing for Parked {
    fn sectors(&self) -> u64 {
        self.sectors
    }
    fn read(&mut self, _: u64, buffer: &mut [u8]) -> Result<(), Refused> {
        buffer.fill(0);
        Ok(())
    }
    fn write(&mut self, _: u64, _: Vec<u8>, _: Queueing) {}
}

/// A disk that simply keeps what is written: for making the start state.
#[derive(Debug)]
pub struct DirectDisk {
    /// What it holds.
    pub image: Image,
}

impl Backing for DirectDisk {
    fn sectors(&self) -> u64 {
        self.image.sectors()
    }
    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), Refused> {
        self.image.read(sector, buffer);
        Ok(())
    }
    fn write(&mut self, sector: u64, data: Vec<u8>, _: Queueing) {
        self.image.write(sector, &data);
    }
}

/// A disk that keeps what is written, and logs it between the mark that begins the trace and the one that ends it.
///
/// What the mount wrote before that, and what a sync flushed, is part of the durable start state.
#[derive(Debug)]
pub struct LoggingDisk {
    image: Image,
    log: BlockLog,
    zeros: Zeros,
    /// `None` until the trace begins.
    step: Option<u32>,
    /// During which step a write was issued that has not been taken yet, by its request number.
    issued: BTreeMap<u64, u32>,
    /// The durable start state: `image` as it was when the trace began.
    start: Option<Image>,
}

impl LoggingDisk {
    /// A disk that starts as `image`.
    pub fn new(image: Image) -> Self {
        Self {
            image,
            log: BlockLog::default(),
            zeros: Zeros::default(),
            step: None,
            issued: BTreeMap::new(),
            start: None,
        }
    }

    /// The durable start state and the log; `None` if the trace never began.
    pub fn finish(self) -> Option<(Image, BlockLog)> {
        Some((self.start?, self.log))
    }
}

impl Backing for LoggingDisk {
    fn sectors(&self) -> u64 {
        self.image.sectors()
    }

    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), Refused> {
        self.image.read(sector, buffer);
        Ok(())
    }

    fn write(&mut self, sector: u64, data: Vec<u8>, queueing: Queueing) {
        self.image.write(sector, &data);
        let issued = self.issued.remove(&queueing.request);
        if let Some(now) = self.step {
            let step = issued.unwrap_or(now);
            self.log.write(WriteEntry { sector, data: self.zeros.share(data), step }, queueing);
        }
    }

    fn issue(&mut self, request: u64) {
        self.issued.extend(self.step.map(|step| (request, step)));
    }

    fn flush(&mut self, queueing: Queueing) {
        if self.step.is_some() {
            self.log.flush(queueing);
        }
    }

    fn mark(&mut self, mark: Mark) {
        if mark.step == BEGIN {
            self.start = Some(self.image.clone());
            self.step = Some(0);
        } else if mark.step == END {
            self.step = None;
        } else if self.step.is_some() {
            self.log.entries.push(Entry::Mark(mark));
            self.step = Some(mark.step + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SECTOR;

    #[test]
    fn a_flush_covers_what_completed_before_it_was_queued() {
        let mut disk = LoggingDisk::new(Image::zeroed(8192));
        disk.mark(Mark { step: BEGIN, result: 0 });
        // Requests 0 and 1 are writes; the flush, request 2, was queued while 1 was under way.
        disk.write(0, vec![1; SECTOR], Queueing { request: 0, available: 2 });
        disk.write(1, vec![2; SECTOR], Queueing { request: 1, available: 3 });
        disk.flush(Queueing { request: 2, available: 3 });
        let (_, log) = disk.finish().unwrap();
        assert_eq!(log.entries.last(), Some(&Entry::Flush { covers: 1, available: 3 }));
    }

    #[test]
    fn a_write_that_waits_belongs_to_the_step_that_issued_it() {
        let mut disk = LoggingDisk::new(Image::zeroed(8192));
        disk.mark(Mark { step: BEGIN, result: 0 });
        disk.issue(0);
        disk.mark(Mark { step: 0, result: 0 });
        disk.write(1, vec![2; SECTOR], Queueing { request: 1, available: 2 });
        disk.write(0, vec![1; SECTOR], Queueing { request: 0, available: 2 });
        let (_, log) = disk.finish().unwrap();
        assert_eq!(log.writes.iter().map(|write| (write.sector, write.step)).collect::<Vec<_>>(), [(1, 1), (0, 0)]);
    }

    #[test]
    fn nothing_is_logged_before_the_trace_begins() {
        let mut disk = LoggingDisk::new(Image::zeroed(8192));
        disk.write(0, vec![1; SECTOR], Queueing { request: 0, available: 1 });
        disk.flush(Queueing { request: 1, available: 2 });
        disk.mark(Mark { step: BEGIN, result: 0 });
        disk.write(1, vec![2; SECTOR], Queueing { request: 2, available: 3 });
        disk.mark(Mark { step: 0, result: 0 });
        let (start, log) = disk.finish().unwrap();
        assert_eq!((start.sector(0)[0], start.sector(1)[0]), (1, 0));
        assert_eq!(log.entries.len(), 2);
    }
}
