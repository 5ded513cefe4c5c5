//! What a run explores: every option of `harness run` on which its crash states depend, each declared here and nowhere
//! else.
//!
//! One [`RunSpec`] is what clap reads, what names the run ([`crate::run`]), what its results directory keeps
//! ([`crate::store::Kept`]) and what the report says ([`report::Explored`]). To add an option, add a field here, and read
//! it where it matters.

use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};
pub use explore::Budget;
use filesystems::{FileSystem, Filesystem};
use report::Explored;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use storage::{CacheKind, DiskModel, TearKind};
use workload::{IgnorePattern, Workload};

use crate::subject::Bounds;

/// The heading of these options in the help text.
pub const EXPLORED: &str = "What is explored";
/// The heading of those that are about machines.
pub const MACHINES: &str = "Machines";

/// What a run explores.
///
/// Two runs of the same program with the same specification on the same kind of machine explore the same crash states and
/// have the same name.
#[derive(Clone, Debug, PartialEq, Args, Serialize, Deserialize)]
pub struct RunSpec {
    /// A file system, perhaps with mount options and arguments for its mkfs; repeatable [default: ext4, xfs, btrfs]
    #[arg(
        long = "fs", value_name = "NAME[:OPTIONS][;mkfs=ARGUMENTS]", value_parser = filesystem, help_heading = EXPLORED,
        default_values = filesystems::DEFAULTS.iter().map(|known| known.name), hide_default_value = true
    )]
    #[serde(default)]
    pub filesystems: Vec<Filesystem>,
    /// What crashes: the whole machine, or the program alone
    #[arg(long, value_enum, default_value_t, help_heading = EXPLORED)]
    pub crash: Crash,
    /// What the disk does with writes that were not flushed
    #[arg(long, value_enum, default_value_t, help_heading = EXPLORED)]
    pub disk: Disk,
    /// How a crash may cut a write
    #[arg(long, value_enum, default_value_t, help_heading = EXPLORED)]
    pub tear: Tear,
    /// How many bytes the disk writes atomically
    #[arg(long, value_enum, default_value_t, help_heading = EXPLORED)]
    pub sector: Sector,
    /// Whether the disk has writes that are durable by themselves, without a flush (forced unit access)
    #[arg(long, value_enum, default_value_t, help_heading = EXPLORED)]
    pub fua: Fua,
    /// In how many places at once background work (commit, writeback) is forced, at most
    #[arg(long, value_name = "K", default_value_t = 1, allow_negative_numbers = true, help_heading = EXPLORED)]
    pub schedules: u32,
    /// The most work for one workload on one file system: 90s, 10m, 2h, 5000mounts, or none
    #[arg(long, default_value = "10m", value_parser = budget, allow_hyphen_values = true, help_heading = EXPLORED)]
    pub budget: Budget,
    /// Have what is not durable once the program has ended be a violation: files, and what views show
    #[arg(long, help_heading = EXPLORED)]
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_durable: bool,
    /// Let the machine crash a second time, while it recovers from the first crash
    #[arg(long, help_heading = EXPLORED)]
    pub recovery_crashes: bool,
    /// What is left to chance, where not everything can be explored, depends on this number
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true, help_heading = EXPLORED)]
    pub seed: u64,
    /// Explore what is known not to be judged, too, to see what it shows
    #[arg(long, help_heading = EXPLORED)]
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub explore_invalid: bool,
    /// What becomes of io_uring and asynchronous I/O, which cannot be recorded
    #[arg(long, value_name = "MODE", value_enum, default_value_t, help_heading = EXPLORED)]
    #[serde(default, skip_serializing_if = "IoUring::is_refused")]
    pub io_uring: IoUring,
    /// Names that matter to nobody, such as *.log or cache/: no rule speaks of them; repeatable
    #[arg(long, value_name = "PATTERN", help_heading = EXPLORED)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<IgnorePattern>,
    /// A kernel for QEMU, DIR/boot/vmlinuz-RELEASE, with DIR/lib/modules/RELEASE
    #[arg(long, value_name = "FILE", help_heading = MACHINES)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<PathBuf>,
}

/// The fields of [`RunSpec`] that matter where no machine crashes.
const WITHOUT_MACHINES: [&str; 4] = ["crash", "explore_invalid", "io_uring", "ignore"];

impl Default for RunSpec {
    /// The specification of a run to which no option was given.
    fn default() -> Self {
        let typed = Self::augment_args(Command::new("run").no_binary_name(true)).get_matches_from([""; 0]);
        Self::from_arg_matches(&typed).expect("every option has a default, and clap checks it against its parser")
    }
}

