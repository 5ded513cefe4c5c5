//! Guests that hang or panic are reported and replaced.

use std::time::Duration;

use disk::{Backing, Image, Queueing};
use harness::explore::Guests;
use harness::mkfs::mkfs;
use harness::replay::populate;
use protocol::{Command, Reply};
use trace::Tree;
use vm::GuestError;

use crate::support::{OneGuest, SECTORS, filesystem, uml};

/// A disk that, once asked, does not answer for longer than anyone waits.
struct Silent;

impl Backing for Silent {
    fn sectors(&self) -> u64 {
        SECTORS
    }
    fn read(&mut self, _: u64, _: &mut [u8]) {
        std::thread::sleep(Duration::from_secs(2));
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
    fn read(&mut self, sector: u64, buffer: &mut [u8]) {
        self.image.read(sector, buffer);
        // Superblock and group descriptors are whole; all inode tables and directories are not.
        if sector >= 16 {
            buffer.fill(0xa5);
        }
    }
    fn write(&mut self, _: u64, _: Vec<u8>, _: Queueing) {}
}

async fn observe(guests: &mut OneGuest, disk: Box<dyn Backing>, options: &str) -> Result<Reply, GuestError> {
    let guest = guests.guest().await.unwrap();
    guest.insert(disk);
    guest.call(&Command::Observe { filesystem: filesystem(&format!("ext4:{options}")) }).await
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
    assert!(console.contains("panic"), "{console}");
}
