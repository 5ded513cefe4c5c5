//! The initramfs: the agent as `/init`, and the modules it loads.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::{AGENT, BuildError, Module, cached};

/// An initramfs with the agent and `modules`, in their order, as a file in the directory `cache`.
///
/// # Errors
/// The cache cannot be written.
pub fn initramfs(cache: &Path, modules: &[Module]) -> Result<PathBuf, BuildError> {
    let mut files = vec![("init".to_owned(), 0o755, AGENT)];
    for (index, Module { file, content }) in modules.iter().enumerate() {
        files.push((format!("modules/{index:02}-{file}"), 0o644, content.as_slice()));
    }
    let archive = archive(&files).map_err(|source| BuildError::new("pack", Path::new("an initramfs"), source))?;
    cached(cache, "initramfs", "cpio", &archive)
}

/// A `newc` archive (Documentation/driver-api/early-userspace/buffer-format.rst), with the console node that the
/// kernel gives process 1 as its standard streams.
fn archive(files: &[(String, u32, &[u8])]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut inode = 1;
    let mut put = |builder: cpio::NewcBuilder, content: &[u8]| -> io::Result<()> {
        let mut writer = builder.ino(inode).write(&mut bytes, content.len() as u32);
        inode += 1;
        writer.write_all(content)?;
        writer.finish().map(drop)
    };
    for directory in ["dev", "modules"] {
        put(cpio::NewcBuilder::new(directory).mode(0o040_755), &[])?;
    }
    put(cpio::NewcBuilder::new("dev/console").mode(0o020_600).rdev_major(5).rdev_minor(1), &[])?;
    for (name, mode, content) in files {
        put(cpio::NewcBuilder::new(name).mode(0o100_000 | mode), content)?;
    }
    cpio::newc::trailer(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn same_content_is_built_once() {
        let cache = tempfile::tempdir().unwrap();
        let module = |content: &[u8]| [Module { file: "a.ko".into(), content: content.to_vec() }];
        let first = initramfs(cache.path(), &module(b"module")).unwrap();
        let written = fs::metadata(&first).unwrap().modified().unwrap();
        assert_eq!(initramfs(cache.path(), &module(b"module")).unwrap(), first);
        assert_eq!(fs::metadata(&first).unwrap().modified().unwrap(), written);
        assert_ne!(initramfs(cache.path(), &module(b"other")).unwrap(), first);
    }

    #[test]
    fn the_agent_is_static() {
        let text = String::from_utf8_lossy(AGENT);
        assert!(!text.contains("/lib64/ld-linux"), "the guest has no dynamic loader");
    }
}
