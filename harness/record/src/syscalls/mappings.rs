//! Files in memory.

use std::io;

use super::AtEntry;
use crate::files::Descriptor;
use crate::recorder::Recorder;
use crate::stop::Asked;

/// Stops for shared mappings only.
pub(super) fn mmap(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    let fd = call.fd(4);
    if fd < 0 {
        return Ok(AtEntry::Pass);
    }
    let Some(Descriptor::File(handle)) = recorder.descriptor(call.tid, fd) else { return Ok(AtEntry::Pass) };
    Ok(match recorder.files.file(handle) {
        Some(file) if file.flags & libc::O_ACCMODE as u32 != libc::O_RDONLY as u32 => {
            AtEntry::unmodelled(format!("shared mapping of {}: what is written through it is not followed", file.path))
        }
        _ => AtEntry::Pass,
    })
}
