//! Tells what a file system is not up to by itself from what a program did to it.
//!
//! Under a disk model that tears writes, a file system may make nothing of a state whatever the program does. The
//! superblock of btrfs is an example, 4096 bytes under one checksum: torn at a sector boundary it is refused, and the
//! kernel tries no copy (fs/btrfs/disk-io.c, `open_ctree`). A torn commit record of the ext4 journal over an older
//! block is another (fs/jbd2/recovery.c, `do_one_pass`: "journal transaction … is corrupt"). No program can tear a
//! write, nor keep the file system from writing its own structures: to blame the workload would be a false alarm.

use checker::Mount;
use disk::{Layers, State};
use protocol::Filesystem;
use vm::GuestError;

use crate::explore::{Guests, observe_image};

/// Whether the file system refuses to mount `state` only because one of its writes is torn: it mounts both with the
/// torn writes whole and without them. Two mounts more, none if nothing is torn.
pub async fn only_torn(
    guests: &mut impl Guests,
    filesystem: &Filesystem,
    layers: &Layers,
    state: &State,
) -> Result<bool, GuestError> {
    let Some(neighbours) = layers.fates().untorn(state) else { return Ok(false) };
    for neighbour in neighbours {
        let observation = observe_image(guests, filesystem, layers.image(&neighbour)).await?;
        if observation.mount != Mount::Mounted {
            return Ok(false);
        }
    }
    Ok(true)
}
