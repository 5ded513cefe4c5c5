//! Explores the crash states of one epoch on a guest.

use std::sync::Arc;

use checker::{Finding, Kind, Mount, Observation, Observed};
use filesystems::Filesystem;
use protocol::{Command, Reply};
use storage::{CrashDisk, Decision, Fates, Image, Layers, Recovery, StateDisk};
use tracing::warn;
use vm::{Death, Guest, GuestError};

use explore::Branch;

/// What one mount found: the equivalence class of states that it stands for, and what all of them look like.
#[derive(Debug)]
pub struct EquivalenceClass {
    /// The states of the equivalence class.
    pub fates: Fates,
    /// What all these states look like.
    pub observation: Observation,
    /// What it wrote while it recovered, if that was to be recorded.
    pub recovery: Option<Recovery>,
}

/// Whether a state that looks so is a weakness of the file system rather than anything that a program did: the kernel
/// refuses to mount it, and one of its writes is torn (`torn`).
///
/// The superblock of btrfs is an example, 4096 bytes under one checksum: torn at a sector boundary it is refused, and
/// the kernel tries no copy (fs/btrfs/disk-io.c, `open_ctree`). A torn commit record of the ext4 journal over an older
/// block is another (fs/jbd2/recovery.c, `do_one_pass`). No program can tear a write, nor keep the file system from
/// writing its own structures, so to blame the workload would be a false alarm. Nothing is excused that way which has
/// another reason: the states with the same write whole, and with it lost, belong to the same epoch, are judged for
/// themselves, and are violations if they do not mount.
pub fn is_weakness(observation: &Observation, torn: bool) -> bool {
    torn && matches!(observation.mount, Mount::Refused { .. })
}

/// What the rules found, unless it is that the report of the guest makes no sense: it is then no look at a crash state.
///
/// # Errors
/// It makes none.
pub fn sensible(observation: &Observation, findings: Vec<Finding>) -> Result<Vec<Finding>, GuestError> {
    // The rules call a guest dead whose report cannot be: one that has died reports nothing.
    let nonsense = |finding: &&Finding| finding.kind == Kind::GuestDied && observation.mount == Mount::Mounted;
    match findings.iter().find(nonsense).map(|finding| &finding.observed) {
        Some(Observed::Nonsense { why }) => Err(GuestError::Defect(why.to_string())),
        Some(_) => Err(GuestError::Defect("a guest that died reports what it sees".into())),
        None => Ok(findings),
    }
}

/// Gives guests, and takes back those that are broken.
pub trait Guests {
    /// A guest that is ready, with the read plan of this exploration.
    fn guest(&mut self) -> impl Future<Output = Result<&mut Guest, GuestError>>;
    /// The guest that was given last is gone.
    fn lost(&mut self);
    /// Has another guest come up and answer, beside the one that was given last, which hangs.
    fn witness(&mut self) -> impl Future<Output = Result<(), GuestError>>;
}

/// Walks the epoch of `layers` until every branch has been seen, or `go_on` says no; whether it was seen whole. A run
/// hands the branches to several guests instead; this is for tests and measurements.
///
/// `class` takes each equivalence class as it is found. The classes of a whole walk are disjoint and their counts
/// add up to all states of the epoch.
pub async fn explore(
    guests: &mut impl Guests,
    filesystem: &Filesystem,
    layers: &Arc<Layers>,
    mut go_on: impl FnMut() -> bool,
    mut class: impl FnMut(EquivalenceClass),
) -> Result<bool, GuestError> {
    let mut branches = vec![Branch::root()];
    while let Some(branch) = branches.pop() {
        if !go_on() {
            return Ok(false);
        }
        let found = enter(guests, filesystem, layers, &branch.prefix(), false).await?;
        branches.extend(branch.rest(found.fates.decisions(), 0));
        class(found);
    }
    Ok(true)
}

/// One run: mount, observe, unmount; with a record of what recovery writes, if `record` says so.
///
/// What is only read ahead is refused first ([`CrashDisk::refusing_ahead`]), where nothing comes of that
/// ([`may_refuse_read_ahead`](filesystems::FileSystem::may_refuse_read_ahead)). If any error is seen all the same, that says
/// nothing: the state is looked at again, and nothing is refused.
///
/// A guest that dies on a state is asked again, on a fresh guest, with all that had been decided when it died: only
/// what happens twice is the state's own doing, and only a panic or an oops of its kernel, or a hang. What the host or the
/// harness does to a guest is no equivalence class: it is tried again as if it had not been, and is then an error.
pub async fn enter(
    guests: &mut impl Guests,
    filesystem: &Filesystem,
    layers: &Arc<Layers>,
    prefix: &[Decision],
    record: bool,
) -> Result<EquivalenceClass, GuestError> {
    let mut decisions = prefix.to_vec();
    let mut tries = Tries::default();
    let mut refusing = true;
    loop {
        let guest = guests.guest().await?;
        refusing &= filesystem.kind.may_refuse_read_ahead(guest.kernel());
        let new = if record { CrashDisk::recording } else { CrashDisk::new };
        let disk = new(layers.clone(), &decisions);
        guest.insert(Box::new(if refusing { disk.refusing_ahead(filesystem.kind.journal) } else { disk }));
        let reply = guest.call(&observation(filesystem, record)).await;
        let outcome = outcome(reply, guest)?;
        let disk: Box<dyn std::any::Any> = guest.eject();
        let disk: Box<CrashDisk> =
            disk.downcast().unwrap_or_else(|_| unreachable!("a guest gives back the disk it was given"));
        let refused = disk.has_refused();
        let (fates, recovery) = disk.into_parts();
        match outcome {
            Outcome::Seen(observation) if refused && observation.has_errors() => refusing = false,
            Outcome::Seen(observation) => return Ok(EquivalenceClass { fates, observation, recovery }),
            Outcome::State(death) => {
                if let Some(observation) = tries.died(guests, death).await? {
                    return Ok(EquivalenceClass { fates, observation, recovery });
                }
                refusing = false;
                decisions = fates.decisions().to_vec();
            }
            Outcome::Host(fault) => tries.failed(guests, fault)?,
        }
    }
}

