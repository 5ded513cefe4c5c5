//! The system calls that a replay makes: each recorded call, one to one.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, RenameFlags};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, LinkatFlags, Uid, UnlinkatFlags};
use program::{Call, Handle, RelPath, Target, Time};

use crate::aligned::Aligned;
use crate::crossing;
use crate::mapped;

/// What is open, by the trace's numbers.
pub type Handles = HashMap<Handle, OwnedFd>;

/// The current directory is the workload's.
pub(crate) const HERE: BorrowedFd<'static> = nix::fcntl::AT_FDCWD;

/// Flags of pwritev2(2) (include/uapi/linux/fs.h).
const RWF_APPEND: u32 = 0x10;
const RWF_NOAPPEND: u32 = 0x20;

/// Makes one call. Promises to the user (acks, exit) make none.
pub fn perform(call: &Call, handles: &mut Handles) -> Result<i64, Errno> {
    let done = |result: nix::Result<()>| result.map(|()| 0);
    match call {
        Call::Open { handle, path, flags, mode } => {
            let file = nix::fcntl::open(name(path), opening(*flags), Mode::from_bits_retain(*mode))?;
            handles.insert(*handle, file);
            Ok(i64::from(handle.0))
        }
        Call::Close { handle } => {
            handles.remove(handle);
            Ok(0)
        }
        Call::Write { handle, offset, data, flags } => write(get(handles, *handle)?, *offset, data, *flags),
        Call::Store { handle, offset, data } => mapped::store(get(handles, *handle)?, *offset, data),
        Call::Msync { handle, offset, length } => mapped::sync(get(handles, *handle)?, *offset, *length),
        Call::CopyRange { from, from_offset, to, to_offset, length } => {
            copy_range(get(handles, *from)?, *from_offset, get(handles, *to)?, *to_offset, *length)
        }
        Call::Truncate { target: Target::Handle(handle), length } => {
            done(nix::unistd::ftruncate(get(handles, *handle)?, *length as i64))
        }
        Call::Truncate { target: Target::Path(path) | Target::NoFollow(path), length } => {
            done(nix::unistd::truncate(name(path), *length as i64))
        }
        Call::Allocate { handle, mode, offset, length } => {
            let mode = nix::fcntl::FallocateFlags::from_bits_retain(*mode as i32);
            done(nix::fcntl::fallocate(get(handles, *handle)?, mode, *offset as i64, *length as i64))
        }
        Call::Mkdir { path, mode } => done(nix::unistd::mkdir(name(path), Mode::from_bits_retain(*mode))),
        Call::Mknod { path, mode, device } => done(mknod(path.as_path(), *mode, *device)),
        Call::Symlink { path, target } => {
            done(nix::unistd::symlinkat(std::ffi::OsStr::from_bytes(target), HERE, name(path)))
        }
        Call::Link { from: Target::Handle(handle), to } => {
            done(nix::unistd::linkat(get(handles, *handle)?, "", HERE, name(to), LinkatFlags::AT_EMPTY_PATH))
        }
        Call::Link { from: Target::Path(from), to } => {
            done(nix::unistd::linkat(HERE, name(from), HERE, name(to), LinkatFlags::AT_SYMLINK_FOLLOW))
        }
        Call::Link { from: Target::NoFollow(from), to } => {
            done(nix::unistd::linkat(HERE, name(from), HERE, name(to), LinkatFlags::empty()))
        }
        Call::Rename { from, to, flags } => {
            let flags = RenameFlags::from_bits_retain(*flags);
            done(nix::fcntl::renameat2(HERE, name(from), HERE, name(to), flags))
        }
        Call::Unlink { path } => done(nix::unistd::unlink(name(path))),
        Call::Rmdir { path } => done(nix::unistd::unlinkat(HERE, name(path), UnlinkatFlags::RemoveDir)),
        Call::Chmod { target, mode } => with_target(target, handles, |at, path, _| {
            // fchmodat(2) has no way not to follow, and a symbolic link has no mode of its own.
            match path {
                Some(path) => done(nix::sys::stat::fchmodat(
                    at,
                    path,
                    Mode::from_bits_retain(*mode),
                    nix::sys::stat::FchmodatFlags::FollowSymlink,
                )),
                None => done(nix::sys::stat::fchmod(at, Mode::from_bits_retain(*mode))),
            }
        }),
        Call::Chown { target, uid, gid } => with_target(target, handles, |at, path, flags| {
            let path = path.unwrap_or(Path::new(""));
            done(nix::unistd::fchownat(at, path, Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)), flags))
        }),
        Call::SetTimes { target, access, modification } => set_times(target, *access, *modification, handles),
        Call::SetXattr { target, name, value, flags } => set_xattr_of(target, name, value, *flags, handles),
        Call::RemoveXattr { target, name } => remove_xattr_of(target, name, handles),
        Call::Fsync { handle } => done(nix::unistd::fsync(get(handles, *handle)?)),
        Call::Fdatasync { handle } => done(nix::unistd::fdatasync(get(handles, *handle)?)),
        Call::SyncRange { handle, offset, length, flags } => {
            sync_range(get(handles, *handle)?, *offset, *length, *flags).map(|()| 0)
        }
        Call::DontNeed { handle, offset, length } => {
            let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
            done(nix::fcntl::posix_fadvise(get(handles, *handle)?, *offset as i64, *length as i64, advice))
        }
        Call::SyncFs { handle } => done(nix::unistd::syncfs(get(handles, *handle)?)),
        Call::SyncAll => {
            nix::unistd::sync();
            Ok(0)
        }
        Call::Arrive { entries, to, flags } => crossing::arrive(entries, to, *flags, handles),
        Call::Leave { path } => crossing::leave(path),
        Call::Ack { .. } | Call::Exit { .. } => Ok(0),
    }
}

