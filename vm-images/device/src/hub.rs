//! Two devices behind one lock: the data disk, and the mailbox disk through which the guest agent talks.
//!
//! Both are virtio-blk, so a guest needs one driver. The mailbox's requests are ordered against the data disk's for
//! free: the agent waits for each of its own, and whatever the data disk had been asked before is served first.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};

use protocol::frame::{self, Frame};
use tracing::warn;
use vhost_user_backend::{VringRwLock, VringT};
use virtio_queue::QueueT;
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};

use crate::virtio::{Chain, Operation, Status, answer, parse};
use storage::{Backing, Mark, Parked, Queueing, Refused, SECTOR};

pub(crate) type Memory = GuestMemoryAtomic<GuestMemoryMmap>;

/// Size of the mailbox, bytes.
const MAILBOX_SIZE: u64 = 4 << 30;

/// The most bytes of a reply: the agent has a gigabyte of memory, and needs half of that for what it read.
const REPLY: usize = 512 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Data,
    Mailbox,
}

/// One device's queue, once the guest has set it up.
#[derive(Default)]
struct Port {
    vring: Option<VringRwLock<Memory>>,
    memory: Option<Memory>,
    /// Requests taken so far.
    taken: u64,
    /// Whether there are answers of which the guest has not been told.
    answered: bool,
}

impl Port {
    /// The next request, and its number on this device.
    fn pop(&mut self) -> Option<(Chain, u64)> {
        let memory = self.memory.as_ref()?.memory();
        let vring = self.vring.as_ref()?;
        let chain = vring.get_mut().get_queue_mut().pop_descriptor_chain(memory)?;
        self.taken += 1;
        Some((chain, self.taken - 1))
    }

    /// How many requests the guest has queued from the start, taken ones included.
    fn queued(&self) -> u64 {
        let (Some(memory), Some(vring)) = (&self.memory, &self.vring) else { return self.taken };
        let guard = vring.get_ref();
        let queue = guard.get_queue();
        match queue.avail_idx(&*memory.memory(), Ordering::Acquire) {
            Ok(index) => self.taken + u64::from(index.0.wrapping_sub(queue.next_avail())),
            Err(_) => self.taken,
        }
    }

    /// Puts a request that has been served where the guest will find it.
    fn complete(&mut self, chain: &Chain, written: u32) {
        let Some(vring) = &self.vring else { return };
        match vring.add_used(chain.head_index(), written) {
            Ok(()) => self.answered = true,
            Err(error) => warn!("the guest's used ring cannot be written: {error}"),
        }
    }

    /// Interrupts the guest, once for all answers, if it waits for any of them.
    fn interrupt(&mut self) {
        let Some(vring) = &self.vring else { return };
        if !std::mem::take(&mut self.answered) || matches!(vring.needs_notification(), Ok(false)) {
            return;
        }
        if let Err(error) = vring.signal_used_queue() {
            warn!("the guest cannot be interrupted: {error}");
        }
    }

    /// Has the guest ring again with its next request. True if there is one for which it may not have rung.
    fn listen(&self) -> bool {
        self.vring.as_ref().is_some_and(|vring| matches!(vring.enable_notification(), Ok(true)))
    }
}

/// Takes what the agent sends, or, once, the text of a panic of what stands behind the disk: called in the device's thread,
/// must not block.
pub type OnResult = Box<dyn FnMut(Result<Vec<u8>, String>) + Send>;

/// A write that a lazy disk has taken and not completed.
struct Held {
    chain: Chain,
    number: u64,
    /// Where it goes, and what the guest's memory held when it was issued: the guest may change that while the write is
    /// under way, and the disk may have taken it at any time.
    sector: u64,
    data: Vec<u8>,
    /// Those that came between two marks are one batch.
    batch: u64,
}

