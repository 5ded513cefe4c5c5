//! What is asked of a command for which nobody asks for anything: chosen file by file, by what the command does to it.
//!
//! In this order, for each file that the command changed:
//!
//! 1. Formats that recover by themselves own their files ([`formats`]): what counts is what their reader makes of them,
//!    which is a view. Where there is no such reader here, nobody can tell.
//! 2. Made from another file that is then removed ([`pairs`]): at every moment one of the two is whole.
//! 3. Replaced, made anew, removed, or emptied and written: `atomic-replace`.
//! 4. Only appended to: `append-only`, with lines for records if that is what was appended.
//! 5. Changed in place, and the command writes no other file: `atomic-replace`. What is complete says
//!    [`crate::ends`](crate::ends::ends).
//! 6. Changed in place beside other files: what a reader makes of them together is not known (a journal, a log, an index),
//!    and either answer would be a guess.
//!
//! Files that matter to nobody, by their format ([`scratch`]) or because the user says so, are in none of these, and none
//! of them counts as another file.

use std::collections::BTreeSet;

use program::{History, RelPath, State, Trace, Version};
use serde::{Deserialize, Serialize};

use self::changes::{Changes, Done};
use self::formats::Owners;
pub use self::formats::{Format, scratch};
use crate::observed::shown;
use crate::{Record, View, Wanted};

mod changes;
mod formats;
mod pairs;
mod recovering;

/// What is asked of a command that names neither an invariant nor a view, and has no check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// The invariants, built-in views among them.
    pub wanted: Vec<Wanted>,
    /// The files of which nobody can tell whether a crash state is right.
    pub unjudged: Vec<Unjudged>,
}

/// A changed file that no rule can be held against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
pub struct Unjudged {
    /// The file.
    pub path: String,
    /// Why.
    #[serde(flatten)]
    pub why: Why,
}

/// Why no rule can be held against a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum Why {
    /// It is changed in place, and the command writes other files, too.
    ChangedBeside {
        /// The first of them; none if it has no name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        beside: Option<String>,
        /// How many more there are.
        more: usize,
    },
    /// Its format recovers by itself, and there is no built-in view for that.
    Recovers {
        /// The format.
        format: Format,
    },
    /// What recovers it finds nothing to read even where nothing crashed: it is encrypted, perhaps.
    Unreadable {
        /// What was said.
        problem: String,
    },
}

impl Defaults {
    /// Chooses. `history` is that of `trace`; `no_data` are names that matter to nobody.
    pub fn new(trace: &Trace, history: &History, no_data: &BTreeSet<RelPath>) -> Self {
        let owners = Owners::new(history);
        let changes = Changes::new(trace);
        let mut defaults = Self::default();
        let mut pairs = pairs::pairs(history, &changes, |path| no_data.contains(path) || owners.of(path).is_some());
        for path in history.changed().into_iter().filter(|path| !no_data.contains(path)) {
            if let Some(owner) = owners.of(&path) {
                defaults.give_to(owner);
                continue;
            }
            if let Some(pair) = pairs.iter_mut().find(|pair| pair.has(&path)) {
                defaults.wanted.extend(pair.take());
                continue;
            }
            let wanted = match Manner::of(history.versions(&path), &changes.of(&path)) {
                Manner::Replaced => Wanted::AtomicReplace { path },
                Manner::Appended(record) => Wanted::AppendOnly { path, record, garbage_tail: None },
                Manner::InPlace => {
                    let mut others = changes.written_beside(&path, no_data);
                    match others.next() {
                        None => Wanted::AtomicReplace { path },
                        Some(other) => {
                            let why = Why::ChangedBeside { beside: other.map(shown), more: others.count() };
                            defaults.unjudged.push(Unjudged { path: shown(&path), why });
                            continue;
                        }
                    }
                }
            };
            defaults.wanted.push(wanted);
        }
        defaults
    }

    /// Takes back a view that was chosen, but sees nothing even where nothing crashed.
    pub fn give_up(&mut self, view: &View, problem: &str) {
        self.wanted.retain(|wanted| !matches!(wanted, Wanted::View(other) if other == view));
        let why = Why::Unreadable { problem: problem.into() };
        self.unjudged.push(Unjudged { path: shown(&view.about()), why });
    }

    fn give_to(&mut self, (format, owner): (Format, &RelPath)) {
        let Some(view) = format.view(owner) else {
            // It is one thing, of however many files.
            let unjudged = Unjudged { path: shown(owner), why: Why::Recovers { format } };
            if !self.unjudged.contains(&unjudged) {
                self.unjudged.push(unjudged);
            }
            return;
        };
        let view = Wanted::View(view);
        if !self.wanted.contains(&view) {
            self.wanted.push(view);
        }
    }
}

/// In which manner a file is changed.
#[derive(Debug, PartialEq)]
enum Manner {
    /// Something takes its place, or it is emptied first, or it is there only before or only after.
    Replaced,
    /// What was there stays, and more comes behind it.
    Appended(Option<Record>),
    /// What was there is overwritten, or cut, where it lies.
    InPlace,
}

impl Manner {
    fn of(versions: &[Version], done: &Done) -> Self {
        let content = |version: Option<&'_ Version>| version.and_then(|version| version.state.content().cloned());
        let (Some(old), Some(new)) = (content(versions.first()), content(versions.last())) else {
            return Self::Replaced;
        };
        if done.bound || done.emptied {
            return Self::Replaced;
        }
        if done.overwritten {
            return Self::InPlace;
        }
        match new.strip_prefix(old.as_slice()) {
            Some(appended) if done.appended && !appended.is_empty() => Self::Appended(record(appended)),
            // Written over with what it held already.
            _ => Self::Replaced,
        }
    }
}

/// What the records of a log are to which this was appended: lines, if it consists of whole lines of text.
fn record(appended: &[u8]) -> Option<Record> {
    let is_lines = appended.ends_with(b"\n") && std::str::from_utf8(appended).is_ok();
    is_lines.then_some(Record::Line)
}

/// Whether a name stands for a regular file in any of these versions.
fn any_file(versions: &[Version], is: impl Fn(&[u8]) -> bool) -> bool {
    let content = |version: &Version| matches!(&version.state, State::File(content) if is(content));
    versions.iter().any(content)
}

#[cfg(test)]
mod tests;
