//! What the explorer is known not to find, in one place. Whoever makes it find more takes lines away here.

/// Litmus programs whose state the explorer does not find with its default options, and why.
const LITMUS: &[(u32, &str)] = &[
    (1, "writeback under way ends with the next commit or sync; it cannot be held past later ops"),
    (2, "the same"),
    (3, "the same"),
    (4, "no commit happens while a call of the program waits"),
    (5, "writeback under way and a commit are two injections"),
    (6, "writeback of one file under way cannot be overtaken by the sync of another unless a call started it"),
    (7, "no commit happens while a call of the program waits"),
    (8, "the guest's inodes are cold"),
    (9, "the guest's inodes are cold"),
    (10, "traces hold no posix_fadvise"),
    (11, "writeback and a commit are two injections"),
    (12, "writeback and a commit are two injections"),
    (13, "the clock of replays always moves"),
    (14, "a commit that overtakes writeback counts as two injections"),
];

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