struct Inner {
    backing: Box<dyn Backing>,
    /// Whether writes are completed only when somebody waits for them.
    lazy: bool,
    held: Vec<Held>,
    /// The batch that writes belong to that come now.
    batch: u64,
    /// The first batch of the step that is under way.
    step: u64,
    /// Whether a flush first completes the writes of the step that is under way.
    flush_covers_own: bool,
    /// How many requests the data disk has completed.
    completed: u64,
    /// How many the guest is said to have queued when the last held write completed: this number never falls.
    available: u64,
    data: Port,
    mailbox: Port,
    /// The command that the agent is being given; empty when there is none.
    command: Vec<u8>,
    /// Whether the agent has been handed the head of `command`.
    taken: bool,
    /// The agent's read that waits for a command.
    waiting: Option<Chain>,
    /// Pieces of the result that is being received.
    result: Vec<u8>,
    on_result: OnResult,
    /// Whether anything panicked here: nothing is served any more.
    panicked: bool,
}

/// The two devices of one guest.
pub struct Hub {
    inner: Mutex<Inner>,
    sectors: u64,
}

impl Hub {
    /// Devices for a guest whose data disk has `sectors` sectors, for good.
    pub fn new(sectors: u64, on_result: OnResult) -> Arc<Self> {
        let inner = Inner {
            backing: Box::new(Parked { sectors }),
            lazy: false,
            held: Vec::new(),
            batch: 0,
            step: 0,
            flush_covers_own: false,
            completed: 0,
            available: 0,
            data: Port::default(),
            mailbox: Port::default(),
            command: Vec::new(),
            taken: true,
            waiting: None,
            result: Vec::new(),
            on_result,
            panicked: false,
        };
        Arc::new(Self { inner: Mutex::new(inner), sectors })
    }

    /// Whatever panics while it holds the lock is caught where it may ([`Hub::guarded`]), and its disk can be taken out.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Puts another disk behind the data device, returning the one that was there. The guest must not be using it.
    pub fn swap(&self, backing: Box<dyn Backing>) -> Box<dyn Backing> {
        std::mem::replace(&mut self.lock().backing, backing)
    }

    /// How many requests the guest has made so far, or `None` if one of them is under way.
    pub fn requests(&self) -> Option<u64> {
        let inner = self.inner.try_lock().ok()?;
        let idle = |port: &Port| port.queued() == port.taken;
        (idle(&inner.data) && idle(&inner.mailbox)).then_some(inner.data.taken + inner.mailbox.taken)
    }

    /// Does what calls the disk behind the device. A panic of that disk is a defect of ours, and nothing that the guest did:
    /// whoever waits for the guest is told at once, and nothing is served any more.
    fn guarded(&self, serve: impl FnOnce(&mut Inner)) {
        let mut inner = self.lock();
        if inner.panicked {
            return;
        }
        // What was being changed is not looked at any more, but for the disk, which its owner gets back and drops.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| serve(&mut inner))) {
            inner.panicked = true;
            (inner.on_result)(Err(format!("the disk of a guest panicked: {}", text_of(&*panic))));
        }
    }

    /// Takes the data disk away.
    pub fn take(&self) -> Box<dyn Backing> {
        self.swap(Box::new(Parked { sectors: self.sectors }))
    }

    /// Gives the agent its next command. One at a time: the next only after the result of this one.
    pub fn command(&self, payload: &[u8]) {
        let mut inner = self.lock();
        inner.command = (payload.len() as u64).to_le_bytes().to_vec();
        inner.command.extend_from_slice(payload);
        inner.taken = false;
        inner.hand_over();
        inner.mailbox.interrupt();
    }

    pub(crate) fn sectors(&self, role: Role) -> u64 {
        match role {
            Role::Data => self.sectors,
            Role::Mailbox => MAILBOX_SIZE / SECTOR as u64,
        }
    }

    pub(crate) fn set_memory(&self, role: Role, memory: Memory) {
        self.lock().port(role).memory = Some(memory);
    }

    /// Serves both devices: called whenever the guest rings either's bell.
    pub(crate) fn serve(&self, role: Role, vring: &VringRwLock<Memory>) {
        self.guarded(|inner| {
            let port = inner.port(role);
            if port.vring.is_none() {
                port.vring = Some(vring.clone());
            }
            inner.serve();
        });
    }
}

