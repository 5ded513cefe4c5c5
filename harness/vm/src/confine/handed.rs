//! Files that a machine is given as open descriptors, since it cannot open them itself.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// Which file it is, and which version of it: device, inode, length, and when it was last written.
type Version = (u64, u64, u64, i64, i64);

/// What has been copied: a kernel and an initramfs or two. It is kept, since every guest of a run needs the same.
static COPIES: Mutex<BTreeMap<PathBuf, (Version, Arc<File>)>> = Mutex::new(BTreeMap::new());

/// A copy of a file in memory that nobody can change, and that whoever holds its descriptor can open through /proc/self/fd,
/// whoever they are.
pub(super) fn copy_of(path: &Path) -> io::Result<Arc<File>> {
    let mut copies = COPIES.lock().unwrap_or_else(PoisonError::into_inner);
    let mut original = File::open(path)?;
    let metadata = original.metadata()?;
    let version = (metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec());
    if let Some((of, copy)) = copies.get(path)
        && *of == version
    {
        return Ok(copy.clone());
    }
    let mut copy = in_memory()?;
    io::copy(&mut original, &mut copy)?;
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(copy.as_fd(), FcntlArg::F_ADD_SEALS(seals))?;
    let copy = Arc::new(copy);
    copies.insert(path.into(), (version, copy.clone()));
    Ok(copy)
}

/// An empty file in memory.
fn in_memory() -> io::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // Some hosts allow no other (`vm.memfd_noexec`), and kernels before 6.3 do not know this.
    Ok(File::from(match memfd_create(c"copy", flags | MFdFlags::from_bits_retain(nix::libc::MFD_NOEXEC_SEAL)) {
        Err(Errno::EINVAL) => memfd_create(c"copy", flags)?,
        other => other?,
    }))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_copy_is_the_files_of_its_time_and_stays_so() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("initramfs");
        fs::write(&path, "one").expect("a file");
        let first = copy_of(&path).expect("a copy");
        let name = format!("/proc/self/fd/{}", first.as_raw_fd());
        assert!(Arc::ptr_eq(&first, &copy_of(&path).expect("the same")));
        fs::write(&path, "another").expect("a file");
        let second = copy_of(&path).expect("a copy");
        assert_eq!(fs::read_to_string(&name).expect("it can be opened"), "one");
        assert_eq!(fs::read_to_string(format!("/proc/self/fd/{}", second.as_raw_fd())).expect("so can it"), "another");
        let mut written = fs::OpenOptions::new().write(true).open(&name);
        assert!(written.as_mut().map_or(true, |file| file.write_all(b"x").is_err()));
    }
}
