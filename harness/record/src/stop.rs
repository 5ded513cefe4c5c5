//! Ptrace stops as values: each kind of stop is a type, and resuming consumes it.
//!
//! So a stopped thread can neither be resumed twice nor in a way that its stop does not allow. A stop that is kept keeps its thread
//! waiting. Rules quoted from ptrace(2).

use std::io;
use std::mem::{MaybeUninit, offset_of, size_of};
use std::ptr;

use libc::{c_int, c_uint, pid_t};

use crate::seccomp::{ARCH_X86_64, X32_BIT};

/// `PTRACE_EVENT_STOP` (`include/uapi/linux/ptrace.h`).
const EVENT_STOP: c_int = 128;
const SYSCALL_STOP: c_int = libc::SIGTRAP | 0x80;

/// What was asked of the kernel at the entry of a system call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) tid: pid_t,
    /// `None` for a call of another architecture or of x32.
    pub(crate) number: Option<i64>,
    pub(crate) args: [u64; 6],
}

/// A stopped thread.
#[derive(Debug)]
struct Stopped(pid_t);

impl Stopped {
    /// Whether it goes on. A thread that was killed meanwhile ("A tracee may be killed at any moment") does not: it has
    /// left its stop by itself, and its end will be reported.
    fn resume(self, request: c_uint, signal: c_int) -> bool {
        // SAFETY: these requests take numbers only.
        unsafe { libc::ptrace(request, self.0, 0, signal) >= 0 }
    }

    /// Sets the word of `struct user` (`<sys/user.h>`) at `offset`. Gives whether the thread is still there.
    fn poke(&self, offset: usize, value: i64) -> bool {
        // SAFETY: PTRACE_POKEUSER takes numbers only.
        unsafe { libc::ptrace(libc::PTRACE_POKEUSER, self.0, offset, value) >= 0 }
    }
}

/// A thread about to enter a system call of interest.
#[must_use]
#[derive(Debug)]
pub(crate) struct EntryStop {
    stopped: Stopped,
    pub(crate) asked: Asked,
}

impl EntryStop {
    /// Lets the call run without a second stop. Gives whether it does: not if the thread was killed meanwhile.
    pub(crate) fn pass(self) -> bool {
        self.stopped.resume(libc::PTRACE_CONT, 0)
    }

    /// Has the call not made, and fail with ENOSYS. Gives whether the thread goes on: not if it was killed meanwhile.
    ///
    /// "The tracer can skip the system call by changing the system call number to -1. … the system call will appear to return
    /// the value that the tracer puts in the return value register" (seccomp(2), `SECCOMP_RET_TRACE`).
    pub(crate) fn refuse(self) -> bool {
        let registers = offset_of!(libc::user, regs);
        let number = registers + offset_of!(libc::user_regs_struct, orig_rax);
        let result = registers + offset_of!(libc::user_regs_struct, rax);
        self.stopped.poke(number, -1)
            && self.stopped.poke(result, -i64::from(libc::ENOSYS))
            && self.stopped.resume(libc::PTRACE_CONT, 0)
    }

    /// Lets the call run up to its [`ExitStop`]. Gives whether it does: not if the thread was killed meanwhile.
    pub(crate) fn run_to_exit(self) -> bool {
        self.stopped.resume(libc::PTRACE_SYSCALL, 0)
    }
}

/// A thread that leaves a system call.
#[must_use]
#[derive(Debug)]
pub(crate) struct ExitStop {
    stopped: Stopped,
    pub(crate) tid: pid_t,
    /// What the call returned: -errno if it failed.
    pub(crate) result: i64,
}

impl ExitStop {
    pub(crate) fn resume(self) {
        self.stopped.resume(libc::PTRACE_CONT, 0);
    }
}

/// A thread about to be given a signal.
#[must_use]
#[derive(Debug)]
pub(crate) struct SignalStop {
    stopped: Stopped,
    pub(crate) tid: pid_t,
    signal: c_int,
}

impl SignalStop {
    /// Hands the signal over.
    pub(crate) fn deliver(self) {
        self.stopped.resume(libc::PTRACE_CONT, self.signal);
    }

