//! User Mode Linux: a Linux kernel that is an ordinary process. No root, no KVM.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use filesystems::FileSystem;

use crate::confine::Confinement;
use crate::kernel::{KernelError, program};
use crate::machine::MEMORY;
use crate::{Launch, Machine};

/// A User Mode Linux kernel, with the file systems built in or beside it as modules (Debian's package `user-mode-linux`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uml {
    kernel: PathBuf,
    modules: PathBuf,
    /// See [`vm_images::UML_PTRACE`].
    preload: PathBuf,
}

impl Uml {
    /// Debian's, wherever it is; `cache` takes the shared object that it is started with.
    pub fn find(cache: &Path) -> Result<Self, KernelError> {
        let looked = "PATH and /usr/lib/uml/modules".to_owned();
        let missing =
            || KernelError::Missing { what: "User Mode Linux (linux.uml and its modules)", looked: looked.clone() };
        let kernel = program(&["linux.uml"]).ok_or_else(missing)?;
        let mut releases: Vec<PathBuf> = fs::read_dir("/usr/lib/uml/modules")
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        releases.sort();
        let modules = releases.pop().ok_or_else(missing)?;
        let preload = vm_images::cached(cache, "uml-ptrace", "so", vm_images::UML_PTRACE)?;
        Ok(Self { kernel, modules, preload })
    }
}

impl Machine for Uml {
    fn name(&self) -> &'static str {
        "uml"
    }

    fn initramfs(&self, cache: &Path, filesystems: &[&FileSystem]) -> Result<PathBuf, KernelError> {
        let mut wanted = vec!["virtio_blk"];
        wanted.extend(filesystems.iter().flat_map(|filesystem| filesystem.modules));
        let modules = vm_images::closure(&self.modules, &wanted)?;
        Ok(vm_images::initramfs(cache, &modules)?)
    }

    fn command(&self, launch: &Launch<'_>) -> io::Result<Command> {
        let mut confinement = Confinement::to(launch.directory);
        let argument = |name: &str, value: &Path| format!("{name}={}", value.display());
        let preload = confinement.file(&self.preload)?;
        let initramfs = confinement.file(launch.initramfs)?;
        let mut command = confinement
            .variable("LD_PRELOAD", preload)
            // Of its own directory it needs no more than a name: it starts there.
            .variable("TMPDIR", ".")
            .command(&self.kernel)?;
        command
            .arg(format!("mem={MEMORY}M"))
            .arg(argument("initrd", &initramfs))
            // Each disk on a device of its own; 2 is the virtio number of a block device.
            .arg(format!("virtio_uml.device={}:2", launch.data))
            .arg(format!("virtio_uml.device={}:2", launch.mailbox))
            // mconsole and pid files would go to the user's home.
            .args(["uml_dir=.", "umid=guest"])
            .args(["con0=null,fd:1", "con=null", "ssl=null", "quiet", "panic=-1", "random.trust_cpu=on"]);
        Ok(command)
    }

    fn takes_turns(&self) -> bool {
        true
    }

    fn patience(&self) -> u32 {
        1
    }
}
