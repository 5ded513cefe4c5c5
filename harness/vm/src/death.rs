//! Why a guest is of no more use: whether what it was given is to blame, or the host, or the harness. Nothing here looks
//! at anything; it judges what was seen.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use load::Usage;
use nix::sys::signal::Signal;
use protocol::AGENT_PANICKED;

/// Whose doing a guest's end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Its kernel's: a panic or an oops on its console.
    Kernel,
    /// It waits, but for nothing that it has asked for: it asks for nothing, and uses no processor. Still there.
    Hang,
    /// The host's: it was killed from outside, was given no processor, or there was no room for its memory.
    Host,
    /// The agent's, the machine's or the harness's, or nobody knows whose.
    Harness,
}

/// How it came to light.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End<'a> {
    /// The machine's process ended by itself; how, if the host says so.
    Gone(Option<ExitStatus>),
    /// No answer came.
    Late(Late),
    /// An answer came that is none.
    Garbled(&'a str),
}

/// Why an answer is waited for no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// It had as much processor time as any answer takes.
    Processor(Duration),
    /// For so long it slept and asked for nothing.
    Silence(Duration),
    /// It took so long by the clock, and had so much processor time meanwhile.
    Clock(Duration, Duration),
}

/// Whose doing it was, and what is said of it.
pub(crate) fn judge(end: End<'_>, console: &str) -> (Death, String) {
    // What the machine's process made of a panic of its guest does not matter; an answer that is none, or one that did not
    // come, may have come of it.
    let killed = match end {
        End::Gone(Some(status)) => status.signal().filter(|&signal| {
            let from_outside = [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGBUS];
            from_outside.iter().any(|outside| *outside as i32 == signal)
        }),
        _ => None,
    };
    match (words(console), killed) {
        (Some((death, what)), _) if !matches!(end, End::Garbled(_)) => {
            return (death, what.to_owned());
        }
        (_, Some(signal)) => {
            let name = Signal::try_from(signal).map_or("unknown", Signal::as_str);
            return (Death::Host, format!("was killed by the host or by somebody on it (signal {signal}, {name})"));
        }
        _ => {}
    }
    match end {
        End::Gone(Some(status)) => (Death::Harness, format!("ended by itself ({status})")),
        End::Gone(None) => (Death::Harness, "ended by itself".into()),
        End::Garbled(problem) => (Death::Harness, format!("gave an answer that cannot be read: {problem}")),
        End::Late(Late::Processor(limit)) => {
            (Death::Harness, format!("gave no answer within {} of processor time", seconds(limit)))
        }
        End::Late(Late::Silence(limit)) => {
            let limit = seconds(limit);
            (Death::Hang, format!("hangs: for {limit} it has asked its disk for nothing and used no processor"))
        }
        End::Late(Late::Clock(limit, given)) if given < limit / STARVED => {
            let (limit, given) = (seconds(limit), seconds(given));
            (Death::Host, format!("got {given} of processor time within {limit}: the host is overloaded"))
        }
        End::Late(Late::Clock(limit, given)) => {
            let (limit, given) = (seconds(limit), seconds(given));
            (Death::Harness, format!("gave no answer within {limit}, in which it got {given} of processor time"))
        }
    }
}

/// A guest that got less than this part of a processor, and would have taken more, was starved.
const STARVED: u32 = 5;

fn seconds(duration: Duration) -> String {
    let tenths = duration.as_millis() / 100;
    match tenths % 10 {
        0 => format!("{} s", tenths / 10),
        rest => format!("{}.{rest} s", tenths / 10),
    }
}

/// Whether the console shows that the kernel panicked or found itself broken, and not for what the harness or the host
/// did to it.
pub(crate) fn shows_fault_of_kernel(console: &str) -> bool {
    matches!(words(console), Some((Death::Kernel, _)))
}

/// What a console says of its guest's end.
fn words(console: &str) -> Option<(Death, &'static str)> {
    // What the host and the agent do comes first: the kernel's panic is then what comes of it.
    let has = |texts: &[&str]| console.lines().any(|line| texts.iter().any(|text| message(line).starts_with(text)));
    if has(&[AGENT_PANICKED]) {
        return Some((Death::Harness, "ended, because its agent panicked"));
    }
    if has(&NO_ROOM) {
        return Some((Death::Host, "ended, because the host has no more room for its memory"));
    }
    if has(&NO_MEMORY) {
        return Some((Death::Harness, "ended, because its memory was too small"));
    }
    if has(&BROKEN) {
        return Some((Death::Kernel, "ended: its kernel found itself broken"));
    }
    if has(&[NO_AGENT]) {
        return Some((Death::Harness, "ended, because its agent did"));
    }
    has(&[PANIC]).then_some((Death::Kernel, "ended: its kernel panicked"))
}

/// Whether this line of a console says why the guest came to its end.
pub(crate) fn says_why(line: &str) -> bool {
    words(line).is_some()
}