    /// Swallows the signal.
    pub(crate) fn swallow(self) {
        self.stopped.resume(libc::PTRACE_CONT, 0);
    }
}

/// A thread stopped by job control (SIGSTOP and its kin).
#[must_use]
#[derive(Debug)]
pub(crate) struct GroupStop {
    stopped: Stopped,
    pub(crate) tid: pid_t,
}

impl GroupStop {
    /// "The tracee is left stopped, but may be woken by SIGCONT" (`PTRACE_LISTEN`).
    pub(crate) fn listen(self) {
        self.stopped.resume(libc::PTRACE_LISTEN, 0);
    }
}

/// A thread that has just started another thread or process.
#[must_use]
#[derive(Debug)]
pub(crate) struct ForkStop {
    stopped: Stopped,
    pub(crate) tid: pid_t,
    pub(crate) child: pid_t,
}

impl ForkStop {
    pub(crate) fn resume(self) {
        self.stopped.resume(libc::PTRACE_CONT, 0);
    }
}

/// A process that now runs another program.
#[must_use]
#[derive(Debug)]
pub(crate) struct ExecStop {
    stopped: Stopped,
    pub(crate) tid: pid_t,
    /// The thread that asked: it takes over the process's number, and all other threads are gone.
    pub(crate) former: pid_t,
}

impl ExecStop {
    pub(crate) fn resume(self) {
        self.stopped.resume(libc::PTRACE_CONT, 0);
    }
}

/// Any other stop: above all the first one of a new thread.
#[must_use]
#[derive(Debug)]
pub(crate) struct TrapStop {
    stopped: Stopped,
    pub(crate) tid: pid_t,
}

impl TrapStop {
    pub(crate) fn resume(self) {
        self.stopped.resume(libc::PTRACE_CONT, 0);
    }
}

/// What a thread under trace did.
#[must_use]
#[derive(Debug)]
pub(crate) enum TraceeEvent {
    Entry(EntryStop),
    Exit(ExitStop),
    Signal(SignalStop),
    Group(GroupStop),
    Fork(ForkStop),
    Exec(ExecStop),
    Trap(TrapStop),
    /// It is gone. `status` as a shell would show it (128 + signal).
    Ended {
        tid: pid_t,
        status: i32,
        signalled: bool,
    },
}

impl TraceeEvent {
    /// Whom it is about.
    pub(crate) fn tid(&self) -> pid_t {
        match self {
            Self::Entry(stop) => stop.asked.tid,
            Self::Exit(stop) => stop.tid,
            Self::Signal(stop) => stop.tid,
            Self::Group(stop) => stop.tid,
            Self::Fork(stop) => stop.tid,
            Self::Exec(stop) => stop.tid,
            Self::Trap(stop) => stop.tid,
            Self::Ended { tid, .. } => *tid,
        }
    }
}

/// Waits for the next event among the threads that *this thread* traces.
///
/// `__WNOTHREAD` leaves other children of the harness (QEMU, say) alone. Errors: `ECHILD` if no thread is left.
pub(crate) fn next() -> io::Result<TraceeEvent> {
    loop {
        let mut status = 0;
        // SAFETY: waitpid writes one int.
        let tid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
        if tid < 0 {
            match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => continue,
                error => return Err(error),
            }
        }
        if libc::WIFEXITED(status) {
            return Ok(TraceeEvent::Ended { tid, status: libc::WEXITSTATUS(status), signalled: false });
        }
        if libc::WIFSIGNALED(status) {
            return Ok(TraceeEvent::Ended { tid, status: 128 + libc::WTERMSIG(status), signalled: true });
        }
        if !libc::WIFSTOPPED(status) {
            continue;
        }
        match stopped(Stopped(tid), libc::WSTOPSIG(status), status >> 16) {
            Ok(event) => return Ok(event),
            // "A tracee may be killed at any moment": it has left its stop, and its end comes next.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => return Err(error),
        }
    }
}

