use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FallocateFlags, OFlag, RenameFlags};
use nix::sys::stat::{Mode, SFlag};
use proptest::prelude::*;

use super::data::fl;
use super::handles::o;
use super::inodes::S_IFMT;
use super::names::rn;
use super::*;
use crate::testing::tree;
use crate::{Kind, Node, Tree};

const H: Handle = Handle(1);

fn open(path: &str, flags: u32) -> Call {
    Call::Open { handle: H, path: path.into(), flags, mode: 0o644 }
}

fn write(offset: u64, data: &[u8]) -> Call {
    Call::Write { handle: H, offset, data: Arc::new(data.to_vec()), flags: 0 }
}

fn rename(from: &str, to: &str, flags: u32) -> Call {
    Call::Rename { from: from.into(), to: to.into(), flags }
}

fn run(vfs: &mut Vfs, calls: &[Call]) {
    for call in calls {
        vfs.apply(call).unwrap();
    }
}

fn text(vfs: &Vfs, path: &str) -> Option<String> {
    vfs.tree().file(&path.into()).map(|content| String::from_utf8_lossy(content).into_owned())
}

#[test]
fn open_handles_outlive_their_name() {
    let mut vfs = Vfs::new(&tree(&[("f", b"old")]));
    run(&mut vfs, &[open("f", 1), Call::Unlink { path: "f".into() }, write(3, b"er")]);
    assert_eq!(text(&vfs, "f"), None);
    assert_eq!(vfs.dirty(), [Target::Handle(H)]);
    let error = vfs.apply(&Call::Link { from: Target::Handle(H), to: "g".into() }).unwrap_err();
    assert_eq!(error.why, Why::NotFound, "linkat(2): only what O_TMPFILE made may get a first name");
    run(&mut vfs, &[Call::Close { handle: H }]);
    assert!(vfs.dirty().is_empty());
    assert_eq!(vfs.inodes.len(), 1);
}

#[test]
fn what_tmpfile_made_can_be_linked_unless_exclusive() {
    let mut vfs = Vfs::new(&tree(&[]));
    let flags = o::TMPFILE | o::DIRECTORY | 2;
    run(&mut vfs, &[open("", flags), write(0, b"x"), Call::Link { from: Target::Handle(H), to: "g".into() }]);
    assert_eq!(text(&vfs, "g").as_deref(), Some("x"));
    run(&mut vfs, &[open("", flags | o::EXCL)]);
    assert!(vfs.apply(&Call::Link { from: Target::Handle(H), to: "h".into() }).is_err());
}

#[test]
fn the_shifting_modes_of_fallocate() {
    let allocate = |mode, offset, length| Call::Allocate { handle: H, mode, offset, length };
    let mut vfs = Vfs::new(&tree(&[("f", b"abcdef")]));
    run(&mut vfs, &[open("f", 1), allocate(fl::COLLAPSE_RANGE, 1, 2)]);
    assert_eq!(text(&vfs, "f").as_deref(), Some("adef"));
    run(&mut vfs, &[allocate(fl::INSERT_RANGE, 2, 2)]);
    assert_eq!(text(&vfs, "f").as_deref(), Some("ad\0\0ef"));
    assert!(vfs.apply(&allocate(fl::INSERT_RANGE, 6, 1)).is_err());
    assert!(vfs.apply(&allocate(fl::COLLAPSE_RANGE, 4, 2)).is_err());
    run(&mut vfs, &[allocate(fl::KEEP_SIZE, 0, 100), allocate(fl::ZERO_RANGE | fl::KEEP_SIZE, 5, 100)]);
    assert_eq!(text(&vfs, "f").as_deref(), Some("ad\0\0e\0"));
}

#[test]
fn links_are_followed_within_the_directory_only() {
    let mut vfs = Vfs::new(&tree(&[("d/f", b"x")]));
    let link = |path: &str, to: &str| Call::Symlink { path: path.into(), target: to.into() };
    run(&mut vfs, &[link("d/up", "../d/./f"), link("out", "../f"), link("abs", "/f"), link("loop", "loop")]);
    run(&mut vfs, &[Call::Truncate { target: Target::Path("d/up".into()), length: 2 }]);
    assert_eq!(text(&vfs, "d/f").as_deref(), Some("x\0"));
    let why = |vfs: &mut Vfs, path: &str| vfs.apply(&open(path, 0)).unwrap_err().why;
    assert_eq!(why(&mut vfs, "out"), Why::Outside);
    assert_eq!(why(&mut vfs, "abs"), Why::Outside);
    assert_eq!(why(&mut vfs, "loop"), Why::Loop);
    assert_eq!(
        vfs.apply(&open("loop", o::CREAT | o::EXCL)).unwrap_err().to_string(),
        "open loop: the name exists already"
    );
}

