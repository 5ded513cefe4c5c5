//! What is chosen for each way to change a file.

use program::{Call, Handle, Target};

use super::*;
use crate::testing::{CREATE, TRUNCATE, fsync, open, rename, trace, unlink, write};

/// What is chosen, in words, one line each.
fn chosen(files: &[(&str, &[u8])], calls: Vec<Call>) -> String {
    chosen_without(files, calls, &[])
}

fn chosen_without(files: &[(&str, &[u8])], calls: Vec<Call>, ignored: &[&str]) -> String {
    let trace = trace(files, calls);
    let history = History::new(&trace);
    let mut no_data = scratch(&history);
    no_data.extend(ignored.iter().map(|path| RelPath::from(*path)));
    let defaults = Defaults::new(&trace, &history, &no_data);
    let wanted = defaults.wanted.iter().map(|wanted| match wanted {
        Wanted::AtomicReplace { path } => format!("atomic-replace {path}"),
        Wanted::AppendOnly { path, record, .. } => format!("append-only {path} {record:?}"),
        Wanted::OneIsWhole { paths } => format!("one-is-whole {paths:?}"),
        Wanted::View(view) => format!("view {view}{}", if view.between { "" } else { " not between" }),
        other => format!("{other:?}"),
    });
    let unjudged = defaults.unjudged.iter().map(|it| match &it.why {
        Why::ChangedBeside { beside, more } => format!("unjudged {} beside {beside:?} and {more} more", it.path),
        Why::Recovers { format } => format!("unjudged {} of {format:?}", it.path),
        Why::Unreadable { problem } => format!("unjudged {}: {problem}", it.path),
    });
    let all: Vec<String> = wanted.chain(unjudged).collect();
    all.join("; ")
}

fn mkdir(path: &str) -> Call {
    Call::Mkdir { path: path.into(), mode: 0o755 }
}

const OLD: (&str, &[u8]) = ("f", b"old content");
const OTHER: (&str, &[u8]) = ("g", b"other content");

#[test]
fn what_is_replaced_or_made_anew() {
    let save = vec![open(1, "tmp", CREATE), write(1, 0, b"new"), fsync(1), rename("tmp", "f")];
    assert_eq!(chosen(&[OLD], save), "atomic-replace f");
    assert_eq!(chosen(&[OLD], vec![open(1, "f", TRUNCATE), write(1, 0, b"new")]), "atomic-replace f");
    assert_eq!(chosen(&[("f", b"")], vec![open(1, "f", TRUNCATE), write(1, 0, b"new")]), "atomic-replace f");
    assert_eq!(chosen(&[], vec![open(1, "f", CREATE), write(1, 0, b"new")]), "atomic-replace f");
    assert_eq!(chosen(&[OLD], vec![unlink("f")]), "atomic-replace f");
    assert_eq!(chosen(&[OLD], vec![rename("f", "h")]), "atomic-replace f; atomic-replace h");
    let again = vec![unlink("f"), open(1, "f", CREATE), write(1, 0, b"new")];
    assert_eq!(chosen(&[OLD], again), "atomic-replace f");
    assert_eq!(chosen(&[OLD], vec![open(1, "f", 1), write(1, 0, b"old")]), "atomic-replace f", "with the same");
    let emptied = vec![
        open(1, "f", 1),
        Call::Truncate { target: Target::Handle(Handle(1)), length: 0 },
        write(1, 0, b"new"),
        open(2, "g", 1),
        write(2, 0, b"new"),
    ];
    assert_eq!(chosen(&[OLD, OTHER], emptied), "atomic-replace f; unjudged g beside Some(\"f\") and 0 more");
}

#[test]
fn what_is_appended_to() {
    let append = |text: &[u8]| chosen(&[("f", b"old\n")], vec![open(1, "f", 0o2001), write(1, 4, text)]);
    assert_eq!(append(b"new\n"), "append-only f Some(Line)");
    assert_eq!(append(b"new"), "append-only f None");
    assert_eq!(append(b"\xff\n"), "append-only f None");
    let both = vec![open(1, "f", 0o2001), write(1, 4, b"new\n"), open(2, "g", TRUNCATE), write(2, 0, b"new")];
    assert_eq!(chosen(&[("f", b"old\n"), OTHER], both), "append-only f Some(Line); atomic-replace g");
    let made = vec![open(1, "f", CREATE), write(1, 0, b"one\n"), write(1, 4, b"two\n")];
    assert_eq!(chosen(&[], made), "atomic-replace f", "a new file");
    let then_overwritten = vec![open(1, "f", 1), write(1, 4, b"new\n"), write(1, 0, b"x")];
    assert_eq!(chosen(&[("f", b"old\n")], then_overwritten), "atomic-replace f");
}

