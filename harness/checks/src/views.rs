//! Views: what a program, or a built-in reader, makes of a recovered directory, held against what it would have made of
//! it, had only the program been killed.
//!
//! Right are the views of the directory before the run, after it, and when an ack was given that an invariant names; with
//! `between`, at every point at which the program can be killed. A state must show one of them: none older than the one at
//! the last ack that was given of those which promise the whole directory, and none later than the program can have come.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use checker::{Ack, CheckFailure, CrashWindow, Finding, Invariant, Kind, Observation, Observed, View, Wanted, ack_ops};
use program::{RelPath, Trace};
use tokio::sync::OnceCell;

use self::boundaries::Boundaries;
use self::look::{Difference, Shown, look};
use crate::checker::Shared;
use crate::error::CheckError;
use crate::place::Runner;
use crate::trees::{Entries, NotWhole, TreeId, id, relevant, whole};

mod boundaries;
mod look;

/// How many trees that are found fault with are looked at twice.
const DOUBTED: usize = 16;

/// What is shown, and what was said of a failure: that is told, but not compared.
type ShownKey = ([u8; 32], Option<CheckFailure>);

/// One view of a workload.
pub(crate) struct ViewJudge {
    view: View,
    invariant: Invariant,
    path: RelPath,
    boundaries: Arc<Boundaries>,
    /// The points whose views are right, and what is shown there.
    named: BTreeMap<usize, Arc<Shown>>,
    /// From which op on the view of that moment, or something later, must be shown, and by which ack.
    binding: BTreeMap<usize, Ack>,
    /// The op that is the end of the program.
    exit: Option<usize>,
    /// Whether what is shown at the end of the program must be durable.
    requires_exit: bool,
    /// Two looks at the files of a point that is right differed.
    unsteady: Option<(Arc<Shown>, Arc<Shown>)>,
    looks: Mutex<HashMap<TreeId, Arc<OnceCell<Arc<Shown>>>>>,
    /// All that was ever shown, once each: many trees show the same.
    shown: Mutex<HashMap<ShownKey, Arc<Shown>>>,
    /// What is shown at each point, as far as it was looked at.
    at: Mutex<Vec<Option<Arc<Shown>>>>,
    /// What was looked at twice.
    doubted: Mutex<HashSet<TreeId>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The views that are wanted of a workload.
///
/// # Errors
/// One cannot look, or fails wherever it would be right.
pub(crate) fn views(runner: Runner<'_>, trace: &Trace) -> Result<Vec<ViewJudge>, CheckError> {
    let wanted = &runner.workload.invariants;
    let views: Vec<&View> =
        wanted.iter().filter_map(|wanted| if let Wanted::View(view) = wanted { Some(view) } else { None }).collect();
    if views.is_empty() {
        return Ok(Vec::new());
    }
    let boundaries = Arc::new(Boundaries::new(trace));
    views.into_iter().map(|view| ViewJudge::new(runner, view, wanted, trace, &boundaries)).collect()
}

impl ViewJudge {
    fn new(
        runner: Runner<'_>,
        view: &View,
        wanted: &[Wanted],
        trace: &Trace,
        boundaries: &Arc<Boundaries>,
    ) -> Result<Self, CheckError> {
        // That an ack is never given is told by the rules.
        let ops = |ack: &Ack| ack_ops(trace, ack).unwrap_or_default();
        let mut binding = BTreeMap::new();
        let mut points = BTreeSet::from([0, boundaries.last()]);
        for wanted in wanted {
            let (ack, binds) = match wanted {
                // What is promised of one file says nothing of others.
                Wanted::DurableAfter { ack, path } => (ack, path.is_none()),
                Wanted::View(View { ack: Some(ack), .. }) => (ack, *wanted == Wanted::View(view.clone())),
                _ => continue,
            };
            for op in ops(ack) {
                points.insert(boundaries.index(op + 1));
                if binds {
                    binding.insert(op, ack.clone());
                }
            }
        }
        let blind = |index: usize, problem: String| CheckError::Blind {
            name: runner.name(),
            view: view.to_string(),
            when: match index {
                0 => "before".to_owned(),
                index if index == boundaries.last() => "after".to_owned(),
                _ => "in the course of".to_owned(),
            },
            problem,
        };
        let (mut named, mut unsteady, mut looks) = (BTreeMap::new(), None, HashMap::new());
        for index in points {
            let tree = boundaries
                .trees(index..=index)
                .map_err(|source| CheckError::NotFollowed { name: runner.name(), source })?;
            let Some((_, tree)) = tree.into_iter().next() else { continue };
            let tree = relevant(&tree, view);
            whole(&tree).map_err(|problem| {
                not_whole(runner.name(), problem, |path| blind(index, format!("{path} cannot be read")))
            })?;
            let one = look(runner, view, &tree)?;
            if one.timed_out {
                return Err(blind(index, one.told(Difference::NONE, None).ended));
            }
            let other = look(runner, view, &tree)?;
            if one.id != other.id {
                unsteady.get_or_insert((one.clone(), other));
            }
            looks.insert(id(&tree), Arc::new(OnceCell::new_with(Some(one.clone()))));
            named.insert(index, one);
        }
        // What no reader can read at the end looks like what a crash has ruined: all would be right.
        let is_blind = |shown: &Arc<Shown>| shown.failed.is_some() && view.reader.is_some();
        let all_fail = named.values().all(|shown| shown.failed.is_some());
        if let Some((&last, shown)) = named.last_key_value().filter(|(_, shown)| all_fail || is_blind(shown)) {
            return Err(blind(last, shown.told(Difference::NONE, None).ended));
        }
        let mut at = vec![None; boundaries.last() + 1];
        named.iter().for_each(|(index, shown)| at[*index] = Some(shown.clone()));
        Ok(Self {
            invariant: Invariant::View(view.to_string()),
            path: view.about(),
            exit: ops(&Ack::Exit).last().copied(),
            view: view.clone(),
            boundaries: boundaries.clone(),
            named,
            binding,
            requires_exit: false,
            unsteady,
            looks: Mutex::new(looks),
            shown: Mutex::default(),
            at: Mutex::new(at),
            doubted: Mutex::default(),
        })
    }

