//! What a name stood for after each op, without a copy of its content for each.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use program::{Call, Content, Handle, RelPath, State, Target, Trace, Vfs};

/// What a name stood for at one time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Point {
    /// The first `length` bytes of a chain: a file that only grows is one chain.
    Bytes { chain: usize, length: u64 },
    /// No regular file.
    Other(State),
}

/// What a name stood for since some op.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The op that touched it; `None` for how it began.
    pub op: Option<usize>,
    pub point: Point,
    pub change: Change,
}

/// What an op does to the bytes of the file that it touches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    /// The length up to which they stay as they are.
    pub unchanged: u64,
    /// Where it writes what, apart from zeros; `None` if that is not known.
    pub written: Option<(u64, Content)>,
}

impl Change {
    fn of(call: &Call, before: &Vfs) -> Self {
        let written = match call {
            Call::Write { offset, data, .. } | Call::Store { offset, data, .. } => Some((*offset, data.clone())),
            // FALLOC_FL_COLLAPSE_RANGE and FALLOC_FL_INSERT_RANGE move what is there; other modes leave zeros at most.
            Call::Allocate { mode, .. } if mode & 0x28 == 0 => Some((0, Content::default())),
            _ => None,
        };
        Self { unchanged: unchanged_up_to(call, before), written }
    }
}

#[derive(Clone, Debug)]
struct Chain {
    /// The op with which it ended; `None` for how the name began.
    end: Option<usize>,
    length: u64,
    /// Filled by [`keep`] alone: most contents are never asked for.
    content: Option<Content>,
}

/// What a name stood for after each op that touched it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    steps: Vec<Step>,
    chains: Vec<Chain>,
    inode: Option<u64>,
}

impl Timeline {
    /// In order, the first from before the run.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The last step up to `op`.
    pub fn at(&self, op: usize) -> Option<&Step> {
        let after = self.steps.partition_point(|step| step.op.is_none_or(|step| step <= op));
        self.steps.get(after.checked_sub(1)?)
    }

    /// The ops after `op` that touched it, and what the name stood for then.
    pub fn after(&self, op: usize) -> impl Iterator<Item = (usize, &Step)> {
        let after = self.steps.partition_point(|step| step.op.is_none_or(|step| step <= op));
        self.steps[after..].iter().filter_map(|step| Some((step.op?, step)))
    }

    /// The content of a chain; empty if it was not kept.
    pub fn content(&self, chain: usize) -> Content {
        self.chains.get(chain).and_then(|chain| chain.content.clone()).unwrap_or_default()
    }

    /// The bytes at a point, if it is a file whose chain was kept.
    pub fn bytes(&self, point: &Point) -> Option<&[u8]> {
        let Point::Bytes { chain, length } = point else { return None };
        self.chains.get(*chain)?.content.as_ref()?.get(..*length as usize)
    }

    /// How many chains there are.
    pub fn chains(&self) -> usize {
        self.chains.len()
    }

    /// How long a chain grew, bytes.
    pub fn length(&self, chain: usize) -> u64 {
        self.chains.get(chain).map_or(0, |chain| chain.length)
    }

    fn push(&mut self, op: Option<usize>, change: Change, path: &RelPath, vfs: &Vfs) {
        let inode = vfs.inode_of(&Target::NoFollow(path.clone()));
        let same = inode.is_some() && inode == self.inode;
        self.inode = inode;
        let point = match (inode.and_then(|inode| vfs.length(inode)), self.steps.last().map(|step| &step.point)) {
            (Some(length), Some(&Point::Bytes { chain, length: before })) if same && change.unchanged >= before => {
                Point::Bytes { chain, length }
            }
            (Some(length), _) => Point::Bytes { chain: self.chains.len(), length },
            (None, _) => Point::Other(vfs.state(path)),
        };
        if let Point::Bytes { chain, length } = point {
            if chain == self.chains.len() {
                self.chains.push(Chain { end: op, length, content: None });
            }
            self.chains[chain].end = op;
            self.chains[chain].length = length;
        }
        self.steps.push(Step { op, point, change });
    }
}

/// The timelines of these names, without contents.
pub(crate) fn timelines(trace: &Trace, paths: &BTreeSet<RelPath>) -> BTreeMap<RelPath, Timeline> {
    let mut all: BTreeMap<RelPath, Timeline> = paths.iter().map(|path| (path.clone(), Timeline::default())).collect();
    execute(trace, |op, change, vfs| {
        let touched: BTreeSet<&RelPath> = match op {
            None => paths.iter().collect(),
            Some(_) => vfs.touched().collect(),
        };
        for path in touched {
            if let Some(timeline) = all.get_mut(path) {
                timeline.push(op, change.clone(), path, vfs);
            }
        }
    });
    all
}

/// Fills in the contents of these chains, by name.
pub(crate) fn keep(trace: &Trace, wanted: &BTreeSet<(RelPath, usize)>, timelines: &mut BTreeMap<RelPath, Timeline>) {
    let mut ends: HashMap<Option<usize>, Vec<&(RelPath, usize)>> = HashMap::new();
    for want in wanted {
        if let Some(chain) = timelines.get(&want.0).and_then(|timeline| timeline.chains.get(want.1)) {
            ends.entry(chain.end).or_default().push(want);
        }
    }
    execute(trace, |op, _, vfs| {
        for (path, chain) in ends.get(&op).into_iter().flatten() {
            if let (Some(timeline), Some(content)) = (timelines.get_mut(path), vfs.state(path).content()) {
                timeline.chains[*chain].content = Some(content.clone());
            }
        }
    });
}

