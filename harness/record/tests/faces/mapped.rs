//! Shared mappings: what is stored through them is found, and executing the trace yields what the program left.

use program::Call;

use crate::common::face;

#[test]
fn stores_are_found_between_calls() {
    let run = face(&["mapped"]);
    run.expect_complete();
    insta::assert_snapshot!(run.text());
}

/// "Read-only" needs no following, also where the descriptor could write; msync(2) syncs what others wrote.
#[test]
fn a_mapping_that_only_reads_is_nothing() {
    let run = face(&["mapped-to-read"]);
    run.expect_complete()
        .expect_in_order(&["pwrite64(h0 \"file\", \"a call\"", "msync(h0 \"file\", 4096 at 0, MS_SYNC) = 0"]);
    assert!(!run.trace.ops.iter().any(|op| matches!(op.call, Call::Store { .. })));
}

/// Three processes store to two files, write and cut them; one of them is killed.
#[test]
fn what_many_processes_store_is_explained_by_the_trace() {
    for seed in 0..20 {
        let run = face(&["mapped-chaos", &seed.to_string(), "300"]);
        run.expect_complete();
        let stores = run.trace.ops.iter().filter(|op| matches!(op.call, Call::Store { .. })).count();
        assert!(stores > 20, "{stores} stores in\n{}", run.text());
    }
}
