//! Commands and replies.

use std::sync::Arc;

use checker::{Observation, ReadPlan};
use filesystems::Recipe;
use program::{Call, Holes, Target, Tree};
use serde::{Deserialize, Serialize};

/// One step of a replay. The agent reports the end of each, in order with what the disk sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// The recorded call with this index in [`Command::Trace`].
    Call(u32),
    /// The same, but the file system commits while the call waits for the disk for the first time: before anything that
    /// it waits for has completed.
    CallWithCommit(u32),
    /// Make the file system commit its transaction (journal, log) without writing anyone's data.
    Commit,
    /// Start writeback of dirty data of one file, without committing anything.
    Writeback {
        /// The file.
        target: Target,
        /// First byte.
        offset: u64,
        /// Bytes; 0 is up to the end (sync_file_range(2)).
        length: u64,
        /// Whether its end is awaited; if not, it is under way until somebody waits for it.
        wait: bool,
    },
}

/// What holds for a whole execution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Conditions {
    /// Whether no inode has been looked at before the first call, as right after the machine has started. An inode that
    /// ext4 reads while a transaction runs takes its number, and the first fsync then commits everything
    /// (fs/ext4/inode.c, `__ext4_iget`).
    pub cold: bool,
    /// Whether the clock stands still, so that all calls fall into one tick: a write that changes no times need not be
    /// committed (fs/inode.c, `inode_needs_update_time`).
    pub still: bool,
    /// Whether each commit that is forced is a fast one ([`Recipe::fast_commit`]), where there are such.
    pub fast_commits: bool,
}

/// What the agent is told to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Mount the disk, build this tree in the workload's directory, unmount cleanly: the durable start state.
    Populate {
        /// What to mount.
        filesystem: Recipe,
        /// What to build.
        tree: Tree,
        /// Where its files hold no data.
        holes: Holes,
    },
    /// From now on, this is what is replayed. Given once, by itself: its data can be large, and each schedule replays
    /// them anew.
    Trace {
        /// The calls, in order.
        calls: Vec<Call>,
        /// How to look at the live tree at the end.
        live: Arc<ReadPlan>,
    },
    /// Mount the disk, replay the steps, then look at the live tree.
    Execute {
        /// What to mount.
        filesystem: Recipe,
        /// What to do.
        steps: Vec<Step>,
        /// What the machine has been doing before.
        conditions: Conditions,
    },
    /// From now on, observe along this guide.
    ReadPlan(Arc<ReadPlan>),
    /// Mount the disk as it is after a crash, observe, unmount.
    Observe {
        /// What to mount.
        filesystem: Recipe,
        /// Whether to send a mark ([`frame::MOUNTED`](crate::frame::MOUNTED)) when the mount has ended.
        mark: bool,
    },
}

/// What the agent says once, after booting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Kernel release, as `uname -r` shows it.
    pub kernel: String,
    /// `/sys/block/…/queue/write_cache` of the data disk: must be `write back`, or the kernel would never flush.
    pub write_cache: String,
}

/// What the agent answers; one reply a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The guest is up.
    Hello(Hello),
    /// Nothing to add.
    Done,
    /// After [`Command::Execute`].
    Executed {
        /// The tree as it looked at the end, before any crash.
        live: Observation,
        /// How often the kernel did not come to rest within its time: before the first step, and after each. What it did then
        /// by itself, and so what the disk saw, may be another thing the next time.
        restless: u32,
    },
    /// After [`Command::Execute`] with a clock that should stand still: it went on where that matters. Ask again.
    Ticked,
    /// After [`Command::Observe`].
    Observed(Observation),
    /// After [`Command::Populate`]: the kernel does not mount a fresh file system of this kind with these options.
    NotMounted(String),
    /// The command could not be carried out: what was tried, on what, why it failed.
    Failed(String),
}