/// arch/um/kernel/trap.c, `relay_signal`.
const NO_ROOM: [&str; 2] = ["Bus error - the host /dev/shm or /tmp mount likely just ran out of space", SIGNAL_BUS];
const SIGNAL_BUS: &str = "Kernel panic - not syncing: Kernel mode signal 7";

/// mm/oom_kill.c.
const NO_MEMORY: [&str; 3] = [
    "Out of memory",
    "Kernel panic - not syncing: Out of memory",
    "Kernel panic - not syncing: System is deadlocked on memory",
];

/// How the message of an oops begins: lib/bug.c, arch/x86/mm/fault.c, arch/x86/kernel/{dumpstack,traps}.c. A lockup or a
/// stall is none: a guest that the host lets wait finds that of itself, too.
const BROKEN: [&str; 9] = [
    "kernel BUG at ",
    "BUG: unable to handle ",
    "BUG: kernel NULL pointer dereference",
    "BUG: Bad ",
    "Oops: ",
    "general protection fault",
    "divide error: ",
    "invalid opcode: ",
    "Kernel panic - not syncing: Kernel mode fault at ",
];

const PANIC: &str = "Kernel panic - not syncing: ";

/// kernel/exit.c, `do_exit`: process 1 ended, which is the agent.
const NO_AGENT: &str = "Kernel panic - not syncing: Attempted to kill init!";

/// A line without the time that the kernel puts before it.
fn message(line: &str) -> &str {
    let stamped = line.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    stamped.filter(|(time, _)| time.trim().parse::<f64>().is_ok()).map_or(line, |(_, message)| message)
}

/// What is known of a guest that is at work, at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Since the answer is waited for.
    pub(crate) at: Duration,
    pub(crate) usage: Usage,
    /// How many requests its disks were asked so far; `None` if one is under way.
    pub(crate) requests: Option<u64>,
    /// How much it has written to its console.
    pub(crate) console: usize,
}

/// Waits for an answer, for no longer than any answer takes.
#[derive(Debug)]
pub(crate) struct Watch {
    limit: Duration,
    /// Processor time at the first look.
    began: Option<Duration>,
    /// Since when it has been silent, the processor time that it had had then, and the requests.
    silent: Option<(Duration, Duration, u64)>,
    /// When it last wrote to its console, and how much it had written then.
    spoke: (Duration, usize),
}

/// How many times longer than the limit an answer may take by the clock: so long that only a guest that is given next to
/// nothing, or whose disk does not answer, comes to it.
const BY_THE_CLOCK: u32 = 30;

/// A guest that waits uses less than this part of a processor: some timers run.
const IDLE: u32 = 50;

impl Watch {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, began: None, silent: None, spoke: (Duration::ZERO, 0) }
    }

    /// When to look again.
    pub(crate) fn interval(&self) -> Duration {
        (self.limit / 4).min(Duration::from_secs(1))
    }

    /// Takes a look: whether it is too late for an answer.
    pub(crate) fn look(&mut self, sample: Sample) -> Option<Late> {
        let Sample { at, usage: Usage { processor, asleep }, requests, console } = sample;
        let began = *self.began.get_or_insert(processor);
        let given = processor.saturating_sub(began);
        if given >= self.limit {
            return Some(Late::Processor(self.limit));
        }
        let still = |since: Duration, had: Duration, asked: u64| {
            requests == Some(asked) && processor.saturating_sub(had) <= at.saturating_sub(since) / IDLE + GRAIN
        };
        self.silent = match (self.silent, requests) {
            (Some((since, had, asked)), _) if asleep && still(since, had, asked) => Some((since, had, asked)),
            (_, Some(asked)) if asleep => Some((at, processor, asked)),
            _ => None,
        };
        if self.silent.is_some_and(|(since, ..)| at.saturating_sub(since) >= self.limit) {
            return Some(Late::Silence(self.limit));
        }
        // One that says something makes progress.
        if console != self.spoke.1 {
            self.spoke = (at, console);
        }
        let clock = self.limit * BY_THE_CLOCK;
        (at.saturating_sub(self.spoke.0) >= clock).then_some(Late::Clock(at, given))
    }
}

