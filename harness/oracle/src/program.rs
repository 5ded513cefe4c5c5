//! Small programs of file operations, with what the kernel does meanwhile. The same program runs natively
//! ([`crate::native`]) and, as a trace, in the harness's guest.

use std::fmt;
use std::sync::Arc;

use program::{Call, Op as TraceOp, RelPath, Trace};
use serde::{Deserialize, Serialize};

pub use crate::op::Op;

/// Bytes of what a letter stands for.
pub const PAGE: u64 = 4096;

/// What happens that the program did not ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Background {
    /// The disk does not answer data writes from here on: all, or those with one of these letters.
    Hold(Option<String>),
    /// It answers them.
    Release,
    /// A part of a file is written back: length 0 is to its end.
    WriteBack {
        /// The file.
        path: String,
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// All files are written back.
    WriteBackAll,
    /// The file system commits, with nobody's data: an fsync of an unrelated file; on btrfs its own ioctls.
    Commit,
    /// Somebody else calls syncfs(2).
    SyncFs,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// The program does this. It has ended before the program's next one; background work may happen while it waits.
    Op(Op),
    /// This happens.
    Background(Background),
}

/// What is there in the beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// A file: a letter for each page.
    File(String),
    /// Another name of a file.
    Link(String),
    /// A directory.
    Directory,
}

/// A program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The durable start state, in order of making.
    pub start: Vec<(String, Start)>,
    /// Whether no inode has been looked at before the program begins.
    pub cold: bool,
    /// Whether all operations follow one another as fast as they can: there must be no background work then.
    pub fast: bool,
    /// What happens.
    pub steps: Vec<Step>,
    files: u32,
}

/// O_WRONLY.
const WRITE: i32 = libc::O_WRONLY;
/// O_WRONLY | O_CREAT.
const CREATE: i32 = libc::O_WRONLY | libc::O_CREAT;

/// The language in which programs are written here.
impl Program {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// In the beginning there is a file of these pages.
    pub fn file(mut self, path: &str, pages: &str) -> Self {
        self.start.push((path.into(), Start::File(pages.into())));
        self
    }

    /// In the beginning there is another name of a file.
    pub fn other_name(mut self, path: &str, of: &str) -> Self {
        self.start.push((path.into(), Start::Link(of.into())));
        self
    }

    /// In the beginning there is a directory.
    pub fn directory(mut self, path: &str) -> Self {
        self.start.push((path.into(), Start::Directory));
        self
    }

    /// All operations follow one another as fast as they can.
    pub fn fast(self) -> Self {
        Self { fast: true, ..self }
    }

    /// The same start, and these steps instead.
    pub fn with_steps(&self, steps: Vec<Step>) -> Self {
        Self { steps, ..self.clone() }
    }

    /// One operation.
    pub fn op(mut self, op: Op) -> Self {
        self.steps.push(Step::Op(op));
        self
    }

    /// Background work.
    pub fn background(mut self, background: Background) -> Self {
        self.steps.push(Step::Background(background));
        self
    }

    /// Holds all data writes.
    pub fn hold(self) -> Self {
        self.background(Background::Hold(None))
    }

    /// Holds data writes with one of these letters.
    pub fn hold_letters(self, letters: &str) -> Self {
        self.background(Background::Hold(Some(letters.into())))
    }

    /// Answers what is held.
    pub fn release(self) -> Self {
        self.background(Background::Release)
    }

    /// A commit.
    pub fn commit(self) -> Self {
        self.background(Background::Commit)
    }

    /// Writeback of one file.
    pub fn write_back(self, path: &str) -> Self {
        self.background(Background::WriteBack { path: path.into(), offset: 0, length: 0 })
    }

    /// Opens a file; [`Self::last`] is its number.
    pub fn open(mut self, path: &str, flags: i32) -> Self {
        self.files += 1;
        let file = self.files;
        self.op(Op::Open { file, path: path.into(), flags })
    }

    /// The file that was opened last.
    pub fn last(&self) -> u32 {
        self.files
    }

    /// Closes the file that was opened last.
    pub fn close(self) -> Self {
        let file = self.files;
        self.op(Op::Close { file })
    }

    /// Writes pages to the file that was opened last, in one call: all are of one letter.
    pub fn pages(self, offset: u64, pages: &str) -> Self {
        let (file, letter) = (self.files, pages.chars().next().unwrap_or('?'));
        self.op(Op::Write { file, offset, letter, length: pages.len() as u64 * PAGE })
    }

    /// Creates a file and writes pages to it.
    pub fn write(self, path: &str, pages: &str) -> Self {
        self.open(path, CREATE).pages(0, pages).close()
    }

    /// Opens a file, writes pages at `offset`, and leaves it open.
    pub fn write_at(self, path: &str, offset: u64, pages: &str) -> Self {
        self.open(path, WRITE).pages(offset, pages)
    }

    /// fsync of the file that was opened last.
    pub fn fsync(self) -> Self {
        let file = self.files;
        self.op(Op::Fsync { file })
    }

    /// fdatasync of the file that was opened last.
    pub fn fdatasync(self) -> Self {
        let file = self.files;
        self.op(Op::Fdatasync { file })
    }

    /// Opens a directory or file, fsyncs it, and closes it.
    pub fn sync_path(self, path: &str) -> Self {
        self.open(path, libc::O_RDONLY).fsync().close()
    }

