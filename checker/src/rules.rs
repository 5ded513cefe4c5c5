//! The rules of one workload, and what they say about one crash state.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use program::{Content, History, RelPath, State, Trace, Version};
use serde::{Deserialize, Serialize};

use self::append::Append;
use self::file::FileRules;
use self::tree::{Group, Metadata};
use crate::acks::Acks;
use crate::ends::ends;
use crate::found::{Allowed, Found, look};
use crate::timeline::{keep, timelines};
use crate::{
    Ack, Candidate, ChangedMetadata, Finding, Invariant, Kind, Mount, Observation, Observed, ReadPlan, Record, Sizes,
    Wanted,
};

mod append;
mod file;
mod tree;

/// When a crash state can occur. The ops of a trace are replayed one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CrashWindow {
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
    /// The command does not do what `append-only` is about.
    #[error(
        "the invariant append-only names {path}, but the command leaves no file there that begins with what was there \
         before: it does not only append to it"
    )]
    NotAppended {
        /// What it names.
        path: RelPath,
    },
    /// The end of the file after the run is no end of a record.
    #[error(
        "the invariant append-only says that a record of {path} is {record}, but the command itself leaves {size} \
         bytes, which end within one"
    )]
    OpenRecord {
        /// What it names.
        path: RelPath,
        /// What a record is said to be.
        record: Record,
        /// The size after the run, bytes.
        size: u64,
    },
    /// Two invariants contradict each other.
    #[error("the invariant append-only names {path} twice, with different records: keep one of them")]
    Contradiction {
        /// What both name.
        path: RelPath,
    },
    /// Nothing to preserve.
    #[error("the invariant metadata-preserved names {path}, which is no file before the command runs")]
    NoOldFile {
        /// What it names.
        path: RelPath,
    },
    /// Too many contents to hold.
    #[error(
        "the invariants ask for {} MiB of former contents of {path} and other files, and {} MiB can be held: test with \
         smaller files or fewer changes",
        bytes.div_ceil(1 << 20),
        MOST_HISTORY >> 20
    )]
    TooMuchHistory {
        /// The first file that is too much.
        path: RelPath,
        /// Bytes up to and with that file.
        bytes: u64,
    },
}

/// What invariants may hold of contents between the versions, bytes: the guest is given them, too, and has to hold them
/// beside everything else.
const MOST_HISTORY: u64 = 64 << 20;

/// The rules of one workload: pure data, made once, asked for every crash state.
///
/// The default has only the rule that every state mounts and that the guest survives it.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    files: BTreeMap<RelPath, FileRules>,
    groups: Vec<Group>,
    metadata: BTreeMap<RelPath, Metadata>,
    /// Every name from before and after the run, if no other may be left.
    names: Option<BTreeSet<RelPath>>,
    read_plan: ReadPlan,
    changed_metadata: Vec<ChangedMetadata>,
    has_exit: bool,
}

impl Rules {
    /// Makes the rules. Without any `wanted`: each file that the command changed is replaced atomically.
    ///
    /// Durability of every changed file after the exit is always checked; unless wanted, its findings do not fail.
    /// `history` is that of `trace`.
    pub fn new(trace: &Trace, history: &History, wanted: &[Wanted]) -> Result<Self, RuleError> {
        if !wanted.is_empty() {
            return Self::asked_for(trace, history, wanted);
        }
        let changed = history.changed();
        if changed.is_empty() {
            return Err(RuleError::NothingChanged);
        }
        let automatic: Vec<Wanted> = changed.into_iter().map(|path| Wanted::AtomicReplace { path }).collect();
        Self::asked_for(trace, history, &automatic)
    }

