//! Which crash states a run is about.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What was asked for, as the options say it: counts of two runs are of the same states only where these are the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explored {
    /// What the disk's cache does: `--disk`.
    pub disk: String,
    /// How writes may be torn.
    pub tear: Tear,
    /// What the disk writes atomically, bytes: `--sector`.
    pub sector: u32,
    /// Whether the disk has writes with forced unit access: `--fua`. Reports that do not say are of disks without.
    #[serde(default)]
    pub fua: bool,
    /// The bound on injections: `--schedules`.
    pub schedules: u32,
    /// Which set of schedules there is for a bound: raised when it becomes another, which may have other crash states.
    #[serde(default = "first_set")]
    pub set: u32,
    /// Whether the machine may crash again while it recovers: `--recovery-crashes`.
    pub recovery_crashes: bool,
    /// The other options of the run, as its manifest has them: information, by which runs are not compared.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// How writes may be torn: `--tear`. Each allows all that those before it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tear {
    /// Not at all.
    None,
    /// At most one write of a state, at one place.
    One,
    /// Each unit of each write has its own fate.
    Any,
}

/// Reports that name no set are from before there was another.
fn first_set() -> u32 {
    1
}

impl Explored {
    /// Whether this has every crash state that `other` has.
    pub fn holds(&self, other: &Self) -> bool {
        self.disk == other.disk
            && self.sector == other.sector
            && self.tear >= other.tear
            && self.fua >= other.fua
            && self.schedules >= other.schedules
            && self.set == other.set
            && self.recovery_crashes >= other.recovery_crashes
    }
}

impl fmt::Display for Explored {
    /// As it would be typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tear = match self.tear {
            Tear::None => "none",
            Tear::One => "one",
            Tear::Any => "any",
        };
        let Self { disk, sector, schedules, .. } = self;
        let fua = if self.fua { "" } else { " --fua off" };
        write!(f, "--disk {disk} --sector {sector} --tear {tear}{fua} --schedules {schedules}")?;
        if self.recovery_crashes { f.write_str(" --recovery-crashes") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn more_of_anything_holds_less_of_it() {
        let usual = testing::explored();
        let without = Explored { fua: false, ..usual.clone() };
        assert!(usual.holds(&without) && !without.holds(&usual), "{without}");
        let others = [
            Explored { tear: Tear::Any, ..usual.clone() },
            Explored { schedules: 2, ..usual.clone() },
            Explored { recovery_crashes: true, ..usual.clone() },
        ];
        for more in &others {
            assert!(more.holds(&usual) && !usual.holds(more), "{more}");
        }
        assert!(!others[0].holds(&others[1]));
        for other in [Explored { disk: "lying".into(), ..usual.clone() }, Explored { sector: 4096, ..usual.clone() }] {
            assert!(!other.holds(&usual) && !usual.holds(&other), "{other}");
        }
        assert_eq!(others[2].to_string(), "--disk writeback --sector 512 --tear one --schedules 1 --recovery-crashes");
    }
}
