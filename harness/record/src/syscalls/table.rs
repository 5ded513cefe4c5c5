//! The table of system calls.

use libc::c_long;

use super::{
    Class, Enter, Stops, Syscall, TMPFILE, acks, asynchronous, data, descriptors, mappings, metadata, names, open,
    processes, sync, xattrs,
};

/// The numbers of x86-64, under the names of the C library.
mod numbers {
    #![allow(non_upper_case_globals, reason = "named like their kin in the libc crate")]

    pub(super) use libc::*;

    // Newer than that crate's tables (`arch/x86/entry/syscalls/syscall_64.tbl`).
    pub(super) const SYS_setxattrat: c_long = 463;
    pub(super) const SYS_removexattrat: c_long = 466;
    pub(super) const SYS_file_setattr: c_long = 469;
}

/// A row: `row!(SYS_rename, FilesOnly, names::rename)`. Number and name come from the first word, so they cannot disagree.
macro_rules! row {
    ($number:ident, $class:ident, $enter:path) => {
        Syscall::new(numbers::$number, stringify!($number), Class::$class, $enter)
    };
}

impl Syscall {
    /// `constant` is the name of the number's constant.
    const fn new(number: c_long, constant: &'static str, class: Class, enter: Enter) -> Self {
        let (_, name) = constant.split_at("SYS_".len());
        Self { number, name, stops: Stops::Always, class, enter }
    }

    /// The same call, of which only some uses stop.
    const fn only(self, stops: Stops) -> Self {
        Self { stops, ..self }
    }
}

/// Opening for reading only changes nothing: such a descriptor is looked up when it is used for more.
const OPENS_TO_CHANGE: u32 = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) as u32 | TMPFILE;
/// `MAP_SHARED` and `MAP_SHARED_VALIDATE` have bit 0, `MAP_PRIVATE` has not.
const SHARED: u32 = 1;
const FIXED: u32 = libc::MAP_FIXED as u32;
const WRITABLE: u32 = libc::PROT_WRITE as u32;
/// The commands of fcntl(2) that give another descriptor, change what a write does, or depend on who has the file open.
const FCNTL_COMMANDS: &[u32] =
    &[libc::F_DUPFD as u32, libc::F_DUPFD_CLOEXEC as u32, libc::F_SETFL as u32, libc::F_SETLEASE as u32];

