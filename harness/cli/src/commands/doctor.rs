//! `harness doctor`.

mod confinement;

use std::fs;
use std::path::Path;

use report::ExitStatus;
use vm::{Paths, Standing};

use super::signal::{Manner, Scratch, Signals};
use super::{Failure, show::print};
use engine::mkfs;

/// Whether there is a kernel for QEMU, and if not, how to come by one: for those who have no clone, whose scripts unpack one.
fn unpacked(kernels: &Path) -> &'static str {
    let is_there = fs::read_dir(kernels).is_ok_and(|mut entries| entries.next().is_some());
    if is_there {
        ""
    } else {
        " (none: QEMU takes the newest of /boot; or unpack one there, as with apt-get download linux-image-VERSION-amd64 and \
         dpkg-deb -x PACKAGE DIRECTORY)"
    }
}

/// Says what this machine has, what is missing, and what installs it.
pub fn doctor() -> Result<ExitStatus, Failure> {
    let _scratch = Scratch::new()?;
    let _signals = Signals::handle(Manner::AtOnce)?;
    let paths = Paths::from_environment();
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::machine)?;
    let machines = runtime.block_on(vm::survey(&paths));
    let mut text = String::new();
    let mut packages = mkfs::missing_packages(filesystems::ALL);
    for finding in &machines {
        let standing = match &finding.standing {
            Standing::Boots => "works: a guest boots".to_owned(),
            Standing::Installed => "is installed".to_owned(),
            Standing::Unusable(problem) => format!("no: {problem}"),
        };
        text.push_str(&format!("{:<14} {standing}\n", finding.name));
    }
    for filesystem in filesystems::ALL {
        let tool = filesystem.mkfs.tool;
        let there = vm::program(&[tool]).is_some();
        text.push_str(&format!("{:<14} {}\n", tool, if there { "is installed" } else { "is missing" }));
    }
    if vm::program(&["linux.uml"]).is_none() {
        packages.push("user-mode-linux");
    }
    if vm::program(&["qemu-system-x86_64"]).is_none() {
        packages.push("qemu-system-x86");
    }
    for (name, standing) in confinement::lines(&vm::probe()) {
        text.push_str(&format!("{name:<14} {standing}\n"));
    }
    text.push_str(&format!("{:<14} {}{}\n", "guest kernels", paths.kernels.display(), unpacked(&paths.kernels)));
    text.push_str(&format!("{:<14} {}\n", "cache", paths.cache.display()));
    if !packages.is_empty() {
        text.push_str(&format!("to install what is missing: apt-get install {}\n", packages.join(" ")));
    }
    print(&text)?;
    let machine = machines.iter().any(|finding| !matches!(finding.standing, Standing::Unusable(_)));
    Ok(if machine && mkfs::missing_packages(filesystems::DEFAULTS).is_empty() {
        ExitStatus::Holds
    } else {
        ExitStatus::Machine
    })
}
