//! What can be typed, and what is exited with.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::builder::NonEmptyStringValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgGroup, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, value_parser};

use engine::spec::{EXPLORED, MACHINES, RunSpec, is_given};

/// What every help text ends with.
const EXIT_STATUS: &str = "\
Exit status:
  0    nothing is violated
  1    a crash state violates an invariant (from reproduce: this one); from diff: a
       violation is new
  2    bad usage or input; so is a build, setup or command that does not exist or
       cannot be executed
  3    this machine lacks something, or its disk is full
  4    the workload's own build, setup, command or check fails without any crash,
       or its check cannot be run
  5    nothing is violated, but a file was changed of which nobody can tell what
       is right (name a view or an invariant), or nothing of a cell was looked
       at; or not all was covered, and --exhaustive was given
  70   a cell is invalid, so that it could not be judged (and nothing is
       violated), or the harness has a defect
  129, 130, 143   ended by SIGHUP, SIGINT (Ctrl-C), SIGTERM; results so far are kept

Results go to standard output, progress and messages to standard error.";

const RUN_USAGE: &str = "\
harness run [OPTIONS] <WORKLOAD>...
       harness run [OPTIONS] [--from <DIR>] -- <COMMAND>...
       harness run [OPTIONS] [--workload <DIR>] --trace <FILE>
       harness run --resume <DIR> [--jobs <N>]";

const RUN_EXAMPLES: &str = "\
Examples:
  harness run workloads/naive_config
  harness run --fs ext4 --fs ext4:noauto_da_alloc workloads/tempfile_no_sync
  harness run --from old_state -- python3 \"$PWD/save.py\" settings.json

A workload.toml may be as short as
  command = [\"{workload}/save.py\", \"settings.json\"]

A COMMAND runs in a fresh directory, so name files of yours by absolute paths.";

const RECORD_NOTE: &str = "\
The command runs here, its standard input is empty, and what it prints goes to
standard error. The trace file itself is not taken for a part of this directory.";

const JUDGE_NOTE: &str = "\
The programs are not run again, and no state is mounted that the run has seen
well enough: only where the new invariants ask for more of a file than was read
of it, states are looked at again on guests.";

/// Finds out what a crash can leave of the files that a program saves: every disk state, on real file systems
#[derive(Debug, Parser)]
#[command(name = "harness", version, arg_required_else_help = true, after_help = EXIT_STATUS)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Record programs, explore what a crash may leave of their files, and report
    #[command(override_usage = RUN_USAGE, after_help = RUN_EXAMPLES)]
    Run(Box<Run>),
    /// Record what a program does to the files in the current directory
    #[command(after_help = RECORD_NOTE)]
    Record(Record),
    /// Show a trace, one line for each op (recorded call)
    Show(Show),
    /// Rebuild one crash state from its token, and show what is found there
    #[command(alias = "replay")]
    Reproduce(Reproduce),
    /// Judge a run again, by what it has seen, under other invariants or another check
    #[command(after_help = JUDGE_NOTE)]
    Judge(Judge),
    /// Compare two results directories: violations fixed, new, unchanged
    Diff(Diff),
    /// Remove the results of old runs
    Gc(Gc),
    /// Run a server and its client: what is recorded of a workload with a [server]
    #[command(name = engine::recording::SERVE, hide = true)]
    Serve {
        /// What to run.
        task: String,
    },
    /// Say what this machine has, what is missing, and what installs it
    Doctor,
}

