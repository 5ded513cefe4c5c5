//! Who judges whole trees: the workload's own check, and its views. Each distinct tree is looked at once, several at a
//! time.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use ::checker::{CrashWindow, Finding, Invariant, Mount, Observation, Observed, Wanted};
use program::{Call, RelPath, Trace};
use sha2::{Digest, Sha256};
use tokio::sync::{OnceCell, Semaphore};
use workload::Workload;

use crate::check::{Fault, Verdict, run, words};
use crate::error::CheckError;
use crate::kept::KeptCheck;
use crate::place::Runner;
use crate::trees::{entries, id};
use crate::views::{ViewJudge, views};

/// What the check and all views of a workload have in common.
pub(crate) struct Shared {
    pub workload: Workload,
    pub stop: Arc<AtomicBool>,
    /// Whether all that is printed is kept.
    pub whole: bool,
    /// Commands at once: as many as there are processors.
    permits: Semaphore,
}

impl Shared {
    pub fn runner(&self) -> Runner<'_> {
        Runner { workload: &self.workload, stop: &self.stop, whole: self.whole }
    }

    /// Does what blocks, when its turn comes.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        // Never closed.
        let _permit = self.permits.acquire().await.ok();
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

/// Judges whole trees by a workload's check and views.
pub struct Checker {
    shared: Arc<Shared>,
    /// What the program printed and sent, in the order of ops.
    acks: Vec<u8>,
    /// How long `acks` was after which op.
    ends: Vec<(usize, usize)>,
    judged: Mutex<HashMap<[u8; 32], Arc<OnceCell<Verdict>>>>,
    views: Vec<ViewJudge>,
}

impl Checker {
    /// Whether a workload has anything that judges whole trees.
    pub fn is_needed(workload: &Workload) -> bool {
        workload.check.is_some() || workload.invariants.iter().any(|wanted| matches!(wanted, Wanted::View(_)))
    }

    /// Who judges for a workload that has a check or views; the check holds on the trees before and after the command.
    /// Setting `stop` ends every command that runs.
    ///
    /// # Errors
    ///
    /// A command cannot be run, the check does not hold where nothing crashed, or a view fails wherever it is right.
    pub fn new(workload: &Workload, trace: &Trace, stop: &Arc<AtomicBool>) -> Result<Self, CheckError> {
        let mut acks = Vec::new();
        let mut ends = Vec::new();
        for (index, op) in trace.ops.iter().enumerate() {
            if let Call::Ack { data, .. } = &op.call {
                acks.extend_from_slice(data);
                ends.push((index, acks.len()));
            }
        }
        let permits = Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from));
        let shared = Shared { workload: workload.clone(), stop: stop.clone(), whole: false, permits };
        let runner = shared.runner();
        let trees = [("before", &trace.before, &[][..]), ("after", &trace.after, &acks)];
        for (when, tree, acks) in trees.into_iter().filter(|_| workload.check.is_some()) {
            if let Some(Fault { observed, check, .. }) = run(runner, &entries(tree), acks)? {
                let lines: Vec<String> = check.iter().flat_map(|check| check.output.lines()).collect();
                // One line is all told.
                let said = lines.iter().filter(|_| lines.len() > 1).map(|line| format!("\n  | {line}")).collect();
                let name = workload.name.clone();
                return Err(CheckError::Unfit { name, when, observed: words(&observed), said });
            }
        }
        let views = views(runner, trace)?;
        Ok(Self { shared: Arc::new(shared), acks, ends, judged: Mutex::default(), views })
    }

    /// The same, and all that the check prints is kept.
    pub fn keeping_all(mut self) -> Self {
        // Nobody else has it yet.
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.whole = true;
        }
        self
    }

    /// Has it fail that what a view showed at the end of the program is not durable.
    pub fn require_durability(&mut self) {
        self.views.iter_mut().for_each(ViewJudge::require_durability);
    }

    /// The command of the check, as written.
    pub fn command(&self) -> Option<&[String]> {
        self.shared.workload.check.as_deref()
    }

    /// What runs before the check and the views, as written.
    pub fn recover(&self) -> Option<&[String]> {
        self.shared.workload.recover.as_deref()
    }

    /// What is kept of it with the results; `None` if it runs no command.
    pub fn kept(&self) -> Option<KeptCheck> {
        KeptCheck::of(&self.shared.workload)
    }

    /// What the check and the views say about a crash state whose files were read whole (see [`crate::LARGEST_FILE`]): at
    /// most one finding of the check, and few of each view.
    ///
    /// The check must hold with the acks that had been given at the latest point at which the state can occur, and with
    /// those at the earliest. A tree that could not be read to its end cannot be judged, and is a finding by that.
    ///
    /// # Errors
    ///
    /// A command could not be run, or a view shows now this and now that: nothing is known of this state.
    pub async fn judge(&self, observation: &Observation, window: &CrashWindow) -> Result<Vec<Finding>, CheckError> {
        if observation.mount != Mount::Mounted {
            return Ok(Vec::new());
        }
        let mut findings = self.judge_by_check(observation, window).await?;
        for view in &self.views {
            findings.extend(view.judge(&self.shared, observation, window).await?);
        }
        Ok(findings)
    }

    async fn judge_by_check(
        &self,
        observation: &Observation,
        window: &CrashWindow,
    ) -> Result<Vec<Finding>, CheckError> {
        if self.shared.workload.check.is_none() {
            return Ok(Vec::new());
        }
        let latest = self.acks_before(window.ended_latest);
        // An op that is under way at the earliest point has promised nothing.
        let earliest = self.acks_before(window.begun_earliest.min(window.ended_latest));
        let points = [(latest, false), (earliest, true)];
        let distinct = if latest == earliest { &points[..1] } else { &points };
        for (acks, earliest) in distinct {
            if let Some(Fault { kind, mut observed, check }) = self.verdict(observation, *acks).await? {
                if let Observed::Check { earliest_acks, .. } | Observed::NoWholeTree { earliest_acks, .. } =
                    &mut observed
                {
                    *earliest_acks = *earliest;
                }
                let (invariant, path) = (Invariant::Check, RelPath::root());
                return Ok(vec![Finding { invariant, kind, path, observed, fails: true, check }]);
            }
        }
        Ok(Vec::new())
    }

    /// How much of `acks` had been given when `ended` ops had ended.
    fn acks_before(&self, ended: usize) -> usize {
        let after = self.ends.partition_point(|(op, _)| *op < ended);
        after.checked_sub(1).map_or(0, |index| self.ends[index].1)
    }

    async fn verdict(&self, observation: &Observation, acks: usize) -> Result<Verdict, CheckError> {
        // What was not read to its end makes another tree, too.
        let seen = crate::trees::whole(&observation.entries).is_ok();
        let mut hasher = Sha256::new().chain_update([u8::from(seen)]).chain_update(acks.to_le_bytes());
        match seen {
            true => hasher.update(id(&observation.entries)),
            false => hasher
                .update(postcard::to_stdvec(&observation.entries).expect("postcard can write what the guest sent")),
        }
        let known = self
            .judged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(hasher.finalize().into())
            .or_default()
            .clone();
        let judge = async || {
            let (shared, entries, acks) =
                (self.shared.clone(), observation.entries.clone(), self.acks[..acks].to_vec());
            self.shared.blocking(move || run(shared.runner(), &entries, &acks)).await
        };
        known.get_or_try_init(judge).await.cloned()
    }
}

#[cfg(test)]
mod tests;
