//! Commands and replies.

use std::sync::Arc;

use checker::{Guide, Observation};
use serde::{Deserialize, Serialize};
use trace::{Call, Holes, Target, Tree};

/// A file system and how it is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Filesystem {
    /// As mount(2) takes it: `ext4`, `xfs`, `btrfs`.
    pub kind: String,
    /// As mount(8) takes them, comma-separated; may be empty.
    pub options: String,
}

/// One step of a replay. The agent reports the end of each, in order with what the disk sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// The recorded call with this index in [`Command::Trace`].
    Call(u32),
    /// Make the file system commit its transaction (journal, log) without writing anyone's data.
    Commit,
    /// From here on, writes that the guest issues are not completed, as on a slow disk, up to [`Step::Release`].
    Hold,
    /// From here on they are completed, and so overtake those that were issued before.
    Pass,
    /// Those that wait are completed.
    Release,
    /// Start and await writeback of dirty data of one file, without committing anything.
    Writeback {
        /// The file.
        target: Target,
        /// First byte.
        offset: u64,
        /// Bytes; 0 is up to the end (sync_file_range(2)).
        length: u64,
    },
}

/// What the agent is told to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Mount the disk, build this tree in the workload's directory, unmount cleanly: the durable start state.
    Populate {
        /// What to mount.
        filesystem: Filesystem,
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
        live: Arc<Guide>,
    },
    /// Mount the disk, replay the steps, then look at the live tree.
    Replay {
        /// What to mount.
        filesystem: Filesystem,
        /// What to do.
        steps: Vec<Step>,
    },
    /// From now on, observe along this guide.
    Guide(Arc<Guide>),
    /// Mount the disk as it is after a crash, observe, unmount.
    Observe {
        /// What to mount.
        filesystem: Filesystem,
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
    /// After [`Command::Replay`]: the tree as it looked at the end, before any crash.
    Replayed(Observation),
    /// After [`Command::Observe`].
    Observed(Observation),
    /// After [`Command::Populate`]: the kernel does not mount a fresh file system of this kind with these options.
    NotMounted(String),
    /// The command could not be carried out: what was tried, on what, why it failed.
    Failed(String),
}
