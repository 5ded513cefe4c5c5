//! At the entry of a call: what it is about to do, and to which recorded file.
//!
//! Argument orders are those of the kernel (`include/linux/syscalls.h`), not of the C library.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use libc::{c_long, pid_t};
use program::{Call, Channel, RelPath, Target, Time};

use crate::calls;
use crate::files::Entry;
use crate::recorder::{Action, Plan, Recorder};
use crate::remote::{self, Last, Place, Span};
use crate::stop::Asked;

const AT_FDCWD: i32 = libc::AT_FDCWD;
/// Bits of a creation mode that the kernel keeps.
const PERMISSIONS: u32 = 0o7777;
/// Where the kernel keeps an access list (acl(5)).
const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
const TMPFILE: u32 = (libc::O_TMPFILE & !libc::O_DIRECTORY) as u32;

/// Requests on files that only ask (`include/uapi/linux/fs.h`, `fiemap.h`): `FIBMAP`, `FIGETBSZ`, `FS_IOC_GETFLAGS`, `FS_IOC_GETVERSION`,
/// `FS_IOC_FIEMAP`, `FS_IOC_FSGETXATTR`, `FS_IOC_GETFSLABEL`, `FS_IOC_GETFSUUID`.
const HARMLESS_IOCTLS: [u32; 8] = [1, 2, 0x8008_6601, 0x8008_7601, 0xc020_660b, 0x801c_581f, 0x8100_9431, 0x8011_1500];

/// Where a path leads, seen from the recorded directory.
enum Spot {
    Inside(RelPath),
    Fd(i32),
    /// Canonical.
    Outside(PathBuf),
    /// Nowhere that the recorder can see, as the call will find too; and what to tell if that one succeeds.
    Nowhere(String),
}

/// A path argument.
#[derive(Clone, Copy)]
struct PathAt {
    dirfd: i32,
    address: u64,
}

fn at(dirfd: u64, address: u64) -> PathAt {
    PathAt { dirfd: dirfd as i32, address }
}

fn cwd(address: u64) -> PathAt {
    PathAt { dirfd: AT_FDCWD, address }
}

/// A `struct sockaddr` argument; none longer than the kernel takes (`struct sockaddr_storage`).
fn name(address: u64, length: u64) -> Option<Span> {
    let fits = (1..=size_of::<libc::sockaddr_storage>() as u64).contains(&length);
    (address != 0 && fits).then_some(Span { address, length })
}

fn record(call: Call) -> Plan {
    Plan::Await { action: Action::Record { call, even_if_failed: false }, exclusive: true }
}

/// A failed sync is worth knowing: fsync(2) may tell of lost data.
fn sync(call: Call) -> Plan {
    Plan::Await { action: Action::Record { call, even_if_failed: true }, exclusive: true }
}

fn free(action: Action) -> Plan {
    Plan::Await { action, exclusive: false }
}

fn exclusive(action: Action) -> Plan {
    Plan::Await { action, exclusive: true }
}

fn beyond(detail: &str) -> Plan {
    free(Action::Limit { detail: detail.to_owned() })
}

/// What to do about a call with a path that leads nowhere, which will fail. It must not begin beside another one that makes
/// what its path lacks.
fn nowhere(detail: String) -> Plan {
    exclusive(Action::Limit { detail })
}

/// What to do about a call that changes what is at paths outside the directory.
fn outside(paths: impl Into<Vec<PathBuf>>) -> Plan {
    free(Action::Outside { paths: paths.into() })
}

impl Spot {
    /// What to do about a call that changes what is there, if it is nothing for the trace.
    fn elsewhere(self) -> Plan {
        match self {
            Self::Outside(path) => outside([path]),
            Self::Nowhere(detail) => nowhere(detail),
            Self::Inside(_) | Self::Fd(_) => Plan::Pass,
        }
    }
}

