//! The rules of one file, and what they say about what was found of it.

use std::collections::{BTreeMap, BTreeSet};

use program::{OpId, RelPath, State, Version};

use super::append::Append;
use crate::found::{Allowed, Found, Origin, Right};
use crate::observed::describe_bytes;
use crate::timeline::{Point, Step, Timeline};
use crate::{Ack, CrashWindow, Finding, Invariant, Kind, Observed, Sizes, describe};

/// One moment at which a promise about a file was made.
#[derive(Clone, Debug)]
struct Given {
    op: usize,
    /// What the name stood for then.
    step: Step,
    /// Of the ops after it that wrote behind what was promised, up to the first that did anything else to the file: those
    /// since which less of it is as it was, each with how much still is.
    grown: Vec<(usize, u64)>,
    /// The first op after it that made something of this name, if there was nothing.
    made: Option<usize>,
}

#[derive(Clone, Debug)]
struct Durability {
    ack: Ack,
    fails: bool,
    ops: Vec<usize>,
    /// For each of `ops`, once contents are held.
    given: Vec<Given>,
}

#[derive(Clone, Debug)]
pub(super) struct FileRules {
    pub atomic: bool,
    pub in_history: bool,
    pub append: Option<Append>,
    durable: Vec<Durability>,
    versions: Vec<Version>,
    /// The versions that nothing replaced before the file was changed in place, as steps of the timeline.
    in_place: Vec<Step>,
    pub timeline: Timeline,
    /// Each of the versions.
    right: Right,
    /// Each step of the timeline, if all are allowed.
    history: Right,
}

impl FileRules {
    pub fn new(versions: &[Version]) -> Self {
        Self {
            atomic: false,
            in_history: false,
            append: None,
            durable: Vec::new(),
            versions: versions.to_vec(),
            in_place: Vec::new(),
            timeline: Timeline::default(),
            right: versions.iter().map(|version| &version.state).collect(),
            history: Right::default(),
        }
    }

    /// What the name stood for before the run.
    pub fn old(&self) -> Option<&State> {
        self.versions.first().map(|version| &version.state)
    }

    pub fn add_promise(&mut self, ack: &Ack, fails: bool, ops: &[usize]) {
        if !self.durable.iter().any(|rule| rule.ack == *ack) {
            self.durable.push(Durability { ack: ack.clone(), fails, ops: ops.to_vec(), given: Vec::new() });
        }
    }

    /// Has what is not durable after the exit fail.
    pub fn require_durability(&mut self) {
        self.durable.iter_mut().filter(|rule| rule.ack == Ack::Exit).for_each(|rule| rule.fails = true);
    }

    /// The acks that invariants name for this file; `None` if no invariant asks for its versions.
    pub fn named_acks(&self) -> Option<BTreeSet<usize>> {
        let wanted = || self.durable.iter().filter(|rule| rule.fails);
        (self.atomic || wanted().next().is_some()).then(|| wanted().flat_map(|rule| &rule.ops).copied().collect())
    }

    /// Takes the ops after which a version was complete that nothing replaced.
    pub fn end_versions(&mut self, ends: &[usize], timeline: &Timeline) {
        let known: BTreeSet<usize> = self.versions.iter().flat_map(Version::ops).collect();
        let is_new = |step: &&Step| step.op.is_some_and(|op| !known.contains(&op));
        self.in_place = ends.iter().filter_map(|op| timeline.at(*op)).filter(is_new).cloned().collect();
    }

    /// The chains that hold what was promised, and the versions that nothing replaced.
    pub fn needed_chains(&self, timeline: &Timeline) -> BTreeSet<usize> {
        let promised = self.durable.iter().flat_map(|rule| &rule.ops).filter_map(|op| timeline.at(*op));
        let chain = |step: &Step| match step.point {
            Point::Bytes { chain, .. } => Some(chain),
            Point::Other(_) => None,
        };
        promised.chain(&self.in_place).filter_map(chain).collect()
    }

