//! What else there is to know of a cell.

use checker::{ChangedMetadata, Owners};
use program::{OpId, thousands};
use report::{Note, Ops};

use crate::text::count;

/// What else there is to know.
pub fn note(note: &Note, ops: &Ops) -> String {
    match note {
        Note::BudgetSpent => "the budget ran out (the states of schedules that were not begun are not counted): raise \
                              --budget"
            .to_owned(),
        Note::SchedulesChosen { chosen, of } => format!(
            "there are {} schedules; {} of them were chosen, by chance (--seed) beyond the single injections",
            thousands(*of),
            thousands(*chosen)
        ),
        Note::MovesExtents { op } => {
            format!("{} moves extents one by one: a commit between two of them is not explored", named(*op, ops))
        }
        Note::ExploredFrom { op } => format!("crashes before the end of {} are not explored (explore-from)", named(*op, ops)),
        Note::StoresAsOne { op, more } => {
            let more = if *more > 0 { format!(", {} more", thousands(*more as u64)) } else { String::new() };
            format!(
                "what is stored through a shared mapping between two calls counts as stored at once ({}{more}): a crash that \
                 catches a part of what was stored to a page is not explored",
                named(*op, ops)
            )
        }
        Note::ChangedMetadata { changed: ChangedMetadata { path, mode, owner_and_group } } => {
            let mode = mode.map(|mode| format!("mode {:04o} where it had {:04o}", mode.new, mode.old));
            let text = |owners: Owners| format!("{}:{}", owners.owner, owners.group);
            let owners = owner_and_group.map(|all| all.map(text));
            let owners = owners.map(|[old, new]| format!("owner and group {new} where it had {old}"));
            let changes = mode.into_iter().chain(owners).collect::<Vec<_>>().join(", and ");
            format!("the command itself leaves {path} with {changes} (no crash needed)")
        }
        Note::AssumedAtomic { bytes } => format!(
            "the file system relies on blocks of {} bytes being written whole or not at all: none was torn (--sector)",
            thousands(u64::from(*bytes))
        ),
        Note::AssumedFlush => {
            "the file system does not always wait for all that fsync writes before it sends the flush: a disk that \
                               takes the flush first, and so loses what was synced, is not explored"
                .to_owned()
        }
        Note::WithoutFlush { option } => format!(
            "with the mount option {option}, fsync sends no flush: what it promises is kept only by a disk without a volatile \
             cache (--disk writethrough), whatever the program does"
        ),
        Note::Unchecked => "it has no journal: fsync does not always send a flush, and after a crash it is in need of a check by its \
                            own tool (fsck), without which it was mounted; what is found need not be the program's fault"
            .to_owned(),
        Note::Refused { refused } => format!("{refused}: what the program did without it is tested"),
        Note::NumberedNames { names } => format!("random names, numbered by the recorder: {}", names.join(", ")),
        Note::WrittenOutside { path } => format!("{path} was written outside the workload's directory: not tested"),
        Note::OnlyAppended { path, lines } => {
            let record = if *lines { ", record = \"line\"" } else { "" };
            let records = if *lines { "whole lines" } else { "a cut at any byte is right, since it is no text" };
            format!(
                "{path} was only appended to, and nothing was asked for, so it was held to this, which is to be put into a \
                 workload.toml ({records}): invariant = [{{ kind = \"append-only\", path = {path:?}{record} }}]"
            )
        }
        Note::HeldWithoutSyncs { states } => format!(
            "these rules held even with every sync removed ({} states): they say little of what the program does for its data, \
             or the file system does it unasked",
            count(states)
        ),
        Note::CutShort { error } => format!("the run was cut short: {error}"),
        Note::NotConfirmed => "what it shows is not re-verified".to_owned(),
        Note::JudgedUnconfirmed => {
            "judged by what was seen before: not every state that is shown was looked at by itself".to_owned()
        }
        Note::Text { text } => text.clone(),
    }
}

