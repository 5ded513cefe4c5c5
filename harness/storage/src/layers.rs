//! What all crash states of one epoch share: what is durable, and where the volatile writes lie.

use std::sync::Arc;

use crate::covering::Covering;
use crate::overlay::Overlay;
use crate::{BlockLog, DiskModel, Epoch, Fates, Image, State, WriteEntry};

/// What all crash states of one epoch share. The fate of a volatile write is decided elsewhere ([`Fates`]).
#[derive(Debug)]
pub struct Layers {
    below: Below,
    model: DiskModel,
    /// All states of the epoch.
    fates: Fates,
    /// The volatile writes, those of the first crash first.
    volatile: Vec<WriteEntry>,
    /// Where the volatile writes of the last crash lie, by their indices in `volatile`.
    covering: Covering,
}

/// What lies below the volatile writes of the last crash.
#[derive(Debug)]
enum Below {
    /// Before the crash: what was durable.
    Durable(Image),
    /// Before a crash during recovery: what recovery had made durable, on top of a disk that had crashed before.
    Recovery { first: Arc<Layers>, durable: Overlay },
}

/// What a sector holds if all that is undecided survived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look<'a> {
    pub(crate) content: &'a [u8],
    /// The unit (and its write) that must be settled before that is known: there is another content that the sector
    /// may still have. `None` if there is not, and nothing to decide.
    pub(crate) undecided: Option<(u32, u32)>,
}

impl Layers {
    /// The layers of one epoch of `log`. `durable` holds the start state and the epoch's durable writes
    /// (see [`Epoch::advance`]).
    pub fn new(durable: Image, log: &BlockLog, epoch: &Epoch, model: DiskModel) -> Self {
        let volatile: Vec<WriteEntry> = epoch.volatile_writes(log).cloned().collect();
        let fates = Fates::open(&model, &volatile);
        Self { below: Below::Durable(durable), model, fates, covering: Covering::new(&volatile, 0), volatile }
    }

    /// The layers after a second crash, while a kernel recovered the states `class` of `first`: `log` is what it wrote,
    /// and `epoch` is one of that log's. See [`Recovery`](crate::Recovery), which has both class and log.
    ///
    /// A run on these decides late on both crashes. It stands for so many pairs of a state of the first crash, in
    /// `class`, and a state of the second.
    pub fn recovered(first: &Arc<Self>, class: &Fates, log: &BlockLog, epoch: &Epoch) -> Self {
        let mut durable = Overlay::default();
        for write in epoch.durable_writes(log) {
            durable.write(write.sector, write.data.clone());
        }
        let fates = class.clone().crashed(epoch.volatile_writes(log));
        let second: Vec<WriteEntry> = epoch.volatile_writes(log).cloned().collect();
        Self {
            below: Below::Recovery { first: first.clone(), durable },
            model: first.model,
            fates,
            covering: Covering::new(&second, first.volatile.len() as u32),
            volatile: [first.volatile.clone(), second].concat(),
        }
    }

    /// All states of the epoch.
    pub fn fates(&self) -> Fates {
        self.fates.clone()
    }

    /// The volatile writes, in log order; after a crash during recovery, those of the first crash and then recovery's
    /// own. A [`Decision`](crate::Decision) and a [`State`] name a write by its index here.
    pub fn volatile(&self) -> &[WriteEntry] {
        &self.volatile
    }

    /// How many of [`Layers::volatile`], from the first, are those of the program's own run: all, unless the crash came
    /// during recovery.
    pub fn before_recovery(&self) -> usize {
        match &self.below {
            Below::Durable(_) => self.volatile.len(),
            Below::Recovery { first, .. } => first.volatile.len(),
        }
    }

    /// Number of sectors of the disk.
    pub fn sectors(&self) -> u64 {
        match &self.below {
            Below::Durable(image) => image.sectors(),
            Below::Recovery { first, .. } => first.sectors(),
        }
    }

    /// What a sector holds, as far as `fates` settle it.
    pub(crate) fn look(&self, sector: u64, fates: &Fates) -> Look<'_> {
        // The latest write that may have survived.
        let mut top: Option<(&[u8], (u32, u32))> = None;
        let under = |top: Option<(_, _)>, content| match top {
            None => Look { content, undecided: None },
            Some((above, unit)) => Look { content: above, undecided: (above != content).then_some(unit) },
        };
        let mut layers = self;
        loop {
            // From the latest write to the earliest: what lies below one that survived does not matter.
            for &write in layers.covering.of(sector).iter().rev() {
                let entry = &self.volatile[write as usize];
                let (content, unit) = (entry.at(sector), self.unit(write, sector));
                match (fates.forced(write, unit), top) {
                    (Some(false), _) => {}
                    (Some(true), top) => return under(top, content),
                    (None, None) => top = Some((content, (write, unit))),
                    (None, Some((above, _))) if above != content => return under(top, content),
                    (None, Some(_)) => {}
                }
            }
            match &layers.below {
                Below::Durable(image) => return under(top, image.sector(sector)),
                Below::Recovery { first, durable } => match durable.sector(sector) {
                    Some(content) => return under(top, content),
                    None => layers = first,
                },
            }
        }
    }

    /// The whole image of one state, built without any of the late deciding.
    pub fn image(&self, state: &State) -> Image {
        let (mut image, last) = match &self.below {
            Below::Durable(image) => (image.clone(), 0),
            Below::Recovery { first, durable } => {
                let mut image = first.image(state);
                durable.write_to(&mut image);
                (image, first.volatile.len())
            }
        };
        for (index, write) in self.volatile.iter().enumerate().skip(last) {
            for sector in write.sector..write.sector + write.sectors() {
                if state.survived(index as u32, self.unit(index as u32, sector)) {
                    image.write(sector, write.at(sector));
                }
            }
        }
        image
    }

    /// The unit, within the volatile write of this index, that holds an absolute sector.
    fn unit(&self, write: u32, sector: u64) -> u32 {
        if write as usize >= self.before_recovery() {
            // Recovery's own are atomic: see `Fates::crashed`.
            return 0;
        }
        let unit = u64::from(self.model.unit);
        (sector / unit - self.volatile[write as usize].sector / unit) as u32
    }
}
