//! The control run: what a file system is not up to by itself.
//!
//! Under some disk models a file system cannot be mounted whatever the program does. The superblock of btrfs, 4096
//! bytes under one checksum, is an example: torn at a sector boundary it is refused, and the kernel tries no copy
//! (fs/btrfs/disk-io.c, `open_ctree`). To blame the workload for that would be a false alarm. So a program that does
//! everything right is replayed and explored first, on the same file system and under the same disk model; a state of
//! the workload that is refused with the words that one of the control's was refused with is told as the file
//! system's own weakness.

use std::collections::BTreeSet;
use std::sync::Arc;

use checker::{Finding, Guide, Kind, Mount, Observation};
use disk::{DiskModel, Image, Layers};
use protocol::Filesystem;
use trace::{Call, Content, Handle, History, Kind as NodeKind, Node, Op, RelPath, Trace, Tree};

use crate::explore::{Guests, explore};
use crate::replay::{Replay, ReplayError, live_guide, replay};
use crate::schedule::schedules;

/// What the control run was refused with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    refusals: BTreeSet<(i32, String)>,
}

impl Control {
    /// Replays and explores the control program on a copy of `base`, in which `before` has been built. `guests` must
    /// have been told an empty guide: only mounting matters.
    pub async fn run(
        guests: &mut impl Guests,
        filesystem: &Filesystem,
        base: &Image,
        before: &Tree,
        model: DiskModel,
    ) -> Result<Self, ReplayError> {
        let trace = program(before);
        let history = History::new(&trace);
        let live: Arc<Guide> = Arc::new(live_guide(&trace.after));
        let mut control = Self::default();
        for schedule in schedules(&trace, &history, 0) {
            let plan = schedule.plan(&trace, &history);
            let guest = guests.guest().await?;
            let Replay { start, log } = replay(guest, filesystem, base, &plan, &trace, &live).await?;
            let mut durable = start;
            let mut from = 0;
            for epoch in disk::epochs(&log, &model) {
                epoch.advance(&mut durable, &log, from);
                from = epoch.volatile.start;
                let layers = Arc::new(Layers::new(durable.clone(), &log, &epoch, model));
                explore(guests, filesystem, &layers, || true, |class| control.learn(&class.observation)).await?;
            }
        }
        Ok(control)
    }

    fn learn(&mut self, observation: &Observation) {
        if let Mount::Refused { errno, log } = &observation.mount {
            self.refusals.insert((*errno, words(log)));
        }
    }

    /// Marks findings that the control run has too as no fault of the workload.
    pub fn excuse(&self, observation: &Observation, findings: &mut [Finding]) {
        let Mount::Refused { errno, log } = &observation.mount else { return };
        if self.refusals.contains(&(*errno, words(log))) {
            for finding in findings.iter_mut().filter(|finding| finding.kind == Kind::Unmountable) {
                finding.fails = false;
            }
        }
    }
}

/// What the kernel complains of, without the numbers: transaction ids, addresses and checksums differ from state to
/// state.
fn words(log: &str) -> String {
    let complaint =
        |line: &&str| ["rror", "ailed", "orrupt", "nvalid", "mismatch"].iter().any(|word| line.contains(word));
    let mut lines: Vec<String> = log.lines().filter(complaint).map(without_numbers).collect();
    lines.dedup();
    lines.join("\n")
}

fn without_numbers(line: &str) -> String {
    let number = |word: &&str| !word.contains(|letter: char| letter.is_ascii_digit());
    line.split_whitespace().filter(number).collect::<Vec<_>>().join(" ")
}

/// A program that does everything right: a directory, a file in it, both synced.
fn program(before: &Tree) -> Trace {
    let mut name = String::from("control");
    while before.0.contains_key(&RelPath::from(name.as_str())) {
        name.push('_');
    }
    let directory = RelPath::from(name.as_str());
    let file = directory.join(b"file");
    let content = Content::new(vec![b'c'; 5000]);
    let (in_file, in_directory, in_root) = (Handle(0), Handle(1), Handle(2));
    let open = |handle, path: &RelPath, flags: i32| Call::Open {
        handle,
        path: path.clone(),
        flags: flags as u32,
        mode: 0o644,
    };
    /// `O_CREAT | O_WRONLY` and `O_RDONLY` (asm-generic/fcntl.h).
    const CREATE: i32 = 0o101;
    let calls = [
        Call::Mkdir { path: directory.clone(), mode: 0o755 },
        open(in_file, &file, CREATE),
        Call::Write { handle: in_file, offset: 0, data: content.clone(), flags: 0 },
        Call::Fsync { handle: in_file },
        Call::Close { handle: in_file },
        open(in_directory, &directory, 0),
        Call::Fsync { handle: in_directory },
        Call::Close { handle: in_directory },
        open(in_root, &RelPath::root(), 0),
        Call::Fsync { handle: in_root },
        Call::Close { handle: in_root },
    ];
    let op = |call| Op { call, syscall: String::from("control"), result: 0, thread: 0 };
    let node = |kind, mode| Node { kind, mode, uid: 0, gid: 0, inode: u64::MAX, xattrs: Default::default() };
    let mut after = before.clone();
    after.0.insert(directory, node(NodeKind::Directory, 0o755));
    after.0.insert(file, node(NodeKind::File(content), 0o644));
    Trace {
        command: vec!["control".into()],
        before: before.clone(),
        ops: calls.map(op).into(),
        after,
        limits: Vec::new(),
        outside: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_do_not_matter_and_words_do() {
        let log = |transaction: u32, what: &str| {
            format!("BTRFS info (device vda): using crc32c\nBTRFS error (device vda): {what} {transaction}\n")
        };
        assert_eq!(words(&log(7, "superblock checksum mismatch")), words(&log(9, "superblock checksum mismatch")));
        assert_ne!(words(&log(7, "superblock checksum mismatch")), words(&log(7, "parent transid verify failed")));
    }

    #[test]
    fn the_control_program_does_what_it_says() {
        let trace = program(&Tree::default());
        assert_eq!(trace::unexplained(&program(&trace.after)), Vec::new());
    }
}
