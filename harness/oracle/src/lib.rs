//! A second opinion: what the native kernel leaves of small programs, on a disk of our own that logs and delays writes.
//!
//! Shares nothing with the explorer but the kernel's ways: another disk (FUSE below a loop device instead of
//! vhost-user), another kernel (the host's), states taken one by one. Needs root, FUSE and loop devices.

pub mod compare;
pub mod crash;
pub mod device;
pub mod disk;
pub mod fresh;
pub mod image;
pub mod known;
pub mod litmus;
pub mod log;
pub mod native;
pub mod op;
pub mod perform;
pub mod program;
pub mod random;
pub mod right;
pub mod search;
pub mod short;
pub mod tree;
pub mod unseen;
pub mod vary;
pub mod words;
