//! The depth-first walk of the tree of decisions that recovery and the checker really make.

use disk::Decision;

/// A walk over one epoch: which decisions the next run starts with.
///
/// Each run is given a prefix of decisions and answers with those it made in the end, prefix first. The last decision
/// whose other value has not been tried is then flipped. Values are first `survived`, then `lost`, so a decision that
/// says `lost` has had both.
#[derive(Debug)]
pub struct Walk {
    prefix: Option<Vec<Decision>>,
}

impl Default for Walk {
    fn default() -> Self {
        Self { prefix: Some(Vec::new()) }
    }
}

impl Walk {
    /// What the next run starts with; `None` when every branch has been seen.
    pub fn next(&self) -> Option<&[Decision]> {
        self.prefix.as_deref()
    }

    /// Takes the decisions of the run that was started with [`Walk::next`].
    pub fn ran(&mut self, decisions: &[Decision]) {
        let flip = decisions.iter().rposition(|decision| decision.survived);
        self.prefix = flip.map(|index| {
            let mut prefix = decisions[..=index].to_vec();
            prefix[index].survived = false;
            prefix
        });
    }
}
