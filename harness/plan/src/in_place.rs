//! Schedules that show nothing of their own on a file system that overwrites in place.
//!
//! There, writeback of bytes that already have blocks of their own changes no metadata when it completes: no extent
//! is converted (fs/ext4/page-io.c, `ext4_end_io_rsv_work`), no size is logged (fs/xfs/xfs_aops.c, `xfs_end_ioend`, for
//! an ioend that is neither unwritten nor an append). Nor does a commit wait for it (fs/ext4/ext4_jbd2.h,
//! `ext4_should_order_data`, is asked for new blocks only). So what a crash can leave once such writeback is complete it can
//! also leave while the writeback is under way: the data may have arrived. Once the program syncs that file, it is as if
//! there had been no such writeback, which another schedule has: whoever waits for what is under way has the disk complete
//! what came later, too, and that is a difference.
//!
//! It is not so that writeback of all such files has the crash states of writeback of one of them: where the program then
//! syncs one, the others may be completed with it.

use std::collections::{BTreeMap, BTreeSet};

use filesystems::Filesystem;
use program::{ArrivalKind, Call, History, Kind, Target, Trace, Vfs};
use storage::{CacheKind, DiskModel};

use super::places::{O_DIRECT, O_TRUNC};
use super::{Event, Injection, Part, Schedule, Work};

/// For each op: the files that it leaves dirty, of which no more is dirty than bytes that have blocks of their own.
#[derive(Clone)]
pub struct Overwrites(Vec<Vec<Target>>);

impl Overwrites {
    /// Follows the trace.
    pub fn new(trace: &Trace, history: &History) -> Self {
        let mut vfs = Vfs::new(&trace.before);
        let mut files = Files::at_start(trace, &vfs);
        let spoiled = spoiled(trace);
        let mut after = Vec::with_capacity(trace.ops.len());
        for (index, op) in trace.ops.iter().enumerate() {
            let opened_or_written = match &op.call {
                Call::Open { path, .. } => vfs.inode_of(&Target::Path(path.clone())),
                Call::Write { handle, .. } => vfs.inode_of(&Target::Handle(*handle)),
                _ => None,
            };
            let before = opened_or_written.and_then(|file| vfs.length(file)).unwrap_or(0);
            if op.result >= 0 && vfs.apply(&op.call).is_ok() {
                files.follow(&op.call, &vfs, before);
            }
            let dirty = history.dirty_files_after(index);
            files.synced(&dirty.iter().filter_map(|target| vfs.inode_of(target)).collect(), &vfs);
            let in_place = |target: &&Target| {
                vfs.inode_of(target).is_some_and(|file| {
                    files.backed.contains_key(&file)
                        && !files.grown.contains(&file)
                        && spoiled.get(&file).is_none_or(|last| *last <= index)
                })
            };
            after.push(dirty.iter().filter(in_place).cloned().collect());
        }
        Self(after)
    }

    /// Whether every crash state of this schedule, on this file system and disk, is one of a schedule with as many
    /// injections, which has such writeback under way where this one has it completed, or of one with fewer.
    pub fn imply(&self, schedule: &Schedule, filesystem: &Filesystem, model: &DiskModel) -> bool {
        // Without a volatile cache, what is completed beside something else is durable at once.
        if model.cache == CacheKind::Writethrough || !filesystem.overwrites_in_place() {
            return false;
        }
        // With more injections, what is started later skips pages that are under way (mm/page-writeback.c, WB_SYNC_NONE).
        let [Injection { op, event: Event::Idle(works) }] = schedule.injections.as_slice() else { return false };
        let overwritten = self.0.get(*op).map_or(&[][..], Vec::as_slice);
        let in_place = |work: &Work| match work {
            Work::Commit => true,
            Work::Writeback { target, part: Part::Whole, complete: true } => overwritten.contains(target),
            Work::Writeback { .. } => false,
        };
        works.iter().any(|work| *work != Work::Commit) && works.iter().all(in_place)
    }
}

/// Files without holes, by inode.
struct Files {
    /// How many bytes, from the first on, have blocks that were written.
    backed: BTreeMap<u64, u64>,
    /// Those with dirty data beyond.
    grown: BTreeSet<u64>,
}

impl Files {
    fn at_start(trace: &Trace, vfs: &Vfs) -> Self {
        let plain = trace.before.0.iter().filter(|(path, _)| !trace.holes.contains_key(*path));
        let backed = plain.filter_map(|(path, node)| match &node.kind {
            Kind::File(content) => Some((vfs.inode_of(&Target::NoFollow(path.clone()))?, content.len() as u64)),
            _ => None,
        });
        Self { backed: backed.collect(), grown: BTreeSet::new() }
    }

