//! For measuring what recording costs: `many_calls UNINTERESTING INTERESTING`, in a directory to write to.
//!
//! Makes that many getppid(2) calls, which the recorder does not care for, and that many pwrite(2) calls of 100 bytes to one file.

use std::os::unix::fs::FileExt;

fn main() -> std::io::Result<()> {
    let mut counts = std::env::args().skip(1).map(|count| count.parse::<u64>().unwrap_or(0));
    let (uninteresting, interesting) = (counts.next().unwrap_or(0), counts.next().unwrap_or(0));
    for _ in 0..uninteresting {
        let _ = std::os::unix::process::parent_id();
    }
    let file = std::fs::File::create("many_calls.out")?;
    for index in 0..interesting {
        file.write_all_at(&[b'x'; 100], index % 64 * 100)?;
    }
    Ok(())
}
