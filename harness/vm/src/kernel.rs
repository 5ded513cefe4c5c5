//! Guest kernels on this host: where they are and where their modules are.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// Why there is no kernel to boot, or none that can mount what is asked for.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Nothing found.
    #[error(
        "found no {what} (looked in {looked}): install it (`harness doctor` says how; in a clone, scripts/harness does it)"
    )]
    Missing {
        /// What was looked for.
        what: &'static str,
        /// Where.
        looked: String,
    },
    /// The user's own does not do.
    #[error("failed to take {} for the guest's kernel: {reason}", image.display())]
    Named {
        /// The file.
        image: PathBuf,
        /// Why.
        reason: String,
    },
    /// Its modules do not do.
    #[error(transparent)]
    Module(#[from] vm_images::ModuleError),
    /// A file that the machine needs could not be made.
    #[error(transparent)]
    Build(#[from] vm_images::BuildError),
}

impl KernelError {
    /// Whether it is that the kernel has no driver for what was asked for. It may well have others.
    pub fn is_lack_of_module(&self) -> bool {
        matches!(self, Self::Module(vm_images::ModuleError::Missing { .. }))
    }
}

/// Where things are kept between runs.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Unpacked guest kernels, one directory each.
    pub kernels: PathBuf,
    /// Initramfs files and what was found out about this host.
    pub cache: PathBuf,
}

impl Paths {
    /// Below the user's cache directory, or, where that cannot be written to, below the temporary one. Kernels are
    /// looked for in `$HARNESS_KERNELS` if that is set. All are absolute: machines do not start where the user is.
    pub fn from_environment() -> Self {
        let set = |name: &str| std::env::var_os(name).and_then(|value| std::path::absolute(value).ok());
        let home = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
        let home = home.map(|cache| cache.join("crash-harness"));
        let mine = std::env::temp_dir().join(format!("crash-harness-{}", nix::unistd::geteuid()));
        let cache = match &home {
            Some(home) if usable(home) => home.clone(),
            // What lies in a directory that everyone can write to may be anyone's, and machines are started with it.
            _ if usable(&mine) && is_mine(&mine) => mine,
            _ => tempfile::env::temp_dir().join("cache"),
        };
        // The temporary directory may have been given as a relative one.
        let cache = std::path::absolute(&cache).unwrap_or(cache);
        let kernels = set("HARNESS_KERNELS").unwrap_or_else(|| home.as_ref().unwrap_or(&cache).join("kernels"));
        Self { kernels, cache }
    }
}

/// Whether files can be made in a directory, which is made if need be.
fn usable(directory: &Path) -> bool {
    use nix::unistd::{AccessFlags, access};
    use std::os::unix::fs::DirBuilderExt;
    let _ = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    directory.is_dir() && access(directory, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
}

/// Whether a directory, and no link to one, belongs to this user, and nobody else can write to it.
fn is_mine(directory: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let mine = nix::unistd::geteuid().as_raw();
    fs::symlink_metadata(directory)
        .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == mine && metadata.mode() & 0o022 == 0)
}

/// A bootable x86-64 kernel and its modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The bzImage.
    pub image: PathBuf,
    /// `/lib/modules/RELEASE` of it.
    pub modules: PathBuf,
}

impl Kernel {
    /// The newest unpacked kernel below `kernels`, else the host's own in `/boot`.
    pub fn find(kernels: &Path) -> Result<Self, KernelError> {
        let mut roots: Vec<PathBuf> = entries(kernels);
        roots.sort();
        roots.reverse();
        roots.push(PathBuf::from("/"));
        for root in &roots {
            let mut images: Vec<PathBuf> =
                entries(&root.join("boot")).into_iter().filter(|path| release(path).is_some()).collect();
            images.sort();
            while let Some(image) = images.pop() {
                if let Some(kernel) = Self::at(&image, root) {
                    return Ok(kernel);
                }
            }
        }
        Err(KernelError::Missing { what: "guest kernel for QEMU", looked: format!("{} and /boot", kernels.display()) })
    }

    /// The kernel that `--kernel` names: a bzImage beside which, or on this host, its modules are found.
    pub fn named(image: &Path) -> Result<Self, KernelError> {
        let refused = |reason: String| KernelError::Named { image: image.to_path_buf(), reason };
        fs::File::open(image).map_err(|error| refused(error.to_string()))?;
        let release = release(image)
            .ok_or_else(|| refused("it must be called vmlinuz-RELEASE, by which its modules are found".into()))?;
        let beside = image.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
        Self::at(image, beside).or_else(|| Self::at(image, Path::new("/"))).ok_or_else(|| {
            refused(format!(
                "found no directory lib/modules/{release} with its modules, below {} or /",
                beside.display()
            ))
        })
    }

    fn at(image: &Path, root: &Path) -> Option<Self> {
        let release = release(image)?;
        let modules = ["lib/modules", "usr/lib/modules"].iter().map(|place| root.join(place).join(&release));
        let modules = modules.into_iter().find(|place| place.is_dir())?;
        fs::File::open(image).ok()?;
        Some(Self { image: image.to_path_buf(), modules })
    }
}

/// `6.1.0-56-cloud-amd64` of `vmlinuz-6.1.0-56-cloud-amd64`.
fn release(image: &Path) -> Option<String> {
    let name = image.file_name()?.to_str()?;
    Some(name.strip_prefix("vmlinuz-").or_else(|| name.strip_prefix("bzImage-"))?.to_owned())
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).map(|entries| entries.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
}

/// The first of `names` that is an executable file in `$PATH` or in the places where systems keep such programs; an
/// absolute path.
pub fn program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.extend(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from));
    let executable =
        |path: &PathBuf| nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok() && path.is_file();
    let found =
        names.iter().flat_map(|name| places.iter().map(move |place| place.join(OsStr::new(name)))).find(executable)?;
    std::path::absolute(found).ok()
}
