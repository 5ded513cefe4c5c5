//! The rules of one workload, and what they say about one crash state.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use trace::{Call, Channel, Content, History, RelPath, State, Trace, Version, Vfs};

use crate::found::{Found, error, judge_bytes, judge_state, look};
use crate::{Ack, Finding, Guide, Invariant, Kind, Mount, Observation, Wanted, describe};

/// When a crash state can occur. The ops of a trace are replayed one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Moment {
    /// How many ops had begun at the earliest crash point at which the state can occur.
    pub begun_earliest: usize,
    /// How many ops had ended at the latest such point: acks with a lower index had been given.
    pub ended_latest: usize,
}

/// Why invariants cannot be turned into rules for this trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The path of an invariant.
    #[error(
        "the invariant {invariant} names {path}, which never exists while the command runs; the command changes {changed}"
    )]
    UnknownPath {
        /// The invariant.
        invariant: Invariant,
        /// What it names.
        path: RelPath,
        /// What it could have named.
        changed: String,
    },
    /// Invariants speak about files and symbolic links.
    #[error("the invariant {invariant} names {path}, which is a directory or special file: name a file in it")]
    NotAFile {
        /// The invariant.
        invariant: Invariant,
        /// What it names.
        path: RelPath,
    },
    /// The text of an ack.
    #[error(
        "the invariant durable-after waits for the ack {text:?}, which the command never printed; it printed {printed}"
    )]
    NoAck {
        /// What was waited for.
        text: String,
        /// The beginning of what was printed.
        printed: String,
    },
    /// No exit in the trace.
    #[error(
        "the invariant durable-after exit cannot be checked: the trace does not hold the end of the command; record it again"
    )]
    NoExit,
    /// Nothing to hold.
    #[error(
        "the command changed no file, so there is nothing to check: name invariants, or check that the command does its work"
    )]
    NothingChanged,
}

/// One moment at which a promise about a file was made.
#[derive(Clone, Debug)]
struct Given {
    op: usize,
    /// What the name stood for then.
    state: State,
    /// The first op after it that grew the file behind what was promised, and the first that did anything else to it.
    grown: Option<usize>,
    changed: Option<usize>,
}

#[derive(Clone, Debug)]
struct Durability {
    ack: Ack,
    fails: bool,
    given: Vec<Given>,
}

#[derive(Clone, Debug)]
struct FileRules {
    atomic: bool,
    durable: Vec<Durability>,
    versions: Vec<Version>,
    /// What the name stood for when promises were made, where that is no version: a log between two lines, say.
    promised: Vec<Version>,
}

/// The rules of one workload: pure data, made once, asked for every crash state.
///
/// The default has only the rule that every state mounts and that the guest survives it.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    files: BTreeMap<RelPath, FileRules>,
    guide: Guide,
    has_exit: bool,
}

impl Rules {
    /// Makes the rules. Without any `wanted`: each file that the command changed is replaced atomically.
    ///
    /// Durability of every changed file after the exit is always checked; unless wanted, its findings do not fail.
    /// `history` is that of `trace`.
    pub fn new(trace: &Trace, history: &History, wanted: &[Wanted]) -> Result<Self, RuleError> {
        let changed = history.changed();
        let automatic: Vec<Wanted>;
        let wanted = if wanted.is_empty() {
            if changed.is_empty() {
                return Err(RuleError::NothingChanged);
            }
            automatic = changed.iter().map(|path| Wanted::AtomicReplace { path: path.clone() }).collect();
            &automatic
        } else {
            wanted
        };
        let mut rules = Self::default();
        let acks = Acks::new(trace);
        rules.has_exit = acks.exit.is_some();
        for wanted in wanted {
            match wanted {
                Wanted::AtomicReplace { path } => {
                    check_path(&Invariant::AtomicReplace, path, history, &changed)?;
                    rules.file(path, history).atomic = true;
                }
                Wanted::DurableAfter { ack, path } => {
                    let ops = acks.ops(ack)?;
                    if let Some(path) = path {
                        check_path(&Invariant::DurableAfter(ack.clone()), path, history, &changed)?;
                    }
                    let paths = path.as_ref().map_or(changed.as_slice(), std::slice::from_ref);
                    for path in paths {
                        rules.durable(path, history, ack, true, &ops);
                    }
                }
            }
        }
        if let Ok(exit) = acks.ops(&Ack::Exit) {
            for path in &changed {
                rules.durable(path, history, &Ack::Exit, false, &exit);
            }
        }
        let longest = rules.record_promises(trace);
        rules.make_guide(longest);
        Ok(rules)
    }

