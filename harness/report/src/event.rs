//! The one stream of events that feeds every reporter.

use std::io;

use num_bigint::BigUint;

use crate::{CellId, CellReport, Ops, Report, ViolationReport};

/// How far a cell is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgressReport {
    /// Schedules explored to their end.
    pub schedules_done: u64,
    /// How many schedules there are for the bound that was asked.
    pub schedules_total: u64,
    /// How many crash states some mount has decided so far.
    pub states_covered: BigUint,
    /// States allowed, of the schedules begun so far.
    pub states_allowed: BigUint,
    /// How many mounts there have been so far.
    pub mounts: u64,
    /// Kinds of violations so far.
    pub violations: usize,
}

/// Something that happened in a run. For each cell: started, then any number of the middle ones, then finished; cells may overlap.
#[expect(missing_docs, reason = "each variant's doc explains its fields")]
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The first event: the cells to come, in order.
    RunStarted { cells: Vec<CellId> },
    /// A cell begins, on this machine (`vm` as in [`CellReport::vm`]).
    CellStarted { cell: CellId, vm: String },
    /// Sent as often as the engine likes.
    Progress { cell: CellId, progress: ProgressReport },
    /// Worth knowing, of a cell or of the run.
    Note { cell: Option<CellId>, text: String },
    /// Worth acting on, of a cell or of the run.
    Warning { cell: Option<CellId>, text: String },
    /// A violation of a new kind, and the ops that it refers to. Its count of states may still grow.
    ViolationFound { cell: CellId, violation: Box<ViolationReport>, ops: Ops },
    /// A cell has been explored as far as it will be.
    CellFinished(Box<CellReport>),
    /// The last event.
    RunFinished(Report),
}

/// Turns events into something. The engine knows no more of it than this.
pub trait Reporter {
    /// Called for each event, in order. Must not fail: what goes wrong is kept for [`Self::finish`].
    fn event(&mut self, event: &Event);

    /// Called once, after the last event. An error means that output is missing.
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Several reporters, fed in order.
#[derive(Default)]
pub struct All(pub Vec<Box<dyn Reporter>>);

impl Reporter for All {
    fn event(&mut self, event: &Event) {
        self.0.iter_mut().for_each(|reporter| reporter.event(event));
    }

    /// Finishes every one; the first error counts.
    fn finish(&mut self) -> io::Result<()> {
        self.0.iter_mut().map(|reporter| reporter.finish()).fold(Ok(()), Result::and)
    }
}
