//! The file format of `workload.toml`, and what is wrong with a file, by line and column.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use checker::Wanted;
use serde::Deserialize;
use toml::Spanned;

use crate::{Error, IgnorePattern, READY, Server, near};

/// `workload.toml` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Manifest {
    pub(crate) description: Option<String>,
    pub(crate) build: Option<Spanned<Vec<String>>>,
    pub(crate) setup: Option<Spanned<Vec<String>>>,
    pub(crate) command: Spanned<Vec<String>>,
    pub(crate) from: Option<Spanned<PathBuf>>,
    #[serde(default)]
    pub(crate) ignore: Vec<IgnorePattern>,
    #[serde(default)]
    pub(crate) invariant: Vec<Wanted>,
    pub(crate) check: Option<Spanned<Vec<String>>>,
    pub(crate) recover: Option<Spanned<Vec<String>>>,
    pub(crate) time_limit: Option<Spanned<u64>>,
    #[serde(default)]
    pub(crate) env: BTreeMap<Spanned<String>, Spanned<String>>,
    pub(crate) at: Option<Spanned<OneOrMore>>,
    pub(crate) server: Option<Spanned<Server>>,
    pub(crate) explore_from: Option<Spanned<ExploreFrom>>,
}

/// What is waited for before any crash is explored: one of the two.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct ExploreFrom {
    ack: Option<String>,
    server: Option<String>,
}

impl ExploreFrom {
    /// What is printed then.
    pub(crate) fn text(self) -> String {
        self.ack.unwrap_or_else(|| READY.to_owned())
    }

    fn problem(&self, has_server: bool) -> Option<&'static str> {
        match (self.ack.as_deref(), self.server.as_deref()) {
            (Some(""), None) => Some("`explore-from` names no text"),
            (Some(_), None) => None,
            (None, Some("ready")) if has_server => None,
            (None, Some("ready")) => Some("`explore-from` waits for a server, and there is no [server]"),
            _ => Some("`explore-from` is either { ack = \"TEXT\" } or { server = \"ready\" }"),
        }
    }
}

/// A path, or a list of paths.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a path or a list of paths")]
pub(crate) enum OneOrMore {
    One(PathBuf),
    More(Vec<PathBuf>),
}

impl OneOrMore {
    pub(crate) fn into_paths(self) -> Vec<PathBuf> {
        match self {
            Self::One(path) => vec![path],
            Self::More(paths) => paths,
        }
    }

    fn paths(&self) -> &[PathBuf] {
        match self {
            Self::One(path) => std::slice::from_ref(path),
            Self::More(paths) => paths,
        }
    }
}

