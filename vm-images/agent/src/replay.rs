//! Re-executes a trace, with background work forced between its calls.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use checker::{Guide, Mount, Observation};
use nix::errno::Errno;
use protocol::{Filesystem, Step, frame};
use trace::{Call, Target};

use crate::calls::Handles;
use crate::commit::Commit;
use crate::mailbox::Mailbox;
use crate::{MOUNT, WORK, calls, observe, ordered, rest};

/// What is replayed.
#[derive(Default)]
pub struct Recorded {
    /// The calls that steps name.
    pub calls: Vec<Call>,
    /// How to look at the live tree at the end.
    pub live: Arc<Guide>,
}

/// Mounts, replays, and looks at the live tree. The file system is unmounted at the end, after the log has ended.
pub fn replay(
    disk: &Path,
    filesystem: &Filesystem,
    steps: &[Step],
    trace: &Recorded,
    mailbox: &mut Mailbox,
) -> Result<Observation, String> {
    calls::set_clock(calls::Phase::Replay);
    observe::mount(disk, filesystem, without_timer(filesystem)).map_err(|(errno, log)| {
        format!("failed to mount the start state: {}\n{log}", std::io::Error::from_raw_os_error(errno))
    })?;
    let outcome = run(disk, filesystem, steps, trace, mailbox);
    std::env::set_current_dir("/").map_err(|error| format!("failed to leave {WORK}: {error}"))?;
    observe::unmount(filesystem, disk)?;
    outcome
}

/// The option that keeps the file system from committing by its timer (5 s on ext4, 30 s on btrfs) in the middle of a
/// long replay: when it commits is what schedules are for. A user's own choice holds.
fn without_timer(filesystem: &Filesystem) -> &'static str {
    let chosen = filesystem.options.split(',').any(|option| option.starts_with("commit="));
    if matches!(filesystem.kind.as_str(), "ext4" | "btrfs") && !chosen { "commit=300" } else { "" }
}

fn run(
    disk: &Path,
    filesystem: &Filesystem,
    steps: &[Step],
    trace: &Recorded,
    mailbox: &mut Mailbox,
) -> Result<Observation, String> {
    let mut commit = Commit::open(filesystem)?;
    std::env::set_current_dir(WORK).map_err(|error| format!("failed to enter {WORK}: {error}"))?;
    let root = File::open(MOUNT).map_err(|error| format!("failed to open {MOUNT}: {error}"))?;
    rest::warm_up(disk, filesystem, &mut commit)?;
    // What mounting wrote belongs to the start state; a crash before the first call is not of interest.
    nix::unistd::syncfs(root.as_fd()).map_err(|error| format!("failed to sync {MOUNT}: {error}"))?;
    rest::quiesce(disk);
    let mut handles = Handles::new();
    mailbox.mark(frame::BEGIN, 0)?;
    let mut held = false;
    for (index, step) in steps.iter().enumerate() {
        calls::set_clock(calls::Phase::Step(index));
        let result = match step {
            Step::Call(index) => {
                let call = trace.calls.get(*index as usize);
                let call = call.ok_or_else(|| format!("was given no trace with a call {index}"))?;
                // While the disk lets writes wait, nobody can wait for their end.
                if filesystem.kind == "btrfs" && !held {
                    ordered::perform(disk, call, &mut handles)
                } else {
                    calls::perform(call, &mut handles)
                }
            }
            Step::Commit => commit.force(),
            Step::Hold => {
                held = true;
                mailbox.mark(frame::HOLD, 0)?;
                Ok(0)
            }
            Step::Pass => {
                mailbox.mark(frame::PASS, 0)?;
                Ok(0)
            }
            Step::Release => {
                held = false;
                mailbox.mark(frame::RELEASE, 0)?;
                Ok(0)
            }
            Step::Writeback { target, offset, length } => writeback(target, *offset, *length, &handles),
        };
        if held {
            rest::settle();
        } else {
            rest::quiesce(disk);
        }
        mailbox.mark(index as u32, result.unwrap_or_else(|errno| -i64::from(errno as i32)))?;
    }
    mailbox.mark(frame::END, 0)?;
    let entries = observe::look(Path::new("."), &trace.live);
    Ok(Observation { mount: Mount::Mounted, entries })
}

/// Starts writeback of a file's dirty data and waits for it. Says nothing about metadata (sync_file_range(2)).
fn writeback(target: &Target, offset: u64, length: u64, handles: &Handles) -> Result<i64, Errno> {
    let path = match target {
        Target::Handle(handle) => {
            return calls::write_back(handles.get(handle).ok_or(Errno::EBADF)?.as_fd(), offset, length);
        }
        Target::Path(path) | Target::NoFollow(path) => path.under(Path::new(".")),
    };
    calls::with_file(&path, handles, |file| calls::write_back(file, offset, length))
}
