use super::*;
use engine::spec::RunSpec;
use engine::store;

#[test]
fn the_machine_of_the_run_unless_another_is_named() {
    let there = tempfile::NamedTempFile::new().unwrap();
    let kept = |machine: &str, kernel: Option<&Path>| Kept {
        machine: machine.into(),
        spec: RunSpec { kernel: kernel.map(Path::to_path_buf), ..RunSpec::default() },
        version: store::VERSION,
        cells: vec![],
        workloads: vec![],
        tools: Default::default(),
    };
    let (uml, qemu) = (kept("uml", None), kept("qemu-kvm", Some(there.path())));
    let (own, other) = (Some(there.path().to_path_buf()), Path::new("other"));
    assert_eq!(wishes(None, None, &uml), [(Choice::Uml, None), (Choice::Auto, None)]);
    assert_eq!(wishes(None, None, &qemu), [(Choice::Qemu, own.clone()), (Choice::Auto, None)]);
    assert_eq!(wishes(Some(cli::Vm::Qemu), None, &qemu), [(Choice::Qemu, own)]);
    assert_eq!(wishes(Some(cli::Vm::Auto), None, &qemu), [(Choice::Auto, None)]);
    assert_eq!(wishes(Some(cli::Vm::Uml), None, &qemu), [(Choice::Uml, None)]);
    assert_eq!(wishes(None, Some(other), &uml), [(Choice::Auto, Some(other.to_path_buf()))]);
    let gone = kept("qemu-kvm", Some(Path::new("/nonexistent/vmlinuz-6.1")));
    assert_eq!(wishes(None, None, &gone), [(Choice::Qemu, None), (Choice::Auto, None)]);
}
