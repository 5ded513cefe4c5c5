//! Who is at the other end of a socket: a recorded process, or somebody outside.
//!
//! It is asked when something is sent, of what the kernel tells everybody. For TCP, `/proc/TID/net/tcp` and `tcp6`
//! (proc(5)) hold both addresses of each socket in the network that the thread sees, and the inode number that
//! `/proc/PID/fd` shows. For Unix sockets, `SO_PEERCRED` (unix(7)) names the process that connected, or listened, and
//! `/proc/TID/net/unix` the sockets that are bound to names. Where none of this tells, the other end is outside.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use libc::pid_t;
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike, SockaddrStorage, UnixAddr, getpeername, getsockopt, sockopt,
};

use crate::recorder::Recorder;
use crate::remote::{self, Span};

/// How often a connection is looked at whose other end is nowhere: accept(2) may be about to put it into a table.
const LOOKS: u32 = 3;
/// How long to wait between two looks.
const PAUSE: Duration = Duration::from_millis(1);
/// `TCP_LISTEN` (`include/net/tcp_states.h`).
const LISTEN: u32 = 10;
/// What is before the name in a `struct sockaddr_un`, bytes.
const FAMILY: u64 = 2;

/// What is known of sockets, so that it is looked up once.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    /// By inode number: whether what is sent on it stays among the recorded processes.
    known: HashMap<u64, bool>,
    /// The addresses, local and remote, of TCP sockets whose other end was recorded.
    within: HashSet<(SocketAddr, SocketAddr)>,
}

/// A TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tcp {
    local: SocketAddr,
    remote: SocketAddr,
    listens: bool,
    /// 0 if no process has it: not accepted yet, or closed.
    inode: u64,
}

/// What the other end of a TCP connection is.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Not on this machine, or gone.
    Away,
    /// A socket that some process has.
    Socket(u64),
    /// Not accepted yet: it will be whose these listening sockets are, at least one.
    Waits(Vec<u64>),
}

impl Recorder<'_> {
    /// Whether what a thread is about to send on a socket goes to a recorded process. `name` is where a
    /// `struct sockaddr` in its memory says where it goes.
    pub(crate) fn stays_within(&mut self, tid: pid_t, fd: i32, name: Option<Span>) -> bool {
        let Ok(path) = remote::fd_name(tid, fd) else { return false };
        let Some(own) = path.to_str().and_then(|name| remote::inode("socket", name)) else { return false };
        if let Some(within) = self.peers.known.get(&own) {
            return *within;
        }
        // Before Linux 5.6, or where it is forbidden, only TCP can be told.
        let Ok(socket) = self.borrow_socket(tid, fd, own) else { return self.tcp_stays(tid, own) };
        let family = family(&socket);
        if family == Some(AddressFamily::Netlink) {
            // The kernel is nobody who is promised anything.
            self.peers.known.insert(own, true);
            return true;
        }
        if matches!(getsockopt(&socket, sockopt::SockType), Ok(SockType::Datagram)) {
            // Each datagram can go to somebody else.
            let name = name.and_then(|name| remote::bytes(tid, &[name], name.length as usize).ok());
            return family == Some(AddressFamily::Unix) && self.datagram_stays(tid, &socket, name.as_deref());
        }
        if family != Some(AddressFamily::Unix) {
            return self.tcp_stays(tid, own);
        }
        let peer = getsockopt(&socket, sockopt::PeerCredentials);
        let within = peer.is_ok_and(|peer| self.processes.contains(&peer.pid()));
        // Before it is connected there is nobody to name.
        if getpeername::<UnixAddr>(socket.as_raw_fd()).is_ok() {
            self.peers.known.insert(own, within);
        }
        within
    }

    /// The same socket as a descriptor of this process.
    fn borrow_socket(&self, tid: pid_t, fd: i32, own: u64) -> io::Result<OwnedFd> {
        let process = self.threads.get(&tid).map_or(tid, |thread| thread.process);
        // SAFETY: pidfd_open takes numbers only.
        let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) })?;
        // SAFETY: pidfd_getfd takes numbers only.
        let socket = owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) })?;
        // A thread can have descriptors of its own, which others of its process have not.
        let metadata = nix::sys::stat::fstat(&socket)?;
        if metadata.st_ino == own { Ok(socket) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn tcp_stays(&mut self, tid: pid_t, own: u64) -> bool {
        for look in 0..LOOKS {
            if look > 0 {
                std::thread::sleep(PAUSE);
            }
            let sockets = tcp_sockets(tid);
            let Some(socket) = sockets.iter().find(|socket| socket.inode == own) else { return false };
            let (here, there) = (socket.local, socket.remote);
            let within = match other_end(&sockets, socket) {
                // Closed since, though what it sent was seen to stay.
                End::Away => {
                    let within = self.peers.within.contains(&(there, here));
                    self.peers.known.insert(own, within);
                    return within;
                }
                End::Socket(inode) => self.holds(inode),
                End::Waits(listeners) => listeners.into_iter().all(|inode| self.holds(inode)),
            };
            if within {
                self.peers.within.insert((here, there));
                self.peers.known.insert(own, true);
                return true;
            }
        }
        self.peers.known.insert(own, false);
        false
    }

    fn datagram_stays(&self, tid: pid_t, socket: &OwnedFd, name: Option<&[u8]>) -> bool {
        let bound = match name {
            Some(name) => name.get(FAMILY as usize..).map(shown_name),
            None => getpeername::<UnixAddr>(socket.as_raw_fd()).ok().and_then(|peer| {
                let path = peer.path().map(|path| path.as_os_str().as_encoded_bytes().to_vec());
                path.or_else(|| peer.as_abstract().map(|name| shown_name(&[&[0], name].concat())))
            }),
        };
        let Some(bound) = bound.filter(|name| !name.is_empty()) else { return false };
        let table = fs::read(format!("/proc/{tid}/net/unix")).unwrap_or_default();
        let mut sockets = named(&table, &bound).peekable();
        sockets.peek().is_some() && sockets.all(|inode| self.holds(inode))
    }

    /// Whether a recorded process has the socket with this inode number.
    fn holds(&self, inode: u64) -> bool {
        let name = format!("socket:[{inode}]");
        let mut tables = HashSet::new();
        for (tid, thread) in self.threads.iter() {
            // One that has ended, and was not reported yet, has none: another of the same process may.
            let open = remote::open_fds(*tid).unwrap_or_default();
            if open.is_empty() || !tables.insert(thread.table) {
                continue;
            }
            let is_it = |fd| remote::fd_name(*tid, fd).is_ok_and(|found| found.as_os_str() == name.as_str());
            if open.into_iter().any(is_it) {
                return true;
            }
        }
        false
    }
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has made it for this process just now, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
}

