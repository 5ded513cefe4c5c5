//! From the kernel's first process to a machine that takes commands.

use std::ffi::CString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::resource::{Resource, setrlimit};
use protocol::{Hello, frame};

use crate::mailbox::Mailbox;

/// What there is to work with.
pub struct Machine {
    pub mailbox: Mailbox,
    /// The data disk's device node.
    pub disk: PathBuf,
    pub hello: Hello,
}

/// Mounts the kernel's file systems, loads the modules that the initramfs brought, and finds the two disks.
pub fn boot() -> Result<Machine, String> {
    for (kind, at) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")] {
        fs::create_dir_all(at).map_err(|error| format!("failed to make {at}: {error}"))?;
        let nothing: Option<&str> = None;
        mount(Some(kind), at, Some(kind), MsFlags::empty(), nothing)
            .map_err(|error| format!("failed to mount {kind} on {at}: {error}"))?;
    }
    fs::create_dir_all(crate::MOUNT).map_err(|error| format!("failed to make {}: {error}", crate::MOUNT))?;
    no_helpers();
    no_writeback_by_chance()?;
    zeros_take_no_memory()?;
    load_modules()?;
    many_files()?;
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());

    let mailbox = disk_named(frame::MAILBOX_SERIAL)?;
    let data = disk_named(frame::DATA_SERIAL)?;
    let queue = Path::new("/sys/block").join(&data).join("queue");
    // Each sector that is read may cost a decision, so the guest reads what it needs and no more.
    set(&queue.join("read_ahead_kb"), "0")?;
    // Requests in the order in which the file system makes them, without waiting for others to merge with.
    set(&queue.join("scheduler"), "none")?;
    // Without waiting because others took long (block/blk-wbt.c): how long the host takes is chance, and what ends while
    // ext4 waits for room is an extent more that it knows of when it goes on. Where it cannot be read, nothing waits,
    // and where it is 0, it may not be set (`queue_wb_lat_store`).
    let patience = queue.join("wbt_lat_usec");
    if read_line(&patience).is_ok_and(|value| value != "0") {
        set(&patience, "0")?;
    }
    let hello = Hello {
        kernel: read_line(Path::new("/proc/sys/kernel/osrelease"))?,
        write_cache: read_line(&queue.join("write_cache"))?,
    };
    let mailbox = Mailbox::open(&Path::new("/dev").join(mailbox))?;
    Ok(Machine { mailbox, disk: Path::new("/dev").join(data), hello })
}

/// Keeps the kernel from running a program of user space for each of its events (a device appears, a module is missed):
/// there is none here, and User Mode Linux, whose kernel is built to try, makes a process of the host for each attempt.
fn no_helpers() {
    for setting in ["hotplug", "modprobe"] {
        // A kernel that was built without these does not try.
        let _ = fs::write(Path::new("/proc/sys/kernel").join(setting), "\n");
    }
}

/// Keeps the kernel from writing dirty data back by itself, because time has passed or because a small guest's memory
/// fills with them: when that would be is chance. A schedule says when it happens (`Documentation/admin-guide/sysctl/vm.rst`).
///
/// Not 0 for the interval, although that turns the timer off: it also has a device looked at as soon as its first page
/// is dirty (mm/backing-dev.c, `wb_wakeup_delayed`), and a device's part of the threshold is 0 while it has written
/// nothing of late (mm/page-writeback.c, `wb_over_bg_thresh`; each mount of btrfs is such a device).
fn no_writeback_by_chance() -> Result<(), String> {
    /// More than eleven days; in milliseconds, as the kernel counts, it still fits into 32 bits.
    const NEVER: &str = "100000000";
    let settings = [("dirty_writeback_centisecs", NEVER), ("dirty_background_ratio", "90"), ("dirty_ratio", "95")];
    settings.iter().try_for_each(|(name, value)| set(&Path::new("/proc/sys/vm").join(name), value))
}

/// Lets the agent have more memory than there is, as long as it does not write to it: files can be long and hold next to
/// nothing (`Documentation/mm/overcommit-accounting.rst`).
fn zeros_take_no_memory() -> Result<(), String> {
    set(Path::new("/proc/sys/vm/overcommit_memory"), "1")
}

/// Lets a replay have as many files open as the recorded program had: the kernel starts with a limit of 1,024
/// (`INR_OPEN_CUR` in `include/uapi/linux/fs.h`).
fn many_files() -> Result<(), String> {
    let path = Path::new("/proc/sys/fs/nr_open");
    let most = read_line(path)?;
    let most = most.parse().map_err(|error| format!("{} is no number but {most:?}: {error}", path.display()))?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)
        .map_err(|error| format!("failed to allow {most} open files: {error}"))
}

/// Loads `/modules/*.ko` in the order of their names: the harness numbers them so that none comes before what it needs.
fn load_modules() -> Result<(), String> {
    let Ok(entries) = fs::read_dir("/modules") else { return Ok(()) };
    let mut modules: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    modules.sort();
    for path in modules {
        let file = File::open(&path).map_err(|error| format!("failed to open {}: {error}", path.display()))?;
        match nix::kmod::finit_module(&file, &CString::default(), nix::kmod::ModuleInitFlags::empty()) {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(error) => return Err(format!("failed to load the module {}: {error}", path.display())),
        }
    }
    Ok(())
}

/// The name (`vda`) of the disk that says it is called `serial`. Probing may still be under way: waits a while.
fn disk_named(serial: &str) -> Result<String, String> {
    for _ in 0..1000 {
        for entry in
            fs::read_dir("/sys/block").map_err(|error| format!("failed to list /sys/block: {error}"))?.flatten()
        {
            if fs::read_to_string(entry.path().join("serial")).is_ok_and(|found| found.trim() == serial) {
                return Ok(entry.file_name().to_string_lossy().into_owned());
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Err(format!("no disk with the serial {serial} appeared within 10 seconds"))
}

fn set(path: &Path, value: &str) -> Result<(), String> {
    fs::write(path, value).map_err(|error| format!("failed to write {value} to {}: {error}", path.display()))
}

fn read_line(path: &Path) -> Result<String, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("failed to read {}: {error}", path.display()))?;
    Ok(text.trim().to_owned())
}

/// Ends the guest. Nothing is synced: what the disk holds no longer matters.
pub fn power_off() {
    // Whatever this runs on, if it is not process 1 then the machine is not a guest of ours.
    if std::process::id() != 1 {
        return;
    }
    let _ = reboot(RebootMode::RB_POWER_OFF);
}
