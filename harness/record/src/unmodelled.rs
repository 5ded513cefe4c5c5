//! What could not be put into the trace, each thing once, with a count.

use program::Limit;

/// The unmodelled calls met so far, in the order of their first appearance.
#[derive(Debug, Default)]
pub(crate) struct UnmodelledCalls(Vec<Limit>);

impl UnmodelledCalls {
    /// Counts one more of `call` with `detail`.
    pub(crate) fn add(&mut self, call: impl Into<String>, detail: impl Into<String>) {
        self.merge(Limit { call: call.into(), detail: detail.into(), count: 1 });
    }

    pub(crate) fn merge(&mut self, limit: Limit) {
        match self.0.iter_mut().find(|known| known.call == limit.call && known.detail == limit.detail) {
            Some(known) => known.count += limit.count,
            None => self.0.push(limit),
        }
    }

    pub(crate) fn into_vec(self) -> Vec<Limit> {
        self.0
    }
}
