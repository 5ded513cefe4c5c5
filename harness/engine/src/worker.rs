//! Workers: each has a guest of its own and takes work from the cells until there is none.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use report::{CellReport, Event, Ops};
use storage::Image;
use tokio::sync::{Notify, mpsc};
use vm::{Death, GuestError};

use crate::cell::{Ask, Cell, Job, Seen};
use crate::cell_report::violation_report;
use crate::execute::{ExecutionError, execute, populate};
use crate::guests::{Boot, Slot};
use crate::journal::Journal;
use crate::journal::line::Id;
use crate::judging::{self, Confirmed, Looked, confirm};
use crate::mkfs::{MkfsError, mkfs};
use crate::tally::{Tally, Violation, ViolationKey};
use crate::targets::power::Bench;
use crate::unit::{Executed, ToVisit, Unit};
use crate::visit::Guests;

/// What the workers of a run share.
pub struct Shared {
    /// The run's hash, for tokens.
    pub run: String,
    /// What their guests boot from.
    pub boot: Boot,
    /// The cells, in the order of the report.
    pub cells: Vec<Arc<Cell>>,
    /// What has been found, kept as it is found.
    pub journal: Journal,
    /// Set when the run is to end early.
    pub stop: Arc<AtomicBool>,
    /// Told when there may be new work.
    pub news: Notify,
    /// Where events go.
    pub events: mpsc::UnboundedSender<Event>,
    /// Puts a finished cell into its report, with its tokens.
    pub finish: Box<dyn Fn(&Cell) -> CellReport + Send + Sync>,
}

/// Why a worker cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// No guest.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// No fresh file system.
    #[error(transparent)]
    Mkfs(#[from] MkfsError),
    /// The journal of a run that was gone on with is wrong.
    #[error(
        "the journal of this run does not hold what is found now, so that nothing of it can be believed: begin the run \
         again ({reason})"
    )]
    Journal {
        /// Where.
        reason: String,
    },
    /// The guest's kernel does not take what it is to mount.
    #[error("{cell}: the guest agent {reason}")]
    Start {
        /// The cell, as reports name it.
        cell: String,
        /// Why.
        reason: String,
    },
}

/// A worker: it has a guest of its own, and does what cells ask for.
struct Worker<'a> {
    shared: &'a Shared,
    bench: Bench<'a>,
    /// When it last told how far it was.
    told: Instant,
    /// What shows that the journal is not to be trusted.
    distrust: Option<String>,
}

/// How often a worker tells how far its cell is.
const TELL: Duration = Duration::from_millis(100);

/// Works until there is nothing left to do.
pub async fn work(shared: &Shared) -> Result<(), WorkError> {
    let bench = Bench::new(Slot::new(&shared.boot), &shared.journal, &shared.events);
    let mut worker = Worker { shared, bench, told: Instant::now(), distrust: None };
    loop {
        // Before looking, so that what is told meanwhile is heard.
        let news = shared.news.notified();
        match worker.look() {
            Found::Job(cell, job) => {
                let done = caught(worker.perform(cell, job)).await.unwrap_or_else(|panic| {
                    worker.bench.reset();
                    cell.failed(format!("a defect of the harness: {panic}"));
                    Ok(())
                });
                shared.news.notify_waiters();
                done?;
                worker.tell(cell);
            }
            Found::Later => news.await,
            Found::Nothing => return Ok(()),
        }
    }
}

/// What comes of `work`, or what it said when it panicked: one cell is lost by that, and no other.
async fn caught<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(panic) => Poll::Ready(Err(vm::text_of(&*panic))),
    })
    .await
}

/// Whether no guest can be had at all, on this machine. One that the host has killed, or gives no processor, says nothing
/// about the next.
fn ends_the_run(error: &GuestError) -> bool {
    match error {
        GuestError::Setup { .. } => true,
        GuestError::Boot { death, .. } => *death != Death::Host,
        _ => false,
    }
}

/// Whether another guest may do better.
fn may_pass(error: &GuestError) -> bool {
    matches!(error, GuestError::Died { .. } | GuestError::Refused(_))
}

enum Found<'a> {
    Job(&'a Arc<Cell>, Job),
    Later,
    Nothing,
}

