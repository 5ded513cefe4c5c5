//! From an argument list as written to a program that can be started.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use nix::unistd::{AccessFlags, access};
use program::CommandLine;

use crate::run::{End, Heard, Keep, Limit};
use crate::target::target_directory;
use crate::{Error, Step, Workload};

/// A program to start, with everything filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// Which step it is.
    pub step: Step,
    /// The executable file, absolute.
    pub program: PathBuf,
    /// All arguments, the program's name as it was written first; never empty.
    pub argv: Vec<String>,
    /// Environment variables to set besides those that the harness has itself.
    pub env: BTreeMap<String, OsString>,
    /// The directory to run in, absolute.
    pub directory: PathBuf,
    /// Where that appears to the program, too.
    pub at: Vec<PathBuf>,
}

impl Invocation {
    /// Runs it without input until it ends, within `limit`, or until `stop` is set; nothing that it started is
    /// left behind. Gives the end of what it printed, too.
    ///
    /// # Errors
    ///
    /// It could not be started.
    pub fn run(&self, limit: Option<Limit>, stop: &AtomicBool) -> io::Result<(End, String)> {
        crate::run::run(self, limit, stop, Keep::End)
    }

    /// The same, but gives all that it printed, up to 1 MiB: of more, the middle is left out.
    ///
    /// # Errors
    ///
    /// It could not be started.
    pub fn run_and_hear(&self, limit: Option<Limit>, stop: &AtomicBool) -> io::Result<(End, String)> {
        crate::run::run(self, limit, stop, Keep::Whole)
    }

    /// Runs it with `input` on its standard input, and gives all that it printed on standard output, if that is at most
    /// `longest` bytes; and what it printed on standard error, as [`Invocation::run_and_hear`] does.
    ///
    /// # Errors
    ///
    /// It could not be started.
    pub fn run_and_read(
        &self,
        input: &[u8],
        longest: u64,
        limit: Option<Limit>,
        stop: &AtomicBool,
    ) -> io::Result<Heard> {
        crate::run::read(self, input, longest, limit, stop)
    }

    /// What may be wrong if this program failed: an argument names a file that lies elsewhere than where the program
    /// runs. `elsewhere` is the workload's directory; for a bare command, the current one.
    pub fn hint(&self, elsewhere: Option<&Path>) -> Option<String> {
        let place = elsewhere.map(Path::to_path_buf).or_else(|| env::current_dir().ok())?;
        let strayed = |word: &&String| {
            !word.starts_with('-')
                && Path::new(word).is_relative()
                && place.join(word).is_file()
                && !self.directory.join(word).exists()
        };
        let word = self.argv[1..].iter().find(strayed)?;
        let whole =
            if elsewhere.is_some() { format!("{{workload}}/{word}") } else { place.join(word).display().to_string() };
        Some(format!("there is no {word} in the fresh directory that the program runs in: write {whole}"))
    }
}

impl fmt::Display for Invocation {
    /// As one could type it into a shell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        CommandLine(&self.argv).fmt(f)
    }
}

impl Workload {
    /// What the recorder is to run in `run`, a directory that [`Workload::prepare`] has filled.
    ///
    /// # Errors
    ///
    /// There is no such program, or `{target}` has no meaning: of kind [`ErrorKind::Input`](crate::ErrorKind::Input).
    pub fn command_in(&self, run: &Path) -> Result<Invocation, Error> {
        self.invocation(Step::Command, &self.command, run)
    }

    /// The server that the command needs, if it needs one, as it runs in `run`.
    ///
    /// # Errors
    ///
    /// As [`Workload::command_in`].
    pub fn server_in(&self, run: &Path) -> Result<Option<Invocation>, Error> {
        self.server.as_ref().map(|server| self.invocation(Step::Command, &server.command, run)).transpose()
    }

    /// What `command`, of this workload, becomes if a server is to run beside it: the one argument for [`serve`](crate::serve),
    /// which is to be recorded in its place.
    ///
    /// # Errors
    ///
    /// As [`Workload::command_in`], of the server.
    pub fn served(&self, command: &Invocation) -> Result<Option<String>, Error> {
        let Some((server, invocation)) = self.server.as_ref().zip(self.server_in(&command.directory)?) else {
            return Ok(None);
        };
        let says_ready = self.explore_from.as_deref() == Some(crate::READY);
        Ok(Some(server.task(&invocation, command, self.time_limit, says_ready)))
    }

