//! What the host does to guests is no fault of a state: they are killed, stopped and late.

use std::sync::Arc;
use std::time::Duration;

use checker::{Mount, Observation};
use engine::run::Options;
use engine::visit::{Guests, enter, observe_image};
use report::Verdict;
use storage::{DiskModel, WriteEntry};
use vm::{Death, GuestError};

use crate::support::{OneGuest, filesystem, healthy, one_write, options, own_guests, run, uml};

/// Guests of which the first ones give no answer in time, whatever they are asked.
struct Slow {
    guests: OneGuest,
    late: usize,
}

impl Guests for Slow {
    async fn guest(&mut self) -> Result<&mut vm::Guest, GuestError> {
        self.guests.guest().await
    }
    fn lost(&mut self) {
        self.guests.lost();
        self.late = self.late.saturating_sub(1);
        if self.late == 0 {
            self.guests.limits.command = Duration::from_secs(20);
        }
    }
    async fn witness(&mut self) -> Result<(), GuestError> {
        self.guests.witness().await
    }
}

/// A guest that gives no answer in time is no state's doing: once it is replaced, and then nothing is known of the state.
#[tokio::test]
async fn a_state_is_not_blamed_for_guests_that_are_late() {
    let Some(uml) = uml() else { return };
    for (late, known) in [(0, true), (1, true), (2, false)] {
        let mut guests = Slow { guests: OneGuest::new(uml.clone(), Default::default()), late };
        if late > 0 {
            guests.guests.untold = true;
            guests.guests.limits.command = Duration::ZERO;
        }
        let found = observe_image(&mut guests, &filesystem("ext4"), healthy()).await;
        match &found {
            Ok(found) => assert!(known && found.mount == Mount::Mounted, "{late}: {found:?}"),
            Err(GuestError::Died { death: Death::Harness, .. }) => assert!(!known, "{late}: {found:?}"),
            Err(error) => panic!("{late}: {error}"),
        }
    }
}

/// Guests of which the first ones meet with some harm just before they are told what to do.
struct Harmed {
    guests: OneGuest,
    left: usize,
    harm: fn(i32),
    /// Whether another that is started meanwhile comes up.
    others: bool,
}

impl Guests for Harmed {
    async fn guest(&mut self) -> Result<&mut vm::Guest, GuestError> {
        let guest = self.guests.guest().await?;
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            own_guests().into_iter().for_each(self.harm);
        }
        Ok(guest)
    }
    fn lost(&mut self) {
        self.guests.lost();
    }
    async fn witness(&mut self) -> Result<(), GuestError> {
        match self.others {
            true => self.guests.witness().await,
            false => Err(GuestError::Refused("is not there".into())),
        }
    }
}

fn kill(pid: i32) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
}

/// Stops a guest where it is, as if it waited for something that never comes; for as long as this process lives.
fn freeze(pid: i32) {
    let (sender, frozen) = std::sync::mpsc::channel();
    // Whoever traces lets go when it ends.
    std::thread::spawn(move || {
        let pid = nix::unistd::Pid::from_raw(pid);
        let done = nix::sys::ptrace::seize(pid, nix::sys::ptrace::Options::empty())
            .and_then(|()| nix::sys::ptrace::interrupt(pid))
            .and_then(|()| nix::sys::wait::waitpid(pid, None));
        sender.send(done).unwrap();
        loop {
            std::thread::park();
        }
    });
    frozen.recv().unwrap().expect("a guest that can be traced");
}

