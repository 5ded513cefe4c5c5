//! What a program tells of names: in what it writes and prints, in its arguments, in other names.

use std::collections::{BTreeMap, BTreeSet};

use program::{Call, Kind, Trace};

use super::generators::LONGEST;

/// Those of the random `parts` that are told somewhere in `trace` besides the one name that each was drawn for: in data,
/// in the command, or in another one of `names`, which are all that the trace has.
///
/// The part, and not only the whole name: who knows that much can put the name together.
pub(super) fn told<'a>(trace: &Trace, names: &BTreeSet<Vec<u8>>, parts: BTreeSet<&'a [u8]>) -> BTreeSet<&'a [u8]> {
    let search = Search::new(parts);
    let mut told = BTreeSet::new();
    each_text(trace, &mut |text| told.extend(search.found(text)));
    let mut named = BTreeSet::new();
    for name in names {
        let found: BTreeSet<&[u8]> = search.found(name).collect();
        // The first time it is the name that it was drawn for.
        told.extend(found.into_iter().filter(|part| !named.insert(*part)));
    }
    told
}

/// Shows `see` every text of a trace that is no name of the directory: where a program can tell a name, and read it again.
fn each_text(trace: &Trace, see: &mut impl FnMut(&[u8])) {
    trace.command.iter().for_each(|argument| see(argument.as_bytes()));
    for node in trace.before.0.values() {
        if let Kind::File(content) = &node.kind {
            see(content);
        }
        node.xattrs.iter().flat_map(|(name, value)| [name, value]).for_each(|text| see(text));
    }
    // A name can be written or printed in pieces: what the last ones to the same file or channel ended with.
    let mut ends: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for op in &trace.ops {
        let (stream, data) = match &op.call {
            Call::Write { handle, data, .. } | Call::Store { handle, data, .. } => {
                (handle.to_string(), data.as_slice())
            }
            Call::Ack { channel, data } => (channel.to_string(), data.as_slice()),
            Call::SetXattr { name, value, .. } => {
                see(name);
                see(value);
                continue;
            }
            Call::Symlink { target, .. } => {
                see(target);
                continue;
            }
            _ => continue,
        };
        let text = ends.entry(stream).or_default();
        text.extend_from_slice(data);
        see(text);
        *text = text.split_off(text.len().saturating_sub(LONGEST - 1));
    }
}

/// Finds random parts in texts: as fast for many parts as for one.
struct Search<'a> {
    parts: BTreeSet<&'a [u8]>,
    lengths: BTreeSet<usize>,
    /// Which two bytes a part begins with: nearly every place in a text is passed over by them.
    starts: Vec<bool>,
}

impl<'a> Search<'a> {
    fn new(parts: BTreeSet<&'a [u8]>) -> Self {
        let mut starts = vec![false; 1 << 16];
        for part in &parts {
            starts[Self::start(part)] = true;
        }
        Self { lengths: parts.iter().map(|part| part.len()).collect(), parts, starts }
    }

    /// Of a text with two bytes or more.
    fn start(text: &[u8]) -> usize {
        usize::from(text[0]) << 8 | usize::from(text[1])
    }

    /// The parts in `text`, each as often as it is there.
    fn found(&self, text: &[u8]) -> impl Iterator<Item = &'a [u8]> {
        self.lengths.iter().flat_map(move |length| {
            let places = text.windows(*length).filter(|place| self.starts[Self::start(place)]);
            places.filter_map(|place| self.parts.get(place).copied())
        })
    }
}