#[test]
fn what_is_changed_in_place_alone_or_beside_others() {
    let in_place = || vec![open(1, "f", 2), write(1, 2, b"new"), fsync(1)];
    assert_eq!(chosen(&[OLD], in_place()), "atomic-replace f");
    let shortened = Call::Truncate { target: Target::Handle(Handle(1)), length: 3 };
    assert_eq!(chosen(&[OLD], [in_place(), vec![shortened]].concat()), "atomic-replace f");
    let journal = |made: Vec<Call>| [made, in_place(), vec![unlink("journal")]].concat();
    let written = || vec![open(2, "journal", CREATE), write(2, 0, b"undo"), fsync(2)];
    assert_eq!(chosen(&[OLD], journal(written())), "unjudged f beside Some(\"journal\") and 0 more");
    assert_eq!(chosen(&[OLD], journal(vec![open(2, "journal", CREATE)])), "atomic-replace f", "an empty lock");
    assert_eq!(chosen_without(&[OLD], journal(written()), &["journal"]), "atomic-replace f");
    let both = [in_place(), vec![open(3, "g", 2), write(3, 0, b"new")]].concat();
    let expected = "unjudged f beside Some(\"g\") and 0 more; unjudged g beside Some(\"f\") and 0 more";
    assert_eq!(chosen(&[OLD, OTHER], both.clone()), expected);
    assert_eq!(chosen_without(&[OLD, OTHER], both, &["g"]), "atomic-replace f");
    let unnamed = vec![Call::Open { handle: Handle(4), path: RelPath::root(), flags: 0o20200002, mode: 0o600 }];
    let unnamed = [unnamed, vec![write(4, 0, b"undo")], in_place()].concat();
    assert_eq!(chosen(&[OLD], unnamed), "unjudged f beside None and 0 more");
}

#[test]
fn what_is_made_from_a_file_that_is_removed() {
    let make = |name: &str, text: &[u8]| vec![open(1, name, CREATE), write(1, 0, text), fsync(1), unlink("f")];
    assert_eq!(chosen(&[OLD], make("f.gz", b"packed")), "one-is-whole [\"f\", \"f.gz\"]");
    assert_eq!(chosen(&[OLD], make("g", b"old content")), "one-is-whole [\"f\", \"g\"]");
    assert_eq!(chosen(&[OLD], make("g", b"something")), "atomic-replace f; atomic-replace g");
    assert_eq!(chosen(&[OLD], make("f.", b"something")), "atomic-replace f; atomic-replace f.");
    let unpack = vec![open(1, "data", CREATE), write(1, 0, b"content"), unlink("data.xz")];
    assert_eq!(chosen(&[("data.xz", b"packed")], unpack), "one-is-whole [\"data\", \"data.xz\"]");
    let by_rename = vec![open(1, "tmp", CREATE), write(1, 0, b"packed"), rename("tmp", "f.gz"), unlink("f")];
    assert_eq!(chosen(&[OLD], by_rename), "one-is-whole [\"f\", \"f.gz\"]");
    let linked = vec![Call::Link { from: Target::Path("f".into()), to: "f.bak".into() }, unlink("f")];
    assert_eq!(chosen(&[OLD], linked), "atomic-replace f; atomic-replace f.bak", "the same file");
    let kept = vec![open(1, "f.gz", CREATE), write(1, 0, b"packed")];
    assert_eq!(chosen(&[OLD], kept), "atomic-replace f.gz");
}

#[test]
fn formats_that_recover_by_themselves_own_their_files() {
    let sqlite: (&str, &[u8]) = ("d/a.db", b"SQLite format 3\0 and more");
    let commit = |journal: &str| {
        let journal = format!("d/{journal}");
        vec![open(1, &journal, CREATE), write(1, 0, b"x"), open(2, "d/a.db", 2), write(2, 20, b"new"), unlink(&journal)]
    };
    assert_eq!(chosen(&[sqlite], commit("a.db-journal")), "view sqlite d/a.db");
    let wal = vec![open(1, "d/a.db-wal", CREATE), write(1, 0, b"x"), open(2, "d/a.db-shm", CREATE), write(2, 0, b"x")];
    assert_eq!(chosen(&[sqlite], wal.clone()), "view sqlite d/a.db");
    let beside = [wal, vec![open(3, "f", 2), write(3, 0, b"new")]].concat();
    let expected = "view sqlite d/a.db; unjudged f beside Some(\"d/a.db-wal\") and 0 more";
    assert_eq!(chosen(&[sqlite, OLD], beside), expected);
    let made = vec![open(1, "new.db", CREATE), write(1, 0, b"SQLite format 3\0")];
    assert_eq!(chosen(&[], made), "view sqlite new.db");
    assert_eq!(chosen(&[], vec![open(1, "x-wal", CREATE), write(1, 0, b"x")]), "atomic-replace x-wal");
    // Only its scratch file is changed: nothing is.
    assert_eq!(chosen(&[sqlite], vec![open(1, "d/a.db-shm", CREATE), write(1, 0, b"x")]), "");
}

