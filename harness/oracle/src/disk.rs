//! A disk of our own for the native kernel: a FUSE file system with one file, which a loop device stands on.
//!
//! The loop device opens the file for direct I/O, and the file system asks for it too (`FOPEN_DIRECT_IO`), so requests
//! come as the file system above sends them: nothing is cached, and several are under way at a time (`FUSE_ASYNC_DIO`).
//! A flush of the block device arrives as an fsync (drivers/block/loop.c, `lo_req_flush`).

use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request,
    WriteFlags,
};

use crate::image::Image;
use crate::log::{Event, Log, Write};

/// The name of the file.
pub const FILE: &str = "disk";

/// Its inode number.
const DISK: INodeNo = INodeNo(2);

/// Bytes of the largest write that arrives in one piece.
const LARGEST_WRITE: u32 = 1 << 20;

/// Which data writes are not answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Held {
    /// All are answered at once.
    #[default]
    Nothing,
    /// None is answered.
    AllData,
    /// Those with one of these letters on some page are not answered.
    Letters(String),
}

impl Held {
    /// Whether a write is held.
    pub fn holds(&self, write: &Write) -> bool {
        match self {
            Held::Nothing => false,
            Held::AllData => write.letter().is_some(),
            Held::Letters(letters) => letters.chars().any(|letter| write.has(letter)),
        }
    }
}

/// What the disk knows.
struct State {
    image: Image,
    log: Log,
    /// Whether what happens is logged.
    logging: bool,
    held: Held,
    /// Writes that have not been answered, with their indices in the log.
    waiting: Vec<(usize, u32, ReplyWrite)>,
    flushes: usize,
    last_request: Instant,
}

impl State {
    /// Answers a write. That it was answered is logged first: the lock is held, so nothing else is logged in between.
    fn answer(&mut self, index: usize, size: u32, reply: ReplyWrite) {
        self.log(Event::Done(index));
        reply.written(size);
    }

    fn log(&mut self, event: Event) {
        if self.logging {
            self.log.events.push(event);
        }
    }
}

/// The disk, as its user has it. It is unmounted when it is dropped.
pub struct Disk {
    state: Arc<Mutex<State>>,
    session: Option<fuser::BackgroundSession>,
}

impl Disk {
    /// Mounts a file system at `directory` whose file holds `image`.
    pub fn mount(image: Image, directory: &Path) -> std::io::Result<Self> {
        let state = State {
            image,
            log: Log::default(),
            logging: false,
            held: Held::default(),
            waiting: Vec::new(),
            flushes: 0,
            last_request: Instant::now(),
        };
        let state = Arc::new(Mutex::new(state));
        let mut config = fuser::Config::default();
        config.mount_options = vec![MountOption::FSName("crash-harness-oracle".into())];
        let session = fuser::spawn_mount(Server { state: state.clone() }, directory, &config)?;
        Ok(Self { state, session: Some(session) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Begins the log: what the disk holds now is the start state.
    pub fn begin(&self) -> Image {
        let mut state = self.state();
        state.log = Log::default();
        state.flushes = 0;
        state.logging = true;
        state.image.clone()
    }

    /// Ends the log.
    pub fn end(&self) -> Log {
        let mut state = self.state();
        state.logging = false;
        std::mem::take(&mut state.log)
    }

    /// Logs what happens above the disk.
    pub fn mark(&self, event: Event) {
        self.state().log(event);
    }

    /// From now on holds these writes; those that wait go on waiting.
    pub fn hold(&self, held: Held) {
        self.state().held = held;
    }

    /// Answers all that waits, in the order of arrival; what comes later is held as before.
    pub fn answer_waiting(&self) {
        let mut state = self.state();
        for (index, size, reply) in std::mem::take(&mut state.waiting) {
            state.answer(index, size, reply);
        }
    }

    /// Holds nothing any more, and answers all that waits.
    pub fn release(&self) {
        self.hold(Held::Nothing);
        self.answer_waiting();
    }

    /// How many writes wait for their answer.
    pub fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    /// Whether writes are held from now on, or wait.
    pub fn holds(&self) -> bool {
        let state = self.state();
        state.held != Held::Nothing || !state.waiting.is_empty()
    }

    /// Waits until no request has come for so long.
    pub fn settle(&self, quiet: Duration) {
        loop {
            let passed = self.state().last_request.elapsed();
            match quiet.checked_sub(passed) {
                None | Some(Duration::ZERO) => break,
                Some(rest) => std::thread::sleep(rest),
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.release();
        if let Some(session) = self.session.take()
            && let Err(error) = session.umount_and_join()
        {
            eprintln!("failed to unmount the logging disk: {error}");
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Server {
    state: Arc<Mutex<State>>,
}

impl Server {
    fn attributes(&self, inode: INodeNo) -> FileAttr {
        let directory = inode == INodeNo::ROOT;
        let size = if directory { 0 } else { lock(&self.state).image.size() };
        FileAttr {
            ino: inode,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if directory { FileType::Directory } else { FileType::RegularFile },
            perm: if directory { 0o755 } else { 0o600 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

/// Attributes never change.
const FOREVER: Duration = Duration::from_secs(86_400);

impl Filesystem for Server {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let refused = |what| move |_| std::io::Error::other(format!("the kernel's FUSE does not take {what}"));
        config.add_capabilities(InitFlags::FUSE_ASYNC_DIO).map_err(refused("asynchronous direct I/O"))?;
        config
            .set_max_write(LARGEST_WRITE)
            .map_err(|most| std::io::Error::other(format!("at most {most} bytes a write")))?;
        // Writes that are held count, and with the usual 12 they would soon block all others.
        let none = |_| std::io::Error::other("the kernel's FUSE takes no more requests at a time");
        config.set_max_background(u16::MAX).map_err(none)?;
        config.set_congestion_threshold(u16::MAX).map_err(none)?;
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if parent == INodeNo::ROOT && name == FILE {
            reply.entry(&FOREVER, &self.attributes(DISK), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOREVER, &self.attributes(inode));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let data = {
            let mut state = lock(&self.state);
            state.last_request = Instant::now();
            let size = state.image.size().saturating_sub(offset).min(size.into());
            state.image.read(offset, size as usize)
        };
        reply.data(&data);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = lock(&self.state);
        state.last_request = Instant::now();
        state.image.write(offset, data);
        let (size, index) = (data.len() as u32, state.log.writes.len());
        let write = Write { offset, data: data.into() };
        let held = state.logging && state.held.holds(&write);
        if state.logging {
            state.log.writes.push(write);
            state.log(Event::Begun(index));
        }
        if held {
            state.waiting.push((index, size, reply));
        } else {
            state.answer(index, size, reply);
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut state = lock(&self.state);
        state.last_request = Instant::now();
        let flush = state.flushes;
        state.flushes += 1;
        state.log(Event::FlushBegun(flush));
        state.log(Event::FlushDone(flush));
        reply.ok();
    }

    fn fallocate(&self, _: &Request, _: INodeNo, _: FileHandle, _: u64, _: u64, _: i32, reply: ReplyEmpty) {
        reply.error(Errno::EOPNOTSUPP);
    }
}
