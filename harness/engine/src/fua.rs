//! Which writes of a program a disk with forced unit access (FUA) takes without a flush.
//!
//! A write with `O_DIRECT` and `O_DSYNC` that overwrites blocks which are allocated, written and known to be so by the
//! journal is sent with FUA, and nothing else is done for it (fs/iomap/direct-io.c, `iomap_dio_rw` and
//! `iomap_dio_bio_iter`: `IOMAP_DIO_WRITE_FUA`, which `IOMAP_F_DIRTY` takes back). On a disk without FUA, as the guest
//! has it, that is the write and a flush. A journal's commit record has FUA, too, but everything that it must not
//! overtake was flushed before it, and what else has completed by then is what a lazy disk leaves under way.

use std::collections::BTreeSet;

use program::{Call, Handle, Trace};
use storage::WriteEntry;

use crate::execute::Execution;
use plan::{O_DIRECT, Origin, Plan};

/// O_DSYNC alone; O_SYNC has this bit and another (open(2)).
const O_DSYNC: u32 = 0o10000;
const O_SYNC: u32 = 0o4010000;
/// RWF_DSYNC and RWF_SYNC (pwritev2(2)).
const RWF_DSYNC: u32 = 2;
const RWF_SYNC: u32 = 4;

impl Execution {
    /// The same on a disk with FUA.
    pub fn with_fua(self, plan: &Plan, trace: &Trace) -> Self {
        let forced = forced(trace);
        let is_fua = |step: u32, writes: &[WriteEntry]| match plan.origins.get(step as usize) {
            Some(Origin::Op(op)) if forced.contains(op) => match &trace.ops[*op].call {
                Call::Write { data, .. } => are_all_of(writes, data),
                _ => false,
            },
            _ => false,
        };
        Self { start: self.start, log: self.log.with_fua(is_fua) }
    }
}

/// The ops that the kernel may send with FUA.
fn forced(trace: &Trace) -> BTreeSet<usize> {
    let mut opened: std::collections::BTreeMap<Handle, u32> = Default::default();
    let mut forced = BTreeSet::new();
    for (index, op) in trace.ops.iter().enumerate().filter(|(_, op)| op.result >= 0) {
        match &op.call {
            Call::Open { handle, flags, .. } => drop(opened.insert(*handle, *flags)),
            Call::Write { handle, flags, .. } => {
                let file = opened.get(handle).copied().unwrap_or(0);
                let wholly = file & O_SYNC == O_SYNC || flags & RWF_SYNC != 0;
                let data = file & O_DSYNC != 0 || flags & RWF_DSYNC != 0;
                if file & O_DIRECT != 0 && data && !wholly {
                    forced.insert(index);
                }
            }
            _ => {}
        }
    }
    forced
}

/// Whether these writes are all of the data, and nothing else: no journal, no metadata.
fn are_all_of(writes: &[WriteEntry], data: &[u8]) -> bool {
    let total: usize = writes.iter().map(|write| write.data.len()).sum();
    let is_part = |write: &WriteEntry| {
        let starts = (0..data.len()).step_by(storage::SECTOR);
        starts.into_iter().any(|start| data[start..].starts_with(&write.data))
    };
    total == data.len() && writes.iter().all(is_part)
}
