//! What a recording holds of a running program: the data of its writes and acks, in a file, and how much all of it is.

use std::io;
use std::mem::size_of;
use std::sync::Arc;

use program::{Arrival, Call, Channel, Op, RelPath, Target, sparse};

use crate::spec::FILLED_LIMIT;
use crate::spill::Spill;
use crate::supervise::{Printed, Stop};

/// What ops may take in memory beside their data, bytes: this is about a million of them.
pub(crate) const OPS_LIMIT: u64 = 256 << 20;
/// What an op takes at least: itself, its piece, the name of its call, and the allocations of its data.
const OP_SIZE: u64 = (size_of::<Op>() + size_of::<Piece>() + 96) as u64;

/// Where the data of an op are.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// They were seen when the call returned.
    Seen,
    /// They never were in the program's memory, or not any more: in what came out of this pipe.
    Printed(Channel),
}

/// The data of one op.
#[derive(Debug)]
struct Piece {
    op: usize,
    source: Source,
    start: u64,
    length: u64,
}

/// The data of ops, which get them when the program has ended, and what they and the ops come to.
#[derive(Debug)]
pub(crate) struct Kept {
    seen: Spill,
    pieces: Vec<Piece>,
    written: u64,
    /// What was seen, without blocks of zeros.
    filled: u64,
    /// To standard output, to standard error, over sockets.
    acked: [u64; 3],
    data_limit: u64,
    ops: u64,
}

impl Kept {
    /// Of a program that may write, print and send so many bytes.
    pub(crate) fn new(data_limit: u64) -> Self {
        Self { seen: Spill::default(), pieces: Vec::new(), written: 0, filled: 0, acked: [0; 3], data_limit, ops: 0 }
    }

    /// Counts bytes that were written to a file. Errors: they are too many, and not to be kept.
    pub(crate) fn count_written(&mut self, length: u64) -> Result<(), Stop> {
        self.written += length;
        self.within_limit()
    }

    /// Counts bytes that left the program; gives how many left it there before. Errors: as above.
    pub(crate) fn count_acked(&mut self, channel: Channel, length: u64) -> Result<u64, Stop> {
        let count = &mut self.acked[channel as usize];
        let before = *count;
        *count += length;
        self.within_limit().map(|()| before)
    }

    fn within_limit(&self) -> Result<(), Stop> {
        let is_within = self.written + self.printed() <= self.data_limit && !self.is_filled();
        if is_within { Ok(()) } else { Err(Stop::TooMuchData) }
    }

    /// Whether there is more than can be held although zeros take no memory.
    pub(crate) fn is_filled(&self) -> bool {
        self.filled > FILLED_LIMIT
    }

    /// Counts an op that is to be held. Errors: that would be too many.
    pub(crate) fn count_op(&mut self, op: &Op) -> Result<(), Stop> {
        self.ops += OP_SIZE + names(&op.call) as u64;
        if self.ops > OPS_LIMIT { Err(Stop::TooManyCalls) } else { Ok(()) }
    }

    /// What was written to files, bytes.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// What was printed and sent, bytes.
    pub(crate) fn printed(&self) -> u64 {
        self.acked.iter().sum()
    }

    /// What acks say was printed there, bytes.
    pub(crate) fn acked(&self, channel: Channel) -> u64 {
        self.acked[channel as usize]
    }

    /// Where what is seen next will be.
    pub(crate) fn next(&self) -> u64 {
        self.seen.length()
    }

    /// Keeps bytes that were seen. Errors: they could not be kept.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.filled += sparse::filled(bytes);
        self.seen.append(bytes);
        if self.seen.has_failed() { Err(Stop::NotKept) } else { self.within_limit() }
    }

    /// The data of op number `op` are `length` bytes that were seen, from `start` on.
    pub(crate) fn were_seen(&mut self, op: usize, start: u64, length: u64) {
        self.pieces.push(Piece { op, source: Source::Seen, start, length });
    }

    /// The data of op number `op` are `length` bytes of what came out of a pipe, from `start` on.
    pub(crate) fn were_printed(&mut self, op: usize, channel: Channel, start: u64, length: u64) {
        self.pieces.push(Piece { op, source: Source::Printed(channel), start, length });
    }

    /// So many ops come before those that there are.
    pub(crate) fn shift(&mut self, ops: usize) {
        self.pieces.iter_mut().for_each(|piece| piece.op += ops);
    }

    /// Why data could not be kept.
    pub(crate) fn failure(&mut self) -> Option<io::Error> {
        self.seen.failure()
    }

    /// Gives all ops their data. Errors: those of temporary files.
    pub(crate) fn fill(mut self, ops: &mut [Op], printed: &mut Printed) -> io::Result<()> {
        for piece in std::mem::take(&mut self.pieces) {
            self.fill_one(ops, printed, &piece, piece.length)?;
        }
        Ok(())
    }

    /// Gives the last acks their data, and none to others: `most` bytes in all.
    pub(crate) fn fill_end(mut self, ops: &mut [Op], printed: &mut Printed, most: u64) -> io::Result<()> {
        let mut left = most;
        for piece in std::mem::take(&mut self.pieces).iter().rev() {
            if matches!(ops.get(piece.op), Some(Op { call: Call::Ack { .. }, .. })) {
                let length = piece.length.min(left);
                self.fill_one(ops, printed, piece, length)?;
                left -= length;
            }
        }
        Ok(())
    }

    /// Gives an op the last `length` bytes of its data.
    fn fill_one(&mut self, ops: &mut [Op], printed: &mut Printed, piece: &Piece, length: u64) -> io::Result<()> {
        let from = match piece.source {
            Source::Seen => &mut self.seen,
            Source::Printed(Channel::Stdout) => &mut printed.stdout,
            Source::Printed(_) => &mut printed.stderr,
        };
        // What never came out stays unknown: it is told that there is a difference.
        let bytes = from.read(piece.start + (piece.length - length), length)?.unwrap_or_default();
        match ops.get_mut(piece.op).map(|op| &mut op.call) {
            Some(Call::Write { data, .. } | Call::Store { data, .. }) => {
                *data = if sparse::is_zero(&bytes) { sparse::zeros(bytes.len()) } else { Arc::new(bytes) };
            }
            Some(Call::Ack { data, .. }) => *data = bytes,
            _ => {}
        }
        Ok(())
    }
}

