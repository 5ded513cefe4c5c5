//! The trace: what one run of a program did to the files below one directory, in one total order.
//!
//! The recorder writes it, the guest agent replays it, and everything that explains a finding reads it.
//! This crate is pure: types, their file format, and [`Vfs`], a model in memory of what the calls do.

mod arrival;
pub mod bytes;
mod call;
mod command_line;
mod display;
mod ended;
mod file;
mod history;
mod killed;
mod number;
mod op_id;
pub mod packed;
mod path;
pub mod sparse;
#[cfg(test)]
mod testing;
mod tree;
mod unexplained;
mod vfs;

pub use arrival::{Arrival, ArrivalKind};
pub use call::{Call, Channel, Handle, Op, RWF_SYNC, Target, Time, Unsynced};
pub use command_line::CommandLine;
pub use display::listing;
pub use ended::Ended;
pub use file::{Limit, ReadError, RefusedCall, Trace};
pub use history::{History, State, Version};
pub use killed::{KilledAt, KilledFiles, NotFollowed, kill_points};
pub use number::thousands;
pub use op_id::OpId;
pub use path::RelPath;
pub use tree::{Content, Holes, Kind, Node, Tree};
pub use unexplained::{cleared_set_ids, unexplained, unexplained_paths};
pub use vfs::{Divergence, Vfs, Why};
