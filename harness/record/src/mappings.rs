//! Address spaces of the program, as far as shared mappings of recorded files go.
//!
//! As in the kernel, an address space (`mm_struct`) may serve several threads and, after vfork(2), processes. What is mapped
//! is known from the calls that map, unmap, move and protect (mmap(2), mremap(2), mprotect(2)); fork(2) copies it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use program::Handle;

/// Bytes of a page: the kernel maps whole ones.
const PAGE: u64 = 4096;

/// A file, whatever its names: device and inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileId {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

/// A shared mapping, or what is left of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    /// Addresses, whole pages.
    pub(crate) addresses: Range<u64>,
    /// Where in the file the first address is.
    pub(crate) offset: u64,
    pub(crate) file: FileId,
    /// What was mapped: it stays open for as long as it is.
    pub(crate) handle: Handle,
    /// Whether it can be stored to, or could be once.
    pub(crate) writable: bool,
}

impl Area {
    /// The bytes of the file.
    pub(crate) fn bytes(&self) -> Range<u64> {
        self.offset..self.offset + (self.addresses.end - self.addresses.start)
    }

    /// The part at these addresses, if there is any.
    pub(crate) fn part(&self, addresses: &Range<u64>) -> Option<Self> {
        let start = self.addresses.start.max(addresses.start);
        let end = self.addresses.end.min(addresses.end);
        let offset = self.offset + start.saturating_sub(self.addresses.start);
        (start < end).then(|| Self { addresses: start..end, offset, ..self.clone() })
    }
}

/// The addresses of whole pages that a call with this address and length is about.
pub(crate) fn pages(address: u64, length: u64) -> Range<u64> {
    let start = address - address % PAGE;
    // Too long is nothing that the kernel takes.
    let end = address.checked_add(length).and_then(|end| end.checked_next_multiple_of(PAGE));
    start..end.unwrap_or(start)
}

/// One `mm_struct`. The default is none at all.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SpaceId(u32);

#[derive(Debug, Default)]
struct Space {
    threads: usize,
    /// Without an overlap.
    areas: Vec<Area>,
}

/// All address spaces.
#[derive(Debug, Default)]
pub(crate) struct Mappings {
    spaces: HashMap<SpaceId, Space>,
    last: u32,
}

impl Mappings {
    /// An empty address space for one thread.
    pub(crate) fn space(&mut self) -> SpaceId {
        self.insert(Vec::new())
    }

    fn insert(&mut self, areas: Vec<Area>) -> SpaceId {
        self.last += 1;
        let id = SpaceId(self.last);
        self.spaces.insert(id, Space { threads: 1, areas });
        id
    }

    /// One more thread uses the space (`CLONE_VM`).
    pub(crate) fn share(&mut self, id: SpaceId) -> SpaceId {
        if let Some(space) = self.spaces.get_mut(&id) {
            space.threads += 1;
        }
        id
    }

    /// A copy for one thread (`fork`).
    pub(crate) fn copy(&mut self, id: SpaceId) -> SpaceId {
        let areas = self.spaces.get(&id).map(|space| space.areas.clone()).unwrap_or_default();
        self.insert(areas)
    }

    /// A thread stopped using the space: it ended, or runs another program.
    pub(crate) fn leave(&mut self, id: SpaceId) {
        if let Some(space) = self.spaces.get_mut(&id) {
            space.threads -= 1;
            if space.threads == 0 {
                self.spaces.remove(&id);
            }
        }
    }

    /// Whether a thread is the last one that uses its space, and something is mapped there.
    pub(crate) fn ends_with_thread(&self, id: SpaceId) -> bool {
        self.spaces.get(&id).is_some_and(|space| space.threads == 1 && !space.areas.is_empty())
    }

    /// A new mapping, in the place of what was there.
    pub(crate) fn map(&mut self, id: SpaceId, area: Area) {
        self.unmap(id, &area.addresses);
        if let Some(space) = self.spaces.get_mut(&id) {
            space.areas.push(area);
        }
    }

