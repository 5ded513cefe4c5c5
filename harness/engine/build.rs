//! Names the build: what a run has found is not mixed with what another build would find.
//!
//! By the sources and the lock file, so that two builds of one commit have one name wherever they were made.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

fn main() {
    let workspace = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../..");
    let mut sources = vec![workspace.join("Cargo.lock")];
    for part in ["checker", "harness", "vm-images"] {
        collect(&workspace.join(part), &mut sources);
    }
    sources.sort();
    let mut hasher = Sha256::new();
    for path in &sources {
        // A new file comes with a change to one that is there.
        println!("cargo::rerun-if-changed={}", path.display());
        let name = path.strip_prefix(&workspace).unwrap_or(path);
        hasher.update(name.to_string_lossy().as_bytes());
        hasher.update(fs::read(path).unwrap_or_default());
    }
    println!("cargo::rustc-env=HARNESS_BUILD={}", hex::encode(&hasher.finalize()[..6]));
}

/// The sources of programs: tests and examples change nothing that a run finds.
fn collect(directory: &Path, sources: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            if !["tests", "examples", "bench", "snapshots"].iter().any(|other| path.ends_with(other)) {
                collect(&path, sources);
            }
        } else if path.extension().is_some_and(|end| end == "rs" || end == "toml") && !path.ends_with("tests.rs") {
            sources.push(path);
        }
    }
}
