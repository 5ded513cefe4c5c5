//! What was seen of a crash state.

use checker::{ByteRange, ByteSource, MoreSizes, Observed, SizeRange, ViewLines, ViewedAt};
use program::thousands;

use super::description::{description, error, unreadable};

/// What was seen.
pub fn observed(observed: &Observed) -> String {
    match observed {
        Observed::NoFile => "no such file".to_owned(),
        Observed::Other { is } => description(is),
        Observed::RegularFile { size } => format!("a regular file of {} bytes", thousands(*size)),
        Observed::Empty => "0 bytes".to_owned(),
        Observed::WrongSize { size, right, more } => {
            format!("{} bytes, where {} would be right", thousands(*size), sizes(right, *more))
        }
        Observed::EndsEarly { size, read } => {
            format!("{} bytes by its size, but it ends after {}", thousands(*size), thousands(*read))
        }
        Observed::Contents { size, ranges, cut } => {
            let unit = if *size == 1 { "byte" } else { "bytes" };
            format!("{} {unit}: {}", thousands(*size), contents(ranges, *cut))
        }
        Observed::LogTruncated { size, old } => {
            format!("{} bytes, where the {} from before the run must stay", thousands(*size), thousands(*old))
        }
        Observed::LogTorn { size, before, after } => {
            let ends = format!("at byte {} and at byte {}", thousands(*before), thousands(*after));
            format!("{} bytes, where records end {ends}", thousands(*size))
        }
        Observed::LogDamaged { size, from, zeros: true } => {
            format!("{} bytes: zeros from byte {} on", thousands(*size), thousands(*from))
        }
        Observed::LogDamaged { size, from, zeros: false } => {
            let (size, from) = (thousands(*size), thousands(*from));
            format!("{size} bytes: from byte {from} on, what was never written there")
        }
        Observed::Stale { is, promise, promised } => {
            format!("{}, where op {promise} promised {}", description(is), description(promised))
        }
        Observed::Partial { old, new } => format!("{old} is as before the run, {new} as after it"),
        Observed::Metadata { mode, owner, group } => {
            let mode = mode.map(|mode| format!("mode {:04o}, where it was {:04o}", mode.new, mode.old));
            let owner = owner.map(|owner| format!("owner {}, where it was {}", owner.new, owner.old));
            let group = group.map(|group| format!("group {}, where it was {}", group.new, group.old));
            mode.into_iter().chain(owner).chain(group).collect::<Vec<_>>().join("; ")
        }
        Observed::Incomplete { marker, is_new, path, kind, observed: seen, wrong, of } => {
            let time = if *is_new { "after" } else { "before" };
            let more = match *wrong {
                1 => String::new(),
                wrong => format!(
                    ", and {} of {} names are not as they should be",
                    thousands(wrong as u64),
                    thousands(*of as u64)
                ),
            };
            // One level, whatever a report says.
            let seen = match &**seen {
                Observed::Incomplete { .. } => String::new(),
                seen => format!(": {}", self::observed(seen)),
            };
            format!("{marker} is as {time} the run, but {path} is {kind}{seen}{more}")
        }
        Observed::Leftover => "a name that is there neither before nor after the run".to_owned(),
        Observed::Unreadable { what } => unreadable(what),
        Observed::Nonsense { why } => why.to_string(),
        Observed::NotMounted { errno } => format!("mount fails ({})", error(*errno)),
        Observed::GuestDied { reason } => reason.clone(),
        Observed::Check { ended, message, earliest_acks } => {
            format!("{ended}: {message}{}", only_earliest(*earliest_acks))
        }
        Observed::NoWholeTree { path, earliest_acks } => {
            format!("{path} cannot be read, so the check has no whole tree{}", only_earliest(*earliest_acks))
        }
        Observed::View { shows, right, line, killed } => view(shows, right.as_ref(), *line, killed.as_ref()),
        Observed::Text { text } => text.clone(),
    }
}

