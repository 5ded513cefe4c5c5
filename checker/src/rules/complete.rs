//! Trees that a marker stands for: where it is there, all of the tree is.

use std::collections::BTreeMap;

use program::{History, RelPath, State, Trace, Tree};

use super::RuleError;
use crate::found::{Found, Origin, Right};
use crate::observed::shown;
use crate::{Changed, Finding, Invariant, Kind, Observation, Observed};

/// A marker, and what must be there according to it.
#[derive(Clone, Debug)]
pub(super) struct Complete {
    pub invariant: Invariant,
    marker: RelPath,
    /// What the marker was before the run, if it was there, and what then must be there.
    old: Option<(Right, Below)>,
    /// The same after the run. A marker that is not there before says so by being there.
    new: (Right, Below),
}

impl PartialEq for Complete {
    fn eq(&self, other: &Self) -> bool {
        self.invariant == other.invariant
    }
}

/// All that was below some paths at one time.
#[derive(Clone, Debug)]
struct Below(BTreeMap<RelPath, Part>);

/// One name of a tree.
#[derive(Clone, Debug)]
struct Part {
    right: Right,
    /// Permission bits; none of a symbolic link.
    mode: Option<u32>,
}

impl Below {
    fn new<'a>(names: impl Iterator<Item = (&'a RelPath, &'a State)>, tree: &Tree, origin: Origin) -> Self {
        let there = names.filter(|(_, state)| **state != State::Absent);
        let part = |(path, state): (&RelPath, &State)| {
            let mode = tree.0.get(path).map(|node| node.mode);
            let mode = mode.filter(|_| !matches!(state, State::Symlink(_)));
            (path.clone(), Part { right: Right::only(state, origin), mode })
        };
        Self(there.map(part).collect())
    }

    /// The first name that is not as it was, and how; and how many there are.
    fn judge<'a>(
        &self,
        look: &impl Fn(&RelPath) -> Found<'a>,
        observation: &Observation,
    ) -> Option<(&RelPath, Kind, Observed, usize)> {
        let wrong = |(path, part): (&'_ RelPath, &'_ Part)| {
            part.right.judge(&look(path)).or_else(|| {
                let entry = observation.entries.get(path)?;
                let mode = Changed::from_to(part.mode?, entry.mode)?;
                let observed = Observed::Metadata { mode: Some(mode), owner: None, group: None };
                Some((Kind::MetadataChanged, observed))
            })
        };
        let mut all = self.0.iter().filter_map(|(path, part)| Some((path, wrong((path, part))?)));
        let (path, (kind, observed)) = all.next()?;
        Some((path, kind, observed, 1 + all.count()))
    }
}

impl Complete {
    /// The rule, and the files that have to be read for it.
    ///
    /// # Errors
    /// The marker says nothing, or there is nothing that it could stand for.
    pub fn new(
        (marker, paths): (&RelPath, &[RelPath]),
        trace: &Trace,
        history: &History,
    ) -> Result<(Self, Vec<RelPath>), RuleError> {
        let invariant = Invariant::Tree(marker.clone(), paths.to_vec());
        let versions = history.versions(marker);
        let state = |version: Option<&'_ program::Version>| {
            version.map(|version| version.state.clone()).filter(|state| *state != State::Absent)
        };
        let before = state(versions.first());
        let after = state(versions.last()).filter(|after| Some(after) != before.as_ref());
        let Some(after) = after else { return Err(RuleError::NoMarker { invariant, path: marker.clone() }) };
        let is_below = |path: &RelPath| path != marker && paths.iter().any(|top| path.starts_with(top));
        let below = || history.paths().filter(|(path, _)| is_below(path));
        let old =
            Below::new(below().filter_map(|(path, all)| Some((path, &all.first()?.state))), &trace.before, Origin::Old);
        let new =
            Below::new(below().filter_map(|(path, all)| Some((path, &all.last()?.state))), &trace.after, Origin::New);
        if let Some(path) = paths.iter().find(|top| !new.0.keys().any(|path| path.starts_with(top))) {
            return Err(RuleError::NothingBelow { invariant, path: path.clone() });
        }
        let is_file = |part: &Part| !part.right.files.is_empty();
        let read = |below: &Below| {
            let files = below.0.iter().filter(|(_, part)| is_file(part));
            files.map(|(path, _)| path.clone()).collect::<Vec<_>>()
        };
        let mut files = [read(&old), read(&new)].concat();
        files.extend(
            [&before, &Some(after.clone())].iter().any(|it| matches!(it, Some(State::File(_)))).then(|| marker.clone()),
        );
        let rule = Self {
            invariant,
            marker: marker.clone(),
            old: before.as_ref().map(|before| (Right::only(before, Origin::Old), old)),
            new: (Right::only(&after, Origin::New), new),
        };
        Ok((rule, files))
    }

    /// What is wrong with a state, in one finding: of a large tree much can be missing at once.
    pub fn judge<'a>(&self, look: impl Fn(&RelPath) -> Found<'a>, observation: &Observation) -> Option<Finding> {
        let (wanted, is_new) = self.wanted(&look(&self.marker))?;
        let (path, kind, observed, wrong) = wanted.judge(&look, observation)?;
        let observed = Observed::Incomplete {
            marker: shown(&self.marker),
            is_new,
            path: shown(path),
            kind,
            observed: Box::new(observed),
            wrong,
            of: wanted.0.len(),
        };
        Some(Finding {
            invariant: self.invariant.clone(),
            kind,
            path: self.top(path),
            observed,
            fails: true,
            check: None,
        })
    }

    /// The part of the tree that a name belongs to, as the invariant names it.
    fn top(&self, path: &RelPath) -> RelPath {
        let Invariant::Tree(_, paths) = &self.invariant else { return path.clone() };
        paths.iter().find(|top| path.starts_with(top)).unwrap_or(path).clone()
    }

    /// What must be there by this marker, and whether that is the new tree.
    fn wanted(&self, marker: &Found<'_>) -> Option<(&Below, bool)> {
        let (new, after) = &self.new;
        match &self.old {
            None if matches!(marker, Found::Other(State::Absent)) => None,
            // Whatever stands in it.
            None => Some((after, true)),
            Some(_) if new.judge(marker).is_none() => Some((after, true)),
            Some((old, before)) => old.judge(marker).is_none().then_some((before, false)),
        }
    }

    /// What the first file that is not as it should be holds in ranges of bytes, if it was read whole.
    pub fn describe<'a>(&self, look: impl Fn(&RelPath) -> Found<'a>, observation: &Observation) -> Option<Observed> {
        let finding = self.judge(&look, observation)?;
        let Observed::Incomplete { path, .. } = &finding.observed else { return None };
        let (wanted, _) = self.wanted(&look(&self.marker))?;
        let path = RelPath::new(path)?;
        let ranges = wanted.0.get(&path)?.right.describe(&look(&path))?;
        match finding.observed {
            Observed::Incomplete { marker, is_new, path, kind, wrong, of, .. } => {
                Some(Observed::Incomplete { marker, is_new, path, kind, observed: Box::new(ranges), wrong, of })
            }
            _ => None,
        }
    }
}
