//! What comes into the directory from outside of it, and what leaves it.

use std::collections::BTreeMap;

use super::inodes::{Body, Inode, inode};
use super::names::{Place, rn};
use super::{ROOT, Vfs, Why};
use crate::{Arrival, ArrivalKind, RelPath};

impl Vfs {
    pub(super) fn arrive(&mut self, entries: &[Arrival], to: &RelPath, flags: u32) -> Result<(), Why> {
        self.check(entries)?;
        let is_directory = entries.first().is_some_and(|entry| entry.kind == ArrivalKind::Directory);
        let Place { dir, name, inode: former } = self.resolve(to, false)?;
        if former == Some(ROOT) {
            return Err(Why::Invalid);
        }
        match former {
            None if flags & rn::EXCHANGE != 0 => return Err(Why::NotFound),
            None => {}
            Some(_) if flags & rn::NOREPLACE != 0 => return Err(Why::Exists),
            Some(former) if flags & rn::EXCHANGE != 0 => {
                self.unbind(dir, &name, former);
                self.forget_all(former);
            }
            Some(former) => {
                match (is_directory, self.is_directory(former)) {
                    (true, false) => return Err(Why::NotADirectory),
                    (false, true) => return Err(Why::IsADirectory),
                    (true, true) if !self.entries(former)?.is_empty() => return Err(Why::NotEmpty),
                    _ => {}
                }
                self.unbind(dir, &name, former);
                self.forget_if_unused(former);
            }
        }
        let top = self.build(entries);
        self.bind(dir, name, top);
        Ok(())
    }

    pub(super) fn leave(&mut self, path: &RelPath) -> Result<(), Why> {
        let place = self.resolve(path, false)?;
        let id = place.inode.filter(|id| *id != ROOT).ok_or(Why::NotFound)?;
        self.unbind(place.dir, &place.name, id);
        self.forget_all(id);
        Ok(())
    }

    /// Whether what arrives is a tree of what there is.
    fn check(&self, entries: &[Arrival]) -> Result<(), Why> {
        let mut known: BTreeMap<&RelPath, bool> = BTreeMap::new();
        for entry in entries {
            if let ArrivalKind::File(handle) = entry.kind {
                self.open_file(handle)?;
            }
            let has_place = match entry.path.parent() {
                None => known.is_empty(),
                Some(above) => known.get(&above) == Some(&true),
            };
            if !has_place || known.insert(&entry.path, entry.kind == ArrivalKind::Directory).is_some() {
                return Err(Why::Invalid);
            }
        }
        if known.is_empty() { Err(Why::Invalid) } else { Ok(()) }
    }

    /// Makes what arrives, which [`Vfs::check`] has seen, without a name; gives its first entry.
    fn build(&mut self, entries: &[Arrival]) -> u64 {
        let mut made: BTreeMap<&RelPath, u64> = BTreeMap::new();
        for Arrival { path, kind, mode, owner, xattrs } in entries {
            let id = match kind {
                ArrivalKind::File(handle) => self.handles[handle].0,
                ArrivalKind::Directory => self.add(inode(Body::Directory(BTreeMap::new()), 0)),
                ArrivalKind::Symlink(target) => self.add(inode(Body::Symlink(target.clone()), 0)),
                ArrivalKind::Special { mode, device } => {
                    self.add(inode(Body::Special { mode: *mode, device: *device }, 0))
                }
            };
            let node = self.node(id);
            (node.mode, node.data_changed) = (mode & 0o7777, false);
            node.owner = owner.map_or((None, None), |(user, group)| (Some(user), Some(group)));
            node.xattrs.clone_from(xattrs);
            if let Some(dir) = path.parent().and_then(|above| made.get(&above).copied()) {
                if let Body::Directory(names) = &mut self.node(dir).body {
                    names.insert(path.name().to_vec(), id);
                }
                self.node(id).names.insert((dir, path.name().to_vec()));
            }
            made.insert(path, id);
        }
        made[&entries[0].path]
    }

