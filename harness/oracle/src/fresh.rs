//! Fresh file systems with a start state in them.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Command;

use crate::device::{Loop, Mounted};
use crate::image::Image;
use crate::program::{Start, bytes_of};

/// The file systems that are looked at.
pub const KINDS: [&str; 3] = ["ext4", "xfs", "btrfs"];

/// The directory of the program, in the file system.
pub const WORK: &str = "work";

/// A file that belongs to nobody, for commits.
pub const COMMIT: &str = ".commit";

/// Bytes of a disk: as in the harness's guests, where ext4 has its usual defaults.
const SIZE: u64 = 512 << 20;

/// The options of a mount. btrfs discards by itself where the disk takes it; ours takes nothing of the kind, and fails
/// late.
pub fn options(kind: &str) -> &'static str {
    match kind {
        "ext4" => "noinit_itable",
        "btrfs" => "nodiscard",
        _ => "",
    }
}

/// The options of the mount on which a program runs: nothing commits by a timer.
pub fn options_of_run(kind: &str) -> &'static str {
    match kind {
        "ext4" => "noinit_itable,commit=300",
        "btrfs" => "nodiscard,commit=300",
        _ => "",
    }
}

/// Makes a file system in a file below `directory`, with the same arguments as for the harness's guests but for its UUID:
/// the kernel mounts no two of btrfs or xfs with the same one, and tests run side by side.
fn make(kind: &str, file: &Path) -> io::Result<()> {
    File::create(file)?.set_len(SIZE)?;
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    let uuid = uuid.trim();
    let metadata = format!("uuid={uuid}");
    let (tool, arguments) = match kind {
        "ext4" => (
            "mkfs.ext4",
            vec!["-q", "-F", "-b", "4096", "-U", uuid, "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"],
        ),
        "xfs" => ("mkfs.xfs", vec!["-q", "-f", "-K", "-m", &metadata]),
        "btrfs" => ("mkfs.btrfs", vec!["-q", "-f", "-K", "-U", uuid]),
        _ => return Err(io::Error::other(format!("no file system {kind} is known here"))),
    };
    let program = vm::program(&[tool]).ok_or_else(|| io::Error::other(format!("there is no {tool} here")))?;
    let output = Command::new(program).args(arguments).arg(file).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{tool} failed: {}", String::from_utf8_lossy(&output.stderr))))
}

/// A disk with a fresh file system that holds `start`, all of it durable. Works in `directory`, which should be in
/// memory.
pub fn fresh(kind: &str, start: &[(String, Start)], directory: &Path) -> io::Result<Image> {
    let file = directory.join("fresh");
    let at = directory.join("fresh.mnt");
    fs::create_dir_all(&at)?;
    make(kind, &file)?;
    // Twice: some work is only done at the first mount.
    for populate in [false, true] {
        let mounted = Mounted::mount(Loop::attach(&file, false)?, &at, kind, options(kind))?;
        if populate {
            build(&at, start)?;
            nix::unistd::syncfs(File::open(&at)?)?;
        }
        mounted.unmount()?;
    }
    let image = Image::load(&File::open(&file)?)?;
    fs::remove_file(&file)?;
    Ok(image)
}

fn build(at: &Path, start: &[(String, Start)]) -> io::Result<()> {
    File::create(at.join(COMMIT))?;
    let work = at.join(WORK);
    fs::create_dir(&work)?;
    for (path, what) in start {
        match what {
            Start::Directory => fs::create_dir(work.join(path))?,
            Start::Link(of) => fs::hard_link(work.join(of), work.join(path))?,
            Start::File(pages) => {
                fs::write(work.join(path), bytes_of(pages))?;
                // One after the other, so that files lie in the order of the table.
                File::open(work.join(path))?.sync_all()?;
            }
        }
    }
    Ok(())
}
