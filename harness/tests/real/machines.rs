//! The other machine: the same findings on emulated QEMU, with another kernel.

use checker::Kind;
use engine::guests::Boot;
use engine::spec::Tear;
use engine::store::Store;
use report::Verdict;
use testkit::Need;
use vm::{Accelerator, Choice, GuestError, Limits, Machine, Paths, Qemu};

use crate::support::{SECTORS, options, run, uml, workloads};

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_path_on_qemu() {
    let paths = Paths::from_environment();
    if testkit::given(Need::Qemu, Qemu::find(&paths.kernels, None, Accelerator::Emulated)).is_none() {
        return;
    }
    let mut options = options(&["ext4", "xfs", "btrfs"]);
    options.vm = Choice::Qemu;
    options.spec.tear = Tear::None;
    let directory = tempfile::tempdir().unwrap();
    let report = run(&workloads(&["naive_config"]), &options, directory.path()).await.report;
    for cell in report.cells {
        assert_eq!(cell.verdict(), Verdict::Violation, "{}: {:?}", cell.id, cell.failure);
        assert!(cell.exhaustive(), "{}", cell.id);
        assert!(cell.vm.starts_with("qemu"), "{}", cell.vm);
        let kinds: Vec<Kind> = cell.violations.iter().map(|violation| violation.kind).collect();
        // What User Mode Linux finds (figures.rs).
        let expected: &[Kind] = match cell.id.fs.as_str() {
            "btrfs" => &[Kind::Empty, Kind::ZeroFilled],
            _ => &[Kind::Empty, Kind::WrongLength, Kind::ZeroFilled],
        };
        assert_eq!(kinds, expected, "{}", cell.id);
    }
}

/// As where the machine's kernel is replaced while a run is at work.
#[tokio::test(flavor = "multi_thread")]
async fn all_guests_of_a_run_have_one_kernel() {
    let Some(uml) = uml() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (store, _lock) = Store::create(directory.path()).unwrap();
    let initramfs = uml.initramfs(&Paths::from_environment().cache, &[]).unwrap();
    let (machine, limits) = (Box::new(uml), Limits::default());
    let boot = Boot::new(machine, initramfs, SECTORS, limits, Some(store.clone()));
    let release = boot.guest().await.unwrap().kernel().to_owned();
    assert_eq!(store.kernel().unwrap(), Some(release.clone()));
    assert_eq!(boot.guest().await.unwrap().kernel(), release);
    std::fs::write(directory.path().join("kernel"), "5.10.0").unwrap();
    let Err(GuestError::Setup { reason, .. }) = boot.guest().await else { panic!("it was started") };
    assert_eq!(reason, format!("it has Linux {release}, and the run was begun on Linux 5.10.0"));
}
