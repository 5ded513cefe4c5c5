//! Processor time of this process and of guests, from `/proc` (proc_pid_stat(5)).

use std::collections::BTreeSet;
use std::fs;

/// `/proc/PID/stat` counts in units of `USER_HZ`: 100 a second on x86-64.
const TICKS: f64 = 100.0;

struct Stat {
    pid: u32,
    parent: u32,
    group: u32,
    ticks: u64,
}

fn all() -> Vec<Stat> {
    let read = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Stat { pid, parent: number(1)? as u32, group: number(2)? as u32, ticks: number(11)? + number(12)? })
    };
    let entries = fs::read_dir("/proc").map(|entries| entries.flatten().collect()).unwrap_or_else(|_| Vec::new());
    entries.iter().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(read).collect()
}

/// The process groups that children of this process lead: each guest is one.
pub fn groups() -> BTreeSet<u32> {
    let own = std::process::id();
    all().iter().filter(|stat| stat.parent == own && stat.pid == stat.group).map(|stat| stat.group).collect()
}

/// Seconds of processor time that this process and the processes of `groups` have taken, in user and kernel mode.
pub fn seconds(groups: &BTreeSet<u32>) -> (f64, f64) {
    let own = std::process::id();
    let (mut harness, mut guest) = (0, 0);
    for stat in all() {
        if stat.pid == own {
            harness += stat.ticks;
        } else if groups.contains(&stat.group) {
            guest += stat.ticks;
        }
    }
    (harness as f64 / TICKS, guest as f64 / TICKS)
}
