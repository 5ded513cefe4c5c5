//! Random programs, the same for the same seed.

use crate::crash::next;
use crate::program::{Background, Op, PAGE, Program, Step};

/// How many pieces of background work come at the end. Every schedule of the explorer has them.
pub const ENDING: usize = 2;

/// Names that programs use.
const FILES: [&str; 3] = ["a", "b", "d/c"];

/// The program of a seed: up to six things done, each by a call or a few, with one piece of background work among them.
/// It changes some file: the harness takes no others.
pub fn program(seed: u64) -> Program {
    let mut random = Random(seed);
    loop {
        let program = attempt(&mut random);
        if program.trace().is_ok_and(|trace| !program::History::new(&trace).changed().is_empty()) {
            return disturb(program, &mut random);
        }
    }
}

fn attempt(random: &mut Random) -> Program {
    let mut program = Program::new().directory("d").file("a", "OO").file("d/c", "P");
    program.cold = random.below(4) == 0;
    let count = 2 + random.below(5);
    for letter in ('A'..).take(count) {
        // What the state of the directory does not allow is tried again in another way.
        let next = (0..8).map(|_| piece(program.clone(), random, letter)).find(|next| next.trace().is_ok());
        program = next.unwrap_or(program);
    }
    program
}

fn piece(program: Program, random: &mut Random, letter: char) -> Program {
    let pages = String::from(letter).repeat(1 + random.below(2));
    let file = random.one(&FILES);
    let offset = PAGE * random.below(3) as u64;
    match random.below(13) {
        0 | 1 => program.write(file, &pages),
        2 => program.open(file, libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC).pages(0, &pages).close(),
        3 | 4 => program.write_at(file, offset, &pages).close(),
        5 => program.write_at(file, offset, &pages).fsync().close(),
        6 => program.write_at(file, offset, &pages).fdatasync().close(),
        7 => program.rename(file, random.one(&FILES)),
        8 => program.sync_path(file),
        9 => program.sync_path(random.one(&["", "d"])),
        10 => program.unlink(file),
        11 => program.op(Op::Link { from: file.into(), to: random.one(&FILES).into() }),
        _ => program.op(Op::Truncate { path: file.into(), length: PAGE * random.below(3) as u64 }),
    }
}

/// Puts in one piece of background work, a promise at the end, and what the machine does when it stays up.
fn disturb(mut program: Program, random: &mut Random) -> Program {
    let at = random.below(program.steps.len() + 1);
    let work = match random.below(6) {
        0 | 1 => Some(Background::Commit),
        2 => Some(Background::WriteBackAll),
        3 | 4 => Some(Background::Hold(None)),
        _ => None,
    };
    if let Some(work) = work {
        program.steps.insert(at, Step::Background(work));
    }
    let program = program.print("done").release();
    let (first, last) = (Background::Commit, Background::WriteBackAll);
    let (first, last) = if random.below(2) == 0 { (first, last) } else { (last, first) };
    program.background(first).background(last)
}

/// Numbers drawn from a seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Less than `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (next(&mut self.0) % bound as u64) as usize
    }

    fn one(&mut self, of: &[&'static str]) -> &'static str {
        of[self.below(of.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_can_be_run_and_are_the_same_for_a_seed() {
        let programs: Vec<Program> = (0..300).map(program).collect();
        assert!(programs.iter().all(|program| program.trace().is_ok() && program.background_events() <= 1 + ENDING));
        assert_eq!(programs[7], program(7));
        let different: std::collections::BTreeSet<String> =
            programs.iter().map(|program| program.to_string()).collect();
        assert!(different.len() > 280, "{}", different.len());
        for wanted in ["rename", "truncate", "link", "fdatasync", "trunc", "(hold", "(commit", "(write back all"] {
            assert!(different.iter().any(|text| text.contains(wanted)), "{wanted}");
        }
    }
}
