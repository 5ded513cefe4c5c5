//! The libraries that the workspace is built from are those that deny.toml allows.
//!
//! cargo-deny checks the same and more, but it takes minutes to build and is not on every machine that builds the
//! harness. This asks cargo itself, and needs no network.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

/// What this reads of deny.toml.
#[derive(Deserialize)]
struct Deny {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    skip: Vec<Skip>,
}

/// A version of a library that may be there beside another one: `NAME@VERSION`.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Skip {
    #[serde(rename = "crate")]
    spec: String,
    #[expect(dead_code, reason = "it is for people, and must be there")]
    reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: BTreeSet<String>,
}

/// What this reads of Cargo.lock.
#[derive(Deserialize)]
struct Lock {
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    /// `None` for members of the workspace.
    source: Option<String>,
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn deny() -> Deny {
    toml::from_str(&std::fs::read_to_string(root().join("deny.toml")).unwrap()).unwrap()
}

/// Runs `cargo tree` over the whole workspace on the machines that it is for. Returns `{p}` and `{l}` of each package: its
/// name and version, and its licences.
fn tree(edges: &str) -> BTreeSet<(String, String)> {
    let arguments = ["tree", "--workspace", "--locked", "--offline", "--target", "x86_64-unknown-linux-gnu"];
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments).args(["--edges", edges, "--prefix", "none", "--no-dedupe", "--format", "{p}|{l}"]);
    let output = cargo.current_dir(root()).output().unwrap();
    assert!(output.status.success(), "cargo tree failed: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    // What a dependency for tests leads back to is marked, and not shown once more.
    let line = |line: &'_ str| line.strip_suffix(" (*)").unwrap_or(line).to_owned();
    let split = |text: &str| line(text).split_once('|').map(|(package, licences)| (package.into(), licences.into()));
    text.lines().filter_map(split).collect()
}

/// Returns whether an SPDX expression holds if only the `allowed` licences are. Older packages write `/` instead of `OR`.
///
/// SPDX 2.3, annex D.4: `AND` binds stronger than `OR`. A licence `WITH` an exception is one that is allowed by that name.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> Result<bool, String> {
    let text = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = text.split_whitespace().peekable();
    let holds = any(&mut words, allowed)?;
    match words.next() {
        None => Ok(holds),
        Some(word) => Err(format!("{word:?} is not expected in {expression:?}")),
    }
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Result<bool, String> {
    let mut holds = all(words, allowed)?;
    while words.next_if_eq(&"OR").is_some() {
        holds |= all(words, allowed)?;
    }
    Ok(holds)
}

fn all(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Result<bool, String> {
    let mut holds = one(words, allowed)?;
    while words.next_if_eq(&"AND").is_some() {
        holds &= one(words, allowed)?;
    }
    Ok(holds)
}

fn one(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Result<bool, String> {
    match words.next() {
        Some("(") => {
            let holds = any(words, allowed)?;
            words.next_if_eq(&")").map(|_| holds).ok_or_else(|| "a bracket is not closed".into())
        }
        Some(name) if !["AND", "OR", "WITH", ")"].contains(&name) => {
            let mut name = name.to_owned();
            if words.next_if_eq(&"WITH").is_some() {
                name = format!("{name} WITH {}", words.next().ok_or("an exception is not named")?);
            }
            Ok(allowed.contains(&name))
        }
        other => Err(format!("a licence is expected instead of {other:?}")),
    }
}

#[test]
fn expressions_are_understood() {
    let allowed = BTreeSet::from(["MIT", "Apache-2.0", "BSD-3-Clause"].map(String::from));
    for good in [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-2.0 OR MIT",
        "MIT OR GPL-2.0 AND LGPL-2.1",
        "(GPL-2.0 OR MIT) AND BSD-3-Clause",
        "Apache-2.0 WITH LLVM-exception OR Apache-2.0",
    ] {
        assert_eq!(is_allowed(good, &allowed), Ok(true), "{good}");
    }
    for bad in ["GPL-2.0", "MIT AND GPL-2.0", "Apache-2.0 WITH LLVM-exception", "(MIT OR GPL-2.0) AND LGPL-2.1"] {
        assert_eq!(is_allowed(bad, &allowed), Ok(false), "{bad}");
    }
    for broken in ["", "MIT OR", "(MIT", "MIT Apache-2.0", "MIT WITH"] {
        is_allowed(broken, &allowed).unwrap_err();
    }
}

#[test]
fn licences_are_allowed() {
    let allowed = deny().licenses.allow;
    let packages = tree("normal,build,dev");
    assert!(packages.len() > 50, "{packages:?}");
    let refused: Vec<String> = packages
        .iter()
        .filter(|(_, licences)| is_allowed(licences, &allowed) != Ok(true))
        .map(|(package, licences)| format!("{package}: {licences:?}"))
        .collect();
    assert_eq!(refused, Vec::<String>::new(), "deny.toml allows no licence of these");
}

/// As with cargo-deny, what only tests are built from may be there in several versions.
#[test]
fn no_library_is_there_twice() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (package, _) in tree("normal,build") {
        let mut words = package.split(' ');
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            versions.entry(name.into()).or_default().insert(version.trim_start_matches('v').into());
        }
    }
    let mut skipped: BTreeSet<String> = deny().bans.skip.into_iter().map(|skip| skip.spec).collect();
    let mut twice = Vec::new();
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        let left: Vec<&String> =
            versions.iter().filter(|version| !skipped.remove(&format!("{name}@{version}"))).collect();
        if left.len() > 1 {
            twice.push(format!("{name} {left:?}"));
        }
    }
    assert_eq!(twice, Vec::<String>::new(), "deny.toml does not allow several versions of these");
    assert_eq!(skipped, BTreeSet::new(), "deny.toml allows these besides another version, and there is none");
}

#[test]
fn everything_comes_from_the_registry() {
    let lock: Lock = toml::from_str(&std::fs::read_to_string(root().join("Cargo.lock")).unwrap()).unwrap();
    let allowed: BTreeSet<String> =
        deny().sources.allow_registry.iter().map(|address| format!("registry+{address}")).collect();
    let elsewhere: Vec<&str> = lock
        .package
        .iter()
        .filter(|package| package.source.as_ref().is_some_and(|source| !allowed.contains(source)))
        .map(|package| package.name.as_str())
        .collect();
    assert_eq!(elsewhere, Vec::<&str>::new(), "deny.toml allows no such source");
}