/// `harness run`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("unnamed").args(["command", "trace"]),
    group = ArgGroup::new("of_workload").args(["resume", "trace"])
)]
pub struct Run {
    /// Directories that hold a workload.toml
    #[arg(value_name = "WORKLOAD", required_unless_present_any = ["command", "trace", "resume"])]
    pub workloads: Vec<PathBuf>,
    /// Instead of workloads: a program and its arguments
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "workloads")]
    pub command: Vec<String>,

    /// The directory whose content the COMMAND starts from [default: an empty one]
    #[arg(long, value_name = "DIR", conflicts_with = "workloads", requires = "command", help_heading = OF_COMMAND)]
    pub from: Option<PathBuf>,
    /// What reports call it [default: the name of its program]
    #[arg(
        long, value_name = "NAME", conflicts_with = "workloads", requires = "unnamed", help_heading = OF_COMMAND,
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub name: Option<String>,
    /// A directory where the one that the COMMAND runs in appears to it, too: /etc/app, say; repeatable
    #[arg(long, value_name = "PATH", conflicts_with = "workloads", requires = "command", help_heading = OF_COMMAND)]
    pub at: Vec<PathBuf>,
    /// How long the COMMAND may take [default: 60]
    #[arg(
        long, value_name = "SECONDS", conflicts_with = "workloads", requires = "command", help_heading = OF_COMMAND,
        value_parser = value_parser!(u64).range(1..), allow_negative_numbers = true
    )]
    pub time_limit: Option<u64>,

    /// A command line whose output tells what is in a recovered directory, where sh runs it: it must be what it is before
    /// the run, after it, or at an ack that an invariant names; repeatable
    #[arg(long = "view", value_name = "COMMAND LINE", value_parser = NonEmptyStringValueParser::new(), help_heading = EXPLORED)]
    pub views: Vec<String>,
    /// Instead of workloads: a trace that was recorded before, by harness record, say; nothing in it is run
    #[arg(long, value_name = "FILE", conflicts_with = "workloads", help_heading = OF_COMMAND)]
    pub trace: Option<PathBuf>,
    /// Record each program so many times, and explore all recordings that differ: for programs with threads
    #[arg(
        long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u16).range(1..),
        conflicts_with_all = ["trace", "resume"], allow_negative_numbers = true, help_heading = OF_COMMAND
    )]
    pub recordings: u16,

    /// What is explored.
    #[command(flatten)]
    pub spec: RunSpec,
    /// Exit with 5 if nothing is violated but something was left uncovered
    #[arg(long, help_heading = EXPLORED)]
    pub exhaustive: bool,

    /// The machine that mounts the crash states
    #[arg(long, value_enum, default_value_t, help_heading = MACHINES)]
    pub vm: Vm,
    /// Guests at once [default: the number of processors]
    #[arg(short, long, value_name = "N", value_parser = jobs, allow_negative_numbers = true, help_heading = MACHINES)]
    pub jobs: Option<usize>,

    /// The directory for results [default: a new one below results/runs]
    #[arg(long, value_name = "DIR", help_heading = RESULTS)]
    pub out: Option<PathBuf>,
    /// Go on with the run in this results directory, which was cut short; its own options hold
    #[arg(
        long, value_name = "DIR", help_heading = RESULTS,
        conflicts_with_all = ["workloads", "command", "trace", "views", "RunSpec", "vm", "out"]
    )]
    pub resume: Option<PathBuf>,
    /// With --resume: the directory of a workload, whose check and views may judge as those of the run if they are the same; repeatable. With
    /// --trace: that of the workload which says what must hold
    #[arg(long = "workload", value_name = "DIR", requires = "of_workload", help_heading = RESULTS)]
    pub at_hand: Vec<PathBuf>,
    /// With --resume: run the checks and views that stand in the results directory; trust whoever made it
    #[arg(long, requires = "resume", help_heading = RESULTS)]
    pub run_check: bool,
    /// What is printed at the end
    #[arg(long, value_enum, default_value_t, help_heading = RESULTS)]
    pub format: Format,

    /// Options that were given and have no effect beside `--crash process`.
    #[arg(skip)]
    pub idle: Vec<String>,
}

impl Cli {
    /// Reads what was typed, the program's name first.
    ///
    /// # Errors
    /// It is wrong, or asks for help or the version: clap knows where to print what.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let words: Vec<OsString> = words.into_iter().collect();
        let typed = Self::command().try_get_matches_from(&words).map_err(|error| with_dashes(error, &words))?;
        let mut cli = Self::from_arg_matches(&typed)?;
        if let (Command::Run(run), Some((_, typed))) = (&mut cli.command, typed.subcommand())
            && !run.spec.crash.power()
        {
            run.idle = RunSpec::idle(typed);
            run.idle.extend(is_given(typed, "vm").then(|| "--vm".to_owned()));
        }
        Ok(cli)
    }
}

/// What was typed as a command of its own, without the `--` that comes before one, may have an option that is no option
/// of ours: the tip is then to write it.
fn with_dashes(mut error: clap::Error, words: &[OsString]) -> clap::Error {
    let [_, command, words @ ..] = words else { return error };
    if command == "run"
        && error.kind() == ErrorKind::UnknownArgument
        && !words.iter().any(|word| word == "--")
        && let Some(tip) = dashes(words)
    {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// What to type instead, where these words, given as workloads, are a program that can be run here, and its arguments.
pub fn dashes(words: &[impl AsRef<OsStr>]) -> Option<String> {
    let executable =
        |path: &Path| fs::metadata(path).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0);
    let first = Path::new(words.first()?);
    if first.is_dir() {
        return None;
    }
    let in_path = |first: &Path| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|directory| executable(&directory.join(first)))
    };
    let found = if first.components().count() > 1 { executable(first) } else { in_path(first) || executable(first) };
    let line: Vec<_> = words.iter().map(|word| report::word(&word.as_ref().to_string_lossy())).collect();
    found.then(|| format!("to test a command, write -- before it: harness run -- {}", line.join(" ")))
}

const OF_COMMAND: &str = "For a COMMAND";
const RESULTS: &str = "Results";

