//! What confines guests on this host, and what could.

use std::io;

use vm::{Landlock, NAMESPACES, Obstacle, Probe};

/// A line for each thing that confines guests, or does not: its name and how it stands.
pub fn lines(probe: &io::Result<Probe>) -> Vec<(&'static str, String)> {
    match probe {
        Ok(probe) => vec![
            ("privileges", privileges(probe)),
            ("namespaces", namespaces(probe)),
            ("landlock", landlock(probe.landlock)),
            ("QEMU sandbox", sandbox(probe.sandbox).to_owned()),
        ],
        Err(error) => vec![("confinement", format!("no: failed to confine a process as guests are: {error}"))],
    }
}

fn privileges(probe: &Probe) -> String {
    let confined = &probe.confined;
    let user = confined.user;
    match (confined.capabilities, confined.no_new_privs) {
        (0, true) => format!("guests run as user {user}, without a capability, and cannot gain any"),
        (left, _) => format!("no: guests run as user {user} with the capabilities {left:x}"),
    }
}

fn namespaces(probe: &Probe) -> String {
    let own = &probe.confined.namespaces;
    let list = |names: Vec<&str>| names.join(", ");
    let has = list(own.iter().copied().collect());
    let Some(obstacle) = probe.obstacle else {
        let root =
            if probe.confined.root { ", and a root directory" } else { "; no: a root directory, mount(2) is refused" };
        return format!("guests have their own: {has}{root}");
    };
    let lacks = list(NAMESPACES.into_iter().filter(|name| !own.contains(name)).collect());
    let has = if has.is_empty() { "no".to_owned() } else { format!("guests have their own: {has}; no: {lacks}") };
    format!("{has}: {}", advice(obstacle))
}

/// What is in the way of namespaces, and what removes it.
fn advice(obstacle: Obstacle) -> &'static str {
    match obstacle {
        Obstacle::Sysctl => {
            "kernel.unprivileged_userns_clone is 0 (to allow them: sysctl -w kernel.unprivileged_userns_clone=1)"
        }
        Obstacle::Limit => "user.max_user_namespaces is 0 (to allow them: sysctl -w user.max_user_namespaces=10000)",
        Obstacle::AppArmor => {
            "kernel.apparmor_restrict_unprivileged_userns is 1 (to allow them: an AppArmor profile for the harness with \
             `userns,`, or sysctl -w kernel.apparmor_restrict_unprivileged_userns=0)"
        }
        Obstacle::Unknown => {
            "unshare(2) is refused, by the seccomp filter of a container, perhaps (docker run --security-opt seccomp=FILE \
             takes one that allows it)"
        }
    }
}

fn landlock(landlock: Landlock) -> String {
    match landlock {
        Landlock::Enforced(version) => {
            let signals = if version >= 6 { ", and signal nobody else" } else { "" };
            format!("version {version}: guests write to a directory of their own, read programs and libraries{signals}")
        }
        Landlock::Disabled => {
            "no: the kernel was started without it (to have it: add landlock to lsm= on the kernel's command line; \
             /sys/kernel/security/lsm shows what is there)"
                .to_owned()
        }
        Landlock::Missing => "no: the kernel was built without it (CONFIG_SECURITY_LANDLOCK, Linux 5.13)".to_owned(),
    }
}

fn sandbox(sandbox: Option<bool>) -> &'static str {
    match sandbox {
        Some(true) => "on, with all that it can deny",
        Some(false) => "no: this QEMU was built without seccomp",
        None => "no QEMU",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use vm::Confined;

    use super::*;

    fn text(probe: &io::Result<Probe>) -> String {
        lines(probe).iter().map(|(name, standing)| format!("{name:<14} {standing}\n")).collect()
    }

    #[test]
    fn each_confinement_is_told_of_and_what_would_allow_it() {
        let confined = Confined {
            user: 65533,
            capabilities: 0,
            bounding: 0,
            no_new_privs: true,
            seccomp: 0,
            namespaces: NAMESPACES.into(),
            root: true,
        };
        let all = Probe { confined, landlock: Landlock::Enforced(7), obstacle: None, sandbox: Some(true) };
        let with = |namespaces: &[&'static str], obstacle, landlock, sandbox| {
            let namespaces: BTreeSet<_> = namespaces.iter().copied().collect();
            let root = namespaces.contains("mnt");
            let confined = Confined { user: 1000, namespaces, root, ..all.confined.clone() };
            Ok(Probe { confined, landlock, obstacle: Some(obstacle), sandbox })
        };
        let none = [
            with(&[], Obstacle::Sysctl, Landlock::Disabled, Some(false)),
            with(&["ipc", "mnt", "net", "uts"], Obstacle::Limit, Landlock::Missing, None),
            with(&[], Obstacle::AppArmor, Landlock::Enforced(1), Some(true)),
            with(&[], Obstacle::Unknown, Landlock::Enforced(6), Some(true)),
            Err(io::Error::from(io::ErrorKind::PermissionDenied)),
        ];
        let texts: Vec<String> = std::iter::once(&Ok(all)).chain(&none).map(text).collect();
        insta::assert_snapshot!(texts.join("\n"));
    }

    #[test]
    fn a_capability_or_a_root_that_is_refused_is_told() {
        let confined = Confined {
            user: 0,
            capabilities: 2,
            bounding: 0,
            no_new_privs: true,
            seccomp: 0,
            namespaces: NAMESPACES.into(),
            root: false,
        };
        let probe = Probe { confined, landlock: Landlock::Missing, obstacle: None, sandbox: None };
        assert_eq!(privileges(&probe), "no: guests run as user 0 with the capabilities 2");
        assert!(namespaces(&probe).contains("no: a root directory"));
    }
}
