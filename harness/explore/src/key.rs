//! Names of units and branches, the same in every run.

use sha2::{Digest, Sha256};

/// The first bytes of a SHA-256 of what makes a unit, or a branch of it, what it is.
pub type Key = [u8; 16];

/// The key of what was hashed.
pub fn key(hasher: Sha256) -> Key {
    let digest = hasher.finalize();
    std::array::from_fn(|index| digest[index])
}