/// `harness record`.
#[derive(Debug, Args)]
pub struct Record {
    /// The trace file to write
    #[arg(short, long, value_name = "TRACE")]
    pub output: PathBuf,
    /// A directory where the current one appears to the command, too: /etc/app, say; repeatable
    #[arg(long, value_name = "PATH")]
    pub at: Vec<PathBuf>,
    /// How long the command may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = value_parser!(u64).range(1..))]
    pub time_limit: u64,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// `harness show`.
#[derive(Debug, Args)]
pub struct Show {
    /// A trace file: from `harness record`, or workload-N.trace of a results directory
    pub trace: PathBuf,
}

/// `harness reproduce`, which was once `harness replay`.
#[derive(Debug, Args)]
pub struct Reproduce {
    /// A token from a report
    pub token: String,
    /// The results of the run that the token is from, or a directory that holds them [default: results/runs]
    #[arg(long, value_name = "DIR")]
    pub results: Option<PathBuf>,
    /// Write the disk of the state to this file, too
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// Overwrite that file if there is one
    #[arg(long, requires = "image")]
    pub force: bool,
    /// Put the files of the state into this directory, too, which must be empty or not there
    #[arg(long, value_name = "DIR")]
    pub tree: Option<PathBuf>,
    /// The directory of the workload, whose check and views may judge if they are those of the run; repeatable
    #[arg(long = "workload", value_name = "DIR")]
    pub at_hand: Vec<PathBuf>,
    /// Run the check and views that stand in the results; trust whoever made them
    #[arg(long)]
    pub run_check: bool,
    /// The machine that mounts the crash state [default: that of the run, if this host has it]
    #[arg(long, value_enum)]
    pub vm: Option<Vm>,
    /// A kernel for QEMU, DIR/boot/vmlinuz-RELEASE, with DIR/lib/modules/RELEASE [default: the run's]
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
}

/// `harness judge`.
#[derive(Debug, Args)]
pub struct Judge {
    /// The results directory of a run
    #[arg(value_name = "DIR")]
    pub run: PathBuf,
    /// A directory whose workload.toml says what must hold of the run's workload of that name; repeatable
    #[arg(long = "workload", value_name = "DIR")]
    pub workloads: Vec<PathBuf>,
    /// Run the checks and views that stand in the results directory; trust whoever made it
    #[arg(long)]
    pub run_check: bool,
    /// Guests at once, if something must be looked at again [default: the number of processors]
    #[arg(short, long, value_name = "N", value_parser = jobs, allow_negative_numbers = true)]
    pub jobs: Option<usize>,
    /// The directory for results [default: a new one below results/runs]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Exit with 5 if nothing is violated but something was left uncovered
    #[arg(long)]
    pub exhaustive: bool,
    /// What is printed at the end
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `harness gc`.
#[derive(Debug, Args)]
pub struct Gc {
    /// The directory whose runs are removed
    #[arg(value_name = "DIR", default_value = "results/runs")]
    pub results: PathBuf,
    /// How many of the newest runs stay
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub keep: usize,
    /// Only say what would be removed
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Also remove what guests boot from and has not been made in the last day: the next run makes it again
    #[arg(long)]
    pub cache: bool,
}

/// `harness diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// The results directory of one run, or its report.json
    pub before: PathBuf,
    /// Another, of the same workloads
    pub after: PathBuf,
}

/// `--vm`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Vm {
    /// QEMU if a guest boots on KVM here, else User Mode Linux, else QEMU
    #[default]
    Auto,
    /// QEMU, with KVM if a guest boots on it, else in software
    Qemu,
    /// User Mode Linux: an ordinary process
    Uml,
}

impl From<Vm> for vm::Choice {
    fn from(vm: Vm) -> Self {
        match vm {
            Vm::Auto => Self::Auto,
            Vm::Qemu => Self::Qemu,
            Vm::Uml => Self::Uml,
        }
    }
}

/// `--format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Human,
    /// The same as report.json
    Json,
}

/// At least 1.
fn jobs(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|&number| number > 0)
        .ok_or_else(|| "not a number of guests; it takes at least 1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_that_have_no_effect() {
        let idle = |line: &str| match Cli::read(line.split(' ').map(OsString::from)).unwrap().command {
            Command::Run(run) => run.idle,
            other => panic!("{other:?}"),
        };
        assert_eq!(idle("harness run --crash process w"), Vec::<String>::new());
        // What happens to be the default was asked for all the same.
        let given = "--vm auto --budget 10m --fs ext4 --fs xfs --recovery-crashes --exhaustive";
        let expected = ["--fs", "--budget", "--recovery-crashes", "--vm"];
        assert_eq!(idle(&format!("harness run --crash process {given} w")), expected);
        assert_eq!(idle(&format!("harness run --crash both {given} w")), Vec::<String>::new());
    }

    #[test]
    fn the_name_of_before_still_works() {
        let words = ["harness", "replay", "0a1b2c3d.c0.s0.e0"].map(OsString::from);
        let command = Cli::read(words).unwrap().command;
        assert!(matches!(command, Command::Reproduce(Reproduce { ref token, .. }) if token == "0a1b2c3d.c0.s0.e0"));
    }
}