/// Every call of which some use stops the program, each once. In families; their order is of no importance.
pub(crate) const SYSCALLS: &[Syscall] = &[
    // Opening.
    row!(SYS_open, General, open::open).only(Stops::AnyBit { argument: 1, mask: OPENS_TO_CHANGE }),
    row!(SYS_openat, General, open::openat).only(Stops::AnyBit { argument: 2, mask: OPENS_TO_CHANGE }),
    row!(SYS_openat2, General, open::openat2),
    row!(SYS_creat, General, open::creat),
    row!(SYS_open_by_handle_at, General, open::open_by_handle_at),
    // Descriptors.
    row!(SYS_close, General, descriptors::close),
    row!(SYS_close_range, General, descriptors::close_range),
    row!(SYS_dup, General, descriptors::dup),
    row!(SYS_dup2, General, descriptors::dup2),
    row!(SYS_dup3, General, descriptors::dup2),
    row!(SYS_fcntl, General, descriptors::fcntl).only(Stops::OneOf { argument: 1, values: FCNTL_COMMANDS }),
    row!(SYS_ioctl, General, descriptors::ioctl).only(Stops::NotTerminal),
    // Data: written from memory.
    row!(SYS_write, General, data::write),
    row!(SYS_pwrite64, General, data::pwrite64),
    row!(SYS_writev, General, data::writev),
    row!(SYS_pwritev, General, data::pwritev),
    row!(SYS_pwritev2, General, data::pwritev2),
    // Data: moved by the kernel.
    row!(SYS_sendfile, General, data::sendfile),
    row!(SYS_splice, General, data::splice),
    row!(SYS_tee, General, data::tee),
    row!(SYS_copy_file_range, FilesOnly, data::copy_file_range),
    // Data: lengths and allocation.
    row!(SYS_truncate, FilesOnly, data::truncate),
    row!(SYS_ftruncate, FilesOnly, data::ftruncate),
    row!(SYS_fallocate, FilesOnly, data::fallocate),
    // Mappings.
    row!(SYS_mmap, General, mappings::mmap).only(Stops::AnyBit { argument: 3, mask: SHARED | FIXED }),
    row!(SYS_munmap, General, mappings::munmap),
    row!(SYS_mremap, General, mappings::mremap),
    row!(SYS_mprotect, General, mappings::mprotect).only(Stops::AnyBit { argument: 2, mask: WRITABLE }),
    row!(SYS_pkey_mprotect, General, mappings::mprotect).only(Stops::AnyBit { argument: 2, mask: WRITABLE }),
    row!(SYS_msync, General, mappings::msync).only(Stops::AnyBit { argument: 2, mask: libc::MS_SYNC as u32 }),
    row!(SYS_madvise, General, mappings::madvise)
        .only(Stops::OneOf { argument: 2, values: &[libc::MADV_REMOVE as u32] }),
    row!(SYS_remap_file_pages, General, mappings::remap_file_pages),
    // Syncs, and what starts or ends writeback.
    row!(SYS_fsync, FilesOnly, sync::fsync),
    row!(SYS_fdatasync, FilesOnly, sync::fdatasync),
    row!(SYS_sync, FilesOnly, sync::sync),
    row!(SYS_syncfs, FilesOnly, sync::syncfs),
    row!(SYS_sync_file_range, FilesOnly, sync::sync_file_range),
    row!(SYS_fadvise64, FilesOnly, sync::fadvise64),
    // Names.
    row!(SYS_rename, FilesOnly, names::rename),
    row!(SYS_renameat, FilesOnly, names::renameat),
    row!(SYS_renameat2, FilesOnly, names::renameat2),
    row!(SYS_link, FilesOnly, names::link),
    row!(SYS_linkat, FilesOnly, names::linkat),
    row!(SYS_symlink, FilesOnly, names::symlink),
    row!(SYS_symlinkat, FilesOnly, names::symlinkat),
    row!(SYS_unlink, FilesOnly, names::unlink),
    row!(SYS_unlinkat, FilesOnly, names::unlinkat),
    row!(SYS_mkdir, FilesOnly, names::mkdir),
    row!(SYS_mkdirat, FilesOnly, names::mkdirat),
    row!(SYS_rmdir, FilesOnly, names::rmdir),
    row!(SYS_mknod, FilesOnly, names::mknod),
    row!(SYS_mknodat, FilesOnly, names::mknodat),
    row!(SYS_bind, FilesOnly, names::bind),
    // Metadata.
    row!(SYS_chmod, FilesOnly, metadata::chmod),
    row!(SYS_fchmod, FilesOnly, metadata::fchmod),
    row!(SYS_fchmodat, FilesOnly, metadata::fchmodat),
    row!(SYS_fchmodat2, FilesOnly, metadata::fchmodat2),
    row!(SYS_chown, FilesOnly, metadata::chown),
    row!(SYS_lchown, FilesOnly, metadata::lchown),
    row!(SYS_fchown, FilesOnly, metadata::fchown),
    row!(SYS_fchownat, FilesOnly, metadata::fchownat),
    row!(SYS_utime, FilesOnly, metadata::utime),
    row!(SYS_utimes, FilesOnly, metadata::utimes),
    row!(SYS_futimesat, FilesOnly, metadata::futimesat),
    row!(SYS_utimensat, FilesOnly, metadata::utimensat),
    row!(SYS_file_setattr, FilesOnly, metadata::file_setattr),
    // Extended attributes and access lists.
    row!(SYS_setxattr, FilesOnly, xattrs::setxattr),
    row!(SYS_lsetxattr, FilesOnly, xattrs::lsetxattr),
    row!(SYS_fsetxattr, FilesOnly, xattrs::fsetxattr),
    row!(SYS_setxattrat, FilesOnly, xattrs::setxattrat),
    row!(SYS_removexattr, FilesOnly, xattrs::removexattr),
    row!(SYS_lremovexattr, FilesOnly, xattrs::lremovexattr),
    row!(SYS_fremovexattr, FilesOnly, xattrs::fremovexattr),
    row!(SYS_removexattrat, FilesOnly, xattrs::removexattrat),
    // What leaves the program over sockets, and from memory into pipes.
    row!(SYS_socketpair, General, acks::socketpair),
    row!(SYS_sendto, General, acks::sendto),
    row!(SYS_sendmsg, General, acks::sendmsg),
    row!(SYS_sendmmsg, General, acks::sendmmsg),
    row!(SYS_vmsplice, General, acks::vmsplice),
    // Processes, and what they see.
    row!(SYS_fork, General, processes::fork),
    row!(SYS_vfork, General, processes::fork),
    row!(SYS_clone, General, processes::clone),
    row!(SYS_clone3, General, processes::clone3),
    row!(SYS_unshare, General, processes::unshare),
    row!(SYS_exit_group, General, processes::exit_group),
    row!(SYS_ptrace, General, processes::ptrace),
    row!(SYS_seccomp, General, processes::seccomp),
    row!(SYS_chroot, General, processes::changes_paths),
    row!(SYS_pivot_root, General, processes::changes_paths),
    row!(SYS_mount, General, processes::changes_paths),
    row!(SYS_umount2, General, processes::changes_paths),
    row!(SYS_move_mount, General, processes::changes_paths),
    row!(SYS_setns, General, processes::changes_paths),
    // Asynchronous I/O.
    row!(SYS_io_uring_setup, General, asynchronous::io_uring_setup),
    row!(SYS_io_setup, General, asynchronous::io_setup),
    row!(SYS_io_submit, General, asynchronous::io_submit),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn no_call_has_two_rows() {
        let mut seen = BTreeMap::new();
        for Syscall { number, name, .. } in SYSCALLS {
            assert_eq!(seen.insert(*number, name), None, "{name}");
        }
    }

    #[test]
    fn names_are_those_of_the_numbers() {
        let number = |name: &str| SYSCALLS.iter().find(|row| row.name == name).map(|row| row.number);
        assert_eq!(number("renameat2"), Some(libc::SYS_renameat2));
        assert_eq!(number("write"), Some(libc::SYS_write));
        assert_eq!(number("setxattrat"), Some(463));
        assert_eq!(number("SYS_write"), None);
    }
}