/// How a file that was opened with `flags` is opened again.
///
/// Without `O_APPEND`: the trace says where each write landed, and nothing of the flag being cleared by fcntl(2) later.
/// "If a file is opened with O_APPEND, on Linux, pwrite() appends data to the end of the file, regardless of the value of
/// offset" (pwrite(2), BUGS), and copy_file_range(2) refuses such a file.
fn opening(flags: u32) -> OFlag {
    (OFlag::from_bits_retain(flags as i32) | OFlag::O_CLOEXEC) - OFlag::O_APPEND
}

pub(crate) fn get(handles: &Handles, handle: Handle) -> Result<BorrowedFd<'_>, Errno> {
    Ok(handles.get(&handle).ok_or(Errno::EBADF)?.as_fd())
}

/// A path for the kernel.
pub(crate) fn name(path: &RelPath) -> &Path {
    if path.is_root() { Path::new(".") } else { path.as_path() }
}

/// The same for calls that nix does not have. Recorded paths came out of the kernel, so none holds a zero byte.
fn c_name(path: &Path) -> Result<CString, Errno> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)
}

/// Calls `act` with a directory and a name, or with a descriptor alone; the flags say whether links are followed.
fn with_target(
    target: &Target,
    handles: &Handles,
    act: impl FnOnce(BorrowedFd<'_>, Option<&Path>, AtFlags) -> Result<i64, Errno>,
) -> Result<i64, Errno> {
    match target {
        Target::Path(path) => act(HERE, Some(name(path)), AtFlags::empty()),
        Target::NoFollow(path) => act(HERE, Some(name(path)), AtFlags::AT_SYMLINK_NOFOLLOW),
        Target::Handle(handle) => act(get(handles, *handle)?, None, AtFlags::AT_EMPTY_PATH),
    }
}

/// Calls `act` with a file: through the workload's own descriptor where it has the file open, since closing another one
/// can have effects that the call itself would not have (fs/ext4/file.c, `ext4_release_file`, allocates and clears a
/// flag; fs/btrfs/file.c, `btrfs_release_file`, starts writeback and clears one).
pub fn with_file(
    path: &Path,
    handles: &Handles,
    act: impl FnOnce(BorrowedFd<'_>) -> Result<i64, Errno>,
) -> Result<i64, Errno> {
    let sought = nix::sys::stat::stat(path)?;
    let same = |handle: &&OwnedFd| {
        nix::sys::stat::fstat(handle).is_ok_and(|found| (found.st_dev, found.st_ino) == (sought.st_dev, sought.st_ino))
    };
    if let Some(open) = handles.values().find(same) {
        return act(open.as_fd());
    }
    let file = File::open(path).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    act(file.as_fd())
}

/// Writes at `offset`, from memory that is aligned as `O_DIRECT` may ask.
pub fn write(file: BorrowedFd<'_>, offset: u64, data: &[u8], flags: u32) -> Result<i64, Errno> {
    // Where it appended to is in `offset` (see `opening`), and kernels before 6.9 refuse RWF_NOAPPEND.
    let flags = flags & !(RWF_APPEND | RWF_NOAPPEND);
    let mut buffer = Aligned::new(data.len());
    let buffer = buffer.get(data.len());
    buffer.copy_from_slice(data);
    let mut written = 0;
    while written < buffer.len() {
        let part = libc::iovec { iov_base: buffer[written..].as_mut_ptr().cast(), iov_len: buffer.len() - written };
        // SAFETY: `part` describes memory that `buffer` owns for the length of the call.
        let count = unsafe { libc::pwritev2(file.as_raw_fd(), &part, 1, offset as i64 + written as i64, flags as i32) };
        match Errno::result(count)? {
            0 => break,
            count => written += count as usize,
        }
    }
    Ok(written as i64)
}

fn copy_range(
    from: BorrowedFd<'_>,
    from_offset: u64,
    to: BorrowedFd<'_>,
    to_offset: u64,
    length: u64,
) -> Result<i64, Errno> {
    let mut copied = 0;
    while copied < length {
        let mut source = (from_offset + copied) as i64;
        let mut target = (to_offset + copied) as i64;
        match nix::fcntl::copy_file_range(from, Some(&mut source), to, Some(&mut target), (length - copied) as usize)? {
            0 => break,
            count => copied += count as u64,
        }
    }
    Ok(copied as i64)
}

/// mknod(2), with the type in the mode.
pub fn mknod(path: &Path, mode: u32, device: u64) -> nix::Result<()> {
    let kind = nix::sys::stat::SFlag::from_bits_truncate(mode & libc::S_IFMT);
    nix::sys::stat::mknod(path, kind, Mode::from_bits_retain(mode & 0o7777), device)
}

fn set_times(target: &Target, access: Time, modification: Time, handles: &Handles) -> Result<i64, Errno> {
    let spec = |time| match time {
        Time::Keep => libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_OMIT },
        Time::Now => libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_NOW },
        Time::At(seconds, nanoseconds) => libc::timespec { tv_sec: seconds, tv_nsec: i64::from(nanoseconds) },
    };
    let times = [spec(access), spec(modification)];
    with_target(target, handles, |at, path, flags| {
        let result = match path.map(c_name).transpose()? {
            // SAFETY: `path` is a C string that outlives the call, `times` has the two entries that are read.
            Some(path) => unsafe { libc::utimensat(at.as_raw_fd(), path.as_ptr(), times.as_ptr(), flags.bits()) },
            // A descriptor alone: the kernel's call takes a null path for it, which the C library's function refuses ("the
            // glibc wrapper … EINVAL", utimensat(2), "C library/kernel ABI differences").
            // SAFETY: as above.
            None => unsafe { libc::futimens(at.as_raw_fd(), times.as_ptr()) },
        };
        Errno::result(result).map(i64::from)
    })
}