impl Recorder<'_> {
    /// What to do about a call.
    pub(crate) fn plan(&mut self, asked: &Asked, number: c_long) -> Plan {
        let planned = self.try_plan(asked, number);
        // No such memory, no such thread: then the call will fail as well.
        self.seen(asked.tid, &calls::name(number), planned).unwrap_or(Plan::Pass)
    }

    fn try_plan(&mut self, asked: &Asked, number: c_long) -> io::Result<Plan> {
        let Asked { tid, args: a, .. } = *asked;
        let fd = a[0] as i32;
        Ok(match number {
            libc::SYS_write => self.write(tid, fd, None, 0, |_| Ok(vec![Span { address: a[1], length: a[2] }]))?,
            libc::SYS_pwrite64 => {
                self.write(tid, fd, Some(a[3]), 0, |_| Ok(vec![Span { address: a[1], length: a[2] }]))?
            }
            libc::SYS_writev => self.write(tid, fd, None, 0, |tid| remote::iovecs(tid, a[1], a[2]))?,
            libc::SYS_pwritev => self.write(tid, fd, Some(a[3]), 0, |tid| remote::iovecs(tid, a[1], a[2]))?,
            libc::SYS_pwritev2 => {
                // "If the offset argument is -1, then the current file offset is used."
                let offset = Some(a[3]).filter(|offset| *offset != u64::MAX);
                self.write(tid, fd, offset, a[5] as u32, |tid| remote::iovecs(tid, a[1], a[2]))?
            }
            libc::SYS_open => self.open(tid, cwd(a[0]), a[1] as u32, a[2] as u32),
            libc::SYS_creat => {
                self.open(tid, cwd(a[0]), (libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC) as u32, a[1] as u32)
            }
            libc::SYS_openat => self.open(tid, at(a[0], a[1]), a[2] as u32, a[3] as u32),
            libc::SYS_openat2 => {
                let [flags, mode] = remote::words(tid, a[2])?;
                self.open(tid, at(a[0], a[1]), flags as u32, mode as u32)
            }
            libc::SYS_open_by_handle_at => free(Action::Look),
            libc::SYS_close => self.close(tid, fd),
            libc::SYS_close_range => Self::close_range(a[0] as u32, a[1] as u32, a[2] as u32),
            libc::SYS_dup => self.dup(tid, fd),
            libc::SYS_dup2 | libc::SYS_dup3 => self.replace(tid, fd, a[1] as i32),
            libc::SYS_fcntl => match (a[1] as i32, self.entry(tid, fd)) {
                (libc::F_SETFL, Some(Entry::File(handle))) => free(Action::SetFlags { handle, flags: a[2] as u32 }),
                (libc::F_SETFL, _) => Plan::Pass,
                _ => self.dup(tid, fd),
            },
            libc::SYS_ioctl => self.ioctl(tid, fd, a[1] as u32),
            libc::SYS_mmap => self.mmap(tid, a[4] as i32),
            libc::SYS_fsync => self.on_handle(tid, fd, |handle| sync(Call::Fsync { handle })),
            libc::SYS_fdatasync => self.on_handle(tid, fd, |handle| sync(Call::Fdatasync { handle })),
            libc::SYS_sync_file_range => self.on_handle(tid, fd, |handle| {
                sync(Call::SyncRange { handle, offset: a[1], length: a[2], flags: a[3] as u32 })
            }),
            libc::SYS_fadvise64 if a[3] as i32 == libc::POSIX_FADV_DONTNEED => {
                self.on_handle(tid, fd, |handle| record(Call::DontNeed { handle, offset: a[1], length: a[2] }))
            }
            libc::SYS_sync => sync(Call::SyncAll),
            libc::SYS_syncfs => match self.handle(tid, fd) {
                Some(handle) => sync(Call::SyncFs { handle }),
                // Any file of the same file system will do; the guest's holds the directory alone.
                None if fs::metadata(remote::fd_link(tid, fd))?.dev() == self.scene.device => sync(Call::SyncAll),
                None => Plan::Pass,
            },
            libc::SYS_sendfile => self.transfer(tid, a[1] as i32, fd, None, true)?,
            libc::SYS_splice => self.transfer(tid, fd, a[2] as i32, Some(a[3]).filter(|&at| at != 0), false)?,
            libc::SYS_tee => self.transfer(tid, fd, a[1] as i32, None, false)?,
            libc::SYS_vmsplice => match self.channel(tid, fd, None) {
                Some(channel) => free(Action::UnseenAck { channel }),
                None => Plan::Pass,
            },
            libc::SYS_copy_file_range => self.copy_range(tid, &a)?,
            libc::SYS_socketpair => free(Action::SocketPair { address: a[3] }),
            libc::SYS_sendto => match self.channel(tid, fd, name(a[4], a[5])) {
                Some(channel) => free(Action::Ack { channel, spans: vec![Span { address: a[1], length: a[2] }] }),
                None => Plan::Pass,
            },
            libc::SYS_sendmsg => {
                // `msg_name`, `msg_namelen`, `msg_iov` and `msg_iovlen` of `struct msghdr`.
                let [to, length, vector, count] = remote::words(tid, a[1])?;
                match self.channel(tid, fd, name(to, length & 0xffff_ffff)) {
                    Some(channel) => free(Action::Ack { channel, spans: remote::iovecs(tid, vector, count)? }),
                    None => Plan::Pass,
                }
            }
            libc::SYS_sendmmsg => {
                // The first message's receiver stands for all.
                let [to, length] = remote::words(tid, a[1])?;
                match self.channel(tid, fd, name(to, length & 0xffff_ffff)) {
                    Some(channel) => free(Action::Acks { channel, address: a[1] }),
                    None => Plan::Pass,
                }
            }
            libc::SYS_truncate => {
                self.on_target(tid, cwd(a[0]), 0, |target| record(Call::Truncate { target, length: a[1] }))?
            }
            libc::SYS_ftruncate => self
                .on_handle(tid, fd, |handle| record(Call::Truncate { target: Target::Handle(handle), length: a[1] })),
            libc::SYS_fallocate => self.on_handle(tid, fd, |handle| {
                record(Call::Allocate { handle, mode: a[1] as u32, offset: a[2], length: a[3] })
            }),
            libc::SYS_rename => self.rename(tid, cwd(a[0]), cwd(a[1]), 0)?,
            libc::SYS_renameat => self.rename(tid, at(a[0], a[1]), at(a[2], a[3]), 0)?,
            libc::SYS_renameat2 => self.rename(tid, at(a[0], a[1]), at(a[2], a[3]), a[4] as u32)?,
            libc::SYS_link => self.link(tid, cwd(a[0]), cwd(a[1]), 0)?,
            libc::SYS_linkat => self.link(tid, at(a[0], a[1]), at(a[2], a[3]), a[4] as i32)?,
            libc::SYS_symlink => self.symlink(tid, a[0], cwd(a[1]))?,
            libc::SYS_symlinkat => self.symlink(tid, a[0], at(a[1], a[2]))?,
            libc::SYS_unlink => self.on_name(tid, cwd(a[0]), |path| Call::Unlink { path })?,
            libc::SYS_rmdir => self.on_name(tid, cwd(a[0]), |path| Call::Rmdir { path })?,
            libc::SYS_unlinkat if a[2] as i32 & libc::AT_REMOVEDIR != 0 => {
                self.on_name(tid, at(a[0], a[1]), |path| Call::Rmdir { path })?
            }
            libc::SYS_unlinkat => self.on_name(tid, at(a[0], a[1]), |path| Call::Unlink { path })?,
            libc::SYS_mkdir => self.mkdir(tid, cwd(a[0]), a[1] as u32)?,
            libc::SYS_mkdirat => self.mkdir(tid, at(a[0], a[1]), a[2] as u32)?,
            libc::SYS_mknod => self.mknod(tid, cwd(a[0]), a[1] as u32, a[2])?,
            libc::SYS_mknodat => self.mknod(tid, at(a[0], a[1]), a[2] as u32, a[3])?,
            libc::SYS_bind => self.bind(tid, a[1], a[2])?,
            libc::SYS_chmod => self.chmod(tid, cwd(a[0]), a[1] as u32, 0)?,
            libc::SYS_fchmodat => self.chmod(tid, at(a[0], a[1]), a[2] as u32, 0)?,
            libc::SYS_fchmodat2 => self.chmod(tid, at(a[0], a[1]), a[2] as u32, a[3] as i32)?,
            libc::SYS_fchmod => self.on_handle(tid, fd, |handle| {
                record(Call::Chmod { target: Target::Handle(handle), mode: a[1] as u32 & PERMISSIONS })
            }),
            libc::SYS_chown => self.chown(tid, cwd(a[0]), a[1], a[2], 0)?,
            libc::SYS_lchown => self.chown(tid, cwd(a[0]), a[1], a[2], libc::AT_SYMLINK_NOFOLLOW)?,
            libc::SYS_fchownat => self.chown(tid, at(a[0], a[1]), a[2], a[3], a[4] as i32)?,
            libc::SYS_fchown => self.on_handle(tid, fd, |handle| {
                record(Call::Chown { target: Target::Handle(handle), uid: a[1] as u32, gid: a[2] as u32 })
            }),
            libc::SYS_utime => self.times(tid, cwd(a[0]), 0, utimbuf(tid, a[1])?)?,
            libc::SYS_utimes => self.times(tid, cwd(a[0]), 0, timevals(tid, a[1])?)?,
            libc::SYS_futimesat => self.times(tid, at(a[0], a[1]), 0, timevals(tid, a[2])?)?,
            libc::SYS_utimensat => self.times(tid, at(a[0], a[1]), a[3] as i32, timespecs(tid, a[2])?)?,
            libc::SYS_setxattr => self.set_xattr(tid, cwd(a[0]), 0, a[1], [a[2], a[3], a[4]])?,
            libc::SYS_lsetxattr => {
                self.set_xattr(tid, cwd(a[0]), libc::AT_SYMLINK_NOFOLLOW, a[1], [a[2], a[3], a[4]])?
            }
            libc::SYS_fsetxattr => self.set_xattr(tid, at(a[0], 0), 0, a[1], [a[2], a[3], a[4]])?,
            calls::SYS_SETXATTRAT => {
                // `struct xattr_args`: value, then size and flags of 32 bits each.
                let [value, rest] = remote::words(tid, a[4])?;
                let rest = [value, rest & 0xffff_ffff, rest >> 32];
                self.set_xattr(tid, at(a[0], a[1]), a[2] as i32, a[3], rest)?
            }
            libc::SYS_removexattr => self.remove_xattr(tid, cwd(a[0]), 0, a[1])?,
            libc::SYS_lremovexattr => self.remove_xattr(tid, cwd(a[0]), libc::AT_SYMLINK_NOFOLLOW, a[1])?,
            libc::SYS_fremovexattr => self.remove_xattr(tid, at(a[0], 0), 0, a[1])?,
            calls::SYS_REMOVEXATTRAT => self.remove_xattr(tid, at(a[0], a[1]), a[2] as i32, a[3])?,
            calls::SYS_FILE_SETATTR => self.on_target(tid, at(a[0], a[1]), a[4] as i32, |_| {
                beyond("changed file attributes below the directory")
            })?,
            libc::SYS_fork | libc::SYS_vfork => self.cloning(tid, 0),
            libc::SYS_clone => self.cloning(tid, a[0]),
            libc::SYS_clone3 => {
                let [flags] = remote::words(tid, a[0])?;
                self.cloning(tid, flags)
            }
            libc::SYS_unshare if a[0] as i32 & libc::CLONE_NEWNS != 0 => {
                beyond("went into a mount namespace of its own: paths may mean other files there")
            }
            libc::SYS_unshare if a[0] as i32 & libc::CLONE_FILES != 0 => free(Action::Unshare),
            libc::SYS_unshare => Plan::Pass,
            libc::SYS_exit_group => Plan::End,
            libc::SYS_io_uring_setup => beyond("its requests bypass system calls and are not followed"),
            libc::SYS_io_submit => self.io_submit(tid, a[1], a[2])?,
            libc::SYS_ptrace => beyond("the program traces another: what it makes that one do may be missed"),
            // SECCOMP_SET_MODE_FILTER
            libc::SYS_seccomp if a[0] == 1 && a[1] & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0 => {
                beyond("calls that a seccomp listener answers are not seen")
            }
            libc::SYS_seccomp => Plan::Pass,
            libc::SYS_chroot
            | libc::SYS_pivot_root
            | libc::SYS_mount
            | libc::SYS_umount2
            | libc::SYS_move_mount
            | libc::SYS_setns => beyond("changed what paths mean: files may be taken for others"),
            _ => Plan::Pass,
        })
    }

    fn write(
        &mut self,
        tid: pid_t,
        fd: i32,
        offset: Option<u64>,
        flags: u32,
        spans: impl FnOnce(pid_t) -> io::Result<Vec<Span>>,
    ) -> io::Result<Plan> {
        Ok(match self.entry(tid, fd) {
            Some(Entry::File(handle)) => {
                // With another user of the position, where the bytes went can only be told if it moved by them alone.
                let shared = offset.is_none() && self.files.shared(self.table(tid), handle);
                let before = if shared { Some(self.files.position(tid, fd, handle)?) } else { None };
                exclusive(Action::Write { handle, fd, spans: spans(tid)?, offset, before, flags })
            }
            Some(Entry::Channel(_)) => match self.channel(tid, fd, None) {
                Some(channel) => free(Action::Ack { channel, spans: spans(tid)? }),
                None => Plan::Pass,
            },
            _ => Plan::Pass,
        })
    }

    /// Through what bytes that are written to a descriptor leave the program; `name` is where they go, if the call says
    /// it. `None`: it is no channel, or somebody who is recorded too gets them.
    fn channel(&mut self, tid: pid_t, fd: i32, name: Option<Span>) -> Option<Channel> {
        let Some(Entry::Channel(channel)) = self.entry(tid, fd) else { return None };
        (channel != Channel::Socket || !self.stays_within(tid, fd, name)).then_some(channel)
    }

    fn open(&mut self, tid: pid_t, path: PathAt, flags: u32, mode: u32) -> Plan {
        let writes = flags & (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) as u32 != 0 || flags & TMPFILE != 0;
        if !writes || flags & libc::O_PATH as u32 != 0 {
            return Plan::Pass;
        }
        // Opening a FIFO waits for its other end, which may be a thread that would wait for this one's turn.
        let alone = self.threads.len() == 1;
        let exclusive = alone || !self.may_block(tid, path);
        Plan::Await { action: Action::Open { flags, mode }, exclusive }
    }

    fn may_block(&self, tid: pid_t, path: PathAt) -> bool {
        let Ok(text) = remote::string(tid, path.address) else { return false };
        let Ok(metadata) = fs::metadata(remote::spell(tid, self.process(tid), path.dirfd, &text)) else { return false };
        let kind = metadata.file_type();
        kind.is_fifo() || kind.is_char_device() || kind.is_block_device()
    }

    fn process(&self, tid: pid_t) -> pid_t {
        self.threads.get(&tid).map_or(tid, |thread| thread.process)
    }

    fn close(&mut self, tid: pid_t, fd: i32) -> Plan {
        let table = self.table(tid);
        match self.files.get(table, fd) {
            Some(Entry::File(_)) => exclusive(Action::Close { fd }),
            _ => {
                self.files.remove(table, fd);
                Plan::Pass
            }
        }
    }

    fn close_range(first: u32, last: u32, flags: u32) -> Plan {
        if flags & libc::CLOSE_RANGE_CLOEXEC != 0 {
            // What an exec leaves open is looked up when it happens.
            return Plan::Pass;
        }
        exclusive(Action::CloseRange { first, last, unshare: flags & libc::CLOSE_RANGE_UNSHARE != 0 })
    }

    fn dup(&mut self, tid: pid_t, fd: i32) -> Plan {
        match self.files.get(self.table(tid), fd) {
            Some(Entry::File(handle)) => exclusive(Action::Dup { handle }),
            // The new descriptor is looked up when it is used.
            _ => Plan::Pass,
        }
    }

    fn replace(&mut self, tid: pid_t, from: i32, to: i32) -> Plan {
        let table = self.table(tid);
        if from == to {
            return Plan::Pass;
        }
        match (self.files.get(table, from), self.files.get(table, to)) {
            (Some(Entry::File(_)), _) | (_, Some(Entry::File(_))) => exclusive(Action::Replace { fd: from }),
            _ => {
                self.files.remove(table, to);
                Plan::Pass
            }
        }
    }

    fn ioctl(&mut self, tid: pid_t, fd: i32, request: u32) -> Plan {
        match self.entry(tid, fd) {
            Some(Entry::File(_) | Entry::Reader) if !HARMLESS_IOCTLS.contains(&request) => {
                let name = remote::fd_name(tid, fd).ok().and_then(|path| self.inside(&path));
                let name = name.map(|path| path.to_string()).unwrap_or_default();
                beyond(&format!("request {request:#x} on {name}: what it does is not in the trace"))
            }
            _ => Plan::Pass,
        }
    }

    /// Called for shared mappings only.
    fn mmap(&mut self, tid: pid_t, fd: i32) -> Plan {
        if fd < 0 {
            return Plan::Pass;
        }
        let Some(Entry::File(handle)) = self.entry(tid, fd) else { return Plan::Pass };
        match self.files.file(handle) {
            Some(file) if file.flags & libc::O_ACCMODE as u32 != libc::O_RDONLY as u32 => {
                beyond(&format!("shared mapping of {}: what is written through it is not followed", file.path))
            }
            _ => Plan::Pass,
        }
    }

    fn transfer(&mut self, tid: pid_t, from: i32, to: i32, offset: Option<u64>, from_file: bool) -> io::Result<Plan> {
        Ok(match self.entry(tid, to) {
            Some(Entry::File(handle)) => {
                let offset = match offset {
                    Some(address) => Some(remote::words::<1>(tid, address)?[0]),
                    None => None,
                };
                // Waiting for a pipe must not keep its writer from getting a turn.
                let waits = !from_file || fs::metadata(remote::fd_link(tid, from)).is_ok_and(|from| !from.is_file());
                Plan::Await { action: Action::Transfer { handle, fd: to, offset }, exclusive: !waits }
            }
            Some(Entry::Channel(_)) => match self.channel(tid, to, None) {
                Some(channel) => free(Action::UnseenAck { channel }),
                None => Plan::Pass,
            },
            _ => Plan::Pass,
        })
    }

    fn copy_range(&mut self, tid: pid_t, a: &[u64; 6]) -> io::Result<Plan> {
        let (from, to) = (a[0] as i32, a[2] as i32);
        let Some(Entry::File(handle)) = self.entry(tid, to) else { return Ok(Plan::Pass) };
        let offset = |address: u64| -> io::Result<Option<u64>> {
            Ok(if address == 0 { None } else { Some(remote::words::<1>(tid, address)?[0]) })
        };
        let (from_offset, to_offset) = (offset(a[1])?, offset(a[3])?);
        Ok(exclusive(match self.handle(tid, from) {
            Some(source) => Action::CopyRange { from: (source, from), from_offset, to: (handle, to), to_offset },
            None => Action::Transfer { handle, fd: to, offset: to_offset },
        }))
    }

    fn io_submit(&mut self, tid: pid_t, count: u64, list: u64) -> io::Result<Plan> {
        // `struct iocb` (`include/uapi/linux/aio_abi.h`): the operation at byte 16, the descriptor at byte 20.
        const WRITING: [u16; 4] = [1, 2, 3, 8];
        for index in 0..count.min(1024) {
            let [address] = remote::words(tid, list + 8 * index)?;
            let block: [u8; 24] = remote::array(tid, address)?;
            let operation = u16::from_ne_bytes([block[16], block[17]]);
            let fd = i32::from_ne_bytes([block[20], block[21], block[22], block[23]]);
            if WRITING.contains(&operation) && self.handle(tid, fd).is_some() {
                return Ok(beyond("asynchronous writes are not followed"));
            }
        }
        Ok(Plan::Pass)
    }

    fn cloning(&mut self, tid: pid_t, flags: u64) -> Plan {
        if flags & libc::CLONE_UNTRACED as u64 != 0 {
            self.limit("clone", "a child was kept from being traced: its calls of interest fail with ENOSYS");
        }
        if let Some(thread) = self.threads.get_mut(&tid) {
            thread.clone_flags = flags;
        }
        Plan::Pass
    }

    fn spot(&self, tid: pid_t, path: PathAt, last: Last) -> io::Result<Spot> {
        let text = remote::string(tid, path.address)?;
        self.spot_of(tid, path.dirfd, &text, last)
    }

    fn spot_of(&self, tid: pid_t, dirfd: i32, text: &[u8], last: Last) -> io::Result<Spot> {
        Ok(match remote::resolve(tid, self.process(tid), dirfd, text, last) {
            Ok(Place::At(path)) => self.inside(&path).map_or(Spot::Outside(path), Spot::Inside),
            Ok(Place::Fd(fd)) => Spot::Fd(fd),
            Ok(Place::Nowhere) => {
                Spot::Nowhere("its path led nowhere when it began, and still it succeeded".to_owned())
            }
            // Most often the program may not look there either, and the call fails.
            Err(error) => {
                let text = String::from_utf8_lossy(text);
                Spot::Nowhere(format!("cannot see where {text:?} leads ({error}), and it succeeded"))
            }
        })
    }

    /// A call that makes or removes one name.
    fn on_name(&mut self, tid: pid_t, path: PathAt, make: impl FnOnce(RelPath) -> Call) -> io::Result<Plan> {
        Ok(match self.spot(tid, path, Last::Name)? {
            Spot::Inside(path) if path.is_root() => beyond("moved or removed the recorded directory itself"),
            Spot::Inside(path) => record(make(path)),
            other => other.elsewhere(),
        })
    }

    fn mkdir(&mut self, tid: pid_t, path: PathAt, mode: u32) -> io::Result<Plan> {
        // "mode & ~umask & 0777", and the sticky bit (mkdir(2)).
        let mode = mode & 0o1777 & !remote::umask(tid)?;
        self.on_name(tid, path, |path| Call::Mkdir { path, mode })
    }

    fn mknod(&mut self, tid: pid_t, path: PathAt, mode: u32, device: u64) -> io::Result<Plan> {
        // "Zero file type is equivalent to type S_IFREG" (mknod(2)).
        let kind = if mode & libc::S_IFMT == 0 { libc::S_IFREG } else { mode & libc::S_IFMT };
        let mode = kind | (mode & PERMISSIONS & !remote::umask(tid)?);
        self.on_name(tid, path, |path| Call::Mknod { path, mode, device })
    }

    fn bind(&mut self, tid: pid_t, address: u64, length: u64) -> io::Result<Plan> {
        let length = length.min(size_of::<libc::sockaddr_un>() as u64);
        let data = remote::bytes(tid, &[Span { address, length }], length as usize)?;
        let Some((family, name)) = data.split_at_checked(2) else { return Ok(Plan::Pass) };
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        if family != (libc::AF_UNIX as u16).to_ne_bytes() || name.is_empty() {
            return Ok(Plan::Pass);
        }
        Ok(match self.spot_of(tid, AT_FDCWD, name, Last::Name)? {
            Spot::Inside(path) => {
                let mode = libc::S_IFSOCK | (0o777 & !remote::umask(tid)?);
                record(Call::Mknod { path, mode, device: 0 })
            }
            other => other.elsewhere(),
        })
    }

    fn rename(&mut self, tid: pid_t, from: PathAt, to: PathAt, flags: u32) -> io::Result<Plan> {
        Ok(match (self.spot(tid, from, Last::Name)?, self.spot(tid, to, Last::Name)?) {
            (Spot::Inside(from), Spot::Inside(to)) if from.is_root() || to.is_root() => {
                beyond("moved or removed the recorded directory itself")
            }
            (Spot::Inside(from), Spot::Inside(to)) => record(Call::Rename { from, to, flags }),
            (Spot::Inside(path), Spot::Outside(_)) => beyond(&format!("{path} left the recorded directory")),
            (Spot::Outside(_), Spot::Inside(path)) => {
                beyond(&format!("{path} came from outside the recorded directory"))
            }
            (Spot::Outside(from), Spot::Outside(to)) => outside([from, to]),
            (Spot::Nowhere(detail), _) | (_, Spot::Nowhere(detail)) => nowhere(detail),
            (Spot::Fd(_), _) | (_, Spot::Fd(_)) => Plan::Pass,
        })
    }

    fn link(&mut self, tid: pid_t, from: PathAt, to: PathAt, flags: i32) -> io::Result<Plan> {
        let text = remote::string(tid, from.address)?;
        let from = if text.is_empty() && flags & libc::AT_EMPTY_PATH != 0 {
            Spot::Fd(from.dirfd)
        } else {
            let last = if flags & libc::AT_SYMLINK_FOLLOW != 0 { Last::Follow } else { Last::Name };
            self.spot_of(tid, from.dirfd, &text, last)?
        };
        let from = match from {
            Spot::Fd(fd) => self.target_of_fd(tid, fd),
            // Resolved as far as the kernel does.
            Spot::Inside(path) => Some(Target::NoFollow(path)),
            Spot::Outside(_) => None,
            Spot::Nowhere(detail) => return Ok(nowhere(detail)),
        };
        Ok(match (from, self.spot(tid, to, Last::Name)?) {
            (Some(from), Spot::Inside(to)) => record(Call::Link { from, to }),
            (None, Spot::Inside(to)) => beyond(&format!("{to} is a link to a file outside the recorded directory")),
            (Some(_), Spot::Outside(_)) => beyond("a file of the recorded directory was given a name outside of it"),
            (_, to) => to.elsewhere(),
        })
    }

    fn symlink(&mut self, tid: pid_t, target: u64, path: PathAt) -> io::Result<Plan> {
        let target = remote::string(tid, target)?;
        self.on_name(tid, path, |path| Call::Symlink { path, target })
    }

    /// What a call that changes metadata is about, by name or (without one) by descriptor. `Err`: nothing of ours, and what to
    /// do about the call then.
    fn target(&mut self, tid: pid_t, path: PathAt, flags: i32) -> io::Result<Result<Target, Plan>> {
        let text = if path.address == 0 { Vec::new() } else { remote::string(tid, path.address)? };
        if text.is_empty() && path.dirfd != AT_FDCWD {
            return Ok(self.target_of_fd(tid, path.dirfd).ok_or(Plan::Pass));
        }
        let text = if text.is_empty() { b".".to_vec() } else { text };
        let keep = flags & libc::AT_SYMLINK_NOFOLLOW != 0;
        let last = if keep { Last::Keep } else { Last::Follow };
        Ok(match self.spot_of(tid, path.dirfd, &text, last)? {
            Spot::Inside(path) if keep => Ok(Target::NoFollow(path)),
            Spot::Inside(path) => Ok(Target::Path(path)),
            Spot::Fd(fd) => self.target_of_fd(tid, fd).ok_or(Plan::Pass),
            other => Err(other.elsewhere()),
        })
    }

    fn target_of_fd(&mut self, tid: pid_t, fd: i32) -> Option<Target> {
        match self.entry(tid, fd)? {
            Entry::Name => {
                let path = self.seen(tid, "descriptor", remote::fd_name(tid, fd))?;
                Some(Target::NoFollow(self.inside(&path)?))
            }
            _ => self.handle(tid, fd).map(Target::Handle),
        }
    }

    fn on_target(
        &mut self,
        tid: pid_t,
        path: PathAt,
        flags: i32,
        make: impl FnOnce(Target) -> Plan,
    ) -> io::Result<Plan> {
        Ok(self.target(tid, path, flags)?.map_or_else(|plan| plan, make))
    }

    fn on_handle(&mut self, tid: pid_t, fd: i32, make: impl FnOnce(program::Handle) -> Plan) -> Plan {
        self.handle(tid, fd).map_or(Plan::Pass, make)
    }

    fn chmod(&mut self, tid: pid_t, path: PathAt, mode: u32, flags: i32) -> io::Result<Plan> {
        self.on_target(tid, path, flags, |target| {
            record(Call::Chmod { target: chmod_target(target), mode: mode & PERMISSIONS })
        })
    }

    fn chown(&mut self, tid: pid_t, path: PathAt, uid: u64, gid: u64, flags: i32) -> io::Result<Plan> {
        self.on_target(tid, path, flags, |target| record(Call::Chown { target, uid: uid as u32, gid: gid as u32 }))
    }

    fn times(&mut self, tid: pid_t, path: PathAt, flags: i32, times: [Time; 2]) -> io::Result<Plan> {
        let [access, modification] = times;
        self.on_target(tid, path, flags, |target| record(Call::SetTimes { target, access, modification }))
    }

    /// `rest`: address and length of the value, and flags.
    fn set_xattr(&mut self, tid: pid_t, path: PathAt, at_flags: i32, name: u64, rest: [u64; 3]) -> io::Result<Plan> {
        let [address, length, flags] = rest;
        let target = match self.target(tid, path, at_flags)? {
            Ok(target) => target,
            Err(plan) => return Ok(plan),
        };
        // XATTR_SIZE_MAX (`include/uapi/linux/limits.h`).
        if length > 65_536 {
            return Ok(Plan::Pass);
        }
        let name = remote::string(tid, name)?;
        let value = remote::bytes(tid, &[Span { address, length }], length as usize)?;
        if name == ACCESS_ACL
            && let Some(permissions) = plain_acl(&value)
        {
            let special = fs::metadata(self.host_path(tid, path)?)?.mode() & 0o7000;
            let target = chmod_target(target);
            return Ok(record(Call::Chmod { target, mode: special | permissions }));
        }
        Ok(record(Call::SetXattr { target, name, value, flags: flags as u32 }))
    }

    /// The file of a path argument, followed; without a path that of the descriptor.
    fn host_path(&self, tid: pid_t, path: PathAt) -> io::Result<PathBuf> {
        let text = if path.address == 0 { Vec::new() } else { remote::string(tid, path.address)? };
        Ok(match text.is_empty() {
            true => remote::fd_link(tid, path.dirfd),
            false => remote::spell(tid, self.process(tid), path.dirfd, &text),
        })
    }

    fn remove_xattr(&mut self, tid: pid_t, path: PathAt, flags: i32, name: u64) -> io::Result<Plan> {
        let target = match self.target(tid, path, flags)? {
            Ok(target) => target,
            Err(plan) => return Ok(plan),
        };
        let name = remote::string(tid, name)?;
        // Removing an access list that is not there succeeds, and does nothing.
        let is_acl = name.starts_with(b"system.posix_acl_");
        if is_acl && xattr::get_deref(self.host_path(tid, path)?, OsStr::from_bytes(&name))?.is_none() {
            return Ok(Plan::Pass);
        }
        Ok(record(Call::RemoveXattr { target, name }))
    }
}

