//! Bytes of which most may be zeros: memory that is fresh from the kernel is zeros already, and takes none until it is
//! written to.
//!
//! So a file of a gigabyte of which nothing was written is a vector like any other, as long as nobody copies zeros into it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::Content;

/// What is looked at as a whole, bytes: a page.
pub const BLOCK: usize = 4096;

/// Whether these bytes are all zeros. Fast without optimisation, too.
pub fn is_zero(bytes: &[u8]) -> bool {
    static ZEROS: [u8; BLOCK] = [0; BLOCK];
    bytes.chunks(BLOCK).all(|block| block == &ZEROS[..block.len()])
}

/// Where there are bytes other than zeros, in whole blocks counted from the first byte, as runs that do not touch each other.
pub fn runs(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let is_data = |start: &usize| !is_zero(&bytes[*start..bytes.len().min(start + BLOCK)]);
        let start = (from..bytes.len()).step_by(BLOCK).find(is_data)?;
        let end = (start..bytes.len()).step_by(BLOCK).find(|start| !is_data(start)).unwrap_or(bytes.len());
        from = end;
        Some(start..end)
    })
}

/// How many bytes lie in blocks that are not all zeros.
pub fn filled(bytes: &[u8]) -> u64 {
    runs(bytes).map(|run| run.len() as u64).sum()
}

/// A copy that takes memory only where there is something.
pub fn copy(bytes: &[u8]) -> Vec<u8> {
    if bytes.len() <= BLOCK {
        return bytes.to_vec();
    }
    let mut copy = vec![0; bytes.len()];
    for run in runs(bytes) {
        copy[run.clone()].copy_from_slice(&bytes[run]);
    }
    copy
}

/// A copy to be shared. Of contents that are all zeros, one of each length is in memory.
pub fn content(bytes: &[u8]) -> Content {
    if is_zero(bytes) { zeros(bytes.len()) } else { Arc::new(copy(bytes)) }
}

/// So many zeros, the same for all who ask for them.
pub fn zeros(length: usize) -> Content {
    static KNOWN: Mutex<BTreeMap<usize, Weak<Vec<u8>>>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(zeros) = known.get(&length).and_then(Weak::upgrade) {
        return zeros;
    }
    // Now and then, so that it holds no more than is used: lengths can come from anywhere.
    if known.len() > 1024 {
        known.retain(|_, zeros| zeros.strong_count() > 0);
    }
    let zeros = Arc::new(vec![0; length]);
    known.insert(length, Arc::downgrade(&zeros));
    zeros
}

/// From this many zeros on that are put behind bytes, it pays to move the bytes.
const MANY: usize = 1 << 20;

/// As [`Vec::resize`] with zeros, but without touching many of them.
pub fn resize(bytes: &mut Vec<u8>, length: usize) {
    // Small pieces, one after the other, would have all the bytes moved for each of them.
    if length > bytes.capacity() && length - bytes.len() >= MANY.max(bytes.len() / 2) {
        let mut longer = vec![0; length];
        for run in runs(bytes) {
            longer[run.clone()].copy_from_slice(&bytes[run]);
        }
        *bytes = longer;
    } else {
        bytes.resize(length, 0);
    }
}

/// What [`Arc::make_mut`] gives, but zeros are not copied.
pub fn make_mut(content: &mut Content) -> &mut Vec<u8> {
    if Arc::get_mut(content).is_none() {
        *content = Arc::new(copy(content));
    }
    // The only one by now: nothing is copied.
    Arc::make_mut(content)
}

/// Puts `data` into `bytes` from `offset` on, where there is room for it, and writes no zeros to where there are zeros.
pub fn put(bytes: &mut [u8], offset: usize, data: &[u8]) {
    let target = &mut bytes[offset..offset + data.len()];
    for (target, data) in target.chunks_mut(BLOCK).zip(data.chunks(BLOCK)) {
        if target != data {
            target.copy_from_slice(data);
        }
    }
}

/// Makes zeros of a range, and writes none to where there are zeros.
pub fn clear(bytes: &mut [u8], range: Range<usize>) {
    bytes[range].chunks_mut(BLOCK).filter(|block| !is_zero(block)).for_each(|block| block.fill(0));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Blocks of zeros and of others, and an end that is no block.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        (prop::collection::vec(prop::option::of(any::<u8>()), 0..12), 0..BLOCK).prop_map(|(blocks, end)| {
            let mut bytes: Vec<u8> = blocks.iter().flat_map(|block| vec![block.unwrap_or(0); BLOCK]).collect();
            bytes.resize(bytes.len() + end, u8::from(end % 2 == 0));
            bytes
        })
    }

    proptest! {
        #[test]
        fn copies_and_longer_ones_are_the_same_bytes(bytes in bytes(), more in 0usize..3 << 20) {
            prop_assert_eq!(&copy(&bytes), &bytes);
            prop_assert_eq!(&*content(&bytes), &bytes);
            let (mut sparse, mut plain) = (bytes.clone(), bytes.clone());
            resize(&mut sparse, bytes.len() + more);
            plain.resize(bytes.len() + more, 0);
            prop_assert!(sparse == plain);
            resize(&mut sparse, bytes.len() / 2);
            prop_assert_eq!(&sparse, &bytes[..bytes.len() / 2]);
        }

        #[test]
        fn runs_hold_all_that_is_not_zero(bytes in bytes()) {
            let mut rest = bytes.clone();
            let mut end = None;
            for run in runs(&bytes) {
                prop_assert!(end < Some(run.start) && run.start < run.end);
                end = Some(run.end);
                rest[run].fill(0);
            }
            prop_assert!(is_zero(&rest));
            prop_assert!(filled(&bytes) <= bytes.len() as u64);
        }

        #[test]
        fn what_is_put_is_there(bytes in bytes(), data in bytes(), at in any::<prop::sample::Index>()) {
            prop_assume!(data.len() <= bytes.len());
            let at = at.index(bytes.len() - data.len() + 1);
            let (mut one, mut other) = (bytes.clone(), bytes);
            put(&mut one, at, &data);
            other[at..at + data.len()].copy_from_slice(&data);
            prop_assert_eq!(one, other);
        }
    }

    #[test]
    fn zeros_are_in_memory_once() {
        let (one, mut other) = (content(&[0; 70_000]), content(&[0; 70_000]));
        assert!(Arc::ptr_eq(&one, &other));
        make_mut(&mut other)[3] = 1;
        assert!(is_zero(&one));
        assert_eq!(filled(&other), BLOCK as u64);
    }
}
