//! What a guest that had been given another read plan would have reported, as far as an observation says.
//!
//! An observation is kept with the plan that it was made under. Under another plan, which asks about other contents, the
//! same state need not be mounted again if what was read of it holds all that the other plan asks for.

use std::collections::BTreeMap;

use program::RelPath;

use crate::{CHUNK, Entry, EntryKind, Mount, Observation, ReadPlan, Reading, Seen};

/// The observation of the same crash state under the plan `new`, if the one made under the plan `old` holds enough.
///
/// # Errors
/// It does not: the path of the first file of which more must be read.
pub fn reread(observation: &Observation, old: &ReadPlan, new: &ReadPlan) -> Result<Observation, RelPath> {
    if observation.mount != Mount::Mounted || old == new {
        return Ok(observation.clone());
    }
    let again = |(path, entry): (&RelPath, &Entry)| {
        let mut entry = entry.clone();
        if let EntryKind::File { size, seen } = &mut entry.kind {
            *seen = Known::of(seen, *size, old).and_then(|known| known.read(path, *size, new)).ok_or(path.clone())?;
        }
        Ok((path.clone(), entry))
    };
    let entries: Result<BTreeMap<RelPath, Entry>, RelPath> = observation.entries.iter().map(again).collect();
    Ok(Observation { mount: observation.mount.clone(), entries: entries? })
}

/// What is known of a file's content: its beginning, in two parts, and what comes after it.
struct Known<'a> {
    head: &'a [u8],
    tail: &'a [u8],
    after: After,
}

/// What comes after the part of a file that is known.
#[derive(Clone, Copy)]
enum After {
    /// Nothing: reading came to its end there.
    End,
    /// Reading fails there with this errno.
    Fails(i32),
    /// Nobody has looked.
    Unknown,
}

