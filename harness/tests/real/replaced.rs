//! Guests that do not come up, have gone, or are better off elsewhere are replaced, and the new ones told all that the first were.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine::execute::{execute, populate};
use engine::guests::{Boot, Slot};
use engine::visit::Guests;
use filesystems::{EXT4, FileSystem};
use testkit::Need;
use vm::Machine;

use crate::support::{SECTORS, durable_trace, filesystem, healthy, own_guests, subject, uml};

/// User Mode Linux, some of whose guests do not come up: of those with a mark here, from the first on.
struct Unsteady {
    uml: vm::Uml,
    fails: &'static [bool],
    started: Arc<std::sync::atomic::AtomicUsize>,
}

impl Machine for Unsteady {
    fn name(&self) -> &'static str {
        self.uml.name()
    }
    fn initramfs(&self, cache: &Path, filesystems: &[&FileSystem]) -> Result<PathBuf, vm::KernelError> {
        self.uml.initramfs(cache, filesystems)
    }
    fn command(&self, launch: &vm::Launch<'_>) -> std::io::Result<std::process::Command> {
        let index = self.started.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if self.fails.get(index).copied().unwrap_or(false) {
            return Ok(std::process::Command::new("false"));
        }
        self.uml.command(launch)
    }
    fn takes_turns(&self) -> bool {
        self.uml.takes_turns()
    }
    fn patience(&self) -> u32 {
        self.uml.patience()
    }
}

/// A guest that a busy host lets wait for too long ends no run, be it the first; a machine on which none ever comes up does.
#[tokio::test]
async fn a_guest_that_does_not_boot_is_started_once_more() {
    let Some(uml) = uml() else { return };
    let initramfs = uml.initramfs(&vm::Paths::from_environment().cache, &[&EXT4]).unwrap();
    for (fails, booted) in [
        ([true, false].as_slice(), [true, true]),
        (&[true, true, false], [false, true]),
        (&[false, true, false], [true, true]),
        (&[false, true, true], [true, false]),
    ] {
        let machine = Box::new(Unsteady { uml: uml.clone(), fails, started: Arc::default() });
        let boot = Boot::new(machine, initramfs.clone(), SECTORS, vm::Limits::default(), None);
        let mut slot = Slot::new(&boot);
        let mut outcomes = Vec::new();
        for _ in 0..2 {
            outcomes.push(slot.guest().await.is_ok());
            slot.lost();
        }
        assert_eq!(outcomes, booted, "{fails:?}");
    }
}

/// Kills the guests that this process has started, with all that they have.
fn kill_guests() {
    for pid in own_guests() {
        let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
}

/// A host that is short of memory may kill a guest while it waits for work: no state of a disk is to blame.
#[tokio::test]
async fn a_guest_that_has_gone_when_it_is_told_something_is_replaced() {
    let Some(uml) = uml() else { return };
    let initramfs = uml.initramfs(&vm::Paths::from_environment().cache, &[&EXT4]).unwrap();
    let boot = Boot::new(Box::new(uml), initramfs, SECTORS, vm::Limits::default(), None);
    let mut slot = Slot::new(&boot);
    slot.guest().await.unwrap();
    kill_guests();
    slot.set_read_plan(&Default::default());
    slot.guest().await.unwrap();
    kill_guests();
    slot.player(&Arc::new(subject(durable_trace()))).await.unwrap();
}

/// Processors are claimed by names of a network: in one of this thread's own, no guest of another test has any.
fn claim_all() -> Vec<UnixListener> {
    let allowed = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap();
    let numbers = (0..nix::sched::CpuSet::count()).filter(|&number| allowed.is_set(number) == Ok(true));
    let name = |number| SocketAddr::from_abstract_name(format!("crash-harness-processor-{number}")).unwrap();
    numbers.map(|number| UnixListener::bind_addr(&name(number)).unwrap()).collect()
}

/// A guest that shares its processor with others gives way to one that does not, which is told all that the first was
/// told. If that does not come up, the first one stays.
#[tokio::test]
async fn a_guest_moves_once_a_processor_is_free() {
    let Some(uml) = uml() else { return };
    if let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
        return testkit::skip(Need::Namespaces, &format!("a network of its own was refused: {error}"));
    }
    let filesystem = filesystem("ext4");
    let subject = Arc::new(subject(durable_trace()));
    let plan = subject.schedules[0].plan(&subject.trace, &subject.history);
    let initramfs = uml.initramfs(&vm::Paths::from_environment().cache, &[&EXT4]).unwrap();
    for (fails, then) in [([].as_slice(), 2), (&[false, true, true], 3)] {
        let others = claim_all();
        let started = Arc::default();
        let machine = Box::new(Unsteady { uml: uml.clone(), fails, started: Arc::clone(&started) });
        let boot = Boot::new(machine, initramfs.clone(), SECTORS, vm::Limits::default(), None);
        let mut slot = Slot::new(&boot);
        slot.set_read_plan(&subject.read_plan);
        let mut others = Some(others);
        for (expected, leave) in [(1, false), (1, true), (then, false), (then, false)] {
            let guest = slot.player(&subject).await.unwrap();
            assert_eq!(started.load(std::sync::atomic::Ordering::Relaxed), expected, "{fails:?}");
            let base = populate(guest, &filesystem, healthy(), &subject.trace).await.unwrap();
            execute(guest, &filesystem, &base, &plan, &subject.trace, &subject.live).await.unwrap();
            if leave {
                others = None;
            }
            // As often as a guest looks.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        drop(others);
    }
}
