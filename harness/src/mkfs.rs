//! Fresh file systems, made on the host by the distribution's own tools, always the same.

use std::path::Path;
use std::process::Command;

use disk::{Image, ImageError};
use protocol::Filesystem;

/// The file systems that can be made here.
pub const KINDS: [&str; 3] = ["ext4", "xfs", "btrfs"];

/// Names and seeds that would differ from run to run for no reason.
const UUID: &str = "c0ffee00-0000-4000-8000-000000000001";

/// Bytes of the smallest disk: xfs takes no less than 300 MiB (mkfs.xfs 5.19), and ext4 changes its defaults at 512.
const SMALLEST: u64 = 512 << 20;

/// Why there is no fresh file system.
#[derive(Debug, thiserror::Error)]
pub enum MkfsError {
    /// Not one of [`KINDS`].
    #[error("unknown file system {name:?}: supported: {}", KINDS.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// The tool is not there.
    #[error("failed to run {tool}: {reason} (Debian has it in {package}; scripts/harness installs it)")]
    NoTool {
        /// `mkfs.ext4` …
        tool: String,
        /// The Debian package.
        package: &'static str,
        /// Why.
        reason: std::io::Error,
    },
    /// The tool refused.
    #[error("{tool} failed: {output}")]
    Failed {
        /// `mkfs.ext4` …
        tool: String,
        /// What it said.
        output: String,
    },
    /// The image could not be written or read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// No room for the image.
    #[error("failed to make a file for a fresh {kind} below {directory}: {source}")]
    File {
        /// The file system.
        kind: String,
        /// Where.
        directory: String,
        /// Why.
        source: std::io::Error,
    },
}

/// The size of a disk, bytes, on which `data` bytes are to be written in the course of a trace.
pub fn disk_size(data: u64) -> u64 {
    // A file system that is nearly full behaves in ways of its own.
    SMALLEST.max(data.saturating_mul(6)).next_multiple_of(64 << 20)
}

/// Whether data that replace others go to the same blocks, directly: neither copied on write nor journaled.
pub fn overwrites_in_place(filesystem: &Filesystem) -> bool {
    let journaled = filesystem.options.split(',').any(|option| option == "data=journal");
    matches!(filesystem.kind.as_str(), "ext4" | "xfs") && !journaled
}

/// The tool that makes this file system, its arguments, and the Debian package that has it.
fn tool(kind: &str) -> Option<(&'static str, Vec<&'static str>, &'static str)> {
    Some(match kind {
        // Without lazy initialisation the kernel would write zeros in the background. Blocks of 4096 bytes, as on
        // any disk that is larger than ours.
        "ext4" => (
            "mkfs.ext4",
            vec![
                "-q",
                "-F",
                "-b",
                "4096",
                "-U",
                UUID,
                "-E",
                "lazy_itable_init=0,lazy_journal_init=0,nodiscard,hash_seed=c0ffee00-0000-4000-8000-000000000002",
            ],
            "e2fsprogs",
        ),
        "xfs" => ("mkfs.xfs", vec!["-q", "-f", "-K", "-m", "uuid=c0ffee00-0000-4000-8000-000000000001"], "xfsprogs"),
        "btrfs" => ("mkfs.btrfs", vec!["-q", "-f", "-K", "-U", UUID], "btrfs-progs"),
        _ => return None,
    })
}

/// The name of the tool that makes this file system.
pub fn tool_of(kind: &str) -> Option<&'static str> {
    tool(kind).map(|(tool, ..)| tool)
}

/// What the tool that makes this file system says of its version, on one line; empty if it says nothing.
pub fn version(kind: &str) -> String {
    let output = tool_of(kind).and_then(|tool| Command::new(vm::program(&[tool])?).arg("-V").output().ok());
    let said = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    String::from_utf8_lossy(&said).lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ")
}

/// The Debian packages whose tools are missing on this host.
pub fn missing_packages() -> Vec<&'static str> {
    let there = |tool: &str| vm::program(&[tool]).is_some();
    KINDS.iter().filter_map(|kind| tool(kind)).filter(|(tool, ..)| !there(tool)).map(|(.., package)| package).collect()
}

/// A fresh file system on a disk of `size` bytes.
pub fn mkfs(filesystem: &Filesystem, size: u64) -> Result<Image, MkfsError> {
    let kind = &filesystem.kind;
    let (tool, arguments, package) = tool(kind).ok_or_else(|| MkfsError::Unknown { name: kind.clone() })?;
    let file =
        |source| MkfsError::File { kind: kind.clone(), directory: std::env::temp_dir().display().to_string(), source };
    let image = tempfile::NamedTempFile::new().map_err(file)?;
    image.as_file().set_len(size).map_err(file)?;
    let missing = |reason| MkfsError::NoTool { tool: tool.into(), package, reason };
    // Users' PATH often lacks /sbin.
    let program = vm::program(&[tool]).ok_or_else(|| missing(std::io::ErrorKind::NotFound.into()))?;
    let output = Command::new(program)
        .args(arguments)
        .arg(image.path())
        // 2020-01-01, for e2fsprogs (tune2fs and mke2fs read it) and for xfsprogs and btrfs-progs where they know it.
        .env("E2FSPROGS_FAKE_TIME", "1577836800")
        .env("SOURCE_DATE_EPOCH", "1577836800")
        .output()
        .map_err(missing)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it gave no reason").to_owned();
        return Err(MkfsError::Failed { tool: tool.into(), output: said });
    }
    Ok(Image::read_raw(Path::new(image.path()))?)
}