/// What a view shows and should show; of the output, the first line that differs.
fn view(shows: &ViewLines, right: Option<&ViewLines>, line: usize, killed: Option<&ViewedAt>) -> String {
    let mut text = match killed {
        Some(at) => format!("killed {}, the program shows this: ", viewed_at(at)),
        None => String::new(),
    };
    let number = thousands(line as u64);
    let same_end = right.is_some_and(|right| right.ended == shows.ended);
    let ended = (!same_end).then(|| shows.ended.clone());
    let output = match shows.lines.first() {
        Some(first) => Some(format!("line {number} is {first:?}")),
        None => same_end.then(|| format!("it ends before line {number}")),
    };
    text += &ended.into_iter().chain(output).collect::<Vec<_>>().join("; ");
    if let Some(at) = &shows.at {
        text += &format!(", as {}", viewed_at(at));
    }
    let Some(right) = right else { return text };
    text += ", where ";
    text += &match right.lines.first() {
        Some(first) => format!("{first:?} is right"),
        None => "nothing is right".to_owned(),
    };
    if let Some(at) = &right.at {
        text += &format!(", as {}", viewed_at(at));
    }
    text
}

/// When a view was looked through.
fn viewed_at(ViewedAt { op, written, end }: &ViewedAt) -> String {
    match (op, written) {
        (None, _) => "before the first op".to_owned(),
        _ if *end => "after the end".to_owned(),
        (Some(op), None) => format!("after op {op}"),
        (Some(op), Some(written)) => format!("in op {op}, after {} bytes", thousands(*written)),
    }
}

fn only_earliest(acks: bool) -> &'static str {
    if acks { " (if only the acks of the earliest point are taken as given)" } else { "" }
}

/// `3 or 8`; many of them in short: `3 or 8 or one of 17 more up to 900`.
fn sizes(right: &[SizeRange], more: Option<MoreSizes>) -> String {
    let text = |range: &SizeRange| match range.last {
        Some(last) if last == range.first => thousands(last),
        Some(last) => format!("{} to {}", thousands(range.first), thousands(last)),
        None => format!("{} and more", thousands(range.first)),
    };
    let mut texts: Vec<String> = right.iter().map(text).collect();
    texts.extend(more.map(|more| format!("one of {} more up to {}", more.ranges, thousands(more.up_to))));
    texts.join(" or ")
}

/// Whose bytes stand where.
fn contents(ranges: &[ByteRange], cut: bool) -> String {
    let shown = match ranges {
        // Where a log is right up to what is wrong, only that is told.
        [ByteRange { of: ByteSource::Written, .. }, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    let last = if cut { None } else { shown.last() };
    if let ([ByteRange { start: 0, of, whole: true, .. }, zeros], false) = (shown, cut)
        && zeros.of == ByteSource::Zeros
    {
        let whose = match of {
            ByteSource::Old => "the old content",
            ByteSource::New => "the new content",
            _ => "the content of a version in between",
        };
        return format!("{whose}, then zeros from byte {} on", thousands(zeros.start));
    }
    let mut texts: Vec<String> = Vec::new();
    for range in shown {
        let start = thousands(range.start);
        let to_the_end = last == Some(range);
        let place = match range.end.saturating_sub(range.start) {
            1 => format!("byte {start}"),
            _ => format!("bytes {start}–{}", thousands(range.end.saturating_sub(1))),
        };
        texts.push(match range.of {
            ByteSource::Old => format!("old {place}"),
            ByteSource::New => format!("new {place}"),
            ByteSource::Between => format!("{place} of a version in between"),
            ByteSource::Written => format!("{place} as written"),
            ByteSource::Zeros if to_the_end => format!("zeros from byte {start} on"),
            ByteSource::Zeros => place.replacen("bytes ", "zeros ", 1).replacen("byte ", "a zero at byte ", 1),
            ByteSource::Unknown if to_the_end && texts.is_empty() => {
                format!("from byte {start} on, what was never written there")
            }
            ByteSource::Unknown if to_the_end => format!("from byte {start} on what was never written there"),
            ByteSource::Unknown => format!("what was never written there in {place}"),
        });
    }
    if cut {
        texts.push("…".to_owned());
    }
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_words() {
        let range = |first, last| SizeRange { first, last };
        let few = [0, 10, 20, 30].map(|size| range(size, Some(size)));
        let texts = [
            sizes(&[range(5, Some(5))], None),
            sizes(&[range(1234, None)], None),
            sizes(&[range(3, Some(9))], None),
            sizes(&[range(2, Some(2)), range(9, Some(9))], None),
            sizes(&few, Some(MoreSizes { ranges: 16, up_to: 190 })),
        ];
        insta::assert_snapshot!(
            texts.join("\n"),
            @r"
        5
        1,234 and more
        3 to 9
        2 or 9
        0 or 10 or 20 or 30 or one of 16 more up to 190
        "
        );
    }
}
