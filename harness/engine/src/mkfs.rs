//! Fresh file systems, made on the host by the distribution's own tools, always the same.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use filesystems::{FileSystem, Filesystem, Mkfs};
use storage::{Image, ImageError};

/// Why there is no fresh file system.
#[derive(Debug, thiserror::Error)]
pub enum MkfsError {
    /// The tool is not there.
    #[error("failed to run {tool}: {reason} (Debian has it in {package}; scripts/harness installs it)")]
    NoTool {
        /// `mkfs.ext4` …
        tool: &'static str,
        /// The Debian package that has it.
        package: &'static str,
        /// Why it could not be started.
        reason: std::io::Error,
    },
    /// The tool refused.
    #[error("{tool} failed: {output}")]
    Failed {
        /// `mkfs.ext4` …
        tool: &'static str,
        /// Its output.
        output: String,
    },
    /// The tool refused the user's arguments.
    #[error("{tool} {arguments} failed: {output}")]
    Refused {
        /// `mkfs.ext4` …
        tool: &'static str,
        /// The user's arguments.
        arguments: String,
        /// What it said.
        output: String,
    },
    /// The user's arguments have made what cannot be explored.
    #[error("{filesystem} cannot be explored: {why}")]
    Unexplored {
        /// The file system and its arguments.
        filesystem: String,
        /// Why.
        why: &'static str,
    },
    /// The image could not be written or read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// No room for the image.
    #[error("failed to make a file for a fresh {kind} below {directory}: {source}")]
    File {
        /// The file system.
        kind: &'static str,
        /// The directory in which the image was to be made.
        directory: String,
        /// Why.
        source: std::io::Error,
    },
}

/// The size of a disk, bytes, on which `data` bytes are to be written in the course of a trace. One size for all file
/// systems: which one it is should make no other difference.
pub fn disk_size(data: u64) -> u64 {
    let smallest = filesystems::ALL.iter().map(|filesystem| filesystem.mkfs.smallest).max().unwrap_or_default();
    // A file system that is nearly full behaves in ways of its own.
    smallest.max(data.saturating_mul(6)).next_multiple_of(64 << 20)
}

/// What a tool that makes a file system says of its version, on one line; empty if it says nothing.
pub fn version(tool: &str) -> String {
    let output = vm::program(&[tool]).and_then(|program| Command::new(program).arg("-V").output().ok());
    let said = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    String::from_utf8_lossy(&said).lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ")
}

/// The Debian packages whose tools are missing on this host, for some of these file systems.
pub fn missing_packages(filesystems: &[&'static FileSystem]) -> Vec<&'static str> {
    let there = |tool: &str| vm::program(&[tool]).is_some();
    let all = filesystems.iter().map(|filesystem| &filesystem.mkfs);
    all.filter(|mkfs| !there(mkfs.tool)).map(|mkfs| mkfs.package).collect()
}

/// A fresh file system on a disk of `size` bytes.
///
/// # Errors
/// There is no tool or no room for it; or the user's arguments are refused, by the tool, or because a file system like that
/// cannot be explored.
pub fn mkfs(filesystem: &Filesystem, size: u64) -> Result<Image, MkfsError> {
    let Mkfs { tool, arguments, package, unexplored, .. } = filesystem.kind.mkfs;
    let directory = || std::env::temp_dir().display().to_string();
    let file = |source| MkfsError::File { kind: filesystem.kind.name, directory: directory(), source };
    let image = tempfile::NamedTempFile::new().map_err(file)?;
    image.as_file().set_len(size).map_err(file)?;
    let empty = tempfile::tempdir().map_err(file)?;
    let missing = |reason| MkfsError::NoTool { tool, package, reason };
    // Users' PATH often lacks /sbin.
    let program = vm::program(&[tool]).ok_or_else(|| missing(std::io::ErrorKind::NotFound.into()))?;
    let output = Command::new(program)
        .args(arguments)
        // Those of the user come later: where both say something, theirs holds.
        .args(filesystem.mkfs.split_whitespace())
        .arg(image.path())
        // Without a slash they name no file; and where they could name one all the same, there is none.
        .current_dir(empty.path())
        // 2020-01-01, for e2fsprogs (tune2fs and mke2fs read it) and for xfsprogs and btrfs-progs where they know it.
        .env("E2FSPROGS_FAKE_TIME", "1577836800")
        .env("SOURCE_DATE_EPOCH", "1577836800")
        .output()
        .map_err(missing)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it gave no reason").to_owned();
        let arguments = filesystem.mkfs.clone();
        return Err(match arguments.as_str() {
            "" => MkfsError::Failed { tool, output: said },
            _ => MkfsError::Refused { tool, arguments, output: said },
        });
    }
    let mut head = [0; filesystems::HEAD];
    image.as_file().read_exact_at(&mut head, 0).map_err(file)?;
    if let Some(why) = unexplored(&head, filesystem.commit()) {
        return Err(MkfsError::Unexplored { filesystem: filesystem.to_string(), why });
    }
    Ok(Image::read_raw(Path::new(image.path()))?)
}

#[cfg(test)]
mod tests {
    use testkit::Need;

    use super::*;

    fn made(text: &str) -> Result<Image, MkfsError> {
        mkfs(&text.parse().unwrap(), 512 << 20)
    }

    /// The superblock of ext4 lies at byte 1,024; `s_log_block_size` is 0x18 bytes into it, the block size as a power of two,
    /// counted from 1,024.
    fn block_size(image: &Image) -> u32 {
        let sector = image.sector(2);
        1024 << u32::from_le_bytes(std::array::from_fn(|index| sector[0x18 + index]))
    }

    #[test]
    fn arguments_reach_mkfs_and_what_cannot_be_explored_is_refused() {
        let there = vm::program(&["mkfs.ext4"]).ok_or("there is no mkfs.ext4".to_owned());
        if testkit::given(Need::Mkfs, there).is_none() {
            return;
        }
        assert_eq!(block_size(&made("ext4").unwrap()), 4096);
        assert_eq!(block_size(&made("ext4;mkfs=-b 1024").unwrap()), 1024);
        let refused = |text: &str| made(text).unwrap_err().to_string();
        for asked in ["-O fast_commit", "-O ^has_journal", "-O ^resize_inode,fast_commit"] {
            made(&format!("ext4;mkfs={asked}")).unwrap();
        }
        // What is there is known by the disk, not by the arguments: they say how commits are forced.
        let text = refused("ext4;mkfs=-t ext2");
        assert!(text.starts_with("ext4;mkfs=-t ext2 cannot be explored: it has no journal"), "{text}");
        let text = refused("ext4;mkfs=-O ^has_journal -O has_journal");
        assert!(text.contains("it has a journal"), "{text}");
        let text = refused("ext4;mkfs=-O no_such_feature");
        assert!(text.starts_with("mkfs.ext4 -O no_such_feature failed: "), "{text}");
    }
}
