//! Kernel modules: which others one needs, and in what order to load them.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSection};

use crate::compression::Compression;

/// A module that a guest's kernel can load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// What its file is called, without any compression: `ext4.ko`.
    pub file: String,
    /// The object file, not compressed.
    pub content: Vec<u8>,
}

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
    #[error(
        "the kernel of {directory} has no module {name}, neither as a file nor built in: use another kernel \
         (--vm uml, or --kernel: that of Debian's linux-image-amd64 has what its cloud kernel lacks)"
    )]
    Missing {
        /// The module's name.
        name: String,
        /// The kernel's module directory.
        directory: PathBuf,
    },
    /// A compressed module holds something else than what its name says.
    #[error("failed to decompress the kernel module {path}: {source}: install the kernel's package once more")]
    Compressed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A module is no object file that says what it needs.
    #[error("failed to read what the kernel module {path} needs: {reason}: install the kernel's package once more")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// The modules `wanted` and all that they need, each after those that it needs. Modules that are built into the kernel have
/// no file. `directory` is `/lib/modules/RELEASE`, as unpacked; no `modules.dep` is needed.
///
/// # Errors
/// One of them is missing, or its file cannot be read.
pub fn closure(directory: &Path, wanted: &[&str]) -> Result<Vec<Module>, ModuleError> {
    let mut files = HashMap::new();
    collect(directory, &mut files)?;
    let builtin = fs::read_to_string(directory.join("modules.builtin")).unwrap_or_default();
    let builtin = builtin.lines().filter_map(|line| Some(parse(Path::new(line))?.0)).collect();
    let mut order = Order { directory, files, builtin, visited: Vec::new(), modules: Vec::new() };
    for name in wanted {
        order.visit(&canonical(name))?;
    }
    Ok(order.modules)
}

/// Modules on the way into their order.
struct Order<'a> {
    directory: &'a Path,
    /// All that are there, by name.
    files: HashMap<String, (PathBuf, Compression)>,
    /// The names of those that are built into the kernel.
    builtin: Vec<String>,
    /// The names of those that are in `modules`, or on their way there.
    visited: Vec<String>,
    modules: Vec<Module>,
}

impl Order<'_> {
    /// Adds what a module needs, and then the module.
    fn visit(&mut self, name: &str) -> Result<(), ModuleError> {
        if self.visited.iter().any(|visited| visited == name) {
            return Ok(());
        }
        let Some((path, compression)) = self.files.get(name).cloned() else {
            if self.builtin.iter().any(|module| module == name) {
                return Ok(());
            }
            return Err(ModuleError::Missing { name: name.to_owned(), directory: self.directory.to_path_buf() });
        };
        self.visited.push(name.to_owned());
        let file = fs::read(&path).map_err(|source| ModuleError::Io { path: path.clone(), source })?;
        let content =
            compression.decompress(file).map_err(|source| ModuleError::Compressed { path: path.clone(), source })?;
        for needed in needs(&content).map_err(|reason| ModuleError::Malformed { path, reason })? {
            self.visit(&needed)?;
        }
        self.modules.push(Module { file: format!("{name}.ko"), content });
        Ok(())
    }
}

/// The `depends=` entry of a module's section `.modinfo`, whose entries are C strings one after the other
/// (include/linux/moduleparam.h, `__MODULE_INFO`).
fn needs(module: &[u8]) -> Result<Vec<String>, String> {
    let object = object::File::parse(module).map_err(|error| format!("it is no object file: {error}"))?;
    let section = object.section_by_name(".modinfo").ok_or("it has no section .modinfo")?;
    let entries = section.data().map_err(|error| format!("its section .modinfo cannot be read: {error}"))?;
    let lists = entries.split(|&byte| byte == 0).filter_map(|entry| entry.strip_prefix(b"depends="));
    let lists: Vec<_> = lists.map(String::from_utf8_lossy).collect();
    let names = lists.iter().flat_map(|list| list.split(',')).filter(|name| !name.is_empty());
    Ok(names.map(canonical).collect())
}

