//! One execution of a trace on a guest: what the disk saw.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use checker::{Candidate, EntryKind, Observation, ReadPlan, Seen, Sizes};
use filesystems::Filesystem;
use program::{Call, Channel, Content, Kind, RelPath, Trace, Tree, Unsynced};
use protocol::{Command, Reply};
use storage::{Backing, BlockLog, DirectDisk, Entry, Image, LoggingDisk};
use vm::{Guest, GuestError};

use plan::{Origin, Plan};

/// Why an execution gives nothing to explore.
#[derive(Debug, thiserror::Error)]
pub enum ExecutionError {
    /// The guest.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// The guest did not do what the recorded program did: exploring it would judge another program.
    #[error("the execution went another way than the recorded run: {0}")]
    Diverged(String),
    /// The clock of the guest does not stand still.
    #[error(
        "the clock of the guest went on in {STILL} executions in which it was to stand still: the host is too busy"
    )]
    Ticked,
    /// The workload's own check could not be run on some state.
    #[error(transparent)]
    Check(#[from] checks::CheckError),
}

/// How often an execution in which the clock is to stand still is repeated because it went on.
const STILL: u32 = 20;

/// The disk before an execution, and what it saw.
#[derive(Debug)]
pub struct Execution {
    /// The durable start state: file system, old files, and what mounting wrote.
    pub start: Image,
    /// What the disk saw from the first op on.
    pub log: BlockLog,
}

/// Builds the durable start state in the guest: `image` must hold a fresh file system.
pub async fn populate(
    guest: &mut Guest,
    filesystem: &Filesystem,
    image: Image,
    trace: &Trace,
) -> Result<Image, GuestError> {
    guest.insert(Box::new(DirectDisk { image }));
    let command =
        Command::Populate { filesystem: filesystem.recipe(), tree: trace.before.clone(), holes: trace.holes.clone() };
    let outcome = guest.call(&command).await;
    let disk = guest.eject();
    outcome?;
    Ok(recover::<DirectDisk>(disk).image)
}

/// Gives the guest the trace that [`execute`] needs, for good. Without syncs, the guest is given the same ops, but none of
/// them waits for data to be durable.
pub async fn give(guest: &mut Guest, trace: &Trace, live: &Live, without_syncs: bool) -> Result<(), GuestError> {
    // An op that does nothing, so that all others keep their numbers.
    let nothing = || Call::Ack { channel: Channel::Stdout, data: Vec::new() };
    let given = |call: &Call| match call.without_sync().filter(|_| without_syncs) {
        None => call.clone(),
        Some(Unsynced::Call(call)) => call,
        Some(Unsynced::Nothing) => nothing(),
    };
    let calls = trace.ops.iter().map(|op| given(&op.call)).collect();
    guest.call(&Command::Trace { calls, live: live.plan.clone() }).await.map(drop)
}

/// Executes `plan` on a copy of `base`: twice, if the guest's kernel did not come to rest in the first execution. How often it
/// did not in the one that counts, is given, too: what the disk saw may then be another thing the next time. The guest must
/// have been given the trace.
///
/// # Errors
/// The guest failed, or did something else.
pub async fn execute(
    guest: &mut Guest,
    filesystem: &Filesystem,
    base: &Image,
    plan: &Plan,
    trace: &Trace,
    live: &Live,
) -> Result<(Execution, u32), ExecutionError> {
    let (steps, conditions) = (plan.steps.clone(), plan.conditions);
    let command = Command::Execute { filesystem: filesystem.recipe(), steps, conditions };
    let (mut tries, mut was_restless) = (0, false);
    let (observation, disk, restless) = loop {
        guest.insert(Box::new(LoggingDisk::new(base.clone())));
        let outcome = guest.call(&command).await;
        let disk = guest.eject();
        match outcome? {
            Reply::Executed { restless: 1.., .. } if !was_restless => was_restless = true,
            Reply::Executed { live: seen, restless } => break (seen, disk, restless),
            Reply::Ticked if tries < STILL => tries += 1,
            Reply::Ticked => return Err(ExecutionError::Ticked),
            _ => return Err(ExecutionError::Diverged("the agent gave an answer to another question".into())),
        }
    };
    let Some((start, log)) = recover::<LoggingDisk>(disk).finish() else {
        return Err(ExecutionError::Diverged("the agent never began".into()));
    };
    check_results(&log, plan, trace)?;
    if let Some(difference) = difference(&trace.after, live, &observation) {
        return Err(ExecutionError::Diverged(difference));
    }
    Ok((Execution { start, log }, restless))
}

