//! Puts a tree that a guest saw into a fresh directory of the host.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use checker::{Entry, EntryKind, Seen};
use nix::sys::stat::SFlag;
use program::{Content, Kind, Node, RelPath, Tree};
use tempfile::TempDir;
use treeio::{Root, WriteOptions};

/// When all of a tree that is judged was last read and written, seconds since 1970: times must not make two looks at one
/// tree differ. The year 2001, which is neither the beginning of time nor the future.
const TIMES: i64 = 1_000_000_000;

/// Why a tree cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// This machine's file system refused.
    #[error("{path}: {source}")]
    Io {
        /// What was being made.
        path: RelPath,
        /// Why not.
        source: io::Error,
    },
    /// A name that no directory can hold, or one below what is no directory.
    #[error("{path:?} is a name that no tree can have")]
    Name {
        /// The name.
        path: RelPath,
    },
    /// Said to be another name of what it cannot be one of.
    #[error("{path} cannot be another name of {first}")]
    SameAs {
        /// The name.
        path: RelPath,
        /// What it should be another name of.
        first: RelPath,
    },
    /// Making a device takes root, and its number is not known.
    #[error("{path} is a device")]
    Device {
        /// Its name.
        path: RelPath,
    },
}

/// A directory that programs of the user work in; removed when dropped, whatever modes they have given to what is in it.
pub struct Workplace(TempDir);

impl Workplace {
    /// A fresh one, whose name begins with `prefix`.
    ///
    /// # Errors
    /// There is no place for temporary files, or it is full.
    pub fn new(prefix: &str) -> io::Result<Self> {
        tempfile::Builder::new().prefix(prefix).tempdir().map(Self)
    }

    /// Where it is, absolute.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // What cannot be removed stays, as with any temporary directory; the empty one goes with its `TempDir`.
        let _ = Root::open(self.path()).map(|root| treeio::remove(&root, &RelPath::root()));
    }
}

/// An unpacked tree; removed when dropped.
///
/// See [`unpack`]. All times are one fixed instant, so that what looks at it sees the same whenever it looks.
pub struct Unpacked {
    place: Workplace,
}

impl Unpacked {
    /// Unpacks `entries`, whose files must have been read whole.
    pub fn new(entries: &BTreeMap<RelPath, Entry>) -> Result<Self, UnpackError> {
        let failed = |source| UnpackError::Io { path: RelPath::root(), source };
        let unpacked = Self { place: Workplace::new("crash-harness-check-").map_err(failed)? };
        let tree = unpacked.tree();
        fs::create_dir(&tree).map_err(failed)?;
        unpack_with(&tree, entries, &WriteOptions { times: Some(TIMES), ..WriteOptions::UNTRUSTED })?;
        Ok(unpacked)
    }

    /// The directory that holds the tree, absolute.
    pub fn tree(&self) -> PathBuf {
        self.beside("tree")
    }

    /// A place outside the tree that goes away with it.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }
}

/// Makes `directory`, which must not be there or be empty, and is nobody else's to look into meanwhile.
///
/// # Errors
/// It is a file, a symbolic link or a directory with something in it, or it cannot be made.
pub fn make_empty(directory: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if !fs::symlink_metadata(directory)?.is_dir() {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            match fs::read_dir(directory)?.next() {
                Some(_) => Err(io::ErrorKind::DirectoryNotEmpty.into()),
                None => fs::set_permissions(directory, Permissions::from_mode(0o700)),
            }
        }
        made => made,
    }
}

/// Puts `entries`, whose files must have been read whole, into the empty directory `tree`. What a guest reports is not
/// trusted: nothing outside is made, changed or linked.
///
/// Contents, permissions (without the set-ID and sticky bits), symbolic links, names of one file as names of one file,
/// FIFOs and sockets are as the guest saw them. Owners, times and extended attributes are not.
///
/// # Errors
/// A name or a kind that no tree can have: nothing is made then. Or what cannot be made here: what was made before stays.
pub fn unpack(tree: &Path, entries: &BTreeMap<RelPath, Entry>) -> Result<(), UnpackError> {
    unpack_with(tree, entries, &WriteOptions::UNTRUSTED)
}

fn unpack_with(tree: &Path, entries: &BTreeMap<RelPath, Entry>, options: &WriteOptions) -> Result<(), UnpackError> {
    let nodes = nodes(entries)?;
    let root = Root::open(tree).map_err(|source| UnpackError::Io { path: RelPath::root(), source })?;
    let failed = |treeio::Error { path, source, .. }| UnpackError::Io { path, source };
    treeio::write(&root, &nodes, options).map_err(failed)
}