#[test]
fn environments_of_lmdb_have_no_reader_here() {
    let page = [&[0; 16][..], &0xBEEF_C0DE_u32.to_le_bytes(), &[1; 100]].concat();
    let data: (&str, &[u8]) = ("env/data.mdb", &page);
    let calls =
        vec![open(1, "env/lock.mdb", CREATE), write(1, 0, b"x"), open(2, "env/data.mdb", 2), write(2, 30, b"x")];
    assert_eq!(chosen(&[data], calls), "unjudged env/data.mdb of Lmdb");
    let single: (&str, &[u8]) = ("cache", &page);
    let calls = vec![open(1, "cache-lock", CREATE), write(1, 0, b"x"), open(2, "cache", 2), write(2, 30, b"x")];
    assert_eq!(chosen(&[single], calls), "unjudged cache of Lmdb");
    let bolt = [&[0; 16][..], &0xED0C_DAED_u32.to_le_bytes()].concat();
    assert_eq!(chosen(&[("db", &bolt)], vec![open(2, "db", 2), write(2, 20, b"x")]), "unjudged db of Bolt");
    // What another program calls so is data.
    assert_eq!(
        chosen(&[("lock.mdb", b"x")], vec![open(1, "lock.mdb", TRUNCATE), write(1, 0, b"y")]),
        "atomic-replace lock.mdb"
    );
}

#[test]
fn repositories_of_git() {
    let init = |top: &str| {
        let at = |name: &str| if top.is_empty() { name.to_owned() } else { format!("{top}/{name}") };
        let mut calls = if top.is_empty() { vec![] } else { vec![mkdir(top)] };
        calls.extend([
            mkdir(&at("objects")),
            mkdir(&at("refs")),
            open(1, &at("HEAD"), CREATE),
            write(1, 0, b"ref: x\n"),
        ]);
        calls.extend([open(2, "file", CREATE), write(2, 0, b"x")]);
        calls
    };
    assert_eq!(chosen(&[], init(".git")), "atomic-replace file; unjudged .git of Git");
    assert_eq!(chosen(&[], init("bare.git")), "atomic-replace file; unjudged bare.git of Git");
    assert_eq!(chosen(&[], init("")), "unjudged . of Git");
    let half = vec![mkdir(".git"), open(1, ".git/HEAD", CREATE), write(1, 0, b"x")];
    assert_eq!(chosen(&[], half), "atomic-replace .git/HEAD");
}

#[test]
fn stores_without_a_reader_are_known_by_their_files() {
    let made = |files: &[(&str, &[u8])]| {
        let mut calls = Vec::new();
        for (handle, (path, content)) in (1..).zip(files) {
            calls.extend([open(handle, path, CREATE), write(handle, 0, content)]);
        }
        chosen(&[], calls)
    };
    let leveldb: [(&str, &[u8]); 4] =
        [("000003.log", b"x"), ("CURRENT", b"MANIFEST-000002\n"), ("MANIFEST-000002", b"x"), ("notes.log", b"x")];
    assert_eq!(made(&leveldb), "atomic-replace notes.log; unjudged . of LevelDb", "what lies beside is judged");
    assert_eq!(made(&[("CURRENT", b"release 7\n"), ("1.log", b"x")]), "atomic-replace 1.log; atomic-replace CURRENT");
    assert_eq!(made(&[("a.journal", b"LPKSHHRH and more")]), "unjudged a.journal of Journald");
    assert_eq!(made(&[("a", b"12345678DUCK"), ("a.wal", b"x")]), "unjudged a of DuckDb");
    let berkeley = [&[0; 12][..], &0x0005_3162_u32.to_le_bytes()].concat();
    assert_eq!(made(&[("a.db", &berkeley), ("log.0000000001", b"x")]), "unjudged a.db of BerkeleyDb");
    assert_eq!(made(&[("log.0000000001", b"x")]), "atomic-replace log.0000000001");
    let lucene = 0x3fd7_6c17_u32.to_be_bytes();
    assert_eq!(made(&[("segments_1", &lucene), ("_0.cfs", b"x")]), "unjudged . of Lucene");
}

#[test]
fn stores_below_a_directory_own_all_of_it_but_databases_with_a_reader() {
    let made = |top: &[&str], files: &[(&str, &[u8])]| {
        let mut calls: Vec<Call> = top.iter().map(|path| mkdir(path)).collect();
        for (handle, (path, content)) in (1..).zip(files) {
            calls.extend([open(handle, path, CREATE), write(handle, 0, content)]);
        }
        chosen(&[], calls)
    };
    let bolt = [&[0; 16][..], &0xED0C_DAED_u32.to_le_bytes()].concat();
    let etcd: [(&str, &[u8]); 2] = [("d/member/snap/db", &bolt), ("d/member/wal/0.wal", b"x")];
    let tops = ["d", "d/member", "d/member/snap", "d/member/wal"];
    assert_eq!(made(&tops, &etcd), "unjudged d/member of Etcd");
    let cluster: [(&str, &[u8]); 3] = [("p/global/pg_control", b"x"), ("p/pg_wal", b"x"), ("q", b"x")];
    assert_eq!(made(&["p", "p/global"], &cluster), "atomic-replace q; unjudged p of PostgreSql");
    let svn: [(&str, &[u8]); 2] = [(".svn/wc.db", b"SQLite format 3\0"), (".svn/entries", b"12\n")];
    assert_eq!(made(&[".svn"], &svn), "view sqlite .svn/wc.db; unjudged .svn of Subversion");
}
