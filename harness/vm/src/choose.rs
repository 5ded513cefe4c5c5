//! Which machine this host can run.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::{Accelerator, Death, Guest, GuestError, KernelError, Limits, Machine, Paths, Qemu, Uml};

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

impl Choice {
    /// The one that finds a machine of this name ([`Machine::name`]), if it is there.
    pub fn of(machine: &str) -> Self {
        match machine {
            "uml" => Self::Uml,
            _ => Self::Qemu,
        }
    }
}

/// What is known about one kind of machine on this host: `harness doctor`.
pub struct Finding {
    /// The machine's name.
    pub name: &'static str,
    /// Whether it can be used.
    pub standing: Standing,
}

/// Whether a kind of machine can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A guest has booted on it.
    Boots,
    /// All that it takes is there. Nothing was booted: emulation takes its time, and nothing but that.
    Installed,
    /// It cannot, and why.
    Unusable(String),
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
    let boots = |outcome: Result<(), String>| outcome.map_or_else(Standing::Unusable, |()| Standing::Boots);
    let kvm = match Qemu::find(&paths.kernels, None, Accelerator::Kvm) {
        Ok(qemu) => boots(kvm_works(&qemu, paths).await),
        Err(error) => Standing::Unusable(error.to_string()),
    };
    let uml = match Uml::find(&paths.cache) {
        Ok(uml) => boots(boot(&uml, paths, Limits::default()).await.map_err(|error| error.to_string())),
        Err(error) => Standing::Unusable(error.to_string()),
    };
    let emulated = match Qemu::find(&paths.kernels, None, Accelerator::Emulated) {
        Ok(_) => Standing::Installed,
        Err(error) => Standing::Unusable(error.to_string()),
    };
    vec![
        Finding { name: "qemu-kvm", standing: kvm },
        Finding { name: "uml", standing: uml },
        Finding { name: "qemu-emulated", standing: emulated },
    ]
}

/// Whether a guest boots on KVM. Some hosts have a /dev/kvm that opens and creates virtual processors, on which a
/// stock kernel then hangs: so one is booted, with a time limit, and the answer is kept for this QEMU, kernel and host.
async fn kvm_works(qemu: &Qemu, paths: &Paths) -> Result<(), String> {
    let device = Path::new("/dev/kvm");
    if let Err(error) = fs::OpenOptions::new().read(true).write(true).open(device) {
        return Err(format!("failed to open {}: {error}", device.display()));
    }
    let host = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let booted = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let asked = format!("{qemu:?} {host} {booted} {}", vm_images::AGENT.len());
    let kept = paths.cache.join(format!("kvm-{}", hex::encode(&Sha256::digest(asked.as_bytes())[..8])));
    match fs::read_to_string(&kept).ok().as_deref().and_then(kept_answer) {
        Some(Err(reason)) => return Err(format!("{reason} (to have it tried again, remove {})", kept.display())),
        Some(Ok(())) => return Ok(()),
        None => {}
    }
    let answer = match boot(qemu, paths, Limits { boot: Duration::from_secs(8), ..Limits::default() }).await {
        Ok(()) => Ok(()),
        // What the host did to it says nothing about KVM.
        Err(GuestError::Boot { death, reason, .. }) if death != Death::Host => {
            Err(format!("{} is there, but a guest {reason} on it", device.display()))
        }
        // That says nothing about KVM.
        Err(error) => return Err(error.to_string()),
    };
    // Without a cache the next run tries again.
    let _ = keep(&kept, &answer);
    answer
}

/// Boots a guest, which knows no file system.
async fn boot(machine: &dyn Machine, paths: &Paths, limits: Limits) -> Result<(), GuestError> {
    let failed = |error: KernelError| GuestError::Setup { machine: machine.name(), reason: error.to_string() };
    let initramfs = machine.initramfs(&paths.cache, &[]).map_err(failed)?;
    Guest::boot(machine, &initramfs, 2048, limits).await.map(drop)
}

/// How the two answers begin that are kept. Anything else is none, above all an empty file.
const WORKS: &str = "works\n";
const DOES_NOT: &str = "does not work\n";

fn kept_answer(text: &str) -> Option<Result<(), String>> {
    match text.strip_prefix(DOES_NOT) {
        Some(reason) => Some(Err(reason.to_owned())),
        None => (text == WORKS).then_some(Ok(())),
    }
}

fn keep(path: &Path, answer: &Result<(), String>) -> io::Result<()> {
    match answer {
        Ok(()) => vm_images::write_whole(path, WORKS.as_bytes()),
        Err(reason) => vm_images::write_whole(path, format!("{DOES_NOT}{reason}").as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_whole_or_is_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("cache/kvm");
        for answer in [Ok(()), Err("a guest hung\non it".to_owned())] {
            keep(&path, &answer).expect("it is kept");
            let text = fs::read_to_string(&path).expect("it is there");
            assert_eq!(kept_answer(&text), Some(answer));
        }
        for text in ["", "wor", "works", "does not", "does not work"] {
            assert_eq!(kept_answer(text), None, "{text}");
        }
    }
}