    fn file(&mut self, path: &RelPath, history: &History) -> &mut FileRules {
        self.files.entry(path.clone()).or_insert_with(|| FileRules {
            atomic: false,
            durable: Vec::new(),
            versions: history.versions(path).to_vec(),
            promised: Vec::new(),
        })
    }

    fn durable(&mut self, path: &RelPath, history: &History, ack: &Ack, fails: bool, ops: &[usize]) {
        let durable = &mut self.file(path, history).durable;
        if durable.iter().any(|rule| rule.ack == *ack) {
            return;
        }
        let given = ops.iter().map(|&op| Given { op, state: State::Absent, grown: None, changed: None }).collect();
        durable.push(Durability { ack: ack.clone(), fails, given });
    }

    /// Replays the trace to learn what stood where when promises were made, and how files went on afterwards.
    /// Returns the greatest length that a file grew to behind a promise.
    fn record_promises(&mut self, trace: &Trace) -> u64 {
        let mut vfs = Vfs::new(&trace.before);
        let mut since: BTreeMap<RelPath, usize> = BTreeMap::new();
        let mut longest = 0;
        for (index, op) in trace.ops.iter().enumerate().filter(|(_, op)| op.result >= 0) {
            if vfs.apply(&op.call).is_err() {
                continue;
            }
            let touched: BTreeSet<&RelPath> = vfs.touched().collect();
            for path in touched {
                let Some(rules) = self.files.get_mut(path) else { continue };
                since.insert(path.clone(), index);
                let kept = unchanged_up_to(&op.call);
                for given in rules.durable.iter_mut().flat_map(|rule| &mut rule.given).filter(|given| given.op < index)
                {
                    let promised = given.state.content().map(|content| content.len() as u64);
                    if given.changed.is_some() {
                        continue;
                    }
                    if promised.is_some_and(|length| length <= kept) {
                        given.grown.get_or_insert(index);
                        let inode = vfs.inode_of(&trace::Target::NoFollow(path.clone()));
                        longest = longest.max(inode.and_then(|inode| vfs.length(inode)).unwrap_or(0));
                    } else {
                        given.changed = Some(index);
                    }
                }
            }
            if !matches!(op.call, Call::Ack { .. } | Call::Exit { .. }) {
                continue;
            }
            for (path, rules) in &mut self.files {
                for given in rules.durable.iter_mut().flat_map(|rule| &mut rule.given).filter(|given| given.op == index)
                {
                    given.state = vfs.state(path);
                    let known = rules.versions.iter().chain(&rules.promised).any(|known| known.state == given.state);
                    if !known {
                        rules.promised.push(Version { state: given.state.clone(), from_op: since.get(path).copied() });
                    }
                }
            }
        }
        longest
    }

    fn make_guide(&mut self, longest: u64) {
        let mut known: HashMap<Content, u32> = HashMap::new();
        for (path, rules) in &self.files {
            let mut indices = BTreeSet::new();
            let states = rules.versions.iter().chain(&rules.promised);
            for content in states.filter_map(|version| version.state.content()) {
                let index = *known.entry(content.clone()).or_insert_with(|| {
                    self.guide.contents.push(content.clone());
                    self.guide.contents.len() as u32 - 1
                });
                indices.insert(index);
            }
            self.guide.files.insert(path.clone(), indices.into_iter().collect());
        }
        // Whether a file still begins with what was promised can only be seen by reading it.
        self.guide.read_all_up_to = longest;
    }