/// Sets one extended attribute, without following a link.
pub fn set_xattr(path: &Path, name: &[u8], value: &[u8]) -> std::io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let name = CString::new(name)?;
    // SAFETY: C strings and a slice that outlive the call.
    let result = unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Ok(Errno::result(result).map(drop)?)
}

fn set_xattr_of(target: &Target, attribute: &[u8], value: &[u8], flags: u32, handles: &Handles) -> Result<i64, Errno> {
    let attribute = CString::new(attribute).map_err(|_| Errno::EINVAL)?;
    let (attribute, data, length, flags) = (attribute.as_ptr(), value.as_ptr().cast(), value.len(), flags as i32);
    // SAFETY: C strings and a slice that outlive the call.
    let result = unsafe {
        match target {
            Target::Path(path) => libc::setxattr(c_name(name(path))?.as_ptr(), attribute, data, length, flags),
            Target::NoFollow(path) => libc::lsetxattr(c_name(name(path))?.as_ptr(), attribute, data, length, flags),
            Target::Handle(handle) => {
                libc::fsetxattr(get(handles, *handle)?.as_raw_fd(), attribute, data, length, flags)
            }
        }
    };
    Errno::result(result).map(i64::from)
}

fn remove_xattr_of(target: &Target, attribute: &[u8], handles: &Handles) -> Result<i64, Errno> {
    let attribute = CString::new(attribute).map_err(|_| Errno::EINVAL)?;
    // SAFETY: C strings that outlive the call.
    let result = unsafe {
        match target {
            Target::Path(path) => libc::removexattr(c_name(name(path))?.as_ptr(), attribute.as_ptr()),
            Target::NoFollow(path) => libc::lremovexattr(c_name(name(path))?.as_ptr(), attribute.as_ptr()),
            Target::Handle(handle) => libc::fremovexattr(get(handles, *handle)?.as_raw_fd(), attribute.as_ptr()),
        }
    };
    Errno::result(result).map(i64::from)
}

