//! Looking into a stopped thread: its memory, its descriptors, its umask.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, IoSliceMut};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use libc::pid_t;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

const PAGE: u64 = 4096;
/// Data are moved in pieces of at most so many bytes.
pub(crate) const PIECE: u64 = 256 << 10;
/// `UIO_MAXIOV`: no call takes more pieces.
const MAX_PIECES: u64 = 1024;

/// A stretch of the thread's memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) address: u64,
    pub(crate) length: u64,
}

/// Reads the first `length` bytes that `spans` hold, and hands them over in pieces: a program may write any number at once.
pub(crate) fn pieces(
    tid: pid_t,
    spans: &[Span],
    length: u64,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let (mut left, mut piece, mut size) = (length, Vec::new(), 0);
    for &Span { mut address, length } in spans {
        let mut in_span = length.min(left);
        left -= in_span;
        while in_span > 0 {
            let part = in_span.min(PIECE - size);
            piece.push(Span { address, length: part });
            (address, in_span, size) = (address.wrapping_add(part), in_span - part, size + part);
            if size == PIECE {
                take(&bytes(tid, &piece, size as usize)?)?;
                piece.clear();
                size = 0;
            }
        }
    }
    if left > 0 {
        return Err(errno(libc::EFAULT));
    }
    if size > 0 { take(&bytes(tid, &piece, size as usize)?) } else { Ok(()) }
}

/// Reads the first `length` bytes that `spans` hold. For what is known to be short.
pub(crate) fn bytes(tid: pid_t, spans: &[Span], length: usize) -> io::Result<Vec<u8>> {
    let mut data = vec![0; length];
    let mut filled = 0;
    for chunk in spans.chunks(MAX_PIECES as usize) {
        let mut remote = Vec::with_capacity(chunk.len());
        let mut wanted = 0;
        for span in chunk {
            let len = (span.length as usize).min(length - filled - wanted);
            if len > 0 {
                remote.push(RemoteIoVec { base: span.address as usize, len });
                wanted += len;
            }
        }
        let mut done = 0;
        // One call moves at most `MAX_RW_COUNT` (2 GiB) bytes, as write(2) does: one round in practice.
        while done < wanted {
            let local = &mut data[filled + done..filled + wanted];
            match process_vm_readv(Pid::from_raw(tid), &mut [IoSliceMut::new(local)], &remote) {
                Ok(0) => return Err(errno(libc::EFAULT)),
                Ok(n) => {
                    done += n;
                    drop_front(&mut remote, n);
                }
                Err(error) => return Err(error.into()),
            }
        }
        filled += wanted;
    }
    if filled < length {
        return Err(errno(libc::EFAULT));
    }
    Ok(data)
}

fn drop_front(pieces: &mut Vec<RemoteIoVec>, mut count: usize) {
    while let Some(first) = pieces.first_mut() {
        if first.len > count {
            first.base += count;
            first.len -= count;
            return;
        }
        count -= first.len;
        pieces.remove(0);
    }
}

/// Reads `N` bytes at `address`.
pub(crate) fn array<const N: usize>(tid: pid_t, address: u64) -> io::Result<[u8; N]> {
    let data = bytes(tid, &[Span { address, length: N as u64 }], N)?;
    data.try_into().map_err(|_| io::ErrorKind::UnexpectedEof.into())
}

/// Reads `N` 64-bit numbers at `address`.
pub(crate) fn words<const N: usize>(tid: pid_t, address: u64) -> io::Result<[u64; N]> {
    let data = bytes(tid, &[Span { address, length: 8 * N as u64 }], 8 * N)?;
    let mut words = [0; N];
    for (word, piece) in words.iter_mut().zip(data.chunks_exact(8)) {
        *word = u64::from_ne_bytes(piece.try_into().map_err(|_| io::ErrorKind::UnexpectedEof)?);
    }
    Ok(words)
}