    /// Takes what the name stood for in the course of the run.
    pub fn hold(&mut self, timeline: Timeline) {
        for rule in &mut self.durable {
            let give = |op: &usize| {
                let step = timeline.at(*op)?.clone();
                let nothing = Point::Other(State::Absent);
                let is_made = |(later, step): (usize, &Step)| (step.point != nothing).then_some(later);
                let made = if step.point == nothing { timeline.after(*op).find_map(is_made) } else { None };
                // Zeros at the end are of space that was only reserved: to write there is to go on.
                let written = timeline
                    .bytes(&step.point)
                    .map_or(0, |bytes| bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1));
                let mut grown: Vec<(usize, u64)> = Vec::new();
                if let Point::Bytes { length, .. } = step.point {
                    for (later, step) in timeline.after(*op) {
                        let before = grown.last().map(|(_, kept)| *kept);
                        let kept = before.unwrap_or(length).min(step.change.unchanged);
                        if kept < written {
                            break;
                        }
                        if before != Some(kept) {
                            grown.push((later, kept));
                        }
                    }
                }
                Some(Given { op: *op, step, grown, made })
            };
            rule.given = rule.ops.iter().filter_map(give).collect();
        }
        let mut sizes: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
        for step in &self.in_place {
            if let Point::Bytes { chain, length } = step.point {
                sizes.entry(chain).or_default().insert(length);
            }
        }
        self.right.files.extend(sizes.into_iter().map(|(chain, sizes)| Allowed {
            content: timeline.content(chain),
            sizes: sizes.into_iter().collect(),
            origin: Origin::Between,
        }));
        if self.in_history {
            let mut sizes = vec![BTreeSet::new(); timeline.chains()];
            for step in timeline.steps() {
                match &step.point {
                    Point::Bytes { chain, length } => drop(sizes[*chain].insert(*length)),
                    Point::Other(state) => self.history.others.push(state.clone()),
                }
            }
            let chain = |step: Option<&Step>| match step?.point {
                Point::Bytes { chain, .. } => Some(chain),
                Point::Other(_) => None,
            };
            let (first, last) = (chain(timeline.steps().first()), chain(timeline.steps().last()));
            let allowed = |(chain, sizes): (usize, BTreeSet<u64>)| Allowed {
                content: timeline.content(chain),
                sizes: sizes.into_iter().collect(),
                origin: match Some(chain) {
                    one if one == first && one == last => Origin::Log,
                    one if one == first => Origin::Old,
                    one if one == last => Origin::New,
                    _ => Origin::Between,
                },
            };
            self.history.files = sizes.into_iter().enumerate().map(allowed).collect();
        }
        self.timeline = timeline;
    }

    /// What the file must be compared with.
    pub fn candidates(&self) -> Vec<Allowed> {
        let rights = [Some(&self.right), Some(&self.history), self.append.as_ref().map(|append| &append.right)];
        let mut all: Vec<Allowed> = rights.into_iter().flatten().flat_map(|right| &right.files).cloned().collect();
        for given in self.durable.iter().flat_map(|rule| &rule.given) {
            let Point::Bytes { chain, length } = given.step.point else { continue };
            // Whether a file that grew still begins with what was promised can only be seen by reading that much of it.
            let sizes = if given.grown.is_empty() { Sizes::only(length) } else { Sizes::from(length) };
            all.push(Allowed { content: self.timeline.content(chain), sizes, origin: Origin::Between });
        }
        all
    }

    pub fn judge(&self, path: &RelPath, found: &Found<'_>, window: &CrashWindow, findings: &mut Vec<Finding>) {
        let mut add = |invariant, what: Option<(Kind, Observed)>, fails| {
            let finding =
                |(kind, observed)| Finding { invariant, kind, path: path.clone(), observed, fails, check: None };
            findings.extend(what.map(finding));
        };
        if self.atomic {
            add(Invariant::AtomicReplace, self.right.judge(found), true);
        }
        if let Some(append) = &self.append {
            add(Invariant::AppendOnly, append.judge(found), true);
        }
        if self.in_history {
            add(Invariant::PrefixOfHistory, self.history.judge(found), true);
        }
        for rule in &self.durable {
            let Some(given) = rule.given.iter().rev().find(|given| given.op < window.ended_latest) else { continue };
            if self.keeps(given, found, window) {
                continue;
            }
            let broken = self.right.judge(found).filter(|_| !self.complete().any(|step| self.is(found, &step.point)));
            let stale = || {
                // What never was there before has no older version that could have come back.
                let nothing = |state: &State| *state == State::Absent;
                let missing = matches!(found, Found::Other(state) if nothing(state)) && self.old().is_none_or(nothing);
                let kind = if missing { Kind::Missing } else { Kind::Stale };
                let promised = match &given.step.point {
                    Point::Other(state) => describe(state),
                    point => describe_bytes(self.timeline.bytes(point).unwrap_or_default()),
                };
                (kind, Observed::Stale { is: found.describe(), promise: OpId(given.op), promised })
            };
            add(Invariant::DurableAfter(rule.ack.clone()), Some(broken.unwrap_or_else(stale)), rule.fails);
        }
    }

    /// What a file that was read whole, and breaks this invariant, holds in ranges of bytes.
    pub fn describe(&self, invariant: &Invariant, found: &Found<'_>) -> Option<Observed> {
        match invariant {
            Invariant::AppendOnly => self.append.as_ref()?.right.describe(found),
            Invariant::PrefixOfHistory => self.history.describe(found),
            _ => self.right.describe(found),
        }
    }

    /// How it is none of its versions; `None` if it is one.
    pub fn is_no_version(&self, found: &Found<'_>) -> Option<Kind> {
        self.right.judge(found).map(|(kind, _)| kind)
    }

    /// What the name stood for when promises were made, and the versions that nothing replaced.
    fn complete(&self) -> impl Iterator<Item = &Step> {
        self.durable.iter().flat_map(|rule| &rule.given).map(|given| &given.step).chain(&self.in_place)
    }

    fn is(&self, found: &Found<'_>, point: &Point) -> bool {
        match (point, found) {
            (Point::Other(wanted), Found::Other(state)) => wanted == state,
            // By its size first: the bytes of most points are compared with nothing.
            (Point::Bytes { length, .. }, Found::File { size, .. }) if length == size => {
                self.timeline.bytes(point).is_some_and(|content| found.is_file(content))
            }
            _ => false,
        }
    }

    /// Whether what was found is what was promised, or something later that may have begun to reach the disk.
    fn keeps(&self, given: &Given, found: &Found<'_>, window: &CrashWindow) -> bool {
        // Ops are replayed one after another: the one after the last that ended may have begun, none behind it.
        let begun = |op: usize| op <= window.ended_latest;
        let later = |op: usize| op > given.op && begun(op);
        let same = |version: &Version| match (&version.state, found) {
            (State::File(content), _) => found.is_file(content),
            (state, Found::Other(found)) => state == found,
            _ => false,
        };
        if self.is(found, &given.step.point)
            || self.versions.iter().any(|version| version.ops().any(later) && same(version))
            || self.complete().any(|step| step.op.is_some_and(later) && self.is(found, &step.point))
        {
            return true;
        }
        let Found::File { size, bytes } = found else { return false };
        // What was there before can look like what was written since.
        let is_new = || {
            let known = self.versions.iter().any(same) || self.complete().any(|step| self.is(found, &step.point));
            !known || self.can_be_new(given, &bytes.get(0, bytes.len()), window)
        };
        // Nothing was promised of a file that was made since, unless that it is gone: then it must not be an older one.
        if given.made.is_some_and(begun) {
            return is_new();
        }
        // A file that has grown since keeps the promise as long as it begins with what was promised, also where what
        // came after that may have begun: none of it need have reached the disk.
        let grown = given.grown.iter().rev().find(|(op, _)| begun(*op));
        match (grown, self.timeline.bytes(&given.step.point)) {
            (Some((_, kept)), Some(promised)) => {
                *size >= promised.len() as u64 && bytes.starts_with(&promised[..*kept as usize]) && is_new()
            }
            _ => false,
        }
    }

    /// Whether a file can hold this after a promise without anything from before it: each byte was promised, has been
    /// written there since, or is a zero where nothing has arrived yet.
    fn can_be_new(&self, given: &Given, content: &[u8], window: &CrashWindow) -> bool {
        let promised = self.timeline.bytes(&given.step.point).unwrap_or_default();
        let mut longest = promised.len();
        let mut new = promised.to_vec();
        new.resize(content.len(), 0);
        for (op, step) in self.timeline.after(given.op).take_while(|(op, _)| *op <= window.ended_latest) {
            let Point::Bytes { length, .. } = step.point else { continue };
            longest = longest.max(length as usize);
            let written = step.change.written.as_ref().map(|(offset, data)| (*offset as usize, data.as_slice()));
            let version = || {
                let version = self.versions.iter().find(|version| version.ops().any(|done| done == op))?;
                Some((0, version.state.content()?.as_slice()))
            };
            // Where it is not known what an op wrote, it may have been this.
            let unknown = || {
                let start = step.change.unchanged as usize;
                (start, content.get(start..content.len().min(length as usize)).unwrap_or_default())
            };
            let (start, data) = written.or_else(version).unwrap_or_else(unknown);
            if let (Some(new), Some(content)) = (new.get_mut(start..), content.get(start..)) {
                let written = new.iter_mut().zip(content).zip(data).filter(|((_, byte), data)| byte == data);
                written.for_each(|((new, _), data)| *new = *data);
            }
        }
        longest >= content.len() && new == content
    }
}