/// The tree that `entries` tell of, if there can be one.
fn nodes(entries: &BTreeMap<RelPath, Entry>) -> Result<Tree, UnpackError> {
    let mut tree = Tree::default();
    let mut inodes: HashMap<&RelPath, u64> = HashMap::new();
    // A directory comes before what is in it.
    for (path, entry) in entries {
        let plain = RelPath::new(path.as_path()).as_ref() == Some(path);
        let above = path
            .parent()
            .is_none_or(|parent| matches!(entries.get(&parent), Some(Entry { kind: EntryKind::Directory { .. }, .. })));
        if !plain || !above {
            return Err(UnpackError::Name { path: path.clone() });
        }
        if matches!(entry.kind, EntryKind::Special { mode } if !can_be_made(mode)) {
            return Err(UnpackError::Device { path: path.clone() });
        }
        let mut inode = inodes.len() as u64;
        if let Some(first) = &entry.same_as {
            // Else a link could stand where a directory should, and lead what is in that elsewhere.
            let is_same = |other: &Entry| std::mem::discriminant(&other.kind) == std::mem::discriminant(&entry.kind);
            let can_be = !matches!(entry.kind, EntryKind::Directory { .. } | EntryKind::Unreadable { .. });
            // In this order, so it is known, and its name has been looked at.
            let known = inodes.get(first).filter(|_| can_be && entries.get(first).is_some_and(is_same));
            inode = *known.ok_or_else(|| UnpackError::SameAs { path: path.clone(), first: first.clone() })?;
        }
        inodes.insert(path, inode);
        tree.0.insert(path.clone(), node(path, entry, inode)?);
    }
    Ok(tree)
}

fn node(path: &RelPath, entry: &Entry, inode: u64) -> Result<Node, UnpackError> {
    let kind = match &entry.kind {
        EntryKind::Directory { .. } => Kind::Directory,
        EntryKind::Symlink { target } => Kind::Symlink(target.clone()),
        EntryKind::Special { mode } => Kind::Special { mode: *mode, device: 0 },
        EntryKind::File { seen: Seen::Bytes(content), .. } => Kind::File(content.clone()),
        EntryKind::File { .. } => Kind::File(Content::default()),
        EntryKind::Unreadable { errno } => {
            return Err(UnpackError::Io { path: path.clone(), source: io::Error::from_raw_os_error(*errno) });
        }
    };
    let Entry { mode, uid, gid, .. } = *entry;
    Ok(Node { kind, mode, uid, gid, inode, xattrs: BTreeMap::new() })
}

