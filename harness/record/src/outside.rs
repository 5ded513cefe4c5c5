//! Files outside the directory that come into it by a rename or a link, and what leaves it.
//!
//! What is done to a file outside is not recorded. When it comes in, it is written down as what it then is: a nameless file
//! (`O_TMPFILE`) is opened and written, and gets its name ([`Call::Arrive`]). Whether its data were durable by then decides
//! what a crash may leave of it, so syncs are followed, and what changes data after them: a file that was synced last is
//! written down where it was synced, since a later sync would make durable what else was done between the two.

use std::collections::{HashMap, HashSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use libc::pid_t;
use nix::unistd::{getegid, geteuid};
use program::{Arrival, ArrivalKind, Call, Handle, Kind, Op, RelPath};
use treeio::{ReadOptions, Root};

use crate::kept::Kept;
use crate::recorder::Recorder;
use crate::remote;

/// How far behind the clock the time of a change may be: the kernel takes that of its last tick (`current_time` in fs/inode.c).
const TICK: Duration = Duration::from_millis(20);

/// More names than this do not come in at once.
const MOST_NAMES: usize = 100_000;

/// A file that is, or was, outside the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OutsideId {
    device: u64,
    inode: u64,
    /// An inode's number may come to stand for another file. `None` where the file system does not know.
    made: Option<SystemTime>,
}

impl OutsideId {
    fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino(), made: metadata.created().ok() }
    }
}

/// A sync of a file: three ops are left free for what it may have to be written down as.
#[derive(Clone, Debug)]
struct Synced {
    /// The first of them: the file is opened, written and, unless the sync was one of all files, synced.
    slot: usize,
    syscall: Option<String>,
    at: SystemTime,
}

/// How much of a file's data is durable.
#[derive(Clone, Debug)]
enum Durability {
    /// Nothing that anyone knows of.
    Unsynced,
    /// All, since a sync.
    Synced(Synced),
    /// All: it has not been changed in this run.
    FromBefore,
}

/// What is known of the files outside that the program uses.
#[derive(Debug)]
pub(crate) struct OutsideFiles {
    began: SystemTime,
    known: HashMap<OutsideId, Durability>,
    /// What is in the directory and is known under a name outside, too, or was: where it was in the directory then.
    inside: HashMap<OutsideId, RelPath>,
    /// Files of which some writes were durable when they returned.
    synchronous: HashSet<OutsideId>,
}

impl OutsideFiles {
    pub(crate) fn new() -> Self {
        Self { began: SystemTime::now(), known: HashMap::new(), inside: HashMap::new(), synchronous: HashSet::new() }
    }

    /// Takes note of a file that a descriptor stands for.
    pub(crate) fn see(&mut self, metadata: &Metadata) -> OutsideId {
        let id = OutsideId::of(metadata);
        let first = self.at_first(metadata);
        self.known.entry(id).or_insert(first);
        id
    }

    /// What can be said of a file that nobody was seen to change.
    fn at_first(&self, metadata: &Metadata) -> Durability {
        match metadata.modified() {
            Ok(modified) if modified + TICK < self.began => Durability::FromBefore,
            _ => Durability::Unsynced,
        }
    }

    /// A file was opened for writing.
    pub(crate) fn opened(&mut self, metadata: &Metadata, flags: u32) {
        let id = self.see(metadata);
        if flags & libc::O_TRUNC as u32 != 0 {
            self.change(id);
        }
        if flags & libc::O_DSYNC as u32 != 0 {
            self.synchronous.insert(id);
        }
    }

    /// The data of a file are changed.
    pub(crate) fn change(&mut self, id: OutsideId) {
        self.known.insert(id, Durability::Unsynced);
    }

    /// How much of what a file holds now is durable.
    fn durability(&self, metadata: &Metadata) -> Durability {
        let durability = self.known.get(&OutsideId::of(metadata)).cloned();
        match durability.unwrap_or_else(|| self.at_first(metadata)) {
            // Something was stored through a mapping, perhaps.
            Durability::Synced(synced) if metadata.modified().is_ok_and(|modified| modified > synced.at) => {
                Durability::Unsynced
            }
            durability => durability,
        }
    }

    /// Whether something in the directory was outside, so that the program may have descriptors for it that were not recorded.
    pub(crate) fn has_arrived(&self, metadata: &Metadata) -> bool {
        self.inside.contains_key(&OutsideId::of(metadata))
    }
}

