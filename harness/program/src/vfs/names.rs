//! Names: what is bound to them, where paths lead, and the calls that make, move and remove them.

use std::collections::BTreeMap;

use super::inodes::{Body, S_IFCHR, S_IFMT, S_IFREG, inode};
use super::{Event, ROOT, Vfs, Why};
use crate::{Content, RelPath, Target};

/// `renameat2(2)` flags.
pub(super) mod rn {
    pub const NOREPLACE: u32 = 1;
    pub const EXCHANGE: u32 = 2;
    pub const WHITEOUT: u32 = 4;
}

/// path_resolution(7): at most 40 links are followed in one lookup.
const MAX_LINKS: u32 = 40;

/// Where a path leads: the directory that holds the last component, its name there, and what it is bound to.
pub(super) struct Place {
    pub(super) dir: u64,
    pub(super) name: Vec<u8>,
    pub(super) inode: Option<u64>,
}

impl Vfs {
    pub(super) fn mkdir(&mut self, path: &RelPath, mode: u32) -> Result<(), Why> {
        // Set-ID bits come from the directory above alone (`vfs_mkdir` in fs/namei.c).
        self.create(path, Body::Directory(BTreeMap::new()), mode & 0o1777)
    }

    pub(super) fn mknod(&mut self, path: &RelPath, mode: u32, device: u64) -> Result<(), Why> {
        match mode & S_IFMT {
            0 | S_IFREG => self.create(path, Body::File(Content::default()), mode),
            kind => self.create(path, Body::Special { mode: kind, device }, mode),
        }
    }

    pub(super) fn symlink(&mut self, path: &RelPath, target: &[u8]) -> Result<(), Why> {
        self.create(path, Body::Symlink(target.to_vec()), 0o777)
    }

    fn create(&mut self, path: &RelPath, body: Body, mode: u32) -> Result<(), Why> {
        let place = self.resolve(path, false)?;
        if place.inode.is_some() {
            return Err(Why::Exists);
        }
        let id = self.add_in(place.dir, inode(body, mode & 0o7777));
        self.bind(place.dir, place.name, id);
        Ok(())
    }

    pub(super) fn link(&mut self, from: &Target, to: &RelPath) -> Result<(), Why> {
        let id = self.target(from)?;
        let node = &self.inodes[&id];
        if matches!(node.body, Body::Directory(_)) {
            return Err(Why::IsADirectory);
        }
        if node.names.is_empty() && !node.linkable {
            return Err(Why::NotFound);
        }
        let place = self.resolve(to, false)?;
        if place.inode.is_some() {
            return Err(Why::Exists);
        }
        self.bind(place.dir, place.name, id);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &RelPath, to: &RelPath, flags: u32) -> Result<(), Why> {
        let source = self.resolve(from, false)?;
        let id = source.inode.ok_or(Why::NotFound)?;
        let target = self.resolve(to, false)?;
        if id == ROOT || target.inode == Some(ROOT) {
            return Err(Why::Invalid);
        }
        if self.is_inside(target.dir, id) {
            return Err(Why::Invalid);
        }
        if flags & rn::EXCHANGE != 0 {
            let other = target.inode.ok_or(Why::NotFound)?;
            if self.is_inside(source.dir, other) {
                return Err(Why::Invalid);
            }
            if other == id {
                return Ok(());
            }
            self.unbind(source.dir, &source.name, id);
            self.unbind(target.dir, &target.name, other);
            self.bind(source.dir, source.name, other);
            self.bind(target.dir, target.name, id);
            return Ok(());
        }
        if let Some(replaced) = target.inode {
            if flags & rn::NOREPLACE != 0 {
                return Err(Why::Exists);
            }
            // rename(2): two names of one file: nothing happens.
            if replaced == id {
                return Ok(());
            }
            match (self.is_directory(id), self.is_directory(replaced)) {
                (true, false) => return Err(Why::NotADirectory),
                (false, true) => return Err(Why::IsADirectory),
                (true, true) if !self.entries(replaced)?.is_empty() => return Err(Why::NotEmpty),
                _ => {}
            }
            self.unbind(target.dir, &target.name, replaced);
            self.forget_if_unused(replaced);
        }
        self.unbind(source.dir, &source.name, id);
        self.bind(target.dir, target.name, id);
        if flags & rn::WHITEOUT != 0 {
            // rename(2): a whiteout is a character device with the number 0/0.
            let whiteout = self.add_in(source.dir, inode(Body::Special { mode: S_IFCHR, device: 0 }, 0));
            self.bind(source.dir, source.name, whiteout);
        }
        Ok(())
    }

