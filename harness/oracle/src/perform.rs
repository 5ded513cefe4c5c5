//! The process that touches the file system on our own disk.
//!
//! Not the process that serves the disk: if that one waited for itself, nobody could end it. The program has a thread of its
//! own, and so has each thing that others do on the machine: any of them may wait for the disk, and the rest goes on.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::device::{Loop, Mounted};
use crate::fresh::{COMMIT, WORK};
use crate::program::{Background, Op};

/// What this process is told to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Attach a loop device to `disk`, mount it at `at`.
    Mount {
        /// The file.
        disk: PathBuf,
        /// Where.
        at: PathBuf,
        /// File system.
        kind: String,
        /// Options of mount(2).
        options: String,
        /// Whether to look at all inodes.
        warm: bool,
    },
    /// The program does this, one after the other.
    Ops(Vec<Op>),
    /// Somebody else does this.
    Background(Background),
    /// Unmount.
    Unmount,
}

/// The answer to the order with this number, counted from 0: what it says, or why it failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The order.
    pub order: usize,
    /// What came of it.
    pub result: Result<String, String>,
}

/// Takes orders from stdin, one a line, and answers on stdout, until there are no more.
pub fn serve() -> io::Result<()> {
    // Whatever becomes of our parent, nothing of this stays.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    let program = worker(Program::default());
    let mut place: Option<Place> = None;
    for (number, line) in io::stdin().lock().lines().enumerate() {
        let order: Order = serde_json::from_str(&line?).map_err(io::Error::other)?;
        match order {
            Order::Mount { disk, at, kind, options, warm } => {
                let mounted = Loop::attach(&disk, true).and_then(|device| Mounted::mount(device, &at, &kind, &options));
                let result = mounted.and_then(|mounted| {
                    let about = about(mounted.device());
                    // Before the commit: to look at a directory changes its access time, and an inode that is read while
                    // a transaction runs takes itself for a part of it (fs/ext4/inode.c, `__ext4_iget`).
                    if warm {
                        look_at_all(&at.join(WORK))?;
                    }
                    // What mounting leaves to be written belongs to the start state.
                    settle(&at, &kind)?;
                    std::env::set_current_dir(at.join(WORK))?;
                    place = Some(Place { mounted, kind: kind.clone() });
                    Ok(about)
                });
                answer(number, result);
            }
            Order::Ops(ops) => send(&program, number, ops),
            Order::Background(work) => match &place {
                Some(place) => {
                    let (at, kind) = (place.mounted.at().to_owned(), place.kind.clone());
                    std::thread::spawn(move || answer(number, others(work, &at, &kind).map(|()| String::new())));
                }
                None => answer(number, Err(io::Error::other("nothing is mounted"))),
            },
            Order::Unmount => {
                // Ends the program, and closes its files.
                let (sender, done) = mpsc::channel();
                let _ = program.send(Message::End(sender));
                let _ = done.recv();
                let left = std::env::set_current_dir("/");
                let result = left.and_then(|()| place.take().map_or(Ok(()), |place| place.mounted.unmount()));
                answer(number, result.map(|()| String::new()));
            }
        }
    }
    Ok(())
}

struct Place {
    mounted: Mounted,
    kind: String,
}

/// What the kernel says of a device.
fn about(device: &Loop) -> String {
    let said = ["loop/dio", "queue/write_cache", "queue/fua", "queue/max_sectors_kb"];
    let said = said.map(|name| format!("{name} {}", device.attribute(name).unwrap_or_else(|error| error.to_string())));
    said.join(", ")
}

/// The thread of the program: carries out what it is sent, one after the other.
fn worker(mut program: Program) -> mpsc::Sender<Message> {
    let (sender, orders) = mpsc::channel();
    std::thread::spawn(move || {
        for message in orders {
            match message {
                Message::Do(number, ops) => {
                    let result = ops.into_iter().try_for_each(|op| program.perform(op));
                    answer(number, result.map(|()| String::new()));
                }
                Message::End(done) => {
                    program.0.clear();
                    let _ = done.send(());
                }
            }
        }
    });
    sender
}

enum Message {
    /// The order with this number.
    Do(usize, Vec<Op>),
    /// Close everything.
    End(mpsc::Sender<()>),
}

fn send(to: &mpsc::Sender<Message>, number: usize, ops: Vec<Op>) {
    if to.send(Message::Do(number, ops)).is_err() {
        answer(number, Err(io::Error::other("the thread for it has ended")));
    }
}

fn answer(order: usize, result: io::Result<String>) {
    let answer = Answer { order, result: result.map_err(|error| error.to_string()) };
    let Ok(mut line) = serde_json::to_string(&answer) else { return };
    line.push('\n');
    let mut out = io::stdout().lock();
    // If nobody listens any more, the end of stdin ends us.
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}

/// The program: what it has open.
#[derive(Default)]
struct Program(HashMap<u32, File>);

impl Program {
    fn get(&self, file: u32) -> io::Result<&File> {
        self.0.get(&file).ok_or_else(|| Errno::EBADF.into())
    }
}

