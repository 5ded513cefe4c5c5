//! Guests: a machine boots the agent, on a disk that this process serves.
//!
//! [`Machine`] says how a kind of machine is started; [`Guest`] is one that runs. [`choose`] finds out which kind
//! this host can run.

mod choose;
mod confine;
mod death;
mod guest;
mod kernel;
mod machine;
mod memory;
mod processor;
mod qemu;
mod uml;

pub use choose::{Choice, Finding, Standing, choose, survey};
pub use confine::{Confined, Landlock, NAMESPACES, Obstacle, Probe, confined, probe};
pub use death::Death;
pub use device::text_of;
pub use guest::{Guest, GuestError, Limits};
pub use kernel::{KernelError, Paths, program};
pub use machine::{Accelerator, Launch, Machine};
pub use memory::room;
pub use qemu::Qemu;
pub use uml::Uml;
pub use vm_images::ModuleError;
