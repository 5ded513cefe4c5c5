use virtio_bindings::virtio_blk::{VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT};
use virtio_bindings::virtio_ring::{VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use vm_memory::{Bytes, GuestAddress};

use super::*;

/// Where the parts of the queue are in the guest's memory (virtio 1.2, section 2.7), and its requests behind them.
const DESCRIPTORS: u64 = 0;
const AVAILABLE: u64 = 0x1000;
const USED: u64 = 0x2000;
const REQUESTS: u64 = 0x4000;
const SIZE: u16 = 64;

/// A disk that says what it was asked for.
struct Telling(Arc<Mutex<Vec<String>>>);

impl Telling {
    fn tell(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }
}

impl Backing for Telling {
    fn sectors(&self) -> u64 {
        64
    }
    fn read(&mut self, sector: u64, _: &mut [u8]) -> Result<(), Refused> {
        self.tell(format!("read {sector}"));
        Ok(())
    }
    fn write(&mut self, sector: u64, _: Vec<u8>, _: Queueing) {
        self.tell(format!("write {sector}"));
    }
    fn flush(&mut self, _: Queueing) {
        self.tell("flush".into());
    }
}

/// A guest that is nothing but memory and a queue in it.
struct Driver {
    hub: Arc<Hub>,
    memory: Memory,
    vring: VringRwLock<Memory>,
    queued: u16,
    told: Arc<Mutex<Vec<String>>>,
}

impl Driver {
    fn new() -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
        let memory = GuestMemoryAtomic::new(memory);
        let vring = VringRwLock::new(memory.clone(), SIZE).unwrap();
        vring.set_queue_size(SIZE);
        vring.set_queue_info(DESCRIPTORS, AVAILABLE, USED).unwrap();
        vring.set_queue_ready(true);
        let hub = Hub::new(64, Box::new(drop));
        hub.set_memory(Role::Data, memory.clone());
        let told = Arc::<Mutex<Vec<String>>>::default();
        hub.swap(Box::new(Telling(told.clone())));
        Self { hub, memory, vring, queued: 0, told }
    }

    fn put<T: vm_memory::ByteValued>(&self, value: T, address: u64) {
        self.memory.memory().write_obj(value, GuestAddress(address)).unwrap();
    }

    /// Says that so many requests have been queued from the start, and rings.
    fn ring(&self, queued: u16) {
        self.put(queued, AVAILABLE + 2);
        self.hub.serve(Role::Data, &self.vring);
    }

    /// Queues a request: its header, its data, and where the status goes.
    fn ask(&mut self, kind: u32, sector: u64) {
        let first = 3 * self.queued;
        let at = REQUESTS + 0x1000 * u64::from(self.queued);
        self.put(kind, at);
        self.put(sector, at + 8);
        let reads = if kind == VIRTIO_BLK_T_IN { VRING_DESC_F_WRITE } else { 0 };
        let data = if kind == VIRTIO_BLK_T_FLUSH { 0 } else { SECTOR as u32 };
        let mut pieces = vec![(at, 16, VRING_DESC_F_NEXT), (at + 0x200, data, reads | VRING_DESC_F_NEXT)];
        pieces.retain(|piece| piece.1 > 0);
        pieces.push((at + 0x800, 1, VRING_DESC_F_WRITE));
        for (index, (address, length, flags)) in pieces.into_iter().enumerate() {
            let descriptor = DESCRIPTORS + 16 * (u64::from(first) + index as u64);
            self.put(address, descriptor);
            self.put(length, descriptor + 8);
            self.put(flags as u16, descriptor + 12);
            self.put(first + index as u16 + 1, descriptor + 14);
        }
        self.put(first, AVAILABLE + 4 + 2 * u64::from(self.queued));
        self.queued += 1;
        self.ring(self.queued);
    }

    fn write(&mut self, sector: u64) {
        self.ask(VIRTIO_BLK_T_OUT, sector);
    }

    fn mark(&self, step: u32) {
        self.hub.lock().mark(step, 0);
    }

    /// What the disk was asked for, and how many requests have been answered.
    fn told(&self) -> (String, u16) {
        let answered: u16 = self.memory.memory().read_obj(GuestAddress(USED + 2)).unwrap();
        (self.told.lock().unwrap().join(", "), answered)
    }
}

/// A lazy disk completes nothing of its own accord but reads and flushes, and then what came last.
#[test]
fn what_waits_is_passed_by_what_comes_later() {
    let mut guest = Driver::new();
    guest.mark(frame::LAZY);
    guest.write(1);
    guest.write(2);
    guest.ask(VIRTIO_BLK_T_IN, 9);
    assert_eq!(guest.told(), ("read 9".into(), 1));
    // The end of a step: what comes now is another batch.
    guest.mark(0);
    guest.write(3);
    guest.ask(VIRTIO_BLK_T_FLUSH, 0);
    assert_eq!(guest.told(), ("read 9, flush".into(), 2));
    guest.mark(frame::RELEASE);
    assert_eq!(guest.told(), ("read 9, flush, write 3".into(), 3));
    guest.ask(VIRTIO_BLK_T_FLUSH, 0);
    guest.mark(frame::RELEASE);
    assert_eq!(guest.told(), ("read 9, flush, write 3, flush, write 1, write 2".into(), 6));
    guest.mark(frame::RELEASE);
    guest.write(4);
    assert_eq!(guest.told().1, 6);
    guest.mark(frame::EAGER);
    guest.write(5);
    assert_eq!(guest.told(), ("read 9, flush, write 3, flush, write 1, write 2, write 4, write 5".into(), 8));
}

