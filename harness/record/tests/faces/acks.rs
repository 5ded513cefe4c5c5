//! What is told to somebody outside is an ack, and nothing else is.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use program::{Call, Channel};
use record::record;

use crate::common::{FIXTURE, Run, face, spec};

fn acked(run: &Run, wanted: Channel) -> String {
    let data = run.trace.ops.iter().filter_map(|op| match &op.call {
        Call::Ack { channel, data } if *channel == wanted => Some(data.as_slice()),
        _ => None,
    });
    String::from_utf8(data.collect::<Vec<_>>().concat()).unwrap()
}

/// Somebody outside who listens at this path.
fn outsider() -> (tempfile::TempDir, String, UnixListener) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("outside");
    let listener = UnixListener::bind(&path).unwrap();
    (place, path.to_str().unwrap().to_owned(), listener)
}

#[test]
fn sockets_are_acks_and_their_names_are_files() {
    let (_place, path, _listener) = outsider();
    insta::assert_snapshot!(face(&["sockets", &path]).expect_complete().text());
}

#[test]
fn what_threads_and_processes_tell_each_other_is_no_ack() {
    let run = face(&["among-themselves"]);
    run.expect_complete();
    assert_eq!(run.lines("ack"), ["ack stdout \"done\\n\""], "{}", run.text());
}

#[test]
fn what_is_told_to_somebody_outside_is_an_ack() {
    let (_place, path, _listener) = outsider();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [path, tcp.local_addr().unwrap().to_string()] {
        let run = face(&["tell", &address]);
        run.expect_complete();
        assert_eq!(acked(&run, Channel::Socket), "told", "{address}");
    }
    // A server answers to clients outside.
    let directory = tempfile::tempdir().unwrap();
    let spec = spec([FIXTURE, "serve"], directory.path());
    let run = std::thread::scope(|scope| {
        let recorded = scope.spawn(|| record(&spec).unwrap());
        let place = |former: &str| loop {
            match std::fs::read_to_string(directory.path().join("place")) {
                Ok(place) if place != former => break place,
                _ if recorded.is_finished() => panic!("the server ended"),
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let mut answer = String::new();
        let port = place("");
        let mut client = TcpStream::connect(&port).unwrap();
        client.write_all(b"ask").unwrap();
        client.read_to_string(&mut answer).unwrap();
        let path = place(&port);
        let mut client = UnixStream::connect(directory.path().join(path)).unwrap();
        client.write_all(b"ask").unwrap();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "answeranswer");
        recorded.join().unwrap()
    });
    let run = Run { trace: run, directory };
    run.expect_complete();
    assert_eq!(acked(&run, Channel::Socket), "answeranswer");
}

#[test]
fn the_end_of_a_line_belongs_to_the_line() {
    let run = face(&["lines"]);
    run.expect_complete();
    insta::assert_snapshot!(run.text());
    assert_eq!(acked(&run, Channel::Stdout), "line 1\nline 2\nline 3\r\n\n");
}

#[test]
fn what_a_program_tells_itself_is_no_ack() {
    let run = face(&["socketpair"]);
    run.expect_complete();
    assert_eq!((acked(&run, Channel::Socket), acked(&run, Channel::Stdout)), (String::new(), "saved\n".to_owned()));
}

#[test]
fn everything_printed_is_an_ack() {
    let run = face(&["acks"]);
    insta::assert_snapshot!(run.expect_complete().text());
    assert_eq!(acked(&run, Channel::Stdout), "printed\nsaved by splice by name\n");
}

#[test]
fn much_output_is_drained() {
    let run = face(&["much-output"]);
    run.expect_complete();
    assert_eq!(acked(&run, Channel::Stdout).len(), 1 << 20);
}
