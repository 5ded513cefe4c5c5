//! `harness gc`: removes the results of old runs, and what can be made anew.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::store::old::{self, Fate};
use report::ExitStatus;
use vm::Paths;

use super::{Failure, show::print};
use crate::cli;

/// What is younger than that in the cache may be what a run is about to use.
const YOUNG: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes all runs but the newest ones, and, if asked, what guests boot from.
pub fn gc(arguments: &cli::Gc) -> Result<ExitStatus, Failure> {
    let cli::Gc { results, keep, dry_run, cache } = arguments;
    let runs = match old::runs(results) {
        Ok(runs) => runs,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            return Err(Failure::io(&error, format!("failed to look for runs in {}: {error}", results.display())));
        }
    };
    let (kept, old) = runs.split_at(runs.len().min(*keep));
    let cached = if *cache { cached(&Paths::from_environment().cache) } else { Vec::new() };
    let fates = old.iter().map(|run| (run, old::remove(run, *dry_run)));
    let fates = fates.chain(cached.iter().map(|file| (file, remove_file(file, *dry_run))));
    let verb = if *dry_run { "would remove" } else { "removed" };
    let mut text = String::new();
    let mut status = ExitStatus::Holds;
    let mut freed = 0;
    for (path, fate) in fates {
        let path = path.display();
        text.push_str(&match fate {
            Fate::Removed(bytes) => {
                freed += bytes;
                format!("{verb} {path}: {}\n", size(bytes))
            }
            Fate::Busy => format!("left {path}: a run is at work in it\n"),
            Fate::Failed(error) => {
                status = ExitStatus::Machine;
                format!("failed to remove {path}: {error}\n")
            }
        });
    }
    if !dry_run {
        unlink_dangling(results);
    }
    text.push_str(&format!("{verb} {} in all; kept the newest {} of {} runs\n", size(freed), kept.len(), runs.len()));
    print(&text)?;
    Ok(status)
}

/// Removes a file, as [`old::remove`] removes a run.
fn remove_file(file: &Path, dry: bool) -> Fate {
    let bytes = fs::symlink_metadata(file).map_or(0, |about| about.len());
    match if dry { Ok(()) } else { fs::remove_file(file) } {
        Ok(()) => Fate::Removed(bytes),
        Err(error) => Fate::Failed(error.to_string()),
    }
}

/// What the harness has made in its cache and makes again when it needs it: all files in it but young ones. Unpacked kernels are
/// in a directory of their own.
fn cached(cache: &Path) -> Vec<PathBuf> {
    let is_old = |path: &PathBuf| {
        let about = fs::symlink_metadata(path);
        about.is_ok_and(|about| {
            let age = about.modified().ok().and_then(|modified| modified.elapsed().ok());
            about.is_file() && age.is_some_and(|age| age > YOUNG)
        })
    };
    let entries = fs::read_dir(cache).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_old).collect();
    files.sort();
    files
}

/// Removes `latest`, beside the runs, if the run that it leads to is gone.
fn unlink_dangling(runs: &Path) {
    let Some(link) = runs.parent().map(|parent| parent.join("latest")) else { return };
    if fs::symlink_metadata(&link).is_ok_and(|about| about.is_symlink()) && fs::metadata(&link).is_err() {
        let _ = fs::remove_file(link);
    }
}

/// Bytes, for people.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_the_unit_that_fits() {
        assert_eq!([0, 1536, 3 << 20, 5 << 40].map(size), ["0.0 KiB", "1.5 KiB", "3.0 MiB", "5.0 TiB"]);
    }
}
