//! Rules about more than the content of one file.

use std::collections::BTreeSet;

use program::{History, RelPath, State, Trace};

use crate::found::{Found, Right, look};
use crate::observed::shown;
use crate::{Changed, ChangedMetadata, EntryKind, Finding, Invariant, Kind, Observation, Observed, Owners, ReadPlan};

/// Files that belong together: all as before the run, or all as after it.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub invariant: Invariant,
    members: Vec<Member>,
}

impl PartialEq for Group {
    fn eq(&self, other: &Self) -> bool {
        self.invariant == other.invariant
    }
}

#[derive(Clone, Debug)]
struct Member {
    path: RelPath,
    old: Right,
    new: Right,
    either: Right,
}

impl Group {
    pub fn new(paths: &[RelPath], history: &History) -> Self {
        let member = |path: &RelPath| {
            let versions = history.versions(path);
            let state = |version: Option<&'_ program::Version>| version.map_or(State::Absent, |it| it.state.clone());
            let (old, new) = (state(versions.first()), state(versions.last()));
            Member {
                path: path.clone(),
                old: [&old].into_iter().collect(),
                new: [&new].into_iter().collect(),
                either: [&old, &new].into_iter().collect(),
            }
        };
        Self { invariant: Invariant::AllOrNothing(paths.to_vec()), members: paths.iter().map(member).collect() }
    }

    /// What a member that was read whole holds in ranges of bytes.
    pub fn describe(&self, path: &RelPath, found: &Found<'_>) -> Option<Observed> {
        self.members.iter().find(|member| member.path == *path)?.either.describe(found)
    }

    pub fn judge<'a>(&self, look: impl Fn(&RelPath) -> Found<'a>, findings: &mut Vec<Finding>) {
        let found: Vec<Found<'a>> = self.members.iter().map(|member| look(&member.path)).collect();
        let members = || self.members.iter().zip(&found);
        let finding = |path: &RelPath, kind, observed| Finding {
            invariant: self.invariant.clone(),
            kind,
            path: path.clone(),
            observed,
            fails: true,
            check: None,
        };
        let known = findings.len();
        for (member, found) in members() {
            let wrong = member.either.judge(found);
            findings.extend(wrong.map(|(kind, observed)| finding(&member.path, kind, observed)));
        }
        if findings.len() > known {
            return;
        }
        // A file that is the same before and after the run takes no side.
        let old = members().find(|(member, found)| member.new.judge(found).is_some());
        let new = members().find(|(member, found)| member.old.judge(found).is_some());
        if let (Some((old, _)), Some((new, _))) = (old, new) {
            let observed = Observed::Partial { old: shown(&old.path), new: shown(&new.path) };
            findings.push(finding(&old.path, Kind::Partial, observed));
        }
    }
}

/// Mode, owner and group of a file before the run.
#[derive(Clone, Debug)]
pub(super) struct Metadata {
    mode: u32,
    owner: (u32, u32),
    /// To whom the files belong that the command makes. In the guest these belong to root, who replays it.
    maker: (u32, u32),
}

impl Metadata {
    /// Of the file at `path`, if there is one.
    pub fn before(trace: &Trace, path: &RelPath) -> Option<Self> {
        trace.before.file(path)?;
        let node = trace.before.0.get(path)?;
        // The directory was made for the run, by who runs the command.
        let maker = trace.before.0.get(&RelPath::root()).map_or((0, 0), |root| (root.uid, root.gid));
        Some(Self { mode: node.mode, owner: (node.uid, node.gid), maker })
    }

    pub fn judge(&self, path: &RelPath, observation: &Observation, read_plan: &ReadPlan) -> Option<Finding> {
        let finding = |kind, observed| {
            let (invariant, path) = (Invariant::MetadataPreserved, path.clone());
            Some(Finding { invariant, kind, path, observed, fails: true, check: None })
        };
        let entry = match observation.entries.get(path) {
            // Also where its data cannot be read.
            Some(entry) if !matches!(entry.kind, EntryKind::Unreadable { .. }) => entry,
            _ => match look(observation, read_plan, path) {
                Found::Unreadable(what) => return finding(Kind::ReadError, Observed::Unreadable { what }),
                _ => return None,
            },
        };
        let same = |found: u32, old: u32, maker: u32| found == old || (found == 0 && old == maker);
        let other = |found, old, maker| Changed::from_to(old, found).filter(|_| !same(found, old, maker));
        let mode = Changed::from_to(self.mode, entry.mode);
        let owner = other(entry.uid, self.owner.0, self.maker.0);
        let group = other(entry.gid, self.owner.1, self.maker.1);
        let is_same = mode.or(owner).or(group).is_none();
        if is_same { None } else { finding(Kind::MetadataChanged, Observed::Metadata { mode, owner, group }) }
    }
}

/// Files whose mode, owner or group the run itself changed.
pub(super) fn changed_metadata(trace: &Trace) -> impl Iterator<Item = (&RelPath, ChangedMetadata)> {
    trace.before.0.iter().filter_map(|(path, old)| {
        let new = trace.after.0.get(path).filter(|_| trace.before.file(path).is_some())?;
        trace.after.file(path)?;
        let owners = [old, new].map(|node| Owners { owner: node.uid, group: node.gid });
        let owner_and_group = (owners[0] != owners[1]).then_some(owners);
        let changed =
            ChangedMetadata { path: shown(path), mode: Changed::from_to(old.mode, new.mode), owner_and_group };
        (changed.mode.is_some() || changed.owner_and_group.is_some()).then_some((path, changed))
    })
}

/// Names that are in none of `names`. Told only: a stray file costs space, not data.
pub(super) fn leftovers(names: &BTreeSet<RelPath>, observation: &Observation) -> Vec<Finding> {
    let stray = observation.entries.keys().filter(|path| !path.is_root() && !names.contains(*path));
    let finding = |path: &RelPath| Finding {
        invariant: Invariant::NoLeftovers,
        kind: Kind::Leftover,
        path: path.clone(),
        observed: Observed::Leftover,
        fails: false,
        check: None,
    };
    stray.map(finding).collect()
}
