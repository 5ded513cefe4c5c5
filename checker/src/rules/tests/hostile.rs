//! Whatever a guest says that it saw: nothing panics.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::testing::{exit, print, trace};
use crate::{Entry, EntryKind, Mount, Observation, Seen, reread};

fn a_number() -> impl Strategy<Value = u64> {
    prop_oneof![0..5u64, Just(4096), Just(1 << 40), Just(i64::MAX as u64), Just(u64::MAX), any::<u64>()]
}

fn some_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"old".to_vec()),
        Just(b"new".to_vec()),
        prop::collection::vec(any::<u8>(), 0..20),
        Just(vec![0; 9000])
    ]
}

fn candidates() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(prop_oneof![0..3u32, Just(u32::MAX), any::<u32>()], 0..4)
}

fn seen() -> impl Strategy<Value = Seen> {
    prop_oneof![
        Just(Seen::NotRead),
        candidates().prop_map(|candidates| Seen::Equals { candidates }),
        (candidates(), a_number(), some_bytes()).prop_map(|(candidates, offset, chunk)| Seen::Differs {
            candidates,
            offset,
            chunk
        }),
        (candidates(), a_number(), any::<i32>()).prop_map(|(candidates, offset, errno)| Seen::Failed {
            candidates,
            offset,
            errno
        }),
        some_bytes().prop_map(|bytes| Seen::Bytes(Arc::new(bytes))),
    ]
}

fn an_entry() -> impl Strategy<Value = Entry> {
    let kind = prop_oneof![
        4 => (a_number(), seen()).prop_map(|(size, seen)| EntryKind::File { size, seen }),
        1 => any::<Option<i32>>().prop_map(|error| EntryKind::Directory { error }),
        1 => some_bytes().prop_map(|target| EntryKind::Symlink { target }),
        1 => any::<u32>().prop_map(|mode| EntryKind::Special { mode }),
        1 => any::<i32>().prop_map(|errno| EntryKind::Unreadable { errno }),
    ];
    (kind, any::<[u32; 3]>(), a_number(), prop::option::of(a_path()))
        .prop_map(|(kind, [mode, uid, gid], links, same_as)| Entry { kind, mode, uid, gid, links, same_as })
}

fn a_path() -> impl Strategy<Value = RelPath> {
    proptest::sample::select(vec!["", "f", "tmp", "d", "d/e", "f/g"]).prop_map(RelPath::from)
}

fn an_observation() -> impl Strategy<Value = Observation> {
    let mount = prop_oneof![
        8 => Just(Mount::Mounted),
        1 => (any::<i32>(), ".*").prop_map(|(errno, log)| Mount::Refused { errno, log }),
        1 => ".*".prop_map(|reason| Mount::Died { reason }),
    ];
    (mount, prop::collection::btree_map(a_path(), an_entry(), 0..5))
        .prop_map(|(mount, entries)| Observation { mount, entries })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_observation_makes_it_panic(observation in an_observation(), op in 0usize..20) {
        let trace = trace(&[("f", b"old")], [save("new"), vec![print("ok"), exit()]].concat());
        let [plain, asked] = [&[][..], &wants_durable("ok")].map(|wanted| rules(&trace, wanted));
        for rules in [&plain, &asked] {
            for finding in rules.judge(&observation, &at(op)) {
                let _ = rules.in_ranges(&finding, &observation);
            }
            let _ = rules.not_versions(&observation);
        }
        let _ = reread(&observation, plain.read_plan(), asked.read_plan());
    }
}
