//! Files of which one is made from another, which is then removed.

use program::{History, RelPath, State};

use crate::found::{Found, Origin, Right};
use crate::{Finding, Invariant, Observed};

/// Files of which at every moment one must be whole.
#[derive(Clone, Debug)]
pub(super) struct OneIsWhole {
    pub invariant: Invariant,
    members: Vec<Member>,
}

#[derive(Clone, Debug)]
struct Member {
    path: RelPath,
    /// What it is if it is whole.
    whole: Right,
    /// Whether it is there after the run.
    stays: bool,
}

impl PartialEq for OneIsWhole {
    fn eq(&self, other: &Self) -> bool {
        self.invariant == other.invariant
    }
}

impl OneIsWhole {
    pub fn new(paths: &[RelPath], history: &History) -> Self {
        let member = |path: &RelPath| {
            let versions = history.versions(path);
            let there = |state: &&State| **state != State::Absent;
            let after = versions.last().map(|version| &version.state).filter(there);
            let before = versions.first().map(|version| &version.state).filter(there);
            let whole = match (after, before) {
                (Some(after), _) => Right::only(after, Origin::New),
                (None, Some(before)) => Right::only(before, Origin::Old),
                // It is never whole.
                (None, None) => Right::default(),
            };
            Member { path: path.clone(), whole, stays: after.is_some() }
        };
        Self { invariant: Invariant::OneIsWhole(paths.to_vec()), members: paths.iter().map(member).collect() }
    }

    /// The file that the others are made into, and how it is not whole, if none is.
    pub fn judge<'a>(&self, look: impl Fn(&RelPath) -> Found<'a>) -> Option<Finding> {
        let mut broken = None;
        for member in &self.members {
            let (kind, observed) = member.whole.judge(&look(&member.path))?;
            if broken.is_none() || member.stays {
                broken = Some((member.path.clone(), kind, observed));
            }
        }
        let (path, kind, observed) = broken?;
        let invariant = self.invariant.clone();
        Some(Finding { invariant, kind, path, observed, fails: true, check: None })
    }

    /// What a member that was read whole holds in ranges of bytes.
    pub fn describe(&self, path: &RelPath, found: &Found<'_>) -> Option<Observed> {
        self.members.iter().find(|member| member.path == *path)?.whole.describe(found)
    }
}