impl Inner {
    fn port(&mut self, role: Role) -> &mut Port {
        match role {
            Role::Data => &mut self.data,
            Role::Mailbox => &mut self.mailbox,
        }
    }

    fn serve(&mut self) {
        // Whether the last look found nothing, though a ring had said that there was something.
        let mut in_vain = false;
        loop {
            let before = self.data.taken + self.mailbox.taken;
            // First see what the mailbox was asked, then serve the data disk: what was asked of it before that is
            // served before it.
            let asked = self.mailbox.queued();
            while let Some((chain, number)) = self.data.pop() {
                self.serve_data(&chain, number);
            }
            while self.mailbox.taken < asked {
                let Some((chain, _)) = self.mailbox.pop() else { break };
                self.serve_mailbox(chain);
            }
            self.data.interrupt();
            self.mailbox.interrupt();
            let nothing = self.data.taken + self.mailbox.taken == before;
            // Both are asked: each then rings for what comes next. A ring out of which nothing comes twice in a row is
            // damaged, and would never say that it is empty.
            if !(self.data.listen() | self.mailbox.listen()) || (nothing && in_vain) {
                return;
            }
            in_vain = nothing;
        }
    }

    /// Takes a mark: for the disk behind the device, or about when it completes writes.
    fn mark(&mut self, step: u32, result: i64) {
        self.batch += 1;
        match step {
            frame::LAZY => self.lazy = true,
            frame::RELEASE => self.release_newest(),
            frame::FLUSH_COVERS_OWN => self.flush_covers_own = true,
            frame::EAGER => {
                (self.lazy, self.flush_covers_own) = (false, false);
                self.complete_from(0, self.data.queued());
            }
            _ => {
                self.step = self.batch;
                self.backing.mark(Mark { step, result });
            }
        }
    }

    /// Completes the writes that came last. Newest first, so that whoever waits for what was sent just now (a journal,
    /// say) does not wait for what was sent before (data that nobody waits for): that order is as real as any other, and
    /// leaves most under way.
    fn release_newest(&mut self) {
        if let Some(newest) = self.held.last().map(|held| held.batch) {
            self.complete_from(newest, self.data.queued());
        }
    }

    /// Completes the writes of this batch and of all later ones, when the guest had queued `available` requests.
    fn complete_from(&mut self, batch: u64, available: u64) {
        let from = self.held.partition_point(|held| held.batch < batch);
        self.held.split_off(from).into_iter().for_each(|held| self.complete_held(held, available));
    }

    fn complete_held(&mut self, Held { chain, number, sector, data, batch: _ }: Held, available: u64) {
        self.available = self.available.max(available);
        let queueing = Queueing { request: number, available: self.available };
        let now = match parse(&chain) {
            Some(Operation::Write { data, .. }) => data,
            _ => Vec::new(),
        };
        let changed = (now.len() == data.len() && now != data).then_some(now);
        self.backing.write(sector, data, queueing);
        if let Some(now) = changed {
            self.backing.write(sector, now, queueing);
        }
        self.completed += 1;
        self.data.complete(&chain, answer(&chain, &[], Status::Ok));
    }