/// What came of one look at a state.
enum Outcome {
    /// The guest saw all that it was to see.
    Seen(Observation),
    /// The guest's kernel did not live through it.
    State(StateDeath),
    /// A fault of the host or of the harness: nothing is known of the state.
    Host(GuestError),
}

/// A state that its guest's kernel did not live through.
struct StateDeath {
    error: GuestError,
    /// Whether the guest hangs, and so may only seem to, on a host where all do.
    hangs: bool,
}

/// What came of it; an error where that would be the same on every guest.
fn outcome(reply: Result<Reply, GuestError>, guest: &Guest) -> Result<Outcome, GuestError> {
    let state = |error, hangs| Ok(Outcome::State(StateDeath { error, hangs }));
    match reply {
        Ok(Reply::Observed(observation)) => Ok(Outcome::Seen(observation)),
        Ok(other) => Ok(Outcome::Host(GuestError::Refused(format!("answered an observation with {other:?}")))),
        Err(error @ GuestError::Died { death: Death::Kernel, .. }) => state(error, false),
        Err(error @ GuestError::Died { death: Death::Hang, .. }) => state(error, true),
        Err(error @ GuestError::Died { death: Death::Host | Death::Harness, .. }) => Ok(Outcome::Host(error)),
        // The agent could not even unmount, say. That may be the agent's fault, unless the kernel says that it is its own.
        Err(GuestError::Refused(reason)) if guest.shows_fault_of_kernel() => {
            let console = guest.console();
            state(GuestError::Died { death: Death::Kernel, reason: format!("agent {reason}"), console }, false)
        }
        Err(error @ GuestError::Refused(_)) => Ok(Outcome::Host(error)),
        Err(error) => Err(error),
    }
}

/// How often one state was looked at in vain.
#[derive(Default)]
struct Tries {
    deaths: u32,
    faults: u32,
}

impl Tries {
    /// The guest did not live through the state. The second time, that is what the state looks like.
    async fn died(&mut self, guests: &mut impl Guests, death: StateDeath) -> Result<Option<Observation>, GuestError> {
        let StateDeath { error, hangs } = death;
        if hangs && let Err(other) = guests.witness().await {
            warn!("a guest hangs, and no other comes up: {other}");
            return self.failed(guests, error).map(|()| None);
        }
        guests.lost();
        self.deaths += 1;
        if self.deaths < 2 {
            return Ok(None);
        }
        let reason = match error {
            GuestError::Died { reason, console, .. } => format!("{reason}\n{console}"),
            other => other.to_string(),
        };
        Ok(Some(Observation { mount: Mount::Died { reason }, entries: Default::default() }))
    }

    /// The host or the harness failed. The second time, nothing can be said of the state.
    fn failed(&mut self, guests: &mut impl Guests, fault: GuestError) -> Result<(), GuestError> {
        guests.lost();
        self.faults += 1;
        if self.faults < 2 {
            warn!("looking at a state again, on another guest: {fault}");
            return Ok(());
        }
        Err(fault)
    }
}

fn observation(filesystem: &Filesystem, mark: bool) -> Command {
    Command::Observe { filesystem: filesystem.recipe(), mark }
}

/// What one given disk looks like: for brute force, for the states that a report shows, and for `harness reproduce`. As in
/// [`enter`], only a state that two guests do not live through is blamed.
pub async fn observe_image(
    guests: &mut impl Guests,
    filesystem: &Filesystem,
    image: Image,
) -> Result<Observation, GuestError> {
    let mut tries = Tries::default();
    loop {
        let guest = guests.guest().await?;
        guest.insert(Box::new(StateDisk::new(image.clone())));
        let reply = guest.call(&observation(filesystem, false)).await;
        let outcome = outcome(reply, guest)?;
        guest.eject();
        match outcome {
            Outcome::Seen(observation) => return Ok(observation),
            Outcome::State(death) => {
                if let Some(observation) = tries.died(guests, death).await? {
                    return Ok(observation);
                }
            }
            Outcome::Host(fault) => tries.failed(guests, fault)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use checker::{Contradiction, Nonsense};

    use super::*;

    #[test]
    fn a_report_that_makes_no_sense_is_no_crash_state() {
        let why = Nonsense { path: "f".into(), contradiction: Contradiction::NotRead };
        let finding = |kind| {
            let observed = Observed::Nonsense { why: why.clone() };
            let (invariant, path) = (checker::Invariant::Mountable, program::RelPath::root());
            vec![Finding { invariant, kind, path, observed, fails: true, check: None }]
        };
        let seen = |mount| Observation { mount, entries: Default::default() };
        let (mounted, died) = (seen(Mount::Mounted), seen(Mount::Died { reason: "panic".into() }));
        let Err(error) = sensible(&mounted, finding(Kind::GuestDied)) else { panic!("it is taken for a state") };
        assert_eq!(error.to_string(), format!("a defect of the harness: {why}"));
        assert!(
            sensible(&mounted, finding(Kind::ReadError)).is_ok() && sensible(&died, finding(Kind::GuestDied)).is_ok()
        );
    }
}
