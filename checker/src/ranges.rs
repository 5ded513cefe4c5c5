//! What a file holds where it is none of its versions: whose bytes stand where.

use program::thousands;

use crate::found::{Allowed, Bytes, Origin};

/// Bytes that are nobody's end where so many are somebody's again. Fewer can be so by chance.
const KNOWN_AGAIN: usize = 16;

/// Whose bytes a range holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
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
    source: Source,
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
    Range { start, end: (start + 1..end).find(known_again).unwrap_or(end), source: Source::Unknown }
}

/// Whose bytes there are most of from `start` on. Of two with as many the one that comes first, zeros last.
fn longest(bytes: &Bytes<'_>, start: usize, end: usize, contents: &[Allowed]) -> (Source, usize) {
    let mut longest = (Source::Unknown, 0);
    let known = contents
        .iter()
        .enumerate()
        .map(|(index, allowed)| (Source::Content(index), bytes.common(start, end, &allowed.content)));
    for (source, length) in known.chain([(Source::Zeros, bytes.zeros(start, end))]) {
        if length > longest.1 {
            longest = (source, length);
        }
    }
    longest
}

/// The first `end` bytes of a file of `size` bytes in words: its size, and whose bytes stand where.
pub(crate) fn in_words(size: u64, bytes: &Bytes<'_>, end: usize, contents: &[Allowed]) -> String {
    /// As many as a reader can take in.
    const SHOWN: usize = 5;
    let mut shown: Vec<Range> = ranges(bytes, end, contents).take(SHOWN + 1).collect();
    let mut cut = (end as u64) < size;
    if shown.len() > SHOWN {
        shown.truncate(SHOWN);
        cut = true;
    }
    let unit = if size == 1 { "byte" } else { "bytes" };
    format!("{} {unit}: {}", thousands(size), text(&shown, cut, contents))
}

fn text(shown: &[Range], cut: bool, contents: &[Allowed]) -> String {
    let is_log =
        |range: &Range| matches!(range.source, Source::Content(index) if contents[index].origin == Origin::Log);
    let shown = match shown {
        // Where a log is right up to what is wrong, only that is told.
        [first, rest @ ..] if is_log(first) && !rest.is_empty() => rest,
        all => all,
    };
    let last = if cut { None } else { shown.last() };
    if let ([Range { start: 0, end, source: Source::Content(index) }, zeros], false) = (shown, cut)
        && zeros.source == Source::Zeros
        && contents[*index].content.len() == *end
    {
        let whose = match contents[*index].origin {
            Origin::Old => "the old content",
            Origin::New => "the new content",
            Origin::Between | Origin::Log => "the content of a version in between",
        };
        return format!("{whose}, then zeros from byte {} on", thousands(zeros.start as u64));
    }
    let mut texts: Vec<String> = Vec::new();
    for range in shown {
        let start = thousands(range.start as u64);
        let to_the_end = last == Some(range);
        let place = match range.end - range.start {
            1 => format!("byte {start}"),
            _ => format!("bytes {start}–{}", thousands(range.end as u64 - 1)),
        };
        texts.push(match range.source {
            Source::Content(index) => match contents[index].origin {
                Origin::Old => format!("old {place}"),
                Origin::New => format!("new {place}"),
                Origin::Between => format!("{place} of a version in between"),
                Origin::Log => format!("{place} as written"),
            },
            Source::Zeros if to_the_end => format!("zeros from byte {start} on"),
            Source::Zeros => place.replacen("bytes ", "zeros ", 1).replacen("byte ", "a zero at byte ", 1),
            Source::Unknown if to_the_end && texts.is_empty() => {
                format!("from byte {start} on, what was never written there")
            }
            Source::Unknown if to_the_end => format!("from byte {start} on what was never written there"),
            Source::Unknown => format!("what was never written there in {place}"),
        });
    }
    if cut {
        texts.push("…".to_owned());
    }
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::Sizes;

    fn allowed(origin: Origin, content: &[u8]) -> Allowed {
        Allowed { content: Arc::new(content.to_vec()), sizes: Sizes::only(content.len() as u64), origin }
    }

    fn words(found: &[u8], contents: &[Allowed]) -> String {
        in_words(found.len() as u64, &Bytes { head: found, tail: &[] }, found.len(), contents)
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
            in_words(1 << 20, &Bytes { head: &half[..100], tail: &half[100..] }, 4096, &saved),
            in_words(1, &Bytes { head: b"x", tail: &[] }, 1, &saved),
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
                    Source::Content(index) => made.extend_from_slice(&others[index][start..end]),
                    Source::Zeros => made.resize(end, 0),
                    Source::Unknown => {
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
