//! Trees that mean harm, and directories that somebody changes meanwhile.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::stat::{Mode, SFlag};
use nix::unistd::{geteuid, mkfifo};
use program::{Kind, Node, RelPath, Tree};
use treeio::{Action, ReadOptions, Root, WriteOptions, copy, read, remove, write};

fn open(path: &Path) -> Root {
    Root::open(path).unwrap()
}

fn node(kind: Kind, mode: u32, inode: u64) -> Node {
    Node { kind, mode, uid: 0, gid: 0, inode, xattrs: BTreeMap::new() }
}

fn file(content: &str) -> Kind {
    Kind::File(Arc::new(content.as_bytes().to_vec()))
}

/// A tree of these names, and a root.
fn tree(nodes: impl IntoIterator<Item = (RelPath, Kind, u32)>) -> Tree {
    let root = (RelPath::root(), Kind::Directory, 0o700);
    let numbered = nodes.into_iter().chain([root]).enumerate();
    Tree(numbered.map(|(number, (path, kind, mode))| (path, node(kind, mode, number as u64))).collect())
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// A directory, and beside it `outside`, which has a secret in it and must stay as it is.
struct Scene(tempfile::TempDir);

impl Scene {
    fn new() -> Self {
        let scene = Self(tempfile::tempdir().unwrap());
        fs::create_dir(scene.inside()).unwrap();
        fs::create_dir(scene.outside()).unwrap();
        fs::write(scene.outside().join("secret"), "secret").unwrap();
        fs::set_permissions(scene.outside(), Permissions::from_mode(0o751)).unwrap();
        scene
    }

    fn inside(&self) -> PathBuf {
        self.0.path().join("inside")
    }

    fn outside(&self) -> PathBuf {
        self.0.path().join("outside")
    }

    #[track_caller]
    fn is_untouched(&self) {
        let names: Vec<_> = fs::read_dir(self.outside()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["secret"]);
        assert_eq!(fs::read_to_string(self.outside().join("secret")).unwrap(), "secret");
        assert_eq!(mode(&self.outside()), 0o751);
    }

    /// Does something again and again while somebody puts a link that leads outside in the place of the directory
    /// `inside/d`, and back, as fast as can be.
    fn while_swapped(&self, times: usize, mut act: impl FnMut(&Path)) {
        let over = AtomicBool::new(false);
        let (directory, aside) = (self.inside().join("d"), self.0.path().join("aside"));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    if fs::rename(&directory, &aside).is_ok() {
                        let _ = symlink(self.outside(), &directory);
                        thread::yield_now();
                        let _ = fs::remove_file(&directory);
                        let _ = fs::rename(&aside, &directory);
                        // What was made anew meanwhile keeps its name.
                        let _ = fs::remove_dir_all(&aside);
                    }
                }
            });
            // Also where an assertion fails: the scope waits for the thread.
            let _over = SetWhenDropped(&over);
            for _ in 0..times {
                act(&self.inside());
            }
        });
        self.is_untouched();
    }
}

struct SetWhenDropped<'flag>(&'flag AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A directory with many in it, each of which is reached through it.
fn wide() -> Tree {
    let directories = (0..40).flat_map(|number| {
        let directory = RelPath::from(format!("d/{number}").as_str());
        let within = directory.join(b"file");
        [(directory, Kind::Directory, 0o700), (within, file("x"), 0o600)]
    });
    tree([(RelPath::from("d"), Kind::Directory, 0o700)].into_iter().chain(directories))
}

#[test]
fn what_is_written_stays_inside_though_a_directory_becomes_a_link() {
    let scene = Scene::new();
    let (mut whole, mut refused) = (0, 0);
    scene.while_swapped(400, |inside| {
        match write(&open(inside), &wide(), &WriteOptions::UNTRUSTED) {
            Ok(()) => whole += 1,
            Err(_) => refused += 1,
        }
        let _ = remove(&open(inside), &RelPath::root());
    });
    assert!(refused > 0, "nobody was in the way of any of {whole}");
}

#[test]
fn what_is_read_is_inside_though_a_directory_becomes_a_link() {
    let scene = Scene::new();
    write(&open(&scene.inside()), &wide(), &WriteOptions::UNTRUSTED).unwrap();
    let to = tempfile::tempdir().unwrap();
    scene.while_swapped(400, |inside| {
        if let Ok(tree) = read(&open(inside), &ReadOptions::default()) {
            assert!(tree.0.keys().all(|path| path.name() != b"secret"), "{tree:?}");
        }
        let _ = copy(&open(inside), &open(to.path()));
        // The link may have been copied, as a link.
        let is_link = fs::symlink_metadata(to.path().join("d")).is_ok_and(|kind| kind.is_symlink());
        assert!(is_link || !to.path().join("d/secret").exists());
        remove(&open(to.path()), &RelPath::root()).unwrap();
    });
}

