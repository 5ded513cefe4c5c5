//! Loop devices and mounts that go away by themselves.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// Gives the calling thread, and all that it starts, mounts of its own: nobody else sees what is mounted, and it is gone
/// when the last of them has ended.
pub fn private_mounts() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let nothing: Option<&str> = None;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)?;
    Ok(())
}

mod ioctls {
    // linux/loop.h
    nix::ioctl_none_bad!(get_free, 0x4C82);
    nix::ioctl_write_ptr_bad!(configure, 0x4C0A, Configuration);
    // linux/btrfs.h
    nix::ioctl_write_ptr!(forget, 0x94, 5, VolumeArguments);

    /// `struct loop_config`, with `struct loop_info64` in it.
    #[repr(C)]
    pub struct Configuration {
        pub fd: u32,
        pub block_size: u32,
        pub device: u64,
        pub inode: u64,
        pub rdevice: u64,
        pub offset: u64,
        pub size_limit: u64,
        pub number: u32,
        pub encrypt_type: u32,
        pub encrypt_key_size: u32,
        pub flags: u32,
        pub file_name: [u8; 64],
        pub crypt_name: [u8; 64],
        pub encrypt_key: [u8; 32],
        pub init: [u64; 2],
        pub reserved: [u64; 8],
    }

    /// `struct btrfs_ioctl_vol_args`.
    #[repr(C)]
    pub struct VolumeArguments {
        pub fd: i64,
        pub name: [u8; 4088],
    }
}

/// LO_FLAGS_AUTOCLEAR: the device lets go of its file when nobody has it open any more, also when we are killed.
const AUTOCLEAR: u32 = 4;
/// LO_FLAGS_DIRECT_IO.
const DIRECT_IO: u32 = 16;

/// A loop device; free again when it is dropped and not mounted.
#[derive(Debug)]
pub struct Loop {
    file: File,
    path: PathBuf,
}

impl Loop {
    /// Attaches a file. With `direct`, requests go past the page cache.
    pub fn attach(backing: &Path, direct: bool) -> io::Result<Self> {
        let backing = OpenOptions::new().read(true).write(true).open(backing)?;
        let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
        // Others may be faster.
        for _ in 0..100 {
            // SAFETY: takes no argument.
            let number = unsafe { ioctls::get_free(control.as_raw_fd()) }?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            let configuration = ioctls::Configuration {
                fd: backing.as_raw_fd() as u32,
                block_size: 512,
                device: 0,
                inode: 0,
                rdevice: 0,
                offset: 0,
                size_limit: 0,
                number: 0,
                encrypt_type: 0,
                encrypt_key_size: 0,
                flags: AUTOCLEAR | if direct { DIRECT_IO } else { 0 },
                file_name: [0; 64],
                crypt_name: [0; 64],
                encrypt_key: [0; 32],
                init: [0; 2],
                reserved: [0; 8],
            };
            // SAFETY: `configuration` is laid out as the kernel reads it, and outlives the call.
            match unsafe { ioctls::configure(file.as_raw_fd(), &configuration) } {
                Ok(_) => return Ok(Self { file, path }),
                Err(Errno::EBUSY) => std::thread::sleep(std::time::Duration::from_millis(5)),
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::other("no loop device is free"))
    }

    /// `/dev/loop0` …
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the kernel says of the device under `/sys/block/loopN`.
    pub fn attribute(&self, name: &str) -> io::Result<String> {
        let device = self.path.file_name().unwrap_or_default();
        Ok(std::fs::read_to_string(Path::new("/sys/block").join(device).join(name))?.trim().to_owned())
    }

    /// The open device.
    pub fn file(&self) -> &File {
        &self.file
    }
}

/// A mounted file system; unmounted when it is dropped.
#[derive(Debug)]
pub struct Mounted {
    at: PathBuf,
    kind: String,
    device: Loop,
    mounted: bool,
}

impl Mounted {
    /// Mounts `device`. Options are those of mount(2).
    pub fn mount(device: Loop, at: &Path, kind: &str, options: &str) -> io::Result<Self> {
        let mut mounted = Self { at: at.into(), kind: kind.into(), device, mounted: false };
        // On an error, `mounted` is dropped: what btrfs remembers of the device is forgotten.
        mount(Some(mounted.device.path()), at, Some(kind), MsFlags::empty(), Some(options))?;
        mounted.mounted = true;
        Ok(mounted)
    }

    /// The device.
    pub fn device(&self) -> &Loop {
        &self.device
    }

    /// Where it is mounted.
    pub fn at(&self) -> &Path {
        &self.at
    }

    /// Unmounts.
    pub fn unmount(mut self) -> io::Result<()> {
        self.leave()
    }

    fn leave(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.mounted) {
            patiently(|| umount2(&self.at, MntFlags::empty()))?;
        }
        // It would take the next, older state of the same file system for a stale copy of this one.
        if self.kind == "btrfs" { forget(self.device.path()) } else { Ok(()) }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.leave().is_err() {
            let _ = umount2(&self.at, MntFlags::MNT_DETACH);
        }
    }
}

/// Tries for a while what something else makes busy: a process that another thread has just forked has our files open
/// until it executes its program.
fn patiently<T>(mut attempt: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    for _ in 0..200 {
        match attempt() {
            Err(Errno::EBUSY) => std::thread::sleep(std::time::Duration::from_millis(10)),
            outcome => return outcome,
        }
    }
    attempt()
}

fn forget(device: &Path) -> io::Result<()> {
    let control = OpenOptions::new().read(true).write(true).open("/dev/btrfs-control")?;
    let mut arguments = ioctls::VolumeArguments { fd: 0, name: [0; 4088] };
    let name = device.as_os_str().as_bytes();
    arguments.name[..name.len()].copy_from_slice(name);
    let attempt = || {
        // SAFETY: `arguments` is laid out as the kernel reads it, ends its name with a zero byte, and outlives the call.
        unsafe { ioctls::forget(control.as_raw_fd(), &arguments) }
    };
    match patiently(attempt) {
        Ok(_) | Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
