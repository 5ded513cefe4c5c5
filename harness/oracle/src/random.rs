//! Random programs, the same for the same seed.

use crate::crash::next;
use crate::program::{Background, Op, PAGE, Program, Step};

/// Names that programs use.
const FILES: [&str; 3] = ["a", "b", "d/c"];

/// The program of a seed: up to six things done, each by a call or a few, and one piece of background work.
pub fn program(seed: u64) -> Program {
    let mut random = Random(seed);
    let mut program = Program::new().directory("d").file("a", "OO").file("d/c", "P");
    program.cold = random.below(4) == 0;
    let mut letters = 'A'..='L';
    let count = 2 + random.below(5);
    let mut pieces: Vec<Program> = vec![program];
    for _ in 0..count {
        let current = pieces[pieces.len() - 1].clone();
        let Some(letter) = letters.next() else { break };
        // What the state of the directory does not allow is tried again in another way.
        let next = (0..8).map(|_| piece(current.clone(), &mut random, letter)).find(|next| next.trace().is_ok());
        pieces.extend(next);
    }
    let last = pieces.len() - 1;
    let program = pieces[last].clone();
    disturb(program, &mut random)
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

/// Puts in one piece of background work, and perhaps a promise at the end.
fn disturb(mut program: Program, random: &mut Random) -> Program {
    let at = random.below(program.steps.len() + 1);
    let work = match random.below(5) {
        0 => Background::Commit,
        1 => Background::WriteBackAll,
        2 | 3 => Background::Hold(None),
        _ => return program.print("done"),
    };
    program.steps.insert(at, Step::Background(work));
    program.print("done")
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
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
        assert!(programs.iter().all(|program| program.trace().is_ok() && program.background_events() <= 1));
        assert_eq!(programs[7], program(7));
        let different: std::collections::BTreeSet<String> =
            programs.iter().map(|program| program.to_string()).collect();
        assert!(different.len() > 290, "{}", different.len());
        for wanted in ["rename", "truncate", "link", "fdatasync", "trunc", "(hold", "(commit", "(write back all"] {
            assert!(different.iter().any(|text| text.contains(wanted)), "{wanted}");
        }
    }
}