#[test]
fn what_is_removed_was_inside_though_a_directory_becomes_a_link() {
    let scene = Scene::new();
    scene.while_swapped(400, |inside| {
        let _ = write(&open(inside), &wide(), &WriteOptions::UNTRUSTED);
        let _ = remove(&open(inside), &"d".into());
        scene.is_untouched();
    });
}

/// A link that was there before, or is part of the tree, in the place of a directory.
#[test]
fn nothing_is_made_through_a_link() {
    let scene = Scene::new();
    let away = || Kind::Symlink(scene.outside().to_str().unwrap().into());
    let through = tree([("a".into(), away(), 0o777), ("a/x".into(), file("x"), 0o600)]);
    write(&open(&scene.inside()), &through, &WriteOptions::EXACT).unwrap_err();
    let there = tree([("a/x".into(), file("x"), 0o600)]);
    write(&open(&scene.inside()), &there, &WriteOptions::EXACT).unwrap_err();
    // In the place of the very file, be it one that leads nowhere yet.
    for target in ["secret", "new"] {
        symlink(scene.outside().join(target), scene.inside().join(target)).unwrap();
        let replaced = tree([(target.into(), file("x"), 0o600)]);
        let error = write(&open(&scene.inside()), &replaced, &WriteOptions::EXACT).unwrap_err();
        assert_eq!((error.action, error.source.kind()), (Action::MakeFile, ErrorKind::AlreadyExists));
    }
    scene.is_untouched();
}

/// The path of a tree may have been read from somewhere.
#[test]
fn names_that_lead_elsewhere_are_refused() {
    let scene = Scene::new();
    let outside = scene.outside().join("new");
    let hostile = ["../outside/new", "..", "a/../../outside/new", ".", "a//b", "a/", "a\0b", outside.to_str().unwrap()];
    for name in hostile {
        let path = RelPath::root().join(name.as_bytes());
        for kind in
            [file("x"), Kind::Directory, Kind::Symlink(b"x".to_vec()), Kind::Special { mode: 0o010000, device: 0 }]
        {
            let error = write(&open(&scene.inside()), &tree([(path.clone(), kind, 0o600)]), &WriteOptions::EXACT);
            assert_eq!(error.unwrap_err().source.kind(), ErrorKind::InvalidInput, "{name:?}");
        }
        assert_eq!(remove(&open(&scene.inside()), &path).unwrap_err().source.kind(), ErrorKind::InvalidInput);
        // As another name of a file, and as one that gets another name.
        let mut linked = tree([]);
        linked.0.insert("b".into(), node(file("x"), 0o600, 7));
        linked.0.insert(path.clone(), node(file("x"), 0o600, 7));
        assert_eq!(write(&open(&scene.inside()), &linked, &WriteOptions::EXACT).unwrap_err().path, path, "{name:?}");
        remove(&open(&scene.inside()), &RelPath::root()).unwrap();
    }
    scene.is_untouched();
}

#[test]
fn no_rights_come_with_a_tree_that_is_not_trusted() {
    let place = tempfile::tempdir().unwrap();
    let with = |kind| tree([("x".into(), kind, 0o7777)]);
    write(&open(place.path()), &with(file("x")), &WriteOptions::UNTRUSTED).unwrap();
    assert_eq!(mode(&place.path().join("x")), 0o777);
    assert_eq!(fs::metadata(place.path().join("x")).unwrap().uid(), geteuid().as_raw());
    remove(&open(place.path()), &RelPath::root()).unwrap();
    for kind in [SFlag::S_IFCHR, SFlag::S_IFBLK, SFlag::S_IFREG, SFlag::empty()] {
        let special = Kind::Special { mode: kind.bits(), device: 0x0103 };
        write(&open(place.path()), &with(special), &WriteOptions::UNTRUSTED).unwrap_err();
    }
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn names_may_be_long_and_need_not_be_text() {
    let place = tempfile::tempdir().unwrap();
    let long = RelPath::root().join(&[0xff; 255]);
    let names = [(long.clone(), Kind::Directory, 0o700), (long.join(&[0xfe; 255]), file("x"), 0o600)];
    write(&open(place.path()), &tree(names), &WriteOptions::UNTRUSTED).unwrap();
    let found = read(&open(place.path()), &ReadOptions::default()).unwrap();
    assert_eq!(found.file(&long.join(&[0xfe; 255])).unwrap().as_slice(), b"x");
    let longer = tree([(RelPath::root().join(&[b'x'; 256]), file("x"), 0o600)]);
    let error = write(&open(place.path()), &longer, &WriteOptions::UNTRUSTED).unwrap_err();
    assert_eq!(error.source.kind(), ErrorKind::InvalidFilename);
}

/// Deeper than a path can be long, and than most processes may have open files.
#[test]
fn trees_may_be_deep() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut path = RelPath::root();
    let mut nodes = Vec::new();
    for _ in 0..1_030 {
        path = path.join(b"directory");
        nodes.push((path.clone(), Kind::Directory, 0o700));
    }
    nodes.push((path.join(b"file"), file("deep"), 0o600));
    write(&open(one.path()), &tree(nodes), &WriteOptions::UNTRUSTED).unwrap();
    copy(&open(one.path()), &open(two.path())).unwrap();
    for place in [one.path(), two.path()] {
        let found = read(&open(place), &ReadOptions::default()).unwrap();
        assert_eq!(found.0.len(), 1_032);
        assert_eq!(found.file(&path.join(b"file")).unwrap().as_slice(), b"deep");
        remove(&open(place), &RelPath::root()).unwrap();
        assert_eq!(fs::read_dir(place).unwrap().count(), 0);
    }
}

