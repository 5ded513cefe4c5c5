use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::testing::{op, tree};
use crate::{Handle, Tree};

const CREATE: u32 = 0o101;
const TRUNCATE: u32 = 0o1101;

fn open(handle: u32, path: &str, flags: u32) -> Call {
    Call::Open { handle: Handle(handle), path: path.into(), flags, mode: 0o644 }
}

fn write(handle: u32, offset: u64, data: &[u8]) -> Call {
    Call::Write { handle: Handle(handle), offset, data: Arc::new(data.to_vec()), flags: 0 }
}

fn rename(from: &str, to: &str) -> Call {
    Call::Rename { from: from.into(), to: to.into(), flags: 0 }
}

/// A trace that starts with `config`, which holds "old".
fn trace_of(calls: Vec<Call>) -> Trace {
    let ops = calls.into_iter().map(op).collect();
    Trace { before: tree(&[("config", b"old")]), ops, ..Trace::default() }
}

/// What a file holds at each point, if it is there.
fn files(trace: &Trace, path: &str) -> Vec<(KilledAt, Option<Vec<u8>>)> {
    let content = |tree: Tree| tree.file(&path.into()).map(|content| content.to_vec());
    let mut files = KilledFiles::new(trace);
    kill_points(trace).into_iter().map(|point| (point, content(files.at(point).unwrap()))).collect()
}

/// Whoever asks again is told the same.
#[test]
fn the_order_in_which_points_are_looked_at_does_not_matter() {
    let calls = vec![open(0, "config", TRUNCATE), write(0, 0, &[b'n'; 9000]), rename("config", "new")];
    let trace = trace_of(calls);
    let mut files = KilledFiles::new(&trace);
    let points = kill_points(&trace);
    let forwards: Vec<Tree> = points.iter().map(|point| files.at(*point).unwrap()).collect();
    let mut backwards: Vec<Tree> = points.iter().rev().map(|point| files.at(*point).unwrap()).collect();
    backwards.reverse();
    assert_eq!((forwards.len(), &forwards), (6, &backwards));
    assert!(points.is_sorted());
}

#[test]
fn a_copy_is_cut_like_a_write() {
    let source: Vec<u8> = (0..9_100u32).map(|byte| (byte % 251) as u8).collect();
    let copy = Call::CopyRange { from: Handle(0), from_offset: 100, to: Handle(1), to_offset: 0, length: 9_000 };
    let calls = vec![open(0, "staged", CREATE), write(0, 0, &source), open(1, "config", 1), copy];
    let last = files(&trace_of(calls), "config").into_iter().filter(|(point, _)| point.begun() == 4);
    let states: Vec<_> = last.map(|(point, content)| (point.written, content.unwrap())).collect();
    let copied = |bytes: usize| source[100..100 + bytes].to_vec();
    let expected = [(Some(4096), copied(4096)), (Some(8192), copied(8192)), (None, copied(9000))];
    assert_eq!(states, expected);
}

proptest! {
    /// Cuts lie inside the write, at ends of pages of the file, and none is left out.
    #[test]
    fn writes_are_cut_at_pages(offset in 0u64..20_000, length in 0u64..20_000) {
        let expected: Vec<u64> = (1..length).filter(|written| (offset + written) % PAGE == 0).collect();
        prop_assert_eq!(cuts(offset, length).collect::<Vec<_>>(), expected);
    }

    /// A write that is cut leaves its beginning over what was there.
    #[test]
    fn a_cut_write_is_the_write_of_its_beginning(old in 0usize..12_000, offset in 0usize..9_000, length in 1usize..12_000) {
        let data = vec![b'n'; length];
        let calls = vec![open(0, "f", CREATE), write(0, 0, &vec![b'o'; old]), write(0, offset as u64, &data)];
        let last = files(&trace_of(calls), "f").into_iter().filter(|(point, _)| point.ended == 2);
        let found: Vec<_> = last.map(|(point, content)| (point.written.unwrap_or(0) as usize, content.unwrap())).collect();
        prop_assert_eq!(found.len(), 1 + cuts(offset as u64, length as u64).count());
        for (written, content) in found {
            let mut expected = vec![b'o'; old];
            if written > 0 {
                expected.resize(old.max(offset + written), 0);
                expected[offset..offset + written].fill(b'n');
            }
            prop_assert_eq!(content, expected);
        }
    }
}
