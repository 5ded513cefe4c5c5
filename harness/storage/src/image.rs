//! A whole disk in memory: sparse, and cheap to copy.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::SECTOR;

/// The unit of sharing between copies of an image, bytes. A power of two, a multiple of [`BLOCK`].
const CHUNK: usize = 64 << 10;

type Chunk = [u8; CHUNK];

static ZEROS: [u8; SECTOR] = [0; SECTOR];

/// A disk image in memory. Chunks that are all zeros take no memory, and copies share every chunk until one of them
/// writes to it: an epoch's durable state costs what changed since the epoch before.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    chunks: Vec<Option<Arc<Chunk>>>,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({} sectors)", self.sectors())
    }
}

/// Why an image could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The operating system refused.
    #[error("failed to {doing} the disk image {path}: {source}")]
    Io {
        /// `read` or `write`.
        doing: &'static str,
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
}

const MAGIC: &[u8; 8] = b"CCIMAGE\n";
/// The unit of the sparse file format, bytes.
const BLOCK: usize = 4096;

impl Image {
    /// An image of zeros. `size` in bytes, rounded up to whole chunks of 64 KiB.
    pub fn zeroed(size: u64) -> Self {
        Self { chunks: vec![None; (size as usize).div_ceil(CHUNK)] }
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        (self.chunks.len() * CHUNK) as u64
    }

    /// Number of 512-byte sectors.
    pub fn sectors(&self) -> u64 {
        self.size() / SECTOR as u64
    }

    /// One sector; must lie within the image.
    pub fn sector(&self, sector: u64) -> &[u8] {
        let start = sector as usize * SECTOR;
        match &self.chunks[start / CHUNK] {
            Some(chunk) => &chunk[start % CHUNK..][..SECTOR],
            None => &ZEROS,
        }
    }

    /// Copies whole sectors from `sector` on; must lie within the image.
    pub fn read(&self, sector: u64, buffer: &mut [u8]) {
        for (index, target) in buffer.chunks_exact_mut(SECTOR).enumerate() {
            target.copy_from_slice(self.sector(sector + index as u64));
        }
    }

    /// Overwrites whole sectors from `sector` on; must lie within the image.
    pub fn write(&mut self, sector: u64, data: &[u8]) {
        for (index, source) in data.chunks_exact(SECTOR).enumerate() {
            let start = (sector as usize + index) * SECTOR;
            if self.chunks[start / CHUNK].is_none() && source == ZEROS {
                continue;
            }
            let chunk = self.chunks[start / CHUNK].get_or_insert_with(|| Arc::new([0; CHUNK]));
            Arc::make_mut(chunk)[start % CHUNK..][..SECTOR].copy_from_slice(source);
        }
    }

    /// Reads a raw image file (as mkfs leaves it), skipping its holes.
    pub fn read_raw(path: &Path) -> Result<Self, ImageError> {
        let fail = |source| ImageError::Io { doing: "read", path: path.display().to_string(), source };
        let file = File::open(path).map_err(fail)?;
        let size = file.metadata().map_err(fail)?.len();
        let mut image = Self::zeroed(size);
        let mut position = 0;
        while let Some((start, end)) = next_data(&file, position).map_err(fail)? {
            // Whole sectors: a hole need not end where a sector does.
            let start = start - start % SECTOR as u64;
            let mut data = vec![0; ((end.min(size) - start) as usize).next_multiple_of(SECTOR)];
            file.read_exact_at(&mut data[..(end.min(size) - start) as usize], start).map_err(fail)?;
            // mkfs writes zeros too; here they cost nothing only if they are left out.
            for (index, block) in
                data.chunks(BLOCK).enumerate().filter(|(_, block)| block.iter().any(|&byte| byte != 0))
            {
                image.write((start as usize / SECTOR + index * (BLOCK / SECTOR)) as u64, block);
            }
            position = end;
        }
        Ok(image)
    }

