//! The tests can fail: take away what makes a saver safe, and it is found unsafe.

use engine::subject::Bounds;
use std::sync::Arc;

use checker::CrashWindow;
use engine::spec::{Disk, Tear};
use engine::subject::Subject;
use engine::visit::{EquivalenceClass, explore, is_weakness};
use program::{Call, Trace};
use report::{Durable, Verdict};
use storage::{DiskModel, Layers, epochs};

use crate::support::{OneGuest, durable_trace, execute_on, filesystem, options, run, uml, workloads};

/// A disk that ignores flushes must break a saver that does everything right, or flushes are not looked at.
#[tokio::test(flavor = "multi_thread")]
async fn without_flushes_the_durable_saver_is_violated() {
    if uml().is_none() {
        return;
    }
    let mut options = options(&["ext4", "xfs", "btrfs"]);
    options.spec.disk = Disk::Lying;
    // With tears the walk is long, and adds nothing here.
    options.spec.tear = Tear::None;
    options.spec.schedules = 0;
    options.spec.budget.mounts = Some(3000);
    let directory = tempfile::tempdir().unwrap();
    let report = run(&workloads(&["durable_replace"]), &options, directory.path()).await.report;
    for cell in report.cells {
        assert_eq!(cell.verdict(), Verdict::Violation, "{}: {:?}", cell.id, cell.failure);
        assert_eq!(cell.durable_after_exit, Durable::No, "{}", cell.id);
    }
}

/// The trace of the right saver without its fsync of the data is that of a wrong one.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_fsync_the_durable_saver_is_violated() {
    let Some(uml) = uml() else { return };
    let whole = durable_trace();
    let first = whole.ops.iter().position(|op| matches!(op.call, Call::Fsync { .. })).unwrap();
    let mut cut = whole.clone();
    cut.ops.remove(first);
    for (trace, expected) in [(whole, false), (cut, true)] {
        for kind in ["ext4:noauto_da_alloc", "xfs"] {
            assert_eq!(violated(uml.clone(), trace.clone(), kind).await, expected, "{kind}");
        }
    }
}

async fn violated(uml: vm::Uml, trace: Trace, kind: &str) -> bool {
    let filesystem = filesystem(kind);
    let subject = Subject::of("cut".into(), Vec::new(), trace, Bounds::default()).unwrap();
    let mut guests = OneGuest::new(uml, subject.read_plan.clone());
    let mut violated = false;
    for schedule in 0..subject.schedules.len() {
        let execution = execute_on(&mut guests, &filesystem, &subject, schedule).await;
        let model = DiskModel::default();
        let mut durable = execution.start.clone();
        let mut from = 0;
        for epoch in epochs(&execution.log, &model) {
            epoch.advance(&mut durable, &execution.log, from);
            from = epoch.durable;
            let layers = Arc::new(Layers::new(durable.clone(), &execution.log, &epoch, model));
            let class = |class: EquivalenceClass| {
                let window = CrashWindow { begun_earliest: 0, ended_latest: 0 };
                let findings = subject.rules.judge(&class.observation, &window);
                violated |= findings.iter().any(|finding| finding.fails)
                    && !is_weakness(&class.observation, class.fates.torn());
            };
            assert!(explore(&mut guests, &filesystem, &layers, || true, class).await.unwrap());
        }
    }
    violated
}
