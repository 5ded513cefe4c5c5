//! Background work of the kernel: commits, and writeback of files.

use program::{Target, thousands};
use protocol::Step;
use serde::Serialize;

/// One piece of background work.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Work {
    /// The file system commits its transaction.
    Commit,
    /// Dirty data of one file go to the disk.
    Writeback {
        /// The file that is written back.
        target: Target,
        /// Which of its dirty data: the kernel writes a file back in parts if it likes.
        part: Part,
        /// Whether the work is over when the data have arrived. If not, they are under way until somebody waits for them.
        complete: bool,
    },
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Part {
    /// All of it.
    Whole,
    /// What lies before this byte, a multiple of the page size.
    UpTo(u64),
    /// What lies from this byte on.
    From(u64),
}

impl Work {
    /// Writeback of all dirty data of these files.
    pub(super) fn writeback(targets: &[Target], complete: bool) -> Vec<Self> {
        let one = |target: &Target| Self::Writeback { target: target.clone(), part: Part::Whole, complete };
        targets.iter().map(one).collect()
    }

    /// For people: `writeback of settings.json`.
    pub fn text(&self) -> String {
        match self {
            Work::Commit => "commit".into(),
            Work::Writeback { target, part, complete } => {
                let part = match part {
                    Part::Whole => String::new(),
                    Part::UpTo(cut) => format!(" up to byte {}", thousands(*cut)),
                    Part::From(cut) => format!(" from byte {}", thousands(*cut)),
                };
                let slow = if *complete { "" } else { " (still under way)" };
                format!("writeback of {}{part}{slow}", target_text(target))
            }
        }
    }

    pub(super) fn step(&self) -> Step {
        match self {
            Work::Commit => Step::Commit,
            Work::Writeback { target, part, complete } => {
                let (offset, length) = match part {
                    Part::Whole => (0, 0),
                    Part::UpTo(cut) => (0, *cut),
                    Part::From(cut) => (*cut, 0),
                };
                Step::Writeback { target: target.clone(), offset, length, wait: *complete }
            }
        }
    }
}

/// A file as people know it.
pub fn target_text(target: &Target) -> String {
    match target {
        Target::Path(path) | Target::NoFollow(path) => path.to_string(),
        Target::Handle(handle) => format!("the nameless file h{}", handle.0),
    }
}