/// Reads a string up to its NUL, at most `PATH_MAX` bytes (an attribute's name is shorter still).
pub(crate) fn string(tid: pid_t, address: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    while text.len() < libc::PATH_MAX as usize {
        let at = address.wrapping_add(text.len() as u64);
        // Never across a page: the next one may not be there.
        let length = (PAGE - at % PAGE).min(256);
        let piece = bytes(tid, &[Span { address: at, length }], length as usize)?;
        if let Some(end) = piece.iter().position(|&byte| byte == 0) {
            text.extend_from_slice(&piece[..end]);
            return Ok(text);
        }
        text.extend(piece);
    }
    Err(errno(libc::ENAMETOOLONG))
}

/// Reads an array of `struct iovec`.
pub(crate) fn iovecs(tid: pid_t, address: u64, count: u64) -> io::Result<Vec<Span>> {
    if count > MAX_PIECES {
        return Err(errno(libc::EINVAL));
    }
    let data = bytes(tid, &[Span { address, length: 16 * count }], 16 * count as usize)?;
    let word = |piece: &[u8]| piece.iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte));
    Ok(data.chunks_exact(16).map(|piece| Span { address: word(&piece[..8]), length: word(&piece[8..]) }).collect())
}

/// The magic link of a descriptor.
pub(crate) fn fd_link(tid: pid_t, fd: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{tid}/fd/{fd}"))
}

/// The magic link of the file that is mapped at an address (proc(5), `/proc/pid/map_files`).
pub(crate) fn mapped_link(tid: pid_t, address: u64) -> io::Result<PathBuf> {
    let maps = fs::read_to_string(format!("/proc/{tid}/maps"))?;
    let ranges = maps.lines().filter_map(|line| line.split_whitespace().next());
    let holds = |range: &&str| {
        let parse = |text: &str| u64::from_str_radix(text, 16).ok();
        let (start, end) = range.split_once('-').unwrap_or_default();
        parse(start).is_some_and(|start| start <= address) && parse(end).is_some_and(|end| address < end)
    };
    let range = ranges.into_iter().find(holds).ok_or(io::ErrorKind::NotFound)?;
    Ok(PathBuf::from(format!("/proc/{tid}/map_files/{range}")))
}

/// What a descriptor refers to: a path, or `pipe:[…]` and the like.
pub(crate) fn fd_name(tid: pid_t, fd: i32) -> io::Result<PathBuf> {
    fs::read_link(fd_link(tid, fd))
}

/// The number in the name of a descriptor that is no path: `socket:[123]` (proc(5), `/proc/pid/fd`).
pub(crate) fn inode(kind: &str, name: &str) -> Option<u64> {
    name.strip_prefix(kind)?.strip_prefix(":[")?.strip_suffix(']')?.parse().ok()
}

