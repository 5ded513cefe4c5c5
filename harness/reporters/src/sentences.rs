//! What is said of what was found. Each function says one kind of data; where it names ops, it is given those that the
//! report refers to.

mod description;
mod hint;
mod note;
mod observed;
mod op;
mod schedule;
mod unjudged;
mod write;

pub use description::description;
pub use hint::hint;
pub use note::note;
pub use observed::observed;
pub(crate) use op::{ack, op};
pub use op::{after, killed};
pub use schedule::schedule;
pub(crate) use schedule::work;
pub use unjudged::unjudged;
pub use write::block;
pub(crate) use write::write;
