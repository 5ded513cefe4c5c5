//! Re-executes a trace, with background work forced between its calls.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use checker::{Mount, Observation, ReadPlan};
use nix::errno::Errno;
use program::{Call, Target};
use protocol::{BeforeSync, Conditions, FlushCovers, Recipe, Reply, Step, frame};

use crate::calls::Handles;
use crate::commit::Commit;
use crate::mailbox::Mailbox;
use crate::watch::Watch;
use crate::{MOUNT, WORK, calls, observe, ordered, rest, settings};

/// What is replayed.
#[derive(Default)]
pub struct Recorded {
    /// The calls that steps name.
    pub calls: Vec<Call>,
    /// How to look at the live tree at the end.
    pub live: Arc<ReadPlan>,
}

/// Mounts, executes, and looks at the live tree. The file system is unmounted at the end, after the log has ended.
pub fn execute(
    disk: &Path,
    filesystem: &Recipe,
    (steps, conditions): (&[Step], Conditions),
    trace: &Recorded,
    mailbox: &mut Mailbox,
) -> Result<Reply, String> {
    calls::set_clock(calls::Phase::Execution);
    observe::mount(disk, filesystem, &filesystem.execution)?
        .map_err(|refusal| format!("failed to mount the start state: {refusal}"))?;
    let outcome = run(disk, filesystem, (steps, conditions), trace, mailbox);
    std::env::set_current_dir("/").map_err(|error| format!("failed to leave {WORK}: {error}"))?;
    observe::unmount(filesystem, disk)?;
    outcome
}

fn run(
    disk: &Path,
    filesystem: &Recipe,
    (steps, conditions): (&[Step], Conditions),
    trace: &Recorded,
    mailbox: &mut Mailbox,
) -> Result<Reply, String> {
    settings::once_mounted(filesystem, disk)?;
    let mut commit = Commit::open(disk, filesystem, conditions)?;
    std::env::set_current_dir(WORK).map_err(|error| format!("failed to enter {WORK}: {error}"))?;
    let root = File::open(MOUNT).map_err(|error| format!("failed to open {MOUNT}: {error}"))?;
    rest::warm_up(disk, filesystem, &mut commit)?;
    if !conditions.cold {
        observe::look(Path::new("."), &ReadPlan::default());
    }
    // What mounting wrote belongs to the start state; a crash before the first call is not of interest.
    nix::unistd::syncfs(root.as_fd()).map_err(|error| format!("failed to sync {MOUNT}: {error}"))?;
    let restless = u32::from(!rest::quiesce(disk));
    let watch = Watch::new(mailbox.another()?, commit)?;
    let before_sync = filesystem.handling.before_sync;
    let mut stage = Stage { watch, mailbox, handles: Handles::new(), before_sync, restless };
    stage.mailbox.mark(frame::BEGIN, 0)?;
    stage.mailbox.mark(frame::LAZY, 0)?;
    match filesystem.handling.flush_covers {
        FlushCovers::Completed => {}
        FlushCovers::OwnWrites => stage.mailbox.mark(frame::FLUSH_COVERS_OWN, 0)?,
    }
    let clock = |index| calls::Phase::Step(if conditions.still { 0 } else { index });
    for (index, step) in steps.iter().enumerate() {
        calls::set_clock(clock(index));
        let result = stage.perform(step, &trace.calls)?;
        // What the program prints is no call: nothing can have begun to run.
        let is_promise =
            |index: &u32| matches!(trace.calls.get(*index as usize), Some(Call::Ack { .. } | Call::Exit { .. }));
        if !matches!(step, Step::Call(index) if is_promise(index)) {
            stage.settle()?;
        }
        stage.mailbox.mark(index as u32, result.unwrap_or_else(|errno| -i64::from(errno as i32)))?;
    }
    let Stage { watch, mailbox, handles, restless, .. } = stage;
    mailbox.mark(frame::END, 0)?;
    mailbox.mark(frame::EAGER, 0)?;
    if let Some(failure) = watch.failure() {
        return Err(failure);
    }
    // What they hold open would keep the file system from being unmounted.
    drop((watch, handles));
    if conditions.still && has_ticked(Path::new("."), calls::start_of(clock(0))) {
        return Ok(Reply::Ticked);
    }
    let entries = observe::look(Path::new("."), &trace.live);
    Ok(Reply::Executed { live: Observation { mount: Mount::Mounted, entries }, restless })
}

