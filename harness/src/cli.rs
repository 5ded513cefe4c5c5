//! What can be typed, and what is exited with.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use protocol::Filesystem;
use report::ExitStatus;

use crate::cell::Budget;
use crate::{commands, mkfs};

/// Finds out what a crash can leave of your files: every disk state, on real file systems.
#[derive(Debug, Parser)]
#[command(name = "harness", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Record workloads, explore what a crash may leave of their files, and report
    Run(Run),
    /// Record what a program does to the files in the current directory
    Record(Record),
    /// Show a trace, one line for each op
    Show(Show),
    /// Rebuild one crash state from its token, and show what is found there
    Replay(Replay),
    /// Compare two results directories: violations fixed, new, unchanged
    Diff(Diff),
    /// Say what this machine has, what is missing, and what installs it
    Doctor,
}

/// `harness run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Directories with a workload.toml
    #[arg(value_name = "WORKLOAD", required_unless_present = "command")]
    pub workloads: Vec<PathBuf>,
    /// A bare command instead
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "workloads")]
    pub command: Vec<String>,
    /// The directory whose content a bare command starts from
    #[arg(long, value_name = "DIR", requires = "command")]
    pub from: Option<PathBuf>,
    /// File system, with mount options [repeatable; default: ext4, xfs, btrfs]
    #[arg(long = "fs", value_name = "NAME[:OPTIONS]", value_parser = filesystem)]
    pub filesystems: Vec<Filesystem>,
    /// The machine: what /dev/kvm allows, else User Mode Linux, else emulation
    #[arg(long, value_enum, default_value_t)]
    pub vm: Vm,
    /// A kernel (bzImage) for QEMU, its modules beside it
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// What the disk's cache does
    #[arg(long, value_enum, default_value_t)]
    pub disk: Disk,
    /// How a write may be cut
    #[arg(long, value_enum, default_value_t)]
    pub tear: Tear,
    /// How many commits and writebacks are injected at once, at most
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub schedules: u32,
    /// How much work a cell may take: a time (90s, 10m, 2h), a number of mounts (5000mounts), or none
    #[arg(long, default_value = "10m", value_parser = budget)]
    pub budget: Budget,
    /// Exit with 5 if anything was left uncovered
    #[arg(long)]
    pub exhaustive: bool,
    /// Guests at once [default: the number of processors]
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<usize>,
    /// The results directory [default: a new one below results/runs]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// What is printed at the end
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `harness record`.
#[derive(Debug, Args)]
pub struct Record {
    /// The trace file to write
    #[arg(short, long, value_name = "TRACE")]
    pub output: PathBuf,
    /// Seconds that the command may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub time_limit: u64,
    /// The command
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// `harness show`.
#[derive(Debug, Args)]
pub struct Show {
    /// A trace file
    pub trace: PathBuf,
}

/// `harness replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// A token from a report
    pub token: String,
    /// Where results are: a run's directory, or one that holds runs [default: results/runs]
    #[arg(long, value_name = "DIR")]
    pub results: Option<PathBuf>,
    /// Write the disk of the state to this file
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// The machine
    #[arg(long, value_enum, default_value_t)]
    pub vm: Vm,
}

/// `harness diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// A results directory, or its report.json
    pub before: PathBuf,
    /// Another
    pub after: PathBuf,
}

/// `--vm`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "each stands for itself")]
pub enum Vm {
    #[default]
    Auto,
    Qemu,
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

/// `--disk`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Disk {
    /// A volatile cache that obeys flushes
    #[default]
    Writeback,
    /// A cache that ignores flushes
    Lying,
}

impl From<Disk> for disk::CacheKind {
    fn from(disk: Disk) -> Self {
        match disk {
            Disk::Writeback => Self::Writeback,
            Disk::Lying => Self::Lying,
        }
    }
}

/// `--tear`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Tear {
    /// Writes are atomic
    None,
    /// At most one write of a state, at one sector boundary
    #[default]
    One,
    /// Every sector on its own
    Any,
}

impl From<Tear> for disk::TearKind {
    fn from(tear: Tear) -> Self {
        match tear {
            Tear::None => Self::None,
            Tear::One => Self::One,
            Tear::Any => Self::Any,
        }
    }
}

/// `--format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Human,
    /// report.json
    Json,
}

/// `ext4:noauto_da_alloc,data=writeback`.
fn filesystem(text: &str) -> Result<Filesystem, String> {
    let (kind, options) = text.split_once(':').unwrap_or((text, ""));
    if !mkfs::KINDS.contains(&kind) {
        return Err(mkfs::MkfsError::Unknown { name: kind.into() }.to_string());
    }
    Ok(Filesystem { kind: kind.into(), options: options.into() })
}

/// `90s`, `10m`, `2h`, `5000mounts`, `none`.
fn budget(text: &str) -> Result<Budget, String> {
    let wrong = || format!("{text:?} is no budget: write 90s, 10m, 2h, 5000mounts or none");
    if text == "none" {
        return Ok(Budget::default());
    }
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let time = |factor: u64| {
        let seconds = number.checked_mul(factor).ok_or_else(wrong)?;
        Ok(Budget { time: Some(Duration::from_secs(seconds)), mounts: None })
    };
    match &text[digits..] {
        "s" => time(1),
        "m" => time(60),
        "h" => time(3600),
        "mounts" | "mount" => Ok(Budget { time: None, mounts: Some(number) }),
        _ => Err(wrong()),
    }
}

/// The program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap knows where to print what.
            let _ = error.print();
            return if error.use_stderr() { ExitStatus::Usage.into() } else { ExitCode::SUCCESS };
        }
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("HARNESS_LOG").unwrap_or_else(|_| "error".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let outcome = match cli.command {
        Command::Run(arguments) => commands::run::run(arguments),
        Command::Record(arguments) => commands::record::record(arguments),
        Command::Show(arguments) => commands::show::show(&arguments),
        Command::Replay(arguments) => commands::replay::replay(&arguments),
        Command::Diff(arguments) => commands::diff::diff(&arguments),
        Command::Doctor => commands::doctor::doctor(),
    };
    outcome.unwrap_or_else(|failure| failure.tell()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn budgets() {
        let time = |seconds| Ok(Budget { time: Some(Duration::from_secs(seconds)), mounts: None });
        assert_eq!(budget("90s"), time(90));
        assert_eq!(budget("10m"), time(600));
        assert_eq!(budget("2h"), time(7200));
        assert_eq!(budget("5000mounts"), Ok(Budget { time: None, mounts: Some(5000) }));
        assert_eq!(budget("none"), Ok(Budget::default()));
        for wrong in ["", "10", "m", "10 m", "-1s", "99999999999999999999s", "9999999999999999999h"] {
            assert!(budget(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn file_systems() {
        let parsed = filesystem("ext4:noauto_da_alloc,data=writeback").unwrap();
        assert_eq!((parsed.kind.as_str(), parsed.options.as_str()), ("ext4", "noauto_da_alloc,data=writeback"));
        assert!(filesystem("zfs").unwrap_err().contains("ext4, xfs, btrfs"));
    }
}