fn stopped(stopped: Stopped, signal: c_int, event: c_int) -> io::Result<TraceeEvent> {
    let tid = stopped.0;
    Ok(match event {
        0 if signal == SYSCALL_STOP => {
            let info = syscall_info(tid)?;
            if info.op != libc::PTRACE_SYSCALL_INFO_EXIT {
                return Ok(TraceeEvent::Trap(TrapStop { stopped, tid }));
            }
            // SAFETY: `op` says that `exit` is the part of the union that the kernel filled.
            let result = unsafe { info.u.exit.sval };
            TraceeEvent::Exit(ExitStop { stopped, tid, result })
        }
        0 => TraceeEvent::Signal(SignalStop { stopped, tid, signal }),
        libc::PTRACE_EVENT_SECCOMP => {
            let info = syscall_info(tid)?;
            // SAFETY: at this stop the kernel fills `seccomp` (PTRACE_SYSCALL_INFO_SECCOMP).
            let (number, args) = unsafe { (info.u.seccomp.nr, info.u.seccomp.args) };
            let native = info.arch == ARCH_X86_64 && number < u64::from(X32_BIT);
            let asked = Asked { tid, number: native.then_some(number as i64), args };
            TraceeEvent::Entry(EntryStop { stopped, asked })
        }
        libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
            let child = message(tid)? as pid_t;
            TraceeEvent::Fork(ForkStop { stopped, tid, child })
        }
        libc::PTRACE_EVENT_EXEC => {
            let former = message(tid)? as pid_t;
            TraceeEvent::Exec(ExecStop { stopped, tid, former })
        }
        EVENT_STOP if signal != libc::SIGTRAP => TraceeEvent::Group(GroupStop { stopped, tid }),
        _ => TraceeEvent::Trap(TrapStop { stopped, tid }),
    })
}

fn syscall_info(tid: pid_t) -> io::Result<libc::ptrace_syscall_info> {
    let mut info = MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
    let size = size_of::<libc::ptrace_syscall_info>();
    // SAFETY: the kernel writes at most `size` bytes to `info`.
    let got = unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, tid, size, info.as_mut_ptr()) };
    if got < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed before, and every bit pattern is valid.
    Ok(unsafe { info.assume_init() })
}

/// Whether a thread is in a ptrace stop, as it is until it is resumed, unless it is killed.
pub(crate) fn is_stopped(tid: pid_t) -> bool {
    // "The tracee … is not stopped": ESRCH, with any request that needs a stop (ptrace(2), ERRORS).
    message(tid).is_ok()
}

/// Whether this thread traces `tid`, be it stopped or running.
pub(crate) fn is_traced(tid: pid_t) -> bool {
    // SAFETY: all zeros are a valid siginfo_t, and waitid writes one.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let flags = libc::WEXITED | libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL | libc::__WNOTHREAD;
        libc::waitid(libc::P_PID, tid as libc::id_t, &raw mut info, flags) == 0
    }
}

fn message(tid: pid_t) -> io::Result<libc::c_ulong> {
    let mut message: libc::c_ulong = 0;
    // SAFETY: the kernel writes one unsigned long.
    if unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, tid, ptr::null_mut::<u8>(), &raw mut message) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(message)
}

/// Takes a running child of this thread under trace, with all that it will start; it dies with this thread.
pub(crate) fn seize(pid: pid_t) -> io::Result<()> {
    let options = libc::PTRACE_O_TRACESECCOMP
        | libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_EXITKILL;
    // SAFETY: PTRACE_SEIZE takes numbers only.
    if unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, options) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Kills the process of `tid`, or the thread that it was: no error if it is gone.
pub(crate) fn kill(tid: pid_t) {
    // SAFETY: kill takes numbers only.
    unsafe { libc::kill(tid, libc::SIGKILL) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number alone may have come to stand for another thread.
    #[test]
    fn who_is_traced_is_known() {
        let traced = crate::launch::bell().unwrap();
        assert!(is_traced(traced) && !is_traced(std::process::id() as pid_t));
        // By this thread, and by no other.
        assert!(!std::thread::spawn(move || is_traced(traced)).join().unwrap());
        kill(traced);
        crate::launch::reap(traced);
        assert!(!is_traced(traced));
    }
}
