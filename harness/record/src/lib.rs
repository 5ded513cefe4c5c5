//! Runs a program under ptrace and seccomp and writes down what it does to its files.
//!
//! [`record`] runs a command in a directory and gives a [`program::Trace`]: each call that changes or syncs a file below that
//! directory, in one exact order, with its data; what left the program meanwhile; and the directory before and after.
//! What could not be followed is in [`program::Trace::limits`].
//!
//! A seccomp filter lets all other calls run at full speed. Each call of interest, as the table in `syscalls` has them,
//! stops twice: at its entry names and descriptors are resolved, at its exit the op is written down.

mod files;
mod kept;
mod launch;
mod lookup;
mod mappings;
mod mirror;
mod normalise;
mod outside;
mod peers;
mod recorder;
mod remote;
mod resolve;
mod said;
mod seccomp;
mod session;
mod set_id;
mod snapshot;
mod spec;
mod spill;
mod stop;
mod stores;
mod supervise;
mod syscalls;
mod temporary_names;
mod threads;
mod turns;
mod unmodelled;

pub use said::said;
pub use session::{ended, exit_status, record};
pub use snapshot::{SnapshotError, restore, snapshot};
pub use spec::{DATA_LIMIT, FILLED_LIMIT, IoUring, RecordError, RecordSpec, Stdin};
pub use temporary_names::numbered;
