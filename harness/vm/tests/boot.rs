//! Guests really boot, mount and observe.

use std::collections::BTreeMap;

use checker::Mount;
use disk::{DirectDisk, Image};
use protocol::{Command, Filesystem, Reply};
use trace::Tree;
use vm::{Guest, Limits, Machine, Paths, Uml};

fn mkfs(kind: &str) -> Image {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    std::fs::File::create(&path).unwrap().set_len(320 << 20).unwrap();
    let program = format!("/sbin/mkfs.{kind}");
    let quiet = if kind == "ext4" { "-F" } else { "-f" };
    let output = std::process::Command::new(program).arg("-q").arg(quiet).arg(&path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    Image::read_raw(&path).unwrap()
}

#[tokio::test]
async fn a_fresh_file_system_mounts() {
    let paths = Paths::from_environment();
    let machine = Uml::find(&paths.cache).unwrap();
    let kinds = ["ext4", "xfs", "btrfs"].map(String::from);
    let initramfs = machine.initramfs(&paths.cache, &kinds).unwrap();
    let images: BTreeMap<&str, Image> = ["ext4", "xfs", "btrfs"].map(|kind| (kind, mkfs(kind))).into();
    let start = std::time::Instant::now();
    let mut guest = Guest::boot(&machine, &initramfs, images["ext4"].sectors(), Limits::default()).await.unwrap();
    eprintln!("boot {:?} {}", start.elapsed(), guest.kernel());
    for (kind, image) in images {
        guest.insert(Box::new(DirectDisk { image }));
        let filesystem = Filesystem { kind: kind.into(), options: String::new() };
        let populate = Command::Populate { filesystem: filesystem.clone(), tree: Tree::default() };
        assert_eq!(guest.call(&populate).await.unwrap(), Reply::Done);
        let start = std::time::Instant::now();
        for _ in 0..100 {
            let observe = Command::Observe { filesystem: filesystem.clone() };
            let Reply::Observed(observation) = guest.call(&observe).await.unwrap() else { panic!() };
            assert_eq!(observation.mount, Mount::Mounted);
        }
        eprintln!("{kind} {:?} a mount", start.elapsed() / 100);
    }
}
