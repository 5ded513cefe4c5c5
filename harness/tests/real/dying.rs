//! Guests that hang or panic are reported and replaced.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use checker::{Kind, Moment, Mount};
use disk::{Backing, BlockLog, DiskModel, Entry, Image, Layers, Queueing, Refused, TearKind, WriteEntry, epochs};
use harness::explore::{Class, Guests, explore, observe_image};
use harness::guests::{Boot, Slot};
use harness::mkfs::mkfs;
use harness::replay::populate;
use protocol::{Command, Reply};
use trace::Tree;
use vm::{GuestError, Machine};

use crate::support::{OneGuest, SECTORS, durable_trace, filesystem, subject, uml};

/// A disk that, once asked, does not answer for longer than anyone waits.
struct Silent;

impl Backing for Silent {
    fn sectors(&self) -> u64 {
        SECTORS
    }
    fn read(&mut self, _: u64, _: &mut [u8]) -> Result<(), Refused> {
        std::thread::sleep(Duration::from_secs(2));
        Ok(())
    }
    fn write(&mut self, _: u64, _: Vec<u8>, _: Queueing) {}
}

/// A file system whose root directory reads as garbage, and which panics at the first error.
struct Broken {
    image: Image,
}

impl Backing for Broken {
    fn sectors(&self) -> u64 {
        self.image.sectors()
    }
    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), Refused> {
        self.image.read(sector, buffer);
        // Superblock and group descriptors are whole; all inode tables and directories are not.
        if sector >= 16 {
            buffer.fill(0xa5);
        }
        Ok(())
    }
    fn write(&mut self, _: u64, _: Vec<u8>, _: Queueing) {}
}

async fn observe(guests: &mut OneGuest, disk: Box<dyn Backing>, options: &str) -> Result<Reply, GuestError> {
    let guest = guests.guest().await.unwrap();
    guest.insert(disk);
    guest.call(&Command::Observe { filesystem: filesystem(&format!("ext4:{options}")), mark: false }).await
}

fn healthy() -> Image {
    mkfs(&filesystem("ext4"), SECTORS * disk::SECTOR as u64).unwrap()
}

#[tokio::test]
async fn a_guest_that_hangs_is_given_up_and_replaced() {
    let Some(uml) = uml() else { return };
    let mut guests = OneGuest::new(uml, Default::default());
    guests.limits.command = Duration::from_secs(1);
    let outcome = observe(&mut guests, Box::new(Silent), "").await;
    assert!(matches!(&outcome, Err(GuestError::Died { reason, .. }) if reason.contains("no answer")), "{outcome:?}");
    guests.lost();
    guests.limits.command = Duration::from_secs(20);
    let guest = guests.guest().await.unwrap();
    populate(guest, &filesystem("ext4"), healthy(), &Tree::default()).await.unwrap();
}

#[tokio::test]
async fn a_guest_that_panics_leaves_its_console() {
    let Some(uml) = uml() else { return };
    let mut guests = OneGuest::new(uml, Default::default());
    let broken = Box::new(Broken { image: healthy() });
    let outcome = observe(&mut guests, broken, "errors=panic").await;
    let Err(GuestError::Died { reason, console }) = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("ended by itself"), "{reason}");
    assert!(console.contains("Kernel panic"), "{console}");
}

/// Root directory and inode tables are garbage if the one volatile write survived. ext4 sees that by their checksums,
/// and `errors=panic` makes the kernel panic.
#[tokio::test]
async fn a_state_that_panics_its_guests_is_a_finding_and_the_other_is_still_explored() {
    let Some(uml) = uml() else { return };
    let filesystem = filesystem("ext4:errors=panic");
    let subject = subject(durable_trace());
    let mut guests = OneGuest::new(uml, subject.guide.clone());
    let guest = guests.guest().await.unwrap();
    let base = populate(guest, &filesystem, healthy(), &subject.trace.before).await.unwrap();
    let garbage = WriteEntry { sector: 16, data: Arc::new(vec![0xa5; 4 << 20]), step: 0 };
    let log = BlockLog { writes: vec![garbage], entries: vec![Entry::Write(0)], ..BlockLog::default() };
    let model = DiskModel { tear: TearKind::None, ..DiskModel::default() };
    let epoch = epochs(&log, &model).remove(0);
    let layers = Arc::new(Layers::new(base, &log, &epoch, model));
    let mut found = Vec::new();
    let class = |class: Class| {
        let moment = Moment { begun_earliest: 0, ended_latest: 0 };
        let mut findings = subject.rules.judge(&class.observation, &moment);
        findings.retain(|finding| finding.fails);
        found.push((class.fates.fewest_lost().lost, class.observation, findings));
    };
    assert!(explore(&mut guests, &filesystem, &layers, || true, class).await.unwrap());
    let [(survived, died, findings), (lost, whole, nothing)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((survived.as_slice(), lost.as_slice()), ([].as_slice(), [0].as_slice()));
    // The end of the console is kept, and above it why the kernel gave up.
    let Mount::Died { reason } = &died.mount else { panic!("{died:?}") };
    assert!(reason.contains("Kernel panic"), "{reason}");
    assert_eq!(findings.iter().map(|finding| finding.kind).collect::<Vec<_>>(), [Kind::GuestDied]);
    assert!(findings[0].observed.contains("panic"), "{}", findings[0].observed);
    assert_eq!((&whole.mount, nothing.as_slice()), (&Mount::Mounted, [].as_slice()));
}

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
}

/// The states that a report shows are looked at a second time: a guest that a busy host let wait is not theirs to blame.
#[tokio::test]
async fn a_state_is_blamed_for_what_happens_twice_alone() {
    let Some(uml) = uml() else { return };
    for (late, mounts) in [(0, true), (1, true), (2, false)] {
        let mut guests = Slow { guests: OneGuest::new(uml.clone(), Default::default()), late };
        if late > 0 {
            guests.guests.untold = true;
            guests.guests.limits.command = Duration::ZERO;
        }
        let found = observe_image(&mut guests, &filesystem("ext4"), healthy()).await.unwrap();
        assert_eq!(found.mount == Mount::Mounted, mounts, "{late}: {:?}", found.mount);
    }
}

/// User Mode Linux, some of whose guests do not come up: of those with a mark here, from the first on.
struct Unsteady {
    uml: vm::Uml,
    fails: &'static [bool],
    started: std::sync::atomic::AtomicUsize,
}

impl Machine for Unsteady {
    fn name(&self) -> &'static str {
        self.uml.name()
    }
    fn initramfs(&self, cache: &Path, filesystems: &[String]) -> Result<PathBuf, vm::KernelError> {
        self.uml.initramfs(cache, filesystems)
    }
    fn command(&self, launch: &vm::Launch<'_>) -> std::process::Command {
        let index = self.started.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if self.fails.get(index).copied().unwrap_or(false) {
            return std::process::Command::new("false");
        }
        self.uml.command(launch)
    }
    fn patience(&self) -> u32 {
        self.uml.patience()
    }
}

/// A guest that a busy host lets wait for too long ends no run; a machine on which none ever comes up does.
#[tokio::test]
async fn a_guest_that_does_not_boot_is_started_once_more_if_another_has() {
    let Some(uml) = uml() else { return };
    let initramfs = uml.initramfs(&vm::Paths::from_environment().cache, &["ext4".into()]).unwrap();
    for (fails, booted) in [
        ([true, false].as_slice(), [false, true]),
        (&[false, true, false], [true, true]),
        (&[false, true, true], [true, false]),
    ] {
        let machine = Box::new(Unsteady { uml: uml.clone(), fails, started: 0.into() });
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
