//! Files that are made from another, which is then removed: compressed files, and what is moved across file systems.

use program::{History, RelPath, State};

use super::changes::Changes;
use crate::Wanted;

/// Whether of two files the second was made from the first.
type Relation<'a> = dyn Fn(&RelPath, &RelPath) -> bool + 'a;

/// A file that was removed, and the one that was made from it.
pub(super) struct Pair {
    removed: RelPath,
    made: RelPath,
    taken: bool,
}

impl Pair {
    pub fn has(&self, path: &RelPath) -> bool {
        [&self.removed, &self.made].contains(&path)
    }

    /// What is asked of both, the first time.
    pub fn take(&mut self) -> Option<Wanted> {
        let mut paths = vec![self.removed.clone(), self.made.clone()];
        paths.sort();
        (!std::mem::replace(&mut self.taken, true)).then_some(Wanted::OneIsWhole { paths })
    }
}

/// The pairs among the files that are not `left_out`, each file in one of them at most.
///
/// Whether what stands in a file was made from another cannot be known. It is taken for that if both hold the same, or if
/// both are in one directory and the name of one is that of the other with an ending (`data`, `data.gz`).
pub(super) fn pairs(history: &History, changes: &Changes, left_out: impl Fn(&RelPath) -> bool) -> Vec<Pair> {
    let changed: Vec<RelPath> = history.changed().into_iter().filter(|path| !left_out(path)).collect();
    let state = |path: &RelPath, last: bool| {
        let versions = history.versions(path);
        let version = if last { versions.last() } else { versions.first() };
        version.map_or(State::Absent, |version| version.state.clone())
    };
    let is_removed = |path: &&RelPath| changes.of(path).unlinked.is_some() && state(path, false).content().is_some();
    let is_made = |path: &&RelPath| state(path, false) == State::Absent && state(path, true).content().is_some();
    let mut made: Vec<&RelPath> = changed.iter().filter(is_made).collect();
    let mut removed: Vec<&RelPath> = changed.iter().filter(is_removed).collect();
    let mut pairs = Vec::new();
    let is_copy = |removed: &RelPath, made: &RelPath| {
        let (old, new) = (state(removed, false), state(made, true));
        old == new && old.content().is_some_and(|content| !content.is_empty())
    };
    let relations: [&Relation<'_>; 2] = [&is_copy, &share_a_stem];
    for is_related in relations {
        removed.retain(|removed| {
            let fits = |made: &&RelPath| is_related(removed, made) && !changes.share_a_file(removed, made);
            let Some(index) = made.iter().position(fits) else { return true };
            let made = made.remove(index).clone();
            pairs.push(Pair { removed: (*removed).clone(), made, taken: false });
            false
        });
    }
    pairs
}

/// Whether the name of one is that of the other with an ending, in one directory.
fn share_a_stem(one: &RelPath, other: &RelPath) -> bool {
    let extends = |long: &[u8], short: &[u8]| {
        long.strip_prefix(short).is_some_and(|ending| ending.len() > 1 && ending.starts_with(b"."))
    };
    one.parent() == other.parent() && (extends(one.name(), other.name()) || extends(other.name(), one.name()))
}
