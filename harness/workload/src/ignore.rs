//! Names that matter to nobody, by patterns.

use std::fmt;
use std::str::FromStr;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use program::RelPath;
use serde::{Deserialize, Serialize};

/// A pattern for names that are no data: `*.log`, `cache/`, `run/*/pid`.
///
/// `*` and `?` stand for anything but a slash, `**` for whole directories, `[ab]` for one of these, `{a,b}` for either. A
/// pattern without a slash (but one at its end) is about names in any directory, any other about the path from the top.
/// What is below a directory that it names is meant, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IgnorePattern(String);

/// Longer patterns are nobody's wish, and cost memory.
const LONGEST: usize = 4096;

/// What is wrong with a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is no pattern of names to ignore: {problem}")]
pub struct PatternError {
    pattern: String,
    problem: String,
}

impl IgnorePattern {
    /// The globs that it stands for.
    fn globs(&self) -> Result<[globset::Glob; 2], globset::Error> {
        let pattern = self.0.trim_end_matches('/');
        let whole = if pattern.contains('/') { pattern.to_owned() } else { format!("**/{pattern}") };
        let glob = |text: &str| GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build();
        Ok([glob(&whole)?, glob(&format!("{whole}/**"))?])
    }
}

impl FromStr for IgnorePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let wrong = |problem: &str| PatternError { pattern: text.into(), problem: problem.into() };
        if text.trim_end_matches('/').is_empty() {
            return Err(wrong("it is empty"));
        }
        if text.len() > LONGEST {
            return Err(PatternError { pattern: "…".into(), problem: format!("it is longer than {LONGEST} bytes") });
        }
        if text.starts_with('/') || text.split('/').any(|part| [".", ".."].contains(&part)) {
            return Err(wrong("it is about paths from the directory of the run on, without `.` and `..`"));
        }
        let pattern = Self(text.into());
        pattern.globs().map_err(|error| wrong(&error.kind().to_string()))?;
        Ok(pattern)
    }
}

impl TryFrom<String> for IgnorePattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

impl From<IgnorePattern> for String {
    fn from(pattern: IgnorePattern) -> Self {
        pattern.0
    }
}

impl fmt::Display for IgnorePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// All names that some pattern is about.
#[derive(Clone, Debug, Default)]
pub struct Ignored(GlobSet);

impl Ignored {
    /// By these patterns.
    ///
    /// # Errors
    /// All of them together are too large.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a IgnorePattern>) -> Result<Self, PatternError> {
        let mut set = GlobSetBuilder::new();
        let wrong = |error: globset::Error| PatternError {
            pattern: error.glob().unwrap_or_default().into(),
            problem: error.kind().to_string(),
        };
        for pattern in patterns {
            for glob in pattern.globs().map_err(wrong)? {
                set.add(glob);
            }
        }
        set.build().map(Self).map_err(wrong)
    }

    /// Whether this name is one of them.
    pub fn has(&self, path: &RelPath) -> bool {
        self.0.is_match(path.as_path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_about_names_or_paths() {
        let meant = |pattern: &str| {
            let ignored = Ignored::new([&pattern.parse().unwrap()]).unwrap();
            let all = ["a.log", "d/a.log", "d/e/a.log", "a.log/x", "cache/x/y", "d/cache/x", "d/x.pid", "log"];
            all.into_iter().filter(|path| ignored.has(&RelPath::from(*path))).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(meant("*.log"), "a.log d/a.log d/e/a.log a.log/x");
        assert_eq!(meant("d/*.log"), "d/a.log");
        assert_eq!(meant("d/**"), "d/a.log d/e/a.log d/cache/x d/x.pid");
        assert_eq!(meant("cache/"), "cache/x/y d/cache/x");
        assert_eq!(meant("d/cache"), "d/cache/x");
        assert_eq!(meant("*.{pid,log}"), "a.log d/a.log d/e/a.log a.log/x d/x.pid");
        assert_eq!(meant("lo?"), "log");
        assert!(!Ignored::default().has(&"a".into()));
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text: &str| text.parse::<IgnorePattern>().unwrap_err().to_string();
        insta::assert_snapshot!(["", "/", "/etc/x", "../x", "[a", &"x".repeat(5000)].map(error).join("\n"), @r#"
        "" is no pattern of names to ignore: it is empty
        "/" is no pattern of names to ignore: it is empty
        "/etc/x" is no pattern of names to ignore: it is about paths from the directory of the run on, without `.` and `..`
        "../x" is no pattern of names to ignore: it is about paths from the directory of the run on, without `.` and `..`
        "[a" is no pattern of names to ignore: unclosed character class; missing ']'
        "…" is no pattern of names to ignore: it is longer than 4096 bytes
        "#);
    }
}