fn execute(trace: &Trace, mut after: impl FnMut(Option<usize>, &Change, &Vfs)) {
    let mut vfs = Vfs::new(&trace.before);
    after(None, &Change::default(), &vfs);
    for (index, op) in trace.ops.iter().enumerate().filter(|(_, op)| op.result >= 0) {
        let change = Change::of(&op.call, &vfs);
        if vfs.apply(&op.call).is_ok() {
            after(Some(index), &change, &vfs);
        }
    }
}

/// The length up to which a call that touches a file leaves its bytes as they are in `before`.
pub(crate) fn unchanged_up_to(call: &Call, before: &Vfs) -> u64 {
    let bytes = |handle: Handle| before.inode_of(&Target::Handle(handle)).and_then(|inode| before.bytes(inode));
    match call {
        Call::Write { handle, offset, data, .. } | Call::Store { handle, offset, data } => {
            same_up_to(bytes(*handle), *offset, data)
        }
        Call::CopyRange { from, from_offset, to, to_offset, length } => {
            let source = bytes(*from).unwrap_or_default();
            let at = |offset: u64| offset.min(source.len() as u64) as usize;
            let data = &source[at(*from_offset)..at(from_offset.saturating_add(*length))];
            same_up_to(bytes(*to), *to_offset, data)
        }
        Call::Truncate { length, .. } => *length,
        // Modes without any but FALLOC_FL_KEEP_SIZE only reserve or extend; all others change bytes from `offset` on.
        Call::Allocate { mode, offset, .. } => {
            if mode & !1 == 0 {
                u64::MAX
            } else {
                *offset
            }
        }
        _ => 0,
    }
}

/// Where data written at `offset` first differ from the bytes there: a log that writes its last block again only adds to
/// it. Without an end if they do not.
fn same_up_to(bytes: Option<&[u8]>, offset: u64, data: &[u8]) -> u64 {
    let there = usize::try_from(offset).ok().and_then(|offset| bytes?.get(offset..)).unwrap_or_default();
    match there.iter().zip(data).take_while(|(old, new)| old == new).count() {
        same if same == data.len() => u64::MAX,
        same => offset + same as u64,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{CREATE, open, rename, trace, unlink, write};

    fn kept(trace: &Trace, path: &str) -> Timeline {
        let path = RelPath::from(path);
        let mut all = timelines(trace, &[path.clone()].into());
        let wanted = (0..all[&path].chains()).map(|chain| (path.clone(), chain)).collect();
        keep(trace, &wanted, &mut all);
        all.remove(&path).unwrap()
    }

    #[test]
    fn a_log_is_one_content() {
        let mut calls = vec![open(1, "log", CREATE)];
        calls.extend((0..200).map(|n| write(1, n * 10, b"a record.\n")));
        let timeline = kept(&trace(&[], calls), "log");
        assert_eq!((timeline.chains(), timeline.steps().len(), timeline.content(0).len()), (1, 202, 2000));
        assert_eq!(timeline.at(0).unwrap().point, Point::Bytes { chain: 0, length: 0 });
        assert_eq!(timeline.at(7).unwrap().point, Point::Bytes { chain: 0, length: 70 });
    }

    fn a_call() -> impl Strategy<Value = Call> {
        let name = || proptest::sample::select(vec!["f", "g"]);
        prop_oneof![
            (name(), 0u32..3).prop_map(|(name, handle)| open(handle, name, CREATE | 2)),
            (name(), 0u32..3).prop_map(|(name, handle)| open(handle, name, 0o1102)),
            (0u32..3, 0u64..12, proptest::collection::vec(1u8..3, 1..6))
                .prop_map(|(handle, offset, data)| write(handle, offset, &data)),
            (0u32..3, 0u64..12)
                .prop_map(|(handle, length)| Call::Truncate { target: Target::Handle(Handle(handle)), length }),
            (0u32..3, 0u64..12, 0u64..6, proptest::sample::select(vec![0, 1, 3, 16])).prop_map(
                |(handle, offset, length, mode)| Call::Allocate {
                    handle: Handle(handle),
                    mode,
                    offset,
                    length: length + 1
                }
            ),
            (0u32..3, 0u64..12, 0u32..3, 0u64..12, 0u64..6).prop_map(|(from, from_offset, to, to_offset, length)| {
                Call::CopyRange { from: Handle(from), from_offset, to: Handle(to), to_offset, length }
            }),
            Just(rename("g", "f")),
            Just(rename("f", "g")),
            Just(unlink("f")),
            Just(Call::Symlink { path: "f".into(), target: b"g".to_vec() }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

        /// However a file is changed, each step is what the model of the calls says, and keeps what it says that it keeps.
        #[test]
        fn every_step_is_what_was_there(calls in proptest::collection::vec(a_call(), 0..25)) {
            let trace = trace(&[("f", b"before")], calls);
            let path = RelPath::from("f");
            let timeline = kept(&trace, "f");
            let mut vfs = Vfs::new(&trace.before);
            for (index, op) in trace.ops.iter().enumerate() {
                let before = vfs.state(&path);
                let _ = vfs.apply(&op.call);
                let step = timeline.at(index).unwrap();
                if let (Some(before), Some(after)) = (before.content(), vfs.state(&path).content())
                    && step.op == Some(index)
                {
                    let unchanged = before.len().min(usize::try_from(step.change.unchanged).unwrap());
                    prop_assert_eq!(after.get(..unchanged), before.get(..unchanged));
                }
                match (vfs.state(&path), &step.point) {
                    (State::File(content), point) => prop_assert_eq!(timeline.bytes(point), Some(content.as_slice())),
                    (state, point) => prop_assert_eq!(&Point::Other(state), point),
                }
            }
        }
    }
}