impl RunSpec {
    /// The same, with each file system once, in the order of their first appearance, and the kernel's whole path: it is
    /// looked for again by whoever reproduces a token, perhaps from another directory.
    pub fn normalised(mut self) -> Self {
        let mut known: Vec<Filesystem> = Vec::new();
        for filesystem in self.filesystems {
            if !known.contains(&filesystem) {
                known.push(filesystem);
            }
        }
        self.filesystems = known;
        // What cannot be made absolute cannot be read.
        self.kernel = self.kernel.map(|path| std::path::absolute(&path).unwrap_or(path));
        self
    }

    /// The model of the disk under a file system: it tears nothing that the file system takes for granted to be whole.
    pub fn model(&self, filesystem: &FileSystem) -> DiskModel {
        let cache = match self.disk {
            Disk::Writeback => CacheKind::Writeback,
            Disk::Writethrough => CacheKind::Writethrough,
            Disk::Lying => CacheKind::Lying,
        };
        let tear = match self.tear {
            Tear::None => TearKind::None,
            Tear::One => TearKind::One,
            Tear::Any => TearKind::Any,
        };
        let bytes = u32::from(self.sector).max(filesystem.atomic);
        DiskModel { cache, tear, unit: bytes / storage::SECTOR as u32, fua: self.fua.into() }
    }

    /// The same workload, which ignores what the run ignores, too.
    pub fn ignoring(&self, mut workload: Workload) -> Workload {
        let more = self.ignore.iter().filter(|pattern| !workload.ignore.contains(pattern)).cloned();
        let more: Vec<IgnorePattern> = more.collect();
        workload.ignore.extend(more);
        workload
    }

    /// Which schedules are executed.
    pub fn bounds(&self) -> Bounds {
        let fast_commits = self.filesystems.iter().any(Filesystem::has_fast_commits);
        let require_durable = self.require_durable;
        Bounds { injections: self.schedules, seed: self.seed, fast_commits, require_durable }
    }

    /// What the report says of it.
    pub fn explored(&self) -> Explored {
        let said = serde_json::to_value(self).and_then(|mut said| {
            said["set"] = Value::from(plan::SET);
            serde_json::from_value(said)
        });
        said.expect("the report takes the options as they are written here")
    }

    /// The options among those of `harness run`, as they are typed, that were given and have no effect, since no machine
    /// crashes.
    pub fn idle(typed: &ArgMatches) -> Vec<String> {
        let all = Self::augment_args(Command::new("run"));
        let of_machines = all.get_arguments().filter(|option| !WITHOUT_MACHINES.contains(&option.get_id().as_str()));
        let given = of_machines.filter(|option| is_given(typed, option.get_id().as_str()));
        given.filter_map(|option| Some(format!("--{}", option.get_long()?))).collect()
    }
}

/// Whether an option was typed, be it with its default.
pub fn is_given(typed: &ArgMatches, option: &str) -> bool {
    typed.value_source(option) == Some(ValueSource::CommandLine)
}

/// What crashes: `--crash`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Crash {
    /// The power fails: what the disk had not flushed may be lost
    #[default]
    Power,
    /// The program is killed: what it had not handed to the kernel is lost
    Process,
    /// Either
    Both,
}

impl Crash {
    /// Whether the power fails.
    pub fn power(self) -> bool {
        self != Crash::Process
    }

    /// Whether the program is killed.
    pub fn process(self) -> bool {
        self != Crash::Power
    }
}

/// `--disk`: see [`CacheKind`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Disk {
    /// A volatile cache that obeys flushes
    #[default]
    Writeback,
    /// No volatile cache: only writes under way
    Writethrough,
    /// A cache that ignores flushes
    Lying,
}

/// `--tear`: see [`TearKind`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tear {
    /// Writes are atomic
    None,
    /// At most one write of a state, at one sector boundary
    #[default]
    One,
    /// Every sector on its own
    Any,
}

/// `--fua`: see [`DiskModel::fua`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(from = "bool", into = "bool")]
pub enum Fua {
    /// What a synchronous overwrite leaves volatile stays so, as on most disks
    #[default]
    On,
    /// Such a write is followed by a flush
    Off,
}

impl From<Fua> for bool {
    fn from(fua: Fua) -> Self {
        fua == Fua::On
    }
}

impl From<bool> for Fua {
    fn from(is_on: bool) -> Self {
        if is_on { Self::On } else { Self::Off }
    }
}

/// `--io-uring`: see [`record::IoUring`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IoUring {
    /// Their set-up fails with ENOSYS, as in many containers: most programs do without
    #[default]
    Refuse,
    /// A program that uses them is not judged
    Allow,
}

impl IoUring {
    /// Whether it is as in all runs that do not say.
    fn is_refused(&self) -> bool {
        *self == Self::Refuse
    }
}

impl From<IoUring> for record::IoUring {
    fn from(io_uring: IoUring) -> Self {
        match io_uring {
            IoUring::Refuse => Self::Refuse,
            IoUring::Allow => Self::Allow,
        }
    }
}

