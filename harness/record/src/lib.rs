//! Runs a program under ptrace and seccomp and writes down what it does to its files.
//!
//! [`record`] runs a command in a directory and gives a [`program::Trace`]: each call that changes or syncs a file below that
//! directory, in one exact order, with its data; what left the program meanwhile; and the directory before and after.
//! What could not be followed is in [`program::Trace::limits`].
//!
//! A seccomp filter lets all other calls run at full speed. Each call of interest stops twice: at its entry names and
//! descriptors are resolved (`plan`), at its exit the op is written down (`finish`).

mod calls;
mod files;
mod finish;
mod launch;
mod limits;
mod names;
mod normalise;
mod peers;
mod plan;
mod recorder;
mod remote;
mod said;
mod seccomp;
mod session;
mod snapshot;
mod spec;
mod stop;
mod supervise;

pub use names::numbered;
pub use said::said;
pub use session::{ended, exit_status, record};
pub use snapshot::{SnapshotError, restore, snapshot};
pub use spec::{RecordError, RecordSpec, Stdin};
