//! What the program printed, and which op printed what.

use std::collections::BTreeSet;

use program::{Call, Channel, Trace};

use crate::{Ack, RuleError};

/// The promises of one run.
#[derive(Default)]
pub(crate) struct Acks {
    channels: Vec<Printed>,
    exit: Option<usize>,
}

struct Printed {
    channel: Channel,
    text: Vec<u8>,
    /// How long `text` was after which op.
    ends: Vec<(usize, usize)>,
}

impl Acks {
    pub(crate) fn new(trace: &Trace) -> Self {
        let mut acks = Self::default();
        for (index, op) in trace.ops.iter().enumerate() {
            match &op.call {
                Call::Ack { channel, data } => {
                    let at = acks.channels.iter().position(|known| known.channel == *channel).unwrap_or_else(|| {
                        acks.channels.push(Printed { channel: *channel, text: Vec::new(), ends: Vec::new() });
                        acks.channels.len() - 1
                    });
                    let printed = &mut acks.channels[at];
                    printed.text.extend_from_slice(data);
                    printed.ends.push((printed.text.len(), index));
                }
                Call::Exit { .. } => acks.exit = Some(index),
                _ => {}
            }
        }
        acks
    }

    /// Whether the trace holds the end of the command.
    pub(crate) fn has_exit(&self) -> bool {
        self.exit.is_some()
    }

    /// The ops that complete the ack, ascending.
    pub(crate) fn ops(&self, ack: &Ack) -> Result<Vec<usize>, RuleError> {
        let Ack::Text(text) = ack else {
            return self.exit.map(|op| vec![op]).ok_or(RuleError::NoExit);
        };
        let wanted = text.as_bytes();
        let mut ops = BTreeSet::new();
        for Printed { text: printed, ends, .. } in &self.channels {
            let mut at = 0;
            while let Some(found) = printed[at..].windows(wanted.len().max(1)).position(|window| window == wanted) {
                at += found + wanted.len();
                // The op whose bytes hold the last one of the text.
                let op = ends.partition_point(|(end, _)| *end < at);
                ops.insert(ends[op].1);
            }
        }
        if ops.is_empty() {
            return Err(RuleError::NoAck { text: text.clone(), printed: self.printed() });
        }
        Ok(ops.into_iter().collect())
    }

    fn printed(&self) -> String {
        /// Enough to see a typing mistake by.
        const SHOWN: usize = 200;
        let all: Vec<u8> = self.channels.iter().flat_map(|channel| &channel.text).copied().take(SHOWN).collect();
        if all.is_empty() { "nothing".to_owned() } else { format!("{:?}", String::from_utf8_lossy(&all)) }
    }
}

/// The ops that complete an ack, ascending.
///
/// # Errors
/// The program never gives it.
pub fn ack_ops(trace: &Trace, ack: &Ack) -> Result<Vec<usize>, RuleError> {
    Acks::new(trace).ops(ack)
}
