//! The engine: from a workload to what a run came to.
//!
//! Data flows one way. [`subject`] records a workload; [`plan`] says what to execute; [`execute`] yields block logs;
//! [`explore`] walks the crash states of their epochs, and adds up what the checker finds in them ([`judging`], [`tally`]);
//! [`cell_report`] puts it into a report. [`targets`] says what can crash: the machine, or the program alone ([`killed`]), which
//! needs no guest. [`run`] ties these together for [`cell`]s and [`worker`]s.

pub mod brute;
pub mod cause;
pub mod cell;
pub mod cell_report;
pub mod execute;
pub mod fua;
pub mod guests;
pub mod journal;
pub mod judge;
pub mod judging;
pub mod killed;
pub mod label;
pub mod mkfs;
pub mod permit;
pub mod promises;
pub mod recording;
pub mod run;
pub mod scheduled;
pub mod spec;
pub mod store;
pub mod subject;
pub mod sum;
pub mod tally;
pub mod targets;
mod teeth;
pub mod token;
pub mod unit;
pub mod visit;
pub mod window;
pub mod worker;
pub mod writes;
