//! Guests really boot, take the disk's cache for volatile, mount, and see a fresh file system.

use std::any::Any;
use std::collections::BTreeMap;

use checker::{EntryKind, Mount};
use filesystems::{EXT4, Filesystem, by_name};
use program::{Holes, Kind, Node, RelPath, Tree};
use protocol::{Command, Reply};
use storage::{Backing, DirectDisk, Image, Queueing, Refused};
use testkit::Need;
use vm::{Guest, GuestError, Limits, Machine, Paths, Uml, program};

fn mkfs(kind: &str) -> Option<Image> {
    let tool = program(&[&format!("mkfs.{kind}")])?;
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.as_file().set_len(320 << 20).expect("a sparse file of 320 MiB");
    let force = if kind == "ext4" { "-F" } else { "-f" };
    let output = std::process::Command::new(tool).arg("-q").arg(force).arg(file.path()).output().expect("mkfs starts");
    assert!(output.status.success(), "{output:?}");
    Some(Image::read_raw(file.path()).expect("what mkfs made"))
}

/// User Mode Linux and a fresh file system; `None` where a test that needs them is skipped.
fn uml_and(paths: &Paths, kind: &str) -> Option<(Uml, Image)> {
    let machine = testkit::given(Need::Uml, Uml::find(&paths.cache))?;
    let image = testkit::given(Need::Mkfs, mkfs(kind).ok_or(format!("there is no mkfs.{kind}")))?;
    Some((machine, image))
}

/// Boots, builds an empty tree, mounts it again and looks.
async fn a_fresh_file_system_mounts(kind: &str) {
    let paths = Paths::from_environment();
    let Some((machine, image)) = uml_and(&paths, kind) else { return };
    let initramfs = machine.initramfs(&paths.cache, &[by_name(kind).expect("a known name")]).expect("an initramfs");
    // Refuses a guest that takes the cache for write-through.
    let booted = Guest::boot(&machine, &initramfs, image.sectors(), Limits::default()).await;
    let mut guest = booted.expect("a guest");
    guest.insert(Box::new(DirectDisk { image }));
    let filesystem = Filesystem::named(kind, "", "").expect("a known name").recipe();
    let populate = Command::Populate { filesystem: filesystem.clone(), tree: Tree::default(), holes: Holes::new() };
    assert_eq!(guest.call(&populate).await.expect("an answer"), Reply::Done);
    for _ in 0..3 {
        let observe = Command::Observe { filesystem: filesystem.clone(), mark: false };
        let Ok(Reply::Observed(observation)) = guest.call(&observe).await else { panic!("no observation") };
        assert_eq!(observation.mount, Mount::Mounted);
        let names: Vec<&RelPath> = observation.entries.keys().collect();
        assert_eq!(names, [&RelPath::root()]);
        assert_eq!(observation.entries[&RelPath::root()].kind, EntryKind::Directory { error: None });
    }
}

#[tokio::test]
async fn ext4() {
    a_fresh_file_system_mounts("ext4").await;
}

#[tokio::test]
async fn xfs() {
    a_fresh_file_system_mounts("xfs").await;
}

#[tokio::test]
async fn btrfs() {
    a_fresh_file_system_mounts("btrfs").await;
}

/// A disk that counts flushes.
struct Counting {
    disk: DirectDisk,
    flushes: u32,
}

impl Backing for Counting {
    fn sectors(&self) -> u64 {
        self.disk.sectors()
    }
    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), Refused> {
        self.disk.read(sector, buffer)
    }
    fn write(&mut self, sector: u64, data: Vec<u8>, queueing: Queueing) {
        self.disk.write(sector, data, queueing);
    }
    fn flush(&mut self, _: Queueing) {
        self.flushes += 1;
    }
}

