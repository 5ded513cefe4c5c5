//! A relay on the vhost-user control socket, between the machine and our device.
//!
//! It exists for one message: User Mode Linux 6.1 (arch/um/drivers/virtio_uml.c, `vhost_user_set_mem_table`) always
//! sends `SET_MEM_TABLE` with room for two regions, though it may fill only one, and the `vhost` crate rejects a
//! message whose length does not match its region count. The relay cuts that message to size and passes everything
//! else, descriptors included, as it is. Requests and their data never go through here.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// `VHOST_USER_SET_MEM_TABLE`.
const SET_MEM_TABLE: u32 = 5;
/// `struct vhost_user_msg` header: request, flags, size of the payload.
const HEADER: usize = 12;
/// `VHOST_USER_MAX_MSG_SIZE` of the protocol, with room to spare.
const MAX_PAYLOAD: usize = 1 << 16;

/// Carries messages from one side to the other until either hangs up. One thread per direction.
pub(crate) fn forward(from: &UnixStream, to: &UnixStream) -> io::Result<()> {
    while let Some((mut message, descriptors)) = receive(from)? {
        cut_mem_table(&mut message);
        send(to, &message, &descriptors)?;
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
    Ok(())
}

/// One whole message with its descriptors; `None` at the end of the stream.
fn receive(mut from: &UnixStream) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut message = vec![0; HEADER];
    let mut space = nix::cmsg_space!([RawFd; 32]);
    let (count, descriptors) = {
        let mut parts = [IoSliceMut::new(&mut message)];
        let received = recvmsg::<()>(from.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
        let mut descriptors = Vec::new();
        for control in received.cmsgs()? {
            if let ControlMessageOwned::ScmRights(fds) = control {
                // SAFETY: the kernel has just installed these descriptors for us, and nothing else owns them.
                descriptors.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        (received.bytes, descriptors)
    };
    if count == 0 {
        return Ok(None);
    }
    from.read_exact(&mut message[count..])?;
    let size = word(&message, 8) as usize;
    if size > MAX_PAYLOAD {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a vhost-user message of {size} bytes")));
    }
    message.resize(HEADER + size, 0);
    from.read_exact(&mut message[HEADER..])?;
    Ok(Some((message, descriptors)))
}

fn send(mut to: &UnixStream, message: &[u8], descriptors: &[OwnedFd]) -> io::Result<()> {
    let fds: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let control = [ControlMessage::ScmRights(&fds)];
    let control = if fds.is_empty() { &control[..0] } else { &control[..] };
    let sent = sendmsg::<()>(to.as_raw_fd(), &[IoSlice::new(message)], control, MsgFlags::MSG_NOSIGNAL, None)?;
    to.write_all(&message[sent..])
}

/// Cuts `SET_MEM_TABLE` to the length that its region count asks for: 8 bytes, and 32 a region.
fn cut_mem_table(message: &mut Vec<u8>) {
    if word(message, 0) != SET_MEM_TABLE || message.len() < HEADER + 8 {
        return;
    }
    let payload = (word(message, HEADER) as usize).saturating_mul(32).saturating_add(8);
    if message.len() > HEADER + payload {
        message.truncate(HEADER + payload);
        message[8..12].copy_from_slice(&(payload as u32).to_le_bytes());
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_only_what_is_too_long() {
        let message = |request: u32, regions: u32, payload: usize| {
            let mut message = vec![0; HEADER + payload];
            message[0..4].copy_from_slice(&request.to_le_bytes());
            message[8..12].copy_from_slice(&(payload as u32).to_le_bytes());
            message[12..16].copy_from_slice(&regions.to_le_bytes());
            message
        };
        for (request, regions, payload, expected) in [(5, 1, 72, 40), (5, 2, 72, 72), (5, 1, 40, 40), (6, 1, 72, 72)] {
            let mut message = message(request, regions, payload);
            cut_mem_table(&mut message);
            assert_eq!((message.len(), word(&message, 8) as usize), (HEADER + expected, expected));
        }
    }

    #[test]
    fn carries_descriptors() {
        let (machine, near) = UnixStream::pair().unwrap();
        let (far, device) = UnixStream::pair().unwrap();
        let relay = std::thread::spawn(move || forward(&near, &far));
        let mut message = vec![0; HEADER + 4];
        message[8] = 4;
        let (own, sent) = UnixStream::pair().unwrap();
        send(&machine, &message, &[sent.into()]).unwrap();
        drop(machine);
        let (received, descriptors) = receive(&device).unwrap().unwrap();
        assert_eq!(received, message);
        let mut passed = UnixStream::from(descriptors.into_iter().next().unwrap());
        passed.write_all(b"x").unwrap();
        let mut byte = [0];
        (&own).read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
        relay.join().unwrap().unwrap();
    }
}
