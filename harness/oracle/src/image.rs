//! The content of a small disk: blocks that are not zero.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use sha2::{Digest, Sha256};

/// Bytes of a block.
const BLOCK: usize = 4096;

type Block = [u8; BLOCK];

/// A disk's content. A copy costs one reference for each block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    size: u64,
    /// By block number; none is all zeros.
    blocks: BTreeMap<u64, Arc<Block>>,
}

impl Image {
    /// A disk of zeros.
    pub fn new(size: u64) -> Self {
        Self { size, blocks: BTreeMap::new() }
    }

    /// Bytes of the disk.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads what is at `offset`. Behind the end are zeros.
    pub fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut data = vec![0; length];
        for (block, within, at) in parts(offset, length) {
            if let Some(known) = self.blocks.get(&block) {
                data[at.clone()].copy_from_slice(&known[within..within + at.len()]);
            }
        }
        data
    }

    /// Writes at `offset`.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        for (block, within, at) in parts(offset, data.len()) {
            let part = &data[at];
            let known = self.blocks.entry(block).or_insert_with(|| Arc::new([0; BLOCK]));
            Arc::make_mut(known)[within..within + part.len()].copy_from_slice(part);
            if known.iter().all(|byte| *byte == 0) {
                self.blocks.remove(&block);
            }
        }
    }

    /// Reads a file, skipping its holes.
    pub fn load(file: &File) -> io::Result<Self> {
        let mut image = Self::new(file.metadata()?.len());
        let mut data = vec![0; 1 << 20];
        let mut offset = 0;
        while offset < image.size {
            offset = match lseek(file.as_fd(), offset as i64, Whence::SeekData) {
                Ok(found) => found as u64,
                // No more data (lseek(2)).
                Err(Errno::ENXIO) => break,
                Err(error) => return Err(error.into()),
            };
            let end = lseek(file.as_fd(), offset as i64, Whence::SeekHole)? as u64;
            while offset < end {
                let part = &mut data[..(end - offset).min(1 << 20) as usize];
                file.read_exact_at(part, offset)?;
                image.write(offset, part);
                offset += part.len() as u64;
            }
        }
        Ok(image)
    }

    /// Writes a sparse file; `file` must be empty.
    pub fn store(&self, file: &File) -> io::Result<()> {
        file.set_len(self.size)?;
        self.blocks.iter().try_for_each(|(block, data)| file.write_all_at(&data[..], block * BLOCK as u64))
    }

    /// The same for two images only if they are equal.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        for (block, data) in &self.blocks {
            hasher.update(block.to_le_bytes());
            hasher.update(&data[..]);
        }
        hasher.finalize().into()
    }
}

/// Cuts a range at blocks: the number of each block, where in it the part begins, and the part of the range.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let position = offset + done as u64;
        let within = (position % BLOCK as u64) as usize;
        let part = (BLOCK - within).min(length - done);
        let range = done..done + part;
        done += part;
        (part > 0).then_some((position / BLOCK as u64, within, range))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reads_give_what_was_written(writes in prop::collection::vec((0u64..20_000, 0u8..3, 0usize..9_000), 0..12)) {
            let mut flat = vec![0; 40_000];
            let mut image = Image::new(40_000);
            for (offset, byte, length) in writes {
                flat[offset as usize..offset as usize + length].fill(byte);
                image.write(offset, &vec![byte; length]);
            }
            prop_assert_eq!(&image.read(0, flat.len()), &flat);
            prop_assert_eq!(image.read(777, 9_001), &flat[777..777 + 9_001]);
            let file = tempfile::tempfile().unwrap();
            image.store(&file).unwrap();
            let loaded = Image::load(&file).unwrap();
            prop_assert_eq!(loaded.digest(), image.digest());
            prop_assert_eq!(loaded, image);
        }
    }
}
