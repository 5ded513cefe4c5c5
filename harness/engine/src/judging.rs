//! Judges what guests saw: from an observation to findings, and to what a cell comes to. No guest is needed for it.

use std::sync::Arc;

use checker::{CrashWindow, Finding, Invariant, Kind, Observation};
use storage::{Fates, Recovery};

use crate::cell::{Cell, Entered, Seen};
use crate::execute::ExecutionError;
use crate::subject::Subject;
use crate::tally::{Key, Place, Tally, Violation};
use crate::unit::{ToVisit, Unit};
use crate::visit::{is_weakness, sensible};

/// What is wrong with states that look so and can occur at this moment. `torn` says whether one of their writes is torn in
/// all of them.
///
/// # Errors
/// The observation makes no sense, or the workload's own check cannot be run on it.
pub async fn judge(
    subject: &Subject,
    torn: bool,
    observation: &Observation,
    window: &CrashWindow,
) -> Result<Vec<Finding>, ExecutionError> {
    let mut findings = sensible(observation, subject.rules.judge(observation, window))?;
    if let Some(checker) = &subject.checker {
        findings.extend(checker.judge(observation, window).await?);
    }
    let weakness = is_weakness(observation, torn);
    findings.iter_mut().for_each(|finding| finding.fails &= !weakness);
    Ok(findings)
}

/// What a visit came to.
pub struct Visited {
    /// The class of states that it stands for.
    pub fates: Fates,
    /// What all of them look like.
    pub observation: Arc<Observation>,
    /// What recovery wrote, if a second crash is to be explored.
    pub recovery: Option<Recovery>,
}

/// Adds what a visit came to, judged, to `tally`; the answer for the cell.
pub fn entered(cell: &Cell, entry: ToVisit, visited: Visited, findings: Vec<Finding>, tally: &mut Tally) -> Entered {
    let Visited { fates, recovery, .. } = visited;
    let violates = findings.iter().any(|finding| finding.fails);
    let unit = &entry.unit;
    let (schedule, epoch) = (unit.executed.schedule, unit.epoch);
    let injections = cell.subject.schedules[schedule].injected();
    let place = Place { unit: unit.key, again: unit.again.is_some(), injections, schedule, epoch };
    tally.class(&fates, findings, place, unit.when(&fates));
    // Without a record, none of what branches off is looked at as another recovery.
    let mounted = recovery.as_ref().map_or(0, |recovery| recovery.class.decisions().len());
    let (rest, states) = (entry.branch.rest(fates.decisions(), mounted), fates.count());
    Entered { entry, rest, violates, states, recovery }
}

/// Whether two looks at a state found the same fault with it.
pub fn same(one: &Finding, other: &Finding) -> bool {
    (&one.path, &one.invariant, one.kind, one.fails) == (&other.path, &other.invariant, other.kind, other.fails)
}

/// What a look at a shown state, built as a whole, says of the violation that it is shown for.
pub enum Confirmed {
    /// It shows it; this is what there is to say beyond that.
    Yes(Seen),
    /// It shows it, and more is said once its files are read whole.
    InPart(Finding),
    /// It does not show it, for this reason: classes are not what they should be.
    No(String),
}

/// Whether a shown state, built as a whole, shows what the class did that it was taken from.
///
/// # Errors
/// As [`judge`].
pub async fn confirm(
    cell: &Cell,
    (key, violation): (&Key, &Violation),
    unit: &Unit,
    observation: &Observation,
) -> Result<Confirmed, ExecutionError> {
    let (subject, example) = (&*cell.subject, &violation.example);
    let mut fates = unit.fates(&cell.model);
    fates.settle_all(&example.state);
    let findings = judge(subject, fates.torn(), observation, &example.window).await?;
    let same = |finding: &&Finding| {
        (&finding.path, &finding.invariant, finding.kind, !finding.fails)
            == (&key.path, &key.invariant, key.kind, key.informational)
    };
    let Some(finding) = findings.iter().find(same) else {
        let Key { path, invariant, kind, .. } = key;
        let Place { schedule, epoch, .. } = example.place;
        let place = format!("schedule {schedule}, epoch {epoch}, {:?}", example.state);
        let wrong = format!("{path} was {kind} ({invariant}) in a class, but not in the state itself ({place})");
        return Ok(Confirmed::No(wrong));
    };
    let observed = subject.rules.in_ranges(finding, observation);
    if observed.is_none() && is_mixture(finding.kind) {
        return Ok(Confirmed::InPart(finding.clone()));
    }
    let of_check = key.invariant == Invariant::Check;
    let wrong = of_check.then(|| subject.rules.not_versions(observation));
    let reason = wrong.and_then(|wrong| checker::check_reason(&subject.trace, &wrong, &example.window));
    Ok(Confirmed::Yes(Seen { observed, reason: reason.map(|reason| reason.text) }))
}

/// Whether a file of this kind may hold more than its first wrong piece shows.
fn is_mixture(kind: Kind) -> bool {
    matches!(kind, Kind::Mixed | Kind::ZeroFilled | Kind::Garbage)
}
