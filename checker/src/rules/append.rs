//! Logs: files that are only appended to.

use program::{Content, RelPath, State};

use super::RuleError;
use super::file::FileRules;
use crate::found::{Allowed, Bytes, Found, Origin, Right};
use crate::{CHUNK, GarbageTail, Invariant, Kind, Observed, Record, Sizes};

/// What a log may be after a crash.
#[derive(Clone, Debug)]
pub(super) struct Append {
    pub right: Right,
    /// All sizes that may be right.
    sizes: Sizes,
    /// How long it was before the run, bytes.
    old: u64,
}

impl Append {
    /// `file` must hold every content that the log had.
    pub fn new(
        path: &RelPath,
        file: &FileRules,
        record: Option<Record>,
        tail: Option<GarbageTail>,
    ) -> Result<Self, RuleError> {
        let (old, others) = match file.old() {
            Some(State::File(old)) => (old.clone(), vec![]),
            Some(State::Absent) => (Content::default(), vec![State::Absent]),
            _ => return Err(RuleError::NotAFile { invariant: Invariant::AppendOnly, path: path.clone() }),
        };
        let steps = file.timeline.steps();
        let last = steps.last().and_then(|step| file.timeline.bytes(&step.point));
        let last = last.filter(|last| last.starts_with(&old));
        let last = last.ok_or_else(|| RuleError::NotAppended { path: path.clone() })?;
        let files = match (tail, record) {
            (Some(GarbageTail::Dropped), _) => {
                vec![Allowed { content: old.clone(), sizes: Sizes::from(old.len() as u64), origin: Origin::Log }]
            }
            (None, record) => {
                if let Some(record) = record
                    && !ends(last, old.len(), Some(record)).contains(last.len() as u64)
                {
                    return Err(RuleError::OpenRecord { path: path.clone(), record, size: last.len() as u64 });
                }
                let contents = (0..file.timeline.chains()).map(|chain| file.timeline.content(chain));
                let grown = contents.filter(|content| content.starts_with(&old));
                let allowed = |content: Content| Allowed {
                    sizes: ends(&content, old.len(), record),
                    content,
                    origin: Origin::Log,
                };
                grown.map(allowed).collect()
            }
        };
        let sizes = files.iter().fold(Sizes::default(), |all, allowed: &Allowed| all.union(&allowed.sizes));
        Ok(Self { right: Right { files, others }, sizes, old: old.len() as u64 })
    }

    pub fn judge(&self, found: &Found<'_>) -> Option<(Kind, Observed)> {
        let wrong = self.right.judge(found)?;
        let Found::File { size, ref bytes } = *found else { return Some(wrong) };
        if matches!(wrong.0, Kind::ZeroFilled | Kind::Garbage) {
            return Some(self.damage(size, bytes));
        }
        if wrong.0 != Kind::WrongLength || self.sizes.contains(size) {
            return Some(wrong);
        }
        Some(match self.sizes.around(size) {
            _ if size < self.old => (Kind::Truncated, Observed::LogTruncated { size, old: self.old }),
            (Some(before), Some(after)) => (Kind::TornRecord, Observed::LogTorn { size, before, after }),
            _ => wrong,
        })
    }
}

impl Append {
    /// A log is told apart from the first wrong byte on: what follows it is wrong too, whatever it looks like.
    fn damage(&self, size: u64, bytes: &Bytes<'_>) -> (Kind, Observed) {
        let fit = || self.right.files.iter().filter(|allowed| allowed.sizes.contains(size)).map(|it| &it.content);
        let from = fit().map(|content| bytes.common(0, bytes.len(), content)).max().unwrap_or(0);
        // As far as a guided reading goes, too.
        let reach = fit().map(|content| content.len()).max().unwrap_or(0);
        let end = ((from / CHUNK + 1) * CHUNK).min(reach).min(size as usize);
        let zeros = bytes.get(from, end).iter().all(|&byte| byte == 0);
        let kind = if zeros { Kind::ZeroFilled } else { Kind::Garbage };
        (kind, Observed::LogDamaged { size, from: from as u64, zeros })
    }
}

/// Where `content` can be cut behind its first `old` bytes without cutting a record.
fn ends(content: &[u8], old: usize, record: Option<Record>) -> Sizes {
    let (start, end) = (old as u64, content.len() as u64);
    match record {
        None => Sizes::between(start, end),
        Some(Record::Line) => {
            let lines = content.iter().enumerate().skip(old).filter(|(_, byte)| **byte == b'\n');
            std::iter::once(start).chain(lines.map(|(index, _)| index as u64 + 1)).collect()
        }
        Some(Record::Bytes(length)) => {
            let count = (end - start) / length.get();
            (0..=count).map(|number| start + number * length.get()).collect()
        }
    }
}
