//! Where cargo leaves what a workload's build makes.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf, absolute};

/// Cargo's target directory for a workload in `directory`: `variable`, the value of `CARGO_TARGET_DIR`, or `target` in the nearest
/// cargo workspace around it, or else in the nearest package. `None` if there is none of these.
///
/// The build is given the result as `CARGO_TARGET_DIR`, so that cargo's own configuration files cannot lead it elsewhere.
pub(crate) fn target_directory(directory: &Path, variable: Option<&OsStr>) -> Option<PathBuf> {
    if let Some(value) = variable.filter(|value| !value.is_empty()) {
        return absolute(value).ok();
    }
    let mut package = None;
    for ancestor in directory.ancestors() {
        let Ok(text) = fs::read_to_string(ancestor.join("Cargo.toml")) else { continue };
        if text.parse::<toml::Table>().is_ok_and(|manifest| manifest.contains_key("workspace")) {
            return Some(ancestor.join("target"));
        }
        package.get_or_insert(ancestor);
    }
    package.map(|package| package.join("target"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_wins_then_the_workspace_then_the_package() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let root = place.path();
        let inner = root.join("outer/package/inner");
        fs::create_dir_all(&inner).expect("a directory");
        assert_eq!(target_directory(&inner, None), None);
        fs::write(root.join("outer/package/Cargo.toml"), "[package]\n").expect("a file");
        assert_eq!(target_directory(&inner, None), Some(root.join("outer/package/target")));
        fs::write(root.join("outer/Cargo.toml"), "[workspace]\n").expect("a file");
        assert_eq!(target_directory(&inner, None), Some(root.join("outer/target")));
        assert_eq!(target_directory(&inner, Some(OsStr::new(""))), Some(root.join("outer/target")));
        assert_eq!(target_directory(&inner, Some(OsStr::new("/elsewhere"))), Some("/elsewhere".into()));
        assert_eq!(target_directory(&inner, Some(OsStr::new("here"))), absolute("here").ok());
    }
}
