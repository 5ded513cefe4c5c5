//! Stand-ins for ptrace(2) and mkstemp(3), preloaded into User Mode Linux.
//!
//! User Mode Linux 6.1 keeps the floating-point registers of guest processes in a buffer that ends with the PKRU
//! component, 2696 bytes, and sets them with `PTRACE_SETREGSET`. The host takes nothing but its whole XSAVE area
//! (arch/x86/kernel/fpu/regset.c, `xstateregs_set`), which on processors with AMX is some 11 KiB, and answers
//! `EFAULT`: every guest then dies at its first process. So this passes on an area of the host's size, with the
//! components that User Mode Linux does not know in their initial state.
//!
//! And User Mode Linux does not ask that the guest's processes end with it. If it alone is killed, by a host that is out
//! of memory, say, they are let go in the middle of a system call, which the host then carries out, with the paths of
//! the guest and the rights of the user. So this asks for it.
//!
//! And it keeps the guest's memory in a file of a directory (arch/um/os-Linux/mem.c). Where that has no room left, a touch of
//! another page kills whoever touches it: the guest, or the harness, whose disk fills the guest's pages. So the file it
//! asks for is one in memory, in no directory.

use std::cell::RefCell;
use std::ffi::{c_char, c_int, c_long, c_void};

/// elf.h.
const NT_X86_XSTATE: usize = 0x202;
/// More than any XSAVE area so far.
const ROOM: usize = 64 << 10;
/// Where the XSAVE header begins: its first eight bytes name the components that are not in their initial state
/// (Intel SDM volume 1, section 13.4.2).
const HEADER: usize = 512;
/// The components up to PKRU (bit 9): those that lie within the buffer of User Mode Linux.
const KNOWN: u64 = 0x3ff;

thread_local! {
    /// An area of the host's size; the length is found out once.
    static AREA: RefCell<(Vec<u8>, usize)> = const { RefCell::new((Vec::new(), 0)) };
}

fn real(request: c_long, pid: c_long, address: *mut c_void, data: *mut c_void) -> c_long {
    // SAFETY: what each request needs of its arguments is what the callers of this function promise.
    unsafe { libc::syscall(libc::SYS_ptrace, request, pid, address, data) }
}

/// Whether a request's data are options; there is an old number for it too (arch/x86/um, `PTRACE_OLDSETOPTIONS`).
fn sets_options(request: u32) -> bool {
    const OLD: u32 = 21;
    request == libc::PTRACE_SETOPTIONS || request == OLD
}

/// ptrace(2), as User Mode Linux calls it.
///
/// # Safety
/// As for ptrace(2): `data` must be what the request asks for.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ptrace(request: c_int, pid: c_int, address: *mut c_void, data: *mut c_void) -> c_long {
    let (number, pid) = (c_long::from(request), c_long::from(pid));
    let peeks = [libc::PTRACE_PEEKTEXT, libc::PTRACE_PEEKDATA, libc::PTRACE_PEEKUSER];
    if peeks.contains(&(request as _)) {
        // The kernel stores the word; the C function returns it (ptrace(2), "C library/kernel differences").
        let mut word: c_long = 0;
        let result = real(number, pid, address, (&raw mut word).cast());
        return if result < 0 { result } else { word };
    }
    if sets_options(request as u32) {
        return real(number, pid, address, (data as usize | libc::PTRACE_O_EXITKILL as usize) as *mut c_void);
    }
    if request as u32 != libc::PTRACE_SETREGSET || address as usize != NT_X86_XSTATE || data.is_null() {
        return real(number, pid, address, data);
    }
    // SAFETY: for this request the caller passes an iovec, and memory that it describes.
    let given = unsafe {
        let vector = &*data.cast::<libc::iovec>();
        std::slice::from_raw_parts(vector.iov_base.cast::<u8>(), vector.iov_len)
    };
    AREA.with_borrow_mut(|(area, size)| {
        if area.is_empty() {
            area.resize(ROOM, 0);
            let mut whole = libc::iovec { iov_base: area.as_mut_ptr().cast(), iov_len: ROOM };
            if real(libc::PTRACE_GETREGSET as c_long, pid, address, (&raw mut whole).cast()) == 0 {
                *size = whole.iov_len;
            }
        }
        if *size <= given.len() || given.len() < HEADER + 64 {
            return real(number, pid, address, data);
        }
        area[..given.len()].copy_from_slice(given);
        area[given.len()..*size].fill(0);
        let mut header = [0; 8];
        header.copy_from_slice(&area[HEADER..HEADER + 8]);
        let components = u64::from_le_bytes(header) & KNOWN;
        area[HEADER..HEADER + 8].copy_from_slice(&components.to_le_bytes());
        let mut whole = libc::iovec { iov_base: area.as_mut_ptr().cast(), iov_len: *size };
        real(number, pid, address, (&raw mut whole).cast())
    })
}

/// mkstemp(3), as User Mode Linux calls it: for its memory, and to try whether that could be executed.
///
/// # Safety
/// As for mkstemp(3): `template` is a string that can be changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mkstemp64(template: *mut c_char) -> c_int {
    // There must be a file of that name: it is removed by its name.
    // SAFETY: the caller keeps what mkstemp(3) asks.
    let file = unsafe { libc::mkstemp(template) };
    if file < 0 {
        return file;
    }
    // SAFETY: memfd_create(2) reads a string that lives for ever.
    let create = |flags| unsafe { libc::memfd_create(c"guest".as_ptr(), flags) };
    // Kernels before 6.3 know no files in memory but such as can be executed, and not this name for them.
    let memory = match create(libc::MFD_CLOEXEC | libc::MFD_EXEC) {
        descriptor @ 0.. => descriptor,
        _ => create(libc::MFD_CLOEXEC),
    };
    // A host may allow none that can be executed (`vm.memfd_noexec`). Then it is the file in the guest's directory.
    if memory >= 0 {
        // SAFETY: both descriptors are ours.
        unsafe {
            libc::dup2(memory, file);
            libc::close(memory);
        }
    }
    file
}