impl<'a> Known<'a> {
    /// What was seen of a file of `size` bytes along `read_plan`; `None` if the observation contradicts the plan.
    fn of(seen: &'a Seen, size: u64, read_plan: &'a ReadPlan) -> Option<Self> {
        let longest = |candidates: &[u32]| -> Option<&'a [u8]> {
            let contents = candidates.iter().map(|index| read_plan.contents.get(*index as usize));
            contents.map(|content| content.map(|content| content.as_slice())).max_by_key(|it| it.map(<[u8]>::len))?
        };
        let before = |candidates: &[u32], offset: u64| match offset {
            0 => Some(&[][..]),
            _ => longest(candidates)?.get(..usize::try_from(offset).ok()?),
        };
        let known = |head: &'a [u8], tail: &'a [u8]| {
            let all = (head.len() + tail.len()) as u64;
            Self { head, tail, after: if all >= size { After::End } else { After::Unknown } }
        };
        Some(match seen {
            Seen::NotRead => known(&[], &[]),
            Seen::Equals { candidates } => {
                let content = longest(candidates)?;
                known(&content[..content.len().min(usize::try_from(size).unwrap_or(usize::MAX))], &[])
            }
            Seen::Differs { candidates, offset, chunk } => {
                let known = known(before(candidates, *offset)?, chunk);
                // The file ends earlier than its size says.
                if chunk.is_empty() { Self { after: After::End, ..known } } else { known }
            }
            Seen::Failed { candidates, offset, errno } => match before(candidates, *offset) {
                Some(head) => Self { head, tail: &[], after: After::Fails(*errno) },
                // It was read whole, compared with nothing: what came before the error was not kept.
                None => Self { head: &[], tail: &[], after: After::Unknown },
            },
            Seen::Bytes(content) => Self { head: content, tail: &[], after: After::End },
        })
    }

    /// The bytes from `offset` on, at most [`CHUNK`] of them: what reading there gives, or the errno that it fails with.
    /// `None` if that is not known.
    fn chunk(&self, offset: u64) -> Option<Result<Vec<u8>, i32>> {
        let offset = usize::try_from(offset).ok()?;
        let length = self.head.len() + self.tail.len();
        let bytes = self.head.iter().chain(self.tail).skip(offset).take(CHUNK).copied();
        match self.after {
            _ if offset + CHUNK <= length => Some(Ok(bytes.collect())),
            After::End => Some(Ok(bytes.collect())),
            After::Fails(errno) if offset >= length => Some(Err(errno)),
            After::Fails(_) | After::Unknown => None,
        }
    }

    /// What the agent reports of the file at `path` along `read_plan`: it reads files up to [`ReadPlan::read_all_up_to`] whole,
    /// and others as far as their candidates ask.
    fn read(&self, path: &RelPath, size: u64, read_plan: &ReadPlan) -> Option<Seen> {
        if read_plan.read_all_up_to >= size && read_plan.read_all_up_to > 0 {
            return match self.after {
                After::End => Some(Seen::Bytes([self.head, self.tail].concat().into())),
                After::Fails(errno) => {
                    let offset = (self.head.len() + self.tail.len()) as u64;
                    Some(Seen::Failed { candidates: Vec::new(), offset, errno })
                }
                After::Unknown => None,
            };
        }
        let Some(mut reading) = Reading::begin(read_plan, path, size) else { return Some(Seen::NotRead) };
        while let Some(offset) = reading.next_offset() {
            match self.chunk(offset)? {
                Ok(chunk) => {
                    if let Some(seen) = reading.feed(&chunk) {
                        return Some(seen);
                    }
                }
                Err(errno) => return Some(reading.fail(errno)),
            }
        }
        Some(reading.finish())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::{Candidate, Sizes};

    /// A disk's file, as the agent would read it: its bytes, the size that stat shows, and where reading fails.
    #[derive(Clone, Debug)]
    struct File {
        bytes: Vec<u8>,
        fails_at: Option<u64>,
    }

    /// Reads a file along a read plan, as vm-images/agent/src/observe.rs does.
    fn read(file: &File, read_plan: &ReadPlan) -> Seen {
        let path = RelPath::from("f");
        let size = file.bytes.len() as u64;
        let chunk = |offset: u64| match file.fails_at {
            // No file system looks at the disk for what lies beyond the size (mm/filemap.c, `filemap_read`).
            Some(at) if offset >= at && offset < size => Err(5),
            _ => Ok(file.bytes.iter().skip(offset as usize).take(CHUNK).copied().collect::<Vec<u8>>()),
        };
        if read_plan.read_all_up_to >= size && read_plan.read_all_up_to > 0 {
            let mut all = Vec::new();
            loop {
                match chunk(all.len() as u64) {
                    Ok(more) if more.is_empty() => return Seen::Bytes(Arc::new(all)),
                    Ok(more) => all.extend(more),
                    Err(errno) => return Seen::Failed { candidates: vec![], offset: all.len() as u64, errno },
                }
            }
        }
        let Some(mut reading) = Reading::begin(read_plan, &path, size) else { return Seen::NotRead };
        while let Some(offset) = reading.next_offset() {
            match chunk(offset) {
                Ok(chunk) => {
                    if let Some(seen) = reading.feed(&chunk) {
                        return seen;
                    }
                }
                Err(errno) => return reading.fail(errno),
            }
        }
        reading.finish()
    }

    fn observed(seen: Seen, size: u64) -> Observation {
        let kind = EntryKind::File { size, seen };
        let entry = Entry { kind, mode: 0o644, uid: 0, gid: 0, links: 1, same_as: None };
        Observation { mount: Mount::Mounted, entries: [(RelPath::from("f"), entry)].into() }
    }

    /// Contents whose chunks are of few kinds, so that many begin alike.
    fn content() -> impl Strategy<Value = Vec<u8>> {
        (prop::collection::vec(0..2u8, 0..4), 0..3usize).prop_map(|(chunks, cut)| {
            let mut bytes: Vec<u8> = chunks.iter().flat_map(|&byte| vec![byte; CHUNK]).collect();
            bytes.truncate(bytes.len().saturating_sub(cut * 1500));
            bytes
        })
    }

    fn read_plan() -> impl Strategy<Value = ReadPlan> {
        let limit = prop_oneof![Just(0), Just(5000), Just(1 << 20)];
        (prop::collection::vec(content(), 0..4), limit).prop_map(|(contents, read_all_up_to)| {
            let whole = |(index, content): (u32, &Vec<u8>)| Candidate {
                content: index,
                sizes: Sizes::between(0, content.len() as u64 + 3000),
            };
            let files = (0..).zip(&contents).map(whole).collect();
            let contents = contents.iter().cloned().map(Arc::new).collect();
            ReadPlan { contents, files: [(RelPath::from("f"), files)].into(), read_all_up_to }
        })
    }

    fn file() -> impl Strategy<Value = File> {
        (content(), prop::option::of(0..4u64)).prop_map(|(bytes, fails_at)| {
            let fails_at = fails_at.map(|chunk| chunk * CHUNK as u64);
            File { bytes, fails_at }
        })
    }

    proptest! {
        /// Whatever is said without looking is what looking would show; and where nothing more is asked, it is said.
        #[test]
        fn what_is_reread_is_what_would_be_read(file in file(), old in read_plan(), new in read_plan()) {
            let size = file.bytes.len() as u64;
            let (before, after) = (observed(read(&file, &old), size), observed(read(&file, &new), size));
            if let Ok(reread) = reread(&before, &old, &new) {
                prop_assert_eq!(reread, after);
            }
            let narrower = ReadPlan { files: BTreeMap::new(), read_all_up_to: 0, ..old.clone() };
            let bare = observed(Seen::NotRead, size);
            prop_assert_eq!(super::reread(&before, &old, &narrower), Ok(bare));
            prop_assert_eq!(super::reread(&before, &old, &old), Ok(before));
        }

        /// Who has read all of it needs to look at nothing again.
        #[test]
        fn what_was_read_whole_covers_every_plan(file in file(), old in read_plan(), new in read_plan()) {
            let old = ReadPlan { read_all_up_to: 1 << 20, ..old };
            let file = File { fails_at: None, ..file };
            let size = file.bytes.len() as u64;
            let before = observed(read(&file, &old), size);
            prop_assert_eq!(super::reread(&before, &old, &new), Ok(observed(read(&file, &new), size)));
        }
    }
}
