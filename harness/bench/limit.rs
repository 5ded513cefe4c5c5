//! The limit that an explorer is measured against: the host's own kernel mounts the same crash states, one after the
//! other, through a loop device.
//!
//! Only here: a host that mounts file systems which a crash has left trusts its kernel with them. They are copies, in
//! memory, of file systems that this program made itself. The harness never does so.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Instant;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use storage::Image;

use crate::Outcome;

/// A tmpfs on every Linux: what is stored here costs no disk.
const MEMORY: &str = "/dev/shm";

// Numbers from include/uapi/linux/loop.h; see loop(4).
nix::ioctl_write_int_bad!(set_backing_file, 0x4c00);
nix::ioctl_none_bad!(clear_backing_file, 0x4c01);
nix::ioctl_none_bad!(free_device, 0x4c82);

/// Seconds that one image takes on average: attach, mount with recovery, read the tree, unmount, detach. `image` makes
/// the next one, which is not measured.
///
/// # Errors
/// Why this host cannot do it.
pub fn seconds(kind: &str, images: usize, image: impl Fn(usize) -> Image + Sync) -> Result<f64, String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("only root may mount".into());
    }
    if !fs::read_to_string("/proc/filesystems").is_ok_and(|all| all.lines().any(|line| line.trim() == kind)) {
        return Err(format!("this kernel has no {kind} (or has not loaded it: modprobe {kind})"));
    }
    // A mount namespace belongs to a thread: nothing stays mounted when this one ends, however it ends.
    std::thread::scope(|scope| {
        let all = scope.spawn(|| all(kind, images, &image).map_err(|error| error.to_string()));
        all.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn all(kind: &str, images: usize, image: &(impl Fn(usize) -> Image + Sync)) -> Outcome<f64> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    let place = tempfile::tempdir_in(MEMORY)?;
    let (path, tree) = (place.path().join("image"), place.path().join("tree"));
    fs::create_dir(&tree)?;
    let mut seconds = 0.0;
    for index in 0..images {
        // A new file each time: recovery has changed the one before.
        let _ = fs::remove_file(&path);
        image(index).write_raw(&std::fs::File::create(&path)?)?;
        let file = File::options().read(true).write(true).open(&path)?;
        let start = Instant::now();
        class(kind, &file, &tree)?;
        seconds += start.elapsed().as_secs_f64();
    }
    Ok(seconds / images as f64)
}

fn class(kind: &str, image: &File, tree: &Path) -> Outcome<()> {
    let failed = |what: &str, error: nix::Error| format!("{what} failed: {error}");
    let control = File::open("/dev/loop-control").map_err(|error| format!("no loop devices: {error}"))?;
    // SAFETY: takes no argument.
    let number = unsafe { free_device(control.as_raw_fd()) }.map_err(|error| failed("to find a loop device", error))?;
    let path = format!("/dev/loop{number}");
    let device = File::options().read(true).write(true).open(&path)?;
    // SAFETY: the argument is a file descriptor that is open.
    unsafe { set_backing_file(device.as_raw_fd(), image.as_raw_fd()) }
        .map_err(|error| failed(&format!("to attach {path}"), error))?;
    let mounted = mount(Some(path.as_str()), tree, Some(kind), MsFlags::empty(), None::<&str>);
    // A state that is refused is a class too, and so is one whose tree cannot be read.
    let done = mounted.map_or(Ok(()), |()| {
        let _ = read(tree);
        umount2(tree, MntFlags::empty()).map_err(|error| failed("to unmount", error))
    });
    // SAFETY: takes no argument.
    unsafe { clear_backing_file(device.as_raw_fd()) }.map_err(|error| failed(&format!("to detach {path}"), error))?;
    Ok(done?)
}

/// Reads all names and all contents. What cannot be read is passed over, as a violation of the state would be.
fn read(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)?.flatten() {
        match entry.file_type()? {
            kind if kind.is_dir() => drop(read(&entry.path())),
            kind if kind.is_file() => drop(fs::read(entry.path())),
            _ => {}
        }
    }
    Ok(())
}
