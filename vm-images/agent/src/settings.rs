//! What is set in the guest's kernel before a file system is mounted, and once it is.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use protocol::Recipe;

/// Makes the settings of a recipe. What is set already is left alone, so that each mount but the first costs a look only.
///
/// # Errors
/// A file that is there cannot be read, or does not take the value. No kernel that the harness knows refuses, so this is a
/// fault of the harness or of the guest, and never a finding about a disk.
pub fn prepare(filesystem: &Recipe) -> Result<(), String> {
    filesystem.settings.iter().try_for_each(|(file, value)| set(file, value))
}

/// Makes those settings of a recipe that are there once it is mounted from `disk`.
///
/// # Errors
/// As [`prepare`].
pub fn once_mounted(filesystem: &Recipe, disk: &Path) -> Result<(), String> {
    let device = disk.file_name().unwrap_or_default().to_string_lossy();
    filesystem.mounted.iter().try_for_each(|(file, value)| set(&file.replace("{device}", &device), value))
}

fn set(file: &str, value: &str) -> Result<(), String> {
    match fs::read_to_string(file) {
        Ok(is) if is.trim() == value => Ok(()),
        Ok(_) => fs::write(file, value).map_err(|error| format!("failed to write {value} to {file}: {error}")),
        // The kernel has no such setting. Modules have been loaded by now, and with them came theirs.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("failed to read {file}, which is to be {value}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use protocol::{AfterUnmount, BeforeSync, CommitBy, FlushCovers, Handling, WarmUp};

    use super::*;

    fn recipe(file: &str) -> Recipe {
        let handling = Handling {
            commit: CommitBy::FsyncOfUnrelatedFile,
            warm_up: WarmUp::Wait,
            before_sync: BeforeSync::Nothing,
            after_unmount: AfterUnmount::Nothing,
            flush_covers: FlushCovers::Completed,
        };
        let [name, options, execution, observation] = ["fs", "", "", ""].map(String::from);
        let settings = vec![(file.into(), "720000".into())];
        Recipe { name, options, execution, observation, settings, mounted: vec![], handling, fast_commit: None }
    }

    #[test]
    fn a_setting_is_made_where_it_is_there_and_a_failure_is_an_error() {
        let directory = std::env::temp_dir().join(format!("agent-settings-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("interval").to_str().unwrap().to_owned();
        assert_eq!(prepare(&recipe(&file)), Ok(()), "there is no such setting");
        assert!(!fs::exists(&file).unwrap());
        fs::write(&file, "3000\n").unwrap();
        assert_eq!(prepare(&recipe(&file)), Ok(()));
        assert_eq!(fs::read_to_string(&file).unwrap(), "720000");
        // A file of /proc that takes no writing, whoever asks.
        let error = prepare(&recipe("/proc/sys/kernel/osrelease")).unwrap_err();
        assert!(error.contains("/proc/sys/kernel/osrelease"), "{error}");
        let error = prepare(&recipe(directory.to_str().unwrap())).unwrap_err();
        assert!(error.starts_with("failed to read"), "{error}");
        fs::remove_dir_all(&directory).unwrap();
    }
}