/// The disk that was put in comes out again.
fn recover<T: Backing>(disk: Box<dyn Backing>) -> T {
    let any: Box<dyn std::any::Any> = disk;
    *any.downcast().unwrap_or_else(|_| unreachable!("a guest gives back the disk it was given"))
}

/// Every step must have ended, and every op must have returned what it returned when it was recorded, as far as the
/// number means anything outside the process.
fn check_results(log: &BlockLog, plan: &Plan, trace: &Trace) -> Result<(), ExecutionError> {
    let mut ended = 0;
    for entry in &log.entries {
        let Entry::Mark(mark) = entry else { continue };
        ended += 1;
        let problem = |what: String| {
            let reason = std::io::Error::from_raw_os_error(-mark.result as i32);
            ExecutionError::Diverged(format!("{what} failed in the guest: {reason}"))
        };
        match plan.origins.get(mark.step as usize) {
            Some(Origin::Op(index)) => {
                let op = &trace.ops[*index];
                if mark.result < 0 {
                    return Err(problem(format!("op {index}, {op},")));
                }
                if let Some((_, _, data)) = op.call.written()
                    && mark.result != data.len() as i64
                {
                    let wrote = format!("op {index}, {op}, wrote {} of {} bytes in the guest", mark.result, data.len());
                    return Err(ExecutionError::Diverged(wrote));
                }
            }
            Some(Origin::Work(work)) if mark.result < 0 => return Err(problem(format!("the injected {work:?}"))),
            Some(Origin::Work(_)) => {}
            None => return Err(ExecutionError::Diverged(format!("a step {} ended that was never planned", mark.step))),
        }
    }
    if ended != plan.steps.len() {
        return Err(ExecutionError::Diverged(format!("{ended} of {} steps ended", plan.steps.len())));
    }
    Ok(())
}

/// What the guest's tree must be when it has executed a trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Live {
    /// Has every file compared with what it should hold.
    plan: Arc<ReadPlan>,
    /// Names that matter to nobody: what they are in the guest does not matter either.
    no_data: BTreeSet<RelPath>,
}

impl Live {
    /// Of a program that left the tree `after` on the host.
    pub fn new(after: &Tree, no_data: BTreeSet<RelPath>) -> Self {
        let mut contents: Vec<Content> = Vec::new();
        let mut files = BTreeMap::new();
        for (path, node) in after.0.iter().filter(|(path, _)| !no_data.contains(path)) {
            if let Kind::File(content) = &node.kind {
                let sizes = Sizes::only(content.len() as u64);
                files.insert(path.clone(), vec![Candidate { content: contents.len() as u32, sizes }]);
                contents.push(content.clone());
            }
        }
        Self { plan: Arc::new(ReadPlan { contents, files, read_all_up_to: 0 }), no_data }
    }

    /// How far the guest reads of it.
    pub fn plan(&self) -> &Arc<ReadPlan> {
        &self.plan
    }
}

