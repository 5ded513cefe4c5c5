//! What a file holds where it is none of its versions: whose bytes stand where.

use crate::found::{Allowed, Bytes, Origin};
use crate::{ByteRange, ByteSource, Observed};

/// Bytes that are nobody's end where so many are somebody's again. Fewer can be so by chance.
const KNOWN_AGAIN: usize = 16;

/// Whose bytes a range holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    /// Those of a content at the same place, by its index.
    Content(usize),
    /// Zeros.
    Zeros,
    /// Those of no content, though some may look so.
    Unknown,
}

/// A range of bytes, `end` not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    start: usize,
    end: usize,
    source: Of,
}

/// Cuts the first `end` bytes into ranges, each as long as it can be: so there are no more than need be.
fn ranges<'a>(bytes: &'a Bytes<'a>, end: usize, contents: &'a [Allowed]) -> impl Iterator<Item = Range> + 'a {
    let mut start = 0;
    std::iter::from_fn(move || {
        let range = (start < end).then(|| range(bytes, start, end, contents))?;
        start = range.end;
        Some(range)
    })
}

fn range(bytes: &Bytes<'_>, start: usize, end: usize, contents: &[Allowed]) -> Range {
    let (source, length) = longest(bytes, start, end, contents);
    if length > 0 {
        return Range { start, end: start + length, source };
    }
    let known_again = |at: &usize| longest(bytes, *at, end, contents).1 >= KNOWN_AGAIN;
    Range { start, end: (start + 1..end).find(known_again).unwrap_or(end), source: Of::Unknown }
}

/// Whose bytes there are most of from `start` on. Of two with as many the one that comes first, zeros last.
fn longest(bytes: &Bytes<'_>, start: usize, end: usize, contents: &[Allowed]) -> (Of, usize) {
    let mut longest = (Of::Unknown, 0);
    let known = contents
        .iter()
        .enumerate()
        .map(|(index, allowed)| (Of::Content(index), bytes.common(start, end, &allowed.content)));
    for (source, length) in known.chain([(Of::Zeros, bytes.zeros(start, end))]) {
        if length > longest.1 {
            longest = (source, length);
        }
    }
    longest
}

/// Whose bytes stand where in the first `end` bytes of a file of `size` bytes.
pub(crate) fn contents(size: u64, bytes: &Bytes<'_>, end: usize, contents: &[Allowed]) -> Observed {
    /// As many as a reader can take in.
    const SHOWN: usize = 5;
    let mut shown: Vec<Range> = ranges(bytes, end, contents).take(SHOWN + 1).collect();
    let cut = (end as u64) < size || shown.len() > SHOWN;
    shown.truncate(SHOWN);
    let range = |Range { start, end, source }: Range| {
        let (of, whole) = match source {
            Of::Content(index) => {
                let Allowed { content, origin, .. } = &contents[index];
                let of = match origin {
                    Origin::Old => ByteSource::Old,
                    Origin::New => ByteSource::New,
                    Origin::Between => ByteSource::Between,
                    Origin::Log => ByteSource::Written,
                };
                (of, content.len() == end)
            }
            Of::Zeros => (ByteSource::Zeros, false),
            Of::Unknown => (ByteSource::Unknown, false),
        };
        ByteRange { start: start as u64, end: end as u64, of, whole }
    };
    Observed::Contents { size, ranges: shown.into_iter().map(range).collect(), cut }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::Sizes;
    use crate::testing::observed_text;

    fn allowed(origin: Origin, content: &[u8]) -> Allowed {
        Allowed { content: Arc::new(content.to_vec()), sizes: Sizes::only(content.len() as u64), origin }
    }

    fn words(found: &[u8], contents: &[Allowed]) -> String {
        observed_text(&super::contents(found.len() as u64, &Bytes { head: found, tail: &[] }, found.len(), contents))
    }

    /// A letter for each 1,024 bytes, `.` for zeros.
    fn blocks(letters: &str) -> Vec<u8> {
        letters.bytes().flat_map(|letter| [if letter == b'.' { 0 } else { letter }; 1024]).collect()
    }

    #[test]
    fn mixtures_in_words() {
        let old_new = |old: &str, new: &str| [allowed(Origin::Old, &blocks(old)), allowed(Origin::New, &blocks(new))];
        let truncated = old_new("AAAAAAAA", "AA");
        let saved = old_new("AAAA", "BBBB");
        let grown = [allowed(Origin::Old, &b"old!".repeat(800)), allowed(Origin::New, &b"new!".repeat(950))];
        let log = [allowed(Origin::Log, &blocks("LLLL"))];
        let between =
            [allowed(Origin::Old, b"a"), allowed(Origin::Between, &blocks("CCC")), allowed(Origin::New, b"b")];
        let half = blocks("AABB");
        let texts = [
            words(&[&b"old!".repeat(800)[..], &[0; 600]].concat(), &grown),
            words(&blocks("AA..AAAA"), &truncated),
            words(&blocks("AABB"), &saved),
            words(&blocks("...."), &saved),
            words(&blocks("BB.."), &saved),
            words(&blocks("BBXX"), &saved),
            words(&blocks("BXXA"), &saved),
            words(&[b'B', 0, b'A', b'A'], &saved),
            words(&blocks("ABABABAB"), &old_new("AAAAAAAA", "BBBBBBBB")),
            words(&blocks("L..L"), &log),
            words(&blocks("LL.."), &log),
            words(&blocks("CC."), &between),
            observed_text(&super::contents(1 << 20, &Bytes { head: &half[..100], tail: &half[100..] }, 4096, &saved)),
            observed_text(&super::contents(1, &Bytes { head: b"x", tail: &[] }, 1, &saved)),
        ];
        insta::assert_snapshot!(texts.join("\n"));
    }

    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let piece = (proptest::sample::select(vec![0u8, 0, b'a', b'b', b'c']), 1usize..40);
        proptest::collection::vec(piece, 0..12)
            .prop_map(|pieces| pieces.into_iter().flat_map(|(byte, length)| vec![byte; length]).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is found, the ranges follow each other from the first byte to the last, and each holds what it says.
        #[test]
        fn a_file_can_be_put_together_from_its_ranges(
            found in pieces(),
            others in proptest::collection::vec(pieces(), 0..4),
            cut in any::<proptest::sample::Index>(),
        ) {
            let contents: Vec<Allowed> = others.iter().map(|content| allowed(Origin::Between, content)).collect();
            let (head, tail) = found.split_at(cut.index(found.len() + 1));
            let bytes = Bytes { head, tail };
            let known = |at: usize| found[at] == 0 || others.iter().any(|other| other.get(at) == Some(&found[at]));
            let mut made = Vec::new();
            for Range { start, end, source } in ranges(&bytes, found.len(), &contents) {
                prop_assert_eq!(start, made.len());
                prop_assert!(end > start);
                match source {
                    Of::Content(index) => made.extend_from_slice(&others[index][start..end]),
                    Of::Zeros => made.resize(end, 0),
                    Of::Unknown => {
                        prop_assert!(!known(start), "it begins with what is nobody's");
                        for other in &others {
                            let differs = |(found, other): (&u8, Option<&u8>)| Some(found) != other;
                            let here = (start..end).map(|at| (&found[at], other.get(at))).map(differs);
                            let runs = here.collect::<Vec<_>>();
                            prop_assert!(runs.split(|differs| *differs).all(|run| run.len() < KNOWN_AGAIN));
                        }
                        made.extend_from_slice(&found[start..end]);
                    }
                }
            }
            prop_assert_eq!(made, found);
        }
    }
}
