//! Where the memory of guests is, and for how many of them there is room.
//!
//! It is a file without a name (arch/um/os-Linux/mem.c), which takes no room before a guest touches it. Where there is none
//! left by then, whoever touches it is killed by SIGBUS: the guest, or this process, whose disk fills the guest's pages. So
//! room is promised to a guest before it starts.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::sys::statvfs::statvfs;

use crate::machine::MEMORY;

/// A file system in memory. A container's often has 64 MiB.
const SHARED: &str = "/dev/shm";

/// The memory of a guest, bytes.
const GUEST: u64 = (MEMORY as u64) << 20;

/// What is promised to the guests of this process.
#[derive(Debug)]
struct Promises {
    /// To how many.
    given: u64,
    /// How many there was room for when there were none.
    most: u64,
}

static PROMISES: Mutex<Promises> = Mutex::new(Promises { given: 0, most: 0 });

impl Promises {
    /// Promises room in memory to another guest, if there is; `free` is what is left, bytes.
    fn give(&mut self, free: u64) -> bool {
        if self.given == 0 {
            self.most = free / GUEST;
        }
        // What the others have touched is not free any more, and what they have not is.
        let fits = self.given < self.most && free >= GUEST;
        self.given += u64::from(fits);
        fits
    }
}

/// Where a guest keeps its memory, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Place {
    directory: PathBuf,
    promised: bool,
}

impl Place {
    /// In memory if there is room for all of it, else in `own`.
    pub(crate) fn claim(own: &Path) -> Self {
        let promised = PROMISES.lock().unwrap_or_else(PoisonError::into_inner).give(free(Path::new(SHARED)));
        Self { directory: if promised { SHARED.into() } else { own.into() }, promised }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.promised {
            PROMISES.lock().unwrap_or_else(PoisonError::into_inner).given -= 1;
        }
    }
}

/// How many guests there is room for, and where: in memory, or if there is none, where temporary files are. At least one,
/// which may then find that there is not.
pub(crate) fn room() -> (usize, PathBuf) {
    room_in(Path::new(SHARED), &std::env::temp_dir())
}

fn room_in(shared: &Path, own: &Path) -> (usize, PathBuf) {
    let fits = |directory: &Path| usize::try_from(free(directory) / GUEST).unwrap_or(usize::MAX);
    match fits(shared) {
        0 => (fits(own).max(1), own.into()),
        guests => (guests, shared.into()),
    }
}

/// What is free in a directory, bytes.
fn free(directory: &Path) -> u64 {
    statvfs(directory).map_or(0, |room| room.blocks_available().saturating_mul(room.fragment_size()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_promised_to_as_many_as_there_is_room_for() {
        let mut promises = Promises { given: 0, most: 0 };
        // The first takes some of it.
        let free = [GUEST * 3, GUEST * 3 - 1, GUEST * 2, GUEST * 2, GUEST * 2];
        assert_eq!(free.map(|free| promises.give(free)), [true, true, true, false, false]);
        // Others took it.
        promises.given = 2;
        assert!(!promises.give(GUEST - 1) && promises.give(GUEST));
        // What is free now counts again when they are gone.
        promises.given = 0;
        assert!(!promises.give(GUEST - 1));
        assert!(promises.give(GUEST * 2 - 1) && !promises.give(GUEST * 2 - 1));
    }

    #[test]
    fn guests_are_counted_where_they_fit() {
        let (own, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let fits = ((free(own.path()) / GUEST) as usize).max(1);
        // Without any block, and not there at all.
        for full in ["/proc", "/nonexistent"] {
            let (guests, place) = room_in(Path::new(full), own.path());
            assert!(guests.abs_diff(fits) <= 1 && place == own.path(), "{guests} of {fits} in {place:?}");
            assert_eq!(room_in(Path::new(full), Path::new(full)), (1, full.into()));
        }
        if free(there.path()) >= GUEST * 2 {
            assert_eq!(room_in(there.path(), own.path()).1, there.path());
        }
    }
}
