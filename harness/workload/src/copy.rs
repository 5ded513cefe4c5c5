//! Copying a directory tree so that a program cannot tell the difference.

use std::collections::HashMap;
use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, mknod, utimensat};
use nix::sys::time::TimeSpec;

/// What could not be done, and on what.
#[derive(Debug)]
pub(crate) struct CopyError {
    pub(crate) action: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

/// Copies the content of the directory `from` into the empty directory `to`: contents, permission bits, times, symbolic
/// links as such, names of one file as names of one file, FIFOs and sockets. Not: owners, extended attributes, holes.
///
/// # Errors
///
/// At the first thing that cannot be copied; what was copied by then stays.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> Result<(), CopyError> {
    Copier::default().directory(from, to)
}

/// Where the first name of a file with several names went, by device and inode.
#[derive(Default)]
struct Copier(HashMap<(u64, u64), PathBuf>);

impl Copier {
    fn directory(&mut self, from: &Path, to: &Path) -> Result<(), CopyError> {
        let list = || -> io::Result<Vec<fs::DirEntry>> { fs::read_dir(from)?.collect() };
        let mut entries = list().map_err(failed("list", from))?;
        // In a fixed order, so that two copies are laid out alike.
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            self.entry(&entry.path(), &to.join(entry.file_name()))?;
        }
        // Last, since a directory that must not be written to could not be filled, and filling changes its times.
        finish(&fs::metadata(from).map_err(failed("read", from))?, to)
    }

    fn entry(&mut self, from: &Path, to: &Path) -> Result<(), CopyError> {
        let metadata = fs::symlink_metadata(from).map_err(failed("read", from))?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            fs::create_dir(to).map_err(failed("create", to))?;
            return self.directory(from, to);
        }
        if metadata.nlink() > 1 {
            let key = (metadata.dev(), metadata.ino());
            if let Some(first) = self.0.get(&key) {
                return fs::hard_link(first, to).map_err(failed("link", to));
            }
            self.0.insert(key, to.to_path_buf());
        }
        if kind.is_symlink() {
            let target = fs::read_link(from).map_err(failed("read", from))?;
            symlink(target, to).map_err(failed("create", to))?;
        } else if kind.is_file() {
            fs::copy(from, to).map_err(failed("copy", from))?;
        } else {
            // A FIFO must not be opened, it could block; making a device takes root.
            let kind = SFlag::from_bits_truncate(metadata.mode()) & SFlag::S_IFMT;
            mknod(to, kind, Mode::S_IRUSR | Mode::S_IWUSR, metadata.rdev())
                .map_err(|errno| failed("copy", from)(errno.into()))?;
        }
        finish(&metadata, to)
    }
}

/// Gives `to` the permission bits and times that `metadata` tells.
fn finish(metadata: &Metadata, to: &Path) -> Result<(), CopyError> {
    if !metadata.is_symlink() {
        let mode = Permissions::from_mode(metadata.mode() & 0o7777);
        fs::set_permissions(to, mode).map_err(failed("set the mode of", to))?;
    }
    let access = TimeSpec::new(metadata.atime(), metadata.atime_nsec());
    let modification = TimeSpec::new(metadata.mtime(), metadata.mtime_nsec());
    utimensat(AT_FDCWD, to, &access, &modification, UtimensatFlags::NoFollowSymlink)
        .map_err(|errno| failed("set the times of", to)(errno.into()))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CopyError {
    let path = path.to_path_buf();
    move |source| CopyError { action, path, source }
}
