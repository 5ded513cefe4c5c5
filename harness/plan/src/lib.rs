//! Schedules: where, between and during the ops of a trace, the kernel is made to do background work that it could have
//! done by itself.
//!
//! A short program ends before the kernel's timers fire, so one execution shows a sliver of what can happen. The set is
//! bounded by the number of injections, in the manner of CHESS (Musuvathi and Qadeer, PLDI 2007, bound preemptions).
//! Every execution is on a lazy disk (see [`protocol::frame::LAZY`]): writeback that an op has started is under way until
//! somebody waits for it.
#![forbid(unsafe_code)]

mod dirty;
mod in_place;
mod injections;
mod places;
mod plan;
mod pool;
mod sample;
mod schedule;
mod space;
mod work;

pub use in_place::Overwrites;
pub use places::O_DIRECT;
pub use plan::{Origin, Plan};
pub use pool::{schedule_count, schedules};
pub use sample::sample;
pub use schedule::{Ending, Event, Injection, Schedule};
pub use space::data_of;
pub use work::{Part, Work, target_text};

/// Raised when the schedules for one bound become others: what one set has not shown, another may.
pub const SET: u32 = 2;

#[cfg(test)]
mod tests;
