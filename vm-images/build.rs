//! Builds what runs outside this workspace's own process: the guest agent, a static program that the initramfs holds,
//! and the shared object that User Mode Linux is started with. The harness carries both within itself.
//!
//! They need other flags than the rest of the workspace, so a cargo of their own builds them, in directories of their
//! own, from the same lock file.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

const TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() {
    let workspace = variable("CARGO_MANIFEST_DIR").join("..");
    for source in [
        "vm-images/agent",
        "vm-images/protocol",
        "vm-images/uml-ptrace",
        "checker",
        "harness/filesystems",
        "harness/program",
    ] {
        for part in ["src", "Cargo.toml"] {
            println!("cargo::rerun-if-changed={}", workspace.join(source).join(part).display());
        }
    }
    println!("cargo::rerun-if-changed={}", workspace.join("Cargo.lock").display());

    let agent = build(&workspace, "guest-agent", "-C target-feature=+crt-static", "guest-agent");
    println!("cargo::rustc-env=GUEST_AGENT={}", agent.display());
    let preload = build(&workspace, "uml-ptrace", "", "libuml_ptrace.so");
    println!("cargo::rustc-env=UML_PTRACE={}", preload.display());
}

fn variable(name: &str) -> PathBuf {
    PathBuf::from(env::var_os(name).unwrap_or_default())
}

/// Builds one package of the workspace and says where what it makes is.
fn build(workspace: &Path, package: &str, flags: &str, artifact: &str) -> PathBuf {
    let target = variable("OUT_DIR").join(package);
    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .args(["build", "--release", "--locked", "--package", package, "--target", TARGET, "--target-dir"])
        .arg(&target)
        .current_dir(workspace)
        .env("RUSTFLAGS", format!("{flags} -C strip=symbols"))
        // What the outer build says about itself must not leak into this one.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        .env_remove("RUSTC_WORKSPACE_WRAPPER");
    match cargo.status() {
        Ok(status) if status.success() => {}
        Ok(status) => fail(&format!("failed to build {package}: {status} (see above)")),
        Err(error) => fail(&format!("failed to run cargo for {package}: {error}")),
    }
    let artifact = target.join(TARGET).join("release").join(artifact);
    if !artifact.is_file() {
        fail(&format!("the build of {package} left no {}", artifact.display()));
    }
    artifact
}

fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(1);
}