    /// An op was done; the file that it opened or wrote had `before` bytes.
    fn follow(&mut self, call: &Call, vfs: &Vfs, before: u64) {
        match call {
            Call::Open { handle, .. } => {
                let opened = vfs.inode_of(&Target::Handle(*handle));
                let Some(file) = opened.filter(|file| vfs.length(*file) == Some(0)) else { return };
                // O_TRUNC, or new, or empty all the time.
                if before > 0 {
                    self.forget(file);
                } else {
                    self.backed.entry(file).or_insert(0);
                }
            }
            Call::Write { handle, offset, data, .. } => {
                let Some(file) = vfs.inode_of(&Target::Handle(*handle)) else { return };
                match self.backed.get(&file) {
                    // A hole in between.
                    Some(_) if *offset > before => self.forget(file),
                    Some(backed) if offset + data.len() as u64 > *backed => drop(self.grown.insert(file)),
                    _ => {}
                }
            }
            // What they leave may be holes, unwritten extents or blocks shared with another file.
            Call::Truncate { target, .. } => vfs.inode_of(target).into_iter().for_each(|file| self.forget(file)),
            Call::Allocate { handle, .. } => self.forget_handle(vfs, *handle),
            Call::CopyRange { from, to, .. } => [*from, *to].into_iter().for_each(|one| self.forget_handle(vfs, one)),
            _ => {}
        }
    }

    fn forget(&mut self, file: u64) {
        self.backed.remove(&file);
    }

    fn forget_handle(&mut self, vfs: &Vfs, handle: program::Handle) {
        vfs.inode_of(&Target::Handle(handle)).into_iter().for_each(|file| self.forget(file));
    }

    /// All but these are clean.
    fn synced(&mut self, dirty: &BTreeSet<u64>, vfs: &Vfs) {
        self.grown.retain(|file| dirty.contains(file));
        let length = |file: u64| vfs.length(file).unwrap_or(0);
        self.backed.iter_mut().filter(|(file, _)| !dirty.contains(file)).for_each(|(file, all)| *all = length(*file));
    }
}