fn family(socket: &OwnedFd) -> Option<AddressFamily> {
    nix::sys::socket::getsockname::<SockaddrStorage>(socket.as_raw_fd()).ok()?.family()
}

/// All TCP sockets of the network that a thread sees.
fn tcp_sockets(tid: pid_t) -> Vec<Tcp> {
    let tables =
        ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/{tid}/net/{table}")).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines().skip(1)).filter_map(tcp_socket).collect()
}

/// A line of `/proc/net/tcp` or `tcp6`: `0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 1000 0
/// 12345 …`.
fn tcp_socket(line: &str) -> Option<Tcp> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let local = address(words.next()?)?;
    let remote = address(words.next()?)?;
    let listens = u32::from_str_radix(words.next()?, 16).ok()? == LISTEN;
    let inode = words.nth(5)?.parse().ok()?;
    Some(Tcp { local, remote, listens, inode })
}

/// `0100007F:1F90`: words of 32 bits as they lie in memory, and the port. An IPv4 address that is written as one of IPv6
/// is one of IPv4.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |index: usize| Some(u32::from_str_radix(ip.get(8 * index..8 * index + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let bytes = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip.to_canonical(), u16::from_str_radix(port, 16).ok()?))
}

fn other_end(sockets: &[Tcp], own: &Tcp) -> End {
    let is_other = |socket: &&Tcp| !socket.listens && (socket.local, socket.remote) == (own.remote, own.local);
    match sockets.iter().find(is_other) {
        None => End::Away,
        Some(Tcp { inode: 0, .. }) => {
            let listening = |exact: bool| {
                let at = move |ip: IpAddr| if exact { ip == own.remote.ip() } else { ip.is_unspecified() };
                let listeners = sockets.iter().filter(|socket| socket.listens);
                let here = listeners.filter(|socket| socket.local.port() == own.remote.port());
                here.filter(|socket| at(socket.local.ip())).map(|socket| socket.inode).collect::<Vec<_>>()
            };
            let exact = listening(true);
            let listeners = if exact.is_empty() { listening(false) } else { exact };
            // A client that was closed, and still is there for the answer.
            if listeners.is_empty() { End::Away } else { End::Waits(listeners) }
        }
        Some(socket) => End::Socket(socket.inode),
    }
}

