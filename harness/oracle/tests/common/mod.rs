//! What the oracle's tests share.

use oracle::compare::OneGuest;
use testkit::Need;
use vm::{Paths, Uml};

/// A guest of User Mode Linux, booted when it is needed; `None` where a test that needs one is skipped.
pub fn guests() -> Option<OneGuest> {
    let cache = Paths::from_environment().cache;
    let machine = testkit::given(Need::Uml, Uml::find(&cache))?;
    Some(OneGuest::new(Box::new(machine), &cache).unwrap())
}
