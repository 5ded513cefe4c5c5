//! How commands, results and marks lie in the mailbox.
//!
//! A command is read at [`COMMAND`]: its length (8 bytes, little-endian), then its bytes. A frame is written at
//! [`RESULT`]: a kind, 1 if more of the same result follows, two zeros, the length of the piece (4 bytes,
//! little-endian), the piece, and zeros up to a whole sector. A mark's piece is its step (4 bytes) and the result of
//! the call (8 bytes).

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Where a command is read, in bytes.
pub const COMMAND: u64 = 1 << 30;
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

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
#[error("the guest agent and the harness do not understand each other (are they of one build?): {0}")]
pub struct Garbled(#[from] postcard::Error);

/// The bytes of a command or reply.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, Garbled> {
    Ok(postcard::to_stdvec(message)?)
}

/// Reads the bytes of a command or reply.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Garbled> {
    Ok(postcard::from_bytes(bytes)?)
}
