//! Rules about more than the content of one file.

use std::collections::BTreeSet;

use program::{History, RelPath, State, Trace};

use crate::found::{Found, Right, look};
use crate::{EntryKind, Finding, Invariant, Kind, Observation, ReadPlan};

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
    pub fn describe(&self, path: &RelPath, found: &Found<'_>) -> Option<String> {
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
            let observed = format!("{} is as before the run, {} as after it", old.path, new.path);
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
                Found::Unreadable(why) => return finding(Kind::ReadError, why),
                _ => return None,
            },
        };
        let same = |found: u32, old: u32, maker: u32| found == old || (found == 0 && old == maker);
        let mut observed = Vec::new();
        if entry.mode != self.mode {
            observed.push(format!("mode {:04o}, where it was {:04o}", entry.mode, self.mode));
        }
        for (what, found, old, maker) in
            [("owner", entry.uid, self.owner.0, self.maker.0), ("group", entry.gid, self.owner.1, self.maker.1)]
        {
            if !same(found, old, maker) {
                observed.push(format!("{what} {found}, where it was {old}"));
            }
        }
        if observed.is_empty() { None } else { finding(Kind::MetadataChanged, observed.join("; ")) }
    }
}

/// Files whose mode, owner or group the run itself changed, with a sentence about each.
pub(super) fn changed_metadata(trace: &Trace) -> impl Iterator<Item = (&RelPath, String)> {
    trace.before.0.iter().filter_map(|(path, old)| {
        let new = trace.after.0.get(path).filter(|_| trace.before.file(path).is_some())?;
        trace.after.file(path)?;
        let mut changes = Vec::new();
        if new.mode != old.mode {
            changes.push(format!("mode {:04o} where it had {:04o}", new.mode, old.mode));
        }
        if (new.uid, new.gid) != (old.uid, old.gid) {
            let (new, old) = (format!("{}:{}", new.uid, new.gid), format!("{}:{}", old.uid, old.gid));
            changes.push(format!("owner and group {new} where it had {old}"));
        }
        let changes = (!changes.is_empty()).then(|| changes.join(", and "))?;
        Some((path, format!("the command itself leaves {path} with {changes} (no crash needed)")))
    })
}

/// Names that are in none of `names`. Told only: a stray file costs space, not data.
pub(super) fn leftovers(names: &BTreeSet<RelPath>, observation: &Observation) -> Vec<Finding> {
    let stray = observation.entries.keys().filter(|path| !path.is_root() && !names.contains(*path));
    let finding = |path: &RelPath| Finding {
        invariant: Invariant::NoLeftovers,
        kind: Kind::Leftover,
        path: path.clone(),
        observed: "a name that is there neither before nor after the run".to_owned(),
        fails: false,
        check: None,
    };
    stray.map(finding).collect()
}