#[test]
fn dirty_means_data_not_yet_synced() {
    let mut vfs = Vfs::new(&tree(&[("f", b"old"), ("g", b"")]));
    run(&mut vfs, &[open("f", 1), write(0, b"n")]);
    assert_eq!(vfs.dirty(), [Target::NoFollow("f".into())]);
    run(&mut vfs, &[rename("f", "h", 0), Call::SyncRange { handle: H, offset: 0, length: 0, flags: 7 }]);
    assert_eq!(vfs.dirty(), [Target::NoFollow("h".into())]);
    run(&mut vfs, &[Call::Fdatasync { handle: H }]);
    assert!(vfs.dirty().is_empty());
    run(&mut vfs, &[Call::Close { handle: H }, open("h", 1 | o::DSYNC), write(0, b"n")]);
    assert!(vfs.dirty().is_empty(), "O_DSYNC");
    run(&mut vfs, &[Call::Write { handle: H, offset: 0, data: Arc::new(vec![1]), flags: 4 }]);
    assert!(vfs.dirty().is_empty(), "RWF_SYNC");
    run(&mut vfs, &[Call::Truncate { target: Target::Path("h".into()), length: 0 }, write(0, b"n")]);
    assert_eq!(vfs.dirty().len(), 1, "a synchronous write does not clean what was dirty before");
    run(&mut vfs, &[Call::SyncAll]);
    assert!(vfs.dirty().is_empty());
}

/// User, group and mode of `path`, in a tree whose root belongs to 1000:1000, after `calls`.
fn owner_after(edit: fn(&mut Node), calls: &[Call]) -> impl Fn(&str) -> (u32, u32, u32) {
    let mut given = tree(&[("f", b"old"), ("d/f", b"old")]);
    for node in given.0.values_mut() {
        (node.uid, node.gid) = (1000, 1000);
    }
    edit(given.0.get_mut(&"d".into()).unwrap());
    let mut vfs = Vfs::new(&given);
    run(&mut vfs, calls);
    let tree = vfs.tree();
    move |path| {
        let node = &tree.0[&path.into()];
        (node.uid, node.gid, node.mode)
    }
}

fn chown(path: &str, uid: u32, gid: u32) -> Call {
    Call::Chown { target: Target::Path(path.into()), uid, gid }
}

#[test]
fn chown_sets_each_half_by_itself() {
    let keep = u32::MAX;
    let chowned = |path: &'static str, calls: &[(u32, u32)]| {
        let calls = calls.iter().map(|(uid, gid)| chown(path, *uid, *gid));
        let (uid, gid, _) = owner_after(|_| (), &[vec![open("new", o::CREAT)], calls.collect()].concat())(path);
        (uid, gid)
    };
    for path in ["f", "new"] {
        assert_eq!(chowned(path, &[]), (1000, 1000));
        assert_eq!(chowned(path, &[(keep, 100)]), (1000, 100));
        assert_eq!(chowned(path, &[(7, keep)]), (7, 1000));
        assert_eq!(chowned(path, &[(7, keep), (keep, 100)]), (7, 100));
        assert_eq!(chowned(path, &[(7, 100), (keep, keep)]), (7, 100));
    }
}

#[test]
fn chown_clears_set_id_bits_of_files() {
    let mode = |path: &'static str, mode| {
        let chmod = Call::Chmod { target: Target::Path(path.into()), mode };
        owner_after(|_| (), &[chmod, chown(path, u32::MAX, u32::MAX)])(path).2
    };
    assert_eq!(mode("f", 0o6755), 0o755);
    assert_eq!(mode("f", 0o6745), 0o2745, "set-gid without group execution stays");
    assert_eq!(mode("d", 0o6755), 0o6755);
}

