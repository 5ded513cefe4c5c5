//! What the directory is at each point at which the program can be killed: computed on demand.

use std::ops::RangeInclusive;

use checker::{CrashWindow, ViewedAt};
use program::{KilledAt, KilledFiles, NotFollowed, Trace, kill_points};

use crate::trees::{Entries, entries};

/// How many bytes the trees of one stretch may hold together, about.
const STRETCH_BYTES: usize = 256 << 20;
/// How many trees one stretch has at most.
const STRETCH: usize = 64;

/// The points at which a program can be killed, in order, and what it leaves there.
pub(crate) struct Boundaries {
    trace: Trace,
    points: Vec<KilledAt>,
    /// How many trees may be held at once.
    pub stretch: usize,
}

impl Boundaries {
    pub fn new(trace: &Trace) -> Self {
        let size = |tree: &program::Tree| -> usize {
            let content = |node: &program::Node| match &node.kind {
                program::Kind::File(content) => content.len(),
                _ => 0,
            };
            tree.0.values().map(content).sum()
        };
        let largest = size(&trace.before).max(size(&trace.after)).max(1);
        let stretch = (STRETCH_BYTES / largest).clamp(1, STRETCH);
        Self { trace: trace.clone(), points: kill_points(trace), stretch }
    }

    /// The last point: the end of the run.
    pub fn last(&self) -> usize {
        self.points.len() - 1
    }

    /// The last of the points up to which the program can have come within a window. Ops are executed one after another:
    /// the one after the last that ended may have begun, none behind it.
    pub fn latest(&self, window: &CrashWindow) -> usize {
        let begun = window.begun_earliest.max(window.ended_latest.saturating_add(1));
        self.index(begun)
    }

    /// The point at which so many ops had ended, and none was under way; the last, if there are fewer.
    pub fn index(&self, ended: usize) -> usize {
        let until = KilledAt { ended, written: None };
        // With the next op under way it is later, though its number is the same.
        self.points.partition_point(|point| point.ended < ended || *point == until).saturating_sub(1)
    }

    /// A point, in words to come.
    pub fn viewed_at(&self, index: usize) -> ViewedAt {
        let point = self.points[index];
        let op = point.begun().checked_sub(1).map(program::OpId);
        ViewedAt { op, written: point.written, end: index == self.last() }
    }

    /// The trees at these points.
    pub fn trees(&self, range: RangeInclusive<usize>) -> Result<Vec<(usize, Entries)>, NotFollowed> {
        let mut files = KilledFiles::new(&self.trace);
        range.map(|index| Ok((index, entries(&files.at(self.points[index])?)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use program::{Call, Handle, Op};

    use super::*;

    #[test]
    fn the_points_of_a_window() {
        let op = |call| Op { call, syscall: "test".into(), result: 0, thread: 0 };
        let open = Call::Open { handle: Handle(0), path: "f".into(), flags: 0o101, mode: 0o644 };
        let data = std::sync::Arc::new(vec![b'x'; 10_000]);
        let write = Call::Write { handle: Handle(0), offset: 0, data, flags: 0 };
        let ops = vec![op(open), op(write), op(Call::Close { handle: Handle(0) })];
        let boundaries = Boundaries::new(&Trace { ops, ..Trace::default() });
        // Before, after open, two cuts, after write, after close.
        assert_eq!(boundaries.last(), 5);
        assert_eq!([0, 1, 2, 3, 9].map(|ended| boundaries.index(ended)), [0, 1, 4, 5, 5]);
        let latest = |begun_earliest, ended_latest| boundaries.latest(&CrashWindow { begun_earliest, ended_latest });
        assert_eq!([latest(0, 0), latest(1, 1), latest(2, 1), latest(3, 3)], [1, 4, 4, 5]);
        assert_eq!(boundaries.viewed_at(3), ViewedAt { op: Some(program::OpId(1)), written: Some(8192), end: false });
    }
}
