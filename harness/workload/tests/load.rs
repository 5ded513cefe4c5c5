//! Reading `workload.toml`, and everything that can be wrong with it or its place.

mod common;

use std::path::Path;
use std::time::Duration;

use checker::{Ack, Wanted};
use common::{Place, write};
use workload::{DEFAULT_TIME_LIMIT, Error, ErrorKind, Workload};

#[test]
fn every_key_is_understood() {
    let place = Place::new();
    write(place.path().join("example/old/settings.json"), "{}");
    let workload = place
        .load(
            r#"
            description = "Saves badly."
            build = ["make", "-s"]
            setup = ["{workload}/first"]
            command = ["{target}/save", "{run}", "{other}"]
            from = "old"
            check = ["{workload}/check"]
            time-limit = 5
            env = { HOME = "{run}" }

            [[invariant]]
            kind = "atomic-replace"
            path = "settings.json"

            [[invariant]]
            kind = "durable-after"
            ack = "saved"
            "#,
        )
        .expect("it is right");
    let from = workload.from.clone().expect("it was given");
    assert_eq!(from, place.path().join("example/old"));
    assert_eq!(workload.directory, Some(place.path().join("example")));
    let durable = Wanted::DurableAfter { ack: Ack::Text("saved".into()), path: None };
    assert_eq!(workload.invariants, [Wanted::AtomicReplace { path: "settings.json".into() }, durable]);
    assert_eq!(workload.time_limit, Duration::from_secs(5));
    assert_eq!(workload.name, "example");
    assert_eq!(workload.description.as_deref(), Some("Saves badly."));
    assert_eq!(workload.build, Some(vec!["make".to_owned(), "-s".to_owned()]));
    assert_eq!(workload.command, ["{target}/save", "{run}", "{other}"]);
    assert_eq!(workload.check, Some(vec!["{workload}/check".to_owned()]));
    assert_eq!(workload.env["HOME"], "{run}");
}

#[test]
fn a_command_is_enough() {
    let workload = Place::new().load(r#"command = ["true"]"#).expect("it is right");
    assert_eq!(workload.time_limit, DEFAULT_TIME_LIMIT);
    assert!(workload.build.is_none() && workload.setup.is_none() && workload.from.is_none());
    assert!(workload.invariants.is_empty() && workload.env.is_empty());
}

#[test]
fn wrong_manifests_are_told_by_line_and_column() {
    let place = Place::new();
    write(place.path().join("example/a_file"), "");
    let wrong = [
        ("not TOML", "command = [\"true\"]\nsetup = [\"a\" \"b\"]\n"),
        ("not TOML, at its end", "command = [\"true\""),
        ("unknown key", "# says what to run\ncomand = [\"true\"]\n"),
        ("unknown key after a wide character", "\"\u{e9}\u{e9}\" = 1"),
        // Whoever runs a workload says on which.
        ("file systems", "command = [\"true\"]\nfilesystems = [\"zfs\"]\n"),
        ("no command", "description = \"nothing to run\"\n"),
        ("command of another type", "command = \"true\"\n"),
        ("empty command", "description = \"\"\ncommand = []\n"),
        ("empty program", "command = [\"\", \"x\"]\n"),
        ("empty setup", "command = [\"true\"]\nsetup = []\n"),
        ("NUL", "command = [\"true\", \"\\u0000\"]\n"),
        ("no time", "command = [\"true\"]\ntime-limit = 0\n"),
        ("negative time", "command = [\"true\"]\ntime-limit = -1\n"),
        ("missing start directory", "command = [\"true\"]\nfrom = \"old\"\n"),
        ("start directory is a file", "command = [\"true\"]\nfrom = \"a_file\"\n"),
        ("start directory elsewhere", "command = [\"true\"]\nfrom = \"../other\"\n"),
        ("absolute start directory", "command = [\"true\"]\nfrom = \"/etc\"\n"),
        ("unknown invariant", "command = [\"true\"]\n\n[[invariant]]\nkind = \"atomic\"\n"),
        (
            "invariant with a wrong key",
            "command = [\"true\"]\n\n[[invariant]]\nkind = \"durable-after\"\nsaid = \"saved\"\n",
        ),
        (
            "invariant about another place",
            "command = [\"true\"]\n\n[[invariant]]\nkind = \"atomic-replace\"\npath = \"../f\"\n",
        ),
        ("name of a variable", "command = [\"true\"]\nenv = { \"A=B\" = \"\" }\n"),
    ];
    let told = wrong.map(|(what, manifest)| {
        let error = place.load(manifest).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Input);
        format!("--- {what}\n{}\n", place.text(error))
    });
    insta::assert_snapshot!(told.concat());
}

#[test]
fn wrong_places_are_told_with_what_is_there() {
    let place = Place::new();
    for name in ["naive_config", "naive_config_py", "durable_replace"] {
        place.workload(&format!("workloads/{name}"), "command = [\"true\"]");
    }
    write(place.path().join("workloads/common/lib.rs"), "");
    let told = [
        "workloads/naive_confg",
        "naive_config",
        "workloads/other",
        "workloads",
        "workloads/common",
        "none/at/all",
        "workloads/common/lib.rs",
    ]
    .map(|path| {
        let error = Workload::load(&place.path().join(path)).expect_err(path);
        assert_eq!(error.kind(), ErrorKind::Input);
        format!("--- {path}\n{}\n", place.text(error))
    });
    insta::assert_snapshot!(told.concat());
}

#[test]
fn bare_commands() {
    let command = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let workload = Workload::bare(command(&["./save", "{workload}"]), None).expect("it is right");
    assert_eq!(workload.name, "save");
    assert_eq!(
        workload.command,
        [std::env::current_dir().expect("there is one").join("save").to_str().expect("text"), "{workload}"]
    );

    let workload = Workload::bare(command(&["true", "{target}"]), Some(Path::new("."))).expect("it is right");
    assert_eq!(workload.from, std::env::current_dir().ok());
    let invocation = workload.command_in(Path::new("/")).expect("true is in PATH");
    assert_eq!(invocation.argv, ["true", "{target}"]);

    let place = Place::new();
    write(place.path().join("file"), "");
    let none = place.path().join("none");
    let file = place.path().join("file");
    let errors: [Error; 4] = [
        Workload::bare(vec![], None).expect_err("no word"),
        Workload::bare(command(&[""]), None).expect_err("an empty word"),
        Workload::bare(command(&["true"]), Some(&none)).expect_err("not there"),
        Workload::bare(command(&["true"]), Some(&file)).expect_err("a file"),
    ];
    insta::assert_snapshot!(errors.map(|error| place.text(error)).join("\n"));
}

/// A FIFO was waited for, and holes were parsed until there was no memory left.
#[test]
fn what_is_no_manifest_is_neither_waited_for_nor_parsed() {
    let place = Place::new();
    let path = place.path().join("example/workload.toml");
    write(&path, "");
    let refused = || Workload::load(&place.path().join("example")).unwrap_err();
    std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(refused(), Error::Unreadable { .. }), "{}", refused());
    std::fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(refused().to_string().ends_with("workload.toml: it is no regular file"), "{}", refused());
    assert_eq!(refused().kind(), ErrorKind::Input);
}
