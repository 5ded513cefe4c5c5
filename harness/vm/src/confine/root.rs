//! A root directory of a machine's own: what it needs of the host, and its directory, are mounted in an empty one.
//!
//! landlock(7) guards files, but nothing keeps who may not write a socket's directory from connecting to it, and behind a
//! socket is what starts programs for the user. What has no path cannot be connected to.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;

use nix::libc;

/// The empty directory, in the machine's own. What is mounted in it is not beneath the machine's own for landlock(7), which
/// goes up from mount to mount: the new root is the last.
const EMPTY: &str = "root";

/// Where the machine's directory is, in that.
const OWN: &str = "guest";

/// What is mounted where, made ready before fork(2).
pub(super) struct Root {
    directory: CString,
    empty: CString,
    /// Of the host, and the place for it, which is there.
    mounts: Vec<(CString, CString)>,
}

impl Root {
    /// Makes places for what is there of `paths`, all absolute.
    pub(super) fn prepare(directory: &Path, paths: impl IntoIterator<Item = PathBuf>) -> io::Result<Self> {
        let empty = directory.join(EMPTY);
        fs::create_dir_all(empty.join(OWN))?;
        let mut mounts: Vec<(PathBuf, PathBuf)> = Vec::new();
        for path in paths {
            let (Ok(metadata), Ok(name)) = (fs::metadata(&path), path.strip_prefix("/")) else { continue };
            let place = empty.join(name);
            // It is beneath another, and there with that.
            if mounts.iter().any(|(above, _)| path.starts_with(above)) {
                continue;
            }
            if metadata.is_dir() {
                fs::create_dir_all(&place)?;
            } else {
                fs::create_dir_all(place.parent().unwrap_or(&empty))?;
                File::create(&place)?;
            }
            mounts.push((path, place));
        }
        let mounts = mounts.into_iter().map(|(path, place)| Ok((text(&path)?, text(&place)?)));
        let mounts = mounts.collect::<io::Result<_>>()?;
        Ok(Self { directory: text(directory)?, empty: text(&empty)?, mounts })
    }

    /// Makes it this process's root, in a mount namespace of its own, where it may mount. Allocates nothing.
    pub(super) fn enter(&self) -> io::Result<()> {
        // What is mounted here must not show up on the host.
        mount(None, c"/", libc::MS_REC | libc::MS_PRIVATE)?;
        for (path, place) in &self.mounts {
            mount(Some(path), place, libc::MS_BIND | libc::MS_REC)?;
        }
        // pivot_root(2) wants a mount, which is then over the directory that has been here.
        mount(Some(&self.empty), &self.empty, libc::MS_BIND | libc::MS_REC)?;
        // SAFETY: each of these system calls reads strings, which outlive it. The old root is put over the new one and taken
        // away from there (pivot_root(2), "pivot_root(".", ".")").
        unsafe {
            done(libc::chdir(self.empty.as_ptr()).into())?;
            mount(Some(&self.directory), c"guest", libc::MS_BIND)?;
            done(libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()))?;
            done(libc::umount2(c".".as_ptr(), libc::MNT_DETACH).into())?;
            done(libc::chdir(c"/guest".as_ptr()).into())
        }
    }
}

fn mount(source: Option<&CStr>, target: &CStr, flags: libc::c_ulong) -> io::Result<()> {
    let source = source.map_or(ptr::null(), |source| source.as_ptr());
    // SAFETY: mount(2) reads strings, which outlive the call; with these flags it looks neither at a type nor at data.
    done(unsafe { libc::mount(source, target.as_ptr(), ptr::null(), flags, ptr::null()) }.into())
}

fn done(result: i64) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn text(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}