    /// Has it fail that what was shown at the end of the program is not durable.
    pub fn require_durability(&mut self) {
        self.requires_exit = true;
        if let Some(exit) = self.exit {
            self.binding.insert(exit, Ack::Exit);
        }
    }

    /// What is wrong with a crash state that is mounted.
    pub async fn judge(
        &self,
        shared: &Arc<Shared>,
        observation: &Observation,
        window: &CrashWindow,
    ) -> Result<Vec<Finding>, CheckError> {
        if let Some((one, other)) = &self.unsteady {
            return Err(self.unsteady(shared, one, other));
        }
        let entries = relevant(&observation.entries, &self.view);
        match whole(&entries) {
            Ok(()) => {}
            Err(NotWhole::Unreadable(path)) => {
                let observed = Observed::NoWholeTree { path: path.to_string(), earliest_acks: false };
                return Ok(vec![self.finding(self.invariant.clone(), Kind::ReadError, observed, true)]);
            }
            Err(problem) => return Err(not_whole(shared.workload.name.clone(), problem, |_| unreachable!())),
        }
        let tree = id(&entries);
        let shown = self.look(shared, tree, &entries).await?;
        let (findings, fails) = self.hold(shared, &shown, window).await?;
        // How far one comes whose time is up says nothing, and it was asked twice.
        if fails && !shown.timed_out && self.is_to_be_doubted(tree) {
            let again = self.fresh_look(shared, &entries).await?;
            if again.id != shown.id {
                return Err(self.unsteady(shared, &shown, &again));
            }
        }
        Ok(findings)
    }

