//! Which names were made by a generator of random ones: mkstemp(3), mktemp(1), Python's and Rust's `tempfile`, Go's
//! `os.CreateTemp` and `os.MkdirTemp`, and Git's, for its objects and packs.

use std::ops::Range;

use program::{Call, Op};

/// The name that an op makes as generators of temporary names do, and which part of it such a generator draws.
///
/// Files: new, to be read and written by their owner alone, as mkstemp(3) and Python's and Rust's `tempfile` open them.
/// Directories: for their owner alone, as mkdtemp(3) makes them.
pub(super) fn made(op: &Op) -> Option<(&[u8], Range<usize>)> {
    const EXCLUSIVE: u32 = (libc::O_RDWR | libc::O_CREAT | libc::O_EXCL) as u32;
    let path = match &op.call {
        // For everybody to read from the start.
        Call::Open { path, flags, .. } if flags & EXCLUSIVE == EXCLUSIVE && is_git(path.name()) => path,
        Call::Open { path, flags, mode, .. } if flags & EXCLUSIVE == EXCLUSIVE && mode & !0o600 == 0 => path,
        Call::Mkdir { path, mode } if mode & !0o700 == 0 => path,
        _ => return None,
    };
    let name = path.name();
    Some((name, random_part(name)?)).filter(|_| op.result >= 0)
}

/// Which part of a name one of the generators would have drawn.
fn random_part(name: &[u8]) -> Option<Range<usize>> {
    let is_alphanumeric = |part: &[u8]| part.iter().all(u8::is_ascii_alphanumeric);
    if is_python(name) {
        return Some(PYTHON);
    }
    // mktemp(1): `tmp.` and 10 of [A-Za-z0-9].
    if name.strip_prefix(b"tmp.").is_some_and(|part| part.len() == 10 && is_alphanumeric(part)) {
        return Some(4..14);
    }
    if let Some(part) = go(name) {
        return Some(part);
    }
    // mkstemp(3), mkdtemp(3): anything, and 6 of [A-Za-z0-9]; Rust's: `.tmp`, and the same.
    let start = name.len().checked_sub(6)?;
    is_alphanumeric(&name[start..]).then_some(start..name.len())
}

/// How long a random part is at most: a UUID, and a number or two.
pub(super) const LONGEST: usize = 64;

/// Which part of `name` is another in each run, by its looks, if it stands beside that of the file which it is to replace, `target`:
/// process ids, times, hexadecimal or any other digits in `config.json.48213.tmp`, `.config.json-1f09c2` or `data.1764537600.json`.
///
/// All from the first such word to the last, on the right of the file's own name, or else on the left.
pub(super) fn beside(name: &[u8], target: &[u8]) -> Option<Range<usize>> {
    let stem = |own: &[u8]| name.windows(own.len()).position(|place| place == own).map(|at| at..at + own.len());
    let dot = target.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 2);
    let own = stem(target).or_else(|| stem(&target[..dot?]))?;
    let words = |part: Range<usize>| {
        let drawn: Vec<Range<usize>> =
            words(name, part).filter(|word| is_another_each_time(&name[word.clone()])).collect();
        Some(drawn.first()?.start..drawn.last()?.end)
    };
    words(own.end..name.len()).or_else(|| words(0..own.start)).filter(|part| part.len() <= LONGEST)
}

/// Where letters and digits follow each other in this part of a name.
fn words(name: &[u8], part: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut at = part.start;
    let runs = name[part].chunk_by(|one, next| one.is_ascii_alphanumeric() == next.is_ascii_alphanumeric());
    runs.filter_map(move |run| {
        at += run.len();
        run[0].is_ascii_alphanumeric().then_some(at - run.len()..at)
    })
}

/// A number of four digits or more that does not begin with 0, as one does that programs count by; or six letters and digits or more, mixed
/// as nobody writes them.
fn is_another_each_time(word: &[u8]) -> bool {
    if word.iter().all(u8::is_ascii_digit) {
        return word.len() >= 4 && word[0] != b'0';
    }
    let has = |kind: fn(&u8) -> bool| word.iter().any(kind);
    let kinds = [u8::is_ascii_uppercase, u8::is_ascii_lowercase, u8::is_ascii_digit];
    word.len() >= 6 && kinds.into_iter().filter(|kind| has(*kind)).count() >= 2 && !is_written(word)
}

