//! Random names of temporary files become numbered ones, so that two recordings of one program are the same.
//!
//! Only names that nobody would know again: made by the recorded command as a well-known generator of random names
//! makes them, there neither before nor after the run, and told to nobody. What a generator drew is nothing that the
//! program could look for later unless it has written it down somewhere: then the name stays, or a check that reads it
//! there would look for a file that no crash state has.
//!
//! So it is with names of any other shape, if such a file replaces another whose name its own is made of. A new name is as long as
//! the old one, so that directories have the same layout; where names are sorted by a hash (ext4), it may have another place.

mod generators;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use generators::{beside, is_drawn, is_number, made};
use program::{Call, Kind, RelPath, Target, Trace, Tree};
use told::told;

/// Old name and new name, both of one path component.
type Renamed = BTreeMap<Vec<u8>, Vec<u8>>;

/// Numbers the random names of temporary files in `trace`, in the order in which they were made: `.tmpAb3xYz` becomes
/// `.tmp000001`. Everywhere in the paths of the ops, and nowhere else: a name of which something else holds the random
/// part (what was written, printed, or there before) stays as it is.
pub(crate) fn number(trace: &mut Trace) {
    let kept: BTreeSet<Vec<u8>> = [&trace.before, &trace.after].into_iter().flat_map(names_of).collect();
    let drawn = trace.ops.iter().filter_map(|op| made(op).filter(|(name, random)| is_drawn(op, name, random)));
    let drawn = drawn.map(|(name, random)| (name.to_vec(), random)).chain(replacing(trace));
    let drawn: Vec<(Vec<u8>, Range<usize>)> = drawn.filter(|(name, _)| !kept.contains(name)).collect();
    if drawn.is_empty() {
        return;
    }
    let mut taken = kept;
    for op in &mut trace.ops {
        for path in paths(&mut op.call) {
            taken.extend(components(path).map(<[u8]>::to_vec));
        }
    }
    let told = told(trace, &taken, drawn.iter().map(|(name, random)| &name[random.clone()]).collect());
    let mut renamed = Renamed::new();
    for (name, random) in &drawn {
        if told.contains(&name[random.clone()]) || renamed.contains_key(name) {
            continue;
        }
        let with = |number: usize| {
            let digits = format!("{number:0width$}", width = random.len());
            [&name[..random.start], digits.as_bytes(), &name[random.end..]].concat()
        };
        // The number of a name that is there already is left out.
        let free = (renamed.len() + 1..).map(with).find(|new| !taken.contains(new));
        if let Some(new) = free.filter(|new| new.len() == name.len()) {
            taken.insert(new.clone());
            renamed.insert(name.clone(), new);
        }
    }
    if renamed.is_empty() {
        return;
    }
    for op in &mut trace.ops {
        for path in paths(&mut op.call) {
            let part = |path: RelPath, part: &[u8]| path.join(renamed.get(part).map_or(part, Vec::as_slice));
            *path = components(path).fold(RelPath::root(), part);
        }
    }
}

/// Names of new files that were renamed, or linked, to a name that their own is made of, and the part that is another each time: in the order
/// in which they were made.
fn replacing(trace: &Trace) -> Vec<(Vec<u8>, Range<usize>)> {
    let mut named: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
    for op in trace.ops.iter().filter(|op| op.result >= 0) {
        match &op.call {
            Call::Rename { from, to, .. } | Call::Link { from: Target::Path(from) | Target::NoFollow(from), to } => {
                named.insert(from.name(), to.name());
            }
            _ => {}
        }
    }
    let made = trace.ops.iter().filter(|op| op.result >= 0).filter_map(|op| match &op.call {
        Call::Open { path, flags, .. } if flags & libc::O_CREAT as u32 != 0 => Some(path.name()),
        Call::Mkdir { path, .. } => Some(path.name()),
        _ => None,
    });
    made.filter_map(|name| Some((name.to_vec(), beside(name, named.get(name)?)?))).collect()
}

/// Names as [`replacing`] gives them, after they were numbered.
fn numbers_beside(trace: &Trace) -> Vec<(Vec<u8>, Range<usize>)> {
    let counted = |name: &[u8]| -> Option<Range<usize>> {
        let start =
            name.windows(4).position(|place| place.starts_with(b"000") && place.iter().all(u8::is_ascii_digit))?;
        let digits = name[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        Some(start..start + digits)
    };
    let renamed = trace.ops.iter().filter_map(|op| match &op.call {
        Call::Rename { from, to, .. } if from.name() != to.name() => Some((from.name(), to.name())),
        _ => None,
    });
    let beside_own = |name: &[u8], own: &[u8]| name.windows(own.len().max(1)).any(|place| place == own);
    renamed
        .filter(|(name, own)| beside_own(name, own))
        .filter_map(|(name, _)| Some((name.to_vec(), counted(name)?)))
        .collect()
}

/// The names in `trace` that stand for random ones: for people, who will not find them anywhere.
pub fn numbered(trace: &Trace) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let made = trace.ops.iter().filter_map(made).map(|(name, random)| (name.to_vec(), random));
    let all: Vec<_> = made.chain(numbers_beside(trace)).collect();
    for (name, random) in all {
        if is_number(&name[random]) {
            let name = String::from_utf8_lossy(&name).into_owned();
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// Every name in a tree, and every name in the target of a symbolic link.
fn names_of(tree: &Tree) -> impl Iterator<Item = Vec<u8>> {
    tree.0.iter().flat_map(|(path, node)| {
        let target = match &node.kind {
            Kind::Symlink(target) => target.as_slice(),
            _ => &[],
        };
        let all = components(path).chain(target.split(|&byte| byte == b'/'));
        all.map(<[u8]>::to_vec).collect::<Vec<_>>()
    })
}

fn components(path: &RelPath) -> impl Iterator<Item = &[u8]> {
    use std::os::unix::ffi::OsStrExt;
    path.as_path().iter().map(|component| component.as_bytes())
}

/// Every path that a call names.
fn paths(call: &mut Call) -> Vec<&mut RelPath> {
    match call {
        Call::Open { path, .. }
        | Call::Mkdir { path, .. }
        | Call::Mknod { path, .. }
        | Call::Symlink { path, .. }
        | Call::Unlink { path }
        | Call::Arrive { to: path, .. }
        | Call::Leave { path }
        | Call::Rmdir { path } => vec![path],
        Call::Rename { from, to, .. } => vec![from, to],
        Call::Link { from, to } => of_target(from).into_iter().chain([to]).collect(),
        Call::Truncate { target, .. }
        | Call::Chmod { target, .. }
        | Call::Chown { target, .. }
        | Call::SetTimes { target, .. }
        | Call::SetXattr { target, .. }
        | Call::RemoveXattr { target, .. } => of_target(target).into_iter().collect(),
        Call::Close { .. }
        | Call::Write { .. }
        | Call::Store { .. }
        | Call::Msync { .. }
        | Call::CopyRange { .. }
        | Call::Allocate { .. }
        | Call::Fsync { .. }
        | Call::Fdatasync { .. }
        | Call::SyncRange { .. }
        | Call::DontNeed { .. }
        | Call::SyncFs { .. }
        | Call::SyncAll
        | Call::Ack { .. }
        | Call::Exit { .. } => Vec::new(),
    }
}

fn of_target(target: &mut Target) -> Option<&mut RelPath> {
    match target {
        Target::Path(path) | Target::NoFollow(path) => Some(path),
        Target::Handle(_) => None,
    }
}

#[cfg(test)]
mod tests;
