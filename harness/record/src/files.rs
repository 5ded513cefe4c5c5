//! Descriptor tables: which descriptor of which process stands for which recorded open file.
//!
//! As in the kernel, a table (`files_struct`) may serve several threads, and an open file description several
//! descriptors. Only descriptors that were looked at are in it; an entry is dropped when its descriptor is closed.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;

use libc::pid_t;
use program::{Channel, Handle, RelPath};

use crate::outside::OutsideId;
use crate::remote::{self, Position};

/// Of how many files the position can be asked for, and the content, without opening something each time: this process may
/// have but few descriptors, and the program any number.
const KEPT_OPEN: usize = 16;

/// What a descriptor is to the recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Descriptor {
    /// A recorded file.
    File(Handle),
    /// Below the directory, open for reading only, and not recorded so far.
    Reader,
    /// Below the directory, opened with `O_PATH`: a name rather than a file.
    Name,
    /// Bytes written here leave the program.
    Channel(Channel),
    /// A regular file outside the directory: it may come into it.
    Outside(OutsideId),
    /// Nothing of interest.
    Other,
}

/// One `files_struct`. The default is no table at all.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TableId(u32);

#[derive(Debug, Default)]
struct Table {
    threads: usize,
    entries: BTreeMap<i32, Descriptor>,
}

/// One recorded open file description.
#[derive(Debug)]
pub(crate) struct OpenFile {
    descriptors: usize,
    /// Whether it is mapped, which keeps it open, too.
    mapped: bool,
    /// Where it was when it was opened.
    pub(crate) path: RelPath,
    /// Flags of open(2); `O_APPEND` as it is now.
    pub(crate) flags: u32,
}

/// All tables and all recorded open files.
#[derive(Debug, Default)]
pub(crate) struct Files {
    tables: HashMap<TableId, Table>,
    files: HashMap<Handle, OpenFile>,
    positions: HashMap<Handle, Position>,
    contents: HashMap<Handle, fs::File>,
    /// Whether the program takes leases, which it does not get, or loses, where others have the file open (fcntl(2)).
    has_leases: bool,
    last_table: u32,
    next_handle: u32,
}

impl Files {
    /// An empty table for one thread.
    pub(crate) fn table(&mut self) -> TableId {
        self.insert(BTreeMap::new())
    }

    fn insert(&mut self, entries: BTreeMap<i32, Descriptor>) -> TableId {
        self.last_table += 1;
        let id = TableId(self.last_table);
        self.tables.insert(id, Table { threads: 1, entries });
        id
    }

    /// One more thread uses the table (`CLONE_FILES`).
    pub(crate) fn share(&mut self, id: TableId) -> TableId {
        if let Some(table) = self.tables.get_mut(&id) {
            table.threads += 1;
        }
        id
    }

    /// A copy for one thread (`fork`).
    pub(crate) fn copy(&mut self, id: TableId) -> TableId {
        let entries = self.tables.get(&id).map(|table| table.entries.clone()).unwrap_or_default();
        for entry in entries.values() {
            self.retain(*entry);
        }
        self.insert(entries)
    }

    /// A thread that used the table goes on with one of its own (`CLONE_FILES` of unshare(2), exec).
    pub(crate) fn unshare(&mut self, id: TableId) -> TableId {
        match self.tables.get_mut(&id) {
            Some(table) if table.threads > 1 => {
                table.threads -= 1;
                self.copy(id)
            }
            _ => id,
        }
    }

    /// A thread stopped using the table. Gives the files that this closed, in the order of their descriptors.
    pub(crate) fn leave(&mut self, id: TableId) -> Vec<Handle> {
        let Some(table) = self.tables.get_mut(&id) else { return Vec::new() };
        table.threads -= 1;
        if table.threads > 0 {
            return Vec::new();
        }
        let entries = self.tables.remove(&id).map(|table| table.entries).unwrap_or_default();
        entries.into_values().filter_map(|entry| self.release(entry)).collect()
    }

    /// Whether the table, or the file behind a descriptor, has another user who may move the position meanwhile.
    pub(crate) fn shared(&self, id: TableId, handle: Handle) -> bool {
        self.tables.get(&id).is_some_and(|table| table.threads > 1)
            || self.files.get(&handle).is_some_and(|file| file.descriptors > 1)
    }

    /// How many threads use the table.
    pub(crate) fn threads(&self, id: TableId) -> usize {
        self.tables.get(&id).map_or(0, |table| table.threads)
    }

    /// What is known of a descriptor.
    pub(crate) fn get(&self, id: TableId, fd: i32) -> Option<Descriptor> {
        self.tables.get(&id)?.entries.get(&fd).copied()
    }

    /// Puts `entry` at a descriptor; gives the file that this closed.
    pub(crate) fn set(&mut self, id: TableId, fd: i32, entry: Descriptor) -> Option<Handle> {
        self.retain(entry);
        let former = self.tables.get_mut(&id).and_then(|table| table.entries.insert(fd, entry));
        former.and_then(|former| self.release(former))
    }