/// What Python draws of a name.
const PYTHON: Range<usize> = 3..11;

/// Python's `tempfile`: `tmp` and 8 of [a-z0-9_], and maybe a suffix.
fn is_python(name: &[u8]) -> bool {
    let is_drawn = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_';
    name.starts_with(b"tmp")
        && name.get(PYTHON).is_some_and(|part| part.iter().all(is_drawn))
        && matches!(name.get(PYTHON.end), None | Some(b'.'))
}

/// Go: a number of 32 bits in a place that the program says. Of those that are drawn, one of 43 has fewer than 9 digits, as dates
/// have, and stays.
fn go(name: &[u8]) -> Option<Range<usize>> {
    let is_number = |word: &Range<usize>| (9..=10).contains(&word.len()) && name[word.start] != b'0';
    let mut at = 0;
    let runs = name.chunk_by(|one, next| one.is_ascii_digit() == next.is_ascii_digit()).map(|run| {
        at += run.len();
        at - run.len()..at
    });
    runs.filter(|run| name[run.start].is_ascii_digit() && is_number(run)).last()
}

/// Git: `tmp_obj_` and what mkstemp(3) draws, and the like of it.
fn is_git(name: &[u8]) -> bool {
    let drawn = [&b"tmp_obj_"[..], b"tmp_pack_", b"tmp_idx_"].iter().find_map(|prefix| name.strip_prefix(*prefix));
    drawn.is_some_and(|part| part.len() == 6 && part.iter().all(u8::is_ascii_alphanumeric))
}

/// Whether this is what [`number`](super::number) puts in the place of the random part.
pub(super) fn is_number(part: &[u8]) -> bool {
    part[0] == b'0' && part.iter().all(u8::is_ascii_digit)
}

/// Whether the part of a name was drawn indeed, and is nothing that a person would have written, or that follows from
/// something else.
///
/// A name without a mark of one of the libraries can only be judged by its looks. Some that were drawn are taken for
/// written ones then, and stay: that costs a reader two traces that differ, and no verdict.
pub(super) fn is_drawn(op: &Op, name: &[u8], random: &Range<usize>) -> bool {
    let part = &name[random.clone()];
    if is_number(part) {
        return false;
    }
    let is_file = matches!(op.call, Call::Open { .. });
    // Who makes a file in this way, with the default prefix of these two libraries, does not choose names.
    if is_git(name) || go(name).as_ref() == Some(random) {
        return true;
    }
    if is_file && (is_python(name) || name.len() == 10 && name.starts_with(b".tmp")) {
        return true;
    }
    let has = |kind: fn(&u8) -> bool| part.iter().any(kind);
    let kinds = [u8::is_ascii_uppercase, u8::is_ascii_lowercase, u8::is_ascii_digit];
    if kinds.into_iter().filter(|kind| has(*kind)).count() < 2 {
        return false;
    }
    let before = &name[..random.start];
    let stem = before.len() - before.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let stem = if before.ends_with(b"tmp") { random.start } else { stem };
    // Right behind a word, as in `sedXXXXXX`: the end of a digest (hexadecimal, of one case) looks no different, unless
    // the word is one and the part has what a digest has not.
    let is_apart = stem == random.start;
    let is_behind_word = name[stem..random.start].iter().all(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase);
    (is_apart || is_behind_word) && !is_written(&name[stem..random.end])
}

/// Whether letters and digits look like `journal2`, `undoLog`, `Backup`, `WAL001` or `01page`: words of two letters or more,
/// each with a capital at most at its start or all in capitals, and digits at the ends only.
fn is_written(word: &[u8]) -> bool {
    let is_letter = |byte: &u8| !byte.is_ascii_digit();
    let start = word.iter().position(is_letter).unwrap_or(word.len());
    let end = word.iter().rposition(is_letter).map_or(start, |last| last + 1);
    let mut words = word[start..end].chunk_by(|one, next| !(one.is_ascii_lowercase() && next.is_ascii_uppercase()));
    words.all(|word| {
        let all = |kind: fn(&u8) -> bool, letters: &[u8]| letters.iter().all(kind);
        let is_one = all(u8::is_ascii_uppercase, word)
            || word[0].is_ascii_alphabetic() && all(u8::is_ascii_lowercase, &word[1..]);
        word.len() > 1 && is_one
    })
}