/// What an execution works with.
pub struct Stage<'a> {
    watch: Watch,
    mailbox: &'a mut Mailbox,
    pub handles: Handles,
    /// What comes before calls that wait for data.
    before_sync: BeforeSync,
    /// How often the kernel did not come to rest.
    restless: u32,
}

impl Stage<'_> {
    /// One step; the outer error says that the execution cannot go on.
    fn perform(&mut self, step: &Step, calls: &[Call]) -> Result<Result<i64, Errno>, String> {
        let call =
            |index: u32| calls.get(index as usize).ok_or_else(|| format!("was given no trace with a call {index}"));
        match step {
            Step::Call(index) => {
                let call = call(*index)?;
                match self.before_sync {
                    BeforeSync::Nothing => Ok(self.call(call)),
                    BeforeSync::WriteDataOut => ordered::perform(self, call),
                }
            }
            Step::CallWithCommit(index) => {
                let call = call(*index)?;
                // In one step, whatever comes before such calls otherwise: whoever is first, the commit comes before what
                // the call waits for.
                let (result, committed) = self.watch.call_with_commit(|| calls::perform(call, &mut self.handles));
                Ok(committed.and(result))
            }
            Step::Commit => Ok(self.watch.commit().map(|()| 0)),
            Step::Writeback { target, offset, length, wait } => {
                Ok(self.watch.call(|| writeback(target, (*offset, *length), *wait, &self.handles)))
            }
        }
    }

    /// Makes a call.
    pub fn call(&mut self, call: &Call) -> Result<i64, Errno> {
        self.watch.call(|| calls::perform(call, &mut self.handles))
    }

    /// Does something that may wait for the disk.
    pub fn wait<T>(&self, act: impl FnOnce() -> T) -> T {
        self.watch.call(act)
    }

    /// Waits until nothing goes on that does not wait for the disk, or counts that something did not end.
    pub fn settle(&mut self) -> Result<(), String> {
        self.restless += u32::from(!rest::settle(self.mailbox)?);
        Ok(())
    }
}

/// Starts writeback of a file's dirty data, and waits for its end if asked to. Says nothing about metadata
/// (sync_file_range(2)).
fn writeback(target: &Target, (offset, length): (u64, u64), wait: bool, handles: &Handles) -> Result<i64, Errno> {
    let act = |file: std::os::fd::BorrowedFd<'_>| {
        if wait { calls::write_back(file, offset, length) } else { calls::start_write_back(file, offset, length) }
    };
    let path = match target {
        Target::Handle(handle) => return act(handles.get(handle).ok_or(Errno::EBADF)?.as_fd()),
        Target::Path(path) | Target::NoFollow(path) => path.under(Path::new(".")),
    };
    calls::with_file(&path, handles, act)
}

/// Whether any file has a time that is neither from before the execution nor when it began, seconds since 1970.
fn has_ticked(root: &Path, began: i64) -> bool {
    let ticked = |seconds: i64, nanoseconds: i64| seconds == began && nanoseconds != 0;
    let Ok(about) = std::fs::symlink_metadata(root) else { return false };
    ticked(about.ctime(), about.ctime_nsec())
        || ticked(about.mtime(), about.mtime_nsec())
        || about.is_dir()
            && std::fs::read_dir(root).into_iter().flatten().flatten().any(|entry| has_ticked(&entry.path(), began))
}
