//! Guests that hang or panic on what their disk gives them are reported and replaced.

use std::sync::Arc;
use std::time::Duration;

use checker::{CrashWindow, Kind, Mount};
use engine::execute::populate;
use engine::visit::{EquivalenceClass, Guests, enter, explore};
use protocol::{Command, Reply};
use storage::{Backing, BlockLog, DiskModel, Entry, Image, Layers, Queueing, Refused, TearKind, WriteEntry, epochs};
use vm::{Death, GuestError};

use crate::support::{OneGuest, SECTORS, durable_trace, filesystem, healthy, one_write, subject, uml};

/// A disk that, once asked, does not answer for longer than anyone waits.
struct Silent;

impl Backing for Silent {
    fn sectors(&self) -> u64 {
        SECTORS
    }
    fn read(&mut self, _: u64, _: &mut [u8]) -> Result<(), Refused> {
        std::thread::sleep(Duration::from_secs(4));
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
    guest.call(&Command::Observe { filesystem: filesystem(&format!("ext4:{options}")).recipe(), mark: false }).await
}

#[tokio::test]
async fn a_guest_that_hangs_is_given_up_and_replaced() {
    let Some(uml) = uml() else { return };
    let mut guests = OneGuest::new(uml, Default::default());
    // Thirty times as long by the clock, whatever else the host does.
    guests.limits.command = Duration::from_millis(50);
    let outcome = observe(&mut guests, Box::new(Silent), "").await;
    assert!(matches!(&outcome, Err(GuestError::Died { death: Death::Host, .. })), "{outcome:?}");
    guests.lost();
    guests.limits.command = Duration::from_secs(20);
    let guest = guests.guest().await.unwrap();
    populate(guest, &filesystem("ext4"), healthy(), &durable_trace()).await.unwrap();
}

#[tokio::test]
async fn a_guest_that_panics_leaves_its_console() {
    let Some(uml) = uml() else { return };
    let mut guests = OneGuest::new(uml, Default::default());
    let broken = Box::new(Broken { image: healthy() });
    let outcome = observe(&mut guests, broken, "errors=panic").await;
    let Err(GuestError::Died { death, reason, console }) = outcome else { panic!("{outcome:?}") };
    assert_eq!((death, reason.as_str()), (Death::Kernel, "ended: its kernel panicked"), "{console}");
    assert!(console.contains("Kernel panic"), "{console}");
}

/// Root directory and inode tables are garbage if the one volatile write survived. ext4 sees that by their checksums,
/// and `errors=panic` makes the kernel panic.
#[tokio::test]
async fn a_state_that_panics_its_guests_is_a_finding_and_the_other_is_still_explored() {
    let Some(uml) = uml() else { return };
    let filesystem = filesystem("ext4:errors=panic");
    let subject = subject(durable_trace());
    let mut guests = OneGuest::new(uml, subject.read_plan.clone());
    let guest = guests.guest().await.unwrap();
    let base = populate(guest, &filesystem, healthy(), &subject.trace).await.unwrap();
    let garbage = WriteEntry { sector: 16, data: Arc::new(vec![0xa5; 4 << 20]), step: 0 };
    let queueing = vec![Queueing::default()];
    let log = BlockLog { writes: vec![garbage], queueing, entries: vec![Entry::Write(0)] };
    let model = DiskModel { tear: TearKind::None, ..DiskModel::default() };
    let epoch = epochs(&log, &model).remove(0);
    let layers = Arc::new(Layers::new(base, &log, &epoch, model));
    let mut found = Vec::new();
    let class = |class: EquivalenceClass| {
        let window = CrashWindow { begun_earliest: 0, ended_latest: 0 };
        let mut findings = subject.rules.judge(&class.observation, &window);
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
    let observed = reporters::sentences::observed(&findings[0].observed);
    assert!(observed.contains("panic"), "{observed}");
    assert_eq!((&whole.mount, nothing.as_slice()), (&Mount::Mounted, [].as_slice()));
}

/// A disk of ours that panics where the guest reads is a defect of the harness, told with what the panic said.
#[tokio::test]
async fn a_disk_that_panics_is_a_defect_and_no_violation() {
    let Some(uml) = uml() else { return };
    let mut guests = OneGuest::new(uml, Default::default());
    // What is settled of a crash without any write says nothing of a write to the superblock, but is asked for it once that
    // is read.
    let superblock = WriteEntry { sector: 2, data: Arc::new(vec![0xa5; storage::SECTOR]), step: 0 };
    let first = one_write(&mut guests, superblock, DiskModel::default()).await;
    let nothing = BlockLog::default();
    let epoch = epochs(&nothing, &DiskModel::default()).remove(0);
    let without = Layers::new(healthy(), &nothing, &epoch, DiskModel::default()).fates();
    let layers = Arc::new(Layers::recovered(&first, &without, &nothing, &epoch));
    let begun = std::time::Instant::now();
    let found = enter(&mut guests, &filesystem("ext4"), &layers, &[], false).await;
    let Err(GuestError::Defect(what)) = &found else { panic!("{found:?}") };
    assert!(what.contains("the disk of a guest panicked: index out of bounds"), "{what}");
    assert!(begun.elapsed() < Duration::from_secs(20), "it is told at once");
}
