//! Re-executes a trace, with background work forced between its calls.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use checker::{Guide, Mount, Observation};
use nix::errno::Errno;
use protocol::{Filesystem, Step, frame};
use trace::Target;

use crate::calls::Handles;
use crate::mailbox::Mailbox;
use crate::populate::COMMIT_FILE;
use crate::{MOUNT, WORK, calls, observe};

/// Mounts, replays, and looks at the live tree. The file system is unmounted at the end, after the log has ended.
pub fn replay(
    disk: &Path,
    filesystem: &Filesystem,
    steps: &[Step],
    guide: &Guide,
    mailbox: &mut Mailbox,
) -> Result<Observation, String> {
    observe::mount(disk, filesystem, "").map_err(|(errno, log)| {
        format!("failed to mount the start state: {}\n{log}", std::io::Error::from_raw_os_error(errno))
    })?;
    let outcome = run(filesystem, steps, guide, mailbox);
    std::env::set_current_dir("/").map_err(|error| format!("failed to leave {WORK}: {error}"))?;
    observe::unmount(filesystem, disk)?;
    outcome
}

fn run(filesystem: &Filesystem, steps: &[Step], guide: &Guide, mailbox: &mut Mailbox) -> Result<Observation, String> {
    let mut commit = Commit::open(filesystem)?;
    std::env::set_current_dir(WORK).map_err(|error| format!("failed to enter {WORK}: {error}"))?;
    let root = File::open(MOUNT).map_err(|error| format!("failed to open {MOUNT}: {error}"))?;
    warm_up(filesystem, &mut commit)?;
    // What mounting wrote belongs to the start state; a crash before the first call is not of interest.
    nix::unistd::syncfs(root.as_fd()).map_err(|error| format!("failed to sync {MOUNT}: {error}"))?;
    let mut handles = Handles::new();
    mailbox.mark(frame::BEGIN, 0)?;
    let mut held = false;
    for (index, step) in steps.iter().enumerate() {
        calls::set_clock(index as i64);
        let result = match step {
            Step::Call(call) => calls::perform(call, &mut handles),
            Step::Commit => commit.force(),
            Step::Hold => {
                mailbox.mark(frame::HOLD, 0)?;
                Ok(0)
            }
            Step::CommitInFlight => {
                mailbox.mark(frame::PASS, 0)?;
                let result = commit.force();
                mailbox.mark(frame::RELEASE, 0)?;
                result
            }
            Step::Writeback { target, offset, length } => writeback(target, *offset, *length, &handles),
        };
        held = matches!(step, Step::Hold) || (held && !matches!(step, Step::CommitInFlight));
        if !held {
            quiesce(filesystem);
        }
        mailbox.mark(index as u32, result.unwrap_or_else(|errno| -i64::from(errno as i32)))?;
    }
    mailbox.mark(frame::END, 0)?;
    let entries = observe::look(Path::new("."), guide);
    Ok(Observation { mount: Mount::Mounted, entries })
}

/// Has btrfs read what it knows of free space before the log begins: it does so in the background from the first
/// allocation on (fs/btrfs/block-group.c, `caching_thread`), and where it puts tree blocks, and in how many writes,
/// depends on how far that has come.
fn warm_up(filesystem: &Filesystem, commit: &mut Commit) -> Result<(), String> {
    if filesystem.kind != "btrfs" {
        return Ok(());
    }
    let fail = |error: std::io::Error| format!("failed to change the mode of {COMMIT_FILE}: {error}");
    for mode in [0o600, 0o644] {
        std::fs::set_permissions(COMMIT_FILE, std::fs::Permissions::from_mode(mode)).map_err(fail)?;
        commit.force().map_err(|error| format!("failed to commit: {error}"))?;
        quiesce(filesystem);
    }
    Ok(())
}

/// Waits for writeback that a call has started in passing: ext4 starts it at a rename, xfs at a close after a
/// truncation, btrfs at both, and none of them waits. Where its end falls among the next steps would be chance, and
/// so would be what the next commit holds; that a commit can come before it is what [`Step::CommitInFlight`] is for.
fn quiesce(filesystem: &Filesystem) {
    for _ in 0..1000 {
        // Folds what the processors have counted each for itself into the sum; only kernels for several have it.
        let _ = std::fs::read("/proc/sys/vm/stat_refresh");
        let counters = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
        if counters.lines().all(|line| !line.starts_with("nr_writeback ") || line == "nr_writeback 0") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    if filesystem.kind == "btrfs" {
        // It inserts the extents of written data after it has called the pages clean (fs/btrfs/ordered-data.c), and
        // offers nothing to wait for that. The worker needs some microseconds of this processor.
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Starts writeback of a file's dirty data and waits for it. Says nothing about metadata (sync_file_range(2)).
fn writeback(target: &Target, offset: u64, length: u64, handles: &Handles) -> Result<i64, Errno> {
    let path = match target {
        Target::Handle(handle) => {
            return calls::write_back(handles.get(handle).ok_or(Errno::EBADF)?.as_fd(), offset, length);
        }
        Target::Path(path) | Target::NoFollow(path) => path.under(Path::new(".")),
    };
    // Through the workload's own descriptor where it has the file open: closing another one can have effects that
    // the kernel's writeback would not have (fs/ext4/file.c, `ext4_release_file`, allocates and clears a flag).
    let sought = nix::sys::stat::stat(&path)?;
    let same = |handle: &&OwnedFd| {
        nix::sys::stat::fstat(handle).is_ok_and(|found| (found.st_dev, found.st_ino) == (sought.st_dev, sought.st_ino))
    };
    if let Some(open) = handles.values().find(same) {
        return calls::write_back(open.as_fd(), offset, length);
    }
    let file = File::open(path).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    calls::write_back(file.as_fd(), offset, length)
}

/// Forces a commit of the running transaction, without anyone's data.
enum Commit {
    /// ext4, xfs: fsync of an unrelated file whose metadata has just changed. It has no data.
    Fsync { file: File, odd: bool },
    /// btrfs: fsync would write a log tree instead of committing; its ioctls commit.
    Btrfs(File),
}

impl Commit {
    fn open(filesystem: &Filesystem) -> Result<Self, String> {
        let open =
            |path| File::open(path).map_err(|error| format!("failed to open {path} to force commits through: {error}"));
        Ok(match filesystem.kind.as_str() {
            "btrfs" => Self::Btrfs(open(MOUNT)?),
            _ => Self::Fsync { file: open(COMMIT_FILE)?, odd: false },
        })
    }

    fn force(&mut self) -> Result<i64, Errno> {
        match self {
            Self::Fsync { file, odd } => {
                *odd = !*odd;
                let mode = if *odd { 0o600 } else { 0o644 };
                let failed = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
                file.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(failed)?;
                file.sync_all().map_err(failed)?;
                Ok(0)
            }
            Self::Btrfs(root) => calls::btrfs_commit(root.as_fd()),
        }
    }
}
