//! The flat enumeration of an epoch's states: hopeless for anything but small epochs, and therefore the measure that
//! the explorer must agree with.

use std::collections::BTreeMap;

use checker::{Mount, Observation};
use filesystems::Filesystem;
use num_bigint::BigUint;
use storage::Layers;
use vm::GuestError;

use crate::visit::{Guests, observe_image};

/// How often each observation occurs among the states of an epoch.
pub type Outcomes = BTreeMap<String, BigUint>;

/// Counts one observation. What the kernel says of a refusal is left out: it is rate-limited (lib/ratelimit.c), and so
/// not a function of the state.
pub fn count(outcomes: &mut Outcomes, observation: &Observation, states: BigUint) {
    let outcome = match &observation.mount {
        Mount::Refused { errno, .. } => format!("refused: {errno}"),
        _ => format!("{observation:?}"),
    };
    *outcomes.entry(outcome).or_default() += states;
}

/// Mounts every state of an epoch, each on a disk of its own.
pub async fn brute_force(
    guests: &mut impl Guests,
    filesystem: &Filesystem,
    layers: &Layers,
) -> Result<Outcomes, GuestError> {
    let mut outcomes = Outcomes::new();
    for state in layers.fates().enumerate() {
        let observation = observe_image(guests, filesystem, layers.image(&state)).await?;
        count(&mut outcomes, &observation, BigUint::from(1u32));
    }
    Ok(outcomes)
}
