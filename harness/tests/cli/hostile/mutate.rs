//! Makes hostile files of good ones, by a seed.

use std::fs::{self, File};
use std::ops::Range;
use std::path::Path;

/// Pseudorandom numbers, SplitMix64 (Steele, Lea, Flood 2014): the same for the same seed, everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    fn range(&mut self, length: usize) -> Range<usize> {
        let start = self.below(length + 1);
        start..start + self.below((length - start).min(64) + 1)
    }
}

/// Numbers that few expect, as text.
const NUMBERS: [&str; 14] = [
    "0",
    "1",
    "-1",
    "255",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "0.5",
];

/// The same as postcard writes them (LEB128): the largest of 16, 32 and 64 bits, some between, and one that never ends.
const VARINTS: [&[u8]; 7] = [
    &[0xff, 0xff, 0x03],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0x80, 0x80, 0x80, 0x80, 0x10],
    &[0x80, 0x80, 0x80, 0x02],
    &[0xff; 12],
    &[0x00],
];

/// What stands in a text for something deep, or for more than there is.
const TEXTS: [&str; 6] = ["[", "{\"a\":", "null", "\"\\u0000\\ud800\"", "\x1b[2J\n", "../../../etc/passwd"];

/// Other bytes than `good`; `others` are files whose parts may be put into them.
pub fn bytes(random: &mut Random, good: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
    loop {
        let mut bad = good.to_vec();
        for _ in 0..=random.below(3) {
            change(random, &mut bad, others);
        }
        if bad != good {
            return bad;
        }
    }
}

fn change(random: &mut Random, bad: &mut Vec<u8>, others: &[Vec<u8>]) {
    let kind = random.below(10);
    let range = random.range(bad.len());
    match kind {
        0..=2 if !bad.is_empty() => {
            let at = random.below(bad.len());
            bad[at] ^= 1 << random.below(8);
        }
        3 => bad.truncate(range.start),
        4 => {
            let other = random.one_of(others);
            let part = random.range(other.len());
            bad.splice(range, other[part].iter().copied());
        }
        5 => drop(bad.splice(range.start..range.start, random.one_of(&VARINTS).iter().copied())),
        6 => {
            let at = range.start.min(bad.len().saturating_sub(1));
            let end = (at + 1).min(bad.len());
            bad.splice(at..end, random.one_of(&VARINTS).iter().copied());
        }
        7 => lines(random, bad),
        8 => number(random, bad),
        _ => {
            let text = random.one_of(&TEXTS).repeat(*random.one_of(&[1, 200, 20_000]));
            bad.splice(range.start..range.start, text.into_bytes());
        }
    }
}

/// A line is gone, there twice, or elsewhere.
fn lines(random: &mut Random, bad: &mut Vec<u8>) {
    let mut lines: Vec<Vec<u8>> = bad.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    if lines.is_empty() {
        return;
    }
    let (from, to) = (random.below(lines.len()), random.below(lines.len()));
    match random.below(3) {
        0 => drop(lines.remove(from)),
        1 => lines.insert(to, lines[from].clone()),
        _ => lines.swap(from, to),
    }
    *bad = lines.concat();
}

/// A number of a text is another.
pub fn number(random: &mut Random, bad: &mut Vec<u8>) {
    let is_first = |at: &usize| bad[*at].is_ascii_digit() && (*at == 0 || !bad[at - 1].is_ascii_alphanumeric());
    let all: Vec<usize> = (0..bad.len()).filter(is_first).collect();
    if all.is_empty() {
        return;
    }
    let at = *random.one_of(&all);
    let end = bad[at..].iter().position(|byte| !byte.is_ascii_digit()).map_or(bad.len(), |length| at + length);
    bad.splice(at..end, random.one_of(&NUMBERS).bytes());
}

/// Puts something into the place of a file that is none: says what.
pub fn special(random: &mut Random, path: &Path) -> &'static str {
    let _ = fs::remove_file(path);
    match random.below(6) {
        0 => {
            nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
            "a FIFO"
        }
        1 => {
            std::os::unix::fs::symlink("/dev/zero", path).unwrap();
            "a link to /dev/zero"
        }
        2 => {
            std::os::unix::fs::symlink(".", path).unwrap();
            "a link to its directory"
        }
        3 => {
            fs::create_dir(path).unwrap();
            "a directory"
        }
        // The largest that is read of anything, just below that, and more than there is room for.
        _ => {
            let length = *random.one_of(&[64 << 20, (256 << 20) - 1, (1 << 30) - 1, 4 << 30, 1 << 42]);
            File::create(path).unwrap().set_len(length).unwrap();
            "a huge file with nothing in it"
        }
    }
}

/// Makes a good file huge: what follows is a hole.
pub fn lengthen(random: &mut Random, path: &Path) {
    let length = *random.one_of(&[(256 << 20) - 1, (1 << 30) - 1, 2 << 30]);
    File::options().write(true).open(path).unwrap().set_len(length).unwrap();
}
