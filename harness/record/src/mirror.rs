//! What a file holds that the program may store to: stores are no calls, and show in the file alone.
//!
//! The page cache is one for mappings and for reads (mmap(2), `MAP_SHARED`), so reading the file shows what was stored. A mirror
//! is what the file held when it was last looked at; where the file is different now, and no call has made it so, something
//! was stored.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

/// Bytes of a page: what a file system takes notice of, and writes back.
const PAGE: usize = 4096;
/// How much is compared at a time, bytes; whole pages.
const PIECE: usize = 64 << 10;
/// The most that is held as one run, bytes.
const LONGEST: usize = 4 << 20;

/// Bytes that were stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) offset: u64,
    pub(crate) data: Vec<u8>,
}

/// What a file held when it was last looked at. It is in a temporary file, and zeros take no space in it.
#[derive(Debug)]
pub(crate) struct Mirror {
    file: File,
    known: File,
}

impl Mirror {
    /// Of a file as it is now. Errors: it cannot be read, or there is no space for temporary files.
    pub(crate) fn new(file: File) -> io::Result<Self> {
        let mut mirror = Self { file, known: tempfile::tempfile()? };
        mirror.refresh(0..u64::MAX)?;
        Ok(mirror)
    }

    /// A call put these bytes there.
    pub(crate) fn wrote(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.known.write_all_at(data, offset)
    }

    /// A call changed the bytes of this range, to what the file holds now.
    pub(crate) fn refresh(&mut self, range: Range<u64>) -> io::Result<()> {
        self.zero(range.clone())?;
        let mut buffer = vec![0; PIECE];
        for data in data_in(&self.file, range)? {
            let mut at = data.start;
            while at < data.end {
                let part = &mut buffer[..(data.end - at).min(PIECE as u64) as usize];
                let read = read_at(&self.file, part, at)?;
                self.known.write_all_at(&part[..read], at)?;
                at += part.len() as u64;
            }
        }
        Ok(())
    }

    /// A call left zeros in this range.
    pub(crate) fn zero(&mut self, range: Range<u64>) -> io::Result<()> {
        let length = self.known.metadata()?.len();
        if range.end >= length {
            return if range.start < length { self.known.set_len(range.start) } else { Ok(()) };
        }
        let zeros = vec![0; PIECE];
        for data in data_in(&self.known, range)? {
            let mut at = data.start;
            while at < data.end {
                let part = (data.end - at).min(PIECE as u64);
                self.known.write_all_at(&zeros[..part as usize], at)?;
                at += part;
            }
        }
        Ok(())
    }

    /// A call cut the file to this length, or it had less.
    pub(crate) fn truncated(&mut self, length: u64) -> io::Result<()> {
        self.zero(length..u64::MAX)
    }

    /// What was stored to these bytes since the last look: of each run of pages that changed, from the first byte that differs
    /// to the last one.
    pub(crate) fn stored(&mut self, ranges: &[Range<u64>]) -> io::Result<Vec<Stored>> {
        let mut runs = Runs::default();
        let (mut now, mut before) = (vec![0; PIECE], vec![0; PIECE]);
        for range in ranges {
            for data in data_in(&self.file, range.clone())? {
                let mut at = data.start - data.start % PAGE as u64;
                while at < data.end {
                    let read = read_at(&self.file, &mut now, at)?;
                    before.fill(0);
                    read_at(&self.known, &mut before[..read], at)?;
                    if now[..read] != before[..read] {
                        for (number, (now, before)) in now[..read].chunks(PAGE).zip(before.chunks(PAGE)).enumerate() {
                            runs.take(at + (number * PAGE) as u64, now, before);
                        }
                    }
                    at += PIECE as u64;
                }
            }
        }
        let stored = runs.finish();
        for Stored { offset, data } in &stored {
            self.known.write_all_at(data, *offset)?;
        }
        Ok(stored)
    }
}

/// Gathers pages that changed.
#[derive(Default)]
struct Runs {
    done: Vec<Stored>,
    /// The last run: where its first page begins, and the pages before and after.
    open: Option<(u64, Vec<u8>, Vec<u8>)>,
}

impl Runs {
    fn take(&mut self, offset: u64, now: &[u8], before: &[u8]) {
        let before = &before[..now.len()];
        if now == before {
            return;
        }
        match &mut self.open {
            Some((start, new, old)) if *start + new.len() as u64 == offset && new.len() < LONGEST => {
                new.extend_from_slice(now);
                old.extend_from_slice(before);
            }
            // Ranges may touch within a page.
            Some((start, new, _)) if *start + new.len() as u64 > offset => {}
            _ => {
                self.close();
                self.open = Some((offset, now.to_vec(), before.to_vec()));
            }
        }
    }

