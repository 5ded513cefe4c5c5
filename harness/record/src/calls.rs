//! The system calls that matter, and which of their uses stop the program.

use libc::c_long;

/// Which uses of a call are worth a stop. A filter sees numbers, never memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// Every use.
    Always,
    /// Those with one of the bits of `mask` in argument `argument`.
    AnyBit { argument: u32, mask: u32 },
    /// Those whose argument `argument` is one of `values`.
    OneOf { argument: u32, values: &'static [u32] },
    /// `ioctl`, except the requests that terminals and every descriptor understand (type byte `T`: `TCGETS`,
    /// `FIONREAD`, `FIOCLEX` …): programs ask them of each file they open, and they change no file.
    NotTerminal,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traced {
    pub(crate) number: c_long,
    pub(crate) name: &'static str,
    pub(crate) when: When,
}

/// `__O_TMPFILE` alone (`O_TMPFILE` also holds `O_DIRECTORY`).
const TMPFILE: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;
/// Opening for reading only changes nothing: such a descriptor is looked up when it is used for more.
const OPEN_MASK: u32 = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | TMPFILE) as u32;

/// Newer than the `libc` crate's tables (`arch/x86/entry/syscalls/syscall_64.tbl`).
pub(crate) const SYS_SETXATTRAT: c_long = 463;
pub(crate) const SYS_REMOVEXATTRAT: c_long = 466;
pub(crate) const SYS_FILE_SETATTR: c_long = 469;

const fn always(number: c_long, name: &'static str) -> Traced {
    Traced { number, name, when: When::Always }
}

const fn any_bit(number: c_long, name: &'static str, argument: u32, mask: u32) -> Traced {
    Traced { number, name, when: When::AnyBit { argument, mask } }
}

/// Every call that stops the program. Those whose use decides come first: the filter asks from the top.
pub(crate) const TRACED: &[Traced] = &[
    any_bit(libc::SYS_open, "open", 1, OPEN_MASK),
    any_bit(libc::SYS_openat, "openat", 2, OPEN_MASK),
    // `MAP_SHARED` and `MAP_SHARED_VALIDATE` have bit 0, `MAP_PRIVATE` has not.
    any_bit(libc::SYS_mmap, "mmap", 3, 1),
    Traced {
        number: libc::SYS_fcntl,
        name: "fcntl",
        when: When::OneOf {
            argument: 1,
            values: &[libc::F_DUPFD as u32, libc::F_DUPFD_CLOEXEC as u32, libc::F_SETFL as u32],
        },
    },
    Traced { number: libc::SYS_ioctl, name: "ioctl", when: When::NotTerminal },
    always(libc::SYS_write, "write"),
    always(libc::SYS_pwrite64, "pwrite64"),
    always(libc::SYS_close, "close"),
    always(libc::SYS_writev, "writev"),
    always(libc::SYS_pwritev, "pwritev"),
    always(libc::SYS_pwritev2, "pwritev2"),
    always(libc::SYS_fsync, "fsync"),
    always(libc::SYS_fdatasync, "fdatasync"),
    always(libc::SYS_sync, "sync"),
    always(libc::SYS_syncfs, "syncfs"),
    always(libc::SYS_sync_file_range, "sync_file_range"),
    always(libc::SYS_fadvise64, "fadvise64"),
    always(libc::SYS_openat2, "openat2"),
    always(libc::SYS_creat, "creat"),
    always(libc::SYS_dup, "dup"),
    always(libc::SYS_dup2, "dup2"),
    always(libc::SYS_dup3, "dup3"),
    always(libc::SYS_close_range, "close_range"),
    always(libc::SYS_sendfile, "sendfile"),
    always(libc::SYS_splice, "splice"),
    always(libc::SYS_tee, "tee"),
    always(libc::SYS_vmsplice, "vmsplice"),
    always(libc::SYS_copy_file_range, "copy_file_range"),
    always(libc::SYS_truncate, "truncate"),
    always(libc::SYS_ftruncate, "ftruncate"),
    always(libc::SYS_fallocate, "fallocate"),
    always(libc::SYS_rename, "rename"),
    always(libc::SYS_renameat, "renameat"),
    always(libc::SYS_renameat2, "renameat2"),
    always(libc::SYS_link, "link"),
    always(libc::SYS_linkat, "linkat"),
    always(libc::SYS_symlink, "symlink"),
    always(libc::SYS_symlinkat, "symlinkat"),
    always(libc::SYS_unlink, "unlink"),
    always(libc::SYS_unlinkat, "unlinkat"),
    always(libc::SYS_mkdir, "mkdir"),
    always(libc::SYS_mkdirat, "mkdirat"),
    always(libc::SYS_rmdir, "rmdir"),
    always(libc::SYS_mknod, "mknod"),
    always(libc::SYS_mknodat, "mknodat"),
    always(libc::SYS_bind, "bind"),
    always(libc::SYS_chmod, "chmod"),
    always(libc::SYS_fchmod, "fchmod"),
    always(libc::SYS_fchmodat, "fchmodat"),
    always(libc::SYS_fchmodat2, "fchmodat2"),
    always(libc::SYS_chown, "chown"),
    always(libc::SYS_lchown, "lchown"),
    always(libc::SYS_fchown, "fchown"),
    always(libc::SYS_fchownat, "fchownat"),
    always(libc::SYS_utime, "utime"),
    always(libc::SYS_utimes, "utimes"),
    always(libc::SYS_futimesat, "futimesat"),
    always(libc::SYS_utimensat, "utimensat"),
    always(libc::SYS_setxattr, "setxattr"),
    always(libc::SYS_lsetxattr, "lsetxattr"),
    always(libc::SYS_fsetxattr, "fsetxattr"),
    always(SYS_SETXATTRAT, "setxattrat"),
    always(libc::SYS_removexattr, "removexattr"),
    always(libc::SYS_lremovexattr, "lremovexattr"),
    always(libc::SYS_fremovexattr, "fremovexattr"),
    always(SYS_REMOVEXATTRAT, "removexattrat"),
    always(SYS_FILE_SETATTR, "file_setattr"),
    always(libc::SYS_socketpair, "socketpair"),
    always(libc::SYS_sendto, "sendto"),
    always(libc::SYS_sendmsg, "sendmsg"),
    always(libc::SYS_sendmmsg, "sendmmsg"),
    always(libc::SYS_fork, "fork"),
    always(libc::SYS_vfork, "vfork"),
    always(libc::SYS_clone, "clone"),
    always(libc::SYS_clone3, "clone3"),
    always(libc::SYS_unshare, "unshare"),
    always(libc::SYS_exit_group, "exit_group"),
    always(libc::SYS_io_uring_setup, "io_uring_setup"),
    always(libc::SYS_io_submit, "io_submit"),
    always(libc::SYS_open_by_handle_at, "open_by_handle_at"),
    always(libc::SYS_ptrace, "ptrace"),
    always(libc::SYS_seccomp, "seccomp"),
    always(libc::SYS_chroot, "chroot"),
    always(libc::SYS_pivot_root, "pivot_root"),
    always(libc::SYS_mount, "mount"),
    always(libc::SYS_umount2, "umount2"),
    always(libc::SYS_move_mount, "move_mount"),
    always(libc::SYS_setns, "setns"),
];

