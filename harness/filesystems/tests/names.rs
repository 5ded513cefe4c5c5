//! Product sources name no file system: what is done with one otherwise than with others stands in its definition.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Where the sources of the product are. The native oracle is left out: it is a second opinion, and knows by itself how to
/// make and mount each file system. So is the benchmark, which knows how fast each should be.
const PRODUCT: [&str; 19] = [
    "checker/src",
    "harness/storage/src",
    "harness/explore/src",
    "vm-images/device/src",
    "harness/files/src",
    "harness/load/src",
    "harness/record/src",
    "harness/report/src",
    "harness/reporters/src",
    "harness/treeio/src",
    "harness/checks/src",
    "harness/cli/src",
    "harness/engine/src",
    "harness/plan/src",
    "harness/program/src",
    "harness/vm/src",
    "harness/workload/src",
    "vm-images",
    "workloads",
];

/// String literals that name one all the same: the file, a part of the literal, and the reason.
const EXCEPTIONS: [(&str, &str, &str); 3] = [
    ("harness/cli/src/cli.rs", "harness run --fs ext4", "an example of a command line, for people to type"),
    (
        "vm-images/agent/src/calls.rs",
        "/dev/btrfs-control",
        "the device that takes the ioctl of `AfterUnmount::ForgetDevice`",
    ),
    ("vm-images/agent/src/calls.rs", "failed to make btrfs forget", "the message where that ioctl fails"),
];

#[test]
fn only_definitions_name_file_systems() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut named = BTreeSet::new();
    let mut files = 0;
    for place in PRODUCT {
        let mut sources = Vec::new();
        collect(&root.join(place), &mut sources);
        assert!(!sources.is_empty(), "no sources below {place}");
        for path in sources {
            let text = fs::read_to_string(&path).unwrap();
            let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let file = path.strip_prefix(&root).unwrap().to_str().unwrap();
            literals(tokens, &mut |literal| {
                named.insert((file.to_owned(), literal));
            });
            files += 1;
        }
    }
    assert!(files > 100, "only {files} files");
    let is_excepted = |(file, literal): &(String, String), (known, part, _): &(&str, &str, &str)| {
        file == known && literal.contains(part)
    };
    let unexpected: Vec<_> = named.iter().filter(|it| !EXCEPTIONS.iter().any(|known| is_excepted(it, known))).collect();
    assert!(unexpected.is_empty(), "say it in harness/filesystems, or give a reason here: {unexpected:#?}");
    let gone: Vec<_> = EXCEPTIONS.iter().filter(|known| !named.iter().any(|it| is_excepted(it, known))).collect();
    assert!(gone.is_empty(), "these exceptions are needed no longer: {gone:#?}");
}

/// All Rust files below a directory that are no tests.
fn collect(directory: &Path, sources: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if !["tests", "target"].contains(&name) {
                collect(&path, sources);
            }
        } else if name.ends_with(".rs") && !["tests.rs", "testing.rs"].contains(&name) {
            sources.push(path);
        }
    }
}

/// Tells of each string literal that names a file system, but not of those in documentation and in items for tests only.
fn literals(tokens: TokenStream, tell: &mut dyn FnMut(String)) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                // Of a whole file (`#![…]`).
                let _ = tokens.next_if(|next| matches!(next, TokenTree::Punct(punct) if punct.as_char() == '!'));
                let attribute = tokens.next().map(|token| token.to_string().replace(' ', "")).unwrap_or_default();
                if attribute == "[cfg(test)]" {
                    // The item ends with its body or with a semicolon.
                    let ends = |token: &TokenTree| match token {
                        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                        TokenTree::Punct(punct) => punct.as_char() == ';',
                        _ => false,
                    };
                    let _ = tokens.find(ends);
                } else if !attribute.starts_with("[doc") && names_one(&attribute) {
                    tell(attribute);
                }
            }
            TokenTree::Group(group) => literals(group.stream(), tell),
            TokenTree::Literal(literal) if names_one(&literal.to_string()) => tell(literal.to_string()),
            _ => {}
        }
    }
}

/// Whether a text has the name of a file system in it.
fn names_one(text: &str) -> bool {
    filesystems::ALL.iter().any(|known| text.contains(known.name))
}

#[test]
fn literals_are_told_from_documentation_and_tests() {
    let source = r##"
        //! On ext4.
        /// On "xfs".
        #[arg(default_value = "ext4:noatime")]
        fn f(name: &str) -> bool { name == "btrfs" || matches!(name, r#"mkfs.xfs"#) || b"ext4" == name }
        #[cfg(test)] mod tests { const NAME: &str = "xfs"; }
        #[cfg(test)] const NAME: &str = "xfs";
        const OTHER: &str = "zfs"; // "ext4"
    "##;
    let mut found = Vec::new();
    literals(source.parse().unwrap(), &mut |literal| found.push(literal));
    assert_eq!(found, [r#"[arg(default_value="ext4:noatime")]"#, r#""btrfs""#, r##"r#"mkfs.xfs"#"##, r#"b"ext4""#]);
}