/// The bytes that a call holds beside its data: names, and what is in an attribute or a link.
fn names(call: &Call) -> usize {
    let length = |path: &RelPath| path.as_path().as_os_str().len();
    let target = |target: &Target| match target {
        Target::Path(path) | Target::NoFollow(path) => length(path),
        Target::Handle(_) => 0,
    };
    match call {
        Call::Open { path, .. }
        | Call::Mkdir { path, .. }
        | Call::Mknod { path, .. }
        | Call::Unlink { path }
        | Call::Rmdir { path } => length(path),
        Call::Arrive { entries, to, .. } => {
            let held = |entry: &Arrival| {
                let xattrs = entry.xattrs.iter().map(|(name, value)| name.len() + value.len());
                size_of::<Arrival>() + length(&entry.path) + xattrs.sum::<usize>()
            };
            length(to) + entries.iter().map(held).sum::<usize>()
        }
        Call::Leave { path } => length(path),
        Call::Symlink { path, target } => length(path) + target.len(),
        Call::Link { from, to } => target(from) + length(to),
        Call::Rename { from, to, .. } => length(from) + length(to),
        Call::Truncate { target: at, .. }
        | Call::Chmod { target: at, .. }
        | Call::Chown { target: at, .. }
        | Call::SetTimes { target: at, .. } => target(at),
        Call::SetXattr { target: at, name, value, .. } => target(at) + name.len() + value.len(),
        Call::RemoveXattr { target: at, name } => target(at) + name.len(),
        Call::Close { .. }
        | Call::Write { .. }
        | Call::CopyRange { .. }
        | Call::Allocate { .. }
        | Call::Fsync { .. }
        | Call::Fdatasync { .. }
        | Call::SyncRange { .. }
        | Call::SyncFs { .. }
        | Call::SyncAll
        | Call::Ack { .. }
        | Call::Exit { .. }
        | Call::DontNeed { .. }
        | Call::Store { .. }
        | Call::Msync { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(channel: Channel) -> Op {
        Op { call: Call::Ack { channel, data: Vec::new() }, syscall: "write".into(), result: 0, thread: 0 }
    }

    fn data(ops: &[Op]) -> Vec<&[u8]> {
        ops.iter().map(|op| if let Call::Ack { data, .. } = &op.call { data.as_slice() } else { b"?" }).collect()
    }

    /// Three acks: seen, from the pipe, and one of which nothing came out.
    fn three() -> (Kept, Vec<Op>, Printed) {
        let mut kept = Kept::new(20);
        kept.append(b"seen").unwrap();
        kept.were_seen(0, 0, 4);
        kept.were_printed(1, Channel::Stderr, 2, 5);
        kept.were_printed(2, Channel::Stdout, 0, 1);
        let mut printed = Printed::default();
        printed.stderr.append(b"--from a pipe");
        (kept, vec![ack(Channel::Socket), ack(Channel::Stderr), ack(Channel::Stdout)], printed)
    }

    #[test]
    fn ops_get_their_data() {
        let (kept, mut ops, mut printed) = three();
        kept.fill(&mut ops, &mut printed).unwrap();
        assert_eq!(data(&ops), [b"seen".as_slice(), b"from ", b""]);
        let (kept, mut ops, mut printed) = three();
        kept.fill_end(&mut ops, &mut printed, 8).unwrap();
        assert_eq!(data(&ops), [b"en".as_slice(), b"from ", b""]);
    }

    /// Zeros take no memory, and what is not zeros does.
    #[test]
    fn what_is_not_zeros_has_a_limit_of_its_own() {
        let mut kept = Kept::new(1 << 40);
        for _ in 0..2 * (FILLED_LIMIT >> 20) {
            assert_eq!(kept.append(&vec![0; 1 << 20]), Ok(()));
        }
        assert!(!kept.is_filled());
        for _ in 0..FILLED_LIMIT >> 20 {
            assert_eq!(kept.append(&vec![1; 1 << 20]), Ok(()));
        }
        assert_eq!(kept.append(&[1]), Err(Stop::TooMuchData));
        assert!(kept.is_filled());
    }

    #[test]
    fn everything_is_counted() {
        let mut kept = Kept::new(20);
        assert_eq!(kept.count_written(10), Ok(()));
        assert_eq!(kept.count_acked(Channel::Stdout, 3), Ok(0));
        assert_eq!(kept.count_acked(Channel::Socket, 4), Ok(0));
        assert_eq!(kept.count_acked(Channel::Stdout, 3), Ok(3));
        assert_eq!(kept.count_written(1), Err(Stop::TooMuchData));
        assert_eq!((kept.written(), kept.printed(), kept.acked(Channel::Stdout)), (11, 10, 6));

        let long =
            Call::SetXattr { target: Target::Path("f".into()), name: vec![0; 15], value: vec![0; 65_520], flags: 0 };
        let op = Op { call: long, ..ack(Channel::Stdout) };
        let held = (0..10_000).take_while(|_| kept.count_op(&op).is_ok()).count() as u64;
        assert_eq!(held, OPS_LIMIT / (65_536 + OP_SIZE));
    }
}
