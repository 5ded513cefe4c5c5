//! Observations and contents of files are written once, and named by their hashes.

use std::collections::{HashMap, HashSet};

use checker::Observation;
use program::Content;

use super::known::Known;
use super::line::{Id, KeptObservation, Line};

/// What a journal keeps of the contents of files, bytes: observations that name more are not kept, and have to be made
/// again when the run goes on or is judged again.
const MOST_CONTENT: u64 = 256 << 20;

/// No content is kept that is larger: a line holds it as hexadecimal digits.
pub(super) const LARGEST_CONTENT: usize = 16 << 20;

/// What has been written and can be named.
#[derive(Debug, Default)]
pub(super) struct Names {
    observations: HashSet<Id>,
    contents: HashSet<Id>,
    /// How many bytes the contents have.
    bytes: u64,
}

impl Names {
    pub(super) fn of(known: &Known) -> Self {
        Self {
            observations: known.observations.keys().copied().collect(),
            contents: known.contents.keys().copied().collect(),
            bytes: known.contents.values().map(|content| content.len() as u64).sum(),
        }
    }

    /// `id`, the name of an observation, with the lines that give it a meaning if there are none yet; `None` if it is too large
    /// to keep.
    pub(super) fn observation(
        &mut self,
        id: Id,
        observation: &Observation,
        plan: Id,
        lines: &mut Vec<Line>,
    ) -> Option<Id> {
        if self.observations.contains(&id) {
            return Some(id);
        }
        let mut new: HashMap<Id, Content> = HashMap::new();
        let kept = KeptObservation::new(observation, plan, |id, content| {
            if !self.contents.contains(&id) {
                new.insert(id, content.clone());
            }
        });
        let bytes: u64 = new.values().map(|content| content.len() as u64).sum();
        if self.bytes + bytes > MOST_CONTENT || new.values().any(|content| content.len() > LARGEST_CONTENT) {
            return None;
        }
        self.bytes += bytes;
        self.contents.extend(new.keys());
        self.observations.insert(id);
        lines.extend(new.into_values().map(|content| Line::Content { bytes: content.to_vec() }));
        lines.push(Line::Observation(kept));
        Some(id)
    }
}
