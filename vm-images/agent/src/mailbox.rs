//! The agent's side of the mailbox.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use protocol::{Command, Reply, frame};

use crate::aligned::{ALIGN, Aligned};

/// The largest piece sent or fetched at once, bytes.
const PIECE: usize = 512 << 10;

/// The mailbox disk, opened so that every request reaches the harness.
pub struct Mailbox {
    path: PathBuf,
    disk: File,
    buffer: Aligned,
}

impl Mailbox {
    pub fn open(path: &Path) -> Result<Self, String> {
        let disk = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_DIRECT)
            .open(path)
            .map_err(|error| format!("failed to open the mailbox {}: {error}", path.display()))?;
        Ok(Self { path: path.into(), disk, buffer: Aligned::new(PIECE + ALIGN) })
    }

    /// The same for another thread.
    pub fn another(&self) -> Result<Self, String> {
        Self::open(&self.path)
    }

    /// Waits for the next command.
    pub fn command(&mut self) -> Result<Command, String> {
        let fail = |error| format!("failed to read a command from the mailbox: {error}");
        let head = self.buffer.get(ALIGN);
        self.disk.read_exact_at(head, frame::COMMAND).map_err(fail)?;
        let (length, rest) = head.split_at(8);
        let length = length.iter().rev().fold(0, |n, &byte| n << 8 | usize::from(byte));
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(&rest[..length.min(rest.len())]);
        // The rest of a long command lies behind its head and is there already.
        let mut position = frame::COMMAND + ALIGN as u64;
        while bytes.len() < length {
            let missing = length - bytes.len();
            let piece = self.buffer.get(missing.min(PIECE).next_multiple_of(ALIGN));
            self.disk.read_exact_at(piece, position).map_err(fail)?;
            bytes.extend_from_slice(&piece[..missing.min(piece.len())]);
            position += piece.len() as u64;
        }
        frame::decode(&bytes).map_err(|error| error.to_string())
    }

    /// Sends a reply.
    pub fn reply(&mut self, reply: &Reply) -> Result<(), String> {
        let bytes = frame::encode(reply).map_err(|error| error.to_string())?;
        let pieces = bytes.chunks(PIECE);
        let last = pieces.len() - 1;
        for (index, piece) in pieces.enumerate() {
            self.send(frame::REPLY, index < last, piece)?;
        }
        Ok(())
    }

    /// Reports the end of a step, in order with everything that the data disk has been asked.
    pub fn mark(&mut self, step: u32, result: i64) -> Result<(), String> {
        self.send(frame::MARK, false, &frame::mark(step, result))
    }

    /// How many requests the data disk has completed.
    pub fn completed(&mut self) -> Result<u64, String> {
        let sector = self.buffer.get(512);
        self.disk
            .read_exact_at(sector, frame::COMPLETED)
            .map_err(|error| format!("failed to ask the disk how much it has completed: {error}"))?;
        Ok(sector[..8].iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte)))
    }

    fn send(&mut self, kind: u8, more: bool, piece: &[u8]) -> Result<(), String> {
        let size = (frame::HEADER + piece.len()).next_multiple_of(512);
        let buffer = self.buffer.get(size);
        buffer[..frame::HEADER].copy_from_slice(&frame::header(kind, more, piece.len()));
        buffer[frame::HEADER..frame::HEADER + piece.len()].copy_from_slice(piece);
        buffer[frame::HEADER + piece.len()..].fill(0);
        self.disk
            .write_all_at(buffer, frame::RESULT)
            .map_err(|error| format!("failed to write to the mailbox: {error}"))
    }
}