/// A kernel that takes the cache for write-through never flushes, and every result would be wrong without a word.
#[tokio::test]
async fn flushes_reach_the_disk() {
    let paths = Paths::from_environment();
    let Some((machine, image)) = uml_and(&paths, "ext4") else { return };
    let initramfs = machine.initramfs(&paths.cache, &[&EXT4]).expect("an initramfs");
    let booted = Guest::boot(&machine, &initramfs, image.sectors(), Limits::default()).await;
    let mut guest = booted.expect("a guest");
    guest.insert(Box::new(Counting { disk: DirectDisk { image }, flushes: 0 }));
    let filesystem = Filesystem::from(&EXT4).recipe();
    guest.call(&Command::Populate { filesystem, tree: Tree::default(), holes: Holes::new() }).await.expect("an answer");
    let disk: Box<dyn Any> = guest.eject();
    assert!(disk.downcast::<Counting>().expect("the disk that was put in").flushes > 0);
}

/// A guest, and a fresh ext4 in it; nothing if this machine lacks what that takes.
async fn guest_with_ext4() -> Option<Guest> {
    let paths = Paths::from_environment();
    let (machine, image) = uml_and(&paths, "ext4")?;
    let initramfs = machine.initramfs(&paths.cache, &[&EXT4]).expect("an initramfs");
    let guest = Guest::boot(&machine, &initramfs, image.sectors(), Limits::default()).await.expect("a guest");
    guest.insert(Box::new(DirectDisk { image }));
    Some(guest)
}

fn populate(options: &str, tree: &Tree) -> Command {
    let filesystem = Filesystem { kind: &EXT4, options: options.into(), mkfs: String::new() }.recipe();
    Command::Populate { filesystem, tree: tree.clone(), holes: Holes::new() }
}

#[tokio::test]
async fn options_with_which_nothing_can_be_tested_are_refused_in_the_kernels_own_words() {
    let Some(mut guest) = guest_with_ext4().await else { return };
    for (options, words) in [("frobnicate", "frobnicate"), ("ro", "nothing can be written")] {
        let error = guest.call(&populate(options, &Tree::default())).await.expect_err("a refusal");
        assert!(matches!(&error, GuestError::NotMounted(reason) if reason.contains(words)), "{options}: {error}");
    }
    guest.call(&populate("", &Tree::default())).await.expect("the disk was free");
}

/// What one workload brings along that a file system does not take is no reason to give up the others.
#[tokio::test]
async fn files_that_cannot_be_built_are_another_matter() {
    let Some(mut guest) = guest_with_ext4().await else { return };
    let mut tree = Tree::default();
    let node = |kind, inode, xattrs| Node { kind, mode: 0o755, uid: 0, gid: 0, inode, xattrs };
    let odd = BTreeMap::from([("user.odd".into(), vec![b'x'; 60_000])]);
    tree.0.insert(RelPath::root(), node(Kind::Directory, 1, BTreeMap::new()));
    tree.0.insert("f".into(), node(Kind::File(Default::default()), 2, odd));
    let error = guest.call(&populate("", &tree)).await.expect_err("more than a block of ext4 holds");
    assert!(matches!(&error, GuestError::Refused(reason) if reason.contains("failed to build f")), "{error}");
}

/// A container's /dev/shm often has 64 MiB, and a page too many there kills whoever touches it: a guest, or its disk.
#[test]
fn a_small_dev_shm_is_no_matter() {
    let script = "mount -t tmpfs -o size=64k none /dev/shm && exec \"$0\" --exact ext4";
    let test = std::env::current_exe().expect("this program");
    let namespace = |script: &str| {
        let mut command = std::process::Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-c", script]).arg(&test);
        command.output().map_err(|error| error.to_string())
    };
    let allowed = namespace("mount -t tmpfs none /dev/shm");
    let allowed =
        allowed.and_then(|output| if output.status.success() { Ok(()) } else { Err("mount is refused".into()) });
    if testkit::given(Need::Namespaces, allowed).is_none() {
        return;
    }
    let output = namespace(script).expect("unshare");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
}