    /// Writes a raw image file with holes where there are only zeros: `harness reproduce --image`.
    ///
    /// # Errors
    /// As those of `file`, which is empty.
    pub fn write_raw(&self, file: &File) -> io::Result<()> {
        file.set_len(self.size())?;
        self.nonzero_blocks().try_for_each(|(index, block)| file.write_all_at(block, (index * BLOCK) as u64))
    }

    /// Writes the harness's own compact form: the blocks that are not all zeros.
    ///
    /// # Errors
    /// As those of `file`.
    pub fn save(&self, file: impl Write) -> io::Result<()> {
        let mut file = io::BufWriter::new(file);
        file.write_all(MAGIC)?;
        file.write_all(&self.size().to_le_bytes())?;
        for (index, block) in self.nonzero_blocks() {
            file.write_all(&(index as u64).to_le_bytes())?;
            file.write_all(block)?;
        }
        file.write_all(&u64::MAX.to_le_bytes())?;
        file.flush()
    }

    /// Reads what [`Image::save`] wrote, and not a byte more.
    ///
    /// # Errors
    /// As those of `file`; [`io::ErrorKind::InvalidData`] if it is no such image, [`io::ErrorKind::UnexpectedEof`] if it
    /// is cut short.
    pub fn load(mut file: impl Read) -> io::Result<Self> {
        let foreign = || io::Error::new(io::ErrorKind::InvalidData, "it is no disk image of this harness");
        let mut word = [0; 8];
        file.read_exact(&mut word)?;
        if &word != MAGIC {
            return Err(foreign());
        }
        file.read_exact(&mut word)?;
        let size = u64::from_le_bytes(word);
        if size > 1 << 40 {
            return Err(foreign());
        }
        let mut image = Self::zeroed(size);
        loop {
            file.read_exact(&mut word)?;
            let index = u64::from_le_bytes(word);
            if index == u64::MAX {
                return Ok(image);
            }
            if index >= image.size() / BLOCK as u64 {
                return Err(foreign());
            }
            let mut block = [0; BLOCK];
            file.read_exact(&mut block)?;
            image.write(index * (BLOCK / SECTOR) as u64, &block);
        }
    }

    fn nonzero_blocks(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let blocks = self.chunks.iter().enumerate().filter_map(|(index, chunk)| Some((index, chunk.as_ref()?)));
        blocks
            .flat_map(|(index, chunk)| {
                chunk
                    .chunks_exact(BLOCK)
                    .enumerate()
                    .map(move |(block, bytes)| (index * (CHUNK / BLOCK) + block, bytes))
            })
            .filter(|(_, block)| block.iter().any(|&byte| byte != 0))
    }
}

/// The next range of a file that is not a hole, at or after `position` (lseek(2), `SEEK_DATA`).
fn next_data(file: &File, position: u64) -> io::Result<Option<(u64, u64)>> {
    use nix::unistd::{Whence, lseek};
    match lseek(file, position as i64, Whence::SeekData) {
        Ok(start) => {
            let end = lseek(file, start, Whence::SeekHole)?;
            Ok(Some((start as u64, end as u64)))
        }
        Err(nix::errno::Errno::ENXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn striped() -> Image {
        let mut image = Image::zeroed(1 << 20);
        image.write(3, &[7; SECTOR]);
        image.write(127, &[8; 2 * SECTOR]);
        image
    }

    #[test]
    fn copies_share_until_written() {
        let first = striped();
        let mut second = first.clone();
        second.write(3, &[9; SECTOR]);
        assert_eq!((first.sector(3)[0], second.sector(3)[0]), (7, 9));
        assert_eq!((second.sector(127)[0], second.sector(128)[0], second.sector(129)[0]), (8, 8, 0));
    }

    #[test]
    fn survives_both_file_formats() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        striped().write_raw(&File::create(&path).unwrap()).unwrap();
        assert_eq!(Image::read_raw(&path).unwrap(), striped());
        let mut bytes = Vec::new();
        striped().save(&mut bytes).unwrap();
        assert_eq!(Image::load(&bytes[..]).unwrap(), striped());
        for cut in [0, 7, 12, 20, 100, bytes.len() - 1] {
            assert_eq!(Image::load(&bytes[..cut]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{cut}");
        }
    }
}
