//! A stream of bytes without its long runs of zeros: trace files, and what harness and agent say to each other.
//!
//! Pieces follow each other: how many zeros (8 bytes, little-endian), how many other bytes (the same), and these. What is
//! said of it holds for whole blocks of the stream, so that the same bytes are packed the same way however they are written.

use std::io::{self, Write};

use crate::sparse::{BLOCK, is_zero};

/// Bytes of what comes before a piece.
const HEADER: usize = 16;

/// The most bytes in a piece that are not left out.
const PIECE: usize = 1 << 20;

/// The longest stream that is unpacked, bytes: more than all that a workload may have, before, after, and in its writes. Whoever
/// made the packed one may have promised anything.
pub const LONGEST: u64 = 1 << 30;

/// Why bytes are no packed stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    /// They end too early.
    #[error("it ends inside a piece")]
    CutShort,
    /// They stand for more than is ever packed.
    #[error("it stands for more than {} MiB", LONGEST >> 20)]
    TooLong,
}

/// Packs what is written to it. Nothing is whole before [`Packer::finish`].
#[derive(Debug)]
pub struct Packer<W> {
    out: W,
    zeros: u64,
    /// What follows the zeros.
    piece: Vec<u8>,
    /// The beginning of a block.
    block: Vec<u8>,
}

impl<W: Write> Packer<W> {
    /// Packs to `out`.
    pub fn new(out: W) -> Self {
        Self { out, zeros: 0, piece: Vec::new(), block: Vec::with_capacity(BLOCK) }
    }

    fn take(&mut self, block: &[u8]) -> io::Result<()> {
        if is_zero(block) {
            if !self.piece.is_empty() {
                self.end_piece()?;
            }
            self.zeros += block.len() as u64;
        } else {
            self.piece.extend_from_slice(block);
            if self.piece.len() >= PIECE {
                self.end_piece()?;
            }
        }
        Ok(())
    }

    fn end_piece(&mut self) -> io::Result<()> {
        self.out.write_all(&self.zeros.to_le_bytes())?;
        self.out.write_all(&(self.piece.len() as u64).to_le_bytes())?;
        self.out.write_all(&self.piece)?;
        self.zeros = 0;
        self.piece.clear();
        Ok(())
    }

    /// Ends the stream; gives what it was packed to.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn finish(mut self) -> io::Result<W> {
        let block = std::mem::take(&mut self.block);
        self.take(&block)?;
        if self.zeros > 0 || !self.piece.is_empty() {
            self.end_piece()?;
        }
        Ok(self.out)
    }
}

impl<W: Write> Write for Packer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.block.is_empty() && rest.len() >= BLOCK {
                let (block, behind) = rest.split_at(BLOCK);
                self.take(block)?;
                rest = behind;
                continue;
            }
            let (part, behind) = rest.split_at(rest.len().min(BLOCK - self.block.len()));
            self.block.extend_from_slice(part);
            rest = behind;
            if self.block.len() == BLOCK {
                let mut block = std::mem::take(&mut self.block);
                self.take(&block)?;
                block.clear();
                self.block = block;
            }
        }
        Ok(bytes.len())
    }

    /// What is not a whole piece waits.
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The stream. Zeros of it take no memory.
///
/// # Errors
/// It is none, or too long.
pub fn unpack(packed: &[u8]) -> Result<Vec<u8>, UnpackError> {
    let mut length = 0u64;
    let mut rest = packed;
    while let Some(Piece { zeros, bytes: piece, behind }) = next(rest)? {
        let more = zeros.checked_add(piece.len() as u64);
        let sum = more.and_then(|more| length.checked_add(more)).filter(|sum| *sum <= LONGEST);
        length = sum.ok_or(UnpackError::TooLong)?;
        rest = behind;
    }
    let mut bytes = vec![0; length as usize];
    let (mut at, mut rest) = (0, packed);
    while let Some(Piece { zeros, bytes: piece, behind }) = next(rest)? {
        at += zeros as usize;
        bytes[at..at + piece.len()].copy_from_slice(piece);
        at += piece.len();
        rest = behind;
    }
    Ok(bytes)
}

/// The first piece of a packed stream.
struct Piece<'a> {
    zeros: u64,
    /// What follows the zeros.
    bytes: &'a [u8],
    /// The rest of the packed stream.
    behind: &'a [u8],
}

/// The first piece, if there is one.
fn next(packed: &[u8]) -> Result<Option<Piece<'_>>, UnpackError> {
    if packed.is_empty() {
        return Ok(None);
    }
    let (header, rest) = packed.split_first_chunk::<HEADER>().ok_or(UnpackError::CutShort)?;
    let number = |at: usize| header[at..at + 8].iter().rev().fold(0u64, |n, &byte| n << 8 | u64::from(byte));
    let length = usize::try_from(number(8)).ok().filter(|length| *length <= rest.len());
    let (piece, behind) = rest.split_at(length.ok_or(UnpackError::CutShort)?);
    Ok(Some(Piece { zeros: number(0), bytes: piece, behind }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(parts: &[Vec<u8>]) -> Vec<u8> {
        let mut packer = Packer::new(Vec::new());
        parts.iter().for_each(|part| packer.write_all(part).unwrap());
        packer.finish().unwrap()
    }

    proptest! {
        #[test]
        fn a_stream_comes_back_as_it_was(
            parts in prop::collection::vec((prop::option::of(any::<u8>()), 0usize..20_000), 0..12),
        ) {
            let parts: Vec<Vec<u8>> =
                parts.into_iter().map(|(byte, length)| vec![byte.unwrap_or(0); length]).collect();
            let whole = parts.concat();
            let bytes = packed(&parts);
            prop_assert_eq!(&unpack(&bytes).unwrap(), &whole);
            prop_assert_eq!(packed(&[whole]), bytes);
        }

        #[test]
        fn what_anybody_made_makes_nothing_panic(bytes in prop::collection::vec(prop_oneof![3 => Just(0u8), 1 => any::<u8>()], 0..80)) {
            let _ = unpack(&bytes);
        }
    }

    #[test]
    fn zeros_are_left_out() {
        let zeros = vec![0; 64 << 20];
        let bytes = packed(&[b"before".to_vec(), zeros, b"behind".to_vec()]);
        assert!(bytes.len() < 3 * BLOCK, "{}", bytes.len());
        assert_eq!(unpack(&bytes).unwrap().len(), (64 << 20) + 12);
    }

    #[test]
    fn what_is_cut_short_or_promises_too_much_is_refused() {
        let bytes = packed(&[b"a few bytes".to_vec()]);
        assert_eq!(unpack(&bytes[..bytes.len() - 1]), Err(UnpackError::CutShort));
        assert_eq!(unpack(&bytes[..HEADER - 1]), Err(UnpackError::CutShort));
        for zeros in [u64::MAX, LONGEST + 1] {
            let promise = [zeros.to_le_bytes(), 0u64.to_le_bytes()].concat();
            assert_eq!(unpack(&promise), Err(UnpackError::TooLong));
            assert_eq!(unpack(&[promise.clone(), promise].concat()), Err(UnpackError::TooLong));
        }
    }
}