    /// rename(2).
    pub fn rename(self, from: &str, to: &str) -> Self {
        self.op(Op::Rename { from: from.into(), to: to.into() })
    }

    /// unlink(2).
    pub fn unlink(self, path: &str) -> Self {
        self.op(Op::Unlink { path: path.into() })
    }

    /// A promise.
    pub fn print(self, text: &str) -> Self {
        self.op(Op::Print { text: text.into() })
    }

    /// The operations without what happens meanwhile.
    pub fn ops(&self) -> impl Iterator<Item = &Op> {
        self.steps.iter().filter_map(|step| match step {
            Step::Op(op) => Some(op),
            Step::Background(_) => None,
        })
    }

    /// How many times something happens that the program did not ask for: what one hold and its release, and each
    /// commit and writeback, is.
    pub fn background_events(&self) -> usize {
        let counts = |step: &&Step| !matches!(step, Step::Op(_) | Step::Background(Background::Release));
        self.steps.iter().filter(counts).count()
    }

    /// The trace that a recording of the program would give, without its background work.
    pub fn trace(&self) -> Result<Trace, program::Divergence> {
        let mut before = program::Tree::default();
        let mut node = |path: &str, inode: u64, kind: program::Kind| {
            let mode = if kind == program::Kind::Directory { 0o755 } else { 0o644 };
            let path = RelPath::from(path);
            before.0.insert(path, program::Node { kind, mode, uid: 0, gid: 0, inode, xattrs: Default::default() });
        };
        node("", 1, program::Kind::Directory);
        for (inode, (path, start)) in (2..).zip(&self.start) {
            match start {
                Start::Directory => node(path, inode, program::Kind::Directory),
                Start::File(pages) => node(path, inode, program::Kind::File(Arc::new(bytes_of(pages)))),
                Start::Link(of) => {
                    // The file that it is another name of comes first.
                    let first = self.start.iter().position(|(path, _)| path == of).unwrap_or(0);
                    if let Some((_, Start::File(pages))) = self.start.get(first) {
                        node(path, 2 + first as u64, program::Kind::File(Arc::new(bytes_of(pages))));
                    }
                }
            }
        }
        let mut vfs = program::Vfs::new(&before);
        let mut ops = Vec::new();
        for op in self.ops() {
            let call = op.call();
            vfs.apply(&call)?;
            let result = match &call {
                Call::Write { data, .. } => data.len() as i64,
                _ => 0,
            };
            ops.push(TraceOp { call, syscall: op.name().into(), result, thread: 0 });
        }
        Ok(Trace {
            command: vec!["oracle".into()],
            holes: program::Holes::new(),
            after: vfs.tree(),
            before,
            ops,
            limits: Vec::new(),
            outside: Vec::new(),
            refused: vec![],
            explored_from: None,
        })
    }
}

/// Pages of these letters.
pub fn bytes_of(pages: &str) -> Vec<u8> {
    pages.bytes().flat_map(|letter| std::iter::repeat_n(letter, PAGE as usize)).collect()
}

impl fmt::Display for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Background::Hold(None) => f.write_str("(hold data)"),
            Background::Hold(Some(letters)) => write!(f, "(hold {letters})"),
            Background::Release => f.write_str("(release)"),
            Background::WriteBack { path, offset: 0, length: 0 } => write!(f, "(write back {path})"),
            Background::WriteBack { path, offset, length } => write!(f, "(write back {path} {offset}+{length})"),
            Background::WriteBackAll => f.write_str("(write back all)"),
            Background::Commit => f.write_str("(commit)"),
            Background::SyncFs => f.write_str("(syncfs)"),
        }
    }
}

impl fmt::Display for Program {
    /// On one line: `f:O | #1 = open t creat; …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.start.iter().map(|(path, start)| match start {
            Start::File(pages) => format!("{path}:{pages}"),
            Start::Link(of) => format!("{path}={of}"),
            Start::Directory => format!("{path}/"),
        });
        let steps = self.steps.iter().map(|step| match step {
            Step::Op(op) => op.to_string(),
            Step::Background(background) => background.to_string(),
        });
        let cold = if self.cold { " (cold)" } else { "" };
        write!(f, "{}{cold} | {}", start.collect::<Vec<_>>().join(", "), steps.collect::<Vec<_>>().join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_traces() {
        let program = Program::new().file("f", "O").other_name("f.bak", "f").hold().write("t", "NN").rename("t", "f");
        let program = program.commit().release().unlink("f.bak").print("done");
        assert_eq!(
            program.to_string(),
            "f:O, f.bak=f | (hold data); #1 = open t creat; pwrite #1 N*8192 at 0; close #1; rename t f; (commit); \
             (release); unlink f.bak; print done"
        );
        assert_eq!(program.background_events(), 2);
        let trace = program.trace().unwrap();
        assert_eq!(trace.ops.len(), 6);
        assert_eq!(trace.before.0[&"f".into()].inode, trace.before.0[&"f.bak".into()].inode);
        assert_eq!(trace.after.file(&"f".into()).map(|content| content.len()), Some(8192));
        assert_eq!(trace.after.0.len(), 2);
        assert!(Program::new().unlink("f").trace().is_err());
    }
}
