//! What was written is what is read.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nix::sys::stat::{Mode, SFlag, mknod};
use program::{Kind, Node, RelPath, Tree};
use proptest::prelude::*;
use treeio::{Action, ReadOptions, Root, WriteOptions, copy, holes, read, write};

fn open(path: &Path) -> Root {
    Root::open(path).unwrap()
}

fn read_all(path: &Path) -> Tree {
    read(&open(path), &ReadOptions::default()).unwrap()
}

/// A file, a directory, and so on, to be put into a directory that is chosen by a number.
#[derive(Clone, Debug)]
struct Part {
    into: usize,
    name: Vec<u8>,
    kind: PartKind,
    mode: u32,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

#[derive(Clone, Debug)]
enum PartKind {
    New(Kind),
    /// Another name of some file.
    Again(usize),
}

fn part() -> impl Strategy<Value = Part> {
    let bytes = |most| prop::collection::vec(any::<u8>(), 0..most);
    let byte = any::<u8>().prop_filter("no byte of a name", |byte| *byte != 0 && *byte != b'/');
    let name = prop::collection::vec(byte, 1..=255).prop_filter("no name", |name| name != b"." && name != b"..");
    let short = prop::sample::select(vec![b"a".to_vec(), b"b".to_vec(), b"a-b".to_vec(), b"...".to_vec()]);
    let target = prop::collection::vec(1..=u8::MAX, 1..300);
    let special = prop::sample::select(vec![SFlag::S_IFIFO, SFlag::S_IFSOCK]);
    let kind = prop_oneof![
        3 => bytes(5_000).prop_map(|content| PartKind::New(Kind::File(Arc::new(content)))),
        3 => Just(PartKind::New(Kind::Directory)),
        1 => target.prop_map(|target| PartKind::New(Kind::Symlink(target))),
        1 => special.prop_map(|kind| PartKind::New(Kind::Special { mode: kind.bits(), device: 0 })),
        1 => any::<prop::sample::Index>().prop_map(|index| PartKind::Again(index.index(64))),
    ];
    let xattrs = prop::collection::btree_map("user\\.[a-z]{1,8}".prop_map(String::into_bytes), bytes(50), 0..3);
    (0..64usize, prop_oneof![name, short], kind, 0..0o10000u32, xattrs)
        .prop_map(|(into, name, kind, mode, xattrs)| Part { into, name, kind, mode, xattrs })
}

/// The tree of these parts that the user whose directory has this metadata can make and read again.
fn assembled(parts: Vec<Part>, root: &Metadata, has_xattrs: bool) -> Tree {
    let (uid, gid) = (root.uid(), root.gid());
    let node = |kind: Kind, mode: u32, xattrs| {
        // One that cannot be read could not be compared; a link's permissions are always the same.
        let mode = match &kind {
            Kind::Symlink(_) => 0o777,
            Kind::Directory => mode | 0o700,
            _ => mode | 0o400,
        };
        Node { kind, mode, uid, gid, inode: 0, xattrs }
    };
    let mut tree = Tree(BTreeMap::from([(RelPath::root(), node(Kind::Directory, 0o711, BTreeMap::new()))]));
    let mut directories = vec![RelPath::root()];
    let mut files: Vec<RelPath> = Vec::new();
    for (number, Part { into, name, kind, mode, xattrs }) in parts.into_iter().enumerate() {
        let path = directories[into % directories.len()].join(&name);
        if tree.0.contains_key(&path) {
            continue;
        }
        let mut made = match kind {
            PartKind::New(kind) => {
                let takes = has_xattrs && matches!(kind, Kind::File(_) | Kind::Directory);
                let made = node(kind, mode, if takes { xattrs } else { BTreeMap::new() });
                Node { inode: number as u64 + 1, ..made }
            }
            PartKind::Again(_) if files.is_empty() => continue,
            PartKind::Again(index) => tree.0[&files[index % files.len()]].clone(),
        };
        if made.kind == Kind::Directory {
            directories.push(path.clone());
        } else {
            files.push(path.clone());
        }
        made.mode &= 0o7777;
        tree.0.insert(path, made);
    }
    let mut numbers = HashMap::new();
    for node in tree.0.values_mut() {
        let next = numbers.len() as u64;
        node.inode = *numbers.entry(node.inode).or_insert(next);
    }
    tree
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_tree_that_was_written_is_read_again(parts in prop::collection::vec(part(), 0..24)) {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let has_xattrs = xattr::set(one.path(), "user.probe", b"").is_ok();
        if has_xattrs {
            xattr::remove(one.path(), "user.probe").unwrap();
        }
        let tree = assembled(parts, &fs::metadata(one.path()).unwrap(), has_xattrs);
        write(&open(one.path()), &tree, &WriteOptions::EXACT).unwrap();
        prop_assert_eq!(&read_all(one.path()), &tree);
        // A copy is the same, but for extended attributes.
        let mut bare = tree.clone();
        bare.0.values_mut().for_each(|node| node.xattrs.clear());
        copy(&open(one.path()), &open(two.path())).unwrap();
        prop_assert_eq!(&read_all(two.path()), &bare);
    }
}

#[test]
fn a_tree_survives_being_written_and_read() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = one.path();
    fs::create_dir_all(root.join("deep/er")).unwrap();
    fs::write(root.join("deep/file"), b"content").unwrap();
    fs::hard_link(root.join("deep/file"), root.join("again")).unwrap();
    symlink("nowhere", root.join("link")).unwrap();
    mknod(&root.join("fifo"), SFlag::S_IFIFO, Mode::S_IRUSR, 0).unwrap();
    fs::write(root.join("odd \u{1F980}"), vec![0; 70_000]).unwrap();
    let tagged = xattr::set(root.join("again"), "user.tag", b"value").is_ok();
    // Two names, and permissions under which attributes cannot be set a second time.
    fs::set_permissions(root.join("again"), Permissions::from_mode(0o4511)).unwrap();
    fs::set_permissions(root.join("deep/er"), Permissions::from_mode(0o1700)).unwrap();
    let tree = read_all(root);
    assert_eq!(tree.0.len(), 8);
    assert_eq!(tree.file(&"again".into()).unwrap().as_slice(), b"content");
    assert_eq!(tree.0[&RelPath::from("again")].xattrs.len(), usize::from(tagged));
    assert_eq!(tree.0[&RelPath::from("again")].inode, tree.0[&RelPath::from("deep/file")].inode);
    write(&open(two.path()), &tree, &WriteOptions::EXACT).unwrap();
    let copy = read_all(two.path());
    let links = |tree: &Tree| tree.0[&RelPath::from("again")].inode == tree.0[&RelPath::from("deep/file")].inode;
    assert!(links(&copy));
    assert_eq!(copy, tree);
}

