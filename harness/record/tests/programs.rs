//! The recorder on real programs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Run, elsewhere_is_named, run, spec};
use record::{RecordError, RecordSpec, Stdin, exit_status, record};
use testkit::{Need, have};

fn shell(script: &str) -> Run {
    run(["/bin/sh", "-c", script])
}

#[test]
fn a_shell_and_its_children() {
    let run = shell("echo one > a; cat a; mkdir d; mv a d/b; ln d/b c; ln -s c l; rm c; echo two >> l");
    run.expect_complete().expect_in_order(&[
        "\"a\", O_WRONLY|O_CREAT|O_TRUNC, 0",
        "write(h0 \"a\", \"one\\n\", 4, at 0) = 4",
        "close(h0 \"a\")",
        "[1] ack stdout \"one\\n\"",
        "[2] mkdir",
        "(\"a\", \"d/b\"",
        "(\"d/b\" (not followed), \"c\")",
        "(\"c\", \"l\")",
        "(\"c\")",
        // The link leads to it.
        "(\"c\", O_WRONLY|O_CREAT|O_APPEND, 0",
        "exit 0",
    ]);
    shell("echo one > a; (echo two; cat a) | sort > b; cp a c; rm a; : > empty; exec 3> three; echo x >&3")
        .expect_complete();
}

#[test]
fn another_recording_is_the_same_to_the_byte() {
    let record = || {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        fs::hard_link(directory.path().join("b"), directory.path().join("twin")).unwrap();
        let script = "umask 022; echo new > a.tmp; mv a.tmp a; mkdir d; ln c d/c; (echo more >> c); echo saved";
        (record(&spec(["/bin/sh", "-c", script], directory.path())).unwrap(), directory)
    };
    // The first directory stays, so that the second has other inodes.
    let ((one, _stays), (two, _)) = (record(), record());
    assert_eq!(program::listing(&one), program::listing(&two));
    assert!(one.to_bytes() == two.to_bytes());
}

#[test]
fn core_utilities() {
    let run = shell(
        "umask 022; dd if=/dev/zero of=zeros bs=1000 count=5 conv=fsync 2>/dev/null; truncate -s 2500 zeros; cp -a zeros copy; \
         mkdir -p a/b/c; cp -a a twin; install -m 750 zeros a/installed; touch -d @5 zeros; chmod -R g+w a; mkfifo pipe; \
         mv a renamed; rm -r twin; seq 1 2000 > numbers; split -l 500 numbers part.; tee one two < part.aa > /dev/null; sync",
    );
    run.expect_complete();
    assert!(!run.lines("sync(").is_empty());
}

#[test]
fn a_python_program_that_saves_a_file() {
    if !have("python3") {
        return;
    }
    let script = "
import os, json, threading
with open('settings.tmp', 'w') as f:
    json.dump({'volume': 11}, f)
    f.flush()
    os.fsync(f.fileno())
os.rename('settings.tmp', 'settings.json')
d = os.open('.', os.O_RDONLY)
os.fsync(d)
os.close(d)
print('saved', flush=True)
";
    // Its own caches would be written outside.
    run(["python3", "-B", "-c", script]).expect_complete().expect_in_order(&[
        "\"settings.tmp\", O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0",
        "write(h0 \"settings.tmp\", \"{\\\"volume\\\": 11}\", 14, at 0) = 14",
        "fsync(h0 \"settings.tmp\") = 0",
        "close(h0 \"settings.tmp\")",
        "rename(\"settings.tmp\", \"settings.json\") = 0",
        "open(\".\", O_RDONLY",
        "fsync(h1 \".\") = 0",
        "close(h1 \".\")",
        "ack stdout \"saved",
        "exit 0",
    ]);
}

#[test]
fn python_threads_and_subprocesses() {
    if !have("python3") {
        return;
    }
    let script = "
import os, subprocess, sys, threading
log = open('log', 'ab', buffering=0)
def work(n):
    for i in range(50):
        log.write(b'%d %d\\n' % (n, i))
        with open('f%d' % n, 'w') as f: f.write('x' * i)
        os.replace('f%d' % n, 'last')
threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
for t in threads: t.start()
for t in threads: t.join()
subprocess.run([sys.executable, '-c', 'import os; os.write(1, b\"child\")'], stdout=log, check=True)
log.truncate(100)
";
    run(["python3", "-B", "-c", script]).expect_complete();
}

/// Compiles a C program; `None` if there is no compiler, or no library for such a program.
fn compile(source: &str, flags: &[&str], into: &Path) -> Option<std::path::PathBuf> {
    if !have("cc") {
        return None;
    }
    let (code, program) = (into.join("program.c"), into.join("program"));
    fs::write(&code, source).unwrap();
    let output = Command::new("cc").args(flags).arg("-o").arg(&program).arg(&code).output().unwrap();
    if !output.status.success() {
        testkit::skip(Need::Programs, &format!("cc cannot build this: {}", String::from_utf8_lossy(&output.stderr)));
        return None;
    }
    Some(program)
}

#[test]
fn a_static_program() {
    let source = r#"
        #include <fcntl.h>
        #include <stdio.h>
        #include <unistd.h>
        int main(void) {
            int fd = open("file", O_CREAT | O_WRONLY, 0666);
            if (write(fd, "static", 6) != 6 || fsync(fd) || close(fd)) return 1;
            return puts("done") < 0;
        }
    "#;
    let place = tempfile::tempdir().unwrap();
    let Some(program) = compile(source, &["-static"], place.path()) else { return };
    let run = run([program.as_os_str()]);
    run.expect_complete().expect_in_order(&[
        "(\"file\", O_WRONLY|O_CREAT, 0",
        "write(h0 \"file\", \"static\", 6, at 0) = 6",
        "fsync(h0 \"file\") = 0",
        "close(h0 \"file\")",
        "ack stdout \"done\\n\"",
        "exit 0",
    ]);
}

