//! Judges what guests saw: from an observation to findings, and to what a cell comes to. No guest is needed for it.

use std::borrow::Borrow;

use checker::{CrashWindow, Finding, Invariant, Kind, Observation};
use explore::{Answer, ExplorationUnit, Ranked, SpaceOf, StateSpace, Target, ToVisit, UnitOf, Visit};
use storage::Fates;

use crate::cell::{Cell, Entered, Seen};
use crate::execute::ExecutionError;
use crate::subject::Subject;
use crate::tally::{FoundAt, Tally, Violation, ViolationKey};
use crate::targets::power::Mounted;
use crate::unit::Unit;
use crate::visit::{is_weakness, sensible};

/// A unit of which it can be judged what its states look like.
pub trait JudgedUnit: ExplorationUnit {
    /// What is kept of an equivalence class that shows a violation.
    type Example: Ranked;

    /// When the states of an equivalence class can occur.
    fn window(&self, class: &Self::Space) -> CrashWindow;

    /// Whether a write is torn in all states of an equivalence class.
    fn is_torn(&self, class: &Self::Space) -> bool;

    /// The equivalence class as an example of what was found in it.
    fn example(&self, subject: &Subject, class: &Self::Space, finding: &Finding) -> Self::Example;
}

/// What is wrong with states that look so and can occur at this moment. `torn` says whether one of their writes is torn in
/// all of them.
///
/// # Errors
/// The observation makes no sense, or a command that judges cannot be run on it.
pub async fn judge(
    subject: &Subject,
    torn: bool,
    observation: &Observation,
    window: &CrashWindow,
) -> Result<Vec<Finding>, ExecutionError> {
    let mut findings = judge_by_rules(subject, torn, observation, window)?;
    if let Some(checker) = &subject.checker {
        let weakness = is_weakness(observation, torn);
        let found = checker.judge(observation, window).await?.into_iter();
        findings.extend(found.map(|finding| Finding { fails: finding.fails && !weakness, ..finding }));
    }
    Ok(findings)
}

/// The same without the workload's own check and views.
///
/// # Errors
/// The observation makes no sense.
pub fn judge_by_rules(
    subject: &Subject,
    torn: bool,
    observation: &Observation,
    window: &CrashWindow,
) -> Result<Vec<Finding>, ExecutionError> {
    let mut findings = sensible(observation, subject.rules.judge(observation, window))?;
    let weakness = is_weakness(observation, torn);
    findings.iter_mut().for_each(|finding| finding.fails &= !weakness);
    Ok(findings)
}

/// What is wrong with the states of an equivalence class of `unit`.
///
/// # Errors
/// As [`judge`].
pub async fn judge_equivalence_class<U: JudgedUnit>(
    subject: &Subject,
    unit: &U,
    class: &U::Space,
    observation: &Observation,
) -> Result<Vec<Finding>, ExecutionError> {
    judge(subject, unit.is_torn(class), observation, &unit.window(class)).await
}

/// What a visit saw, and what is wrong with that.
pub struct Looked<T: Target> {
    /// The equivalence class that was visited, and its observation.
    pub visit: Visit<SpaceOf<T>, T::Observation>,
    /// What is wrong with the equivalence class; or why it cannot be judged, as [`judge`] says.
    pub findings: Result<Vec<Finding>, ExecutionError>,
}

/// Visits a branch of whatever crashes, and judges what is seen.
///
/// # Errors
/// Nothing was seen.
pub async fn look<T>(target: &mut T, subject: &Subject, to_visit: &ToVisit<UnitOf<T>>) -> Result<Looked<T>, T::Error>
where
    T: Target,
    T::Observation: Borrow<Observation>,
    UnitOf<T>: JudgedUnit,
{
    let visit = target.visit(to_visit).await?;
    let findings = judge_equivalence_class(subject, &*to_visit.unit, &visit.class, visit.observation.borrow()).await;
    Ok(Looked { visit, findings })
}

/// Adds an equivalence class that was found when `to_visit` was visited, judged, to `tally`; the answer for the
/// exploration. So many of the decisions, `mounted`, had been made when the mount was over.
pub fn fold<U: JudgedUnit>(
    subject: &Subject,
    to_visit: ToVisit<U>,
    (class, mounted): (&U::Space, usize),
    findings: &[Finding],
    tally: &mut explore::Tally<ViolationKey, U::Example>,
) -> Answer<U> {
    let unit = &to_visit.unit;
    let example = |finding| (ViolationKey::of(finding), unit.example(subject, class, finding));
    tally.add_equivalence_class(class, findings.iter().map(example));
    let violates = findings.iter().any(|finding| finding.fails);
    let (rest, states) = (to_visit.branch.rest(class.decisions(), mounted), class.count());
    Answer { to_visit, rest, violates, states }
}

/// Adds what a mount came to, judged, to `tally`; the answer for the cell.
pub fn entered(
    cell: &Cell,
    to_visit: ToVisit<Unit>,
    visit: Visit<Fates, Mounted>,
    findings: &[Finding],
    tally: &mut Tally,
) -> Entered {
    let Visit { class, observation: Mounted { recovery, .. } } = visit;
    // Without a record, none of what branches off is looked at as another recovery.
    let mounted = recovery.as_ref().map_or(0, |recovery| recovery.class.decisions().len());
    let answer = fold(&cell.subject, to_visit, (&class, mounted), findings, tally);
    Entered { answer, recovery }
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

/// Whether a shown state, built as a whole, shows what the equivalence class did that it was taken from.
///
/// # Errors
/// As [`judge`].
pub async fn confirm(
    cell: &Cell,
    (key, violation): (&ViolationKey, &Violation),
    unit: &Unit,
    observation: &Observation,
) -> Result<Confirmed, ExecutionError> {
    let (subject, example) = (&*cell.subject, &violation.example);
    let mut fates = unit.space();
    fates.settle_all(&example.state);
    let findings = judge(subject, fates.torn(), observation, &example.window).await?;
    let same = |finding: &&Finding| {
        (&finding.path, &finding.invariant, finding.kind, !finding.fails)
            == (&key.path, &key.invariant, key.kind, key.informational)
    };
    let Some(finding) = findings.iter().find(same) else {
        let ViolationKey { path, invariant, kind, .. } = key;
        let FoundAt { schedule, epoch, .. } = example.place;
        let place = format!("schedule {schedule}, epoch {epoch}, {:?}", example.state);
        let wrong = format!("{path} was {kind} ({invariant}) in a class, but not in the state itself ({place})");
        return Ok(Confirmed::No(wrong));
    };
    let observed = subject.rules.in_ranges(finding, observation);
    if observed.is_none() && is_mixture(finding.kind) {
        return Ok(Confirmed::InPart(finding.clone()));
    }
    let of_check = is_of_check(&key.invariant);
    let wrong = of_check.then(|| subject.rules.not_versions(observation));
    let hint = wrong.and_then(|wrong| checker::check_reason(&subject.trace, &wrong, &example.window));
    Ok(Confirmed::Yes(Seen { observed, hint }))
}

/// Whether it is judged by what looks at whole trees: then it is not known what it is about.
pub fn is_of_check(invariant: &Invariant) -> bool {
    matches!(invariant, Invariant::Check | Invariant::View(_) | Invariant::ViewAfter(..))
}

/// Whether a file of this kind may hold more than its first wrong piece shows.
fn is_mixture(kind: Kind) -> bool {
    matches!(kind, Kind::Mixed | Kind::ZeroFilled | Kind::Garbage)
}
