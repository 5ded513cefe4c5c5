//! What the tests of several crates share: what they need of the machine, and how much they do.
//!
//! A test that needs something which not every machine has, a guest say, asks [`given`] for it and returns if it gets
//! nothing. Such a test has passed without testing anything. Where that must not be, `HARNESS_TESTS_REQUIRE` names what
//! has to be there, by the names of [`Need`]s with commas between: `HARNESS_TESTS_REQUIRE=uml,qemu`. What is named and
//! missing makes the tests that need it fail.
#![forbid(unsafe_code)]

mod schema;

use std::fmt::Display;

pub use self::schema::{conforms, schema_is_committed};

/// What a test may need and a machine may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// `uml`: User Mode Linux.
    Uml,
    /// `qemu`: QEMU and a kernel for its guests.
    Qemu,
    /// `mkfs`: mkfs.ext4, mkfs.xfs and mkfs.btrfs.
    Mkfs,
    /// `native`: what the native oracle mounts with: root, FUSE and loop devices.
    Native,
    /// `programs`: programs that are recorded (python3), and a C compiler that can link statically.
    Programs,
    /// `i386`: a kernel that has the system calls of 32-bit programs.
    I386,
    /// `xattrs`: extended attributes in the directory for temporary files.
    Xattrs,
    /// `namespaces`: leave to make namespaces of mounts and of the network.
    Namespaces,
    /// `processor`: a processor that no guest of another test has claimed.
    Processor,
}

impl Need {
    /// All there are.
    pub const ALL: [Self; 9] = [
        Self::Uml,
        Self::Qemu,
        Self::Mkfs,
        Self::Native,
        Self::Programs,
        Self::I386,
        Self::Xattrs,
        Self::Namespaces,
        Self::Processor,
    ];

    /// The name by which `HARNESS_TESTS_REQUIRE` knows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uml => "uml",
            Self::Qemu => "qemu",
            Self::Mkfs => "mkfs",
            Self::Native => "native",
            Self::Programs => "programs",
            Self::I386 => "i386",
            Self::Xattrs => "xattrs",
            Self::Namespaces => "namespaces",
            Self::Processor => "processor",
        }
    }

    /// Returns whether what is needed boots guests, which take a gigabyte of memory each.
    fn is_guest(self) -> bool {
        matches!(self, Self::Uml | Self::Qemu)
    }
}

/// Returns what a test needs; if that could not be had, says so, and the test should return.
///
/// # Panics
/// If it could not be had and `HARNESS_TESTS_REQUIRE` names it, or names what no test needs. If cargo-nextest runs a test
/// that boots guests as one that does not: see `.config/nextest.toml`.
#[track_caller]
pub fn given<T>(need: Need, found: Result<T, impl Display>) -> Option<T> {
    if need.is_guest() {
        assert_is_in_group();
    }
    match found {
        Ok(found) => Some(found),
        Err(reason) => {
            skip(need, &reason);
            None
        }
    }
}

/// Fails if cargo-nextest runs this test as one that boots no guests. It says in which group a test is, and what profile
/// it runs, in the environment.
#[track_caller]
fn assert_is_in_group() {
    let variable = |name: &str| std::env::var(name).ok();
    let is_bounded = variable("NEXTEST_TEST_GROUP").is_none_or(|group| group == "guests");
    let is_left_out = variable("NEXTEST_PROFILE").is_none_or(|profile| profile != "fast");
    assert!(
        is_bounded && is_left_out,
        "this test boots guests, and .config/nextest.toml does not know it: add it to the group `guests`, which bounds how \
         many do so at once, and to what the profile `fast` leaves out"
    );
}

/// Says that a test is skipped, and why.
///
/// # Panics
/// If `HARNESS_TESTS_REQUIRE` names what is missing, or what no test needs.
#[track_caller]
pub fn skip(need: Need, reason: &dyn Display) {
    let required = std::env::var("HARNESS_TESTS_REQUIRE").unwrap_or_default();
    match skipped(&required, need, reason) {
        Ok(message) => eprintln!("{message}"),
        Err(message) => panic!("{message}"),
    }
}

/// The message of a test that is skipped, as an error where that must not be.
fn skipped(required: &str, need: Need, reason: &dyn Display) -> Result<String, String> {
    let required: Vec<&str> = required.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let known = Need::ALL.map(Need::name);
    if let Some(unknown) = required.iter().find(|name| !known.contains(name)) {
        return Err(format!(
            "HARNESS_TESTS_REQUIRE names {unknown:?}, which no test needs: it may name {}",
            known.join(", ")
        ));
    }
    if required.contains(&need.name()) {
        let name = need.name();
        return Err(format!("HARNESS_TESTS_REQUIRE names {name:?}, and this test cannot have it: {reason}"));
    }
    Ok(format!("skipped, because {reason}"))
}

/// Returns whether a program is in one of the directories of `PATH`; if not, says so.
///
/// # Panics
/// As [`skip`], with [`Need::Programs`].
#[track_caller]
pub fn have(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if !found {
        skip(Need::Programs, &format!("{program} is not installed"));
    }
    found
}

/// Returns how often to do something: `usually`, or `fully` in `scripts/test --full`.
pub fn rounds(usually: usize, fully: usize) -> usize {
    if is_full() { fully } else { usually }
}

/// Returns whether what takes long is tested, too: `scripts/test --full`.
pub fn is_full() -> bool {
    std::env::var_os("HARNESS_TEST_FULL").is_some_and(|full| full == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_required_and_missing_is_a_failure() {
        let reason = "linux.uml is not installed";
        for required in ["", " ", ",", "qemu", "qemu, mkfs"] {
            let message = "skipped, because linux.uml is not installed".to_owned();
            assert_eq!(skipped(required, Need::Uml, &reason), Ok(message), "{required:?}");
        }
        for required in ["uml", "uml,qemu", "qemu, uml ,"] {
            let message =
                "HARNESS_TESTS_REQUIRE names \"uml\", and this test cannot have it: linux.uml is not installed";
            assert_eq!(skipped(required, Need::Uml, &reason), Err(message.into()), "{required:?}");
        }
    }

    #[test]
    fn what_nobody_needs_cannot_be_required() {
        let error = skipped("uml,quemu", Need::Uml, &"it is missing").unwrap_err();
        assert!(
            error.starts_with("HARNESS_TESTS_REQUIRE names \"quemu\", which no test needs: it may name uml, qemu, ")
        );
    }
}
