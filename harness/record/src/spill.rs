//! Bytes that are kept out of memory while the program runs.

use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};

use program::sparse;
use tempfile::SpooledTempFile;

/// Up to so many bytes stay in memory: most recordings need no file.
const IN_MEMORY: usize = 1 << 20;
/// Small pieces are gathered up to so many bytes.
const BUFFER: usize = 64 << 10;

/// Bytes in the order in which they came: in a temporary file that has no name, so that nothing of it is left behind, and
/// nobody finds it in the recorded directory.
#[derive(Debug)]
pub(crate) struct Spill {
    file: BufWriter<SpooledTempFile>,
    length: u64,
    /// Why bytes are missing, if some are.
    failure: Option<io::Error>,
    /// Bytes that were read, and where they begin.
    window: (u64, Vec<u8>),
}

impl Default for Spill {
    fn default() -> Self {
        Self {
            file: BufWriter::with_capacity(BUFFER, SpooledTempFile::new(IN_MEMORY)),
            length: 0,
            failure: None,
            window: Default::default(),
        }
    }
}

impl Spill {
    /// Keeps `bytes`. What could not be kept is told by [`Spill::failure`].
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        if self.failure.is_some() {
            return;
        }
        match self.file.write_all(bytes) {
            Ok(()) => self.length += bytes.len() as u64,
            Err(error) => self.failure = Some(error),
        }
    }

    /// How many bytes are kept.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Whether something could not be kept.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Why something could not be kept: above all, a full disk.
    pub(crate) fn failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    /// The `length` bytes from `start` on. `None`: there are not so many.
    pub(crate) fn read(&mut self, start: u64, length: u64) -> io::Result<Option<Vec<u8>>> {
        if start.checked_add(length).is_none_or(|end| end > self.length) {
            return Ok(None);
        }
        if length > BUFFER as u64 {
            return self.read_here(start, length).map(Some);
        }
        // Small pieces are asked for one after the other.
        let within = |from: u64, bytes: &[u8]| {
            let skipped = usize::try_from(start.checked_sub(from)?).ok()?;
            Some(bytes.get(skipped..)?.get(..length as usize)?.to_vec())
        };
        if let Some(known) = within(self.window.0, &self.window.1) {
            return Ok(Some(known));
        }
        let window = self.read_here(start, (self.length - start).min(BUFFER as u64))?;
        let bytes = within(start, &window);
        self.window = (start, window);
        Ok(bytes)
    }

    /// Of what is there.
    fn read_here(&mut self, start: u64, length: u64) -> io::Result<Vec<u8>> {
        self.file.flush()?;
        let file = self.file.get_mut();
        file.seek(SeekFrom::Start(start))?;
        // Zeros are not written to memory.
        let mut bytes = vec![0; length as usize];
        let mut buffer = [0; BUFFER];
        let mut at = 0;
        while at < bytes.len() {
            let part = &mut buffer[..(length as usize - at).min(BUFFER)];
            file.read_exact(part)?;
            sparse::put(&mut bytes, at, part);
            at += part.len();
        }
        file.seek(SeekFrom::End(0))?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_found_again() {
        let mut spill = Spill::default();
        let piece = |number: u64| -> Vec<u8> { (0..300_000).map(|index| (index * 7 + number) as u8).collect() };
        for number in 0..8 {
            spill.append(&piece(number));
            assert_eq!(spill.read(number * 300_000, 300_000).unwrap(), Some(piece(number)));
        }
        assert_eq!(spill.length(), 8 * 300_000);
        let across = [&piece(2)[299_990..], &piece(3)[..10]].concat();
        for at in 0..2000 {
            assert_eq!(spill.read(600_000 + 100 * at, 100).unwrap().unwrap(), piece(2)[100 * at as usize..][..100]);
        }
        assert_eq!(spill.read(3 * 300_000 - 10, 20).unwrap(), Some(across));
        assert_eq!(spill.read(8 * 300_000 - 10, 11).unwrap(), None);
        assert_eq!(spill.read(u64::MAX, 2).unwrap(), None);
        assert!(spill.failure().is_none());
    }
}
