//! What `scripts/lib.sh` does on machines that lack something, with apt-get and the look for programs replaced.

use std::path::Path;
use std::process::Command;

const LIBRARY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/lib.sh");

/// Runs `script` after `scripts/lib.sh` was read, on a machine that is full but for the programs `missing`; as root if
/// `root`. apt-get says what it was asked, and installs everything that it knows: not user-mode-linux.
fn set_up(root: bool, missing: &str, script: &str, home: &Path) -> String {
    let prelude = r#"
        set -euo pipefail
        source "$1"
        absent=" $2 "
        root=$3
        has() { [[ $absent != *" $1 "* ]]; }
        is_root() { $root; }
        apt_knows() { [[ " $* " != *" user-mode-linux "* ]]; }
        apt() { echo "apt-get $*" >&2; if [[ $1 = install ]]; then absent=" linux.uml "; fi; }
        fetch_kernel() { :; }
    "#;
    let output = Command::new("bash")
        .args(["-c", &format!("{prelude}\n{script}"), "-", LIBRARY, missing, if root { "true" } else { "false" }])
        .env("HOME", home)
        .env_remove("XDG_CACHE_HOME")
        .env_remove("CARGO_HOME")
        .env_remove("HARNESS_KERNELS")
        .env("CARGO_TARGET_DIR", home.join("built"))
        .output()
        .expect("bash starts");
    let text = String::from_utf8_lossy(&output.stderr).replace(&*home.to_string_lossy(), "[HOME]");
    format!("{text}{}exit status {}\n", String::from_utf8_lossy(&output.stdout), output.status.code().unwrap_or(-1))
}

#[test]
fn a_machine_that_lacks_something_is_told_what() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let home = home.path().canonicalize().expect("it exists");
    let run = |root: bool, missing: &str| set_up(root, missing, "set_up", &home);
    let told = [
        ("nothing is missing", run(false, "")),
        ("no root, no mkfs.xfs and no QEMU", run(false, "mkfs.xfs qemu-system-x86_64")),
        ("no root, no QEMU: User Mode Linux will do", run(false, "qemu-system-x86_64")),
        ("no root, no User Mode Linux: QEMU will do", run(false, "linux.uml")),
        ("no root, neither", run(false, "linux.uml qemu-system-x86_64")),
        ("no root, no apt-get", run(false, "apt-get cc")),
        ("root", run(true, "mkfs.xfs python3")),
        ("root, one package that apt-get does not know", run(true, "mkfs.xfs linux.uml")),
        ("root, no cargo", run(true, "cargo cc")),
        ("no root, no cargo", run(false, "cargo")),
        ("no root, no cargo, no linker", run(false, "cargo cc")),
    ];
    let told = told.map(|(what, text)| format!("--- {what}\n{text}"));
    insta::assert_snapshot!(told.concat());
}

#[test]
fn directories_are_found_where_they_can_be_made() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let home = home.path().canonicalize().expect("it exists");
    let show = "choose_directories; for name in TARGET CARGO_TARGET_DIR HARNESS_KERNELS CARGO_HOME; do \
                printf '%s=%s\\n' $name \"${!name-}\"; done";
    let shown = |change: &str| {
        let text = set_up(false, "", &format!("cd \"$HOME\"; {change}; {show}"), &home);
        text.replace(&*home.to_string_lossy(), "[HOME]")
    };
    let told = [
        ("as it is", shown(":")),
        ("no target directory chosen", shown("unset CARGO_TARGET_DIR; ROOT=$HOME/checkout")),
        ("nor can it be made in the checkout", shown("unset CARGO_TARGET_DIR; ROOT=/proc")),
        ("a cache elsewhere", shown("XDG_CACHE_HOME=$HOME/other")),
        ("a relative target directory", shown("CARGO_TARGET_DIR=here")),
        ("no home", shown("unset HOME")),
        ("a home that cannot be written to", shown("HOME=/proc")),
        ("kernels elsewhere", shown("HARNESS_KERNELS=/somewhere")),
        ("a target directory that cannot be written to", shown("CARGO_TARGET_DIR=/proc/none")),
    ];
    let told = told.map(|(what, text)| format!("--- {what}\n{text}"));
    insta::assert_snapshot!(told.concat());
}
