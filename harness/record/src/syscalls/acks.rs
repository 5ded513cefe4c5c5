//! What leaves the program: to its standard output and error, and over sockets.

use std::io;

use libc::pid_t;
use program::{Call, Channel};

use super::{AtEntry, ExitAction};
use crate::files::Descriptor;
use crate::recorder::Recorder;
use crate::remote::{self, Span};
use crate::stop::Asked;

pub(super) fn socketpair(_: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    Ok(AtEntry::free(ExitAction::SocketPair { address: call.args[3] }))
}

pub(super) fn sendto(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    Ok(match recorder.channel(call.tid, call.fd(0), name(call.args[4], call.args[5])) {
        Some(channel) => AtEntry::free(ExitAction::Ack { channel, spans: vec![call.span(1, 2)] }),
        None => AtEntry::Pass,
    })
}

pub(super) fn sendmsg(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    // `msg_name`, `msg_namelen`, `msg_iov` and `msg_iovlen` of `struct msghdr`.
    let [to, length, vector, count] = remote::words(call.tid, call.args[1])?;
    Ok(match recorder.channel(call.tid, call.fd(0), name(to, length & 0xffff_ffff)) {
        Some(channel) => AtEntry::free(ExitAction::Ack { channel, spans: remote::iovecs(call.tid, vector, count)? }),
        None => AtEntry::Pass,
    })
}

pub(super) fn sendmmsg(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    let messages = call.args[1];
    // The first message's receiver stands for all.
    let [to, length] = remote::words(call.tid, messages)?;
    Ok(match recorder.channel(call.tid, call.fd(0), name(to, length & 0xffff_ffff)) {
        Some(channel) => AtEntry::free(ExitAction::Acks { channel, address: messages }),
        None => AtEntry::Pass,
    })
}

pub(super) fn vmsplice(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    Ok(match recorder.channel(call.tid, call.fd(0), None) {
        Some(channel) => AtEntry::free(ExitAction::UnseenAck { channel }),
        None => AtEntry::Pass,
    })
}

/// A `struct sockaddr` argument; none longer than the kernel takes (`struct sockaddr_storage`).
fn name(address: u64, length: u64) -> Option<Span> {
    let fits = (1..=size_of::<libc::sockaddr_storage>() as u64).contains(&length);
    (address != 0 && fits).then_some(Span { address, length })
}

impl Recorder<'_> {
    /// Through what bytes that are written to a descriptor leave the program; `name` is where they go, if the call says
    /// it. `None`: it is no channel, or somebody who is recorded too gets them.
    pub(super) fn channel(&mut self, tid: pid_t, fd: i32, name: Option<Span>) -> Option<Channel> {
        let Some(Descriptor::Channel(channel)) = self.descriptor(tid, fd) else { return None };
        (channel != Channel::Socket || !self.stays_within(tid, fd, name)).then_some(channel)
    }

    /// Remembers both sockets, whose descriptors are a `[int; 2]` in the program's memory.
    pub(super) fn paired(&mut self, tid: pid_t, address: u64) -> io::Result<()> {
        for descriptor in 0..2 {
            let fd = i32::from_ne_bytes(remote::array(tid, address + 4 * descriptor)?);
            let name = remote::fd_name(tid, fd)?;
            self.paired.extend(name.to_str().and_then(|name| remote::inode("socket", name)));
        }
        Ok(())
    }

    pub(super) fn acked(
        &mut self,
        tid: pid_t,
        name: &str,
        channel: Channel,
        spans: &[Span],
        length: u64,
    ) -> io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        let before = match self.recorded.kept.count_acked(channel, length) {
            Ok(before) => before,
            Err(stop) => {
                self.shared.set_stop(stop);
                return Ok(());
            }
        };
        match self.keep_from_memory(tid, spans, length) {
            Ok(start) => {
                self.recorded.kept.were_seen(self.recorded.ops.len(), start, length);
                self.push(tid, name, Call::Ack { channel, data: Vec::new() }, length as i64);
                Ok(())
            }
            Err(error) if channel == Channel::Socket => Err(error),
            Err(_) => {
                self.push_unseen(tid, name, channel, before, length);
                Ok(())
            }
        }
    }

    pub(super) fn acked_many(
        &mut self,
        tid: pid_t,
        name: &str,
        channel: Channel,
        address: u64,
        messages: u64,
    ) -> io::Result<()> {
        // `struct mmsghdr`: a `struct msghdr` of 56 bytes, and how much of it was sent.
        for index in 0..messages {
            let header = address + 64 * index;
            let [_, _, vector, count, _, _, _, sent] = remote::words(tid, header)?;
            let spans = remote::iovecs(tid, vector, count)?;
            self.acked(tid, name, channel, &spans, sent & 0xffff_ffff)?;
        }
        Ok(())
    }

    /// Bytes left that never were in the program's memory, or are not there any more.
    pub(super) fn acked_unseen(&mut self, tid: pid_t, name: &str, channel: Channel, length: u64) {
        if length == 0 {
            return;
        }
        if channel == Channel::Socket {
            self.unmodelled(name, "what it sent over a socket was not in the program's memory");
            return;
        }
        match self.recorded.kept.count_acked(channel, length) {
            Ok(before) => self.push_unseen(tid, name, channel, before, length),
            Err(stop) => self.shared.set_stop(stop),
        }
    }

    /// Writes an ack down whose data are to be taken from what its pipe carried, behind `before` bytes.
    fn push_unseen(&mut self, tid: pid_t, name: &str, channel: Channel, before: u64, length: u64) {
        self.recorded.kept.were_printed(self.recorded.ops.len(), channel, before, length);
        self.push(tid, name, Call::Ack { channel, data: Vec::new() }, length as i64);
    }
}
