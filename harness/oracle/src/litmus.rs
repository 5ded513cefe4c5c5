//! The litmus programs: states that a real crash leaves, and that the explorer must have.
//!
//! One table for both sides: the native oracle runs the programs with the background work that shows the state, the
//! explorer runs what the program itself does.

use crate::native::Outcome;
use crate::program::{Background, Op, PAGE, Program};

/// A state that must be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// On this file system.
    pub kind: &'static str,
    /// The tree (see [`crate::tree::Tree`]) and how many promises had been given.
    pub outcome: Outcome,
}

/// One litmus program.
#[derive(Clone, Debug)]
pub struct Litmus {
    /// Its number in the table.
    pub number: u32,
    /// The program, with background work that shows its states natively.
    pub program: Program,
    /// What must be found.
    pub wanted: Vec<Wanted>,
    /// Why the kernel can do it.
    pub reason: &'static str,
    /// How often the program is run until the state shows: more than once where it depends on the time that things take.
    pub tries: usize,
}

fn litmus(number: u32, program: Program, wanted: &[(&'static str, &str, usize)], reason: &'static str) -> Litmus {
    let wanted =
        wanted.iter().map(|&(kind, tree, promises)| Wanted { kind, outcome: Outcome { tree: tree.into(), promises } });
    Litmus { number, program, wanted: wanted.collect(), reason, tries: 1 }
}

impl Litmus {
    /// Whether its states can be shown natively.
    pub fn is_native(&self) -> bool {
        NOT_NATIVE.iter().all(|(number, _)| *number != self.number)
    }
}

/// ext4 with fast commits: what a commit of the whole transaction leaves must be found there, too.
const FAST_COMMIT: &str = "ext4;mkfs=-O fast_commit";

/// The numbers of the table that no program here can show natively, and why.
pub const NOT_NATIVE: [(u32, &str); 2] = [
    (15, "needs a disk with FUA; loop devices announce none (/sys/block/loopN/queue/fua is 0)"),
    (16, "is about the words of the report, not about a state"),
];

/// The table.
pub fn table() -> Vec<Litmus> {
    let write_only = libc::O_WRONLY;
    let create = libc::O_WRONLY | libc::O_CREAT;
    let saved = || Program::new().file("f", "O").file("f.bak", "O");
    vec![
        litmus(
            1,
            saved().hold().write("t", "N").rename("t", "f").unlink("f.bak").commit(),
            &[("ext4", "{f:0}", 0), ("btrfs", "{f:empty}", 0), ("f2fs", "{f:0}", 0)],
            "writeback that the rename started is under way when a later op's commit ends",
        ),
        litmus(
            2,
            saved().hold().open("f", write_only | libc::O_TRUNC).pages(0, "N").close().unlink("f.bak").commit(),
            &[("ext4", "{f:0}", 0), ("xfs", "{f:empty}", 0), ("btrfs", "{f:empty}", 0), ("f2fs", "{f:0}", 0)],
            "the same, started by the close after a truncation",
        ),
        litmus(
            3,
            saved().hold().write("t", "N").rename("t", "f").sync_path("").unlink("f.bak").sync_path("").print("done"),
            &[("ext4", "{f:0}", 1), ("f2fs", "{f:0}", 1)],
            "writeback is under way past several syncs of something else",
        ),
        litmus(
            4,
            Program::new()
                .file("log", "A")
                .write_at("log", PAGE, "B")
                .hold()
                .fsync()
                .commit()
                .release()
                .print("logged"),
            &[("ext4", "{log:A0}", 0), ("f2fs", "{log:A0}", 0)],
            "somebody else commits while the fsync has the data under way; the size is raised when they are submitted",
        ),
        litmus(
            5,
            Program::new()
                .file("log", "A")
                .write_at("log", PAGE, "B")
                .print("written")
                .hold()
                .write_back("log")
                .commit(),
            &[("ext4", "{log:A0}", 1), ("f2fs", "{log:A0}", 1)],
            "the flusher writes back, and the timer commits while the write is slow",
        ),
        litmus(
            6,
            Program::new()
                .file("f", "A")
                .file("g", "D")
                .hold_letters("B")
                .write_at("f", PAGE, "B")
                .close()
                .write_at("g", PAGE, "C")
                .write_back("f")
                .fsync()
                .print("done"),
            &[("ext4", "{f:A0, g:DC}", 1), ("f2fs", "{f:A0, g:DC}", 1)],
            "a sync commits what another file has under way",
        ),
        litmus(
            7,
            Program::new().open("f", create).pages(0, "N").hold().fsync().commit().release().print("done"),
            &[("ext4", "{f:0}", 0), ("f2fs", "{f:0}", 0)],
            "as 4, under the final name",
        ),
        litmus(
            8,
            Program::new()
                .file("f", "O")
                .file("t", "N")
                .file("wal", "L")
                .rename("t", "f")
                .write_at("wal", 0, "M")
                .fdatasync()
                .print("done"),
            &[("ext4", "{f:O, t:N, wal:M}", 1), ("f2fs", "{f:O, t:N, wal:M}", 1)],
            "an inode that was looked at before is not committed with the transaction that is running",
        ),
        litmus(
            9,
            Program::new().directory("d").file("d/f", "A").rename("d", "e").sync_path("e/f").print("done"),
            &[("ext4", "{d/, d/f:A}", 1), ("f2fs", "{d/, d/f:A}", 1)],
            "the same",
        ),
        litmus(
            10,
            {
                let program = Program::new().file("f", "O").hold().write_at("f", PAGE, "N");
                let file = program.last();
                let program = program.op(Op::DontNeed { file });
                let link = Op::Symlink { path: "y".into(), target: "f".into() };
                program.op(link).sync_path("").print("done")
            },
            &[("ext4", "{f:O0, y->f}", 1), ("f2fs", "{f:O0, y->f}", 1)],
            "POSIX_FADV_DONTNEED starts writeback",
        ),
        litmus(
            11,
            Program::new()
                .file("data", "A")
                .file("index", "I")
                .hold_letters("B")
                .write_at("data", PAGE, "B")
                .close()
                .write_at("index", PAGE, "J")
                .close()
                .background(Background::WriteBackAll)
                .commit()
                .release()
                .sync_path("data")
                .sync_path("index"),
            &[("xfs", "{data:A, index:IJ}", 0), ("f2fs", "{data:A0, index:IJ}", 0)],
            "writeback of one file and a commit are one event: the machine idled",
        ),
        // The two pages are not in one folio, as those of a record that begins at an even page are where folios are large:
        // such a one is only written back whole.
        litmus(
            12,
            Program::new()
                .file("log", "A")
                .write_at("log", PAGE, "BB")
                .background(Background::WriteBack { path: "log".into(), offset: PAGE, length: PAGE })
                .commit()
                .fsync()
                .print("logged"),
            // Not on btrfs: all that is dirty in one piece is one ordered extent, which is known once all of it is there
            // (fs/btrfs/extent_io.c, `writepage_delalloc`).
            &[("ext4", "{log:AB}", 0), ("xfs", "{log:AB}", 0), ("f2fs", "{log:A0B}", 0)],
            "half of it is written back, then there is a commit: one event",
        ),
        Litmus {
            tries: 40,
            ..litmus(
                13,
                Program::new()
                    .file("f", "O")
                    .file("t", "N")
                    .file("log", "LL")
                    .write_at("log", 0, "M")
                    .fsync()
                    .rename("t", "f")
                    .pages(PAGE, "M")
                    .fsync()
                    .print("done")
                    .fast(),
                &[
                    ("ext4", "{f:O, log:MM, t:N}", 1),
                    ("xfs", "{f:O, log:MM, t:N}", 1),
                    ("f2fs", "{f:O, log:MM, t:N}", 1),
                ],
                "within one tick of the clock nothing of the inode changes but data: no commit",
            )
        },
        litmus(
            14,
            Program::new().file("f", "O").hold().write("t", "NN").rename("t", "f").commit(),
            &[("ext4", "{f:00}", 0), ("btrfs", "{f:empty}", 0), ("f2fs", "{f:00}", 0), (FAST_COMMIT, "{f:00}", 0)],
            "the rename is committed while the writeback that it started is under way",
        ),
        litmus(
            15,
            Program::new()
                .file("f", "AA")
                .open("f", write_only | libc::O_DIRECT)
                .pages(PAGE, "D")
                .open("f", write_only | libc::O_DIRECT | libc::O_DSYNC)
                .pages(0, "H")
                .print("done"),
            &[("ext4", "{f:HA}", 1), ("xfs", "{f:HA}", 1), ("f2fs", "{f:HA}", 1)],
            "a synchronous overwrite is one write with FUA and no flush: what was written before stays volatile",
        ),
        // The shape of generic/342 of xfstests. f2fs does so with `fsync_mode=posix`, its default.
        litmus(
            17,
            Program::new().file("f", "O").rename("f", "g").open("f", create).pages(0, "N").fsync().print("done"),
            &[("f2fs", "{f:N}", 1), (FAST_COMMIT, "{g:O}", 0)],
            "fsync of a new file makes its name durable, and not where the file went that had the name before",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole_and_its_programs_are_traces() {
        let table = table();
        let mut numbers: Vec<u32> = table.iter().map(|litmus| litmus.number).collect();
        numbers.extend(NOT_NATIVE.map(|(number, _)| number));
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers, (1..=17).collect::<Vec<u32>>());
        for litmus in table {
            let trace = litmus.program.trace().unwrap();
            let promises = litmus.program.ops().filter(|op| matches!(op, Op::Print { .. })).count();
            assert!(!litmus.wanted.is_empty() && !trace.ops.is_empty());
            assert!(litmus.wanted.iter().all(|wanted| wanted.outcome.promises <= promises), "{}", litmus.number);
        }
    }
}
