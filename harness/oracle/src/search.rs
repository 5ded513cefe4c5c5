//! A long search for what a program leaves natively.

use std::collections::BTreeMap;

use crate::compare::Way;
use crate::native::{Effort, Outcome, Workshop, look, run};
use crate::program::{Op, Program};
use crate::vary::{aimed, varied};

/// What a search came to.
#[derive(Clone, Debug, Default)]
pub struct Searched {
    /// Every outcome of every run, and the first program that has shown it.
    pub outcomes: BTreeMap<Outcome, Program>,
    /// How many runs there were.
    pub runs: usize,
    /// How many states were mounted.
    pub mounts: usize,
    /// Runs that came to nothing, and why. What the background work asks for may no longer be there, since the program does
    /// not stand still for it.
    pub failed: Vec<String>,
}

/// Looks for outcomes natively: runs the program as it is, then with the background work by which the explorer got each
/// outcome that has not been seen yet, then, up to so many rounds, with work that is drawn, until all have been seen.
pub fn search(
    workshop: &Workshop,
    kind: &str,
    program: &Program,
    rounds: u64,
    wanted: &BTreeMap<Outcome, Way>,
) -> Searched {
    let mut found = Searched::default();
    found.run(workshop, kind, program.clone(), 0);
    for (outcome, way) in wanted {
        for lazy in [false, true] {
            if !found.outcomes.contains_key(outcome) {
                found.run(workshop, kind, aimed(program, &way.injections, lazy), 1);
            }
        }
    }
    for round in 1..rounds {
        if wanted.keys().all(|outcome| found.outcomes.contains_key(outcome)) {
            break;
        }
        found.run(workshop, kind, varied(program, round), round);
    }
    found
}

impl Searched {
    /// Adds what one run shows.
    fn run(&mut self, workshop: &Workshop, kind: &str, program: Program, seed: u64) {
        self.runs += 1;
        let effort = Effort { seed, ..Effort::default() };
        match run(workshop, kind, &program).and_then(|run| look(workshop, kind, &program, &run, effort)) {
            Ok(looked) => {
                self.mounts += looked.mounts;
                for outcome in looked.outcomes.into_keys().filter(|outcome| is_dated(&program, outcome)) {
                    self.outcomes.entry(outcome).or_insert_with(|| program.clone());
                }
            }
            Err(error) => self.failed.push(format!("{error}: {program}")),
        }
    }
}

/// Whether it is known when the outcome can occur. The steps of a fast program are marked as done together, at its end: what a
/// run of it shows before is not known to come before a promise.
fn is_dated(program: &Program, outcome: &Outcome) -> bool {
    let promises = program.ops().filter(|op| matches!(op, Op::Print { .. })).count();
    !program.fast || outcome.promises == promises
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_fast_program_only_the_end_is_dated() {
        let program = Program::new().file("f", "O").print("one").write("f", "N").print("two");
        let dated = |program: &Program| {
            [0, 1, 2].map(|promises| is_dated(program, &Outcome { tree: "{f:N}".into(), promises }))
        };
        assert_eq!(dated(&program), [true; 3]);
        assert_eq!(dated(&program.fast()), [false, false, true]);
    }
}
