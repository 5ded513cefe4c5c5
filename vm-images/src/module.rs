//! Kernel modules: which others one needs, and in what order to load them.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why a set of modules could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// The file system refused.
    #[error("failed to read kernel modules below {path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Neither there as a file nor built into the kernel.
    #[error("the kernel of {directory} has no module {name}, neither as a file nor built in: use another kernel")]
    Missing {
        /// The module's name.
        name: String,
        /// The kernel's module directory.
        directory: PathBuf,
    },
    /// Compressed modules would have to be unpacked by a kernel that may not be able to.
    #[error("{path} is compressed: unpack the modules, or use a kernel whose modules are not compressed")]
    Compressed {
        /// The file.
        path: PathBuf,
    },
}

/// The files of `wanted` and of all they need, each after those it needs. Modules that are built into the kernel have
/// no file. `directory` is `/lib/modules/RELEASE`, as unpacked; no `modules.dep` is needed.
pub fn closure(directory: &Path, wanted: &[&str]) -> Result<Vec<PathBuf>, ModuleError> {
    let mut files = HashMap::new();
    collect(directory, &mut files)?;
    let builtin = fs::read_to_string(directory.join("modules.builtin")).unwrap_or_default();
    let builtin: Vec<String> = builtin.lines().filter_map(|line| name_of(Path::new(line))).collect();
    let mut ordered = Vec::new();
    for name in wanted {
        visit(&canonical(name), directory, &files, &builtin, &mut ordered)?;
    }
    Ok(ordered)
}

fn visit(
    name: &str,
    directory: &Path,
    files: &HashMap<String, PathBuf>,
    builtin: &[String],
    ordered: &mut Vec<PathBuf>,
) -> Result<(), ModuleError> {
    let Some(path) = files.get(name) else {
        if builtin.iter().any(|module| module == name) {
            return Ok(());
        }
        return Err(ModuleError::Missing { name: name.to_owned(), directory: directory.to_path_buf() });
    };
    if ordered.contains(path) {
        return Ok(());
    }
    if path.extension().is_some_and(|extension| extension != "ko") {
        return Err(ModuleError::Compressed { path: path.clone() });
    }
    let bytes = fs::read(path).map_err(|source| ModuleError::Io { path: path.clone(), source })?;
    for needed in needs(&bytes) {
        visit(&needed, directory, files, builtin, ordered)?;
    }
    ordered.push(path.clone());
    Ok(())
}

/// The `depends=` entry of a module's `.modinfo`, whose entries are C strings one after the other.
fn needs(module: &[u8]) -> Vec<String> {
    let mut needed = Vec::new();
    for entry in module.split(|&byte| byte == 0) {
        if let Some(list) = entry.strip_prefix(b"depends=") {
            let list = String::from_utf8_lossy(list);
            needed.extend(list.split(',').filter(|name| !name.is_empty()).map(canonical));
        }
    }
    needed
}

/// Every module file below `directory`, by name.
fn collect(directory: &Path, files: &mut HashMap<String, PathBuf>) -> Result<(), ModuleError> {
    let fail = |source| ModuleError::Io { path: directory.to_path_buf(), source };
    for entry in fs::read_dir(directory).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let path = entry.path();
        if entry.file_type().map_err(fail)?.is_dir() {
            collect(&path, files)?;
        } else if let Some(name) = name_of(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// `kernel/fs/ext4/ext4.ko.xz` is `ext4`; anything that is not a module has no name.
fn name_of(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let (name, rest) = file.split_once(".ko")?;
    matches!(rest, "" | ".xz" | ".gz" | ".zst").then(|| canonical(name))
}

/// The kernel takes `-` and `_` in module names for the same.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_modules_after_what_they_need() {
        let directory = tempfile::tempdir().unwrap();
        let put = |name: &str, depends: &str| {
            let text = format!("license=GPL\0depends={depends}\0name={name}\0");
            fs::write(directory.path().join(format!("{name}.ko")), text).unwrap();
        };
        put("virtio_blk", "");
        put("btrfs", "xor,raid6_pq,built-in");
        put("xor", "");
        put("raid6_pq", "xor");
        fs::write(directory.path().join("modules.builtin"), "kernel/lib/built_in.ko\n").unwrap();
        let files = closure(directory.path(), &["virtio-blk", "btrfs"]).unwrap();
        let names: Vec<_> = files.iter().filter_map(|path| name_of(path)).collect();
        assert_eq!(names, ["virtio_blk", "xor", "raid6_pq", "btrfs"]);
        let error = closure(directory.path(), &["xfs"]).unwrap_err();
        assert!(error.to_string().contains("no module xfs"), "{error}");
    }
}