impl Manifest {
    /// Reads `text`, the content of `path`, and checks all that can be checked without looking at other files, save
    /// for `from`, which must be a directory in the workload's `directory`.
    pub(crate) fn parse(path: &Path, text: &str, directory: &Path) -> Result<Self, Error> {
        let wrong = |span: Range<usize>, message: String| at(path, text, span.start, message);
        let manifest: Self = toml::from_str(text).map_err(|error| {
            let message = one_line(error.message());
            let hint = meant(&message).map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
            wrong(error.span().unwrap_or(0..0), message + &hint)
        })?;

        if let Some(from) = &manifest.explore_from
            && let Some(problem) = from.get_ref().problem(manifest.server.is_some())
        {
            return Err(wrong(from.span(), problem.into()));
        }
        if let Some(server) = &manifest.server {
            let it = server.get_ref();
            if it.command.first().is_none_or(String::is_empty) || it.command.iter().any(|word| word.contains('\0')) {
                return Err(wrong(server.span(), "the `command` of [server] must name a program to run".into()));
            }
            if it.signal().is_none() {
                return Err(wrong(server.span(), format!("{:?} is the name of no signal: SIGTERM, say", it.stop)));
            }
        }
        let lists = [
            ("build", manifest.build.as_ref()),
            ("setup", manifest.setup.as_ref()),
            ("command", Some(&manifest.command)),
            ("check", manifest.check.as_ref()),
            ("recover", manifest.recover.as_ref()),
        ];
        for (key, list) in lists {
            let Some(list) = list else { continue };
            if list.get_ref().first().is_none_or(String::is_empty) {
                return Err(wrong(list.span(), format!("`{key}` is empty: it must name a program to run")));
            }
            if list.get_ref().iter().any(|word| word.contains('\0')) {
                return Err(wrong(list.span(), format!("`{key}` holds a NUL character, which no argument can")));
            }
        }
        if let Some(build) =
            manifest.build.as_ref().filter(|build| build.get_ref().iter().any(|it| it.contains("{run}")))
        {
            let message =
                "`build` holds {run}, and there is no such directory yet: it is made anew for setup and command";
            return Err(wrong(build.span(), message.into()));
        }
        if let Some(limit) = &manifest.time_limit
            && *limit.get_ref() == 0
        {
            return Err(wrong(limit.span(), "`time-limit` is 0: no program could run (seconds, at least 1)".into()));
        }
        for (name, value) in &manifest.env {
            if name.get_ref().is_empty() || name.get_ref().contains(['=', '\0']) {
                return Err(wrong(name.span(), format!("{:?} cannot be the name of a variable", name.get_ref())));
            }
            if value.get_ref().contains('\0') {
                return Err(wrong(value.span(), "a variable cannot hold a NUL character".into()));
            }
        }
        if let Some(at) = &manifest.at
            && let Some(path) = at.get_ref().paths().iter().find(|path| !path.is_absolute())
        {
            return Err(wrong(at.span(), format!("`at` is {}: it must be an absolute path", path.display())));
        }
        if let Some(from) = &manifest.from {
            check_from(from.get_ref(), directory).map_err(|reason| wrong(from.span(), reason))?;
        }
        Ok(manifest)
    }
}

/// The name that a misspelt one is most like, from a message that lists all that there are: serde's, of an unknown field
/// or variant, which has them in backquotes, the wrong one first.
fn meant(message: &str) -> Option<&str> {
    let mut names = message.split('`').skip(1).step_by(2);
    let wrong = names.next().filter(|_| message.starts_with("unknown "))?;
    let typed = wrong.to_lowercase().replace('_', "-");
    // The beginning of a name is meant for the whole.
    let begins = |name: &str| typed.len() > 2 && name.starts_with(&typed);
    let distance = |name: &str| if begins(name) { 0 } else { strsim::damerau_levenshtein(&typed, name) };
    let nearest = names.map(|name| (distance(name), name)).min_by_key(|(distance, _)| *distance);
    nearest.filter(|(distance, _)| *distance <= near::most_wrong(wrong)).map(|(_, name)| name)
}

/// `from` must mean the same wherever the workload lies: a directory below its own.
fn check_from(from: &Path, directory: &Path) -> Result<(), String> {
    if !from.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(format!("`from` is {}: it must be a relative path without `..`", from.display()));
    }
    let place = directory.join(from);
    match place.metadata() {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(format!("`from` is no directory: {}", place.display())),
        Err(error) => Err(format!("`from` cannot be read: {}: {error}", place.display())),
    }
}

/// The error at a byte offset of the text.
fn at(path: &Path, text: &str, offset: usize, message: String) -> Error {
    let offset = text.floor_char_boundary(offset);
    let before = &text[..offset];
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    let column = text[start..offset].chars().count() + 1;
    let text = text[start..].lines().next().unwrap_or_default().to_owned();
    Error::Manifest { path: path.to_owned(), line, column, text, message }
}

/// Messages of the TOML parser may span lines; the place is shown by [`Error::Manifest`] itself.
fn one_line(message: &str) -> String {
    message.lines().map(str::trim).collect::<Vec<_>>().join(", ")
}
