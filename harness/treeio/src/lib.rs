//! The one reader and writer of directory trees.
//!
//! A directory is opened once, as a [`Root`], wherever the path that its user names leads to. From then on nothing is
//! reached but beneath that descriptor: a name that is `..`, or holds a slash or NUL, is refused before the kernel sees
//! it, and no symbolic link is followed, though somebody puts one in the place of a directory meanwhile. The kernel sees
//! to that (openat2(2), `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS`); where it is older than that call, or a sandbox
//! refuses it, each directory is opened by its own name with `O_NOFOLLOW`.
//!
//! Only regular files and directories are ever opened for reading, and by way of a descriptor (`O_PATH`) that has shown
//! them to be such: no FIFO is waited for, no device is touched. That takes a mounted /proc. However deep a tree is, a
//! few descriptors are held.
#![forbid(unsafe_code)]

mod copy;
mod error;
mod path_fd;
mod read;
mod remove;
mod resolver;
mod root;
mod walk;
mod write;

pub use copy::copy;
pub use error::{Action, Error};
pub use read::{ReadOptions, holes, read, read_at};
pub use remove::remove;
pub use root::Root;
pub use write::{WriteOptions, write};
