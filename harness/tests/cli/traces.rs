//! `harness record` and `harness show`: traces, and files that are none.

use std::fs;

use crate::support::{Place, assert_tells, long};

#[test]
fn recorded_and_shown() {
    let place = Place::new();
    let script = "echo x > 'f g'; echo saved";
    place.write("notes", "kept");
    let record: &[&str] = &["record", "-o", "trace", "--", "sh", "-c", script];
    let first = place.tell(&[record, &["show", "trace"]]);
    fs::remove_file(place.path("f g")).unwrap();
    // The older trace is no part of what the second run starts from.
    assert_eq!(place.tell(&[record, &["show", "trace"]]), first);
    let trace = program::Trace::from_bytes(&fs::read(place.path("trace")).unwrap()).unwrap();
    let names = |tree: &program::Tree| tree.0.keys().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        (names(&trace.before), names(&trace.after)),
        (vec![".".into(), "notes".into()], vec![".".into(), "f g".into(), "notes".into()])
    );
    let failing = place.tell(&[
        &["record", "-o", "kept", "--", "false"],
        &["show", "kept"],
        &["record", "-o", "kept", "--", "sh", "-c", "kill -KILL $$"],
        &["show", "kept"],
        &["record", "-o", "none", "--", "/nowhere/program"],
        &["record", "-o", "none", "--", "./notes"],
        &["record", "-o", "none", "--time-limit", "1", "--", "sleep", &long(2)],
    ]);
    assert!(!place.path("none").exists());
    assert_tells!(place, first + &failing);
}

/// A command that does not stop writing would else fill the memory.
#[test]
fn commands_that_write_without_an_end() {
    let place = Place::new();
    for begin in [&["record", "-o", "none"][..], &["run", "--crash", "process"]] {
        // Zeros take no memory.
        for (input, limit) in [
            ("if=/dev/zero", "192.0 MiB that a recording can hold"),
            ("if=/dev/urandom", "160.0 MiB that a recording can hold of what is not zeros"),
        ] {
            let ended = place.run(&[begin, &["--", "dd", input, "of=f", "bs=64K", "status=none"]].concat());
            assert_eq!(ended.status, 2, "{}", ended.stderr);
            let told = format!("more than the {limit}, and was killed: have it write and print less\n");
            assert!(ended.stderr.ends_with(&told), "{}", ended.stderr);
        }
    }
    assert!(!place.path("none").exists());
}

/// Names, and whatever stands in a trace, give the terminal no orders, and are no lines of their own.
#[test]
fn names_that_a_terminal_would_obey() {
    let place = Place::new();
    let outside = place.temporary.path().join("\x1b[2J\nexit 0").display().to_string();
    let recorded = place.run(&["record", "-o", "trace", "--", "sh", "-c", "echo x > \"$0\"", &outside]);
    let failed = place.run(&["record", "-o", "none", "--", "/nowhere/\x1b[2J"]);
    let mut trace = program::Trace::from_bytes(&fs::read(place.path("trace")).unwrap()).unwrap();
    trace.limits.push(program::Limit {
        call: "mmap".into(),
        detail: "mapping of \x1b]0;x\x07\nexit 0".into(),
        count: 1,
    });
    place.write("trace", trace.to_bytes());
    let shown = place.run(&["show", "trace"]);
    assert_tells!(place, [recorded.stderr, failed.stderr, shown.stdout].concat());
}

#[test]
fn files_that_are_no_traces() {
    let place = Place::new();
    assert_eq!(place.run(&["record", "-o", "trace", "--", "true"]).status, 0);
    let good = fs::read(place.path("trace")).unwrap();
    let changed = |at: usize, bits: u8| {
        let mut bytes = good.clone();
        bytes[at] ^= bits;
        bytes
    };
    place.write("empty", "");
    place.write("foreign", "#!/bin/sh\necho no trace\n");
    place.write("cut", &good[..good.len() - 1]);
    place.write("header", &good[..15]);
    place.write("longer", [&good[..], b"x"].concat());
    place.write("other-version", changed(8, 8));
    place.write("claims-the-version-before", changed(8, 3));
    place.write("flipped", changed(good.len() - 1, 1));
    let names = ["empty", "foreign", "cut", "header", "longer", "other-version", "flipped", ".", "nowhere"];
    let commands = names.map(|name| ["show", name]);
    let commands: Vec<&[&str]> = commands.iter().map(|command| &command[..]).collect();
    assert_tells!(place, place.tell(&commands));
    // In which way it is damaged depends on what happens to stand in it.
    let before = place.run(&["show", "claims-the-version-before"]);
    assert_eq!(before.status, 2);
    assert!(before.stderr.contains("claims-the-version-before: this trace file is damaged: "), "{}", before.stderr);
}