#[test]
fn a_set_gid_directory_hands_its_group_on() {
    let mkdir = |path: &str, mode| Call::Mkdir { path: path.into(), mode };
    let nameless =
        Call::Open { handle: Handle(2), path: "d".into(), flags: o::TMPFILE | o::DIRECTORY | 2, mode: 0o644 };
    let link = Call::Link { from: Target::Handle(Handle(2)), to: "d/linked".into() };
    let calls = [mkdir("d/e", 0o755), open("d/e/f", o::CREAT), nameless, link, rename("d/f", "d/g", rn::WHITEOUT)];
    let after = owner_after(|d| (d.gid, d.mode) = (100, 0o2775), &calls);
    assert_eq!(after("d/e"), (1000, 100, 0o2755));
    assert_eq!(after("d/e/f"), (1000, 100, 0o644));
    assert_eq!(after("d/linked"), (1000, 100, 0o644));
    assert_eq!(after("d/f"), (1000, 100, 0));
    assert_eq!(after("d/g"), (1000, 1000, 0o644), "what was there before keeps its group");
    let calls = [mkdir("e", 0o2755), chown("e", u32::MAX, 100), open("e/f", o::CREAT)];
    let after = owner_after(|_| (), &calls);
    assert_eq!(after("e"), (1000, 100, 0o755), "mkdir(2) takes no set-ID bits");
    assert_eq!(after("e/f"), (1000, 1000, 0o644));
}

#[test]
fn a_file_too_large_to_hold_is_refused_not_allocated() {
    let mut vfs = Vfs::new(&tree(&[("f", b"")]));
    run(&mut vfs, &[open("f", 1)]);
    let huge = Call::Truncate { target: Target::Handle(H), length: u64::MAX };
    assert_eq!(vfs.apply(&huge).unwrap_err().why, Why::TooLarge);
    assert_eq!(vfs.apply(&write(u64::MAX, b"x")).unwrap_err().why, Why::TooLarge);
    // Nor are many that are large together, of which next to nothing was written.
    for index in 0..3 {
        let path = format!("f{index}");
        vfs.apply(&open(&path, o::CREAT | 1)).unwrap();
        let applied = vfs.apply(&Call::Truncate { target: Target::Path(path.as_str().into()), length: 200 << 20 });
        assert_eq!(applied.map_err(|error| error.why), if index < 2 { Ok(()) } else { Err(Why::TooLarge) });
    }
}

#[test]
fn the_tree_of_a_new_model_is_the_tree_it_was_made_from() {
    let mut given = tree(&[("a", b"1"), ("d/b", b"2"), ("d/e/c", b"3")]);
    let linked = given.0[&"a".into()].clone();
    given.0.insert("d/also-a".into(), linked);
    let mut again = Vfs::new(&given).tree();
    assert_eq!(again.0[&"a".into()].inode, again.0[&"d/also-a".into()].inode);
    for (path, node) in &mut again.0 {
        node.inode = given.0[path].inode;
    }
    assert_eq!(again, given);
}

// The model against the kernel: the same calls on a real directory and on the model.

const NAMES: [&str; 8] = ["a", "b", "c", "d", "d/a", "d/b", "d/e", "d/e/a"];

fn a_name() -> impl Strategy<Value = RelPath> {
    proptest::sample::select(NAMES.as_slice()).prop_map(RelPath::from)
}

fn a_handle() -> impl Strategy<Value = Handle> {
    (0u32..3).prop_map(Handle)
}

fn a_target() -> impl Strategy<Value = Target> {
    prop_oneof![a_name().prop_map(Target::Path), a_handle().prop_map(Target::Handle),]
}