impl Program {
    /// Does one thing.
    fn perform(&mut self, op: Op) -> io::Result<()> {
        match op {
            Op::Open { file, path, flags } => {
                let mut options = OpenOptions::new();
                let access = flags & libc::O_ACCMODE;
                options.read(access != libc::O_WRONLY).write(access != libc::O_RDONLY);
                options.create(flags & libc::O_CREAT != 0).truncate(flags & libc::O_TRUNC != 0);
                options.custom_flags(flags).mode(0o644);
                self.0.insert(file, options.open(if path.is_empty() { "." } else { &path })?);
                Ok(())
            }
            Op::Close { file } => self.0.remove(&file).map(drop).ok_or_else(|| Errno::EBADF.into()),
            Op::Write { file, offset, letter, length } => write(self.get(file)?, offset, letter, length as usize),
            Op::Truncate { path, length } => Ok(nix::unistd::truncate(Path::new(&path), length as i64)?),
            Op::Rename { from, to } => fs::rename(from, to),
            Op::Link { from, to } => fs::hard_link(from, to),
            Op::Unlink { path } => fs::remove_file(path),
            Op::Symlink { path, target } => symlink(target, path),
            Op::Mkdir { path } => fs::create_dir(path),
            Op::Fsync { file } => self.get(file)?.sync_all(),
            Op::Fdatasync { file } => self.get(file)?.sync_data(),
            Op::SyncRange { file } => sync_range(self.get(file)?, 0, 0, libc::SYNC_FILE_RANGE_WRITE),
            Op::DontNeed { file } => {
                let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
                Ok(nix::fcntl::posix_fadvise(self.get(file)?.as_fd(), 0, 0, advice)?)
            }
            Op::Print { .. } => Ok(()),
        }
    }
}

/// One pwrite, from memory that is aligned as O_DIRECT asks for.
fn write(file: &File, offset: u64, letter: char, length: usize) -> io::Result<()> {
    let mut buffer = vec![0; length + 4096];
    let skip = buffer.as_ptr().align_offset(4096);
    let data = &mut buffer[skip..skip + length];
    data.fill(letter as u8);
    match file.write_at(data, offset)? {
        written if written == length => Ok(()),
        written => Err(io::Error::other(format!("wrote {written} of {length} bytes"))),
    }
}

/// What others do on the machine.
fn others(work: Background, at: &Path, kind: &str) -> io::Result<()> {
    match work {
        Background::WriteBack { path, offset, length } => {
            let file = File::open(at.join(WORK).join(path))?;
            sync_range(&file, offset, length, libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER)
        }
        Background::WriteBackAll => {
            let files = files(&at.join(WORK))?;
            let all = |flags| files.iter().try_for_each(|file| sync_range(file, 0, 0, flags));
            all(libc::SYNC_FILE_RANGE_WRITE)?;
            all(libc::SYNC_FILE_RANGE_WAIT_AFTER)
        }
        Background::Commit => commit(at, kind),
        Background::SyncFs => Ok(nix::unistd::syncfs(File::open(at)?)?),
        // For the disk.
        Background::Hold(_) | Background::Release => Ok(()),
    }
}

fn sync_range(file: &File, offset: u64, length: u64, flags: u32) -> io::Result<()> {
    // SAFETY: takes no pointers.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), offset as i64, length as i64, flags) };
    Errno::result(result)?;
    Ok(())
}

/// All files below a directory, open.
fn files(directory: &Path) -> io::Result<Vec<File>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            files.extend(self::files(&entry.path())?);
        } else if kind.is_file() {
            files.push(File::open(entry.path())?);
        }
    }
    Ok(files)
}

fn look_at_all(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.metadata()?.is_dir() {
            look_at_all(&entry.path())?;
        }
    }
    Ok(())
}

/// Commits, with nobody's data.
fn commit(at: &Path, kind: &str) -> io::Result<()> {
    let file = File::open(at.join(COMMIT))?;
    // So that there is something to commit.
    let mode = file.metadata()?.permissions().mode() ^ 0o004;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    if kind != "btrfs" {
        return file.sync_all();
    }
    // An fsync would write a log tree.
    let root = File::open(at)?;
    let mut transaction = 0;
    // SAFETY: both take a pointer to one u64, which lives here.
    unsafe {
        ioctls::start_sync(root.as_raw_fd(), &mut transaction)?;
        ioctls::wait_sync(root.as_raw_fd(), &transaction)?;
    }
    Ok(())
}

mod ioctls {
    // linux/btrfs.h
    nix::ioctl_read!(start_sync, 0x94, 24, u64);
    nix::ioctl_write_ptr!(wait_sync, 0x94, 22, u64);
}

/// Has done what a file system does in the background after a mount.
fn settle(at: &Path, kind: &str) -> io::Result<()> {
    commit(at, kind)?;
    nix::unistd::syncfs(File::open(at)?)?;
    Ok(())
}
