//! Copying the directory that a workload starts from.

use std::io;
use std::path::{Path, PathBuf};

use treeio::{Action, Root};

/// What could not be done, and on what.
#[derive(Debug)]
pub(crate) struct CopyError {
    pub(crate) action: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

/// Copies the content of the directory `from` into the empty directory `to`, as [`treeio::copy`] does.
///
/// # Errors
///
/// At the first thing that cannot be copied; what was copied by then stays.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> Result<(), CopyError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| CopyError { action: "read", path, source }
    };
    let roots = (Root::open(from).map_err(failed(from))?, Root::open(to).map_err(failed(to))?);
    treeio::copy(&roots.0, &roots.1).map_err(|treeio::Error { action, path, source }| {
        let (action, tree) = match action {
            Action::Look | Action::List | Action::ReadLink | Action::ReadXattrs => ("read", from),
            Action::ReadFile | Action::MakeFile | Action::MakeSpecial => ("copy", from),
            Action::MakeDirectory | Action::MakeSymlink => ("create", to),
            Action::Link => ("link", to),
            Action::SetOwner | Action::SetXattrs | Action::SetMode => ("set the mode of", to),
            Action::SetTimes => ("set the times of", to),
            Action::Remove => ("remove", to),
        };
        CopyError { action, path: path.under(tree), source }
    })
}
