//! Files replaced durably, and directories whose content may come from anyone.
//!
//! A [`Directory`] is opened once, wherever the path that its user names leads to. What is in it is reached through that
//! one descriptor, and only if it is a regular file: no link is followed, no FIFO is waited for, and nothing is read
//! beyond a limit. Whatever is written is a new file under another name, which takes its own when it is whole and on the
//! disk.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Read, Take, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, RenameFlags, openat, renameat, renameat2};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    file: File,
    path: PathBuf,
}

impl Directory {
    /// Opens a directory that the user names: if that is a link, what it leads to.
    ///
    /// # Errors
    /// As open(2).
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let file = fs::OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
        Ok(Self { file, path: path.into() })
    }

    /// The same; made if it is not there.
    ///
    /// # Errors
    /// As mkdir(2) and open(2).
    pub fn create(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        Self::open(path)
    }

    /// A directory in it; no link to one.
    ///
    /// # Errors
    /// As open(2).
    pub fn directory(&self, name: &str) -> io::Result<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = File::from(openat(&self.file, single(name)?, flags, Mode::empty())?);
        Ok(Self { file, path: self.path.join(name) })
    }

    /// The path by which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a regular file of at most `limit` bytes for reading.
    ///
    /// # Errors
    /// As open(2); [`ErrorKind::InvalidInput`] if it is larger, or anything else, a link to a file among it.
    pub fn file(&self, name: &str, limit: u64) -> io::Result<Take<File>> {
        let file = self.regular(name, OFlag::O_RDONLY)?;
        bounded(&file, limit)?;
        Ok(file.take(limit))
    }

    /// The content of a regular file of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Directory::file`].
    pub fn read(&self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        whole(self.file(name, limit)?)
    }

    /// A file that exists to be locked, with nothing in it; made if it is not there.
    ///
    /// # Errors
    /// As [`Directory::file`].
    pub fn lock_file(&self, name: &str) -> io::Result<File> {
        self.regular(name, OFlag::O_RDWR | OFlag::O_CREAT)
    }

    fn regular(&self, name: &str, flags: OFlag) -> io::Result<File> {
        let safe = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let file = match openat(&self.file, single(name)?, flags | safe, Mode::from_bits_truncate(0o666)) {
            Err(Errno::ELOOP) => {
                return Err(unfit("it is a symbolic link, and links in such a directory are not followed"));
            }
            // A FIFO without a reader, or a socket.
            Err(Errno::ENXIO) => return Err(not_regular()),
            opened => File::from(opened?),
        };
        if file.metadata()?.is_file() { Ok(file) } else { Err(not_regular()) }
    }

    /// Whether there is anything of that name, if only a link that leads nowhere.
    pub fn has(&self, name: &str) -> bool {
        single(name).is_ok_and(|name| fstatat(&self.file, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok())
    }

    /// The names in it that are UTF-8: no other is ours.
    ///
    /// # Errors
    /// As readdir(3).
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut directory = Dir::openat(&self.file, ".", OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let mut names = Vec::new();
        for entry in directory.iter() {
            if let Ok(name) = entry?.file_name().to_str()
                && name != "."
                && name != ".."
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Removes a file; if there is none, that is all right. A link goes itself.
    ///
    /// # Errors
    /// As unlink(2).
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.file, single(name)?, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces a file, or makes it, atomically and durably: see [`Directory::replace_with`].
    ///
    /// # Errors
    /// As there.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.replace_with(name, |file| file.write_all(bytes)).map(drop)
    }

    /// Replaces a file, or makes it, by what this whole project asks of others: a temporary file beside it, fsync, rename,
    /// fsync of the directory. Whatever had the name, be it a link, gives way and is not written to. Gives the new file,
    /// open at its end.
    ///
    /// # Errors
    /// What `fill` says, or the file system: nothing has changed then, but perhaps that it is durable.
    pub fn replace_with(&self, name: &str, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<File> {
        let rename = |temporary: &str| Ok(renameat(&self.file, temporary, &self.file, name)?);
        self.put(single(name)?, fill, rename)
    }

    /// The same, of a name that is free.
    ///
    /// # Errors
    /// As there; [`ErrorKind::AlreadyExists`] if it is not free.
    pub fn put_new(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let rename = |temporary: &str| {
            match renameat2(&self.file, temporary, &self.file, name, RenameFlags::RENAME_NOREPLACE) {
                // Not every file system knows this; those that do not know links.
                Err(Errno::EINVAL | Errno::ENOSYS) => {
                    linkat(&self.file, temporary, &self.file, name, AtFlags::empty())?;
                    Ok(unlinkat(&self.file, temporary, UnlinkatFlags::NoRemoveDir)?)
                }
                renamed => Ok(renamed?),
            }
        };
        self.put(single(name)?, |file| file.write_all(bytes), rename).map(drop)
    }

    fn put(
        &self,
        name: &str,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
        rename: impl FnOnce(&str) -> io::Result<()>,
    ) -> io::Result<File> {
        let temporary = format!(".{name}.{:016x}.tmp", RandomState::new().hash_one(name));
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(&self.file, temporary.as_str(), flags, Mode::from_bits_truncate(0o666))?);
        let whole = fill(&mut file).and_then(|()| file.sync_all()).and_then(|()| rename(&temporary));
        whole.inspect_err(|_| drop(self.remove(&temporary)))?;
        self.sync()?;
        Ok(file)
    }

    fn sync(&self) -> io::Result<()> {
        match self.file.sync_all() {
            // Some file systems have nothing to do for a directory, and say so (fsync(2)).
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        }
    }
}

/// Whether this is what [`Directory::replace`] calls a file of that name until it is whole. One that is found was left by
/// a process that was killed.
pub fn is_temporary_of(temporary: &str, name: &str) -> bool {
    let middle = || temporary.strip_prefix('.')?.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".tmp");
    middle().is_some_and(|middle| middle.len() == 16 && middle.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Replaces a file that the user names, as [`Directory::replace`] does.
///
/// # Errors
/// As there.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, |file| file.write_all(bytes))
}

/// Replaces a file that the user names, as [`Directory::replace_with`] does.
///
/// # Errors
/// As there.
pub fn replace_with(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let Some(name) = path.file_name() else { return Err(ErrorKind::IsADirectory.into()) };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = Directory::open(directory)?;
    let rename = |temporary: &str| Ok(renameat(&directory.file, temporary, &directory.file, name)?);
    directory.put(&name.to_string_lossy(), fill, rename).map(drop)
}

/// The content of a regular file that the user names, or a link to one, of at most `limit` bytes.
///
/// # Errors
/// As [`Directory::read`].
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = match fs::OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
        Err(error) if error.raw_os_error() == Some(Errno::ENXIO as i32) => return Err(not_regular()),
        opened => opened?,
    };
    let kind = file.metadata()?;
    if kind.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    if !kind.is_file() {
        return Err(not_regular());
    }
    bounded(&file, limit)?;
    whole(file.take(limit))
}