/// Ops that come before all others, with their data: `start` and length of what was kept.
#[derive(Debug, Default)]
pub(crate) struct Prelude(Vec<(Op, Option<(u64, u64)>)>);

impl Prelude {
    /// Puts them there.
    pub(crate) fn put_before(self, ops: &mut Vec<Op>, kept: &mut Kept) {
        kept.shift(self.0.len());
        for (index, (_, data)) in self.0.iter().enumerate() {
            if let Some((start, length)) = data {
                kept.were_seen(index, *start, *length);
            }
        }
        ops.splice(0..0, self.0.into_iter().map(|(op, _)| op));
    }
}

impl Recorder<'_> {
    /// A file outside, which descriptor `fd` stands for, was made durable.
    pub(crate) fn synced_outside(&mut self, tid: pid_t, name: &str, fd: i32) -> io::Result<()> {
        let metadata = fs::metadata(remote::fd_link(tid, fd))?;
        if !matches!(self.outside.durability(&metadata), Durability::Unsynced) {
            return Ok(());
        }
        self.leave_free(tid, name, OutsideId::of(&metadata), Some(name));
        Ok(())
    }

    /// All files that there are on this file system were made durable.
    pub(crate) fn synced_all_outside(&mut self, tid: pid_t, name: &str) {
        let of_this = |id: &OutsideId| id.device == self.scene.device;
        let unsynced = |(id, durability): (&OutsideId, &Durability)| {
            (matches!(durability, Durability::Unsynced) && of_this(id)).then_some(*id)
        };
        let ids: Vec<OutsideId> = self.outside.known.iter().filter_map(unsynced).collect();
        ids.into_iter().for_each(|id| self.leave_free(tid, name, id, None));
    }

    fn leave_free(&mut self, tid: pid_t, name: &str, id: OutsideId, syscall: Option<&str>) {
        let slot = self.recorded.ops.len();
        for _ in 0..3 {
            // To close what was never opened says nothing, and is dropped in the end.
            let nothing = self.files.nameless();
            self.push_closed(tid, name, nothing);
        }
        let synced = Synced { slot, syscall: syscall.map(str::to_owned), at: SystemTime::now() };
        self.outside.known.insert(id, Durability::Synced(synced));
    }

    /// The file of the directory at `path` has another name, outside.
    pub(crate) fn linked_outside(&mut self, path: RelPath, to: &Path) -> io::Result<()> {
        self.outside.inside.insert(OutsideId::of(&fs::symlink_metadata(to)?), path);
        Ok(())
    }

    /// Where in the directory a file is that a descriptor leads to by the path `outside`. `Err`: it may be there, but not where it
    /// was when that was found out.
    pub(crate) fn inside_by_number(&self, metadata: &Metadata, outside: &Path) -> Result<Option<RelPath>, RelPath> {
        let id = OutsideId::of(metadata);
        let Some(path) = self.outside.inside.get(&id) else { return Ok(None) };
        match fs::symlink_metadata(path.under(&self.scene.root)) {
            Ok(found) if OutsideId::of(&found) == id => Ok(Some(path.clone())),
            // It has left, or has no name at all.
            _ if fs::symlink_metadata(outside).map_or(metadata.nlink() == 0, |_| metadata.nlink() == 1) => Ok(None),
            _ => Err(path.clone()),
        }
    }

    /// What was outside is at `to` now: writes down what it is.
    pub(crate) fn arrived(&mut self, tid: pid_t, name: &str, to: &RelPath, flags: u32) -> io::Result<()> {
        let limit = self.scene.data_limit;
        let options = ReadOptions { largest_file: limit, most_bytes: limit, most_names: MOST_NAMES };
        let root = Root::open(&self.scene.root)?;
        let tree = treeio::read_at(&root, to, &options).map_err(|error| error.source)?;
        let own = (geteuid().as_raw(), getegid().as_raw());
        let (mut entries, mut handles, mut numbers) = (Vec::new(), HashMap::new(), HashMap::new());
        for (path, node) in tree.0 {
            let host = if path.is_root() { to.clone() } else { to.join(path.as_path().as_os_str().as_encoded_bytes()) };
            let metadata = fs::symlink_metadata(host.under(&self.scene.root))?;
            numbers.insert(OutsideId::of(&metadata), host);
            let kind = match node.kind {
                Kind::Directory => ArrivalKind::Directory,
                Kind::Symlink(target) => ArrivalKind::Symlink(target),
                Kind::Special { mode, device } => ArrivalKind::Special { mode, device },
                Kind::File(content) => ArrivalKind::File(match handles.get(&node.inode) {
                    Some(handle) => *handle,
                    None => {
                        let handle = self.bring(tid, &metadata, &content, node.mode);
                        handles.insert(node.inode, handle);
                        handle
                    }
                }),
            };
            let owner = Some((node.uid, node.gid)).filter(|owner| *owner != own);
            entries.push(Arrival { path, kind, mode: node.mode, owner, xattrs: node.xattrs });
        }
        self.push(tid, name, Call::Arrive { entries, to: to.clone(), flags }, 0);
        let mut handles: Vec<Handle> = handles.into_values().collect();
        handles.sort_unstable();
        handles.into_iter().for_each(|handle| self.push_closed(tid, name, handle));
        self.look_again(tid, name, &numbers);
        self.outside.inside.extend(numbers);
        Ok(())
    }

    /// Descriptors for what came in are to be looked up anew: they were for something outside, or for what had left before.
    fn look_again(&mut self, tid: pid_t, name: &str, numbers: &HashMap<OutsideId, RelPath>) {
        self.files.forget_outside();
        let known: Vec<_> = self.files.descriptors().collect();
        for (table, fd, _) in known {
            let owner = self.threads.iter().find(|(_, thread)| thread.table == table).map(|(owner, _)| *owner);
            let metadata = owner.and_then(|owner| fs::metadata(remote::fd_link(owner, fd)).ok());
            if metadata.is_some_and(|metadata| numbers.contains_key(&OutsideId::of(&metadata)))
                && let Some(closed) = self.files.remove(table, fd)
            {
                self.push_closed(tid, name, closed);
            }
        }
    }

    /// Writes down that there is a nameless file that holds `content`; gives its handle.
    fn bring(&mut self, tid: pid_t, metadata: &Metadata, content: &[u8], mode: u32) -> Handle {
        let length = content.len() as u64;
        let start = self.recorded.kept.next();
        let kept = self.recorded.kept.count_written(length).and_then(|()| self.recorded.kept.append(content));
        if let Err(stop) = kept {
            self.shared.set_stop(stop);
        }
        let (id, durability) = (OutsideId::of(metadata), self.outside.durability(metadata));
        if matches!(durability, Durability::Unsynced) && self.outside.synchronous.contains(&id) {
            self.unmodelled(
                "open",
                "a file was written with O_SYNC or O_DSYNC outside the recorded directory, and came in",
            );
        }
        // Brought in once more, it is another file.
        self.outside.change(id);
        let handle = self.files.nameless();
        let thread = self.threads.get(&tid).map_or(0, |thread| thread.number);
        let op = |what: &str, call, result: u64| Op {
            call,
            syscall: format!("outside:{what}"),
            result: result as i64,
            thread,
        };
        let flags = (libc::O_TMPFILE | libc::O_WRONLY) as u32;
        let open = op("open", Call::Open { handle, path: RelPath::root(), flags, mode: mode & 0o777 }, 0);
        let write = Call::Write { handle, offset: 0, data: Arc::default(), flags: 0 };
        let write = (length > 0).then(|| op("write", write, length));
        let sync = |syscall: &str| op(syscall, Call::Fsync { handle }, 0);
        let recorded = &mut self.recorded;
        match durability {
            Durability::Unsynced => {
                recorded.ops.push(open);
                if let Some(write) = write {
                    recorded.kept.were_seen(recorded.ops.len(), start, length);
                    recorded.ops.push(write);
                }
            }
            Durability::Synced(Synced { slot, syscall, .. }) => {
                if let Some([first, second, third]) = recorded.ops.get_mut(slot..slot + 3) {
                    *first = open;
                    if let Some(syscall) = syscall {
                        *third = sync(&syscall);
                    }
                    if let Some(write) = write {
                        recorded.kept.were_seen(slot + 1, start, length);
                        *second = write;
                    }
                }
            }
            Durability::FromBefore => {
                let data = write.map(|write| (write, Some((start, length))));
                let ops = [Some((open, None)), data, Some((sync("fsync"), None))];
                recorded.prelude.0.extend(ops.into_iter().flatten());
            }
        }
        handle
    }
}