/// An op, and its call.
fn named(op: OpId, ops: &Ops) -> String {
    let syscall = ops.get(op).and_then(|op| op.syscall.as_deref()).unwrap_or("unknown");
    format!("op {op} ({syscall})")
}

#[cfg(test)]
mod tests {
    use checker::Changed;
    use program::RefusedCall;

    use super::*;

    #[test]
    fn every_note() {
        let owners = |owner| Owners { owner, group: 0 };
        let changed = ChangedMetadata {
            path: "f".into(),
            mode: Changed::from_to(0o644, 0o600),
            owner_and_group: Some([owners(1000), owners(0)]),
        };
        let ops = report::testing::ops("", [OpId(3)].into());
        let notes = [
            Note::BudgetSpent,
            Note::SchedulesChosen { chosen: 1000, of: 20_000 },
            Note::MovesExtents { op: OpId(3) },
            Note::ExploredFrom { op: OpId(3) },
            Note::StoresAsOne { op: OpId(3), more: 1200 },
            Note::ChangedMetadata { changed },
            Note::NumberedNames { names: vec!["tmp1".into(), "tmp2".into()] },
            Note::AssumedAtomic { bytes: 4096 },
            Note::AssumedFlush,
            Note::WithoutFlush { option: "nobarrier".into() },
            Note::Unchecked,
            Note::Refused { refused: RefusedCall { call: "io_uring_setup".into(), count: 2 } },
            Note::WrittenOutside { path: "/etc/odd".into() },
            Note::OnlyAppended { path: "log".into(), lines: true },
            Note::OnlyAppended { path: "wal".into(), lines: false },
            Note::HeldWithoutSyncs { states: 1200u32.into() },
            Note::CutShort { error: "interrupted".into() },
            Note::NotConfirmed,
            Note::JudgedUnconfirmed,
        ];
        insta::assert_snapshot!(notes.map(|one| note(&one, &ops)).join("\n"), @r#"
        the budget ran out (the states of schedules that were not begun are not counted): raise --budget
        there are 20,000 schedules; 1,000 of them were chosen, by chance (--seed) beyond the single injections
        op 3 (sync_file_range) moves extents one by one: a commit between two of them is not explored
        crashes before the end of op 3 (sync_file_range) are not explored (explore-from)
        what is stored through a shared mapping between two calls counts as stored at once (op 3 (sync_file_range), 1,200 more): a crash that catches a part of what was stored to a page is not explored
        the command itself leaves f with mode 0600 where it had 0644, and owner and group 0:0 where it had 1000:0 (no crash needed)
        random names, numbered by the recorder: tmp1, tmp2
        the file system relies on blocks of 4,096 bytes being written whole or not at all: none was torn (--sector)
        the file system does not always wait for all that fsync writes before it sends the flush: a disk that takes the flush first, and so loses what was synced, is not explored
        with the mount option nobarrier, fsync sends no flush: what it promises is kept only by a disk without a volatile cache (--disk writethrough), whatever the program does
        it has no journal: fsync does not always send a flush, and after a crash it is in need of a check by its own tool (fsck), without which it was mounted; what is found need not be the program's fault
        io_uring_setup was refused (ENOSYS, 2 times): what the program did without it is tested
        /etc/odd was written outside the workload's directory: not tested
        log was only appended to, and nothing was asked for, so it was held to this, which is to be put into a workload.toml (whole lines): invariant = [{ kind = "append-only", path = "log", record = "line" }]
        wal was only appended to, and nothing was asked for, so it was held to this, which is to be put into a workload.toml (a cut at any byte is right, since it is no text): invariant = [{ kind = "append-only", path = "wal" }]
        these rules held even with every sync removed (1,200 states): they say little of what the program does for its data, or the file system does it unasked
        the run was cut short: interrupted
        what it shows is not re-verified
        judged by what was seen before: not every state that is shown was looked at by itself
        "#);
    }
}
