//! Which machine this host can run.

use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::{Accelerator, Guest, GuestError, KernelError, Limits, Machine, Paths, Qemu, Uml};

/// What `--vm` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// KVM if a guest really boots on it, else User Mode Linux, else emulation.
    #[default]
    Auto,
    /// QEMU: KVM if a guest really boots on it, else emulation.
    Qemu,
    /// User Mode Linux.
    Uml,
}

/// What is known about one kind of machine on this host: `harness doctor`.
pub struct Finding {
    /// The machine's name.
    pub name: &'static str,
    /// `None` if it can be used.
    pub problem: Option<String>,
}

/// Chooses a machine.
///
/// # Errors
/// None of the kinds asked for is there: the error of the one that is the easiest to install.
pub async fn choose(choice: Choice, kernel: Option<&Path>, paths: &Paths) -> Result<Box<dyn Machine>, KernelError> {
    if choice == Choice::Uml {
        return Ok(Box::new(Uml::find(&paths.cache)?));
    }
    if let Ok(qemu) = Qemu::find(&paths.kernels, kernel, Accelerator::Kvm)
        && kvm_works(&qemu, paths).await.is_ok()
    {
        return Ok(Box::new(qemu));
    }
    // A kernel of the user's choice is a matter of QEMU.
    if choice == Choice::Auto
        && kernel.is_none()
        && let Ok(uml) = Uml::find(&paths.cache)
    {
        return Ok(Box::new(uml));
    }
    Ok(Box::new(Qemu::find(&paths.kernels, kernel, Accelerator::Emulated)?))
}

/// Everything about this host's machines.
pub async fn survey(paths: &Paths) -> Vec<Finding> {
    let kvm = match Qemu::find(&paths.kernels, None, Accelerator::Kvm) {
        Ok(qemu) => kvm_works(&qemu, paths).await.err(),
        Err(error) => Some(error.to_string()),
    };
    let emulated = Qemu::find(&paths.kernels, None, Accelerator::Emulated).err().map(|error| error.to_string());
    let uml = Uml::find(&paths.cache).err().map(|error| error.to_string());
    vec![
        Finding { name: "qemu-kvm", problem: kvm },
        Finding { name: "uml", problem: uml },
        Finding { name: "qemu-emulated", problem: emulated },
    ]
}

/// Whether a guest boots on KVM. Some hosts have a /dev/kvm that opens and creates virtual processors, on which a
/// stock kernel then hangs: so one is booted, with a time limit, and the answer is kept for this QEMU, kernel and host.
async fn kvm_works(qemu: &Qemu, paths: &Paths) -> Result<(), String> {
    let device = Path::new("/dev/kvm");
    if let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open(device) {
        return Err(format!("failed to open {}: {error}", device.display()));
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let asked = format!("{qemu:?} {host} {boot} {}", vm_images::AGENT.len());
    let digest: String = Sha256::digest(asked.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let kept = paths.cache.join(format!("kvm-{digest}"));
    match std::fs::read_to_string(&kept) {
        Ok(text) if text.is_empty() => return Ok(()),
        Ok(text) => return Err(text),
        Err(_) => {}
    }
    let answer = probe(qemu, paths).await;
    let text = answer.as_ref().err().cloned().unwrap_or_default();
    // Without a cache the next run probes again.
    let _ = std::fs::create_dir_all(&paths.cache).and_then(|()| std::fs::write(&kept, text));
    answer
}

async fn probe(qemu: &Qemu, paths: &Paths) -> Result<(), String> {
    let initramfs = qemu.initramfs(&paths.cache, &[]).map_err(|error| error.to_string())?;
    let limits = Limits { boot: Duration::from_secs(8), ..Limits::default() };
    match Guest::boot(qemu, &initramfs, 2048, limits).await {
        Ok(_) => Ok(()),
        Err(GuestError::Boot { reason, .. }) => Err(format!("/dev/kvm is there, but a guest {reason} on it")),
        Err(error) => Err(error.to_string()),
    }
}
