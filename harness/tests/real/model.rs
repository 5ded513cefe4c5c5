//! The model of calls against kernels: random programs of all modelled calls do the same to a real directory of this host, to
//! the model ([`Vfs`]), and on each file system in a guest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::execute::{ExecutionError, Live, execute, give, populate};
use engine::mkfs::mkfs;
use engine::visit::Guests;
use filesystems::Filesystem;
use guest_agent::calls::{Handles, perform};
use nix::errno::Errno;
use plan::{Ending, Schedule};
use program::{Call, Handle, History, Op, RelPath, Target, Time, Trace, Vfs, Why};
use protocol::{Command, Conditions, Reply};
use storage::{Image, LoggingDisk};

use crate::support::{OneGuest, SECTORS, filesystem, uml};

/// How many programs: more where there is time.
fn programs() -> u64 {
    testkit::rounds(150, 10_000) as u64
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same everywhere and for ever.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize].clone()
    }

    fn path(&mut self) -> RelPath {
        self.of(&["old", "a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "l", "d/l", "full/x"]).into()
    }

    fn handle(&mut self) -> Handle {
        Handle(self.below(5) as u32)
    }

    fn target(&mut self) -> Target {
        match self.below(4) {
            0 => Target::Handle(self.handle()),
            1 => Target::NoFollow(self.path()),
            _ => Target::Path(self.path()),
        }
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let byte = b'a' + self.below(26) as u8;
        vec![byte; self.below(most) as usize]
    }

    /// Lengths and offsets around the ends of pages.
    fn number(&mut self) -> u64 {
        self.of(&[0, 1, 4095, 4096, 5000, 8192, 12_288]) + self.below(3)
    }

    fn flags(&mut self) -> u32 {
        let access = self.of(&[libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR, libc::O_RDWR]);
        let mut flags = access;
        let some = [libc::O_CREAT, libc::O_CREAT, libc::O_EXCL, libc::O_TRUNC, libc::O_APPEND, libc::O_DSYNC];
        for flag in some.into_iter().chain([libc::O_SYNC, libc::O_DIRECTORY, libc::O_NOFOLLOW]) {
            if self.below(4) == 0 {
                flags |= flag;
            }
        }
        match self.below(12) {
            0 => (libc::O_RDWR | libc::O_TMPFILE) as u32,
            // O_DIRECTORY beside O_CREAT is refused by some kernels and was a fault of others (open(2), BUGS).
            _ if flags & libc::O_CREAT != 0 => (flags & !libc::O_DIRECTORY) as u32,
            _ => flags as u32,
        }
    }

    /// Any call that a trace can hold but for promises.
    fn call(&mut self) -> Call {
        let handle = self.handle();
        match self.below(40) {
            0..=6 => {
                Call::Open { handle, path: self.path(), flags: self.flags(), mode: self.of(&[0o644, 0o600, 0o755]) }
            }
            7 => Call::Close { handle },
            8..=11 => Call::Write {
                handle,
                offset: self.number(),
                data: Arc::new(self.bytes(6000)),
                flags: self.of(&[0, 0, 2, 4]),
            },
            12 => {
                let (from, from_offset, to_offset) = (self.handle(), self.number(), self.number());
                Call::CopyRange { from, from_offset, to: handle, to_offset, length: 1 + self.number() }
            }
            13..=14 => Call::Truncate { target: self.target(), length: self.number() },
            15..=16 => {
                use nix::fcntl::FallocateFlags as F;
                let (punch, zero, keep) = (F::FALLOC_FL_PUNCH_HOLE, F::FALLOC_FL_ZERO_RANGE, F::FALLOC_FL_KEEP_SIZE);
                let mode = self.of(&[F::empty(), keep, punch | keep, zero, zero | keep]);
                Call::Allocate { handle, mode: mode.bits() as u32, offset: self.number(), length: self.number() }
            }
            17 => Call::Mkdir { path: self.path(), mode: self.of(&[0o755, 0o700]) },
            18 => {
                let kind = self.of(&[libc::S_IFIFO, libc::S_IFREG, libc::S_IFSOCK, libc::S_IFCHR]);
                Call::Mknod {
                    path: self.path(),
                    mode: kind | 0o644,
                    device: if kind == libc::S_IFCHR { 0x103 } else { 0 },
                }
            }
            19 => {
                Call::Symlink { path: self.path(), target: self.of(&["a", "d", "d/a", "d/../a", "nowhere", "l"]).into() }
            }
            20..=21 => Call::Link { from: self.target(), to: self.path() },
            22..=25 => Call::Rename { from: self.path(), to: self.path(), flags: self.of(&[0, 0, 0, 1, 2, 4]) },
            26..=27 => Call::Unlink { path: self.path() },
            28 => Call::Rmdir { path: self.path() },
            29 => Call::Chmod {
                target: Target::Path(self.path()),
                mode: self.of(&[0o600, 0o755, 0o4755, 0o2750, 0o1777]),
            },
            30 => {
                Call::Chown { target: self.target(), uid: self.of(&[0, 7, u32::MAX]), gid: self.of(&[0, 8, u32::MAX]) }
            }
            31 => {
                let time = [Time::Keep, Time::Now, Time::At(1_000_000, 5)];
                Call::SetTimes { target: self.target(), access: self.of(&time), modification: self.of(&time) }
            }
            32 => {
                let (target, name) = (self.target(), self.of(&["user.a", "user.b"]).into());
                Call::SetXattr { target, name, value: self.bytes(40), flags: self.of(&[0, 0, 1, 2]) }
            }
            33 => Call::RemoveXattr { target: self.target(), name: self.of(&["user.a", "user.b"]).into() },
            34 => self.of(&[Call::Fsync { handle }, Call::Fdatasync { handle }]),
            35 => Call::SyncRange { handle, offset: 0, length: self.number(), flags: self.of(&[2, 7]) },
            36 => Call::DontNeed { handle, offset: 0, length: 0 },
            37 => Call::SyncFs { handle },
            38 => {
                Call::Store { handle, offset: self.number(), data: Arc::new([self.bytes(5000), vec![b'!']].concat()) }
            }
            _ => Call::Msync { handle, offset: 0, length: 4096 * (1 + self.below(3)) },
        }
    }
}

/// Why a kernel refuses what the model does not: rights, which the model leaves out, and what it is not asked about, since only
/// calls that succeeded are recorded.
fn is_beyond_the_model(errno: Errno) -> bool {
    let rights =
        [Errno::EBADF, Errno::EPERM, Errno::EACCES, Errno::EOPNOTSUPP, Errno::ENXIO, Errno::ESPIPE, Errno::EBUSY];
    rights.contains(&errno)
}

/// Whether an error of the model is this one of the kernel. Where two are due, either may be given.
fn agree(why: &Why, errno: Errno) -> bool {
    let expected: &[Errno] = match why {
        Why::NotFound => &[Errno::ENOENT, Errno::ENOTDIR],
        Why::Exists => &[Errno::EEXIST, Errno::ENOTDIR, Errno::EISDIR],
        Why::NotADirectory => &[Errno::ENOTDIR, Errno::ENOENT],
        Why::IsADirectory => &[Errno::EISDIR, Errno::EPERM, Errno::EBADF, Errno::EINVAL],
        Why::NotEmpty => &[Errno::ENOTEMPTY, Errno::EEXIST],
        Why::BadHandle => &[Errno::EBADF],
        Why::Loop => &[Errno::ELOOP],
        Why::NoAttribute => &[Errno::ENODATA],
        Why::Invalid => &[Errno::EINVAL, Errno::EPERM, Errno::EBADF, Errno::EOPNOTSUPP, Errno::ENODEV, Errno::ENOENT],
        Why::Outside | Why::TooLarge => &[],
    };
    expected.contains(&errno) || is_beyond_the_model(errno)
}

/// The same call without what makes it wait for this host's disk: that changes no tree.
fn perform_here(call: &Call, handles: &mut Handles) -> Result<i64, Errno> {
    let is_open = |handle: &Handle| handles.contains_key(handle).then_some(0).ok_or(Errno::EBADF);
    match call {
        Call::Fsync { handle } | Call::Fdatasync { handle } | Call::SyncFs { handle } => is_open(handle),
        Call::SyncRange { handle, .. } | Call::DontNeed { handle, .. } | Call::Msync { handle, .. } => is_open(handle),
        Call::Open { handle, path, flags, mode } => {
            let flags = flags & !(libc::O_SYNC as u32);
            perform(&Call::Open { handle: *handle, path: path.clone(), flags, mode: *mode }, handles)
        }
        Call::Write { handle, offset, data, .. } => {
            perform(&Call::Write { handle: *handle, offset: *offset, data: data.clone(), flags: 0 }, handles)
        }
        call => perform(call, handles),
    }
}

/// One program on the host and in the model, call by call.
fn run(seed: u64, before: &program::Tree, directory: &Path) -> Trace {
    std::env::set_current_dir(directory).unwrap();
    let mut dice = Dice(seed);
    let mut vfs = Vfs::new(before);
    let mut handles = Handles::new();
    let mut ops = Vec::new();
    for _ in 0..10 + dice.below(30) {
        let call = dice.call();
        // A number is given to one open file at a time.
        let is_out_of_place = match &call {
            Call::Open { handle, .. } => handles.contains_key(handle),
            Call::Close { handle } => !handles.contains_key(handle),
            _ => false,
        };
        if is_out_of_place {
            continue;
        }
        let mut model = vfs.clone();
        let (done, modelled) = (perform_here(&call, &mut handles), model.apply(&call));
        let listing = || ops.iter().map(Op::to_string).collect::<Vec<_>>().join("\n");
        match (&done, &modelled) {
            (Ok(result), Ok(())) => {
                vfs = model;
                let kept = if let Call::Store { data, .. } = &call { data.len() as i64 } else { *result };
                ops.push(Op { call, syscall: "call".into(), result: kept, thread: 0 });
            }
            (Err(errno), Err(divergence)) => {
                assert!(agree(&divergence.why, *errno), "seed {seed}: {call:?}: {errno}, {divergence}\n{}", listing());
            }
            (Err(errno), Ok(())) => {
                assert!(
                    is_beyond_the_model(*errno) || refuses(&call, *errno),
                    "seed {seed}: {call:?}: {errno}\n{}",
                    listing()
                );
            }
            // The model follows no link out of the directory, and says so.
            (Ok(_), Err(divergence)) => panic!("seed {seed}: {call:?}: {divergence}\n{}", listing()),
        }
    }
    drop(handles);
    let after = record::snapshot(directory).unwrap();
    let trace = Trace { before: before.clone(), ops, after, ..Trace::default() };
    let unexplained = program::unexplained(&trace);
    assert_eq!(unexplained, [], "seed {seed}\n{}", program::listing(&trace).join("\n"));
    trace
}

/// Mode, owner and group of all that an execution leaves.
async fn live_metadata(
    guest: &mut vm::Guest,
    filesystem: &Filesystem,
    base: &Image,
    plan: &plan::Plan,
) -> BTreeMap<RelPath, (u32, u32, u32)> {
    let (steps, conditions) = (plan.steps.clone(), plan.conditions);
    guest.insert(Box::new(LoggingDisk::new(base.clone())));
    let reply = guest.call(&Command::Execute { filesystem: filesystem.recipe(), steps, conditions }).await;
    guest.eject();
    let Reply::Executed { live, .. } = reply.unwrap() else { panic!("another answer") };
    live.entries.into_iter().map(|(path, entry)| (path, (entry.mode, entry.uid, entry.gid))).collect()
}

/// Calls that the kernel looks at more closely than the model does.
fn refuses(call: &Call, errno: Errno) -> bool {
    match call {
        // Ranges that overlap, or an empty range beyond the end.
        Call::CopyRange { .. } => errno == Errno::EINVAL,
        // A file of another kind.
        Call::Store { .. } | Call::Msync { .. } | Call::SyncRange { .. } | Call::Allocate { .. } => {
            matches!(errno, Errno::EINVAL | Errno::ENODEV | Errno::ESPIPE)
        }
        _ => false,
    }
}

/// A fresh directory with what all programs begin with.
fn begin(work: &Path, name: &str) -> PathBuf {
    let directory = work.join(name);
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("old"), vec![b'o'; 9000]).unwrap();
    std::fs::create_dir(directory.join("full")).unwrap();
    std::fs::write(directory.join("full/x"), b"x").unwrap();
    directory
}