/// Refuses what is too large.
fn bounded(file: &File, limit: u64) -> io::Result<()> {
    let size = file.metadata()?.len();
    let problem = || unfit(&format!("it has {size} bytes, and none of its kind has more than {limit}"));
    if size > limit { Err(problem()) } else { Ok(()) }
}

/// All that there is of a file, which may grow while it is read: up to the limit.
fn whole(mut file: Take<File>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A name that leads nowhere else.
fn single(name: &str) -> io::Result<&str> {
    let single = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
    if single { Ok(name) } else { Err(unfit("its name is no name of a file in that directory")) }
}

fn not_regular() -> io::Error {
    unfit("it is no regular file")
}

fn unfit(problem: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, problem)
}

#[cfg(test)]
mod tests {

    use std::os::unix::fs::symlink;

    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn only_regular_files_are_read() {
        let place = tempfile::tempdir().unwrap();
        let directory = Directory::open(place.path()).unwrap();
        let path = |name: &str| place.path().join(name);
        fs::write(path("plain"), "content").unwrap();
        symlink("plain", path("link")).unwrap();
        symlink("/dev/zero", path("endless")).unwrap();
        symlink("nowhere", path("dangling")).unwrap();
        mkfifo(&path("fifo"), Mode::from_bits_truncate(0o600)).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        fs::create_dir(path("directory")).unwrap();
        assert_eq!(directory.read("plain", 7).unwrap(), b"content");
        for name in ["link", "endless", "dangling", "fifo", "socket", "directory", ".", "..", "directory/../plain"] {
            assert_eq!(directory.read(name, 7).unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
        }
        for name in ["link", "endless", "dangling", "fifo", "socket"] {
            assert_eq!(directory.lock_file(name).unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
        }
        assert!(!path("nowhere").exists());
        assert_eq!(directory.read("plain", 6).unwrap_err().kind(), ErrorKind::InvalidInput);
        // A file that is named is one, be it by a link; still none that never ends.
        assert_eq!(read(&path("link"), 7).unwrap(), b"content");
        for name in ["endless", "fifo", "socket"] {
            assert_eq!(read(&path(name), 7).unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
        }
    }

    #[test]
    fn what_is_written_goes_nowhere_else() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("real")).unwrap();
        symlink("real", place.path().join("named")).unwrap();
        let directory = Directory::open(&place.path().join("named")).unwrap();
        let path = |name: &str| place.path().join("real").join(name);
        fs::write(place.path().join("victim"), "mine").unwrap();
        symlink("../victim", path("link")).unwrap();
        mkfifo(&path("fifo"), Mode::from_bits_truncate(0o600)).unwrap();
        for name in ["link", "fifo", "new"] {
            directory.replace(name, name.as_bytes()).unwrap();
            assert!(fs::symlink_metadata(path(name)).unwrap().is_file(), "{name}");
            assert_eq!(fs::read_to_string(path(name)).unwrap(), name);
        }
        assert_eq!(directory.put_new("new", b"other").unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert!(directory.replace_with("new", |_| Err(io::Error::other("no"))).is_err());
        directory.put_new("newer", b"newer").unwrap();
        assert_eq!(fs::read_to_string(place.path().join("victim")).unwrap(), "mine");
        let mut names = directory.names().unwrap();
        names.sort();
        assert_eq!(names, ["fifo", "link", "new", "newer"], "no temporary file is left");
        assert_eq!(fs::read_to_string(path("new")).unwrap(), "new");
    }

    #[test]
    fn temporary_names() {
        assert!(is_temporary_of(".kernel.0123456789abcdef.tmp", "kernel"));
        for other in [
            ".kernel.tmp",
            ".kernel.0123456789abcdeg.tmp",
            "kernel.0123456789abcdef.tmp",
            ".other.0123456789abcdef.tmp",
        ] {
            assert!(!is_temporary_of(other, "kernel"), "{other}");
        }
    }
}