/// A symbolic link has no mode to change, so what is left is none; and kernels before 6.6 know no other way.
fn chmod_target(target: Target) -> Target {
    match target {
        Target::NoFollow(path) => Target::Path(path),
        target => target,
    }
}

/// The permissions that an access list stands for if it grants nothing beyond them: the kernel then stores only those.
/// Format: `include/uapi/linux/posix_acl_xattr.h`.
fn plain_acl(value: &[u8]) -> Option<u32> {
    const VERSION: [u8; 4] = 2u32.to_le_bytes();
    let mut mode = 0;
    for entry in value.strip_prefix(&VERSION)?.chunks(8) {
        let (tag, permissions) = (u16::from_le_bytes(*entry.first_chunk()?), u32::from(*entry.get(2)?));
        mode |= match tag {
            // ACL_USER_OBJ, ACL_GROUP_OBJ, ACL_OTHER.
            0x01 => permissions << 6,
            0x04 => permissions << 3,
            0x20 => permissions,
            _ => return None,
        };
    }
    Some(mode)
}

fn utimbuf(tid: pid_t, address: u64) -> io::Result<[Time; 2]> {
    if address == 0 {
        return Ok([Time::Now; 2]);
    }
    let [access, modification] = remote::words(tid, address)?;
    Ok([Time::At(access as i64, 0), Time::At(modification as i64, 0)])
}

fn timevals(tid: pid_t, address: u64) -> io::Result<[Time; 2]> {
    if address == 0 {
        return Ok([Time::Now; 2]);
    }
    let [seconds, micros, more_seconds, more_micros] = remote::words(tid, address)?;
    let time = |seconds: u64, micros: u64| Time::At(seconds as i64, micros.saturating_mul(1000) as u32);
    Ok([time(seconds, micros), time(more_seconds, more_micros)])
}

fn timespecs(tid: pid_t, address: u64) -> io::Result<[Time; 2]> {
    if address == 0 {
        return Ok([Time::Now; 2]);
    }
    let [seconds, nanos, more_seconds, more_nanos] = remote::words(tid, address)?;
    let time = |seconds: u64, nanos: u64| match nanos as i64 {
        libc::UTIME_NOW => Time::Now,
        libc::UTIME_OMIT => Time::Keep,
        nanos => Time::At(seconds as i64, nanos as u32),
    };
    Ok([time(seconds, nanos), time(more_seconds, more_nanos)])
}