    /// Nothing of interest is mapped there any more.
    pub(crate) fn unmap(&mut self, id: SpaceId, addresses: &Range<u64>) {
        let Some(space) = self.spaces.get_mut(&id) else { return };
        if addresses.is_empty() {
            return;
        }
        let rest = |area: &Area| {
            [area.part(&(0..addresses.start)), area.part(&(addresses.end..u64::MAX))].into_iter().flatten()
        };
        space.areas = space.areas.iter().flat_map(rest).collect();
    }

    /// What is mapped at `from` is mapped at `to` from now on: as much of it as fits, and more of its last file where `to` is
    /// longer.
    pub(crate) fn remap(&mut self, id: SpaceId, from: &Range<u64>, to: &Range<u64>) {
        let mut moved = self.within(id, from);
        self.unmap(id, from);
        self.unmap(id, to);
        for area in &mut moved {
            let shift = |address: u64| to.start + (address - from.start);
            area.addresses = shift(area.addresses.start)..shift(area.addresses.end).min(to.end);
        }
        moved.retain(|area| !area.addresses.is_empty());
        // One call is about one mapping (mremap(2), `EFAULT`).
        if let Some(last) = moved.last_mut() {
            last.addresses.end = to.end;
        }
        if let Some(space) = self.spaces.get_mut(&id) {
            space.areas.extend(moved);
        }
    }

    /// What is mapped there can be stored to from now on.
    pub(crate) fn make_writable(&mut self, id: SpaceId, addresses: &Range<u64>) {
        let parts = self.within(id, addresses);
        self.unmap(id, addresses);
        if let Some(space) = self.spaces.get_mut(&id) {
            space.areas.extend(parts.into_iter().map(|area| Area { writable: true, ..area }));
        }
    }

    /// The parts of mappings at these addresses, by address.
    pub(crate) fn within(&self, id: SpaceId, addresses: &Range<u64>) -> Vec<Area> {
        let areas = self.spaces.get(&id).map_or(&[][..], |space| &space.areas);
        let mut parts: Vec<Area> = areas.iter().filter_map(|area| area.part(addresses)).collect();
        parts.sort_by_key(|area| area.addresses.start);
        parts
    }

    /// Every open file that is mapped.
    pub(crate) fn handles(&self) -> BTreeSet<Handle> {
        self.areas().map(|area| area.handle).collect()
    }

    /// What can be stored to, by file: an open file for it, and the bytes, ascending, without an overlap.
    pub(crate) fn writable(&self) -> BTreeMap<FileId, (Handle, Vec<Range<u64>>)> {
        let mut files: BTreeMap<FileId, (Handle, Vec<Range<u64>>)> = BTreeMap::new();
        for area in self.areas().filter(|area| area.writable) {
            let (handle, ranges) = files.entry(area.file).or_insert((area.handle, Vec::new()));
            *handle = area.handle.min(*handle);
            ranges.push(area.bytes());
        }
        for (_, ranges) in files.values_mut() {
            ranges.sort_by_key(|range| range.start);
            let mut merged: Vec<Range<u64>> = Vec::new();
            for range in ranges.drain(..) {
                match merged.last_mut() {
                    Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                    _ => merged.push(range),
                }
            }
            *ranges = merged;
        }
        files
    }

