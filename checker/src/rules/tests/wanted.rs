//! Invariants that do not fit the program, and several on one path.

use program::Call;

use super::*;
use crate::testing::{open, print, trace, write};

#[test]
fn mistakes_are_named() {
    let calls = [save("new"), vec![print("saved it\n"), Call::Mkdir { path: "d".into(), mode: 0o755 }]].concat();
    let trace = trace(&[("f", b"old")], calls);
    let error = |wanted| Rules::new(&trace, &History::new(&trace), &[wanted]).unwrap_err().to_string();
    let nothing = crate::testing::trace(&[("f", b"old")], vec![]);
    insta::assert_snapshot!(
        [
            error(Wanted::AtomicReplace { path: "g".into() }),
            error(Wanted::AtomicReplace { path: "d".into() }),
            error(Wanted::DurableAfter { ack: Ack::Text("Saved".into()), path: None }),
            error(Wanted::DurableAfter { ack: Ack::Exit, path: None }),
            Rules::new(&nothing, &History::new(&nothing), &[]).unwrap_err().to_string(),
        ]
        .join("\n")
    );
}

#[test]
fn several_invariants_on_one_path_are_judged_each_and_none_twice() {
    let trace = log(Some(b"old\n"), &[b"one\n"]);
    let path = || RelPath::from("f");
    let mut wanted = append_only(Some(Record::Line), None).to_vec();
    wanted.extend([Wanted::PrefixOfHistory { path: path() }, Wanted::AtomicReplace { path: path() }]);
    let rules = rules(&trace, &[wanted.clone(), wanted].concat());
    assert_eq!(kinds(&rules, Some(b"old\none\n"), &NEVER), [""; 0]);
    assert_eq!(
        kinds(&rules, Some(b"old\no"), &NEVER),
        ["atomic-replace wrong-length", "append-only torn-record", "prefix-of-history wrong-length"]
    );
}

#[test]
fn invariants_that_do_not_fit_the_command_are_named() {
    let error = |trace: &Trace, wanted: &[Wanted]| {
        Rules::new(trace, &History::new(trace), wanted).map(|_| ()).unwrap_err().to_string()
    };
    let line = append_only(Some(Record::Line), None);
    let replaced = trace(&[("f", b"old")], save("new"));
    let history = [Wanted::PrefixOfHistory { path: "f".into() }];
    let large = vec![1; 20 << 20];
    let overwrites = (0..5).map(|n| write(1, n, b"x")).collect::<Vec<_>>();
    insta::assert_snapshot!(
        [
            error(&replaced, &line),
            error(&log(Some(b"old\n"), &[b"one\n", b"tw"]), &line),
            error(&replaced, &[line[0].clone(), append_only(None, None)[0].clone()]),
            error(&replaced, &[Wanted::MetadataPreserved { path: "tmp".into() }]),
            error(&replaced, &[Wanted::AllOrNothing { paths: vec!["f".into(), "g".into()] }]),
            error(&trace(&[("f", &large)], [vec![open(1, "f", 1)], overwrites].concat()), &history),
        ]
        .join("\n")
    );
}