#[test]
fn a_copy_has_the_times_too_those_of_directories_and_links_among_them() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = one.path();
    fs::create_dir(root.join("d")).unwrap();
    fs::write(root.join("d/f"), "content").unwrap();
    symlink("d/f", root.join("l")).unwrap();
    let past = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_000_000);
    for name in ["d/f", "d", "."] {
        File::open(root.join(name)).unwrap().set_modified(past).unwrap();
    }
    // Else a link that was followed could have the same times by chance.
    std::thread::sleep(Duration::from_millis(20));
    copy(&open(root), &open(two.path())).unwrap();
    for name in ["d/f", "d", "l", "."] {
        let times = |place: &Path| {
            let metadata = fs::symlink_metadata(place.join(name)).unwrap();
            (metadata.mtime(), metadata.mtime_nsec())
        };
        assert_eq!(times(two.path()), times(root), "{name}");
    }
    assert_eq!(fs::metadata(two.path().join("d/f")).unwrap().modified().unwrap(), past);
}

#[test]
fn trusted_attributes_of_links_and_fifos_are_read_and_written() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    symlink("nowhere", one.path().join("link")).unwrap();
    mknod(&one.path().join("fifo"), SFlag::S_IFIFO, Mode::S_IRUSR, 0).unwrap();
    for name in ["link", "fifo"] {
        if xattr::set(one.path().join(name), "trusted.tag", name.as_bytes()).is_err() {
            // It takes root, and a file system that has them.
            return;
        }
    }
    let tree = read_all(one.path());
    write(&open(two.path()), &tree, &WriteOptions::EXACT).unwrap();
    assert_eq!(read_all(two.path()), tree);
    for name in ["link", "fifo"] {
        let value = xattr::get(two.path().join(name), OsStr::from_bytes(b"trusted.tag")).unwrap();
        assert_eq!(value.as_deref(), Some(name.as_bytes()));
    }
}

#[test]
fn what_is_beyond_the_bounds_is_refused() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("d")).unwrap();
    fs::write(place.path().join("d/f"), "seven b").unwrap();
    let bounded = |largest_file, most_names| {
        read(&open(place.path()), &ReadOptions { largest_file, most_names, ..ReadOptions::default() })
    };
    assert_eq!(bounded(7, 2).unwrap().0.len(), 3);
    let error = bounded(6, 2).unwrap_err();
    assert_eq!(
        (error.action, error.to_string()),
        (Action::ReadFile, "cannot read d/f: it has 7 bytes, more than 6".into())
    );
    let error = bounded(7, 1).unwrap_err();
    assert_eq!(error.to_string(), "cannot list d: there are more than 1 names in the tree");
    // One file with two names, and another one.
    fs::hard_link(place.path().join("d/f"), place.path().join("d/e")).unwrap();
    fs::write(place.path().join("g"), "three").unwrap();
    let bounded = |most_bytes| read(&open(place.path()), &ReadOptions { most_bytes, ..ReadOptions::default() });
    assert_eq!(bounded(12).unwrap().0.len(), 5);
    let error = bounded(11).unwrap_err();
    assert_eq!(error.to_string(), "cannot read g: with it, the files have 12 bytes together, more than 11");
}

#[test]
fn holes_are_found_where_the_file_system_tells() {
    let place = tempfile::tempdir().unwrap();
    let file = File::create(place.path().join("sparse")).unwrap();
    file.write_all_at(b"data", 1 << 20).unwrap();
    fs::write(place.path().join("dense"), "data").unwrap();
    let root = open(place.path());
    let found = holes(&root, &read_all(place.path())).unwrap();
    assert_eq!(found.get(&RelPath::from("dense")), None);
    if let Some(ranges) = found.get(&RelPath::from("sparse")) {
        assert_eq!(ranges[0].start, 0);
        assert!(ranges[0].end <= 1 << 20);
    }
}
