//! What a disk holds, and what a crash may leave of it. Pure: no guest, no device, no I/O but to and from files.
//!
//! [`Image`] is the durable start state. An execution runs on a [`LoggingDisk`], which yields a [`BlockLog`];
//! [`epochs`] cuts that log into [`Epoch`]s under a [`DiskModel`]; a [`CrashDisk`] serves one class of crash
//! states of one epoch and decides the fate of a write only when the guest reads it. The crate `device` puts any
//! [`Backing`] before a guest.
#![forbid(unsafe_code)]

mod ahead;
mod backing;
mod contents;
mod covering;
mod crash;
mod epoch;
mod fates;
mod fua;
mod image;
mod layers;
mod log;
mod model;
mod overlay;
mod shape;
mod state_disk;

pub use backing::{Backing, DirectDisk, LoggingDisk, Parked, Refused};
pub use contents::Contents;
pub use crash::{CrashDisk, Recovery};
pub use epoch::{Epoch, epochs};
pub use explore::Decision;
pub use fates::{Fates, State, Tear};
pub use image::{Image, ImageError};
pub use layers::Layers;
pub use log::{BlockLog, Entry, Mark, Queueing, WriteEntry};
pub use model::{CacheKind, DiskModel, TearKind};
pub use shape::LogShape;
pub use state_disk::StateDisk;

/// Bytes in a sector: the unit of every address here, whatever the device's own atomic unit is.
pub const SECTOR: usize = 512;