#[test]
fn nobody_waits_for_a_fifo() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    mkfifo(&one.path().join("fifo"), Mode::S_IRWXU).unwrap();
    let (sender, done) = mpsc::channel();
    let (from, to) = (one.path().to_path_buf(), two.path().to_path_buf());
    thread::spawn(move || {
        let tree = read(&open(&from), &ReadOptions::default()).unwrap();
        copy(&open(&from), &open(&to)).unwrap();
        sender.send(tree).unwrap();
    });
    let tree = done.recv_timeout(Duration::from_secs(20)).expect("it waits for somebody to write");
    assert_eq!(tree.0[&RelPath::from("fifo")].kind, Kind::Special { mode: 0o010000, device: 0 });
}

#[test]
fn what_links_lead_to_is_not_removed() {
    let scene = Scene::new();
    fs::create_dir(scene.inside().join("d")).unwrap();
    symlink(scene.outside(), scene.inside().join("d/link")).unwrap();
    symlink(scene.outside(), scene.inside().join("link")).unwrap();
    remove(&open(&scene.inside()), &"link".into()).unwrap();
    remove(&open(&scene.inside()), &"d".into()).unwrap();
    assert_eq!(fs::read_dir(scene.inside()).unwrap().count(), 0);
    scene.is_untouched();
    assert_eq!(remove(&open(&scene.inside()), &"none".into()).unwrap_err().source.kind(), ErrorKind::NotFound);
}

/// Permissions keep nobody out who is root, so this runs once more as somebody else.
#[test]
fn permissions_are_in_nobodys_way() {
    const ORDINARY: &str = "TREEIO_TEST_ORDINARY_USER";
    if geteuid().is_root() {
        assert!(std::env::var_os(ORDINARY).is_none(), "it could not become somebody else");
        // The number that Linux gives to `nobody` (user_namespaces(7), overflowuid).
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "permissions_are_in_nobodys_way"]).env(ORDINARY, "1").current_dir("/");
        let output = again.env_remove("TMPDIR").uid(65534).gid(65534).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let closed = tree([
        ("d".into(), Kind::Directory, 0),
        ("d/e".into(), Kind::Directory, 0o500),
        ("d/e/f".into(), file("x"), 0),
        ("s".into(), Kind::Directory, 0o400),
        ("s/f".into(), file("x"), 0o600),
        ("fifo".into(), Kind::Special { mode: 0o010000, device: 0 }, 0),
    ]);
    let path = |name: &str| place.path().join(name);
    write(&open(place.path()), &closed, &WriteOptions::UNTRUSTED).unwrap();
    assert_eq!((mode(&path("d")), mode(&path("s")), mode(&path("fifo"))), (0, 0o400, 0));
    let refused = || {
        let error = read(&open(place.path()), &ReadOptions::default()).unwrap_err();
        assert_eq!(error.source.kind(), ErrorKind::PermissionDenied);
        (error.action, error.path.to_string())
    };
    assert_eq!(refused(), (Action::List, "d".into()));
    fs::set_permissions(path("d"), Permissions::from_mode(0o700)).unwrap();
    assert_eq!(refused(), (Action::ReadFile, "d/e/f".into()));
    fs::set_permissions(path("d/e/f"), Permissions::from_mode(0o400)).unwrap();
    assert_eq!(refused(), (Action::Look, "s/f".into()), "it can be listed, and not searched");
    // The root may be closed itself.
    fs::set_permissions(path("d"), Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o000)).unwrap();
    assert_eq!(refused(), (Action::List, ".".into()));
    remove(&open(place.path()), &RelPath::root()).unwrap();
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}
