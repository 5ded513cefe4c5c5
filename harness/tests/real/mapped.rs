//! What programs store through shared mappings, in guests: as on the host, and lost where nothing syncs it.

use checker::Kind;
use report::Verdict;
use workload::Workload;

use crate::support::{execute_on, filesystem, options, record_program, run, subject, uml};

/// Stores to a file between all that can happen to it, holes included.
const MANY: &str = r#"
import mmap, os
fd = os.open('f', os.O_RDWR)
os.ftruncate(fd, 40000)
m = mmap.mmap(fd, 40000)
m[100:105] = b'first'
m[4090:4110] = b'across two pages ...'
m.flush(0, 4096)
os.pwrite(fd, b'by a call', 4096)
m[30000:30010] = b'in a hole.'
os.close(fd)
m[39990:40000] = b'at the end'
m.flush()
fd = os.open('f', os.O_RDWR)
os.ftruncate(fd, 32000)
m[31990:32000] = b'a new end.'
os.rename('f', 'g')
m[0:3] = b'new'
"#;

#[tokio::test(flavor = "multi_thread")]
async fn guests_are_left_with_what_was_stored() {
    let Some(uml) = uml() else { return };
    let trace = record_program("yes old | head -c 20000 > f", &["python3", "-c", MANY]);
    let stores = trace.ops.iter().filter(|op| matches!(op.call, program::Call::Store { .. })).count();
    assert!(stores == 5, "{}", program::listing(&trace).join("\n"));
    let subject = subject(trace);
    let mut guests = crate::support::OneGuest::new(uml, subject.live.clone());
    for name in ["ext4", "xfs", "btrfs", "f2fs"] {
        // It compares the tree that is left with that of the host.
        execute_on(&mut guests, &filesystem(name), &subject, 0).await;
    }
}

/// Ten bytes, so that nothing is torn: with msync(2), whole and part, and without.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_msync_is_found() {
    if uml().is_none() {
        return;
    }
    let workload = |sync: &str| {
        let directory = tempfile::tempdir().unwrap();
        let script = format!(
            "import mmap\nf = open(\"f\", \"r+b\")\nm = mmap.mmap(f.fileno(), 0)\nm[5000:5010] = b\"new_______\"\n{sync}\nprint(\"saved\")"
        );
        let invariants = "[[invariant]]\nkind = 'atomic-replace'\npath = 'f'\n\
                          [[invariant]]\nkind = 'durable-after'\nack = 'saved'\npath = 'f'\n";
        let setup = "head -c 9000 /dev/zero | tr '\\0' o > f; sync f";
        let manifest =
            format!("setup = ['sh', '-c', {setup:?}]\ncommand = ['python3', '-c', '''{script}''']\n{invariants}");
        std::fs::write(directory.path().join("workload.toml"), manifest).unwrap();
        Workload::load(directory.path()).unwrap()
    };
    let workloads =
        [workload("m.flush()"), workload("m.flush(4096, 4096)"), workload("m.flush(0, 4096)"), workload("")];
    let directory = tempfile::tempdir().unwrap();
    let report = run(&workloads, &options(&["ext4", "xfs", "btrfs"]), directory.path()).await.report;
    let cells = report.cells.iter().map(|cell| (cell.verdict(), cell.violations.iter().map(|it| it.kind).collect()));
    let right = || (Verdict::Pass, Vec::new());
    let lost = || (Verdict::Violation, vec![Kind::Stale]);
    // btrfs syncs the whole of a file that was not synced since it was opened (fs/btrfs/file.c, `btrfs_sync_file`:
    // `BTRFS_INODE_NEEDS_FULL_SYNC`).
    let (whole, page, beside, none) =
        ([right(), right(), right()], [right(), right(), right()], [lost(), lost(), right()], [lost(), lost(), lost()]);
    let expected = [whole, page, beside, none].concat();
    assert_eq!(cells.collect::<Vec<(Verdict, Vec<Kind>)>>(), expected);
}
