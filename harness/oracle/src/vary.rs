//! The same program with other things going on around it.

use plan::{Event, Injection, Part, Work};
use program::{Kind, Target};

use crate::program::{Background, Op, PAGE, Program, Step};
use crate::random::Random;

/// The program as a long search runs it in this round: in round 0 as it is, later with background work at places that are
/// drawn. The same for the same round.
pub fn varied(program: &Program, round: u64) -> Program {
    if round == 0 {
        return program.clone();
    }
    let mut random = Random(round);
    let steps = program.ops().cloned().map(Step::Op).collect();
    let mut bare = program.with_steps(steps);
    (bare.fast, bare.cold) = (false, random.below(4) == 0);
    // All in one tick of the clock, as one schedule of the explorer has it.
    if random.below(10) == 0 {
        return bare.fast();
    }
    let events = 1 + random.below(3);
    let varied = (0..events).fold(bare, |mut program, _| {
        let at = random.below(program.steps.len() + 1);
        let work = work(&program, at, &mut random);
        program.steps.insert(at, Step::Background(work));
        program
    });
    ended(varied, &mut random)
}

/// The program with what the explorer has injected. `lazy`: the disk answers no data from the beginning, as the explorer's
/// answers them late.
pub fn aimed(program: &Program, injections: &[Injection], lazy: bool) -> Program {
    let mut steps = Vec::new();
    let hold = Step::Background(Background::Hold(None));
    steps.extend(lazy.then(|| hold.clone()));
    for (index, op) in program.ops().enumerate() {
        let here = || injections.iter().filter(|injection| injection.op == index).map(|injection| &injection.event);
        let during = here().any(|event| *event == Event::CommitDuring);
        steps.extend(during.then(|| hold.clone()));
        steps.push(Step::Op(op.clone()));
        let idle = here().flat_map(|event| match event {
            Event::Idle(works) => works.as_slice(),
            Event::CommitDuring => &[Work::Commit],
        });
        let mut held = during;
        for work in idle {
            if matches!(work, Work::Writeback { complete: false, .. }) && !held {
                steps.push(hold.clone());
                held = true;
            }
            steps.extend(natively(work).map(Step::Background));
        }
        steps.extend((held && !lazy).then_some(Step::Background(Background::Release)));
    }
    let mut aimed = program.with_steps(steps);
    aimed.fast = false;
    aimed.commit()
}

/// The same work natively; `None` for files without a name.
fn natively(work: &Work) -> Option<Background> {
    let Work::Writeback { target, part, .. } = work else { return Some(Background::Commit) };
    let (Target::Path(path) | Target::NoFollow(path)) = target else { return None };
    let (offset, length) = match part {
        Part::Whole => (0, 0),
        Part::UpTo(cut) => (0, *cut),
        Part::From(cut) => (*cut, 0),
    };
    Some(Background::WriteBack { path: path.to_string(), offset, length })
}

/// What the machine does when it stays up; what is under way may be so past the commit.
fn ended(program: Program, random: &mut Random) -> Program {
    let program = if random.below(2) == 0 { program.release() } else { program };
    let (first, last) = (Background::Commit, Background::WriteBackAll);
    let (first, last) = if random.below(2) == 0 { (first, last) } else { (last, first) };
    program.background(first).background(last)
}

/// A piece of background work that is possible before the step `at`.
fn work(program: &Program, at: usize, random: &mut Random) -> Background {
    let files = files(&program.steps[..at], program);
    match random.below(12) {
        0..=2 => Background::Hold(None),
        3 => hold_one(program, random),
        4 | 5 => Background::Commit,
        6 | 7 if !files.is_empty() => part(&files[random.below(files.len())], random),
        8 => Background::Release,
        9 => Background::SyncFs,
        _ => Background::WriteBackAll,
    }
}

/// Holds the data of one of the program's writes.
fn hold_one(program: &Program, random: &mut Random) -> Background {
    let letters: Vec<char> = program.ops().filter_map(Op::letter).collect();
    let chosen = (!letters.is_empty()).then(|| random.below(letters.len()));
    Background::Hold(chosen.map(|chosen| letters[chosen].to_string()))
}

/// Writeback of a file: of all of it, of its first or of its second half.
fn part((path, pages): &(String, u64), random: &mut Random) -> Background {
    let half = pages / 2 * PAGE;
    let (offset, length) = match random.below(4) {
        0 => (0, half),
        1 => (half, 0),
        _ => (0, 0),
    };
    Background::WriteBack { path: path.clone(), offset, length }
}

/// The files that are there after these steps, and how many pages they have.
fn files(steps: &[Step], program: &Program) -> Vec<(String, u64)> {
    let Ok(trace) = program.with_steps(steps.to_vec()).trace() else { return Vec::new() };
    let pages = |content: &[u8]| (content.len() as u64).div_ceil(PAGE);
    let file = |(path, node): (&program::RelPath, &program::Node)| match &node.kind {
        Kind::File(content) => Some((path.to_string(), pages(content))),
        _ => None,
    };
    trace.after.0.iter().filter_map(file).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::litmus::table;

    #[test]
    fn variations_do_what_the_program_does() {
        for litmus in table() {
            let program = &litmus.program;
            assert_eq!(varied(program, 0), *program);
            for round in 1..100 {
                let varied = varied(program, round);
                assert!(varied.ops().eq(program.ops()), "{varied}");
                assert!(!varied.fast || varied.background_events() == 0, "{varied}");
            }
        }
    }

    #[test]
    fn what_the_explorer_injects_is_done_natively() {
        let program = Program::new().file("f", "O").write_at("f", 0, "N").fsync().print("done");
        let (target, part) = (Target::Path("f".into()), Part::Whole);
        let slow = Work::Writeback { target, part, complete: false };
        let idle = Injection { op: 1, event: Event::Idle(vec![slow, Work::Commit]) };
        let text = |injections: &[Injection]| aimed(&program, injections, false).to_string();
        let begin = "f:O | #1 = open f; pwrite #1 N*4096 at 0; ";
        let idles = "(hold data); (write back f); (commit); (release); fsync #1; print done; (commit)";
        assert_eq!(text(&[idle]), format!("{begin}{idles}"));
        let during = Injection { op: 2, event: Event::CommitDuring };
        let waits = "(hold data); fsync #1; (commit); (release); print done; (commit)";
        assert_eq!(text(&[during]), format!("{begin}{waits}"));
    }

    #[test]
    fn each_round_is_another_and_the_same_when_drawn_again() {
        let program = &table()[2].program;
        let texts: BTreeSet<String> = (0..100).map(|round| varied(program, round).to_string()).collect();
        assert!(texts.len() > 80, "{}", texts.len());
        assert_eq!(varied(program, 7), varied(program, 7));
        for wanted in ["(hold data)", "(hold N)", "(commit)", "(write back t)", "(release)", "(syncfs)", "(cold)"] {
            assert!(texts.iter().any(|text| text.contains(wanted)), "{wanted}");
        }
    }
}
