//! What programs do to files in memory: stores through a shared mapping, and msync(2).
//!
//! Each is done through a mapping of its own, that is gone afterwards: to a file system it makes no difference through which
//! mapping a page is stored to. It is told of the first store to a page that is clean (`page_mkwrite`), and what is dirty
//! stays so when the mapping goes (mm/memory.c, `zap_pte_range`).

use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, MmapAdvise, MsFlags, ProtFlags, madvise, mmap, msync, munmap};

/// Bytes of a page.
const PAGE: u64 = 4096;

/// A shared mapping of whole pages of a file.
struct Mapping {
    start: NonNull<libc::c_void>,
    length: usize,
}

impl Mapping {
    /// Of the pages that hold these bytes. Errors: the file ends before them, so that touching them would be SIGBUS.
    fn new(file: BorrowedFd<'_>, offset: u64, length: u64, access: ProtFlags) -> Result<Self, Errno> {
        let size = nix::sys::stat::fstat(file)?.st_size as u64;
        let end = offset.checked_add(length).filter(|end| *end <= size.next_multiple_of(PAGE)).ok_or(Errno::EINVAL)?;
        let first = offset - offset % PAGE;
        let length = std::num::NonZeroUsize::new((end - first) as usize).ok_or(Errno::EINVAL)?;
        // SAFETY: a new mapping, at a place that the kernel chooses.
        let start = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, file.as_fd(), first as i64)? };
        let mapping = Self { start, length: length.get() };
        // A page that is only stored to needs no neighbours, and what is read ahead is not the program's doing.
        // SAFETY: the mapping is our own.
        unsafe { madvise(mapping.start, mapping.length, MmapAdvise::MADV_RANDOM)? };
        Ok(mapping)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: nothing refers to the mapping any more.
        let _ = unsafe { munmap(self.start, self.length) };
    }
}

/// Stores bytes through a mapping. Gives how many.
pub fn store(file: BorrowedFd<'_>, offset: u64, data: &[u8]) -> Result<i64, Errno> {
    let mapping = Mapping::new(file, offset, data.len() as u64, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?;
    let within = (offset % PAGE) as usize;
    // SAFETY: the mapping begins `within` bytes before `offset`, has all bytes of `data`, and is no part of it.
    unsafe {
        let target = mapping.start.as_ptr().cast::<u8>().add(within);
        std::ptr::copy_nonoverlapping(data.as_ptr(), target, data.len());
    }
    Ok(data.len() as i64)
}

/// msync(2) with `MS_SYNC`. A mapping can reach beyond the end of its file, where there is nothing to sync.
pub fn sync(file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<i64, Errno> {
    let size = nix::sys::stat::fstat(file)?.st_size as u64;
    let end = offset.saturating_add(length).min(size.next_multiple_of(PAGE));
    if end <= offset {
        return Ok(0);
    }
    let mapping = Mapping::new(file, offset, end - offset, ProtFlags::PROT_READ)?;
    // SAFETY: the mapping is our own.
    unsafe { msync(mapping.start, mapping.length, MsFlags::MS_SYNC)? };
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};

    use super::*;

    #[test]
    fn stores_reach_the_file_and_never_beyond_its_end() {
        let path = std::env::temp_dir().join(format!("guest-agent-mapped-{}", std::process::id()));
        let mut file = std::fs::File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file.write_all(&[b'.'; 9000]).unwrap();
        assert_eq!(store(file.as_fd(), 4090, b"across pages"), Ok(12));
        assert_eq!(store(file.as_fd(), 8990, &[b'x'; 10]), Ok(10));
        assert_eq!(store(file.as_fd(), 12_288, b"x"), Err(Errno::EINVAL));
        assert_eq!((sync(file.as_fd(), 4096, 1 << 20), sync(file.as_fd(), 1 << 20, 1)), (Ok(0), Ok(0)));
        let mut content = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut content).unwrap();
        let mut expected = vec![b'.'; 9000];
        expected[4090..4102].copy_from_slice(b"across pages");
        expected[8990..].fill(b'x');
        assert!(content == expected);
    }
}
