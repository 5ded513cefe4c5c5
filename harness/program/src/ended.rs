//! How a program ended, in words: the same ones wherever a program of the user's is told of.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use crate::{Call, Op};

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this exit status.
    Exited(i32),
    /// Killed by the signal with this number.
    Killed(i32),
}

/// Names of signals on x86-64, from 1 on (signal(7)). Those from 32 on are real-time signals and have none.
const SIGNALS: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

impl Ended {
    /// How the recorded program ended; `None` if `op` is not its end.
    ///
    /// The number alone does not tell: a shell whose own child was killed exits with 128 + signal, too, but it exits.
    pub fn of(op: &Op) -> Option<Self> {
        let Call::Exit { status } = op.call else { return None };
        let killed = op.syscall == "kill" && status > 128;
        Some(if killed { Self::Killed(status - 128) } else { Self::Exited(status) })
    }

    /// Whether the program says that all went well.
    pub fn is_success(self) -> bool {
        self == Self::Exited(0)
    }

    /// What is said of a program that did not succeed, after its name: `failed (exit status: 3)`, `was killed by SIGKILL
    /// (signal 9)`.
    pub fn failure(self) -> String {
        match self {
            Self::Exited(_) => format!("failed ({self})"),
            Self::Killed(_) => format!("was {self}"),
        }
    }
}

impl From<ExitStatus> for Ended {
    /// Of a program that has ended, and was not only stopped.
    fn from(status: ExitStatus) -> Self {
        match status.code() {
            Some(code) => Self::Exited(code),
            None => Self::Killed(status.signal().unwrap_or_default()),
        }
    }
}

impl fmt::Display for Ended {
    /// `exit status: 3`, `killed by SIGKILL (signal 9)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Exited(status) => write!(f, "exit status: {status}"),
            Self::Killed(signal) => {
                let index = usize::try_from(signal).ok().and_then(|number| number.checked_sub(1));
                match index.and_then(|index| SIGNALS.get(index)) {
                    Some(name) => write!(f, "killed by {name} (signal {signal})"),
                    None => write!(f, "killed by signal {signal}"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(syscall: &str, status: i32) -> Op {
        Op { call: Call::Exit { status }, syscall: syscall.into(), result: 0, thread: 0 }
    }

    #[test]
    fn a_status_that_looks_like_a_signal_is_none() {
        assert_eq!(Ended::of(&end("kill", 137)).unwrap().failure(), "was killed by SIGKILL (signal 9)");
        assert_eq!(Ended::of(&end("exit_group", 137)).unwrap().failure(), "failed (exit status: 137)");
        assert_eq!(Ended::of(&Op { call: Call::SyncAll, ..end("sync", 0) }), None);
        assert!(Ended::from(ExitStatus::from_raw(0)).is_success());
        assert_eq!(Ended::from(ExitStatus::from_raw(3 << 8)), Ended::Exited(3));
        // With the bit that says that memory was written to a file.
        assert_eq!(Ended::from(ExitStatus::from_raw(11 | 0x80)), Ended::Killed(11));
    }

    #[test]
    fn signals_have_the_names_that_the_system_gives_them() {
        for signal in nix::sys::signal::Signal::iterator() {
            let number = signal as i32;
            assert_eq!(Ended::Killed(number).to_string(), format!("killed by {signal} (signal {number})"));
        }
        for number in [-1, 0, 32, 64] {
            assert_eq!(Ended::Killed(number).to_string(), format!("killed by signal {number}"));
        }
    }
}
