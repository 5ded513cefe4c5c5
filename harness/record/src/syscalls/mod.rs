//! What is known of system calls: one table, and a function for each of its rows.
//!
//! A row ([`Syscall`]) says which uses of a call stop the program, and which function decodes them at their entry. That
//! function gives what becomes of the call ([`AtEntry`]) and, if its result matters, what is done at its exit
//! ([`ExitAction`]). The seccomp filter, the names that are shown, and the order in which calls wait for each other follow
//! from the table alone.
//!
//! To add a call: a row in `table.rs`, and its function in the file of its family. Argument orders are those of the kernel
//! (`include/linux/syscalls.h`), not of the C library.

mod acks;
mod arguments;
mod asynchronous;
mod data;
mod descriptors;
mod exit;
mod mappings;
mod metadata;
mod names;
mod open;
mod paths;
mod processes;
mod sync;
mod table;
mod xattrs;

use std::io;
use std::path::PathBuf;

use libc::c_long;
use program::Call;

use crate::recorder::Recorder;
use crate::stop::Asked;

pub(crate) use exit::{ExitAction, WaitsFor};
pub(crate) use processes::OTHER_MOUNTS;
pub(crate) use table::SYSCALLS;

/// Bits of a creation mode that the kernel keeps.
const PERMISSIONS: u32 = 0o7777;
/// `__O_TMPFILE` alone (`O_TMPFILE` also holds `O_DIRECTORY`).
const TMPFILE: u32 = (libc::O_TMPFILE & !libc::O_DIRECTORY) as u32;

/// One row of the table: a call of which at least some uses stop the program.
#[derive(Debug)]
pub(crate) struct Syscall {
    /// As on x86-64.
    pub(crate) number: c_long,
    /// As people write it: `renameat2`.
    pub(crate) name: &'static str,
    /// Which uses stop.
    pub(crate) stops: Stops,
    pub(crate) class: Class,
    /// What becomes of a use that stopped.
    pub(crate) enter: Enter,
}

/// Decodes a call at its entry. Errors: this process could not look where the call will.
pub(crate) type Enter = fn(&mut Recorder<'_>, &Asked) -> io::Result<AtEntry>;

/// Which uses of a call are worth a stop. A filter sees numbers, never memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stops {
    /// Every use.
    Always,
    /// Those with one of the bits of `mask` in argument `argument`.
    AnyBit { argument: u32, mask: u32 },
    /// Those whose argument `argument` is one of `values`.
    OneOf { argument: u32, values: &'static [u32] },
    /// `ioctl`, except the requests that terminals and every descriptor understand (type byte `T`: `TCGETS`,
    /// `FIONREAD`, `FIOCLEX` …): programs ask them of each file they open, and they change no file.
    NotTerminal,
}

/// How a call that must wait for its turn is treated until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// It does nothing but change names and files, or sync them: it never waits for another thread of the program, and
    /// tells the user nothing. Such a call can wait for its turn without being looked at.
    FilesOnly,
    /// It may wait for another thread, or tell something: it is looked at before anything else.
    General,
}

/// What becomes of a call, as decided at its entry.
#[derive(Debug)]
pub(crate) enum AtEntry {
    /// Nothing to learn: it runs, without a stop at its exit.
    Pass,
    /// It runs, and `action` is done when it returns. While one exclusive call runs, no other does: so their order is
    /// exact.
    Await { action: ExitAction, exclusive: bool },
    /// It is not made, and fails with ENOSYS, as if the kernel had no such call.
    Refuse,
    /// The process ends: exclusive, and the call never returns.
    End,
}

impl AtEntry {
    /// Writes `call` down if it succeeds.
    fn record(call: Call) -> Self {
        Self::exclusive(ExitAction::Record { call, even_if_failed: false })
    }

    /// Writes `call` down in any case. A failed sync is worth knowing: fsync(2) may tell of lost data.
    fn record_even_if_failed(call: Call) -> Self {
        Self::exclusive(ExitAction::Record { call, even_if_failed: true })
    }

    fn exclusive(action: ExitAction) -> Self {
        Self::Await { action, exclusive: true }
    }

    fn free(action: ExitAction) -> Self {
        Self::Await { action, exclusive: false }
    }

    /// For a call that, if it succeeds, goes beyond what the recorder can follow.
    fn unmodelled(detail: impl Into<String>) -> Self {
        Self::free(ExitAction::Unmodelled { detail: detail.into() })
    }

    /// For a call with a path that leads nowhere, which will fail. It must not begin beside another one that makes what
    /// its path lacks.
    fn nowhere(detail: String) -> Self {
        Self::exclusive(ExitAction::Unmodelled { detail })
    }

    /// For a call that changes what is at paths outside the directory.
    fn outside(paths: impl Into<Vec<PathBuf>>) -> Self {
        Self::free(ExitAction::Outside { paths: paths.into() })
    }

    pub(crate) fn is_exclusive(&self) -> bool {
        matches!(self, Self::Await { exclusive: true, .. } | Self::End)
    }
}

/// The row of a call. `None` for one that does not stop, unless a filter of the program itself stops it.
pub(crate) fn find(number: c_long) -> Option<&'static Syscall> {
    SYSCALLS.iter().find(|syscall| syscall.number == number)
}
