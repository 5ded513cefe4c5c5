//! When a crash state can occur.

use checker::CrashWindow;
use storage::{BlockLog, Epoch, State};

use plan::Plan;

/// When states of one epoch of `log` can occur, of whose volatile writes these are known to have `survived`: by their
/// indices in [`Epoch::volatile`]. What a recovery wrote has higher ones, and does not matter.
///
/// Not before the last of these was made, and not before the epoch began; and not after the epoch ended.
pub fn window(plan: &Plan, epoch: &Epoch, log: &BlockLog, survived: impl IntoIterator<Item = u32>) -> CrashWindow {
    let write = |index: u32| log.writes.get(*epoch.volatile.get(index as usize)?);
    let made = survived.into_iter().filter_map(write).map(|write| write.step + 1).max();
    CrashWindow {
        begun_earliest: plan.ops_begun(made.unwrap_or(0).max(epoch.begun_first) as usize),
        ended_latest: plan.ops_ended(epoch.ended_last as usize),
    }
}

/// The writes of which a state says itself that a part survived and a part did not. Of one that it calls whole, nothing
/// follows: the class that it stands for may never have looked at it.
pub fn torn(state: &State) -> impl Iterator<Item = u32> {
    state.torn.iter().map(|&(write, _)| write).chain(state.lost_units.iter().map(|&(write, _)| write))
}

/// How many ops had begun at the last crash point of an epoch.
pub fn begun_latest(plan: &Plan, epoch: &Epoch) -> usize {
    // A step begins where the one before it ends.
    plan.ops_begun(epoch.ended_last as usize + 1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use storage::WriteEntry;

    use super::*;
    use plan::{Origin, Work};

    /// Op 0, op 2 (op 1 failed and is not executed), a commit, op 3.
    fn plan() -> Plan {
        let origins = [Origin::Op(0), Origin::Op(2), Origin::Work(Work::Commit), Origin::Op(3)];
        Plan { origins: origins.to_vec(), ..Plan::default() }
    }

    fn written_in(steps: &[u32]) -> BlockLog {
        let entry = |&step| WriteEntry { sector: 0, data: Arc::new(vec![0; storage::SECTOR]), step };
        BlockLog { writes: steps.iter().map(entry).collect(), ..BlockLog::default() }
    }

    #[test]
    fn what_survived_was_written_before() {
        let epoch =
            Epoch { durable: 0, forced: vec![], volatile: vec![0, 1, 2], logged: 3, begun_first: 0, ended_last: 2 };
        let writes = written_in(&[0, 1, 2]);
        let begun = |survived: &[u32]| window(&plan(), &epoch, &writes, survived.iter().copied()).begun_earliest;
        assert_eq!([begun(&[]), begun(&[0]), begun(&[1, 0]), begun(&[2])], [0, 1, 3, 3]);
    }

    #[test]
    fn an_epoch_bounds_its_states() {
        let epoch = Epoch { durable: 1, forced: vec![], volatile: vec![1], logged: 2, begun_first: 2, ended_last: 3 };
        let writes = written_in(&[0]);
        assert_eq!(window(&plan(), &epoch, &writes, []), CrashWindow { begun_earliest: 3, ended_latest: 3 });
        assert_eq!(begun_latest(&plan(), &epoch), 4, "op 3 was under way");
    }

    /// Op 1 promised nothing, and was over when op 2 began.
    #[test]
    fn an_op_that_failed_is_over_once_the_one_before_it_is() {
        let ended = |steps| {
            window(
                &plan(),
                &Epoch { durable: 0, forced: vec![], volatile: vec![], logged: 0, begun_first: 0, ended_last: steps },
                &BlockLog::default(),
                [],
            )
        };
        let latest: Vec<usize> = (0..=4).map(|steps| ended(steps).ended_latest).collect();
        assert_eq!(latest, [0, 2, 3, 3, 4]);
    }

    #[test]
    fn only_a_torn_write_is_known_to_have_survived() {
        let one = State { lost: vec![1], torn: vec![(4, storage::Tear::Head(1))], ..State::default() };
        let any = State { lost: vec![1], lost_units: vec![(2, 0), (2, 3)], ..State::default() };
        assert_eq!(torn(&one).collect::<Vec<_>>(), [4]);
        assert_eq!(torn(&any).collect::<Vec<_>>(), [2, 2]);
    }
}