    fn close(&mut self) {
        let Some((start, mut new, old)) = self.open.take() else { return };
        let differs = |(new, old): (&u8, &u8)| new != old;
        let first = new.iter().zip(&old).position(differs).unwrap_or(0);
        let last = new.iter().zip(&old).rposition(differs).unwrap_or(0);
        new.truncate(last + 1);
        self.done.push(Stored { offset: start + first as u64, data: new.split_off(first) });
    }

    fn finish(mut self) -> Vec<Stored> {
        self.close();
        self.done
    }
}

/// Where a file has data within a range (lseek(2), `SEEK_DATA`): elsewhere it is all zeros. What was stored to a hole is data.
fn data_in(file: &File, range: Range<u64>) -> io::Result<Vec<Range<u64>>> {
    let mut found = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let seek = |from: u64, whence| lseek(file, i64::try_from(from).map_err(|_| Errno::ENXIO)?, whence);
        let start = match seek(at, Whence::SeekData) {
            Ok(start) => start as u64,
            // Nothing but a hole up to the end.
            Err(Errno::ENXIO) => break,
            Err(error) => return Err(error.into()),
        };
        if start >= range.end {
            break;
        }
        let end = match seek(start, Whence::SeekHole) {
            Ok(end) => end as u64,
            // Cut off meanwhile.
            Err(Errno::ENXIO) => break,
            Err(error) => return Err(error.into()),
        };
        found.push(start..end.min(range.end));
        at = end;
    }
    Ok(found)
}

/// Reads as much as there is.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(content: &[u8]) -> (File, Mirror) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        io::Write::write_all(&mut file, content).unwrap();
        let mirror = Mirror::new(file.reopen().unwrap()).unwrap();
        (file.into_file(), mirror)
    }

    fn stored(offset: u64, data: &[u8]) -> Stored {
        Stored { offset, data: data.to_vec() }
    }

    #[test]
    fn what_no_call_has_made_was_stored() {
        let (file, mut mirror) = mirror(&vec![b'.'; 300_000]);
        let all = std::slice::from_ref(&(0..1 << 40));
        assert_eq!(mirror.stored(all).unwrap(), []);
        file.write_all_at(b"within", 100).unwrap();
        file.write_all_at(b"across", 8190).unwrap();
        file.write_all_at(b"end", 299_997).unwrap();
        let expected = [stored(100, b"within"), stored(8190, b"across"), stored(299_997, b"end")];
        // Pages 0 and 1 follow each other: one run.
        let first = [&b"within"[..], &vec![b'.'; 8190 - 106], b"across"].concat();
        assert_eq!(mirror.stored(all).unwrap(), [stored(100, &first), expected.into_iter().nth(2).unwrap()]);
        assert_eq!(mirror.stored(all).unwrap(), []);
        file.write_all_at(b"a call", 5000).unwrap();
        mirror.wrote(5000, b"a call").unwrap();
        file.write_all_at(b"beside", 100_000).unwrap();
        assert_eq!(mirror.stored(std::slice::from_ref(&(0..8192))).unwrap(), []);
        assert_eq!(mirror.stored(all).unwrap(), [stored(100_000, b"beside")]);
    }

    #[test]
    fn lengths_and_holes() {
        let (file, mut mirror) = mirror(b"old content");
        let all = std::slice::from_ref(&(0..1 << 40));
        file.set_len(4).unwrap();
        mirror.truncated(4).unwrap();
        file.set_len(1 << 36).unwrap();
        assert_eq!(mirror.stored(all).unwrap(), [], "zeros come of a call alone");
        file.write_all_at(b"far", 1 << 35).unwrap();
        assert_eq!(mirror.stored(all).unwrap(), [stored(1 << 35, b"far")]);
        file.write_all_at(&[0; 3], 1 << 35).unwrap();
        mirror.zero(1 << 35..(1 << 35) + 3).unwrap();
        assert_eq!(mirror.stored(all).unwrap(), []);
        file.write_all_at(b"more", 0).unwrap();
        mirror.refresh(0..4).unwrap();
        assert_eq!(mirror.stored(all).unwrap(), []);
    }
}
