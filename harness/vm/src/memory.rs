//! For the memory of how many guests there is room.
//!
//! It is a file in memory that no file system limits (memfd_create(2)), of which the host gives what a guest has touched. On
//! one that has a limit, like /dev/shm, whoever touches a page too many is killed by SIGBUS: the guest, or this process,
//! whose disk fills the guest's pages. Where the host's memory ends, it kills somebody, too. So a run starts no more guests
//! than all of whose memory there is room for.

use std::fs;
use std::path::{Path, PathBuf};

use crate::machine::MEMORY;

/// The memory of a guest, bytes.
const GUEST: u64 = (MEMORY as u64) << 20;

/// Where cgroups are mounted (file-hierarchy(7)).
const CGROUPS: &str = "/sys/fs/cgroup";

/// How many guests this host, or the control group that this process is in, has memory for now. At least one, which may then
/// find that there is not enough.
pub fn room() -> usize {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let host = kibibytes(&read("/proc/meminfo"), "MemAvailable:");
    let groups = groups(&read("/proc/self/cgroup"), Path::new(CGROUPS));
    let left = groups.iter().filter_map(|group| group.left()).chain(host).min().unwrap_or(u64::MAX);
    guests(left)
}

fn guests(bytes: u64) -> usize {
    usize::try_from(bytes / GUEST).unwrap_or(usize::MAX).max(1)
}

/// A number of proc(5), bytes.
fn kibibytes(meminfo: &str, name: &str) -> Option<u64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1 << 10)
}

/// A control group that may limit memory.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    directory: PathBuf,
    /// Version 2 of the interface; else 1.
    unified: bool,
}

/// The group that `cgroup`, a /proc/PID/cgroup, tells of, and all above it.
fn groups(cgroup: &str, root: &Path) -> Vec<Group> {
    let mut found = Vec::new();
    for line in cgroup.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let unified = controllers.is_empty();
        let top = if unified { root.to_path_buf() } else { root.join("memory") };
        if unified || controllers.split(',').any(|controller| controller == "memory") {
            let path = Path::new(path.trim_start_matches('/'));
            found.extend(path.ancestors().map(|path| Group { directory: top.join(path), unified }));
        }
    }
    found
}

impl Group {
    /// What it has left, bytes: pages of files do not count, since they can be dropped. `None` without a limit.
    fn left(&self) -> Option<u64> {
        let read = |name: &str| fs::read_to_string(self.directory.join(name)).ok();
        let (limit, used) = match self.unified {
            true => ("memory.max", ["anon ", "shmem "]),
            false => ("memory.limit_in_bytes", ["total_rss ", "total_shmem "]),
        };
        let limit: u64 = read(limit)?.trim().parse().ok()?;
        let stat = read("memory.stat")?;
        let value = |name: &str| stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        Some(limit.saturating_sub(used.iter().filter_map(|name| value(name)).sum()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_are_counted_whole_and_there_is_always_one() {
        assert_eq!([0, GUEST - 1, GUEST, GUEST * 3 - 1, GUEST * 3].map(guests), [1, 1, 1, 2, 3]);
    }

    #[test]
    fn what_the_kernel_says_is_read() {
        let meminfo = "MemTotal:       24683520 kB\nMemAvailable:    2097152 kB\n";
        assert_eq!(kibibytes(meminfo, "MemAvailable:"), Some(2 << 30));
        assert_eq!(kibibytes("", "MemAvailable:"), None);
        assert_eq!(kibibytes("MemAvailable: 18446744073709551615 kB", "MemAvailable:"), None);
    }

    #[test]
    fn the_groups_of_a_process_and_all_above_them_have_limits() {
        let root = tempfile::tempdir().expect("a directory");
        let found = groups("9:name=systemd:/a\n4:cpu,memory:/a/b\n0::/c\n", root.path());
        let of = |path: &str, unified| Group { directory: root.path().join(path), unified };
        let expected = [("memory/a/b", false), ("memory/a", false), ("memory", false), ("c", true), ("", true)];
        assert_eq!(found, expected.map(|(path, unified)| of(path, unified)));

        let write = |path: &str, content: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a directory"))
                .and_then(|()| fs::write(path, content))
                .expect("a file");
        };
        write("c/memory.max", "3000\n");
        write("c/memory.stat", "anon 500\nfile 2500\nshmem 100\n");
        write("memory.max", "max\n");
        write("memory/a/memory.limit_in_bytes", "1000\n");
        write("memory/a/memory.stat", "rss 1\ntotal_rss 900\ntotal_shmem 900\n");
        let left: Vec<_> = found.iter().map(Group::left).collect();
        assert_eq!(left, [None, Some(0), None, Some(2400), None]);
    }
}