#[test]
fn calls_of_a_foreign_architecture_are_told_and_not_killed() {
    // 20 is getpid of i386. A kernel without 32-bit calls kills the program by SIGSEGV, natively too.
    let source = r#"
        int main(void) {
            long result;
            __asm__ volatile ("int $0x80" : "=a"(result) : "a"(20) : "memory");
            return result <= 0;
        }
    "#;
    let place = tempfile::tempdir().unwrap();
    let Some(program) = compile(source, &[], place.path()) else { return };
    let native = Command::new(&program).status().unwrap();
    let run = run([program.as_os_str()]);
    match native.code() {
        Some(code) => {
            assert_eq!(exit_status(&run.trace), Some(code));
            assert_eq!(run.trace.limits[0].call, "foreign architecture", "{}", run.text());
        }
        None => testkit::skip(Need::I386, &"this kernel has no 32-bit calls"),
    }
}

#[test]
fn exit_statuses_are_those_of_a_shell() {
    assert_eq!(exit_status(&shell("exit 42").trace), Some(42));
    let run = shell("echo before > file; kill -9 $$");
    assert_eq!(exit_status(&run.trace), Some(137));
    run.expect_explained();
    assert_eq!(run.lines("exit"), Vec::<String>::new());
    assert_eq!(run.lines("killed"), ["killed by SIGKILL (signal 9)"]);
    assert_eq!(shell("sh -c 'kill -9 $$'; exit $?").lines("exit 1"), ["exit 137"]);
    assert_eq!(exit_status(&shell("kill -TERM $$").trace), Some(143));
}

#[test]
fn a_program_that_is_not_there_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let fail = |command: &[&str]| record(&spec(command.iter().copied(), directory.path())).unwrap_err();
    let error = fail(&["no-such-program-anywhere"]);
    assert!(matches!(error, RecordError::NotFound(_)), "{error}");
    assert_eq!(error.to_string(), "program \"no-such-program-anywhere\" not found: give its full path, or check PATH");
    assert!(matches!(fail(&["./none"]), RecordError::NotFound(_)));
    assert!(matches!(fail(&[]), RecordError::NoCommand));
    assert!(matches!(fail(&[""]), RecordError::NoCommand));
    fs::write(directory.path().join("text"), b"no program").unwrap();
    let error = fail(&["./text"]);
    assert_eq!(error.to_string(), "cannot start \"./text\": Permission denied (os error 13)");
    let nowhere = record(&RecordSpec::new(["true"], directory.path().join("nowhere"))).unwrap_err();
    assert!(matches!(nowhere, RecordError::Directory { .. }), "{nowhere}");
}

#[test]
fn input_environment_and_directory_are_as_asked() {
    let directory = tempfile::tempdir().unwrap();
    let input = directory.path().join("input");
    fs::write(&input, b"from a file").unwrap();
    let mut spec = spec(["/bin/sh", "-c", "cat > copy; pwd > where; echo $VALUE > value"], directory.path());
    spec.stdin = Stdin::File(input);
    spec.env = vec![("VALUE".into(), "given".into())];
    let run = Run { trace: record(&spec).unwrap(), directory };
    run.expect_complete();
    assert_eq!(run.after("copy"), b"from a file");
    assert_eq!(run.after("value"), b"given\n");
    let here = fs::canonicalize(run.directory.path()).unwrap();
    assert_eq!(String::from_utf8(run.after("where")).unwrap().trim_end(), here.to_str().unwrap());
    assert_eq!(exit_status(&shell("read x").trace), Some(1));
}

#[test]
fn files_written_elsewhere_are_named() {
    let elsewhere = tempfile::tempdir().unwrap();
    let path = elsewhere.path().join("file");
    let run = shell(&format!("echo x > {0}; echo y >> {0}; echo z > /dev/null; cat {0} > here", path.display()));
    run.expect_complete();
    if elsewhere_is_named() {
        assert_eq!(run.trace.outside, [fs::canonicalize(path).unwrap().to_string_lossy()]);
    }
}

#[test]
fn names_changed_elsewhere_are_named() {
    let elsewhere = tempfile::tempdir().unwrap();
    for name in ["moved", "removed", "old", "mode"] {
        fs::write(elsewhere.path().join(name), name).unwrap();
    }
    fs::create_dir(elsewhere.path().join("empty")).unwrap();
    let run = shell(&format!(
        "cd {}; mkdir made; rmdir empty; mv moved to; rm removed; ln -s x symlink; ln old link; chmod 600 mode; \
         chmod 700 . none 2> /dev/null; mkdir none/x 2> /dev/null; rm none/x 2> /dev/null; test -d .",
        elsewhere.path().display()
    ));
    run.expect_complete();
    if elsewhere_is_named() {
        let root = fs::canonicalize(elsewhere.path()).unwrap();
        let names =
            run.trace.outside.iter().map(|path| Path::new(path).strip_prefix(&root).unwrap().display().to_string());
        let expected = ["", "empty", "link", "made", "mode", "moved", "removed", "symlink", "to"];
        assert_eq!(names.collect::<Vec<_>>(), expected);
    }
}

#[test]
fn access_lists_that_are_plain_modes_are_recorded_as_such() {
    // `cp -a` sets modes through access lists where the file system has them.
    let run = shell("umask 077; echo x > a; chmod 4751 a; mkdir d; chmod 1777 d; cp -a a b; cp -a d e");
    run.expect_complete();
    let mode = |path: &str| run.trace.after.0[&path.into()].mode;
    assert_eq!((mode("b"), mode("e")), (0o4751, 0o1777));
}
