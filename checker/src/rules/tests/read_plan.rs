//! The guest reads no more than the rules need, and no less.

use std::sync::Arc;

use program::Call;
use proptest::prelude::*;

use super::*;
use crate::testing::{CREATE, TRUNCATE, exit, observation, open, print, rename, see, trace, unlink, write};
use crate::{EntryKind, GarbageTail, Seen};

#[test]
fn the_read_plan_asks_for_no_more_than_the_versions() {
    let trace = trace(&[("f", b"old"), ("g", b"g")], [save("new"), vec![exit()]].concat());
    let rules = rules(&trace, &[]);
    let read_plan = rules.read_plan();
    assert_eq!(read_plan.contents, [Arc::new(b"old".to_vec()), Arc::new(b"new".to_vec())]);
    let candidate = |content, size| Candidate { content, sizes: Sizes::only(size) };
    assert_eq!(read_plan.files, BTreeMap::from([("f".into(), vec![candidate(0, 3), candidate(1, 3)])]));
    assert_eq!(read_plan.read_all_up_to, 0);
}

/// Contents made of few kinds of sectors, so that they often agree in part.
fn a_content() -> impl Strategy<Value = Vec<u8>> {
    let sector = proptest::sample::select(vec!['a', 'b', '.', '1']);
    proptest::collection::vec(sector, 0..20).prop_map(|letters| sectors(&letters.into_iter().collect::<String>()))
}

/// A content, cut so that it often has the length of another.
fn a_found_content() -> impl Strategy<Value = Vec<u8>> {
    (a_content(), proptest::option::of((0usize..12_000, any::<u8>()))).prop_map(|(mut content, change)| {
        if let Some((at, byte)) = change
            && let Some(old) = content.get_mut(at)
        {
            *old = byte;
        }
        content
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// The guided reading and the whole content lead to the same findings, whatever is found.
    #[test]
    fn reading_less_changes_no_finding(
        old in proptest::option::of(a_content()),
        writes in proptest::collection::vec((a_content(), 0u64..3, any::<bool>()), 1..5),
        found in a_found_content(),
        pick in any::<proptest::sample::Index>(),
        stretch in any::<bool>(),
        op in 0usize..20,
    ) {
        let mut calls = vec![];
        for (content, offset, ack) in &writes {
            calls.extend([open(1, "tmp", CREATE), write(1, 512 * offset, content), rename("tmp", "f")]);
            calls.extend(ack.then(|| print("ok")));
        }
        calls.push(print("ok"));
        calls.push(exit());
        let before: Vec<(&str, &[u8])> = old.iter().map(|old| ("f", old.as_slice())).collect();
        let trace = trace(&before, calls);
        let path = RelPath::from("f");
        let wanted = [Wanted::AtomicReplace { path: path.clone() }, wants_durable("ok").remove(0)];
        let rules = rules(&trace, &wanted);
        let mut found = found;
        if stretch && !rules.read_plan().contents.is_empty() {
            found.resize(pick.get(&rules.read_plan().contents).len(), 0);
        }
        let guided = observation(vec![(path.clone(), see(rules.read_plan(), &path, &found))]);
        let size = found.len() as u64;
        let whole = EntryKind::File { size, seen: Seen::Bytes(Arc::new(found)) };
        let whole = observation(vec![(path, whole)]);
        prop_assert_eq!(rules.judge(&guided, &at(op)), rules.judge(&whole, &at(op)));
    }
}

/// A workload that does this and that to `f`, and what it may leave.
fn a_step() -> impl Strategy<Value = Vec<Call>> {
    prop_oneof![
        3 => a_content().prop_map(|content| vec![Call::Write { handle: program::Handle(1), offset: u64::MAX, data: Arc::new(content), flags: 0 }]),
        1 => (0u64..3, a_content()).prop_map(|(offset, content)| vec![write(1, 512 * offset, &content)]),
        1 => Just(vec![open(1, "f", TRUNCATE)]),
        1 => Just(vec![unlink("f"), open(1, "f", CREATE)]),
        2 => Just(vec![print("ok")]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// The same for files that grow, with every invariant on them; and what each says is what its definition says.
    #[test]
    fn reading_less_of_a_log_changes_no_finding(
        old in a_content(),
        steps in proptest::collection::vec(a_step(), 1..8),
        pick in any::<proptest::sample::Index>(),
        cut in proptest::option::of((0usize..12_000, any::<bool>())),
        noise in proptest::option::of((0usize..12_000, any::<u8>())),
        dropped in any::<bool>(),
        op in 0usize..20,
    ) {
        let mut calls = vec![open(1, "f", CREATE)];
        let mut vfs = program::Vfs::new(&trace(&[("f", &old)], vec![]).before);
        let path = RelPath::from("f");
        let mut states = vec![old.clone()];
        vfs.apply(&calls[0]).unwrap();
        for mut call in steps.into_iter().flatten() {
            if let Call::Write { offset: offset @ u64::MAX, .. } = &mut call {
                *offset = vfs.state(&path).content().unwrap().len() as u64;
            }
            vfs.apply(&call).unwrap();
            states.extend(vfs.state(&path).content().map(|content| content.to_vec()));
            calls.push(call);
        }
        calls.extend([print("ok"), exit()]);
        let trace = trace(&[("f", &old)], calls);
        let only_appended = states.last().unwrap().starts_with(&old);
        let tail = dropped.then_some(GarbageTail::Dropped);
        let mut wanted = vec![Wanted::PrefixOfHistory { path: path.clone() }, Wanted::AtomicReplace { path: path.clone() }];
        wanted.extend(wants_durable("ok"));
        wanted.extend(only_appended.then(|| append_only(None, tail)).into_iter().flatten());
        let rules = rules(&trace, &wanted);
        let mut found = pick.get(&states).clone();
        if let Some((at, zeros)) = cut {
            found.truncate(at);
            if zeros { found.resize(pick.get(&states).len(), 0) }
        }
        if let Some((at, byte)) = noise && let Some(old) = found.get_mut(at) {
            *old = byte;
        }
        let guided = observation(vec![(path.clone(), see(rules.read_plan(), &path, &found))]);
        let size = found.len() as u64;
        let whole = EntryKind::File { size, seen: Seen::Bytes(Arc::new(found.clone())) };
        let findings = rules.judge(&observation(vec![(path, whole)]), &at(op));
        prop_assert_eq!(&rules.judge(&guided, &at(op)), &findings);
        let breaks = |invariant| findings.iter().any(|finding| finding.invariant == invariant);
        prop_assert_eq!(breaks(Invariant::PrefixOfHistory), !states.contains(&found));
        let appended = found.starts_with(&old) && (dropped || states.iter().any(|state| state.starts_with(&found)));
        prop_assert_eq!(breaks(Invariant::AppendOnly), only_appended && !appended);
    }
}