    /// Forgets a descriptor; gives the file that this closed.
    pub(crate) fn remove(&mut self, id: TableId, fd: i32) -> Option<Handle> {
        let former = self.tables.get_mut(&id)?.entries.remove(&fd)?;
        self.release(former)
    }

    /// Forgets every descriptor that `keep` refuses; gives the files that this closed.
    pub(crate) fn retain_only(&mut self, id: TableId, keep: impl Fn(i32) -> bool) -> Vec<Handle> {
        let Some(table) = self.tables.get_mut(&id) else { return Vec::new() };
        let dropped: Vec<i32> = table.entries.keys().copied().filter(|fd| !keep(*fd)).collect();
        dropped.into_iter().filter_map(|fd| self.remove(id, fd)).collect()
    }

    /// A new open file at a descriptor; gives it and the file that this closed.
    pub(crate) fn open(&mut self, id: TableId, fd: i32, path: RelPath, flags: u32) -> (Handle, Option<Handle>) {
        let handle = self.nameless();
        self.files.insert(handle, OpenFile { descriptors: 0, mapped: false, path, flags });
        let closed = self.set(id, fd, Descriptor::File(handle));
        (handle, closed)
    }

    /// A number for an open file that no descriptor of the program stands for.
    pub(crate) fn nameless(&mut self) -> Handle {
        let handle = Handle(self.next_handle);
        self.next_handle += 1;
        handle
    }

    /// Forgets what descriptors are that stand for nothing in the directory: they are looked up again when they are used.
    pub(crate) fn forget_outside(&mut self) {
        for table in self.tables.values_mut() {
            table.entries.retain(|_, entry| !matches!(entry, Descriptor::Outside(_) | Descriptor::Other));
        }
    }

    /// A recorded open file; `None` once it is closed.
    pub(crate) fn file(&self, handle: Handle) -> Option<&OpenFile> {
        self.files.get(&handle)
    }

    /// Changes the flags that `F_SETFL` can change.
    pub(crate) fn set_flags(&mut self, handle: Handle, change: impl Fn(u32) -> u32) {
        if let Some(file) = self.files.get_mut(&handle) {
            file.flags = change(file.flags);
        }
    }

    /// The file position behind descriptor `fd` of thread `tid`, which is `handle`'s. Errors: the thread is gone, or this process
    /// cannot look.
    pub(crate) fn position(&mut self, tid: pid_t, fd: i32, handle: Handle) -> io::Result<u64> {
        // A number can come to stand for another thread: then the old one cannot be asked any more.
        if let Some(position) = self.positions.get(&handle).filter(|position| position.is_of(tid, fd))
            && let Ok(position) = position.read()
        {
            return Ok(position);
        }
        if self.positions.len() >= KEPT_OPEN {
            self.positions.clear();
        }
        let position = Position::new(tid, fd)?;
        let read = position.read();
        self.positions.insert(handle, position);
        read
    }

    /// Leaves the program's files to it alone, from now on.
    pub(crate) fn close_contents(&mut self) {
        self.contents.clear();
        self.has_leases = true;
    }