fn a_call() -> impl Strategy<Value = Call> {
    let open_flags = proptest::sample::select(vec![
        2,
        2 | o::CREAT,
        2 | o::CREAT | o::EXCL,
        2 | o::CREAT | o::TRUNC,
        2 | o::TRUNC,
        2 | o::NOFOLLOW,
        2 | o::TMPFILE | o::DIRECTORY,
        o::DIRECTORY,
        0,
    ]);
    let modes = proptest::sample::select(vec![0, 1, 3, 0x10, 0x11]);
    let flags = proptest::sample::select(vec![0, 0, 0, 1, 2, 4]);
    let links = proptest::sample::select(vec!["a", "d", "e", "../c", "../../b", "nowhere"]);
    prop_oneof![
        4 => (a_handle(), a_name(), open_flags)
            .prop_map(|(handle, path, flags)| Call::Open { handle, path, flags, mode: 0o640 }),
        1 => a_handle().prop_map(|handle| Call::Close { handle }),
        4 => (a_handle(), 0u64..20, proptest::collection::vec(any::<u8>(), 0..8)).prop_map(|(handle, offset, data)| {
            Call::Write { handle, offset, data: Arc::new(data), flags: 0 }
        }),
        2 => (a_target(), 0u64..20).prop_map(|(target, length)| Call::Truncate { target, length }),
        2 => (a_handle(), modes, 0u64..20, 0u64..8)
            .prop_map(|(handle, mode, offset, length)| Call::Allocate { handle, mode, offset, length }),
        2 => a_name().prop_map(|path| Call::Mkdir { path, mode: 0o750 }),
        1 => a_name().prop_map(|path| Call::Mknod { path, mode: 0o010600, device: 0 }),
        2 => (a_name(), links).prop_map(|(path, target)| Call::Symlink { path, target: target.into() }),
        2 => (a_target(), a_name()).prop_map(|(from, to)| Call::Link { from, to }),
        5 => (a_name(), a_name(), flags).prop_map(|(from, to, flags)| Call::Rename { from, to, flags }),
        2 => a_name().prop_map(|path| Call::Unlink { path }),
        2 => a_name().prop_map(|path| Call::Rmdir { path }),
        1 => (a_target(), 0u32..0o1000).prop_map(|(target, mode)| Call::Chmod { target, mode: mode | 0o400 }),
        1 => a_handle().prop_map(|handle| Call::Fsync { handle }),
    ]
}

/// Executes calls below a real directory.
struct Real<'a> {
    root: &'a Path,
    open: HashMap<Handle, OwnedFd>,
}

impl Real<'_> {
    fn fd(&self, handle: Handle) -> Result<RawFd, Errno> {
        self.open.get(&handle).map(AsRawFd::as_raw_fd).ok_or(Errno::EBADF)
    }

    fn borrowed(&self, handle: Handle) -> Result<&OwnedFd, Errno> {
        self.open.get(&handle).ok_or(Errno::EBADF)
    }

    fn target(&self, target: &Target) -> Result<std::path::PathBuf, Errno> {
        Ok(match target {
            Target::Path(path) | Target::NoFollow(path) => path.under(self.root),
            Target::Handle(handle) => format!("/proc/self/fd/{}", self.fd(*handle)?).into(),
        })
    }

    fn run(&mut self, call: &Call) -> Result<(), Errno> {
        let at = |path: &RelPath| path.under(self.root);
        match call {
            Call::Open { handle, path, flags, mode } => {
                let flags = OFlag::from_bits_retain(*flags as i32);
                let fd = nix::fcntl::open(&at(path), flags, Mode::from_bits_truncate(*mode))?;
                self.open.insert(*handle, fd);
                Ok(())
            }
            Call::Close { handle } => self.open.remove(handle).map(drop).ok_or(Errno::EBADF),
            Call::Write { handle, offset, data, .. } => {
                let written = nix::sys::uio::pwrite(self.borrowed(*handle)?, data, *offset as i64)?;
                assert_eq!(written, data.len());
                Ok(())
            }
            Call::Truncate { target: Target::Handle(handle), length } => {
                nix::unistd::ftruncate(self.borrowed(*handle)?, *length as i64)
            }
            Call::Truncate { target, length } => nix::unistd::truncate(&self.target(target)?, *length as i64),
            Call::Allocate { handle, mode, offset, length } => {
                let mode = FallocateFlags::from_bits_retain(*mode as i32);
                nix::fcntl::fallocate(self.borrowed(*handle)?, mode, *offset as i64, *length as i64)
            }
            Call::Mkdir { path, mode } => nix::unistd::mkdir(&at(path), Mode::from_bits_truncate(*mode)),
            Call::Mknod { path, mode, .. } => {
                let kind = SFlag::from_bits_truncate(mode & S_IFMT);
                nix::sys::stat::mknod(&at(path), kind, Mode::from_bits_truncate(*mode), 0)
            }
            Call::Symlink { path, target } => {
                nix::unistd::symlinkat(std::ffi::OsStr::from_bytes(target), AT_FDCWD, &at(path))
            }
            Call::Link { from, to } => {
                nix::unistd::linkat(AT_FDCWD, &self.target(from)?, AT_FDCWD, &at(to), AtFlags::AT_SYMLINK_FOLLOW)
            }
            Call::Rename { from, to, flags } => {
                let flags = RenameFlags::from_bits_retain(*flags);
                nix::fcntl::renameat2(AT_FDCWD, &at(from), AT_FDCWD, &at(to), flags)
            }
            Call::Unlink { path } => nix::unistd::unlink(&at(path)),
            Call::Rmdir { path } => nix::unistd::unlinkat(AT_FDCWD, &at(path), nix::unistd::UnlinkatFlags::RemoveDir),
            Call::Chmod { target: Target::Handle(handle), mode } => {
                nix::sys::stat::fchmod(self.borrowed(*handle)?.as_fd(), Mode::from_bits_truncate(*mode))
            }
            Call::Chmod { target, mode } => nix::sys::stat::fchmodat(
                AT_FDCWD,
                &self.target(target)?,
                Mode::from_bits_truncate(*mode),
                nix::sys::stat::FchmodatFlags::FollowSymlink,
            ),
            Call::Fsync { handle } => nix::unistd::fsync(self.borrowed(*handle)?),
            other => panic!("no test makes {other:?}"),
        }
    }
}