    /// Holds what is shown against what is right.
    async fn hold(
        &self,
        shared: &Arc<Shared>,
        shown: &Arc<Shown>,
        window: &CrashWindow,
    ) -> Result<(Vec<Finding>, bool), CheckError> {
        let latest = self.boundaries.latest(window);
        let promise = self.binding.range(..window.ended_latest).next_back();
        let earliest = promise.map_or(0, |(op, _)| self.boundaries.index(op + 1)).min(latest);
        let mut findings = Vec::new();
        let mut fails = true;
        let is_named = |range: RangeInclusive<usize>| self.named.range(range).any(|(_, named)| named.id == shown.id);
        let is_legal = self.view.is_between() || is_named(0..=self.boundaries.last());
        let invariant = || self.invariant.clone();
        let found = if is_named(earliest..=latest) {
            Some(latest)
        } else {
            self.find(shared, earliest..=latest, shown).await?
        };
        match found {
            Some(_) if is_legal => fails = false,
            Some(point) => {
                let observed = self.observed(shared, shown, (earliest, latest), (Some(point), false)).await?;
                findings.push(self.finding(invariant(), Kind::KilledView, observed, true));
            }
            None => {
                let before = match earliest.checked_sub(1) {
                    Some(before) => self.find(shared, 0..=before, shown).await?,
                    None => None,
                };
                let after = if is_legal && before.is_none() && latest < self.boundaries.last() {
                    self.find(shared, latest + 1..=self.boundaries.last(), shown).await?
                } else {
                    None
                };
                let observed = self.observed(shared, shown, (earliest, latest), (before.or(after), is_legal)).await?;
                let (invariant, kind) = match (before, after, promise) {
                    (Some(_), _, Some((_, ack))) if is_legal => {
                        (Invariant::ViewAfter(self.view.to_string(), ack.clone()), Kind::Stale)
                    }
                    (Some(_), ..) => (invariant(), Kind::KilledView),
                    (None, Some(_), _) => (invariant(), Kind::EarlyView),
                    (None, None, _) if shown.failed.is_some() && self.never_fails(latest) => {
                        (invariant(), Kind::Unreadable)
                    }
                    (None, None, _) => (invariant(), Kind::WrongView),
                };
                let check = shown.failed.clone();
                findings.push(Finding { check, ..self.finding(invariant, kind, observed, true) });
            }
        }
        findings.extend(self.not_durable(shown, window, &findings));
        Ok((findings, fails))
    }

    /// What is shown after the program has ended, if that is not what was shown when it did: told, unless it fails anyway.
    fn not_durable(&self, shown: &Shown, window: &CrashWindow, known: &[Finding]) -> Option<Finding> {
        let exit = self.exit.filter(|exit| *exit < window.ended_latest)?;
        let last = self.boundaries.last();
        let right = self.named.get(&last).filter(|right| right.id != shown.id)?;
        let fails = self.binding.get(&exit) == Some(&Ack::Exit);
        let invariant = Invariant::ViewAfter(self.view.to_string(), Ack::Exit);
        if known.iter().any(|known| known.invariant == invariant) {
            return None;
        }
        let differs = shown.differs_from(right);
        let right = Some(right.told(differs, Some(self.boundaries.viewed_at(last))));
        let observed = Observed::View { shows: shown.told(differs, None), right, line: differs.line, killed: None };
        Some(self.finding(invariant, Kind::Stale, observed, fails))
    }

    /// What is to be told of what is shown: it, and what is right and most like it. It is shown `at` a point, if at any,
    /// where it may be right.
    async fn observed(
        &self,
        shared: &Arc<Shared>,
        shown: &Shown,
        (earliest, latest): (usize, usize),
        (at, is_legal): (Option<usize>, bool),
    ) -> Result<Observed, CheckError> {
        let mut right: BTreeMap<usize, Arc<Shown>> =
            self.named.range(earliest..=latest).map(|(index, shown)| (*index, shown.clone())).collect();
        if self.view.is_between() || right.is_empty() {
            for index in [earliest, latest] {
                right.insert(index, self.shown_at(shared, index).await?);
            }
        }
        // Of several the latest.
        let nearest = right.iter().max_by_key(|(_, right)| shown.differs_from(right));
        let differs = nearest.map_or(Difference::NONE, |(_, right)| shown.differs_from(right));
        let right = nearest.map(|(index, right)| right.told(differs, Some(self.boundaries.viewed_at(*index))));
        let at = at.map(|index| self.boundaries.viewed_at(index));
        let (killed, at) = if is_legal { (None, at) } else { (at, None) };
        Ok(Observed::View { shows: shown.told(differs, at), right, line: differs.line, killed })
    }

    fn finding(&self, invariant: Invariant, kind: Kind, observed: Observed, fails: bool) -> Finding {
        Finding { invariant, kind, path: self.path.clone(), observed, fails, check: None }
    }

    /// Whether it succeeds at every point up to this, as far as that is right.
    fn never_fails(&self, latest: usize) -> bool {
        let of_points = || {
            let at = locked(&self.at);
            at[..=latest].iter().flatten().all(|shown| shown.failed.is_none())
        };
        self.named.values().all(|shown| shown.failed.is_none()) && (!self.view.is_between() || of_points())
    }

