//! Every crash state one by one: what the counts and the search are compared with.

use super::{Crash, Fates, State, Tear};
use crate::TearKind;

impl Fates {
    /// Every state of an epoch, one by one: for the brute-force comparison, and only for small epochs.
    pub fn enumerate(&self) -> Vec<State> {
        let writes = self.units.len();
        assert!(writes <= 20, "a flat enumeration of {writes} writes is out of reach");
        let subsets = (0u64..1 << writes).map(|kept| State {
            lost: (0..writes as u32).filter(|&write| kept >> write & 1 == 0).collect(),
            ..State::default()
        });
        match self.tear {
            TearKind::None => subsets.collect(),
            TearKind::One => self.crashes.iter().fold(subsets.collect(), |states: Vec<State>, crash| {
                states.into_iter().flat_map(|state| self.with_tears(state, crash)).collect()
            }),
            TearKind::Any => self.all_units(),
        }
    }

    /// A state itself, and the state with each of the writes that it lost in this crash torn in every way instead.
    fn with_tears(&self, state: State, crash: &Crash) -> Vec<State> {
        let mut states = vec![state.clone()];
        for &write in state.lost.iter().filter(|write| crash.writes.contains(write)) {
            let lost: Vec<u32> = state.lost.iter().copied().filter(|&other| other != write).collect();
            for boundary in 1..self.units[write as usize] {
                for tear in [Tear::Head(boundary), Tear::Tail(boundary)] {
                    let torn = state.torn.iter().copied().chain([(write, tear)]).collect();
                    states.push(State { lost: lost.clone(), torn, lost_units: Vec::new() });
                }
            }
        }
        states
    }

    fn all_units(&self) -> Vec<State> {
        let all: Vec<(u32, u32)> = self
            .units
            .iter()
            .enumerate()
            .flat_map(|(write, &units)| (0..units).map(move |unit| (write as u32, unit)))
            .collect();
        assert!(all.len() <= 20, "a flat enumeration of {} units is out of reach", all.len());
        let lost = |kept: u64| (0..all.len()).filter(|&unit| kept >> unit & 1 == 0).map(|unit| all[unit]).collect();
        (0u64..1 << all.len()).map(|kept| State { lost_units: lost(kept), ..State::default() }).collect()
    }
}
