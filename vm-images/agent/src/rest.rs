//! Brings the guest to rest: what the kernel does in the background by itself must be over before the next step, or
//! where its end falls, and so what the disk sees, would be chance.

use std::fs::{self, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use protocol::{Recipe, WarmUp};

use crate::commit::{COMMIT_FILE, Commit};
use crate::mailbox::Mailbox;
use crate::{MOUNT, calls};

/// Waits until nothing is under way: no page under writeback, no request at the disk, no thread but this one that
/// runs or waits for a disk.
///
/// Writeback that a call has started in passing is one such thing: ext4 starts it at a rename, xfs at a close after a
/// truncation, btrfs at both, and none of them waits. What follows it is another: btrfs inserts the extents of written
/// data after it has called the pages clean (fs/btrfs/ordered-data.c), and frees what a commit no longer needs after
/// it has called that done. The guest has one processor, so that a thread with something to do either runs or is
/// counted (proc(5), `/proc/stat`). Before an execution begins, that is: then the
/// disk is lazy, and [`settle`] takes this one's place.
///
/// Returns whether that came to pass within about a second.
pub fn quiesce(disk: &Path) -> bool {
    // xfs frees the blocks of a file that has lost its last name a little later (fs/xfs/xfs_icache.c,
    // `xfs_inodegc_queue`); when it is asked how much is free, it begins at once (`xfs_fs_statfs`).
    let _ = nix::sys::statvfs::statvfs(MOUNT);
    let inflight = Path::new("/sys/block").join(disk.file_name().unwrap_or_default()).join("inflight");
    for _ in 0..1000 {
        if at_rest(&inflight) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

/// Waits until nothing else runs, and the disk has completed nothing meanwhile that something could run for: all that can
/// be waited for while the disk is lazy. Returns whether that came to pass within about a second.
pub fn settle(mailbox: &mut Mailbox) -> Result<bool, String> {
    let _ = nix::sys::statvfs::statvfs(MOUNT);
    for round in 0..1000 {
        if is_quiet(mailbox)? {
            return Ok(true);
        }
        // Most often there is only the watcher, which has to see that the call has ended.
        if round < 10 { std::thread::yield_now() } else { std::thread::sleep(Duration::from_millis(1)) }
    }
    Ok(false)
}

/// Whether nothing but the calling thread runs, nor will before the disk completes something.
pub fn is_quiet(mailbox: &mut Mailbox) -> Result<bool, String> {
    let before = mailbox.completed()?;
    let alone = at_most(&read(Path::new("/proc/stat")), "procs_running ", 1);
    Ok(alone && mailbox.completed()? == before)
}

fn at_rest(inflight: &Path) -> bool {
    // Folds what the processors have counted each for itself into the sum; only kernels for several have it.
    let _ = fs::read("/proc/sys/vm/stat_refresh");
    let stat = read(Path::new("/proc/stat"));
    at_most(&read(Path::new("/proc/vmstat")), "nr_writeback ", 0)
        && read(inflight).split_whitespace().all(|number| number == "0")
        && at_most(&stat, "procs_blocked ", 0)
        && at_most(&stat, "procs_running ", 1)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Whether what is counted under this name is no more than so many.
fn at_most(text: &str, name: &str, most: u64) -> bool {
    let values = text.lines().filter_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    values.max().is_none_or(|value| value <= most)
}

/// Brings a file system that has just been mounted to rest.
pub fn warm_up(disk: &Path, filesystem: &Recipe, commit: &mut Commit) -> Result<(), String> {
    // The first mount of all has btrfs check its UUID tree (fs/btrfs/disk-io.c, `btrfs_check_uuid_tree`); if it is
    // unmounted before the end of that, the next mount begins again.
    quiesce(disk);
    match filesystem.handling.warm_up {
        WarmUp::Wait => Ok(()),
        WarmUp::ReplaceAnExtent => replace_an_extent(disk, commit),
    }
}

/// Writes the same extent twice, and commits each. Why, the definition of the file system says that asks for it.
fn replace_an_extent(disk: &Path, commit: &mut Commit) -> Result<(), String> {
    /// More than is kept within an inode (`max_inline`, 2048 bytes): it needs an extent.
    const EXTENT: [u8; 4096] = [0; 4096];
    let fail = |error: std::io::Error| format!("failed to write to {COMMIT_FILE}: {error}");
    let file = OpenOptions::new().write(true).open(COMMIT_FILE).map_err(fail)?;
    for _ in 0..2 {
        file.write_all_at(&EXTENT, 0).map_err(fail)?;
        write_out(disk, file.as_fd()).map_err(fail)?;
        commit.force().map_err(|error| format!("failed to commit: {error}"))?;
        quiesce(disk);
    }
    Ok(())
}

/// Writes one file's data out without committing anything. Not syncfs(2): on btrfs that writes tree blocks out as it
/// finds them (fs/btrfs/super.c, `btrfs_sync_fs` without `wait`), while the ends of data writes are still changing them.
pub fn write_out(disk: &Path, file: std::os::fd::BorrowedFd<'_>) -> std::io::Result<()> {
    calls::write_back(file, 0, 0)?;
    quiesce(disk);
    Ok(())
}
