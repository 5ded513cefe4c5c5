//! The trace file: a magic, a version, and postcard.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufWriter, Read, Write};

use serde::{Deserialize, Serialize};

use crate::packed::{Packer, unpack};
use crate::{Holes, Op, Tree, thousands};

/// Something the recorder met and could not put into the trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// The system call (`mmap`, `io_uring_setup` …), or what happened (`changed from outside`).
    pub call: String,
    /// On what, and why it could not be followed.
    pub detail: String,
    /// How often.
    pub count: u64,
}

impl fmt::Display for Limit {
    /// `mmap, shared mapping of data.db (2 times)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.call, self.detail)?;
        if self.count > 1 { write!(f, " ({} times)", thousands(self.count)) } else { Ok(()) }
    }
}

/// A call that the recorder refused, as a kernel without it would: ENOSYS. What the program did instead is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
pub struct RefusedCall {
    /// The system call (`io_uring_setup` …).
    pub call: String,
    /// How often.
    pub count: u64,
}

impl fmt::Display for RefusedCall {
    /// `io_uring_setup was refused (ENOSYS, 2 times)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = if self.count > 1 { format!(", {} times", thousands(self.count)) } else { String::new() };
        write!(f, "{} was refused (ENOSYS{times})", self.call)
    }
}

/// One run of one program. By default, of one that does nothing in an empty directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The directory before the run: the durable start state.
    pub before: Tree,
    /// The holes of its files.
    pub holes: Holes,
    /// What the program did.
    pub ops: Vec<Op>,
    /// The directory after the run, read from the host: replaying `ops` on `before` must give this.
    pub after: Tree,
    /// What is missing from `ops`. A trace with any limit must never lead to a `pass`.
    pub limits: Vec<Limit>,
    /// Paths outside the directory that the program wrote to or changed: not tested, said in the report.
    pub outside: Vec<String>,
    /// What the program had to do without.
    pub refused: Vec<RefusedCall>,
    /// The op, an ack, before whose end no crash is explored, by its index: what comes before it was not to be tested.
    pub explored_from: Option<usize>,
}

const MAGIC: &[u8; 8] = b"CCTRACE\n";
/// Raised with every change of the types in this crate that are written to files, and of how they are.
const VERSION: u32 = 6;
/// The same with the zeros of its body ([`crate::packed`]). Still read, as are those before.
const WITH_ZEROS: u32 = 5;
/// The same without [`Trace::explored_from`], which is the last field, and calls that have to do with what is outside
/// ([`Call::Arrive`](crate::Call::Arrive)). Still read.
const WITHOUT_BEGINNING: u32 = 4;
/// Nor calls that have to do with mappings ([`Call::Store`](crate::Call::Store)). Still read.
const WITHOUT_MAPPINGS: u32 = 3;
/// Nor [`Trace::refused`], the field before. Still read: nothing was refused when it was written.
const WITHOUT_REFUSED: u32 = 2;

/// Why bytes are not a trace.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Not ours.
    #[error("this is not a trace file (it does not begin with {:?})", "CCTRACE")]
    Foreign,
    /// From another version of the harness.
    #[error("this trace has format version {found}, this harness reads version {VERSION}: record it again")]
    Version {
        /// The version that the file names.
        found: u32,
    },
    /// Ends too early, or its length or checksum is wrong.
    #[error("this trace file is damaged: {0}")]
    Damaged(String),
}

impl Trace {
    /// The bytes of the trace file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes).expect("memory takes what is written to it");
        bytes
    }

    /// Writes the trace file, without a copy of it in memory: it can have hundreds of MiB.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        // The header says how long the body is and what its checksum is: a pass for each.
        let mut summed = Summed::default();
        serialize(self, &mut summed)?;
        out.write_all(MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        out.write_all(&summed.length.to_le_bytes())?;
        out.write_all(&summed.hasher.finalize().to_le_bytes())?;
        serialize(self, out)
    }

    /// Reads a trace file of `length` bytes. Its header is looked at before there is memory for all of it: whatever may
    /// be so large, and is no trace, takes none.
    ///
    /// # Errors
    /// Those of `file`; within, why it is no trace.
    pub fn read_from(mut file: impl Read, length: u64) -> io::Result<Result<Self, ReadError>> {
        let mut bytes = Vec::new();
        (&mut file).take(HEADER as u64).read_to_end(&mut bytes)?;
        if let Err(error) = Header::read(&bytes, length) {
            return Ok(Err(error));
        }
        file.read_to_end(&mut bytes)?;
        Ok(Self::from_bytes(&bytes))
    }

    /// Reads the bytes of a trace file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReadError> {
        let Header { version, checksum } = Header::read(bytes, bytes.len() as u64)?;
        let body = &bytes[HEADER..];
        if crc32fast::hash(body) != checksum {
            return Err(ReadError::Damaged("its checksum does not match".into()));
        }
        let body = match version {
            // An empty list is its length alone: 0. So is what is not there.
            WITHOUT_REFUSED => Cow::Owned([body, &[0, 0]].concat()),
            WITHOUT_MAPPINGS | WITHOUT_BEGINNING => Cow::Owned([body, &[0]].concat()),
            WITH_ZEROS => Cow::Borrowed(body),
            _ => Cow::Owned(unpack(body).map_err(|error| ReadError::Damaged(error.to_string()))?),
        };
        // No checksum covers the version: a file of one version that claims another has too little or too much.
        match postcard::take_from_bytes(&body) {
            Ok((trace, [])) => Ok(trace),
            Ok((_, rest)) => Err(ReadError::Damaged(format!("{} bytes follow its end", rest.len()))),
            Err(error) => Err(ReadError::Damaged(error.to_string())),
        }
    }
}