    /// The checker, to be run in `tree`, a directory that holds a recovered tree, with the path of the file `acks` as
    /// its last argument and in `HARNESS_ACKS`. `None` if the workload has none.
    ///
    /// # Errors
    ///
    /// As [`Workload::command_in`].
    pub fn check_in(&self, tree: &Path, acks: &Path) -> Result<Option<Invocation>, Error> {
        let Some(words) = &self.check else { return Ok(None) };
        let mut invocation = self.invocation(Step::Check, words, tree)?;
        invocation.argv.push(acks.to_string_lossy().into_owned());
        invocation.env.insert("HARNESS_ACKS".into(), acks.into());
        Ok(Some(invocation))
    }

    /// What repairs `tree`, a directory that holds a recovered tree; `None` if the workload names nothing.
    ///
    /// # Errors
    ///
    /// As [`Workload::command_in`].
    pub fn recover_in(&self, tree: &Path) -> Result<Option<Invocation>, Error> {
        self.recover.as_ref().map(|words| self.invocation(Step::Recover, words, tree)).transpose()
    }

    /// A command of a view ([`Step::View`] or [`Step::Normalise`]), to be run in `tree`.
    ///
    /// # Errors
    ///
    /// As [`Workload::command_in`].
    pub fn view_in(&self, step: Step, words: &[String], tree: &Path) -> Result<Invocation, Error> {
        self.invocation(step, words, tree)
    }

    /// Fills in the words in braces and finds the program.
    pub(crate) fn invocation(&self, step: Step, words: &[String], directory: &Path) -> Result<Invocation, Error> {
        let fill = |text: &str| self.fill(step, text, directory);
        let argv = words.iter().map(|word| fill(word)).collect::<Result<Vec<_>, _>>()?;
        let mut variables = BTreeMap::new();
        if step == Step::Build {
            variables.extend(self.target().map(|target| ("CARGO_TARGET_DIR".to_owned(), target.into_os_string())));
        } else {
            for (name, value) in &self.env {
                variables.insert(name.clone(), fill(value)?.into());
            }
        }
        let path = variables.get("PATH").cloned().or_else(|| env::var_os("PATH")).unwrap_or_default();
        let program = self.find_program(&argv[0], &path, directory).map_err(|reason| Error::NoProgram {
            step,
            workload: self.name.clone(),
            reason,
        })?;
        let at = if step == Step::Build { Vec::new() } else { self.at.clone() };
        Ok(Invocation { step, program, argv, env: variables, directory: directory.into(), at })
    }

    fn target(&self) -> Option<PathBuf> {
        target_directory(self.directory.as_deref()?, env::var_os("CARGO_TARGET_DIR").as_deref())
    }

    fn fill(&self, step: Step, text: &str, directory: &Path) -> Result<String, Error> {
        let Some(workload) = &self.directory else { return Ok(text.to_owned()) };
        let mut text = text.replace("{workload}", &workload.to_string_lossy());
        if step != Step::Build {
            text = text.replace("{run}", &directory.to_string_lossy());
        }
        if text.contains("{target}") {
            let target = self.target().ok_or_else(|| Error::NoTarget {
                step,
                workload: self.name.clone(),
                directory: workload.clone(),
            })?;
            text = text.replace("{target}", &target.join("release").to_string_lossy());
        }
        Ok(text)
    }

    /// The executable file that `name` means in `directory`, with `path` as `PATH`; or why there is none.
    fn find_program(&self, name: &str, path: &OsString, directory: &Path) -> Result<PathBuf, String> {
        if !name.contains('/') {
            let candidates = env::split_paths(path).map(|entry| directory.join(entry).join(name));
            return candidates
                .into_iter()
                .find(|candidate| executable(candidate).is_ok())
                .ok_or_else(|| format!("there is no program {name} in PATH"));
        }
        let name = name.trim_start_matches("./");
        let program = directory.join(name);
        executable(&program).map(|()| program.clone()).map_err(|reason| {
            let here = self.directory.as_ref().map(|own| own.join(name)).filter(|own| own.exists() && *own != program);
            let built = self.target().is_some_and(|target| program.starts_with(target));
            let hint = match here {
                Some(_) => {
                    format!("; relative paths start in the directory it runs in: write {{workload}}/{name}")
                }
                None if built && self.build.is_none() => "; `build` should make it, but none is given".into(),
                None if built => "; does `build` make it?".into(),
                None => String::new(),
            };
            format!("{}: {reason}{hint}", program.display())
        })
    }
}

/// Whether this user may execute `file`.
fn executable(file: &Path) -> Result<(), String> {
    match file.metadata() {
        Err(error) => Err(error.to_string()),
        Ok(metadata) if !metadata.is_file() => Err("not a file".into()),
        Ok(_) => access(file, AccessFlags::X_OK).map_err(|_| "not executable".into()),
    }
}
