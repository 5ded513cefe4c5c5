//! The scripts of the repository.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Ended, Place};

/// Scripts find their checkout and its caches, whatever the shell that calls them has been told.
#[test]
fn scripts_in_a_strange_environment() {
    let place = Place::new();
    let root = fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap();
    let bash = |directory: &Path, arguments: &[&str]| {
        let mut command = Command::new("bash");
        command.args(arguments).current_dir(directory).env("CDPATH", place.path("elsewhere"));
        command.env("HARNESS_KERNELS", "kernels").env("XDG_CACHE_HOME", "cache");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let ended = Ended::of(command.spawn().unwrap());
        assert_eq!(ended.status, 0, "{}", ended.stderr);
        ended.stdout
    };
    for directory in ["elsewhere/scripts", "elsewhere/.ci"] {
        fs::create_dir_all(place.path(directory)).unwrap();
    }
    let here = fs::canonicalize(place.here.path()).unwrap();
    let told = r#"source scripts/lib.sh; cd "$0"; choose_directories; echo "$ROOT $HARNESS_KERNELS $XDG_CACHE_HOME""#;
    let (root_text, here_text) = (root.display(), here.display());
    let expected = format!("{root_text} {here_text}/kernels {here_text}/cache\n");
    assert_eq!(bash(&root, &["-c", told, &here_text.to_string()]), expected);
    place.write("checkout/.ci/run", fs::read(root.join(".ci/run")).unwrap());
    place.write("checkout/scripts/lib.sh", "set_up() { pwd; exit; }");
    let checkout = here.join("checkout");
    assert_eq!(bash(&checkout, &[".ci/run"]), format!("{}\n", checkout.display()));
}