/// What the host does to a guest is not the state's doing, however often: it is tried again, and then said.
#[tokio::test]
async fn a_guest_that_is_killed_from_outside_is_no_violation() {
    let Some(uml) = uml() else { return };
    let mut guests = OneGuest::new(uml.clone(), Default::default());
    let other = WriteEntry { sector: 1, data: Arc::new(vec![0xa5; storage::SECTOR]), step: 0 };
    let layers = one_write(&mut guests, other, DiskModel::default()).await;
    drop(guests);
    for (left, known) in [(0, true), (1, true), (2, false)] {
        let guests =
            || Harmed { guests: OneGuest::new(uml.clone(), Default::default()), left, harm: kill, others: true };
        let seen = observe_image(&mut guests(), &filesystem("ext4"), healthy()).await;
        let entered = enter(&mut guests(), &filesystem("ext4"), &layers, &[], false).await;
        for found in [seen, entered.map(|class| class.observation)] {
            match found {
                Ok(found) => assert!(known && found.mount == Mount::Mounted, "{left}: {found:?}"),
                Err(error @ GuestError::Died { death: Death::Host, .. }) => {
                    assert!(!known && error.to_string().contains("SIGKILL"), "{left}: {error}");
                }
                Err(error) => panic!("{left}: {error}"),
            }
        }
    }
}

/// A state on which a guest hangs twice is blamed, but only if others answer meanwhile.
#[tokio::test]
async fn a_guest_that_hangs_twice_is_a_finding_if_others_answer() {
    let Some(uml) = uml() else { return };
    for (left, others, blamed) in [(1, true, Some(false)), (2, true, Some(true)), (2, false, None)] {
        let mut guests = OneGuest::new(uml.clone(), Default::default());
        // The empty read plan would take some of the little time.
        guests.untold = true;
        guests.limits.command = Duration::from_secs(2);
        let mut guests = Harmed { guests, left, harm: freeze, others };
        let found = observe_image(&mut guests, &filesystem("ext4"), healthy()).await;
        match (found, blamed) {
            (Ok(Observation { mount: Mount::Died { reason }, .. }), Some(true)) => {
                assert!(reason.starts_with("hangs: for 2 s"), "{reason}");
            }
            (Ok(Observation { mount: Mount::Mounted, .. }), Some(false)) => {}
            (Err(GuestError::Died { death: Death::Hang, .. }), None) => {}
            (found, _) => panic!("{left} {others}: {found:?}"),
        }
    }
}

/// Whatever becomes of its guests, a run blames no program for it: the verdict is the right one, or there is none.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_guests_are_killed_blames_nobody() {
    if uml().is_none() {
        return;
    }
    let old = tempfile::tempdir().unwrap();
    std::fs::write(old.path().join("config"), "old\n".repeat(1000)).unwrap();
    let script = "yes new | head -c 6000 > config.tmp && sync config.tmp && mv config.tmp config && sync .";
    let command = ["sh", "-c", script].map(String::from).to_vec();
    let save = workload::Workload::bare(command, Some(old.path())).unwrap();
    for kills in [2, usize::MAX] {
        let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let killer = std::thread::spawn({
            let over = over.clone();
            move || {
                let mut killed = std::collections::BTreeSet::new();
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    // Long enough to boot and to mount a few times, on most hosts.
                    std::thread::sleep(Duration::from_millis(1500));
                    for guest in own_guests() {
                        if killed.len() < kills && killed.insert(guest) {
                            kill(guest);
                        }
                    }
                }
                killed.len()
            }
        });
        let directory = tempfile::tempdir().unwrap();
        let options = Options { workers: 1, ..options(&["ext4"]) };
        let finished = run(std::slice::from_ref(&save), &options, directory.path()).await;
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        let killed = killer.join().unwrap();
        let [cell] = finished.report.cells.as_slice() else { panic!("{:?}", finished.report.cells) };
        // Each guest may have done its part before it is killed: then all was looked at, and nothing less is a pass.
        match cell.verdict() {
            Verdict::Pass => assert!(cell.exhaustive() && cell.failure.is_none(), "{killed} killed: {cell:?}"),
            verdict => assert_eq!((verdict, killed > 0), (Verdict::Invalid, true), "{killed} killed: {cell:?}"),
        }
        assert!(cell.violations.is_empty(), "{cell:?}");
    }
}