    fn serve_data(&mut self, chain: &Chain, number: u64) {
        let sectors = self.backing.sectors();
        let fits = |sector: u64, length: usize| {
            length.is_multiple_of(SECTOR)
                && sector.checked_add((length / SECTOR) as u64).is_some_and(|end| end <= sectors)
        };
        let mut data = Vec::new();
        let status = match parse(chain) {
            Some(Operation::Read { sector, length }) if fits(sector, length) => {
                data.resize(length, 0);
                match self.backing.read(sector, &mut data) {
                    Ok(()) => Status::Ok,
                    Err(Refused) => {
                        data.clear();
                        Status::IoError
                    }
                }
            }
            Some(Operation::Write { sector, data }) if self.lazy && fits(sector, data.len()) => {
                self.held.push(Held { chain: chain.clone(), number, sector, data, batch: self.batch });
                self.backing.issue(number);
                return;
            }
            Some(Operation::Write { sector, data }) if fits(sector, data.len()) => {
                let queueing = Queueing { request: number, available: self.data.queued() };
                self.backing.write(sector, data, queueing);
                Status::Ok
            }
            Some(Operation::Flush) => {
                if self.flush_covers_own {
                    // They have completed before the flush was queued, as far as the log is concerned.
                    self.complete_from(self.step, number);
                }
                self.backing.flush(Queueing { request: number, available: self.data.queued() });
                Status::Ok
            }
            Some(Operation::Identify) => {
                data.extend_from_slice(frame::DATA_SERIAL.as_bytes());
                Status::Ok
            }
            Some(Operation::Read { .. } | Operation::Write { .. }) => Status::IoError,
            Some(Operation::Unsupported) | None => Status::Unsupported,
        };
        self.completed += 1;
        self.data.complete(chain, answer(chain, &data, status));
    }

    fn serve_mailbox(&mut self, chain: Chain) {
        let written = match parse(&chain) {
            Some(Operation::Read { sector, length }) => {
                // A number that means nothing is no place of ours.
                let address = sector.saturating_mul(SECTOR as u64);
                if address == frame::COMMAND {
                    self.waiting = Some(chain);
                    self.hand_over();
                    return;
                }
                if address == frame::COMPLETED {
                    answer(&chain, &self.completed.to_le_bytes(), Status::Ok)
                } else {
                    answer(&chain, &self.command_at(address, length), Status::Ok)
                }
            }
            Some(Operation::Write { sector, data }) => {
                if sector.saturating_mul(SECTOR as u64) == frame::RESULT {
                    self.receive(&data);
                }
                answer(&chain, &[], Status::Ok)
            }
            Some(Operation::Flush) => answer(&chain, &[], Status::Ok),
            Some(Operation::Identify) => answer(&chain, frame::MAILBOX_SERIAL.as_bytes(), Status::Ok),
            Some(Operation::Unsupported) | None => answer(&chain, &[], Status::Unsupported),
        };
        self.mailbox.complete(&chain, written);
    }

    /// The part of the command that lies at `address`; nothing elsewhere, as on an empty disk.
    fn command_at(&self, address: u64, length: usize) -> Vec<u8> {
        let Some(start) = address.checked_sub(frame::COMMAND) else { return Vec::new() };
        let start = (start as usize).min(self.command.len());
        self.command[start..(start + length).min(self.command.len())].to_vec()
    }

    /// Answers the agent's waiting read if there is a command that it has not seen.
    fn hand_over(&mut self) {
        if self.taken {
            return;
        }
        if let Some(chain) = self.waiting.take() {
            self.taken = true;
            // The guest's room bounds what is copied; the agent reads the rest beyond.
            let head = self.command_at(frame::COMMAND, 1 << 20);
            let written = answer(&chain, &head, Status::Ok);
            self.mailbox.complete(&chain, written);
        }
    }

    /// Takes a frame.
    fn receive(&mut self, bytes: &[u8]) {
        match frame::parse(bytes) {
            Some(Frame::Mark { step, result }) => self.mark(step, result),
            Some(Frame::Reply { piece, more }) => {
                if self.result.len().saturating_add(piece.len()) > REPLY {
                    // Nothing that the agent has to say is as long: what is left is no message.
                    self.result.clear();
                } else {
                    self.result.extend_from_slice(piece);
                }
                if !more {
                    (self.on_result)(Ok(std::mem::take(&mut self.result)));
                }
            }
            None => warn!("the guest agent sent something that is no frame"),
        }
    }
}

/// What a panic said.
pub fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it did not say why".into())
}

#[cfg(test)]
mod tests;
