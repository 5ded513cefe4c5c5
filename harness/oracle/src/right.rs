//! What the right workloads do, in pages: programs that keep their promises.

use crate::program::{Op, PAGE, Program};

/// Each with the name of the workload that it follows.
pub fn programs() -> Vec<(&'static str, Program)> {
    vec![
        ("durable_replace", durable_replace()),
        ("append_log", append_log()),
        ("mkdir_tree", mkdir_tree()),
        ("link_unlink_swap", link_unlink_swap()),
        ("undo_log", undo_log()),
        ("redo_log", redo_log()),
    ]
}

const CREATE: i32 = libc::O_WRONLY | libc::O_CREAT;

fn durable_replace() -> Program {
    let program = Program::new().file("f", "O").open("t", CREATE).pages(0, "NN").fsync().close();
    program.rename("t", "f").sync_path("").print("saved")
}

fn append_log() -> Program {
    let program = Program::new().file("log", "A").write_at("log", PAGE, "B").fsync().print("saved 1");
    program.pages(2 * PAGE, "C").fsync().print("saved 2")
}

fn mkdir_tree() -> Program {
    let program = Program::new().op(Op::Mkdir { path: "d".into() }).op(Op::Mkdir { path: "d/e".into() });
    let program = program.open("d/e/t", CREATE).pages(0, "N").fsync().close().rename("d/e/t", "d/e/f");
    program.sync_path("d/e").sync_path("d").sync_path("").print("saved")
}

fn link_unlink_swap() -> Program {
    let link = |from: &str, to: &str| Op::Link { from: from.into(), to: to.into() };
    let program = Program::new().file("f", "O").open("f.new", CREATE).pages(0, "N").fsync().close();
    let program = program.op(link("f", "f.old")).sync_path("").unlink("f").op(link("f.new", "f")).sync_path("");
    program.unlink("f.new").unlink("f.old").sync_path("").print("saved")
}

fn undo_log() -> Program {
    let program = Program::new().file("a", "A").file("b", "B").open("j.new", CREATE).pages(0, "J").fsync().close();
    let program = program.rename("j.new", "j").sync_path("");
    let program = program.write_at("a", 0, "C").fsync().close().write_at("b", 0, "D").fsync().close();
    program.unlink("j").sync_path("").print("saved")
}

fn redo_log() -> Program {
    let program = Program::new().file("a", "A").file("b", "B").file("log", "").write_at("log", 0, "R").fsync();
    let program = program.close().print("saved");
    let program = program.write_at("a", 0, "C").fsync().close().write_at("b", 0, "D").fsync().close();
    program.op(Op::Truncate { path: "log".into(), length: 0 }).sync_path("log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_traces_that_promise() {
        for (name, program) in programs() {
            let trace = program.trace().unwrap();
            assert!(!program::History::new(&trace).changed().is_empty(), "{name}");
            assert!(program.ops().any(|op| matches!(op, Op::Print { .. })), "{name}");
        }
    }
}
