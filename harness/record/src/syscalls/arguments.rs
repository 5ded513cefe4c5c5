//! The arguments of a call, as the kernel takes them.

use crate::remote::Span;
use crate::stop::Asked;

/// A path argument: where it is in the program's memory, and what it is relative to.
#[derive(Clone, Copy, Debug)]
pub(super) struct PathArgument {
    pub(super) dirfd: i32,
    /// 0: there is no path, and the descriptor itself is meant, where the call allows it.
    pub(super) address: u64,
}

impl Asked {
    /// Argument `index` as a descriptor, which has 32 bits for the kernel.
    pub(super) fn fd(&self, index: usize) -> i32 {
        self.args[index] as i32
    }

    /// Argument `index` as flags that callers and helpers know as a signed number.
    pub(super) fn flags(&self, index: usize) -> i32 {
        self.args[index] as i32
    }

    /// The low half of argument `index`.
    pub(super) fn u32(&self, index: usize) -> u32 {
        self.args[index] as u32
    }

    /// A path that is relative to the working directory.
    pub(super) fn path(&self, index: usize) -> PathArgument {
        PathArgument { dirfd: libc::AT_FDCWD, address: self.args[index] }
    }

    /// A path that is relative to a directory's descriptor.
    pub(super) fn path_at(&self, dirfd: usize, index: usize) -> PathArgument {
        PathArgument { dirfd: self.fd(dirfd), address: self.args[index] }
    }

    /// The file of a descriptor.
    pub(super) fn no_path(&self, fd: usize) -> PathArgument {
        PathArgument { dirfd: self.fd(fd), address: 0 }
    }

    /// Memory that two arguments give by address and length.
    pub(super) fn span(&self, address: usize, length: usize) -> Span {
        Span { address: self.args[address], length: self.args[length] }
    }
}