    /// The last of these points at which this is shown: looked for from the end, as far as is needed.
    async fn find(
        &self,
        shared: &Arc<Shared>,
        range: RangeInclusive<usize>,
        wanted: &Shown,
    ) -> Result<Option<usize>, CheckError> {
        let (first, mut end) = (*range.start(), *range.end() + 1);
        let mut stretch = 1;
        while end > first {
            let start = end.saturating_sub(stretch).max(first);
            stretch = (stretch * 2).min(self.boundaries.stretch);
            self.look_at(shared, start..=end - 1).await?;
            let at = locked(&self.at);
            let is = |index: &usize| at[*index].as_ref().is_some_and(|shown| shown.id == wanted.id);
            if let Some(found) = (start..end).rev().find(is) {
                return Ok(Some(found));
            }
            end = start;
        }
        Ok(None)
    }

    async fn shown_at(&self, shared: &Arc<Shared>, index: usize) -> Result<Arc<Shown>, CheckError> {
        self.look_at(shared, index..=index).await?;
        let shown = locked(&self.at)[index].clone();
        Ok(shown.unwrap_or_else(|| unreachable!("it was looked at")))
    }

    /// Looks at all of these points that have not been looked at.
    async fn look_at(&self, shared: &Arc<Shared>, range: RangeInclusive<usize>) -> Result<(), CheckError> {
        if locked(&self.at)[range.clone()].iter().all(Option::is_some) {
            return Ok(());
        }
        let (boundaries, view) = (self.boundaries.clone(), self.view.clone());
        let cut = move || {
            let trees = boundaries.trees(range)?;
            Ok(trees.into_iter().map(|(index, tree)| (index, relevant(&tree, &view))).collect::<Vec<_>>())
        };
        let trees = shared
            .blocking(cut)
            .await
            .map_err(|source| CheckError::NotFollowed { name: shared.workload.name.clone(), source })?;
        for (index, tree) in trees {
            if locked(&self.at)[index].is_some() {
                continue;
            }
            whole(&tree).map_err(|problem| not_whole(shared.workload.name.clone(), problem, |_| unreachable!()))?;
            let shown = self.look(shared, id(&tree), &tree).await?;
            locked(&self.at)[index] = Some(shown);
        }
        Ok(())
    }

    /// Looks once at each tree, whoever asks.
    async fn look(&self, shared: &Arc<Shared>, tree: TreeId, entries: &Entries) -> Result<Arc<Shown>, CheckError> {
        let known = locked(&self.looks).entry(tree).or_default().clone();
        let look = async || {
            let shown = self.fresh_look(shared, entries).await?;
            Ok(locked(&self.shown).entry((shown.id, shown.failed.clone())).or_insert(shown).clone())
        };
        known.get_or_try_init(look).await.cloned()
    }

    async fn fresh_look(&self, shared: &Arc<Shared>, entries: &Entries) -> Result<Arc<Shown>, CheckError> {
        let (view, entries, by) = (self.view.clone(), entries.clone(), shared.clone());
        shared.blocking(move || look(by.runner(), &view, &entries)).await
    }

    fn is_to_be_doubted(&self, tree: TreeId) -> bool {
        let mut doubted = locked(&self.doubted);
        doubted.len() < DOUBTED && doubted.insert(tree)
    }

    fn unsteady(&self, shared: &Shared, one: &Shown, other: &Shown) -> CheckError {
        let differs = one.differs_from(other);
        let text = |shown: &Shown| match shown.line(differs) {
            empty if empty.is_empty() => shown.ended.clone(),
            text => text,
        };
        CheckError::Unsteady {
            name: shared.workload.name.clone(),
            view: self.view.to_string(),
            line: differs.line,
            one: text(one),
            other: text(other),
        }
    }
}

fn not_whole(name: String, problem: NotWhole, unreadable: impl FnOnce(RelPath) -> CheckError) -> CheckError {
    match problem {
        NotWhole::TooLarge(path, size) => CheckError::TooLarge { name, path, size },
        NotWhole::Unreadable(path) => unreadable(path),
    }
}

#[cfg(test)]
mod tests;