#[test]
fn random_programs_do_the_same_in_the_model_and_on_this_host() {
    let work = tempfile::tempdir().unwrap();
    let before = record::snapshot(&begin(work.path(), "before")).unwrap();
    for seed in 0..programs() {
        let directory = begin(work.path(), "run");
        run(seed, &before, &directory);
        std::env::set_current_dir("/").unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_programs_do_the_same_in_the_model_and_in_kernels() {
    let Some(uml) = uml() else { return };
    let work = tempfile::tempdir().unwrap();
    let before = record::snapshot(&begin(work.path(), "before")).unwrap();
    let first = Trace { before: before.clone(), ..Trace::default() };
    let mut guests = OneGuest::new(uml, Arc::default());
    guests.untold = true;
    let mut disks = Vec::new();
    for name in ["ext4", "xfs", "btrfs", "f2fs"] {
        let filesystem = filesystem(name);
        let fresh = mkfs(&filesystem, SECTORS * storage::SECTOR as u64).unwrap();
        let base = populate(guests.guest().await.unwrap(), &filesystem, fresh, &first).await.unwrap();
        disks.push((filesystem, base));
    }
    let schedule = Schedule { injections: vec![], ending: Ending::Commit, conditions: Conditions::default() };
    let (mut kinds, mut calls) = (BTreeSet::new(), 0);
    for seed in 0..programs() {
        let directory = begin(work.path(), "run");
        let trace = run(seed, &before, &directory);
        std::env::set_current_dir("/").unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        calls += trace.ops.len();
        kinds.extend(trace.ops.iter().map(|op| format!("{:?}", op.call).split([' ', '{']).next().unwrap().to_owned()));
        let live = Live::new(&trace.after, BTreeSet::new());
        let plan = schedule.plan(&trace, &History::new(&trace));
        for (filesystem, base) in &disks {
            let guest = guests.guest().await.unwrap();
            give(guest, &trace, &live).await.unwrap();
            let told =
                |what: String| format!("seed {seed} on {filesystem}: {what}\n{}", program::listing(&trace).join("\n"));
            match execute(guest, filesystem, base, &plan, &trace, &live).await {
                Ok(_) => {}
                // Not every file system has every call.
                Err(ExecutionError::Diverged(why)) if why.contains("Operation not supported") => continue,
                Err(error) => panic!("{}", told(error.to_string())),
            }
            let metadata = live_metadata(guest, filesystem, base, &plan).await;
            let expected = trace.after.0.iter().map(|(path, node)| (path.clone(), (node.mode, node.uid, node.gid)));
            let differs = expected.into_iter().find(|(path, node)| !path.is_root() && metadata.get(path) != Some(node));
            if let Some((path, node)) = differs {
                panic!("{}", told(format!("{path}: {:?} here, {node:?} there", metadata.get(&path))));
            }
        }
    }
    println!("{} programs of {calls} calls that succeeded, of {} kinds: {kinds:?}", programs(), kinds.len());
    assert!(kinds.len() >= 22, "{kinds:?}");
}
