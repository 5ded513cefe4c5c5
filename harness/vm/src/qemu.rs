//! QEMU, with KVM or emulated.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use filesystems::FileSystem;

use crate::confine::Confinement;
use crate::kernel::{Kernel, KernelError, program};
use crate::machine::MEMORY;
use crate::{Accelerator, Launch, Machine};

/// A QEMU virtual machine and the kernel it boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qemu {
    program: PathBuf,
    kernel: Kernel,
    accelerator: Accelerator,
}

impl Qemu {
    /// The host's QEMU with the newest kernel below `kernels`, or with the one that `--kernel` names.
    pub fn find(kernels: &Path, named: Option<&Path>, accelerator: Accelerator) -> Result<Self, KernelError> {
        let program = program(&["qemu-system-x86_64"])
            .ok_or_else(|| KernelError::Missing { what: "QEMU (qemu-system-x86_64)", looked: "PATH".into() })?;
        let kernel = named.map_or_else(|| Kernel::find(kernels), Kernel::named)?;
        Ok(Self { program, kernel, accelerator })
    }
}

impl Machine for Qemu {
    fn name(&self) -> &'static str {
        match self.accelerator {
            Accelerator::Kvm => "qemu-kvm",
            Accelerator::Emulated => "qemu-emulated",
        }
    }

    fn initramfs(&self, cache: &Path, filesystems: &[&FileSystem]) -> Result<PathBuf, KernelError> {
        let mut wanted = vec!["virtio_pci", "virtio_blk"];
        wanted.extend(filesystems.iter().flat_map(|filesystem| filesystem.modules));
        let modules = vm_images::closure(&self.kernel.modules, &wanted)?;
        Ok(vm_images::initramfs(cache, &modules)?)
    }

    fn command(&self, launch: &Launch<'_>) -> io::Result<Command> {
        let (accelerator, cpu) = match self.accelerator {
            Accelerator::Kvm => ("kvm", "host"),
            // Software emulates `rep movsb` byte by byte, and `rep movsq` word by word: on a processor that names
            // neither as fast, the kernel copies and clears pages in plain loops, which it translates well. Measured on
            // mounts of ext4, in turns: 1.2 to 1.4 times as fast as `max`.
            // Nor does it name cmpxchg16b, with which the kernel's allocator takes memory: where QEMU 7.2 emulates it, three in
            // ten boots of Linux 6.12 ended in an oops of that allocator or soon after, and without it none.
            Accelerator::Emulated => ("tcg", "kvm64,-cx16"),
        };
        let mut confinement = Confinement::to(launch.directory).variable("TMPDIR", ".");
        if self.accelerator == Accelerator::Kvm {
            confinement = confinement.device("/dev/kvm");
        }
        let kernel = confinement.file(&self.kernel.image)?;
        let initramfs = confinement.file(launch.initramfs)?;
        let mut command = confinement.command(&self.program)?;
        if has_sandbox(&self.program) {
            command.args(["-sandbox", SANDBOX]);
        }
        command
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"])
            .args(["-machine", "q35,usb=off,sata=off,smbus=off", "-accel", accelerator, "-cpu", cpu, "-smp", "1"])
            // vhost-user needs guest memory that the device's process can map.
            .args(["-m", &format!("{MEMORY}M"), "-object"])
            .arg(format!("memory-backend-memfd,id=memory,size={MEMORY}M,share=on"))
            .args(["-numa", "node,memdev=memory"])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(initramfs)
            .args([
                "-append",
                "console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check random.trust_cpu=on mitigations=off",
            ]);
        for (name, socket) in [("data", launch.data), ("mailbox", launch.mailbox)] {
            command
                .arg("-chardev")
                .arg(format!("socket,id={name},path={socket}"))
                .arg("-device")
                .arg(format!("vhost-user-blk-pci,chardev={name},num-queues=1,queue-size=256,disable-legacy=on"));
        }
        Ok(command)
    }

    fn patience(&self) -> u32 {
        match self.accelerator {
            Accelerator::Kvm => 1,
            Accelerator::Emulated => 8,
        }
    }
}

/// QEMU's own seccomp filter, with all that it can deny (qemu(1), `-sandbox`).
const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// Whether this QEMU, one for each process of ours, was built with that filter: others refuse the option.
pub(crate) fn has_sandbox(program: &Path) -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        let mut command = Command::new(program);
        command.args(["-sandbox", SANDBOX, "-version"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}