/// Whether a call does nothing but change names and files, or sync them: it never waits for another thread of the program,
/// and tells the user nothing. Such a call can wait for its turn without being looked at.
pub(crate) fn only_changes_files(number: c_long) -> bool {
    matches!(
        number,
        libc::SYS_fsync
            | libc::SYS_fdatasync
            | libc::SYS_sync
            | libc::SYS_syncfs
            | libc::SYS_sync_file_range
            | libc::SYS_fadvise64
            | libc::SYS_copy_file_range
            | libc::SYS_truncate
            | libc::SYS_ftruncate
            | libc::SYS_fallocate
            | libc::SYS_rename
            | libc::SYS_renameat
            | libc::SYS_renameat2
            | libc::SYS_link
            | libc::SYS_linkat
            | libc::SYS_symlink
            | libc::SYS_symlinkat
            | libc::SYS_unlink
            | libc::SYS_unlinkat
            | libc::SYS_mkdir
            | libc::SYS_mkdirat
            | libc::SYS_rmdir
            | libc::SYS_mknod
            | libc::SYS_mknodat
            | libc::SYS_bind
            | libc::SYS_chmod
            | libc::SYS_fchmod
            | libc::SYS_fchmodat
            | libc::SYS_fchmodat2
            | libc::SYS_chown
            | libc::SYS_lchown
            | libc::SYS_fchown
            | libc::SYS_fchownat
            | libc::SYS_utime
            | libc::SYS_utimes
            | libc::SYS_futimesat
            | libc::SYS_utimensat
            | libc::SYS_setxattr
            | libc::SYS_lsetxattr
            | libc::SYS_fsetxattr
            | SYS_SETXATTRAT
            | libc::SYS_removexattr
            | libc::SYS_lremovexattr
            | libc::SYS_fremovexattr
            | SYS_REMOVEXATTRAT
            | SYS_FILE_SETATTR
    )
}

/// The name of a call in the table; its number for any other.
pub(crate) fn name(number: c_long) -> String {
    match TRACED.iter().find(|call| call.number == number) {
        Some(call) => call.name.to_owned(),
        None => format!("system call {number}"),
    }
}