/// The first difference between the tree that the recorded program left on the host and the one in the guest.
fn difference(after: &Tree, Live { plan: read_plan, no_data }: &Live, live: &Observation) -> Option<String> {
    let is_strange = |path: &&RelPath| !after.0.contains_key(*path) && !no_data.contains(*path);
    if let Some(path) = live.entries.keys().find(is_strange) {
        return Some(format!("the guest has a {path} that the host has not"));
    }
    after.0.iter().filter(|(path, _)| !no_data.contains(path)).find_map(|(path, node)| {
        let Some(entry) = live.entries.get(path) else { return Some(format!("the guest has no {path}")) };
        let same = match (&node.kind, &entry.kind) {
            (Kind::File(content), EntryKind::File { size, seen }) => {
                *size == content.len() as u64 && (content.is_empty() || same_content(read_plan, path, seen))
            }
            (Kind::Directory, EntryKind::Directory { error: None }) => true,
            (Kind::Symlink(wanted), EntryKind::Symlink { target }) => wanted == target,
            (Kind::Special { .. }, EntryKind::Special { .. }) => true,
            _ => false,
        };
        (!same).then(|| format!("{path} is not in the guest what it is on the host"))
    })
}

fn same_content(read_plan: &ReadPlan, path: &RelPath, seen: &Seen) -> bool {
    match seen {
        Seen::Equals { candidates } => {
            let wanted = read_plan.files.get(path).into_iter().flatten().map(|candidate| candidate.content);
            wanted.eq(candidates.iter().copied())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use checker::{Entry as Found, Mount};
    use program::{Handle, Node, Op};
    use storage::Mark;

    use super::*;

    /// A write of three bytes, and what its mark says, if it has one.
    fn checked(result: Option<i64>) -> Result<(), String> {
        let call = Call::Write { handle: Handle(0), offset: 0, data: Arc::new(b"new".to_vec()), flags: 0 };
        let op = Op { call, syscall: "write".into(), result: 3, thread: 0 };
        let trace = Trace { ops: vec![op], ..Trace::default() };
        let plan = Plan { steps: vec![protocol::Step::Call(0)], origins: vec![Origin::Op(0)], ..Plan::default() };
        let mut log = BlockLog::default();
        log.entries.extend(result.map(|result| Entry::Mark(Mark { step: 0, result })));
        check_results(&log, &plan, &trace).map_err(|error| error.to_string())
    }

    #[test]
    fn a_call_that_does_something_else_in_the_guest_is_no_execution() {
        assert_eq!(checked(Some(3)), Ok(()));
        let wrong = [None, Some(2), Some(-28)].map(|result| checked(result).unwrap_err());
        insta::assert_snapshot!(wrong.join("\n"), @r#"
        the execution went another way than the recorded run: 0 of 1 steps ended
        the execution went another way than the recorded run: op 0, write(h0, "new", 3, at 0) = 3, wrote 2 of 3 bytes in the guest
        the execution went another way than the recorded run: op 0, write(h0, "new", 3, at 0) = 3, failed in the guest: No space left on device (os error 28)
        "#);
    }

    #[test]
    fn a_guest_that_ends_with_another_tree_is_no_execution() {
        let node = |kind| Node { kind, mode: 0o644, uid: 0, gid: 0, inode: 1, xattrs: Default::default() };
        let after = Tree([(RelPath::from("f"), node(Kind::File(Arc::new(b"new".to_vec()))))].into());
        let expected = Live::new(&after, BTreeSet::new());
        let seen = |path: &str, size, candidates| {
            let kind = EntryKind::File { size, seen: Seen::Equals { candidates } };
            let entry = Found { kind, mode: 0o644, uid: 0, gid: 0, links: 1, same_as: None };
            let live = Observation { mount: Mount::Mounted, entries: [(RelPath::from(path), entry)].into() };
            let careless = Live::new(&after, ["f", "g"].map(RelPath::from).into());
            assert_eq!(difference(&after, &careless, &live), None);
            difference(&after, &expected, &live)
        };
        assert_eq!(seen("f", 3, vec![0]), None);
        let wrong = [seen("f", 2, vec![0]), seen("f", 3, vec![]), seen("g", 3, vec![0])].map(Option::unwrap);
        insta::assert_snapshot!(wrong.join("\n"), @r"
        f is not in the guest what it is on the host
        f is not in the guest what it is on the host
        the guest has a g that the host has not
        ");
    }
}
