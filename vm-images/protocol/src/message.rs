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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    use checker::{Entry, EntryKind, Mount, Seen};
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{decode, encode};

    /// A reply with one of everything.
    fn reply() -> Reply {
        let entry = |kind| Entry { kind, mode: 0o644, uid: 0, gid: 0, links: 1, same_as: Some("a".into()) };
        let file = |seen| entry(EntryKind::File { size: 5, seen });
        let entries = BTreeMap::from([
            ("".into(), entry(EntryKind::Directory { error: Some(5) })),
            ("a".into(), file(Seen::Bytes(Arc::new(b"whole".to_vec())))),
            ("b".into(), file(Seen::Differs { candidates: vec![0, 300], offset: 4096, chunk: vec![7; 300] })),
            ("c".into(), file(Seen::Failed { candidates: vec![1], offset: 0, errno: 5 })),
            ("l".into(), entry(EntryKind::Symlink { target: b"a".to_vec() })),
            ("s".into(), entry(EntryKind::Special { mode: 0o010_644 })),
        ]);
        Reply::Observed(Observation { mount: Mount::Mounted, entries })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

        /// A guest whose kernel a crash state has taken over may say anything, of any length: it is read or refused, at once.
        #[test]
        fn no_reply_makes_it_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..6),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut bytes = encode(&reply()).unwrap();
            for (at, byte, is_long) in changes {
                let at = at.index(bytes.len());
                match is_long {
                    false => bytes[at] = byte,
                    // The largest number of 64 bits, where a length may stand.
                    true => drop(bytes.splice(at..=at, [[0xff; 9].as_slice(), &[1]].concat())),
                }
            }
            bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
            let start = Instant::now();
            if let Ok(reply) = decode::<Reply>(&bytes) {
                prop_assert_eq!(decode::<Reply>(&encode(&reply).unwrap()).unwrap(), reply);
            }
            let _ = decode::<Command>(&bytes);
            prop_assert!(start.elapsed() < Duration::from_secs(1));
        }
    }
}