/// A name of a Unix socket as `/proc/net/unix` shows it: up to the NUL if it is a path; with `@` for each NUL if not.
fn shown_name(name: &[u8]) -> Vec<u8> {
    match name.split_first() {
        Some((0, _)) => name.iter().map(|&byte| if byte == 0 { b'@' } else { byte }).collect(),
        _ => name.split(|&byte| byte == 0).next().unwrap_or_default().to_vec(),
    }
}

/// The inode numbers of the datagram sockets that a line of `/proc/net/unix` gives this name: `0000000000000000: 00000002
/// 00000000 00000000 0002 01 12345 /run/socket`.
fn named<'a>(table: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = u64> + 'a {
    const DATAGRAM: &str = "0002";
    table.split(|&byte| byte == b'\n').filter_map(move |line| {
        let line = line.strip_suffix(name)?.strip_suffix(b" ")?;
        let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace().skip(4);
        (words.next()? == DATAGRAM).then_some(())?;
        let inode = words.nth(1)?.parse().ok()?;
        words.next().is_none().then_some(inode)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(text: &str) -> Tcp {
        let socket = tcp_socket(text).unwrap();
        assert_eq!(tcp_socket(&text[..40]), None, "a line that is cut");
        socket
    }

    #[test]
    fn addresses_of_both_versions_compare() {
        let rest = "00000000:00000000 00:00000000 00000000  1000        0 77 1 0 100 0 0 10 0";
        let old = socket(&format!("   0: 0100007F:1F90 0100007F:ABCD 01 {rest}"));
        let mapped = socket(&format!(
            "   1: 0000000000000000FFFF00000100007F:ABCD 0000000000000000FFFF00000100007F:1F90 01 {rest}"
        ));
        assert_eq!((old.local, old.remote), (mapped.remote, mapped.local));
        assert_eq!((old.inode, old.listens), (77, false));
        let listener = socket(&format!(
            "   2: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A {rest}"
        ));
        assert_eq!((listener.local, listener.listens), ("[::1]:8080".parse().unwrap(), true));
        assert_eq!(address("0100007F"), None);
        assert_eq!(address("010007F:1F90"), None);
    }

    #[test]
    fn the_other_end_of_a_connection() {
        let socket = |local: &str, remote: &str, listens, inode| Tcp {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            listens,
            inode,
        };
        let client = socket("127.0.0.1:50", "127.0.0.1:80", false, 1);
        let none = "0.0.0.0:0";
        let listeners = [
            socket("[::]:80", "[::]:0", true, 2),
            socket("0.0.0.0:81", none, true, 3),
            socket("127.0.0.1:80", none, true, 4),
            socket("10.0.0.1:80", none, true, 5),
        ];
        let end = |others: &[Tcp]| other_end(&[&[client], others].concat(), &client);
        // A server elsewhere that listens at a port with the same number is not meant.
        assert_eq!(end(&listeners), End::Away);
        let accepted = |inode| socket("127.0.0.1:80", "127.0.0.1:50", false, inode);
        assert_eq!(end(&[accepted(9)]), End::Socket(9));
        assert_eq!(end(&[&[accepted(0)], &listeners[..]].concat()), End::Waits(vec![4]));
        assert_eq!(end(&[&[accepted(0)], &listeners[..2]].concat()), End::Waits(vec![2]));
        assert_eq!(end(&[accepted(0)]), End::Away);
    }

    #[test]
    fn names_of_unix_sockets() {
        assert_eq!(shown_name(b"/run/a\0rest"), b"/run/a");
        assert_eq!(shown_name(b"\0abc"), b"@abc");
        assert_eq!(shown_name(b""), b"");
        let table = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            0: 00000002 00000000 00000000 0002 01 11 /run/a\n\
            0: 00000002 00000000 00010000 0001 01 12 /run/a\n\
            0: 00000002 00000000 00000000 0002 01 13 /run/b /run/a\n\
            0: 00000002 00000000 00000000 0002 01 14\n";
        assert_eq!(named(table, b"/run/a").collect::<Vec<_>>(), [11]);
        assert_eq!(named(table, b"/run/b /run/a").collect::<Vec<_>>(), [13]);
    }
}