/// What a call has sent before its flush is completed first, where a file system is taken at its word for that; what other
/// steps have sent still waits.
#[test]
fn a_flush_covers_what_its_own_step_has_sent() {
    let mut guest = Driver::new();
    guest.mark(frame::LAZY);
    guest.mark(frame::FLUSH_COVERS_OWN);
    guest.write(1);
    guest.mark(0);
    guest.write(2);
    guest.mark(frame::RELEASE);
    guest.write(3);
    guest.ask(VIRTIO_BLK_T_FLUSH, 0);
    assert_eq!(guest.told(), ("write 2, write 3, flush".into(), 3));
    guest.mark(1);
    guest.mark(frame::EAGER);
    assert_eq!(guest.told(), ("write 2, write 3, flush, write 1".into(), 4));
    // The next execution may be on a file system that is not.
    guest.mark(frame::LAZY);
    guest.write(4);
    guest.ask(VIRTIO_BLK_T_FLUSH, 0);
    assert_eq!(guest.told(), ("write 2, write 3, flush, write 1, flush".into(), 5));
}

/// In the log, too, such a write has completed before the flush was sent.
#[test]
fn the_log_has_what_a_flush_covers() {
    let mut guest = Driver::new();
    guest.hub.swap(Box::new(storage::LoggingDisk::new(storage::Image::zeroed(64))));
    guest.mark(frame::BEGIN);
    guest.mark(frame::LAZY);
    guest.mark(frame::FLUSH_COVERS_OWN);
    guest.write(1);
    guest.mark(0);
    guest.write(2);
    guest.ask(VIRTIO_BLK_T_FLUSH, 0);
    guest.mark(1);
    guest.mark(frame::EAGER);
    let disk: Box<dyn Any> = guest.hub.take();
    let (_, log) = disk.downcast::<storage::LoggingDisk>().unwrap().finish().unwrap();
    let sectors: Vec<u64> = log.writes.iter().map(|write| write.sector).collect();
    assert_eq!(sectors, [2, 1]);
    assert!(log.fits(64) && log.entries.contains(&storage::Entry::Flush { covers: 1, available: 3 }), "{log:?}");
}

/// A guest may change its memory while a write is under way, and the disk may have taken it before or after.
#[test]
fn what_changes_under_way_is_written_both_ways() {
    struct Keeping(Arc<Mutex<Vec<u8>>>);
    impl Backing for Keeping {
        fn sectors(&self) -> u64 {
            64
        }
        fn read(&mut self, _: u64, _: &mut [u8]) -> Result<(), Refused> {
            Ok(())
        }
        fn write(&mut self, _: u64, data: Vec<u8>, _: Queueing) {
            self.0.lock().unwrap().push(data[0]);
        }
    }
    let mut guest = Driver::new();
    let written = Arc::<Mutex<Vec<u8>>>::default();
    guest.hub.swap(Box::new(Keeping(written.clone())));
    guest.mark(frame::LAZY);
    guest.put(7_u8, REQUESTS + 0x200);
    guest.write(1);
    guest.put(8_u8, REQUESTS + 0x200);
    guest.mark(frame::RELEASE);
    assert_eq!(*written.lock().unwrap(), [7, 8]);
    assert_eq!(guest.told().1, 1);
}

/// A guest that breaks its queue must not keep the device's thread busy for good.
#[test]
fn a_ring_out_of_which_nothing_comes_is_left_alone() {
    let mut guest = Driver::new();
    guest.write(1);
    guest.ring(SIZE + 2);
    assert_eq!(guest.told(), ("write 1".into(), 1));
}

/// A disk that panics when it is written to.
struct Panicking;

impl Backing for Panicking {
    fn sectors(&self) -> u64 {
        64
    }
    fn read(&mut self, _: u64, _: &mut [u8]) -> Result<(), Refused> {
        Ok(())
    }
    fn write(&mut self, sector: u64, _: Vec<u8>, _: Queueing) {
        panic!("no sector {sector}");
    }
}

/// Neither is a panic of the disk the guest's doing, nor must anybody wait for an answer that will not come.
#[test]
fn a_panic_of_the_disk_is_told_at_once_and_ends_the_service() {
    let mut guest = Driver::new();
    let (sender, said) = std::sync::mpsc::channel();
    guest.hub.lock().on_result = Box::new(move |result| sender.send(result).unwrap());
    guest.hub.swap(Box::new(Panicking));
    guest.ask(VIRTIO_BLK_T_IN, 3);
    assert!(said.try_recv().is_err());
    guest.write(7);
    assert_eq!(said.try_recv().unwrap(), Err("the disk of a guest panicked: no sector 7".into()));
    guest.write(8);
    assert!(said.try_recv().is_err() && guest.told().1 == 1);
    assert_eq!(guest.hub.take().sectors(), 64);
}
