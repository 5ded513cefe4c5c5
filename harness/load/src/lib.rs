//! What the host gives to processes: how much processor time they got, and whether they wait for more.
//!
//! A time limit by the clock blames a process for what others on the host do. These are told apart by what proc(5) says.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// What some processes have had of the host so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time, with that of their children which have been waited for. In steps of 10 ms.
    pub processor: Duration,
    /// Whether all their threads sleep of their own accord: none runs, waits for a processor or a disk, or is stopped.
    pub asleep: bool,
}

/// The unit of times in proc(5): `sysconf(_SC_CLK_TCK)`, which is 100 for all programs on the architectures that guests
/// run on (include/asm-generic/param.h, `USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// Of all members of a process group.
pub fn of_group(group: u32) -> Usage {
    of(&processes(), |process| process.group == group)
}

/// Of a process, of all that descend from it, and of all members of its group, if it leads one.
pub fn of_tree(root: u32) -> Usage {
    let processes = processes();
    let members = members(&processes, root);
    of(&processes, |process| members.contains(&process.id))
}

/// The numbers of a process, of all that descend from it, and of all members of its group, if it leads one.
pub fn tree(root: u32) -> HashSet<u32> {
    members(&processes(), root)
}

fn members(processes: &[Process], root: u32) -> HashSet<u32> {
    let parents: HashMap<u32, u32> = processes.iter().map(|process| (process.id, process.parent)).collect();
    let descends = |process: &Process| {
        let mut seen = HashSet::new();
        let mut id = process.id;
        // The table was not read at one moment: it may have a circle.
        while id != root && seen.insert(id) {
            match parents.get(&id) {
                Some(parent) => id = *parent,
                None => return false,
            }
        }
        id == root
    };
    let is_member = |process: &&Process| process.group == root || descends(process);
    processes.iter().filter(is_member).map(|process| process.id).collect()
}

/// Whether a thread runs, waits for a processor or for a disk: for none of the things that another thread may have to do
/// first. `None` if there is no such thread.
pub fn is_at_work(thread: i32) -> Option<bool> {
    let stat = fs::read_to_string(format!("/proc/{thread}/stat")).ok()?;
    Process::parse(&stat).map(|process| matches!(process.state, 'R' | 'D'))
}

/// A line of proc(5), `/proc/pid/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Process {
    id: u32,
    state: char,
    parent: u32,
    group: u32,
    processor: Duration,
}

impl Process {
    fn parse(stat: &str) -> Option<Self> {
        let id = stat.split_once(' ')?.0.parse().ok()?;
        // What follows the name, which is in brackets and can hold anything.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        // utime, stime, cutime and cstime.
        let ticks = fields.get(11..15)?.iter().map(|ticks| ticks.parse().unwrap_or(0)).fold(0, u32::saturating_add);
        Some(Self {
            id,
            state: fields[0].chars().next()?,
            parent: fields[1].parse().ok()?,
            group: fields[2].parse().ok()?,
            processor: TICK * ticks,
        })
    }
}

fn stats(directory: &Path) -> impl Iterator<Item = Process> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_number = |name: &std::ffi::OsString| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    entries
        .filter(move |entry| is_number(&entry.file_name()))
        .filter_map(|entry| Process::parse(&fs::read_to_string(entry.path().join("stat")).ok()?))
}

fn processes() -> Vec<Process> {
    stats(Path::new("/proc")).collect()
}

fn of(processes: &[Process], is_meant: impl Fn(&Process) -> bool) -> Usage {
    let mut usage = Usage { processor: Duration::ZERO, asleep: true };
    for process in processes.iter().filter(|process| is_meant(process)) {
        usage.processor += process.processor;
        let tasks = Path::new("/proc").join(process.id.to_string()).join("task");
        // `t`, stopped by a tracer, is how User Mode Linux keeps its guest's processes.
        usage.asleep &= !stats(&tasks).any(|thread| matches!(thread.state, 'R' | 'D' | 'T'));
    }
    usage
}

/// How much time processes have had for themselves: what they were given of a processor, and what they slept. What they
/// waited for a processor or a disk is the host's doing, and does not count. On an idle host it is what the clock says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    at: Duration,
    processor: Duration,
    own: Duration,
}

impl Meter {
    /// Takes another look, at `at` by the clock; both it and the usage count from the same start. How much time of their
    /// own they have had.
    pub fn look(&mut self, at: Duration, usage: Usage) -> Duration {
        let passed = at.saturating_sub(self.at);
        let given = usage.processor.saturating_sub(self.processor);
        self.own += if usage.asleep { passed.max(given) } else { given };
        self.at = at;
        self.processor = self.processor.max(usage.processor);
        self.own
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::*;

    /// A process that works for ever: it is killed when this is dropped, also by a test that fails.
    struct Spinning(Pid);

    impl Drop for Spinning {
        fn drop(&mut self) {
            let _ = kill(self.0, Signal::SIGKILL);
        }
    }

    #[test]
    fn a_line_is_read_whatever_the_program_is_called() {
        let stat = "7 (a) R (b) S 1 7 7 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 100 0 0";
        let process = Process { id: 7, state: 'S', parent: 1, group: 7, processor: Duration::from_secs(1) };
        assert_eq!(Process::parse(stat), Some(process));
        for broken in ["", "7", "7 (a) S", "x (a) S 1 7 7 0 -1 4194560 1 2 3 4 10 20 30 40"] {
            assert_eq!(Process::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn what_a_process_waits_for_a_processor_is_not_its_own() {
        let seconds = Duration::from_secs;
        let mut meter = Meter::default();
        // Asleep, then at work on a host that is busy, then at work on one that is not, then asleep.
        assert_eq!(meter.look(seconds(2), Usage { processor: seconds(0), asleep: true }), seconds(2));
        assert_eq!(meter.look(seconds(100), Usage { processor: seconds(1), asleep: false }), seconds(3));
        assert_eq!(meter.look(seconds(104), Usage { processor: seconds(5), asleep: false }), seconds(7));
        assert_eq!(meter.look(seconds(105), Usage { processor: seconds(5), asleep: true }), seconds(8));
        // A child that nobody waits for takes its time with it.
        assert_eq!(meter.look(seconds(106), Usage { processor: seconds(3), asleep: false }), seconds(8));
        assert_eq!(meter.look(seconds(107), Usage { processor: seconds(5), asleep: false }), seconds(8));
    }

    #[test]
    fn processes_are_found_in_their_group_and_below_their_root() {
        // A process below the root that leaves the root's group, and works for ever.
        let script = "setsid sh -c 'while :; do :; done' & echo $!; wait";
        let mut root = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).process_group(0).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(root.stdout.take().unwrap()).read_line(&mut line).unwrap();
        // The shell starts setsid(1) as a process that leads no group, which then leads a new one under the same number.
        let _spinning = Spinning(Pid::from_raw(line.trim().parse().unwrap()));
        let begun = std::time::Instant::now();
        while of_tree(root.id()).processor < TICK * 5 {
            assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", of_tree(root.id()));
            std::thread::sleep(TICK);
        }
        assert!(!of_tree(root.id()).asleep);
        let other = Command::new("sleep").arg("60").process_group(0).spawn();
        let mut other = other.unwrap();
        while !of_group(other.id()).asleep {
            std::thread::sleep(TICK);
        }
        assert_eq!(is_at_work(other.id() as i32), Some(false));
        for child in [&mut root, &mut other] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(is_at_work(i32::MAX), None);
    }
}