/// Times are measured in steps so large.
const GRAIN: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(raw: i32) -> End<'static> {
        End::Gone(Some(ExitStatus::from_raw(raw)))
    }

    #[test]
    fn only_what_the_kernel_says_of_itself_is_its_own_doing() {
        let init = "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000007";
        let agent = format!("{AGENT_PANICKED} at src/main.rs:1: no\n{init}");
        let oops = format!("[    1.5] BUG: unable to handle page fault for address: 0\n{init}");
        for (death, console) in [
            (
                Death::Kernel,
                "boot\r\n[    3.14] Kernel panic - not syncing: EXT4-fs (device vda): panic forced after error",
            ),
            (Death::Kernel, "kernel BUG at fs/ext4/inode.c:1!"),
            (Death::Kernel, "Kernel panic - not syncing: Kernel mode fault at addr 0x0, ip 0x6000"),
            (Death::Kernel, oops.as_str()),
            (Death::Harness, init),
            (Death::Harness, agent.as_str()),
            (
                Death::Harness,
                "Out of memory: Killed process 1 (init)\nKernel panic - not syncing: Attempted to kill init!",
            ),
            (Death::Harness, "Kernel panic - not syncing: System is deadlocked on memory"),
            (Death::Host, "Bus error - the host /dev/shm or /tmp mount likely just ran out of space\n"),
            (Death::Host, "Kernel panic - not syncing: Kernel mode signal 7"),
            (Death::Harness, "watchdog: BUG: soft lockup - CPU#0 stuck for 26s!"),
            // What a file is called is nobody's panic.
            (Death::Harness, "EXT4-fs error: entry 'Kernel panic - not syncing: '"),
            (Death::Harness, ""),
        ] {
            // However the machine ends then: SIGABRT is the way of User Mode Linux.
            for end in [exited(6), exited(1 << 8), exited(0), End::Late(Late::Processor(Duration::from_secs(1)))] {
                assert_eq!(judge(end, console).0, death, "{end:?}: {console}");
            }
            assert_eq!(shows_fault_of_kernel(console), death == Death::Kernel, "{console}");
        }
    }

    #[test]
    fn what_is_killed_or_let_wait_is_the_hosts_doing() {
        let seconds = Duration::from_secs;
        for (end, death, words) in [
            (exited(9), Death::Host, "was killed by the host or by somebody on it (signal 9, SIGKILL)"),
            (exited(15), Death::Host, "was killed by the host or by somebody on it (signal 15, SIGTERM)"),
            (exited(7), Death::Host, "was killed by the host or by somebody on it (signal 7, SIGBUS)"),
            (exited(11), Death::Harness, "ended by itself (signal: 11 (SIGSEGV))"),
            (exited(1 << 8), Death::Harness, "ended by itself (exit status: 1)"),
            (End::Garbled("no"), Death::Harness, "gave an answer that cannot be read: no"),
            (End::Late(Late::Processor(seconds(20))), Death::Harness, "gave no answer within 20 s of processor time"),
            (
                End::Late(Late::Silence(seconds(20))),
                Death::Hang,
                "hangs: for 20 s it has asked its disk for nothing and used no processor",
            ),
            (
                End::Late(Late::Clock(seconds(300), Duration::from_millis(1234))),
                Death::Host,
                "got 1.2 s of processor time within 300 s: the host is overloaded",
            ),
            (
                End::Late(Late::Clock(seconds(20), seconds(19))),
                Death::Harness,
                "gave no answer within 20 s, in which it got 19 s of processor time",
            ),
        ] {
            assert_eq!(judge(end, "boot"), (death, words.to_owned()));
        }
        assert_eq!(judge(End::Garbled("no"), "Kernel panic - not syncing: x").0, Death::Harness);
    }

    /// What becomes of a guest that is looked at each second: its processor time (ms), whether it sleeps, its requests.
    fn watched(limit: u64, mut guest: impl FnMut(u64) -> (u64, bool, Option<u64>, usize)) -> (u64, Late) {
        let mut watch = Watch::new(Duration::from_secs(limit));
        for second in 1.. {
            let (processor, asleep, requests, console) = guest(second);
            let usage = Usage { processor: Duration::from_millis(processor), asleep };
            let sample = Sample { at: Duration::from_secs(second), usage, requests, console };
            if let Some(late) = watch.look(sample) {
                return (second, late);
            }
        }
        unreachable!("it is over at some time")
    }

    #[test]
    fn a_guest_is_given_up_for_its_own_time_alone() {
        let seconds = Duration::from_secs;
        // At work on an idle host, and on one that gives it a tenth.
        assert_eq!(watched(20, |at| (at * 1000, false, Some(at), 0)), (21, Late::Processor(seconds(20))));
        assert_eq!(watched(20, |at| (at * 100, false, Some(at), 0)), (201, Late::Processor(seconds(20))));
        // Given nothing at all.
        let starved = Late::Clock(seconds(600), Duration::ZERO);
        assert_eq!(watched(20, |_| (500, false, Some(7), 0)), (600, starved));
        // Asleep, but for a timer now and then.
        assert_eq!(watched(20, |at| (500 + at * 5, true, Some(7), 0)), (21, Late::Silence(seconds(20))));
        // Asleep, but its disk is at work, or it asks for something now and then.
        assert_eq!(watched(20, |_| (500, true, None, 0)), (600, starved));
        assert_eq!(watched(20, |at| (500, true, Some(at / 10), 0)), (600, starved));
        // One that says something is let go on.
        assert_eq!(watched(1, |at| (500, false, None, at.min(100) as usize)).0, 130);
        // No time at all.
        assert_eq!(watched(0, |_| (500, false, None, 0)), (1, Late::Processor(Duration::ZERO)));
    }
}
