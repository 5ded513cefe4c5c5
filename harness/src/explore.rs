//! Explores the crash states of one epoch on a guest.

use std::sync::Arc;

use checker::{Mount, Observation};
use disk::{CrashDisk, Decision, Fates, Image, Layers, Recovery, StateDisk};
use protocol::{Command, Filesystem, Reply};
use vm::{Guest, GuestError};

use crate::frontier::Branch;

/// What one mount found: the class of states that it stands for, and what all of them look like.
#[derive(Debug)]
pub struct Class {
    /// The class.
    pub fates: Fates,
    /// What the guest saw.
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

/// Gives guests, and takes back those that are broken.
pub trait Guests {
    /// A guest that is ready, with the guide of this exploration.
    fn guest(&mut self) -> impl Future<Output = Result<&mut Guest, GuestError>>;
    /// The guest that was given last is gone.
    fn lost(&mut self);
}

/// Walks the epoch of `layers` until every branch has been seen, or `go_on` says no; whether it was seen whole. A run
/// hands the branches to several guests instead; this is for tests and measurements.
///
/// `class` takes each class as it is found. The classes of a whole walk are disjoint and their counts add up to all
/// states of the epoch.
pub async fn explore(
    guests: &mut impl Guests,
    filesystem: &Filesystem,
    layers: &Arc<Layers>,
    mut go_on: impl FnMut() -> bool,
    mut class: impl FnMut(Class),
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
/// What is only read ahead is refused first ([`CrashDisk::refusing_ahead`]), where nothing comes of that ([`may_refuse`]).
/// If any error is seen all the same, that says nothing: the state is looked at again, and nothing is refused.
///
/// A guest that dies on a state is asked again, on a fresh guest, with all that had been decided when it died: only
/// what happens twice is the state's own doing.
pub async fn enter(
    guests: &mut impl Guests,
    filesystem: &Filesystem,
    layers: &Arc<Layers>,
    prefix: &[Decision],
    record: bool,
) -> Result<Class, GuestError> {
    let mut decisions = prefix.to_vec();
    let mut died = false;
    let mut refusing = true;
    loop {
        let guest = guests.guest().await?;
        refusing &= may_refuse(filesystem, guest.kernel());
        let new = if record { CrashDisk::recording } else { CrashDisk::new };
        let disk = new(layers.clone(), &decisions);
        guest.insert(Box::new(if refusing { disk.refusing_ahead() } else { disk }));
        let reply = guest.call(&observation(filesystem, record)).await;
        let disk: Box<dyn std::any::Any> = guest.eject();
        let disk: Box<CrashDisk> =
            disk.downcast().unwrap_or_else(|_| unreachable!("a guest gives back the disk it was given"));
        let refused = disk.has_refused();
        let (fates, recovery) = disk.into_parts();
        let reason = match seen(reply)? {
            Seen::Whole(observation) if refused && observation.has_errors() => {
                refusing = false;
                continue;
            }
            Seen::Whole(observation) => return Ok(Class { fates, observation, recovery }),
            Seen::Died(reason) => reason,
        };
        guests.lost();
        if died {
            return Ok(Class { fates, observation: killed_by(reason), recovery });
        }
        died = true;
        refusing = false;
        decisions = fates.decisions().to_vec();
    }
}

/// What came of one look at a state.
enum Seen {
    /// The guest saw all that it was to see.
    Whole(Observation),
    /// It did not survive, or is of no more use.
    Died(String),
}

fn seen(reply: Result<Reply, GuestError>) -> Result<Seen, GuestError> {
    match reply {
        Ok(Reply::Observed(observation)) => Ok(Seen::Whole(observation)),
        Ok(other) => Err(GuestError::Refused(format!("answered an observation with {other:?}"))),
        Err(GuestError::Died { reason, console }) => Ok(Seen::Died(format!("{reason}\n{console}"))),
        // The agent could not even unmount: the state has wedged the file system.
        Err(GuestError::Refused(reason)) => Ok(Seen::Died(reason)),
        Err(error) => Err(error),
    }
}

/// A state that two guests did not survive.
fn killed_by(reason: String) -> Observation {
    Observation { mount: Mount::Died { reason }, entries: Default::default() }
}

/// Whether nothing comes of a read ahead that fails: nothing is known of file systems that are not named here. btrfs
/// counts failed reads as failures of the disk. Before Linux 6.1, recovery of ext4 did not read such a block once more
/// ("jbd2: replace ll_rw_block()"), and with checksums of the oldest kind took it, without a word, for the end of the
/// journal (fs/jbd2/recovery.c, `calc_chksums`).
fn may_refuse(filesystem: &Filesystem, release: &str) -> bool {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map_while(|number| number.parse().ok());
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    matches!(filesystem.kind.as_str(), "ext4" | "xfs") && version >= (6, 1)
}

fn observation(filesystem: &Filesystem, mark: bool) -> Command {
    Command::Observe { filesystem: filesystem.clone(), mark }
}

/// What one given disk looks like: for brute force, for the states that a report shows, and for `harness replay`. As in
/// [`enter`], only a state that two guests do not survive is blamed.
pub async fn observe_image(
    guests: &mut impl Guests,
    filesystem: &Filesystem,
    image: Image,
) -> Result<Observation, GuestError> {
    let mut died = false;
    loop {
        let guest = guests.guest().await?;
        guest.insert(Box::new(StateDisk::new(image.clone())));
        let reply = guest.call(&observation(filesystem, false)).await;
        guest.eject();
        let reason = match seen(reply)? {
            Seen::Whole(observation) => return Ok(observation),
            Seen::Died(reason) => reason,
        };
        guests.lost();
        if died {
            return Ok(killed_by(reason));
        }
        died = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernels_and_other_file_systems_are_refused_nothing() {
        let may =
            |kind: &str, release: &str| may_refuse(&Filesystem { kind: kind.into(), options: String::new() }, release);
        for release in ["6.1.176", "6.1.0-56-cloud-amd64", "6.12-rc1", "10.0"] {
            assert!(may("ext4", release) && may("xfs", release) && !may("btrfs", release), "{release}");
        }
        assert!(!may("f2fs", "6.12"));
        for release in ["6.0.19", "5.15.0-91-generic", "4.19", "", "next"] {
            assert!(!may("ext4", release), "{release}");
        }
    }
}
