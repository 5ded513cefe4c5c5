//! From a directory or a command line to a [`Workload`].

use std::collections::BTreeMap;
use std::io::ErrorKind::{InvalidData, NotFound};
use std::path::{Path, PathBuf, absolute};
use std::time::Duration;

use toml::Spanned;

use crate::manifest::Manifest;
use crate::near::{MANIFEST, Near};
use crate::{DEFAULT_TIME_LIMIT, Error, Workload};

/// No `workload.toml` has more bytes. To parse one can take a hundred times that in memory.
pub const LARGEST_MANIFEST: u64 = 1 << 20;

impl Workload {
    /// Reads the workload in the directory `path`. Runs nothing.
    ///
    /// # Errors
    ///
    /// Nothing is at `path`, or no workload, or its `workload.toml` is wrong: see [`Error`]; all of kind
    /// [`ErrorKind::Input`](crate::ErrorKind::Input).
    pub fn load(path: &Path) -> Result<Self, Error> {
        let directory = match path.canonicalize() {
            Ok(directory) if directory.is_dir() => directory,
            Ok(_) => return Err(Error::NotADirectory { path: path.into() }),
            Err(source) if source.kind() == NotFound => {
                return Err(Error::NoSuchWorkload { path: path.into(), near: Near::beside(path) });
            }
            Err(source) => return Err(Error::Unreadable { path: path.into(), source }),
        };
        let manifest_path = path.join(MANIFEST);
        let not_text = |error: std::string::FromUtf8Error| std::io::Error::new(InvalidData, error.utf8_error());
        let read = files::read(&manifest_path, LARGEST_MANIFEST);
        let text = match read.and_then(|bytes| String::from_utf8(bytes).map_err(not_text)) {
            Ok(text) => text,
            Err(source) if source.kind() == NotFound => {
                return Err(Error::NoManifest { path: path.into(), near: Near::inside(path) });
            }
            Err(source) => return Err(Error::Unreadable { path: manifest_path, source }),
        };
        let manifest = Manifest::parse(&manifest_path, &text, &directory)?;
        Ok(Self {
            name: directory.file_name().unwrap_or(directory.as_os_str()).to_string_lossy().into_owned(),
            description: manifest.description,
            build: manifest.build.map(Spanned::into_inner),
            setup: manifest.setup.map(Spanned::into_inner),
            command: manifest.command.into_inner(),
            from: manifest.from.map(|from| directory.join(from.into_inner())),
            ignore: manifest.ignore,
            invariants: manifest.invariant,
            check: manifest.check.map(Spanned::into_inner),
            recover: manifest.recover.map(Spanned::into_inner),
            time_limit: manifest.time_limit.map_or(DEFAULT_TIME_LIMIT, |limit| Duration::from_secs(limit.into_inner())),
            env: manifest.env.into_iter().map(|(name, value)| (name.into_inner(), value.into_inner())).collect(),
            at: manifest.at.into_iter().flat_map(|at| at.into_inner().into_paths()).collect(),
            explore_from: manifest.explore_from.map(|from| from.into_inner().text()),
            server: manifest.server.map(Spanned::into_inner),
            directory: Some(directory),
        })
    }

    /// A command line as it stands, run in a directory that begins with the content of `from`, or empty. Words in
    /// braces mean nothing here. A program given by a relative path is taken from the current directory.
    ///
    /// # Errors
    ///
    /// `command` is empty, or `from` is not a directory; of kind [`ErrorKind::Input`](crate::ErrorKind::Input).
    pub fn bare(mut command: Vec<String>, from: Option<&Path>) -> Result<Self, Error> {
        let program = command.first_mut().filter(|program| !program.is_empty()).ok_or(Error::NoCommand)?;
        let name = Path::new(program.as_str()).file_name().map_or(program.clone(), |n| n.to_string_lossy().into());
        if program.contains('/') {
            let path = absolute(&*program).map_err(|source| Error::Unreadable { path: (&*program).into(), source })?;
            *program = path.to_string_lossy().into_owned();
        }
        Ok(Self {
            name,
            description: None,
            directory: None,
            build: None,
            setup: None,
            command,
            from: from.map(start_directory).transpose()?,
            ignore: Vec::new(),
            invariants: Vec::new(),
            check: None,
            recover: None,
            time_limit: DEFAULT_TIME_LIMIT,
            env: BTreeMap::new(),
            at: Vec::new(),
            server: None,
            explore_from: None,
        })
    }
}

fn start_directory(path: &Path) -> Result<PathBuf, Error> {
    let failed = |reason: String| Error::From { path: path.into(), reason };
    let directory = path.canonicalize().map_err(|error| failed(error.to_string()))?;
    if directory.is_dir() { Ok(directory) } else { Err(failed("it is not a directory".into())) }
}
