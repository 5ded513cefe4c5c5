//! The rules of one workload, and what they say about one crash state.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use program::{Content, History, RelPath, State, Trace, Version};
use serde::{Deserialize, Serialize};

use self::append::Append;
use self::complete::Complete;
use self::file::FileRules;
use self::tree::{Group, Metadata};
use self::whole::OneIsWhole;
use crate::acks::Acks;
use crate::defaults::{Defaults, scratch};
use crate::ends::ends;
use crate::found::{Allowed, Found, look};
use crate::timeline::{keep, timelines};
use crate::{
    Ack, Candidate, ChangedMetadata, Finding, Invariant, Kind, Mount, Observation, Observed, ReadPlan, Sizes, Wanted,
};

mod append;
mod complete;
mod error;
mod file;
mod tree;
mod whole;

pub use self::error::RuleError;

/// When a crash state can occur. The ops of a trace are replayed one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CrashWindow {
    /// How many ops had begun at the earliest crash point at which the state can occur.
    pub begun_earliest: usize,
    /// How many ops had ended at the latest such point: acks with a lower index had been given.
    pub ended_latest: usize,
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
    one_is_whole: Vec<OneIsWhole>,
    complete: Vec<Complete>,
    metadata: BTreeMap<RelPath, Metadata>,
    /// Every name from before and after the run, if no other may be left.
    names: Option<BTreeSet<RelPath>>,
    read_plan: ReadPlan,
    changed_metadata: Vec<ChangedMetadata>,
    has_exit: bool,
}

impl Rules {
    /// Makes the rules. Without any `wanted`, those that [`Defaults`] chooses.
    ///
    /// Durability of every changed file after the exit is always checked; unless wanted, its findings do not fail.
    /// `history` is that of `trace`.
    ///
    /// # Errors
    /// What is wanted does not fit what the command does.
    pub fn new(trace: &Trace, history: &History, wanted: &[Wanted]) -> Result<Self, RuleError> {
        let no_data = scratch(history);
        if !wanted.is_empty() {
            return Self::asked_for(trace, history, wanted, &no_data);
        }
        Self::chosen(trace, history, &Defaults::new(trace, history, &no_data), &no_data)
    }

    /// The rules that were chosen, since nobody asked for any. `no_data` are names that matter to nobody.
    ///
    /// # Errors
    /// The command changed no file.
    pub fn chosen(
        trace: &Trace,
        history: &History,
        defaults: &Defaults,
        no_data: &BTreeSet<RelPath>,
    ) -> Result<Self, RuleError> {
        if history.changed().iter().all(|path| no_data.contains(path)) {
            return Err(RuleError::NothingChanged);
        }
        Self::asked_for(trace, history, &defaults.wanted, no_data)
    }

    /// The rules that are asked for, and no others: for a workload that judges by itself. `no_data` are names that matter
    /// to nobody.
    ///
    /// # Errors
    /// As [`Rules::new`].
    pub fn asked_for(
        trace: &Trace,
        history: &History,
        wanted: &[Wanted],
        no_data: &BTreeSet<RelPath>,
    ) -> Result<Self, RuleError> {
        let is_no_data = |path: &RelPath| no_data.contains(path);
        let mut changed = history.changed();
        changed.retain(|path| !is_no_data(path));
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
                Wanted::OneIsWhole { paths } => {
                    let rule = OneIsWhole::new(paths, history);
                    for path in paths {
                        check_path(&rule.invariant, path, history, &changed)?;
                        rules.file(path, history);
                    }
                    if !rules.one_is_whole.contains(&rule) {
                        rules.one_is_whole.push(rule);
                    }
                }
                Wanted::Tree { marker, paths } => {
                    let (rule, files) = Complete::new((marker, paths), trace, history)?;
                    for path in &files {
                        rules.file(path, history);
                    }
                    if !rules.complete.contains(&rule) {
                        rules.complete.push(rule);
                    }
                }
                Wanted::MetadataPreserved { path } => {
                    let old = Metadata::before(trace, path);
                    let old = old.ok_or_else(|| RuleError::NoOldFile { path: path.clone() })?;
                    rules.metadata.insert(path.clone(), old);
                }
                Wanted::NoLeftovers {} => {
                    let there = |version: Option<&Version>| version.is_some_and(|it| it.state != State::Absent);
                    let known = history.paths();
                    let known = known.filter(|(path, all)| there(all.first()) || there(all.last()) || is_no_data(path));
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
            .filter(|(path, _)| !rules.metadata.contains_key(path) && !is_no_data(path))
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
        match finding.invariant {
            Invariant::AllOrNothing(_) => {
                let group = self.groups.iter().find(|group| group.invariant == finding.invariant)?;
                return group.describe(&finding.path, &found);
            }
            Invariant::OneIsWhole(_) => {
                let rule = self.one_is_whole.iter().find(|rule| rule.invariant == finding.invariant)?;
                return rule.describe(&finding.path, &found);
            }
            Invariant::Tree(..) => {
                let rule = self.complete.iter().find(|rule| rule.invariant == finding.invariant)?;
                return rule.describe(|path| look(observation, &self.read_plan, path), observation);
            }
            _ => {}
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
        for rule in &self.one_is_whole {
            findings.extend(rule.judge(|path| look(observation, &self.read_plan, path)));
        }
        for rule in &self.complete {
            findings.extend(rule.judge(|path| look(observation, &self.read_plan, path), observation));
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