/// What a trace file begins with: the magic, the version, the length of the body, its checksum.
const HEADER: usize = MAGIC.len() + 16;

struct Header {
    version: u32,
    checksum: u32,
}

impl Header {
    /// Reads what a file of `length` bytes begins with.
    fn read(bytes: &[u8], length: u64) -> Result<Self, ReadError> {
        let rest = bytes.strip_prefix(MAGIC.as_slice()).ok_or(ReadError::Foreign)?;
        let header = rest.get(..16).ok_or_else(|| ReadError::Damaged("it ends inside its header".into()))?;
        let number =
            |range: std::ops::Range<usize>| header[range].iter().rev().fold(0u64, |n, &b| n << 8 | u64::from(b));
        let version = number(0..4) as u32;
        if ![WITHOUT_REFUSED, WITHOUT_MAPPINGS, WITHOUT_BEGINNING, WITH_ZEROS, VERSION].contains(&version) {
            return Err(ReadError::Version { found: version });
        }
        let (expected, there) = (number(4..12), length.saturating_sub(HEADER as u64));
        if there != expected {
            return Err(ReadError::Damaged(format!("its header promises {expected} bytes, {there} are there")));
        }
        Ok(Self { version, checksum: number(12..16) as u32 })
    }
}

/// Writes the body of the file to `out`.
fn serialize(trace: &Trace, out: &mut impl Write) -> io::Result<()> {
    // Most of what postcard writes is single bytes.
    let mut out = Telling { out: Packer::new(BufWriter::new(out)), error: None };
    let written = postcard::to_io(trace, &mut out).map(drop);
    written.map_err(|error| out.error.take().unwrap_or_else(|| io::Error::other(error)))?;
    out.out.finish()?.flush()
}

/// A writer whose error is known afterwards: postcard says only that there was one.
struct Telling<W> {
    out: W,
    error: Option<io::Error>,
}

impl<W: Write> Write for Telling<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write_all(bytes);
        written.map(|()| bytes.len()).inspect_err(|error| self.error = Some(copy_of(error)))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush().inspect_err(|error| self.error = Some(copy_of(error)))
    }
}

fn copy_of(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => error.kind().into(),
    }
}

/// Keeps nothing of what is written, but its length and its checksum.
#[derive(Default)]
struct Summed {
    length: u64,
    hasher: crc32fast::Hasher,
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.length += bytes.len() as u64;
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_of_the_version_before_are_read() {
        let refused = RefusedCall { call: "io_uring_setup".into(), count: 2 };
        let trace = Trace {
            command: vec!["save".into()],
            before: Tree::default(),
            holes: Holes::new(),
            ops: vec![],
            after: Tree::default(),
            limits: vec![],
            outside: vec!["/elsewhere".into()],
            refused: vec![],
            explored_from: None,
        };
        let file = |version: u32, body: &[u8]| {
            let (length, sum) = ((body.len() as u64).to_le_bytes(), crc32fast::hash(body).to_le_bytes());
            [&MAGIC[..], &version.to_le_bytes(), &length, &sum, body].concat()
        };
        let body = postcard::to_stdvec(&trace).unwrap();
        assert_eq!(Trace::from_bytes(&file(WITH_ZEROS, &body)), Ok(trace.clone()));
        // Without where it begins, and the length of the list, which is empty.
        let body = body.strip_suffix(&[0, 0]).unwrap();
        let old = file(WITHOUT_REFUSED, body);
        assert_eq!(Trace::from_bytes(&old), Ok(trace.clone()));
        let trace = Trace { refused: vec![refused], ..trace };
        assert_eq!(Trace::from_bytes(&trace.to_bytes()), Ok(trace.clone()));
        for mut claims in [old, Trace { refused: vec![], ..trace.clone() }.to_bytes(), trace.to_bytes()] {
            claims[MAGIC.len()] ^= (VERSION ^ WITHOUT_REFUSED) as u8;
            assert!(matches!(Trace::from_bytes(&claims), Err(ReadError::Damaged(_))), "the other version");
        }
        assert_eq!(trace.refused[0].to_string(), "io_uring_setup was refused (ENOSYS, 2 times)");
    }

    /// Of a file that is a gigabyte of holes, no more is read than a header has.
    #[test]
    fn what_is_no_trace_takes_no_memory() {
        struct Counted<T>(T, u64);
        impl<T: Read> Read for Counted<T> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let read = self.0.read(buffer)?;
                self.1 += read as u64;
                Ok(read)
            }
        }
        let good = Trace { command: vec!["save".into()], ..Trace::default() }.to_bytes();
        let read = |bytes: &[u8], length: u64| {
            let mut file = Counted(bytes.chain(io::repeat(0)).take(length), 0);
            (Trace::read_from(&mut file, length).unwrap(), file.1)
        };
        assert_eq!(read(&good, good.len() as u64), (Trace::from_bytes(&good), good.len() as u64));
        for bytes in [&good[..], &[]] {
            let (trace, count) = read(bytes, 1 << 30);
            assert!(trace.is_err() && count == HEADER as u64, "{count} bytes");
        }
    }

    /// The command line wants to know of a full disk that it is one.
    #[test]
    fn what_a_writer_refuses_is_told() {
        let mut full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let trace = Trace { command: vec!["x".repeat(1 << 20)], ..Trace::default() };
        assert_eq!(trace.write_to(&mut full).unwrap_err().kind(), io::ErrorKind::StorageFull);
        let mut room = [0; 100];
        assert_eq!(trace.write_to(&mut room.as_mut_slice()).unwrap_err().kind(), io::ErrorKind::WriteZero);
    }
}
