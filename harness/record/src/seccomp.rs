//! The seccomp filter: calls of interest stop for the tracer, all others run at full speed.
//!
//! Classic BPF over `struct seccomp_data` (seccomp(2)). Calls of another architecture (`int 0x80`, 32-bit programs) and of
//! x32 stop too, so that they are noticed; nothing is ever refused or killed.

use std::mem::offset_of;

use libc::{c_long, seccomp_data, sock_filter};

use crate::syscalls::{SYSCALLS, Stops, Syscall};

/// `AUDIT_ARCH_X86_64` (`include/uapi/linux/audit.h`).
pub(crate) const ARCH_X86_64: u32 = 0xc000_003e;
/// `__X32_SYSCALL_BIT`: numbers from here on belong to the x32 way of calling.
pub(crate) const X32_BIT: u32 = 0x4000_0000;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const JUMP_ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const fn plain(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

/// Goes on with the next instruction if the test holds, else skips `skip` of them.
const fn unless(code: u16, k: u32, skip: u8) -> sock_filter {
    sock_filter { code, jt: 0, jf: skip, k }
}

/// Skips `skip` instructions if the test holds.
const fn when(code: u16, k: u32, skip: u8) -> sock_filter {
    sock_filter { code, jt: skip, jf: 0, k }
}

const TRACE: sock_filter = plain(RETURN, libc::SECCOMP_RET_TRACE);
const ALLOW: sock_filter = plain(RETURN, libc::SECCOMP_RET_ALLOW);

/// Loads the low half of argument `index`: all that these rules look at is 32 bits wide for the kernel too.
const fn load_argument(index: u32) -> sock_filter {
    plain(LOAD, offset_of!(seccomp_data, args) as u32 + 8 * index)
}

/// What decides about one call once its number is known; ends in a return on every way.
fn decide(stops: Stops) -> Vec<sock_filter> {
    match stops {
        Stops::Always => vec![TRACE],
        Stops::AnyBit { argument, mask } => {
            vec![load_argument(argument), unless(JUMP_ANY_BIT, mask, 1), TRACE, ALLOW]
        }
        Stops::OneOf { argument, values } => {
            let mut code = vec![load_argument(argument)];
            for value in values {
                code.extend([unless(JUMP_EQUAL, *value, 1), TRACE]);
            }
            code.push(ALLOW);
            code
        }
        Stops::NotTerminal => {
            vec![load_argument(1), plain(AND, 0xffff_ff00), unless(JUMP_EQUAL, 0x5400, 1), ALLOW, TRACE]
        }
    }
}

/// The filter for the table of [`SYSCALLS`].
pub(crate) fn program() -> Vec<sock_filter> {
    let mut code = vec![
        plain(LOAD, offset_of!(seccomp_data, arch) as u32),
        when(JUMP_EQUAL, ARCH_X86_64, 1),
        TRACE,
        plain(LOAD, offset_of!(seccomp_data, nr) as u32),
        unless(JUMP_AT_LEAST, X32_BIT, 1),
        TRACE,
    ];
    // The filter asks from the top: first those whose arguments decide, which are made most often.
    let (always, by_arguments): (Vec<&Syscall>, Vec<_>) = SYSCALLS.iter().partition(|row| row.stops == Stops::Always);
    for Syscall { number, stops, .. } in by_arguments.into_iter().chain(always) {
        let body = decide(*stops);
        let length = u8::try_from(body.len()).expect("each rule is a few instructions");
        code.push(unless(JUMP_EQUAL, *number as u32, length));
        code.extend(body);
    }
    code.push(ALLOW);
    code
}

/// Puts `program` in force for this thread and all that it starts. Async-signal-safe. Errors: errno.
pub(crate) fn install(program: &[sock_filter]) -> Result<(), i32> {
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    // SAFETY: prctl with these arguments reads nothing but `filter`, which outlives the calls; the kernel only reads it.
    let failed = unsafe {
        // Without privileges a filter needs this; with them a program shall behave the same.
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1 as c_long, 0 as c_long, 0 as c_long, 0 as c_long) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER as c_long, &raw const filter) != 0
    };
    if failed { Err(nix::errno::Errno::last_raw()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter as the kernel would.
    fn verdict(arch: u32, number: u32, args: [u64; 6]) -> u32 {
        let program = program();
        let (mut at, mut value) = (0, 0u32);
        loop {
            let step = &program[at];
            at += 1;
            let branch = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
            match step.code {
                LOAD if step.k == offset_of!(seccomp_data, arch) as u32 => value = arch,
                LOAD if step.k == offset_of!(seccomp_data, nr) as u32 => value = number,
                LOAD => value = args[(step.k as usize - offset_of!(seccomp_data, args)) / 8] as u32,
                AND => value &= step.k,
                JUMP_EQUAL => at += branch(value == step.k),
                JUMP_AT_LEAST => at += branch(value >= step.k),
                JUMP_ANY_BIT => at += branch(value & step.k != 0),
                RETURN => return step.k,
                code => panic!("unknown instruction {code:#x}"),
            }
        }
    }

    fn stops(number: c_long, args: [u64; 6]) -> bool {
        verdict(ARCH_X86_64, number as u32, args) == libc::SECCOMP_RET_TRACE
    }

    #[test]
    fn calls_of_the_table_stop_and_others_do_not() {
        for number in 0..600 {
            let row = SYSCALLS.iter().find(|row| row.number == number);
            if row.is_none_or(|row| row.stops == Stops::Always) {
                assert_eq!(stops(number, [0; 6]), row.is_some(), "call {number}");
            }
        }
    }

    #[test]
    fn arguments_decide_where_the_table_says_so() {
        let openat = |flags: i32| stops(libc::SYS_openat, [0, 0, flags as u64, 0, 0, 0]);
        assert!(!openat(libc::O_RDONLY | libc::O_CLOEXEC | libc::O_DIRECTORY));
        for flags in [libc::O_WRONLY, libc::O_RDWR, libc::O_CREAT, libc::O_TRUNC, libc::O_TMPFILE | libc::O_RDWR] {
            assert!(openat(flags), "flags {flags:#o}");
        }
        let mmap = |flags: i32| stops(libc::SYS_mmap, [0, 4096, 3, flags as u64, 3, 0]);
        assert!(mmap(libc::MAP_SHARED) && mmap(libc::MAP_SHARED_VALIDATE) && !mmap(libc::MAP_PRIVATE));
        let fcntl = |command: i32| stops(libc::SYS_fcntl, [0, command as u64, 0, 0, 0, 0]);
        assert!(fcntl(libc::F_DUPFD) && fcntl(libc::F_DUPFD_CLOEXEC) && fcntl(libc::F_SETFL));
        assert!(!fcntl(libc::F_GETFL) && !fcntl(libc::F_SETLK));
        let ioctl = |request: u64| stops(libc::SYS_ioctl, [0, request, 0, 0, 0, 0]);
        assert!(ioctl(libc::FICLONE) && !ioctl(libc::TCGETS) && !ioctl(libc::FIONREAD));
    }

    #[test]
    fn foreign_ways_of_calling_stop_and_kill_nothing() {
        const ARCH_I386: u32 = 0x4000_0003;
        assert_eq!(verdict(ARCH_I386, 20, [0; 6]), libc::SECCOMP_RET_TRACE);
        assert_eq!(verdict(ARCH_X86_64, X32_BIT | 39, [0; 6]), libc::SECCOMP_RET_TRACE);
    }
}