/// `--sector`: physical sectors, bytes. See [`DiskModel::unit`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub enum Sector {
    /// Physical sectors of 512 bytes
    #[default]
    #[value(name = "512")]
    Bytes512,
    /// Physical sectors of 4096 bytes
    #[value(name = "4096")]
    Bytes4096,
}

impl From<Sector> for u32 {
    fn from(sector: Sector) -> Self {
        match sector {
            Sector::Bytes512 => 512,
            Sector::Bytes4096 => 4096,
        }
    }
}

impl TryFrom<u32> for Sector {
    type Error = String;

    fn try_from(bytes: u32) -> Result<Self, String> {
        let all = [Self::Bytes512, Self::Bytes4096];
        all.into_iter().find(|&sector| u32::from(sector) == bytes).ok_or_else(|| format!("no sector of {bytes} bytes"))
    }
}

/// `ext4:noauto_da_alloc,data=writeback;mkfs=-b 1024`.
fn filesystem(text: &str) -> Result<Filesystem, String> {
    text.parse().map_err(|error: filesystems::ChoiceError| error.to_string())
}

/// `90s`, `10m`, `2h`, `5000mounts`, `none`.
fn budget(text: &str) -> Result<Budget, String> {
    let wrong = || "not a budget; write one as 90s, 10m, 2h, 5000mounts or none".to_owned();
    if text == "none" {
        return Ok(Budget::default());
    }
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    if number == 0 {
        return Err(format!("nothing can be looked at with a budget of {text}: at least 1"));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets() {
        let time = |seconds| Ok(Budget { time: Some(Duration::from_secs(seconds)), mounts: None });
        assert_eq!(budget("90s"), time(90));
        assert_eq!(budget("10m"), time(600));
        assert_eq!(budget("2h"), time(7200));
        assert_eq!(budget("5000mounts"), Ok(Budget { time: None, mounts: Some(5000) }));
        assert_eq!(budget("none"), Ok(Budget::default()));
        for wrong in
            ["", "0s", "0h", "0mounts", "10", "m", "10 m", "-1s", "99999999999999999999s", "9999999999999999999h"]
        {
            assert!(budget(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn file_systems() {
        let parsed = filesystem("ext4:noauto_da_alloc,data=writeback").unwrap();
        assert_eq!((parsed.kind.name, parsed.options.as_str()), ("ext4", "noauto_da_alloc,data=writeback"));
        assert!(filesystem("zfs").unwrap_err().contains("ext4, xfs, btrfs"));
    }

    /// Without any option, and with the defaults of the crates below: the same.
    #[test]
    fn the_defaults_are_those_of_the_models() {
        let spec = RunSpec::default();
        assert_eq!(spec.model(&filesystems::EXT4), DiskModel::default());
        let unit = |kind| spec.model(kind).unit;
        assert_eq!(
            [unit(&filesystems::BTRFS), unit(&filesystems::F2FS)],
            [1, 8],
            "f2fs has no checksums in its blocks"
        );
        let kinds: Vec<&str> = spec.filesystems.iter().map(|it| it.kind.name).collect();
        assert_eq!(kinds, filesystems::DEFAULTS.iter().map(|known| known.name).collect::<Vec<_>>());
    }

    /// Where it is looked for again need not be here.
    #[test]
    fn a_kernel_is_kept_by_its_whole_path() {
        let spec = RunSpec { kernel: Some("boot/vmlinuz-6.1".into()), ..RunSpec::default() };
        let expected = std::env::current_dir().unwrap().join("boot/vmlinuz-6.1");
        assert_eq!(spec.normalised().kernel, Some(expected));
    }

    #[test]
    fn it_is_written_as_the_options_say_and_read_back() {
        let spec = RunSpec { sector: Sector::Bytes4096, fua: Fua::Off, tear: Tear::Any, ..RunSpec::default() };
        let written = serde_json::to_value(&spec).unwrap();
        assert_eq!((&written["disk"], &written["tear"]), (&"writeback".into(), &"any".into()));
        assert_eq!((&written["sector"], &written["fua"]), (&4096.into(), &false.into()));
        assert_eq!(serde_json::from_value::<RunSpec>(written).unwrap(), spec);
        let explored = spec.explored();
        assert_eq!((explored.sector, explored.fua, explored.set), (4096, false, plan::SET));
        assert_eq!(explored.others["seed"], 0);
    }

    /// Runs that do not use it keep the names that they had before there was the option.
    #[test]
    fn asynchronous_io_is_said_only_where_it_is_allowed() {
        let written = |spec: &RunSpec| serde_json::to_value(spec).unwrap().get("io_uring").cloned();
        assert_eq!(written(&RunSpec::default()), None);
        let spec = RunSpec { io_uring: IoUring::Allow, ..RunSpec::default() };
        assert_eq!(written(&spec), Some("allow".into()));
        assert_eq!(serde_json::from_value::<RunSpec>(serde_json::to_value(&spec).unwrap()).unwrap(), spec);
    }
}