impl<'a> Worker<'a> {
    /// Looks for work.
    fn look(&self) -> Found<'a> {
        let cells = &self.shared.cells;
        // Each file system's first cell is prepared before anything is explored: a mount option that the kernel does
        // not know is told at once, not after hours.
        let begin = |cell: &&Arc<Cell>| {
            let first = cells.iter().find(|other| other.filesystem == cell.filesystem);
            first.is_some_and(|first| first.index == cell.index) && cell.is_new()
        };
        let mut found = Found::Nothing;
        for cell in cells.iter().filter(begin).chain(cells) {
            if self.shared.stop.load(Ordering::Relaxed) {
                break;
            }
            match cell.ask() {
                Ask::Job(job) => return Found::Job(cell, job),
                Ask::Later => found = Found::Later,
                Ask::Nothing => self.finish(cell),
            }
        }
        found
    }

    /// Reports the cell if nobody has.
    fn finish(&self, cell: &Arc<Cell>) {
        if cell.finish() {
            let report = (self.shared.finish)(cell);
            cell.concluded(report.verdict());
            self.send(cell, || Event::CellFinished(Box::new(report)));
        }
    }

    /// Tells of a cell of the report; others are nobody's business.
    fn send(&self, cell: &Cell, event: impl FnOnce() -> Event) {
        if cell.tried().is_none() {
            let _ = self.shared.events.send(event());
        }
    }

    fn tell(&mut self, cell: &Arc<Cell>) {
        if self.told.elapsed() >= TELL {
            self.told = Instant::now();
            self.send(cell, || Event::Progress { cell: cell.id.clone(), progress: cell.progress() });
        }
    }

    async fn perform(&mut self, cell: &Arc<Cell>, job: Job) -> Result<(), WorkError> {
        match job {
            Job::Prepare => match self.prepare(cell).await {
                Err(WorkError::Guest(error)) if !ends_the_run(&error) => {
                    self.bench.slot.lost();
                    cell.failed(error.to_string());
                    Ok(())
                }
                other => other.inspect_err(|error| cell.failed(error.to_string())),
            },
            Job::Execute(schedule, base) => {
                let done = self.execute(cell, schedule, &base).await;
                self.answer(cell, done, || of_schedule(cell, schedule))
            }
            Job::Enter(entries) => {
                let schedule = entries.first().map_or(0, |entry| entry.unit.executed.schedule);
                let done = self.enter(cell, entries).await;
                self.answer(cell, done, || of_schedule(cell, schedule))?;
                self.distrust.take().map_or(Ok(()), |reason| Err(WorkError::Journal { reason }))
            }
            Job::Confirm(shown) => {
                let done = self.confirm(cell, shown).await;
                self.answer(cell, done, || "looking once more at the states that are shown".into())
            }
        }
    }

    /// Tells the cell what went wrong. What stops every guest stops the run.
    fn answer(
        &mut self,
        cell: &Cell,
        done: Result<(), ExecutionError>,
        doing: impl FnOnce() -> String,
    ) -> Result<(), WorkError> {
        match done {
            Ok(()) => Ok(()),
            Err(ExecutionError::Guest(error)) if ends_the_run(&error) => {
                cell.failed(error.to_string());
                Err(error.into())
            }
            // Ctrl-C ended a check: that says nothing about the cell.
            Err(_) if self.shared.stop.load(Ordering::Relaxed) => Ok(()),
            Err(error) => {
                // A guest that could not follow may have something mounted.
                self.bench.slot.lost();
                cell.failed(format!("{}: {error}", doing()));
                Ok(())
            }
        }
    }

    async fn prepare(&mut self, cell: &Cell) -> Result<(), WorkError> {
        let vm = self.shared.boot.machine.name();
        self.send(cell, || Event::CellStarted { cell: cell.id.clone(), vm: vm.into() });
        // As large as this workload needs it, whatever else is run: the device may be larger.
        let fresh = mkfs(&cell.filesystem, cell.subject.disk_size())?;
        self.bench.slot.set_read_plan(&cell.subject.read_plan);
        let mut tried = false;
        loop {
            let guest = self.bench.slot.guest().await?;
            match populate(guest, &cell.filesystem, fresh.clone(), &cell.subject.trace).await {
                Ok(base) => {
                    cell.prepared(base, guest.machine(), guest.kernel());
                    return Ok(());
                }
                Err(GuestError::NotMounted(reason)) => {
                    return Err(WorkError::Start { cell: cell.id.to_string(), reason });
                }
                Err(error) if !tried && may_pass(&error) => self.once_more(cell, &error, &mut tried),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A guest has failed where no state of a disk can be blamed. Once that may be the host's doing: a guest that it let
    /// wait for too long, or killed for want of memory.
    fn once_more(&mut self, cell: &Cell, error: &GuestError, tried: &mut bool) {
        tracing::warn!(cell = %cell.id, "trying again with another guest: {error}");
        self.bench.slot.lost();
        *tried = true;
    }

    async fn execute(&mut self, cell: &Cell, schedule: usize, base: &Image) -> Result<(), ExecutionError> {
        let subject = &cell.subject;
        let plan = subject.schedules[schedule].plan(&subject.trace, &subject.history);
        self.bench.slot.set_read_plan(&subject.read_plan);
        let mut tried = false;
        let (execution, restless) = loop {
            let guest = self.bench.slot.player(subject).await?;
            match execute(guest, &cell.filesystem, base, &plan, &subject.trace, &subject.live).await {
                Err(ExecutionError::Guest(error)) if !tried && may_pass(&error) => {
                    self.once_more(cell, &error, &mut tried);
                }
                done => break done?,
            }
        };
        if restless > 0 {
            let text = format!(
                "{}: the guest did not come to rest {restless} times, and in a first execution neither: what it wrote then may \
                 be another thing the next time",
                of_schedule(cell, schedule)
            );
            self.send(cell, || Event::Warning { cell: Some(cell.id.clone()), text });
        }
        let execution = if cell.model.fua { execution.with_fua(&plan, &subject.trace) } else { execution };
        self.bench.kept(self.shared.journal.add_execution(cell.index, schedule, &execution.log));
        cell.executed(Executed::new(schedule, plan, execution, &cell.model));
        Ok(())
    }

    /// Visits branches of one unit.
    async fn enter(&mut self, cell: &Arc<Cell>, entries: Vec<ToVisit>) -> Result<(), ExecutionError> {
        let is_stopped = || self.shared.stop.load(Ordering::Relaxed);
        let mut tally = Tally::default();
        let mut entered = Vec::new();
        for entry in entries {
            if is_stopped() || cell.is_late() {
                break;
            }
            let looked = judging::look(&mut self.bench.target(cell), &cell.subject, &entry).await;
            let judged = looked.map_err(ExecutionError::from);
            let judged = judged.and_then(|Looked { visit, findings }| Ok((visit, findings?)));
            let (visit, findings) = match judged {
                // Ctrl-C ended a check. What was found before that counts.
                Err(_) if is_stopped() => break,
                judged => judged?,
            };
            if visit.observation.from_journal && self.shared.journal.is_looked_at_again(cell.index, &entry) {
                let same = match self.bench.shows(cell, &entry.unit, &visit.class, &findings).await {
                    Err(_) if is_stopped() => break,
                    looked => looked?,
                };
                if !same {
                    let (schedule, epoch) = (entry.unit.executed.schedule, entry.unit.epoch);
                    let state = visit.class.fewest_lost();
                    self.distrust = Some(format!("{}: schedule {schedule}, epoch {epoch}, {state:?}", cell.id));
                    break;
                }
            }
            entered.push(judging::entered(cell, entry, visit, &findings, &mut tally));
        }
        let unit = entered.first().map(|entered| entered.answer.to_visit.unit.clone());
        self.tell_new(cell, unit.as_deref(), &tally);
        cell.entered(entered, tally);
        Ok(())
    }

    /// Tells of violations of a kind that the cell did not have before.
    fn tell_new(&self, cell: &Cell, unit: Option<&Unit>, tally: &Tally) {
        for (key, violation) in &tally.violations {
            if !key.informational && cell.is_news(key) {
                let violation = Box::new(violation_report(cell, unit, key, violation, None, &self.shared.run));
                let ops = Ops::of(&cell.subject.trace, violation.ops());
                self.send(cell, || Event::ViolationFound { cell: cell.id.clone(), violation, ops });
            }
        }
    }

    /// Builds each state that is to be shown as a whole, without any lazy decision, and looks whether it shows what the
    /// equivalence class did that it was taken from. Then files that the class was not read to the end of are read
    /// whole, so that the report says all that is there.
    ///
    /// Two looks, for what is read further on may fail to be read, and that would be another finding than the class's.
    async fn confirm(
        &mut self,
        cell: &Cell,
        shown: Vec<(ViolationKey, Violation, Arc<Unit>)>,
    ) -> Result<(), ExecutionError> {
        let mut looked = Vec::new();
        let mut in_part = Vec::new();
        let (read_plan, plan) = (cell.subject.read_plan.clone(), cell.subject.plan);
        for (key, violation, unit) in shown {
            let observation = self.bench.look_at(cell, &unit, &violation.example.state, (&read_plan, plan)).await?;
            match confirm(cell, (&key, &violation), &unit, &observation).await? {
                Confirmed::Yes(seen) => looked.push((key, Ok(seen))),
                Confirmed::No(wrong) => looked.push((key, Err(wrong))),
                Confirmed::InPart(finding) => in_part.push((key, finding, unit, violation.example.state)),
            }
        }
        let read_plan = Arc::new(cell.subject.whole());
        let plan = Id::of_value(&*read_plan);
        for (key, finding, unit, state) in in_part {
            let observation = self.bench.look_at(cell, &unit, &state, (&read_plan, plan)).await?;
            let observed = cell.subject.rules.in_ranges(&finding, &observation);
            looked.push((key, Ok(Seen { observed, hint: None })));
        }
        cell.confirmed(looked);
        Ok(())
    }
}

/// What was being done, for an error.
fn of_schedule(cell: &Cell, schedule: usize) -> String {
    format!("schedule {schedule} ({})", cell.subject.schedules[schedule].text())
}
