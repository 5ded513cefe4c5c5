//! How commands, results and marks lie in the mailbox.
//!
//! Commands and replies are packed: without long runs of zeros ([`program::packed`]).
//!
//! A command is read at [`COMMAND`]: its length (8 bytes, little-endian), then its bytes. A frame is written at
//! [`RESULT`]: a kind, 1 if more of the same result follows, two zeros, the length of the piece (4 bytes,
//! little-endian), the piece, and zeros up to a whole sector. A mark's piece is its step (4 bytes) and the result of
//! the call (8 bytes).

use program::packed::{Packer, unpack};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Where a command is read, in bytes.
pub const COMMAND: u64 = 1 << 30;
/// Where it is read how many requests the data disk has completed so far (8 bytes, little-endian).
pub const COMPLETED: u64 = 3 << 29;
/// Where frames are written, in bytes.
pub const RESULT: u64 = 2 << 30;
/// What the harness's mailbox says when it is asked for its name.
pub const MAILBOX_SERIAL: &str = "crash-harness-mail";
/// What the data disk says.
pub const DATA_SERIAL: &str = "crash-harness-data";
/// Kind of a frame that marks the end of a step.
pub const MARK: u8 = b'M';
/// Kind of a frame that holds a piece of a reply.
pub const REPLY: u8 = b'R';
/// The step of the mark that begins the log: all before it is the durable start state.
pub const BEGIN: u32 = u32::MAX;
/// The step of the mark that ends the log.
pub const END: u32 = u32::MAX - 1;
/// The step of the mark from which on the disk is lazy: it completes no write before [`RELEASE`] or [`EAGER`].
pub const LAZY: u32 = u32::MAX - 2;
/// The step of the mark at which a lazy disk completes the writes that came last: those that were issued since the mark
/// before, or if there are none, since the one before that, and so on. Sent when somebody waits.
pub const RELEASE: u32 = u32::MAX - 3;
/// The step of the mark at which the disk completes what waits, and from which on it is lazy no more.
pub const EAGER: u32 = u32::MAX - 4;
/// The step of the mark at which a crash state has been mounted: recovery is over.
pub const MOUNTED: u32 = u32::MAX - 5;
/// The step of the mark at which names and metadata of a crash state are known: what is read in requests of more than
/// one chunk from here on is read ahead, from files.
pub const CONTENTS: u32 = u32::MAX - 6;
/// The step of the mark from which on a lazy disk, before it serves a flush, completes the writes that came since the step
/// before had ended, so that the flush covers them: see [`FlushCovers::OwnWrites`](filesystems::FlushCovers::OwnWrites).
pub const FLUSH_COVERS_OWN: u32 = u32::MAX - 7;

/// Bytes of a frame before its piece.
pub const HEADER: usize = 8;

/// The header of a frame.
pub fn header(kind: u8, more: bool, length: usize) -> [u8; HEADER] {
    let length = (length as u32).to_le_bytes();
    [kind, u8::from(more), 0, 0, length[0], length[1], length[2], length[3]]
}

/// The piece of a mark.
pub fn mark(step: u32, result: i64) -> [u8; 12] {
    let mut piece = [0; 12];
    piece[..4].copy_from_slice(&step.to_le_bytes());
    piece[4..].copy_from_slice(&result.to_le_bytes());
    piece
}

/// What was written at [`RESULT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The end of a step.
    Mark {
        /// Which one; [`BEGIN`] and [`END`] are none.
        step: u32,
        /// What the call returned, or the negative errno.
        result: i64,
    },
    /// A part of a reply.
    Reply {
        /// Its bytes.
        piece: &'a [u8],
        /// Whether another part follows.
        more: bool,
    },
}

/// Reads a frame, padding and all; `None` if it is none.
pub fn parse(bytes: &[u8]) -> Option<Frame<'_>> {
    let (&[kind, more, _, _, a, b, c, d], rest) = bytes.split_first_chunk::<HEADER>()?;
    let piece = rest.get(..u32::from_le_bytes([a, b, c, d]) as usize)?;
    match kind {
        MARK => {
            let (step, result) = piece.split_first_chunk()?;
            Some(Frame::Mark { step: u32::from_le_bytes(*step), result: i64::from_le_bytes(result.try_into().ok()?) })
        }
        REPLY => Some(Frame::Reply { piece, more: more != 0 }),
        _ => None,
    }
}

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
#[error("the guest agent and the harness do not understand each other (are they of one build?): {0}")]
pub struct Garbled(String);

impl From<postcard::Error> for Garbled {
    fn from(error: postcard::Error) -> Self {
        Self(error.to_string())
    }
}

/// The bytes of a command or reply.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, Garbled> {
    let packer = postcard::to_io(message, Packer::new(Vec::new()))?;
    packer.finish().map_err(|error| Garbled(error.to_string()))
}

/// Reads the bytes of a command or reply.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Garbled> {
    let bytes = unpack(bytes).map_err(|error| Garbled(error.to_string()))?;
    Ok(postcard::from_bytes(&bytes)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the agent writes it.
    fn frame(kind: u8, more: bool, piece: &[u8]) -> Vec<u8> {
        let mut bytes = [&header(kind, more, piece.len()), piece].concat();
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    proptest! {
        #[test]
        fn a_mark_comes_back_as_it_was(step: u32, result: i64) {
            let bytes = frame(MARK, false, &mark(step, result));
            prop_assert_eq!(parse(&bytes), Some(Frame::Mark { step, result }));
        }

        #[test]
        fn a_reply_comes_back_as_it_was(piece in prop::collection::vec(any::<u8>(), 0..1100), more: bool) {
            let bytes = frame(REPLY, more, &piece);
            prop_assert_eq!(parse(&bytes), Some(Frame::Reply { piece: &piece, more }));
        }

        #[test]
        fn what_the_guest_writes_makes_nothing_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&bytes);
        }
    }

    #[test]
    fn what_is_cut_short_or_unknown_is_no_frame() {
        let reply = [header(REPLY, false, 3).as_slice(), b"abc"].concat();
        assert!(parse(&reply).is_some());
        assert_eq!(parse(&reply[..reply.len() - 1]), None);
        assert_eq!(parse(&reply[..HEADER - 1]), None);
        assert_eq!(parse(&frame(MARK, false, &mark(1, 2)[..11])), None);
        assert_eq!(parse(&frame(MARK, false, &[0; 13])), None);
        assert_eq!(parse(&frame(b'?', false, b"abc")), None);
    }
}
