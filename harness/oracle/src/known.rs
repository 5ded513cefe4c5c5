//! What the explorer is known not to find, in one place. Whoever makes it find more takes lines away here.

use crate::short::Kept;

/// Litmus programs whose state the explorer does not find with its default options, and why.
const LITMUS: &[(u32, &str)] = &[];

/// Why the explorer does not find the state of this litmus program.
pub fn known_litmus(number: u32) -> Option<&'static str> {
    LITMUS.iter().find(|(known, _)| *known == number).map(|(_, reason)| *reason)
}

/// Random programs of which a native outcome is not found: seed, file system, why.
const SEEDS: &[(u64, &str, &str)] = &[];

/// Why some outcome of this random program is not found.
pub fn is_known(seed: u64, kind: &str) -> Option<&'static str> {
    SEEDS.iter().find(|(known, of, _)| *known == seed && *of == kind).map(|(.., reason)| *reason)
}

/// Outcomes of workloads that an earlier set of schedules has shown: workload, file system, hash ([`crate::short`]), why they
/// are not found any more.
const EARLIER: &[(&str, &str, &str, &str)] = &[];

/// Why this outcome of a workload, which was found earlier, is not found.
pub fn known_earlier(kept: &Kept) -> Option<&'static str> {
    let is_it = |row: &&(&str, &str, &str, _)| (row.0, row.1, row.2) == (&kept.workload, &kept.kind, &kept.short.hash);
    EARLIER.iter().find(is_it).map(|row| row.3)
}
