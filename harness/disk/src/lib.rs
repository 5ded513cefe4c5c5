//! The guest's disk: what it holds, what a crash may leave of it, and the device that serves it.
//!
//! [`Image`] is the durable start state. A replay runs on a [`LoggingDisk`], which yields a [`BlockLog`];
//! [`epochs`] cuts that log into [`Epoch`]s under a [`DiskModel`]; a [`CrashDisk`] serves one class of crash
//! states of one epoch and decides the fate of a write only when the guest reads it. [`serve`] puts any
//! [`Backing`] behind a vhost-user-blk device, next to the mailbox through which the guest agent talks.

mod ahead;
mod backing;
mod contents;
mod covering;
mod crash;
mod epoch;
mod fates;
mod fua;
mod hub;
mod image;
mod layers;
mod log;
mod model;
mod overlay;
mod relay;
mod server;
mod shape;
mod virtio;

pub use backing::{Backing, DirectDisk, LoggingDisk, Parked, Refused};
pub use contents::Contents;
pub use crash::{CrashDisk, Recovery, StateDisk};
pub use epoch::{Epoch, epochs};
pub use explore::Decision;
pub use fates::{Fates, State, Tear};
pub use hub::{Hub, text_of};
pub use image::{Image, ImageError};
pub use layers::Layers;
pub use log::{BlockLog, Entry, Mark, Queueing, WriteEntry};
pub use model::{CacheKind, DiskModel, TearKind};
pub use server::{ServeError, Sockets, serve};
pub use shape::LogShape;

/// Bytes in a sector: the unit of every address here, whatever the device's own atomic unit is.
pub const SECTOR: usize = 512;