    /// How far the guest must read.
    pub fn guide(&self) -> &Guide {
        &self.guide
    }

    /// Whether the trace holds the end of the command: without it, durability after exit stays unknown.
    pub fn has_exit(&self) -> bool {
        self.has_exit
    }

    /// The files that rules are about.
    pub fn paths(&self) -> impl Iterator<Item = &RelPath> {
        self.files.keys()
    }

    /// What is wrong with a crash state, in the order of paths; empty if every rule holds.
    ///
    /// The kinds depend on the observation alone; which promises count depends on the moment.
    pub fn judge(&self, observation: &Observation, moment: &Moment) -> Vec<Finding> {
        let whole = |kind, observed| {
            let path = RelPath::root();
            vec![Finding { invariant: Invariant::Mountable, kind, path, observed, fails: true }]
        };
        match &observation.mount {
            Mount::Mounted => {}
            // What the kernel says of it is left out: it is rate-limited (lib/ratelimit.c), and so no function of the
            // state. `harness replay` shows it.
            Mount::Refused { errno, .. } => {
                return whole(Kind::Unmountable, format!("mount fails ({})", error(*errno)));
            }
            Mount::Died { reason } => return whole(Kind::GuestDied, reason.trim().to_owned()),
        }
        let mut findings = Vec::new();
        for (path, rules) in &self.files {
            let found = look(observation, &self.guide, path);
            if let Found::Nonsense(why) = found {
                return whole(Kind::GuestDied, why);
            }
            rules.judge(path, &found, moment, &mut findings);
        }
        findings
    }
}

impl FileRules {
    fn judge(&self, path: &RelPath, found: &Found<'_>, moment: &Moment, findings: &mut Vec<Finding>) {
        let states: Vec<&State> = self.versions.iter().map(|version| &version.state).collect();
        // What is wrong if the state is no version at all.
        let broken = || match found {
            Found::Known(state) => judge_state(state, &states),
            Found::Partly { size, bytes } => judge_bytes(*size, bytes, &states),
            Found::Unreadable(why) | Found::Nonsense(why) => (Kind::ReadError, why.clone()),
        };
        let mut add = |invariant, (kind, observed), fails| {
            findings.push(Finding { invariant, kind, path: path.clone(), observed, fails });
        };
        let known = match found {
            Found::Known(state) => Some(state),
            _ => None,
        };
        if self.atomic && !known.is_some_and(|state| states.contains(&state)) {
            add(Invariant::AtomicReplace, broken(), true);
        }
        for rule in &self.durable {
            let Some(given) = rule.given.iter().rev().find(|given| given.op < moment.ended_latest) else { continue };
            if self.keeps(given, found, moment) {
                continue;
            }
            let timeline = || self.versions.iter().chain(&self.promised);
            let what = match known.filter(|state| timeline().any(|version| version.state == **state)) {
                Some(state) => {
                    let promised = format!("op {} promised {}", given.op, describe(&given.state));
                    (Kind::Stale, format!("{}, where {promised}", describe(state)))
                }
                None => broken(),
            };
            add(Invariant::DurableAfter(rule.ack.clone()), what, rule.fails);
        }
    }

    /// Whether what was found is what was promised, or something later that may have begun to reach the disk.
    fn keeps(&self, given: &Given, found: &Found<'_>, moment: &Moment) -> bool {
        // Ops are replayed one after another: the one after the last that ended may have begun, none behind it.
        let begun = |op: usize| op <= moment.ended_latest;
        if let Found::Known(state) = found {
            let later = |version: &Version| version.from_op.is_some_and(|op| op > given.op && begun(op));
            let mut timeline = self.versions.iter().chain(&self.promised);
            if *state == given.state || timeline.any(|version| version.state == *state && later(version)) {
                return true;
            }
        }
        // A file that has only grown since keeps the promise as long as it begins with what was promised.
        let only_grown = given.grown.is_some_and(begun) && !given.changed.is_some_and(begun);
        let Some(promised) = given.state.content().filter(|_| only_grown) else { return false };
        match found {
            Found::Known(State::File(content)) => content.starts_with(promised),
            Found::Partly { bytes, .. } => bytes.starts_with(promised),
            _ => false,
        }
    }
}

