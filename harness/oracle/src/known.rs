//! What the explorer is known not to find, in one place. Whoever makes it find more takes lines away here.

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