/// Position and flags of a descriptor (proc(5), `/proc/pid/fdinfo`). The flags hold `O_CLOEXEC` of the descriptor itself.
pub(crate) fn fd_info(tid: pid_t, fd: i32) -> io::Result<(u64, u32)> {
    use std::io::Read;
    let mut buffer = [0; 128];
    let length = fs::File::open(format!("/proc/{tid}/fdinfo/{fd}"))?.read(&mut buffer)?;
    parse_fd_info(&buffer[..length]).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The position of one descriptor, asked for again and again: opening the file in `/proc` costs more than reading it.
#[derive(Debug)]
pub(crate) struct Position {
    of: (pid_t, i32),
    info: fs::File,
}

impl Position {
    pub(crate) fn new(tid: pid_t, fd: i32) -> io::Result<Self> {
        Ok(Self { of: (tid, fd), info: fs::File::open(format!("/proc/{tid}/fdinfo/{fd}"))? })
    }

    /// Whether this is about descriptor `fd` of thread `tid`. The kernel looks the descriptor up at each reading.
    pub(crate) fn is_of(&self, tid: pid_t, fd: i32) -> bool {
        self.of == (tid, fd)
    }

    pub(crate) fn read(&self) -> io::Result<u64> {
        let mut buffer = [0; 128];
        let length = self.info.read_at(&mut buffer, 0)?;
        Ok(parse_fd_info(&buffer[..length]).ok_or(io::ErrorKind::InvalidData)?.0)
    }
}

fn parse_fd_info(text: &[u8]) -> Option<(u64, u32)> {
    let text = str::from_utf8(text).ok()?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    Some((field("pos:")?.parse().ok()?, u32::from_str_radix(field("flags:")?, 8).ok()?))
}

/// The umask of a thread.
pub(crate) fn umask(tid: pid_t) -> io::Result<u32> {
    field(tid, "Umask:", |value| u32::from_str_radix(value, 8).ok())
}

/// The process that a thread belongs to, and that process's parent.
pub(crate) fn family(tid: pid_t) -> io::Result<(pid_t, pid_t)> {
    Ok((field(tid, "Tgid:", |value| value.parse().ok())?, field(tid, "PPid:", |value| value.parse().ok())?))
}

fn field<T>(tid: pid_t, name: &str, parse: impl Fn(&str) -> Option<T>) -> io::Result<T> {
    let status = fs::read(format!("/proc/{tid}/status"))?;
    // A program's name, in the first line, need not be UTF-8.
    let status = String::from_utf8_lossy(&status);
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| parse(value.trim())).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Every descriptor that a thread has open.
pub(crate) fn open_fds(tid: pid_t) -> io::Result<Vec<i32>> {
    let entries = fs::read_dir(format!("/proc/{tid}/fd"))?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

/// Whether two descriptors share one open file description (kcmp(2)); `false` where the kernel cannot tell.
pub(crate) fn same_file(one: (pid_t, i32), other: (pid_t, i32)) -> bool {
    const KCMP_FILE: i32 = 0;
    // SAFETY: kcmp takes numbers only.
    unsafe { libc::syscall(libc::SYS_kcmp, one.0, other.0, KCMP_FILE, one.1, other.1) == 0 }
}

/// Whether an error of looking at what a call was given means that the call will fail as well, or that its thread is gone. Any
/// other may be one of this process alone, which has no descriptor left, say.
pub(crate) fn foretells_failure(error: &io::Error) -> bool {
    let expected = [
        libc::EBADF,
        libc::EFAULT,
        libc::EINVAL,
        libc::ELOOP,
        libc::ENAMETOOLONG,
        libc::ENOENT,
        libc::ENOTDIR,
        libc::EOPNOTSUPP,
        libc::ESRCH,
    ];
    error.raw_os_error().is_some_and(|number| expected.contains(&number))
}

fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

/// Whether this process may not look there. A program that is not dumpable (prctl(2), `PR_SET_DUMPABLE`) hides its memory
/// and its descriptors from everyone without `CAP_SYS_PTRACE` (ptrace(2), "Ptrace access mode checking").
pub(crate) fn is_denied(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM))
}

/// A path without the mark that proc(5) puts behind the name of a file that has none any more.
pub(crate) fn without_deleted(path: PathBuf) -> PathBuf {
    let bytes = path.into_os_string().into_vec();
    let kept = bytes.strip_suffix(b" (deleted)").map_or(bytes.len(), <[u8]>::len);
    PathBuf::from(OsStr::from_bytes(&bytes[..kept]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fdinfo_is_parsed() {
        let text = b"pos:\t4096\nflags:\t02102001\nmnt_id:\t30\nino:\t5\n";
        assert_eq!(parse_fd_info(text), Some((4096, 0o2102001)));
        assert_eq!(parse_fd_info(b"pos:\tx\n"), None);
    }

    #[test]
    fn memory_is_read_across_pieces() {
        let me = std::process::id() as pid_t;
        let (one, two) = (*b"abc", *b"defg");
        let spans = [
            Span { address: one.as_ptr() as u64, length: 3 },
            Span { address: 0, length: 0 },
            Span { address: two.as_ptr() as u64, length: 4 },
        ];
        assert_eq!(bytes(me, &spans, 5).unwrap(), b"abcde");
        assert!(bytes(me, &spans, 8).is_err());
        assert!(bytes(me, &[Span { address: 8, length: 1 }], 1).is_err());
        let text = format!("{}\0", "long".repeat(300));
        assert_eq!(string(me, text.as_ptr() as u64).unwrap(), text.trim_end_matches('\0').as_bytes());
    }
}