/// The type bits of `mode`, if anyone may make such a thing.
pub fn can_be_made(mode: u32) -> bool {
    let kind = SFlag::from_bits_truncate(mode) & SFlag::S_IFMT;
    kind == SFlag::S_IFIFO || kind == SFlag::S_IFSOCK
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_workplace_goes_whatever_modes_are_in_it_and_what_links_lead_to_stays() {
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let close = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        close(elsewhere.path(), 0o500);
        let place = Workplace::new("workplace-").unwrap();
        let outer = place.path().join("outer");
        let inner = outer.join("inner");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("file"), "").unwrap();
        symlink(elsewhere.path(), outer.join("link")).unwrap();
        close(&inner, 0o500);
        close(&outer, 0o000);
        close(place.path(), 0o000);
        let path = place.path().to_path_buf();
        drop(place);
        assert!(!path.exists());
        assert_eq!(mode(elsewhere.path()), 0o500);
    }

    fn entry(kind: EntryKind, same_as: Option<&str>) -> Entry {
        Entry { kind, mode: 0o7777, uid: 0, gid: 0, links: 1, same_as: same_as.map(RelPath::from) }
    }

    fn file() -> EntryKind {
        EntryKind::File { size: 1, seen: Seen::Bytes(std::sync::Arc::new(b"x".to_vec())) }
    }

    fn directory() -> EntryKind {
        EntryKind::Directory { error: None }
    }

    /// A guest whose kernel a crash state has taken over may report anything.
    #[test]
    fn nothing_leads_out_of_the_tree() {
        let elsewhere = tempfile::tempdir().unwrap();
        fs::set_permissions(elsewhere.path(), Permissions::from_mode(0o700)).unwrap();
        fs::write(elsewhere.path().join("secret"), "s").unwrap();
        let away = || EntryKind::Symlink { target: elsewhere.path().as_os_str().as_bytes().to_vec() };
        let up: RelPath = serde_json::from_value(serde_json::json!(b"../secret".to_vec())).unwrap();
        let hostile: [Vec<(RelPath, Entry)>; 6] = [
            // A directory that is another name of a link.
            vec![
                ("a".into(), entry(away(), None)),
                ("b".into(), entry(directory(), Some("a"))),
                ("b/x".into(), entry(file(), None)),
            ],
            vec![("a".into(), entry(away(), None)), ("b".into(), entry(file(), Some("a")))],
            vec![("a".into(), entry(file(), Some("b"))), ("b".into(), entry(file(), None))],
            vec![("a".into(), entry(file(), Some("a")))],
            vec![("a".into(), Entry { same_as: Some(up.clone()), ..entry(file(), None) })],
            vec![(up.clone(), entry(file(), None)), ("z".into(), Entry { same_as: Some(up), ..entry(file(), None) })],
        ];
        for entries in hostile {
            let place = tempfile::tempdir().unwrap();
            let root = (RelPath::root(), entry(directory(), None));
            let entries: BTreeMap<_, _> = entries.into_iter().chain([root]).collect();
            let error = unpack(place.path(), &entries).unwrap_err();
            assert!(matches!(error, UnpackError::SameAs { .. } | UnpackError::Name { .. }), "{error}");
            assert!(!elsewhere.path().join("x").exists());
            assert_eq!(fs::metadata(elsewhere.path()).unwrap().permissions().mode() & 0o7777, 0o700);
        }
        // What a file system can hold is made, with no bits that let others act as its owner.
        let entries = BTreeMap::from([
            (RelPath::root(), entry(directory(), None)),
            ("a".into(), entry(file(), None)),
            ("b".into(), entry(file(), Some("a"))),
            ("l".into(), entry(away(), None)),
            ("m".into(), entry(away(), Some("l"))),
        ]);
        let place = tempfile::tempdir().unwrap();
        unpack(place.path(), &entries).unwrap();
        assert_eq!(fs::read(place.path().join("b")).unwrap(), b"x");
        assert_eq!(fs::metadata(place.path().join("b")).unwrap().permissions().mode() & 0o7777, 0o777);
        assert_eq!(fs::metadata(place.path()).unwrap().permissions().mode() & 0o7777, 0o777);
        assert_eq!(fs::read_link(place.path().join("m")).unwrap(), elsewhere.path());
    }

    /// Any entry of a few names, which are as often others' names or lead out.
    fn an_entry() -> impl Strategy<Value = (RelPath, Entry)> {
        let names = || {
            let path = |name: &str| serde_json::from_value(serde_json::json!(name.as_bytes())).unwrap();
            let names =
                ["a", "b", "a/b", "a/b/c", "b/d", "..", "../victim", "a/../../victim", "/tmp", ".", "a//b", "a\0"];
            proptest::sample::select(names.map(path).to_vec())
        };
        let number = || prop_oneof![Just(0u32), Just(0o170_000), Just(0o7777), Just(0o060_644), any::<u32>()];
        let target = proptest::sample::select(vec!["", ".", "..", "../victim", "/", "a", "\0"]);
        let kind = prop_oneof![
            3 => any::<bool>().prop_map(|is_read| match is_read {
                true => file(),
                false => EntryKind::File { size: u64::MAX, seen: Seen::NotRead },
            }),
            4 => any::<Option<i32>>().prop_map(|error| EntryKind::Directory { error }),
            2 => target.prop_map(|target| EntryKind::Symlink { target: target.into() }),
            1 => number().prop_map(|mode| EntryKind::Special { mode }),
            1 => any::<i32>().prop_map(|errno| EntryKind::Unreadable { errno }),
        ];
        let entry = (kind, number(), [number(), number()], any::<u64>(), prop::option::of(names()));
        let entry =
            entry.prop_map(|(kind, mode, [uid, gid], links, same_as)| Entry { kind, mode, uid, gid, links, same_as });
        (names(), entry)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_tree_changes_what_is_beside_it(entries in prop::collection::vec(an_entry(), 1..7)) {
            let place = tempfile::tempdir().unwrap();
            let at = |name: &str| place.path().join(name);
            fs::write(at("victim"), "mine").unwrap();
            fs::set_permissions(at("victim"), Permissions::from_mode(0o640)).unwrap();
            fs::create_dir(at("tree")).unwrap();
            let root = (RelPath::root(), entry(directory(), None));
            let _ = unpack(&at("tree"), &entries.into_iter().chain([root]).collect());
            let left = fs::metadata(at("victim")).unwrap();
            let links = std::os::unix::fs::MetadataExt::nlink(&left);
            prop_assert_eq!((left.permissions().mode() & 0o7777, links), (0o640, 1));
            prop_assert_eq!(fs::read(at("victim")).unwrap(), b"mine");
            prop_assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
            let _ = treeio::remove(&Root::open(&at("tree")).unwrap(), &RelPath::root());
        }
    }

    #[test]
    fn only_an_empty_place_is_filled() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        make_empty(&at("new")).unwrap();
        make_empty(&at("new")).unwrap();
        fs::write(at("new/file"), "").unwrap();
        symlink("new", at("link")).unwrap();
        let kind = |name: &str| make_empty(&at(name)).unwrap_err().kind();
        assert_eq!(kind("new"), io::ErrorKind::DirectoryNotEmpty);
        assert_eq!(kind("new/file"), io::ErrorKind::NotADirectory);
        assert_eq!(kind("link"), io::ErrorKind::NotADirectory);
        assert_eq!(kind("none/new"), io::ErrorKind::NotFound);
    }
}
