//! The calls that guests make, apart from what drives a guest.

pub mod aligned;
pub mod calls;
mod crossing;
pub mod mapped;