/// Every module file below `directory`, by name.
fn collect(directory: &Path, files: &mut HashMap<String, (PathBuf, Compression)>) -> Result<(), ModuleError> {
    let fail = |source| ModuleError::Io { path: directory.to_path_buf(), source };
    for entry in fs::read_dir(directory).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let path = entry.path();
        if entry.file_type().map_err(fail)?.is_dir() {
            collect(&path, files)?;
        } else if let Some((name, compression)) = parse(&path) {
            files.insert(name, (path, compression));
        }
    }
    Ok(())
}

/// `kernel/fs/ext4/ext4.ko.xz` is `ext4`, compressed with xz; anything that is not a module has no name.
fn parse(path: &Path) -> Option<(String, Compression)> {
    let (name, suffix) = path.file_name()?.to_str()?.split_once(".ko")?;
    Some((canonical(name), Compression::of_suffix(suffix)?))
}

/// The kernel takes `-` and `_` in module names for the same.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use object::write::Object;
    use object::{Architecture, BinaryFormat, Endianness, SectionKind};

    use super::*;
    use crate::compression::tests::compressed;

    /// A module that needs these others.
    fn module(name: &str, depends: &str) -> Vec<u8> {
        let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
        // What looks like an entry elsewhere is none.
        let data = object.add_section(vec![], b".rodata".to_vec(), SectionKind::ReadOnlyData);
        object.append_section_data(data, b"\0depends=nothing\0", 1);
        let section = object.add_section(vec![], b".modinfo".to_vec(), SectionKind::ReadOnlyData);
        let text = format!("license=GPL\0depends={depends}\0name={name}\0");
        object.append_section_data(section, text.as_bytes(), 1);
        object.write().unwrap()
    }

    fn names(modules: &[Module]) -> Vec<&str> {
        modules.iter().map(|module| module.file.as_str()).collect()
    }

    #[test]
    fn orders_modules_after_what_they_need() {
        let directory = tempfile::tempdir().unwrap();
        let put = |name: &str, depends: &str| {
            fs::write(directory.path().join(format!("{name}.ko")), module(name, depends)).unwrap();
        };
        put("virtio_blk", "");
        put("btrfs", "xor,raid6_pq,built-in");
        put("xor", "");
        put("raid6_pq", "xor");
        fs::write(directory.path().join("modules.builtin"), "kernel/lib/built_in.ko\n").unwrap();
        let modules = closure(directory.path(), &["virtio-blk", "btrfs"]).unwrap();
        assert_eq!(names(&modules), ["virtio_blk.ko", "xor.ko", "raid6_pq.ko", "btrfs.ko"]);
        assert_eq!(modules[3].content, module("btrfs", "xor,raid6_pq,built-in"));
        let error = closure(directory.path(), &["xfs"]).unwrap_err();
        assert!(error.to_string().contains("no module xfs"), "{error}");
    }

    #[test]
    fn compressed_modules_are_as_if_they_were_not() {
        let directory = tempfile::tempdir().unwrap();
        let all = [("base", ""), ("middle", "base"), ("top", "middle")];
        for (index, (name, depends)) in all.into_iter().enumerate() {
            let (suffix, file) = &compressed(&module(name, depends))[index];
            fs::write(directory.path().join(format!("{name}.ko{suffix}")), file).unwrap();
        }
        let wanted = all.map(|(name, depends)| Module { file: format!("{name}.ko"), content: module(name, depends) });
        assert_eq!(closure(directory.path(), &["top"]).unwrap(), wanted);
    }

    #[test]
    fn what_is_no_module_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let told = |file: &str, content: &[u8]| {
            let path = directory.path().join(file);
            fs::write(&path, content).unwrap();
            let error = closure(directory.path(), &["m"]).unwrap_err().to_string();
            fs::remove_file(&path).unwrap();
            assert!(error.contains(path.to_str().unwrap()), "{error}");
            error
        };
        for suffix in [".gz", ".xz", ".zst"] {
            let error = told(&format!("m.ko{suffix}"), &module("m", ""));
            assert!(error.starts_with("failed to decompress"), "{error}");
        }
        let error = told("m.ko", b"license=GPL\0depends=\0");
        assert!(error.contains("it is no object file"), "{error}");
        let empty = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little).write().unwrap();
        assert!(told("m.ko", &empty).contains("no section .modinfo"));
    }
}
