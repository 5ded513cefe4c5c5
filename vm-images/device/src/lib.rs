//! The guest's two disks: the device that serves them.
//!
//! [`serve`] puts any [`Backing`](storage::Backing) behind a vhost-user-blk device, next to the mailbox through which the
//! guest's agent talks. This is the only crate that touches the memory of a guest.

mod hub;
mod relay;
mod server;
mod virtio;

pub use hub::{Hub, text_of};
pub use server::{ServeError, Sockets, serve};