/// The length up to which a call that touched a file left its bytes as they were.
pub(crate) fn unchanged_up_to(call: &Call) -> u64 {
    match call {
        Call::Write { offset, .. } => *offset,
        Call::CopyRange { to_offset, .. } => *to_offset,
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

fn check_path(invariant: &Invariant, path: &RelPath, history: &History, changed: &[RelPath]) -> Result<(), RuleError> {
    let versions = history.versions(path);
    let (invariant, path) = (invariant.clone(), path.clone());
    if versions.is_empty() {
        let changed = match changed {
            [] => "no file".to_owned(),
            paths => paths.iter().map(RelPath::to_string).collect::<Vec<_>>().join(", "),
        };
        return Err(RuleError::UnknownPath { invariant, path, changed });
    }
    let plain = |version: &Version| matches!(version.state, State::Absent | State::File(_) | State::Symlink(_));
    if !versions.iter().all(plain) {
        return Err(RuleError::NotAFile { invariant, path });
    }
    Ok(())
}

/// What the program printed, by channel, and which op printed what.
#[derive(Default)]
struct Acks {
    channels: Vec<Printed>,
    exit: Option<usize>,
}

struct Printed {
    channel: Channel,
    text: Vec<u8>,
    /// How long `text` was after which op.
    ends: Vec<(usize, usize)>,
}

impl Acks {
    fn new(trace: &Trace) -> Self {
        let mut acks = Self::default();
        for (index, op) in trace.ops.iter().enumerate() {
            match &op.call {
                Call::Ack { channel, data } => {
                    let at = acks.channels.iter().position(|known| known.channel == *channel).unwrap_or_else(|| {
                        acks.channels.push(Printed { channel: *channel, text: Vec::new(), ends: Vec::new() });
                        acks.channels.len() - 1
                    });
                    let printed = &mut acks.channels[at];
                    printed.text.extend_from_slice(data);
                    printed.ends.push((printed.text.len(), index));
                }
                Call::Exit { .. } => acks.exit = Some(index),
                _ => {}
            }
        }
        acks
    }

    /// The ops that complete the ack, ascending.
    fn ops(&self, ack: &Ack) -> Result<Vec<usize>, RuleError> {
        let Ack::Text(text) = ack else {
            return self.exit.map(|op| vec![op]).ok_or(RuleError::NoExit);
        };
        let wanted = text.as_bytes();
        let mut ops = BTreeSet::new();
        for Printed { text: printed, ends, .. } in &self.channels {
            let mut at = 0;
            while let Some(found) = printed[at..].windows(wanted.len().max(1)).position(|window| window == wanted) {
                at += found + wanted.len();
                // The op whose bytes hold the last one of the text.
                let op = ends.partition_point(|(end, _)| *end < at);
                ops.insert(ends[op].1);
            }
        }
        if ops.is_empty() {
            return Err(RuleError::NoAck { text: text.clone(), printed: self.printed() });
        }
        Ok(ops.into_iter().collect())
    }

    fn printed(&self) -> String {
        /// Enough to see a typing mistake by.
        const SHOWN: usize = 200;
        let all: Vec<u8> = self.channels.iter().flat_map(|channel| &channel.text).copied().take(SHOWN).collect();
        if all.is_empty() { "nothing".to_owned() } else { format!("{:?}", String::from_utf8_lossy(&all)) }
    }
}

/// The ops that complete an ack, ascending.
pub(crate) fn ack_ops(trace: &Trace, ack: &Ack) -> Result<Vec<usize>, RuleError> {
    Acks::new(trace).ops(ack)
}

#[cfg(test)]
mod tests;