fn sync_range(file: BorrowedFd<'_>, offset: u64, length: u64, flags: u32) -> Result<(), Errno> {
    // SAFETY: takes no pointers.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), offset as i64, length as i64, flags) };
    Errno::result(result).map(drop)
}

/// Starts writeback of a range and waits for it.
pub fn write_back(file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<i64, Errno> {
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    sync_range(file, offset, length, flags).map(|()| 0)
}

/// Starts writeback of a range.
pub fn start_write_back(file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<i64, Errno> {
    sync_range(file, offset, length, libc::SYNC_FILE_RANGE_WRITE).map(|()| 0)
}

/// What the guest is about to do.
#[derive(Clone, Copy, Debug)]
pub enum Phase {
    /// Make the start state.
    Populate,
    /// Mount it for a replay.
    Execution,
    /// The step of the replay with this index.
    Step(usize),
    /// Mount a crash state.
    Observe,
}

/// Puts the clock at a fixed moment for each phase, later for a later one. Times on the disk then do not differ between
/// replays for no reason, and do not depend on when a guest was booted: recovery compares them (fs/jbd2/recovery.c,
/// `do_one_pass`, takes a block for stale by the time of its commit).
pub fn set_clock(phase: Phase) {
    let time = nix::sys::time::TimeSpec::new(start_of(phase), 0);
    // A clock that cannot be set costs only comparability of replays.
    let _ = nix::time::clock_settime(nix::time::ClockId::CLOCK_REALTIME, time);
}

/// What the clock is set to, seconds since 1970.
pub fn start_of(phase: Phase) -> i64 {
    /// 2020-01-01 00:00:00 UTC.
    const START: i64 = 1_577_836_800;
    const HOUR: i64 = 3600;
    let since = match phase {
        Phase::Populate => 0,
        Phase::Execution => HOUR,
        Phase::Step(index) => 2 * HOUR + index as i64,
        // A replay of more steps than a year has seconds is not to be feared.
        Phase::Observe => 365 * 24 * HOUR,
    };
    START + since
}

mod ioctls {
    // linux/btrfs.h.
    const BTRFS: u8 = 0x94;
    nix::ioctl_read!(start_sync, BTRFS, 24, u64);
    nix::ioctl_write_ptr!(wait_sync, BTRFS, 22, u64);
    nix::ioctl_write_ptr!(forget_dev, BTRFS, 5, VolumeArguments);

    // F2FS_IOC_WRITE_CHECKPOINT (linux/f2fs.h).
    nix::ioctl_none!(write_checkpoint, 0xf5, 7);

    /// `struct btrfs_ioctl_vol_args`.
    #[repr(C)]
    pub struct VolumeArguments {
        pub fd: i64,
        pub name: [u8; 4088],
    }
}

/// Commits the running transaction; leaves data whose allocation is delayed alone.
pub fn btrfs_commit(root: BorrowedFd<'_>) -> Result<i64, Errno> {
    let mut transaction = 0;
    // SAFETY: both take a pointer to one u64, which lives here.
    unsafe {
        ioctls::start_sync(root.as_raw_fd(), &mut transaction)?;
        ioctls::wait_sync(root.as_raw_fd(), &transaction)?;
    }
    Ok(0)
}

/// Writes a checkpoint of all that is dirty but for data.
pub fn write_checkpoint(root: BorrowedFd<'_>) -> Result<i64, Errno> {
    // SAFETY: it takes no argument.
    unsafe { ioctls::write_checkpoint(root.as_raw_fd()) }.map(i64::from)
}

/// Makes btrfs forget what it remembers of an unmounted device.
pub fn btrfs_forget(disk: &Path) -> Result<(), String> {
    let control =
        File::open("/dev/btrfs-control").map_err(|error| format!("failed to open /dev/btrfs-control: {error}"))?;
    let mut arguments = ioctls::VolumeArguments { fd: 0, name: [0; 4088] };
    let path = disk.as_os_str().as_bytes();
    arguments.name[..path.len()].copy_from_slice(path);
    // SAFETY: the structure is what the kernel reads, and its name ends with a zero byte.
    match unsafe { ioctls::forget_dev(control.as_raw_fd(), &arguments) } {
        // ENOENT: it was not remembered.
        Ok(_) | Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(format!("failed to make btrfs forget {}: {error}", disk.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// `O_APPEND` at opening need not hold at a write: the recorder knows, and says where the bytes landed.
    #[test]
    fn writes_land_at_their_offsets_whatever_the_flags() {
        let directory = std::env::temp_dir().join(format!("guest-agent-calls-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        // No other test of this crate looks at the current directory.
        std::env::set_current_dir(&directory).unwrap();
        std::fs::write("source", "<>").unwrap();
        let (handle, source) = (Handle(0), Handle(1));
        let flags = (libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND) as u32;
        let write = |offset, data: &[u8], flags| Call::Write { handle, offset, data: Arc::new(data.to_vec()), flags };
        let calls = [
            Call::Open { handle, path: "log".into(), flags, mode: 0o600 },
            Call::Open { handle: source, path: "source".into(), flags: libc::O_RDONLY as u32, mode: 0 },
            write(0, b"0123456789", 0),
            write(10, b"appended", RWF_APPEND),
            write(2, b"__", 0),
            write(5, b"--", RWF_NOAPPEND),
            Call::CopyRange { from: source, from_offset: 0, to: handle, to_offset: 8, length: 2 },
        ];
        let mut handles = Handles::new();
        for call in &calls {
            perform(call, &mut handles).unwrap_or_else(|error| panic!("{call:?}: {error}"));
        }
        let content = std::fs::read_to_string("log").unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(content, "01__4--7<>appended");
    }

    /// As `gzip`, `mv` and `cp -p` set them: futimens(3) has no path.
    #[test]
    fn times_are_set_by_descriptor() {
        use std::os::unix::fs::MetadataExt;
        let path = std::env::temp_dir().join(format!("guest-agent-times-{}", std::process::id()));
        let file = File::create(&path).unwrap();
        let handle = Handle(0);
        let mut handles = Handles::from([(handle, OwnedFd::from(file.try_clone().unwrap()))]);
        let mut set = |access, modification| {
            let call = Call::SetTimes { target: Target::Handle(handle), access, modification };
            perform(&call, &mut handles).unwrap_or_else(|error| panic!("{call:?}: {error}"));
            let metadata = file.metadata().unwrap();
            ((metadata.atime(), metadata.atime_nsec()), (metadata.mtime(), metadata.mtime_nsec()))
        };
        assert_eq!(set(Time::At(11, 12), Time::At(13, 14)), ((11, 12), (13, 14)));
        assert_eq!(set(Time::Keep, Time::At(15, 16)), ((11, 12), (15, 16)));
        let (access, modification) = set(Time::Now, Time::Keep);
        std::fs::remove_file(&path).unwrap();
        assert!(access.0 > 1_000_000, "{access:?}");
        assert_eq!(modification, (15, 16));
    }
}
