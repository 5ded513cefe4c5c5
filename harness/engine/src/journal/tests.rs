use std::sync::Arc;

use checker::Mount;
use storage::{DiskModel, Image};

use super::file::read;
use super::known::LOOKED_AT_AGAIN;
use super::names::LARGEST_CONTENT;
use super::*;
use crate::execute::Execution;
use crate::unit::{Executed, ToVisit, Unit};
use explore::Frontier;
use plan::Plan;

const PLAN: Id = Id([3; 16]);

fn nothing() -> Observation {
    Observation { mount: Mount::Mounted, entries: Default::default() }
}

fn entry() -> ToVisit {
    let execution = Execution { start: Image::zeroed(1), log: BlockLog::default() };
    let executed = Arc::new(Executed::new(0, Plan::default(), execution, &DiskModel::default()));
    let mut front = Frontier::new(0);
    front.begin(Arc::new(Unit { index: 0, executed, epoch: 0, key: [0; 16], recovery_crash: None }));
    front.take(1).remove(0)
}

/// A disk that is full is told to the user, once, and stops no run.
#[test]
fn what_cannot_be_kept_is_said_once() {
    let file = File::options().write(true).open("/dev/full").unwrap();
    let writer = Writer { file, names: Names::default(), executions: HashMap::new() };
    let journal = Journal { writer: Mutex::new(Some(writer)), ..Journal::none() };
    let add = || journal.add(0, &entry(), PLAN, (&[], &nothing(), None));
    assert_eq!(add().unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert!(add().is_ok());
}

fn line(run: &str, cell: usize, branch: u8) -> String {
    let (unit, branch) = (Id([7; 16]), Id([branch; 16]));
    let visit = Visit { cell, unit, branch, settled: vec![(1, 2, true)], observation: None, recovery: None };
    seal_line(run, &Line::Visit(visit))
}

#[test]
fn lines_are_those_of_their_run_and_whole() {
    let both = line("run", 0, 1) + &line("run", 0, 2);
    let whole = |text: &str| read(text.as_bytes(), "run").unwrap().map(|(known, whole)| (known.visits.len(), whole));
    assert_eq!(whole(&both), Ok((2, both.len() as u64)));
    // A kill.
    assert_eq!(whole(&both[..both.len() - 1]).unwrap().0, 1);
    let damaged = "line 1 does not hold what its checksum was made of; begin the run again";
    for wrong in [both.replace("true", "false"), line("other", 0, 1), "{}\n".into(), both.replace("[[1", "[[3")] {
        assert_eq!(whole(&wrong).unwrap_err(), damaged, "{wrong}");
    }
}

#[test]
fn some_entries_of_each_cell_are_looked_at_again() {
    let place = |cell, branch| (cell, [7; 16], [branch; 16]);
    let text: String = (0..100).map(|branch| line("run", 0, branch)).chain([line("run", 1, 0)]).collect();
    let (known, _) = read(text.as_bytes(), "run").unwrap().unwrap();
    let again = chosen(&known, 1);
    assert_eq!(again.iter().filter(|(cell, ..)| *cell == 0).count(), LOOKED_AT_AGAIN);
    assert!(again.contains(&place(1, 0)));
    assert_eq!(again, chosen(&known, 1));
    assert_ne!(again, chosen(&known, 2));
}

/// Each observation and each content is written once, whatever names it.
#[test]
fn what_was_seen_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _lock) = Store::create(directory.path()).unwrap();
    let journal = Journal::open(&store, "run", 0).unwrap();
    let entry = entry();
    journal.add(0, &entry, PLAN, (&[], &nothing(), None)).unwrap();
    journal.add(1, &entry, PLAN, (&[], &nothing(), None)).unwrap();
    journal.add_execution(0, 3, &BlockLog::default()).unwrap();
    journal.add_look(0, &[9; 16], &State::default(), PLAN, &nothing()).unwrap();
    let text = std::fs::read_to_string(directory.path().join(NAME)).unwrap();
    assert_eq!(text.matches("\"line\":\"observation\"").count(), 1, "{text}");
    let known = Known::of(&store, "run").unwrap();
    let record = known.find(1, &entry).unwrap();
    assert_eq!((record.decisions, record.observed.unwrap().plan), (vec![], PLAN));
    assert!(known.execution(0, 3).is_some() && known.execution(0, 2).is_none());
    assert_eq!(known.looks(0, &[9; 16], &State::default()).count(), 1);
    // For another run, under another plan, with what is left of it.
    let other = |cell: usize, seen: &Observed, _: Of| {
        let observed = (cell == 0).then(|| Observed { plan: Id([4; 16]), observation: seen.observation.clone() });
        observed.into_iter().collect()
    };
    Journal::begin(&store, "other", &known.lines(other)).unwrap();
    let known = Known::of(&store, "other").unwrap();
    assert!(known.find(1, &entry).is_none() && known.execution(0, 3).is_some());
    assert_eq!(known.find(0, &entry).unwrap().observed.unwrap().plan, Id([4; 16]));
    assert_eq!(known.looks(0, &[9; 16], &State::default()).count(), 1);
    assert!(Known::of(&store, "run").is_err());
}

/// Contents that are too large are not kept, and neither is what names them; the visit is, without.
#[test]
fn what_is_too_large_is_left_out() {
    use checker::{EntryKind, Seen};
    let content = Arc::new(vec![1; LARGEST_CONTENT + 1]);
    let kind = EntryKind::File { size: content.len() as u64, seen: Seen::Bytes(content) };
    let entry = checker::Entry { kind, mode: 0, uid: 0, gid: 0, links: 1, same_as: None };
    let large = Observation { entries: [("f".into(), entry)].into(), ..nothing() };
    let mut lines = Vec::new();
    assert_eq!(Names::default().observation(name_of(&large, PLAN), &large, PLAN, &mut lines), None);
    assert!(lines.is_empty());
}