    /// Forgets what has lost its name, and all that is below; what is open stays, without a name.
    fn forget_all(&mut self, id: u64) {
        if let Some(Inode { body: Body::Directory(names), .. }) = self.inodes.get_mut(&id) {
            for (name, child) in std::mem::take(names) {
                self.node(child).names.remove(&(id, name));
                self.forget_all(child);
            }
        }
        if self.inodes.contains_key(&id) {
            self.forget_if_unused(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::testing::tree;
    use crate::{Arrival, ArrivalKind, Call, Handle, RelPath, State, Vfs, Why};

    fn entry(path: &str, kind: ArrivalKind) -> Arrival {
        Arrival { path: path.into(), kind, mode: 0o640, owner: Some((7, 8)), xattrs: Default::default() }
    }

    /// The directory holds `old` and `d/in`, and a nameless file, handle 0, holds "new".
    fn vfs() -> Vfs {
        let mut vfs = Vfs::new(&tree(&[("old", b"old"), ("d/in", b"inner")]));
        let handle = Handle(0);
        let open = Call::Open { handle, path: RelPath::root(), flags: 0o20200001, mode: 0o600 };
        vfs.apply(&open).unwrap();
        vfs.apply(&Call::Write { handle, offset: 0, data: Arc::new(b"new".to_vec()), flags: 0 }).unwrap();
        vfs
    }

    fn arrive(entries: Vec<Arrival>, to: &str, flags: u32) -> Call {
        Call::Arrive { entries, to: to.into(), flags }
    }

    fn file(vfs: &Vfs, path: &str) -> Option<Vec<u8>> {
        vfs.state(&path.into()).content().map(|content| content.to_vec())
    }

    #[test]
    fn a_file_arrives_over_another() {
        let mut vfs = vfs();
        let entries = vec![entry("", ArrivalKind::File(Handle(0)))];
        let refused = |vfs: &mut Vfs, to: &str, flags| vfs.apply(&arrive(entries.clone(), to, flags)).unwrap_err().why;
        assert_eq!(refused(&mut vfs, "old", 1), Why::Exists);
        assert_eq!(refused(&mut vfs, "d", 0), Why::IsADirectory);
        assert_eq!(refused(&mut vfs, "none", 2), Why::NotFound);
        assert_eq!(refused(&mut vfs, "", 0), Why::Invalid);
        vfs.apply(&arrive(entries, "old", 0)).unwrap();
        assert_eq!(file(&vfs, "old"), Some(b"new".to_vec()));
        let touched: Vec<String> = vfs.touched().map(ToString::to_string).collect();
        assert_eq!(touched, ["old", "old"]);
        let node = &vfs.tree().0[&RelPath::from("old")];
        assert_eq!((node.mode, node.uid, node.gid), (0o640, 7, 8));
        assert_eq!(vfs.dirty().len(), 1, "nobody has synced it");
    }

    #[test]
    fn a_directory_arrives_with_all_that_is_in_it() {
        let mut vfs = vfs();
        let inside = [
            entry("", ArrivalKind::Directory),
            entry("one", ArrivalKind::File(Handle(0))),
            entry("two", ArrivalKind::File(Handle(0))),
            entry("link", ArrivalKind::Symlink(b"one".to_vec())),
        ];
        // What has no place is refused, and nothing is made.
        for wrong in [&inside[1..2], &inside[..0], &[inside[0].clone(), entry("x/y", ArrivalKind::Directory)]] {
            assert_eq!(vfs.apply(&arrive(wrong.to_vec(), "d/new", 0)).unwrap_err().why, Why::Invalid, "{wrong:?}");
        }
        assert_eq!(vfs.apply(&arrive(inside.to_vec(), "d", 0)).unwrap_err().why, Why::NotEmpty);
        vfs.apply(&arrive(inside.to_vec(), "d/new", 0)).unwrap();
        assert_eq!(file(&vfs, "d/new/two"), Some(b"new".to_vec()));
        let at = |vfs: &Vfs, path: &str| vfs.inode_of(&crate::Target::NoFollow(path.into()));
        assert_eq!(at(&vfs, "d/new/one"), at(&vfs, "d/new/two"));
        assert_eq!(vfs.state(&"d/new/link".into()), State::Symlink(b"one".to_vec()));
        // An exchange takes what was there away.
        vfs.apply(&arrive(vec![entry("", ArrivalKind::File(Handle(0)))], "d", 2)).unwrap();
        assert_eq!((file(&vfs, "d"), file(&vfs, "d/in")), (Some(b"new".to_vec()), None));
        assert_eq!(vfs.tree().0.len(), 3);
    }

    #[test]
    fn what_leaves_is_gone_and_stays_open() {
        let mut vfs = vfs();
        let handle = Handle(1);
        vfs.apply(&Call::Open { handle, path: "d/in".into(), flags: 1, mode: 0 }).unwrap();
        vfs.apply(&Call::Leave { path: "d".into() }).unwrap();
        assert_eq!(vfs.state(&"d/in".into()), State::Absent);
        vfs.apply(&Call::Write { handle, offset: 0, data: Arc::new(b"I".to_vec()), flags: 0 }).unwrap();
        vfs.apply(&Call::Close { handle }).unwrap();
        assert_eq!(vfs.apply(&Call::Leave { path: "d".into() }).unwrap_err().why, Why::NotFound);
        assert!(vfs.apply(&Call::Leave { path: RelPath::root() }).is_err());
    }
}