/// What is below a real directory, as far as the model is compared with it.
fn read_tree(root: &Path) -> Tree {
    fn visit(path: &Path, rel: RelPath, tree: &mut Tree) {
        let data = fs::symlink_metadata(path).unwrap();
        let kind = if data.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                let entry = entry.unwrap();
                visit(&entry.path(), rel.join(entry.file_name().as_bytes()), tree);
            }
            Kind::Directory
        } else if data.is_symlink() {
            Kind::Symlink(fs::read_link(path).unwrap().into_os_string().into_encoded_bytes())
        } else if data.is_file() {
            Kind::File(Arc::new(fs::read(path).unwrap()))
        } else {
            Kind::Special { mode: data.mode() & S_IFMT, device: data.rdev() }
        };
        let (mode, inode) = (data.mode() & 0o7777, data.ino());
        let node = Node { kind, mode, uid: data.uid(), gid: data.gid(), inode, xattrs: BTreeMap::new() };
        tree.0.insert(rel, node);
    }
    let mut tree = Tree::default();
    visit(root, RelPath::root(), &mut tree);
    tree
}

/// Errors that have nothing to do with what calls mean: the file system of the temporary directory cannot do it, or the
/// process may not, or the descriptor was opened for reading only (the model does not look at access modes, since only calls that succeeded reach it).
fn not_about_meaning(errno: Errno, call: &Call) -> bool {
    let access = matches!(call, Call::Write { .. } | Call::Truncate { .. } | Call::Allocate { .. } | Call::Open { .. });
    matches!(errno, Errno::EOPNOTSUPP | Errno::EPERM | Errno::EACCES | Errno::EXDEV | Errno::ENXIO)
        || (access && matches!(errno, Errno::EBADF | Errno::EINVAL | Errno::EISDIR))
        || matches!((errno, call), (Errno::EINVAL, Call::Rename { flags, .. }) if flags & rn::WHITEOUT != 0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_model_does_what_the_kernel_does(calls in proptest::collection::vec(a_call(), 1..40)) {
        // Two levels down, so that links that climb out stay inside the temporary directory.
        let temporary = tempfile::tempdir().unwrap();
        let directory = temporary.path().join("x/y");
        fs::create_dir_all(&directory).unwrap();
        nix::sys::stat::umask(Mode::empty());
        let mut real = Real { root: &directory, open: HashMap::new() };
        let before = read_tree(&directory);
        let mut vfs = Vfs::new(&before);
        let mut ops = Vec::new();
        for call in calls {
            // Opening a FIFO would wait for its other end.
            let fifo = |path: &RelPath| fs::metadata(path.under(&directory)).is_ok_and(|data| data.mode() & S_IFMT == 0o010000);
            if matches!(&call, Call::Open { path, .. } if fifo(path)) {
                continue;
            }
            match real.run(&call) {
                Ok(()) => match vfs.apply(&call) {
                    Ok(()) => ops.push(crate::testing::op(call)),
                    // Such a call cannot be followed any further; that it is noticed is all that is promised.
                    Err(Divergence { why: Why::Outside, .. }) => return Ok(()),
                    Err(error) => prop_assert!(false, "{}, but the kernel does {:?}", error, call),
                },
                Err(errno) if not_about_meaning(errno, &call) => {}
                Err(errno) => {
                    prop_assert!(vfs.clone().apply(&call).is_err(), "the kernel refuses {:?}: {}", call, errno);
                }
            }
            let after = read_tree(&directory);
            let trace = crate::Trace { before: before.clone(), ops: ops.clone(), after, ..crate::Trace::default() };
            prop_assert_eq!(crate::unexplained(&trace), vec![]);
        }
    }
}