    /// The same, but nothing has to be replaced atomically unless `wanted`: for a workload that judges by itself.
    pub fn asked_for(trace: &Trace, history: &History, wanted: &[Wanted]) -> Result<Self, RuleError> {
        let changed = history.changed();
        let mut rules = Self::default();
        let acks = Acks::new(trace);
        rules.has_exit = acks.has_exit();
        // Made when contents are there.
        let mut logs = BTreeMap::new();
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
                        rules.file(path, history).add_promise(ack, true, &ops);
                    }
                }
                Wanted::AppendOnly { path, record, garbage_tail } => {
                    check_path(&Invariant::AppendOnly, path, history, &changed)?;
                    rules.file(path, history);
                    if logs
                        .insert(path, (*record, *garbage_tail))
                        .is_some_and(|known| known != (*record, *garbage_tail))
                    {
                        return Err(RuleError::Contradiction { path: path.clone() });
                    }
                }
                Wanted::PrefixOfHistory { path } => {
                    check_path(&Invariant::PrefixOfHistory, path, history, &changed)?;
                    rules.file(path, history).in_history = true;
                }
                Wanted::AllOrNothing { paths } => {
                    let group = Group::new(paths, history);
                    for path in paths {
                        check_path(&group.invariant, path, history, &changed)?;
                        rules.file(path, history);
                    }
                    if !rules.groups.contains(&group) {
                        rules.groups.push(group);
                    }
                }
                Wanted::MetadataPreserved { path } => {
                    let old = Metadata::before(trace, path);
                    let old = old.ok_or_else(|| RuleError::NoOldFile { path: path.clone() })?;
                    rules.metadata.insert(path.clone(), old);
                }
                Wanted::NoLeftovers {} => {
                    let there = |version: Option<&Version>| version.is_some_and(|it| it.state != State::Absent);
                    let known = history.paths().filter(|(_, all)| there(all.first()) || there(all.last()));
                    rules.names = Some(known.map(|(path, _)| path.clone()).collect());
                }
                // Who looks at whole trees judges by it; here only what it names is looked at.
                Wanted::View(view) => {
                    if let Some(ack) = &view.ack {
                        acks.ops(ack)?;
                    }
                    let is_known =
                        |path: &RelPath| trace.before.0.contains_key(path) || !history.versions(path).is_empty();
                    let unknown = view.path.as_ref().filter(|path| !path.is_root() && !is_known(path));
                    if let Some(path) = unknown {
                        check_path(&Invariant::View(view.to_string()), path, history, &changed)?;
                    }
                }
            }
        }
        let is_owned =
            |path: &RelPath| wanted.iter().any(|wanted| matches!(wanted, Wanted::View(view) if view.owns(path)));
        if let Ok(exit) = acks.ops(&Ack::Exit) {
            for path in changed.iter().filter(|path| !is_owned(path)) {
                rules.file(path, history).add_promise(&Ack::Exit, false, &exit);
            }
        }
        rules.hold_contents(trace, &logs.keys().copied().collect())?;
        for (path, (record, tail)) in logs {
            if let Some(file) = rules.files.get_mut(path) {
                file.append = Some(Append::new(path, file, record, tail)?);
            }
        }
        rules.make_read_plan();
        rules.changed_metadata = tree::changed_metadata(trace)
            .filter(|(path, _)| !rules.metadata.contains_key(path))
            .map(|(_, changed)| changed)
            .collect();
        Ok(rules)
    }

    fn file(&mut self, path: &RelPath, history: &History) -> &mut FileRules {
        self.files.entry(path.clone()).or_insert_with(|| FileRules::new(history.versions(path)))
    }

    /// Learns what stood where after each op, and holds as much of it as the rules ask for.
    fn hold_contents(&mut self, trace: &Trace, logs: &BTreeSet<&RelPath>) -> Result<(), RuleError> {
        let mut all = timelines(trace, &self.files.keys().cloned().collect());
        let in_place = self.files.iter().filter_map(|(path, file)| Some((path.clone(), file.named_acks()?))).collect();
        for (path, ends) in ends(trace, &in_place) {
            if let (Some(file), Some(timeline)) = (self.files.get_mut(&path), all.get(&path)) {
                file.end_versions(&ends, timeline);
            }
        }
        let mut needed = BTreeSet::new();
        let mut bytes = 0;
        for (path, file) in &mut self.files {
            let Some(timeline) = all.get(path) else { continue };
            let every = file.in_history || logs.contains(path);
            let chains = if every { (0..timeline.chains()).collect() } else { file.needed_chains(timeline) };
            // The first and the last are held as versions anyway.
            let more = chains.iter().filter(|chain| **chain > 0 && **chain + 1 < timeline.chains());
            bytes += more.map(|chain| timeline.length(*chain)).sum::<u64>();
            if bytes > MOST_HISTORY {
                return Err(RuleError::TooMuchHistory { path: path.clone(), bytes });
            }
            needed.extend(chains.into_iter().map(|chain| (path.clone(), chain)));
        }
        keep(trace, &needed, &mut all);
        for (path, timeline) in all {
            if let Some(file) = self.files.get_mut(&path) {
                file.hold(timeline);
            }
        }
        Ok(())
    }

    fn make_read_plan(&mut self) {
        let mut known: HashMap<Content, u32> = HashMap::new();
        for (path, file) in &self.files {
            let mut sizes: BTreeMap<u32, Sizes> = BTreeMap::new();
            for Allowed { content, sizes: more, .. } in file.candidates() {
                let index = *known.entry(content.clone()).or_insert_with(|| {
                    self.read_plan.contents.push(content.clone());
                    self.read_plan.contents.len() as u32 - 1
                });
                let all = sizes.entry(index).or_default();
                *all = std::mem::take(all).union(&more);
            }
            let candidates = sizes.into_iter().map(|(content, sizes)| Candidate { content, sizes }).collect();
            self.read_plan.files.insert(path.clone(), candidates);
        }
    }

    /// Has what is not durable after the exit fail.
    pub fn require_durability(&mut self) {
        self.files.values_mut().for_each(FileRules::require_durability);
    }

    /// Has every file of up to `limit` bytes read whole: for who judges whole trees.
    pub fn read_all_up_to(&mut self, limit: u64) {
        self.read_plan.read_all_up_to = limit;
    }

    /// What the file of a finding holds, in ranges of bytes, if it was read whole and is neither one of its versions nor
    /// of a wrong size: the finding itself tells no more than what had to be read for it.
    pub fn in_ranges(&self, finding: &Finding, observation: &Observation) -> Option<Observed> {
        if !matches!(finding.kind, Kind::Mixed | Kind::ZeroFilled | Kind::Garbage) {
            return None;
        }
        let found = look(observation, &self.read_plan, &finding.path);
        if let Invariant::AllOrNothing(_) = finding.invariant {
            let group = self.groups.iter().find(|group| group.invariant == finding.invariant)?;
            return group.describe(&finding.path, &found);
        }
        self.files.get(&finding.path)?.describe(&finding.invariant, &found)
    }

    /// The files that are none of their versions, and how: for a failure of which it is not known what it is about.
    pub fn not_versions(&self, observation: &Observation) -> Vec<(RelPath, Kind)> {
        if observation.mount != Mount::Mounted {
            return Vec::new();
        }
        let kind = |(path, file): (&RelPath, &FileRules)| {
            Some((path.clone(), file.is_no_version(&look(observation, &self.read_plan, path))?))
        };
        self.files.iter().filter_map(kind).collect()
    }

    /// How far the guest must read.
    pub fn read_plan(&self) -> &ReadPlan {
        &self.read_plan
    }

    /// Whether the trace holds the end of the command: without it, durability after exit stays unknown.
    pub fn has_exit(&self) -> bool {
        self.has_exit
    }

    /// The files whose mode, owner or group the run itself changed, without any crash: its author may not know of it.
    pub fn changed_metadata(&self) -> &[ChangedMetadata] {
        &self.changed_metadata
    }

    /// What is wrong with a crash state, in the order of paths; empty if every rule holds. No two findings have the
    /// same invariant, kind and path.
    ///
    /// The kinds depend on the observation alone; which promises count depends on the moment.
    pub fn judge(&self, observation: &Observation, window: &CrashWindow) -> Vec<Finding> {
        let whole = |kind, observed| {
            let path = RelPath::root();
            vec![Finding { invariant: Invariant::Mountable, kind, path, observed, fails: true, check: None }]
        };
        match &observation.mount {
            Mount::Mounted => {}
            // What the kernel says of it is left out: it is rate-limited (lib/ratelimit.c), and so no function of the
            // state. `harness reproduce` shows it.
            Mount::Refused { errno, .. } => {
                return whole(Kind::Unmountable, Observed::NotMounted { errno: *errno });
            }
            Mount::Died { reason } => {
                return whole(Kind::GuestDied, Observed::GuestDied { reason: reason.trim().to_owned() });
            }
        }
        let mut findings = Vec::new();
        for (path, rules) in &self.files {
            let found = look(observation, &self.read_plan, path);
            if let Found::Nonsense(why) = found {
                return whole(Kind::GuestDied, Observed::Nonsense { why });
            }
            rules.judge(path, &found, window, &mut findings);
        }
        for group in &self.groups {
            group.judge(|path| look(observation, &self.read_plan, path), &mut findings);
        }
        for (path, old) in &self.metadata {
            findings.extend(old.judge(path, observation, &self.read_plan));
        }
        if let Some(names) = &self.names {
            findings.extend(tree::leftovers(names, observation));
        }
        findings
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

#[cfg(test)]
mod tests;
