//! A worker's guest: booted when it is needed, and anew when it has died.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use checker::ReadPlan;
use protocol::Command;
use report::Event;
use tokio::sync::mpsc::UnboundedSender;
use tracing::warn;
use vm::{Guest, GuestError, Limits, Machine};

use crate::execute;
use crate::store::Store;
use crate::subject::Subject;
use crate::visit::Guests;

/// What every guest of a run boots from.
pub struct Boot {
    /// The machine that guests run on.
    pub machine: Box<dyn Machine>,
    /// The initramfs that guests boot from.
    pub initramfs: PathBuf,
    /// Size of their data disk, 512-byte sectors.
    pub sectors: u64,
    /// How long guests may take to boot, to execute and to answer.
    pub limits: Limits,
    /// The run that they are for, if what they find is kept: its guests all have the same kernel.
    pub store: Option<Store>,
    /// Who is told what there is to warn of.
    events: Option<UnboundedSender<Event>>,
    /// Whether it was told that the kernel cannot be kept: once is enough.
    told: AtomicBool,
}

impl Boot {
    /// No guest has been booted yet.
    pub fn new(
        machine: Box<dyn Machine>,
        initramfs: PathBuf,
        sectors: u64,
        limits: Limits,
        store: Option<Store>,
    ) -> Self {
        Self { machine, initramfs, sectors, limits, store, events: None, told: AtomicBool::new(false) }
    }

    /// Has warnings sent to `events`.
    pub fn telling(self, events: UnboundedSender<Event>) -> Self {
        Self { events: Some(events), ..self }
    }

    /// Boots one.
    ///
    /// # Errors
    /// There is none, or it has another kernel than those before it: what it would find is not what they would.
    pub async fn guest(&self) -> Result<Guest, GuestError> {
        let guest = boot(self.machine.as_ref(), &self.initramfs, self.sectors, self.limits).await?;
        match self.store.as_ref().map(|store| store.keep_kernel(guest.kernel())) {
            Some(Ok(was)) if was != guest.kernel() => {
                let reason = format!("it has Linux {}, and the run was begun on Linux {was}", guest.kernel());
                return Err(GuestError::Setup { machine: guest.machine(), reason });
            }
            Some(Err(error)) if !self.told.swap(true, Ordering::Relaxed) => self
                .warn(format!("failed to keep which kernel guests have, so that the run cannot be resumed: {error}")),
            Some(Ok(_) | Err(_)) | None => {}
        }
        Ok(guest)
    }

    fn warn(&self, text: String) {
        match &self.events {
            Some(events) => drop(events.send(Event::Warning { cell: None, text })),
            None => warn!("{text}"),
        }
    }
}

/// Boots a guest. One that does not come up is started once more, the first one, too: its host may be busy, or may have
/// killed it for want of memory.
///
/// # Errors
/// Neither has come up.
pub async fn boot(machine: &dyn Machine, initramfs: &Path, sectors: u64, limits: Limits) -> Result<Guest, GuestError> {
    let boot = || Guest::boot(machine, initramfs, sectors, limits);
    match boot().await {
        Err(error @ GuestError::Boot { .. }) => {
            warn!("starting another guest: {error}");
            boot().await
        }
        outcome => outcome,
    }
}

/// A worker's guest, and what it was told.
pub struct Slot<'a> {
    boot: &'a Boot,
    guest: Option<Guest>,
    read_plan: Option<Arc<ReadPlan>>,
    told: bool,
    /// Whose trace it was given.
    given: Option<Arc<Subject>>,
    /// Whether it is replaced once a processor is free for it.
    moves: bool,
}

impl<'a> Slot<'a> {
    /// A slot without a guest.
    pub fn new(boot: &'a Boot) -> Self {
        Self { boot, guest: None, read_plan: None, told: false, given: None, moves: true }
    }

    /// Has guests observe along `read_plan` from now on.
    pub fn set_read_plan(&mut self, read_plan: &Arc<ReadPlan>) {
        if !self.read_plan.as_ref().is_some_and(|known| Arc::ptr_eq(known, read_plan)) {
            self.read_plan = Some(read_plan.clone());
            self.told = false;
        }
    }

    /// The guest, with what it needs to execute `subject`.
    pub async fn player(&mut self, subject: &Arc<Subject>) -> Result<&mut Guest, GuestError> {
        self.ready(Some(subject)).await
    }

    /// The guest, which knows how to observe, and the subject.
    ///
    /// Nothing is mounted in it, so that where it dies no state of a disk can be blamed. Once that may be the host's
    /// doing: another guest is told the same.
    async fn ready(&mut self, subject: Option<&Arc<Subject>>) -> Result<&mut Guest, GuestError> {
        self.boot().await?;
        match self.tell(subject).await {
            Err(error @ (GuestError::Died { .. } | GuestError::Refused(_))) => {
                warn!("telling another guest: {error}");
                self.lost();
                self.boot().await?;
                self.tell(subject).await?;
            }
            told => told?,
        }
        Ok(self.guest.as_mut().unwrap_or_else(|| unreachable!("a guest has just been put there")))
    }

    /// Tells the guest what it does not know yet.
    async fn tell(&mut self, subject: Option<&Arc<Subject>>) -> Result<(), GuestError> {
        let Some(guest) = &mut self.guest else { return Ok(()) };
        if !self.told
            && let Some(read_plan) = &self.read_plan
        {
            guest.call(&Command::ReadPlan(read_plan.clone())).await?;
            self.told = true;
        }
        if let Some(subject) = subject
            && !self.given.as_ref().is_some_and(|given| Arc::ptr_eq(given, subject))
        {
            execute::give(guest, &subject.trace, &subject.live, subject.without_syncs).await?;
            self.given = Some(subject.clone());
        }
        Ok(())
    }

    /// Sees to it that there is a guest.
    async fn boot(&mut self) -> Result<(), GuestError> {
        // Whoever asks for it begins something: nothing is mounted in it.
        let moves = self.moves && self.guest.as_mut().is_some_and(Guest::should_move);
        if self.guest.is_none() || moves {
            match self.boot.guest().await {
                Ok(new) => {
                    self.guest = Some(new);
                    self.told = false;
                    self.given = None;
                }
                Err(error) if self.guest.is_none() => return Err(error),
                Err(error) => {
                    warn!("going on with the guest that there is: {error}");
                    self.moves = false;
                }
            }
        }
        Ok(())
    }
}

impl Guests for Slot<'_> {
    async fn guest(&mut self) -> Result<&mut Guest, GuestError> {
        self.ready(None).await
    }

    fn lost(&mut self) {
        self.guest = None;
    }

    async fn witness(&mut self) -> Result<(), GuestError> {
        self.boot.guest().await.map(drop)
    }
}
