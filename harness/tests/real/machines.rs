//! The other machine: the same findings on emulated QEMU, with another kernel.

use checker::Kind;
use report::Verdict;
use vm::{Accelerator, Choice, Paths, Qemu};

use crate::support::{options, run, workloads};

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_path_on_qemu() {
    let paths = Paths::from_environment();
    if let Err(error) = Qemu::find(&paths.kernels, None, Accelerator::Emulated) {
        eprintln!("skipped, because {error}");
        return;
    }
    let mut options = options(&["ext4", "xfs", "btrfs"]);
    options.vm = Choice::Qemu;
    options.model.tear = disk::TearKind::None;
    let directory = tempfile::tempdir().unwrap();
    let report = run(&workloads(&["naive_config"]), &options, directory.path()).await.report;
    for cell in report.cells {
        assert_eq!(cell.verdict(), Verdict::Violation, "{}: {:?}", cell.id, cell.failure);
        assert!(cell.exhaustive(), "{}", cell.id);
        assert!(cell.vm.starts_with("qemu"), "{}", cell.vm);
        let kinds: Vec<Kind> = cell.violations.iter().map(|violation| violation.kind).collect();
        // What User Mode Linux finds (figures.rs): on xfs, the half of a file that was written back alone shows, too.
        let expected: &[Kind] = match cell.id.fs.as_str() {
            "xfs" => &[Kind::Empty, Kind::WrongLength, Kind::ZeroFilled],
            _ => &[Kind::Empty],
        };
        assert_eq!(kinds, expected, "{}", cell.id);
    }
}