/// For each inode, the last op that may start writeback of it without waiting, or drop its pages: such an op does less
/// while writeback is under way. Direct writes are such at any time: what they wait for decides whether they force a flush.
fn spoiled(trace: &Trace) -> BTreeMap<u64, usize> {
    let mut vfs = Vfs::new(&trace.before);
    let mut last = BTreeMap::new();
    for (index, op) in trace.ops.iter().enumerate().filter(|(_, op)| op.result >= 0) {
        let touched = match &op.call {
            Call::Truncate { target, .. } => vec![target.clone()],
            Call::Allocate { handle, .. }
            | Call::SyncRange { handle, .. }
            | Call::DontNeed { handle, .. }
            | Call::Store { handle, .. }
            | Call::Msync { handle, .. } => vec![Target::Handle(*handle)],
            Call::CopyRange { from, to, .. } => vec![Target::Handle(*from), Target::Handle(*to)],
            Call::Rename { from, to, .. } => vec![Target::NoFollow(from.clone()), Target::NoFollow(to.clone())],
            Call::Arrive { entries, to, .. } => {
                let files = entries.iter().filter_map(|entry| match entry.kind {
                    ArrivalKind::File(handle) => Some(Target::Handle(handle)),
                    _ => None,
                });
                files.chain([Target::NoFollow(to.clone())]).collect()
            }
            Call::Unlink { path } | Call::Leave { path } => vec![Target::NoFollow(path.clone())],
            Call::Open { path, flags, .. } if flags & (O_TRUNC | O_DIRECT) != 0 => vec![Target::Path(path.clone())],
            _ => Vec::new(),
        };
        let inodes: Vec<u64> = touched.iter().filter_map(|target| vfs.inode_of(target)).collect();
        // So are stores through a mapping: each first one to a page tells the file system, which may have to wait.
        let at_any_time = match &op.call {
            Call::Open { flags, .. } => flags & O_DIRECT != 0,
            Call::Store { .. } | Call::Msync { .. } => true,
            _ => false,
        };
        last.extend(inodes.into_iter().map(|inode| (inode, if at_any_time { usize::MAX } else { index })));
        let _ = vfs.apply(&op.call);
    }
    last
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use program::{Handle, Node, Op, Tree};

    use super::*;
    use crate::schedules;

    fn ext4() -> Filesystem {
        Filesystem::from(&filesystems::EXT4)
    }

    /// What is left out for a program that does this to a file `f` of 8192 bytes, open as handle 0.
    fn implied(calls: Vec<Call>) -> Vec<String> {
        implied_on(&ext4(), &DiskModel::default(), calls)
    }

    fn implied_on(filesystem: &Filesystem, model: &DiskModel, calls: Vec<Call>) -> Vec<String> {
        let content = Arc::new(vec![1; 8192]);
        let (mode, uid, gid, inode) = (0o644, 0, 0, 2);
        let node = Node { kind: Kind::File(content), mode, uid, gid, inode, xattrs: Default::default() };
        let before = Tree([("f".into(), node)].into());
        // O_RDWR.
        let open = Call::Open { handle: Handle(0), path: "f".into(), flags: 0o2, mode: 0 };
        let op = |call| Op { call, syscall: String::new(), result: 0, thread: 0 };
        let ops = std::iter::once(open).chain(calls).map(op).collect();
        let (holes, after) = (Default::default(), Tree::default());
        let trace = Trace { before, holes, ops, after, ..Trace::default() };
        let history = History::new(&trace);
        let overwrites = Overwrites::new(&trace, &history);
        let all = schedules(&trace, &history, 1).into_iter();
        all.filter(|schedule| overwrites.imply(schedule, filesystem, model)).map(|schedule| schedule.text()).collect()
    }

    fn write(offset: u64, length: usize) -> Call {
        Call::Write { handle: Handle(0), offset, data: Arc::new(vec![2; length]), flags: 0 }
    }

    #[test]
    fn completed_writeback_of_an_overwrite_is_left_out() {
        let fsync = Call::Fsync { handle: Handle(0) };
        insta::assert_snapshot!(implied(vec![write(0, 8192), fsync.clone()]).join("\n"), @"writeback of f, commit after op 1; commit at the end");
        // What has been synced has blocks.
        let grown = vec![write(8192, 10), fsync.clone(), write(8192, 10), fsync];
        insta::assert_snapshot!(implied(grown).join("\n"), @"writeback of f, commit after op 3; commit at the end");
    }

    /// Where data are copied or journaled, or durable at once, nothing is left out.
    #[test]
    fn other_file_systems_and_disks_have_all() {
        let calls = || vec![write(0, 8192), Call::Fsync { handle: Handle(0) }];
        let (usual, writethrough) =
            (DiskModel::default(), DiskModel { cache: CacheKind::Writethrough, ..DiskModel::default() });
        assert_eq!(implied_on(&ext4(), &usual, calls()).len(), 1);
        let none: Vec<String> = Vec::new();
        assert_eq!(implied_on(&ext4(), &writethrough, calls()), none);
        for text in ["btrfs", "ext4:data=journal"] {
            assert_eq!(implied_on(&text.parse().unwrap(), &usual, calls()), none, "{text}");
        }
    }

    /// Of two files that are overwritten, each may be under way by itself.
    #[test]
    fn what_is_under_way_is_not_left_out() {
        let open = Call::Open { handle: Handle(1), path: "g".into(), flags: 0o102, mode: 0o644 };
        let new = Call::Write { handle: Handle(1), offset: 0, data: Arc::new(vec![3; 10]), flags: 0 };
        let calls = vec![open, new.clone(), Call::Fsync { handle: Handle(1) }, write(0, 10), new];
        let after_last = implied(calls).into_iter().filter(|text| text.contains("after op 5"));
        insta::assert_snapshot!(after_last.collect::<Vec<_>>().join("\n"), @"
        writeback of f, commit after op 5; commit, then writeback at the end
        writeback of g, commit after op 5; commit, then writeback at the end
        ");
    }

    #[test]
    fn whatever_needs_a_transaction_is_not() {
        let fsync = || Call::Fsync { handle: Handle(0) };
        let target = || Target::Handle(Handle(0));
        let none: Vec<String> = Vec::new();
        assert_eq!(implied(vec![write(8000, 200), fsync()]), none, "it grows");
        assert_eq!(implied(vec![write(9000, 10), write(0, 10), fsync()]), none, "it gets a hole");
        let punched = Call::Allocate { handle: Handle(0), mode: 3, offset: 0, length: 4096 };
        assert_eq!(implied(vec![punched, write(0, 10), fsync()]), none, "it has a hole");
        let cut = Call::Truncate { target: target(), length: 100 };
        assert_eq!(implied(vec![write(0, 10), cut, fsync()]), none, "what is under way is waited for, or dropped");
        let rename = Call::Rename { from: "f".into(), to: "g".into(), flags: 0 };
        let before = |text: &String| text.contains("after op 1");
        assert!(!implied(vec![write(0, 10), rename, fsync()]).iter().any(before), "a rename may start writeback");
        let open = Call::Open { handle: Handle(1), path: "f".into(), flags: 0o40002, mode: 0 };
        assert_eq!(implied(vec![open, write(0, 10), fsync()]), none, "it is written directly, too");
    }
}