    fn areas(&self) -> impl Iterator<Item = &Area> {
        self.spaces.values().flat_map(|space| &space.areas)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: FileId = FileId { device: 1, inode: 2 };

    #[derive(Clone, Debug)]
    enum Change {
        Map { at: u64, pages: u64, offset: u64, writable: bool },
        Unmap { at: u64, pages: u64 },
        Protect { at: u64, pages: u64 },
        Remap { from: u64, pages: u64, to: u64, new: u64 },
    }

    fn change() -> impl Strategy<Value = Change> {
        let (at, pages) = (0..20u64, 1..6u64);
        prop_oneof![
            4 => (at.clone(), pages.clone(), 0..9u64, any::<bool>())
                .prop_map(|(at, pages, offset, writable)| Change::Map { at, pages, offset, writable }),
            2 => (at.clone(), pages.clone()).prop_map(|(at, pages)| Change::Unmap { at, pages }),
            1 => (at.clone(), pages.clone()).prop_map(|(at, pages)| Change::Protect { at, pages }),
            1 => (at, pages.clone(), 0..20u64, pages).prop_map(|(from, pages, to, new)| Change::Remap { from, pages, to, new }),
        ]
    }

    proptest! {
        /// The plain truth: what each page of addresses shows of the file, and whether it can be stored to.
        #[test]
        fn pages_are_mapped_as_the_calls_say(changes in prop::collection::vec(change(), 1..30)) {
            let mut mappings = Mappings::default();
            let id = mappings.space();
            let mut truth: BTreeMap<u64, (u64, bool)> = BTreeMap::new();
            let range = |at: u64, count: u64| at * PAGE..(at + count) * PAGE;
            for change in changes {
                match change {
                    Change::Map { at, pages, offset, writable } => {
                        let handle = Handle(0);
                        mappings.map(id, Area { addresses: range(at, pages), offset: offset * PAGE, file: FILE, handle, writable });
                        truth.extend((0..pages).map(|page| (at + page, (offset + page, writable))));
                    }
                    Change::Unmap { at, pages } => {
                        mappings.unmap(id, &range(at, pages));
                        truth.retain(|page, _| !(at..at + pages).contains(page));
                    }
                    Change::Protect { at, pages } => {
                        mappings.make_writable(id, &range(at, pages));
                        truth.iter_mut().filter(|(page, _)| (at..at + pages).contains(page)).for_each(|(_, it)| it.1 = true);
                    }
                    Change::Remap { from, pages, to, new } => {
                        let moved: Vec<(u64, bool)> = (from..from + pages).map_while(|page| truth.get(&page).copied()).collect();
                        // One mapping as a whole, to where nothing of it is.
                        let is_one = moved.windows(2).all(|two| (two[0].0 + 1, two[0].1) == two[1]);
                        if moved.len() as u64 != pages || !is_one || (from < to + new && to < from + pages) { continue; }
                        mappings.remap(id, &range(from, pages), &range(to, new));
                        truth.retain(|page, _| !(from..from + pages).contains(page) && !(to..to + new).contains(page));
                        truth.extend((0..new).map(|page| (to + page, (moved[0].0 + page, moved[0].1))));
                    }
                }
                let mut seen = BTreeMap::new();
                for area in mappings.within(id, &(0..u64::MAX)) {
                    for (page, address) in area.addresses.clone().step_by(PAGE as usize).enumerate() {
                        let shows = (area.offset / PAGE + page as u64, area.writable);
                        prop_assert_eq!(seen.insert(address / PAGE, shows), None);
                    }
                }
                prop_assert_eq!(&seen, &truth);
            }
            let mut stored: BTreeSet<u64> = BTreeSet::new();
            for range in mappings.writable().values().flat_map(|(_, ranges)| ranges) {
                stored.extend(range.start / PAGE..range.end / PAGE);
            }
            prop_assert_eq!(stored, truth.values().filter(|page| page.1).map(|page| page.0).collect::<BTreeSet<u64>>());
        }
    }

    #[test]
    fn spaces_are_shared_by_threads_and_copied_for_children() {
        let mut mappings = Mappings::default();
        let parent = mappings.space();
        let area = Area { addresses: 0..PAGE, offset: 0, file: FILE, handle: Handle(3), writable: false };
        mappings.map(parent, area);
        let (thread, child) = (mappings.share(parent), mappings.copy(parent));
        assert_eq!((thread, mappings.ends_with_thread(parent)), (parent, false));
        mappings.make_writable(child, &(0..PAGE));
        mappings.leave(parent);
        assert!(mappings.ends_with_thread(thread));
        mappings.leave(thread);
        let writable = mappings.writable();
        assert_eq!((writable[&FILE].0, writable[&FILE].1.as_slice()), (Handle(3), std::slice::from_ref(&(0..PAGE))));
        mappings.leave(child);
        assert_eq!(mappings.handles(), BTreeSet::new());
    }
}