    /// The file behind descriptor `fd` of thread `tid`, which is `handle`'s, open for reading. Errors: as above, or the file's
    /// permissions forbid it, or the program takes leases.
    pub(crate) fn content(&mut self, tid: pid_t, fd: i32, handle: Handle) -> io::Result<&fs::File> {
        if self.has_leases {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        if self.contents.len() >= KEPT_OPEN && !self.contents.contains_key(&handle) {
            self.contents.clear();
        }
        Ok(match self.contents.entry(handle) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                // A lease that somebody else holds is not waited for.
                let options = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).to_owned();
                free.insert(options.open(remote::fd_link(tid, fd))?)
            }
        })
    }

    /// One descriptor for each recorded open file of each table.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = (TableId, i32, Handle)> {
        self.tables.iter().flat_map(|(id, table)| {
            table.entries.iter().filter_map(|(fd, entry)| match entry {
                Descriptor::File(handle) => Some((*id, *fd, *handle)),
                _ => None,
            })
        })
    }

    fn retain(&mut self, entry: Descriptor) {
        if let Descriptor::File(handle) = entry
            && let Some(file) = self.files.get_mut(&handle)
        {
            file.descriptors += 1;
        }
    }

    fn release(&mut self, entry: Descriptor) -> Option<Handle> {
        let Descriptor::File(handle) = entry else { return None };
        let file = self.files.get_mut(&handle)?;
        file.descriptors -= 1;
        if file.descriptors > 0 || file.mapped {
            return None;
        }
        Some(self.forget(handle))
    }

    fn forget(&mut self, handle: Handle) -> Handle {
        self.files.remove(&handle);
        self.positions.remove(&handle);
        self.contents.remove(&handle);
        handle
    }

    /// These open files are mapped, and no others. Gives those that this closed.
    pub(crate) fn keep_mapped(&mut self, mapped: &BTreeSet<Handle>) -> Vec<Handle> {
        let mut closed = Vec::new();
        for (handle, file) in &mut self.files {
            file.mapped = mapped.contains(handle);
            if !file.mapped && file.descriptors == 0 {
                closed.push(*handle);
            }
        }
        closed.sort_unstable();
        closed.into_iter().map(|handle| self.forget(handle)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum TableStep {
        Open { process: usize, fd: i32 },
        Dup { process: usize, from: i32, to: i32 },
        Close { process: usize, fd: i32 },
        Fork { process: usize },
        Thread { process: usize },
        Unshare { process: usize },
        Exit { process: usize },
    }

    fn step() -> impl Strategy<Value = TableStep> {
        let (process, fd) = (0..6usize, 0..5i32);
        prop_oneof![
            4 => (process.clone(), fd.clone()).prop_map(|(process, fd)| TableStep::Open { process, fd }),
            4 => (process.clone(), fd.clone(), fd.clone()).prop_map(|(process, from, to)| TableStep::Dup { process, from, to }),
            3 => (process.clone(), fd).prop_map(|(process, fd)| TableStep::Close { process, fd }),
            2 => process.clone().prop_map(|process| TableStep::Fork { process }),
            2 => process.clone().prop_map(|process| TableStep::Thread { process }),
            1 => process.clone().prop_map(|process| TableStep::Unshare { process }),
            2 => process.prop_map(|process| TableStep::Exit { process }),
        ]
    }

    /// The plain truth: a table is shared by `Rc`, and a file is closed when its last `Rc` goes.
    type Model = Rc<std::cell::RefCell<BTreeMap<i32, Rc<u32>>>>;

    fn alive(threads: &[Model]) -> Vec<u32> {
        let mut alive: Vec<u32> =
            threads.iter().flat_map(|table| table.borrow().values().map(|file| **file).collect::<Vec<_>>()).collect();
        alive.sort_unstable();
        alive.dedup();
        alive
    }

    proptest! {
        #[test]
        fn a_file_is_closed_exactly_when_its_last_descriptor_goes(steps in prop::collection::vec(step(), 1..60)) {
            let mut files = Files::default();
            let mut threads: Vec<(TableId, Model)> = vec![(files.table(), Model::default())];
            let mut opened = 0;
            for step in steps {
                let pick = |process: usize| process % threads.len().max(1);
                if threads.is_empty() { break; }
                let models = |threads: &[(TableId, Model)]| threads.iter().map(|(_, model)| model.clone()).collect::<Vec<_>>();
                let before = alive(&models(&threads));
                let mut closed: Vec<Handle> = Vec::new();
                match step {
                    TableStep::Open { process, fd } => {
                        let (id, model) = &threads[pick(process)];
                        let (handle, former) = files.open(*id, fd, RelPath::root(), 0);
                        closed.extend(former);
                        prop_assert_eq!(handle.0, opened);
                        model.borrow_mut().insert(fd, Rc::new(opened));
                        opened += 1;
                    }
                    TableStep::Dup { process, from, to } => {
                        let (id, model) = &threads[pick(process)];
                        let Some(entry) = files.get(*id, from) else { continue };
                        closed.extend(files.set(*id, to, entry));
                        let file = model.borrow()[&from].clone();
                        model.borrow_mut().insert(to, file);
                    }
                    TableStep::Close { process, fd } => {
                        let (id, model) = &threads[pick(process)];
                        closed.extend(files.remove(*id, fd));
                        model.borrow_mut().remove(&fd);
                    }
                    TableStep::Fork { process } => {
                        let (id, model) = threads[pick(process)].clone();
                        let copy = model.borrow().clone();
                        threads.push((files.copy(id), Rc::new(copy.into())));
                    }
                    TableStep::Thread { process } => {
                        let (id, model) = threads[pick(process)].clone();
                        threads.push((files.share(id), model));
                    }
                    TableStep::Unshare { process } => {
                        let at = pick(process);
                        let (id, model) = threads[at].clone();
                        let copy = model.borrow().clone();
                        threads[at] = (files.unshare(id), Rc::new(copy.into()));
                    }
                    TableStep::Exit { process } => {
                        let (id, model) = threads.swap_remove(pick(process));
                        drop(model);
                        closed.extend(files.leave(id));
                    }
                }
                let after = alive(&models(&threads));
                let mut gone: Vec<u32> = closed.iter().map(|handle| handle.0).collect();
                gone.sort_unstable();
                let expected: Vec<u32> = (0..opened)
                    .filter(|file| (before.contains(file) || *file + 1 == opened) && !after.contains(file))
                    .filter(|file| before.contains(file))
                    .collect();
                prop_assert_eq!(gone, expected);
                for (id, model) in &threads {
                    for (fd, file) in model.borrow().iter() {
                        prop_assert_eq!(files.get(*id, *fd), Some(Descriptor::File(Handle(**file))));
                    }
                }
            }
        }
    }
}