    pub(super) fn unlink(&mut self, path: &RelPath) -> Result<(), Why> {
        let place = self.resolve(path, false)?;
        let id = place.inode.ok_or(Why::NotFound)?;
        if self.is_directory(id) {
            return Err(Why::IsADirectory);
        }
        self.unbind(place.dir, &place.name, id);
        self.forget_if_unused(id);
        Ok(())
    }

    pub(super) fn rmdir(&mut self, path: &RelPath) -> Result<(), Why> {
        let place = self.resolve(path, false)?;
        let id = place.inode.ok_or(Why::NotFound)?;
        if id == ROOT {
            return Err(Why::Invalid);
        }
        if !self.entries(id)?.is_empty() {
            return Err(Why::NotEmpty);
        }
        self.unbind(place.dir, &place.name, id);
        self.forget_if_unused(id);
        Ok(())
    }

    /// Looks a path up (path_resolution(7)); the last component need not exist.
    pub(super) fn resolve(&self, path: &RelPath, follow: bool) -> Result<Place, Why> {
        let mut todo: Vec<Vec<u8>> =
            components(path.as_path().as_os_str().as_encoded_bytes()).rev().map(<[u8]>::to_vec).collect();
        let mut place = Place { dir: ROOT, name: Vec::new(), inode: Some(ROOT) };
        let mut dir = ROOT;
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == b".." {
                dir = self.inodes[&dir].names.first().ok_or(Why::Outside)?.0;
                place = match self.inodes[&dir].names.first() {
                    Some((above, own)) => Place { dir: *above, name: own.clone(), inode: Some(dir) },
                    None => Place { dir: ROOT, name: Vec::new(), inode: Some(ROOT) },
                };
                continue;
            }
            let found = self.entries(dir)?.get(&name).copied();
            let last = todo.is_empty();
            match found.map(|id| (id, &self.inodes[&id].body)) {
                Some((_, Body::Symlink(target))) if !last || follow => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Why::Loop);
                    }
                    if target.first() == Some(&b'/') {
                        return Err(Why::Outside);
                    }
                    todo.extend(components(target).rev().map(<[u8]>::to_vec));
                }
                Some((id, Body::Directory(_))) => {
                    place = Place { dir, name, inode: Some(id) };
                    dir = id;
                }
                Some(_) if !last => return Err(Why::NotADirectory),
                None if !last => return Err(Why::NotFound),
                other => place = Place { dir, name, inode: other.map(|(id, _)| id) },
            }
        }
        Ok(place)
    }

    pub(super) fn target(&self, target: &Target) -> Result<u64, Why> {
        match target {
            Target::Path(path) => self.resolve(path, true)?.inode.ok_or(Why::NotFound),
            Target::NoFollow(path) => self.resolve(path, false)?.inode.ok_or(Why::NotFound),
            Target::Handle(handle) => self.handle(*handle),
        }
    }

    /// Whether the directory `dir` is `ancestor` or below it.
    fn is_inside(&self, mut dir: u64, ancestor: u64) -> bool {
        while dir != ancestor {
            match self.inodes[&dir].names.first() {
                Some((parent, _)) => dir = *parent,
                None => return false,
            }
        }
        true
    }

    pub(super) fn path_of_directory(&self, dir: u64) -> RelPath {
        match self.inodes.get(&dir).and_then(|node| node.names.first()) {
            Some((parent, name)) => self.path_of_directory(*parent).join(name),
            None => RelPath::root(),
        }
    }

    pub(super) fn bind(&mut self, dir: u64, name: Vec<u8>, id: u64) {
        let path = self.path_of_directory(dir).join(&name);
        if let Body::Directory(entries) = &mut self.node(dir).body {
            entries.insert(name.clone(), id);
        }
        self.node(id).names.insert((dir, name));
        self.below(id, &path, &mut |vfs, path, _| vfs.events.push(Event::Touched(path.clone())));
    }

    pub(super) fn unbind(&mut self, dir: u64, name: &[u8], id: u64) {
        let path = self.path_of_directory(dir).join(name);
        self.below(id, &path, &mut |vfs, path, id| {
            let state = vfs.state_of(id);
            vfs.events.push(Event::Ended(path.clone(), state));
            vfs.events.push(Event::Touched(path.clone()));
        });
        if let Body::Directory(entries) = &mut self.node(dir).body {
            entries.remove(name);
        }
        self.node(id).names.remove(&(dir, name.to_vec()));
    }

    /// Calls `each` for `path`, bound to `id`, and every name below it.
    fn below(&mut self, id: u64, path: &RelPath, each: &mut impl FnMut(&mut Self, &RelPath, u64)) {
        each(self, path, id);
        if let Body::Directory(entries) = &self.inodes[&id].body {
            for (name, child) in entries.clone() {
                self.below(child, &path.join(&name), each);
            }
        }
    }
}

pub(super) fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&b| b == b'/').filter(|name| !name.is_empty() && *name != b".")
}
