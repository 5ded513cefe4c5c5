//! The good run that hostile ones are made of.

use std::fs;
use std::path::Path;

use program::{Call, Handle, Op, RelPath, Target, Trace};

use super::mutate::{Random, bytes, number};
use crate::support::{Place, on_uml};

/// A run, whole: its files, and what is said of them.
pub struct Good {
    place: Place,
    pub files: Vec<(String, Vec<u8>)>,
    /// The files of a run whose program was killed, by itself and with all it has written.
    pub of_killed: Vec<(String, Vec<u8>)>,
    pub id: String,
    pub token: String,
    /// `report.json`, as the run printed it.
    pub printed: String,
    /// What `reproduce` shows of the token, if it was asked.
    pub reproduced: String,
}

/// How a file is made hostile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As a disk or a slip of the hand does it: the file must be told from what it was.
    Plain,
    /// As one does it who means it, checksums and all: nothing may break, but what is shown may be his.
    Sealed,
}

impl Good {
    pub fn new() -> Self {
        let place = Place::new();
        let begun = place.run(&on_uml(&[
            "--recovery-crashes",
            "--format=json",
            "--out",
            "run",
            "--",
            "sh",
            "-c",
            "echo x > f; echo saved",
        ]));
        assert_eq!(begun.status, 1, "{}", begun.stderr);
        let report: serde_json::Value = serde_json::from_str(&begun.stdout).unwrap();
        assert_eq!(report["cells"][0]["exhaustive"], true, "{report}");
        let token = report["cells"][0]["violations"][0]["token"].as_str().unwrap().to_owned();
        let killed = place.run(&["run", "--crash=process", "--out", "killed", "--", "sh", "-c", "echo x > f"]);
        assert_eq!(killed.status, 1, "{}", killed.stderr);
        let shown = place.run(&["reproduce", "--vm=uml", "--results", "run", &token]);
        assert_eq!((shown.status, shown.stderr.as_str()), (1, ""));
        let id = fs::read_to_string(place.path("run/run-id")).unwrap().trim().to_owned();
        let (files, of_killed) = (read(&place.path("run")), read(&place.path("killed")));
        Self { place, files, of_killed, id, token, printed: begun.stdout, reproduced: shown.stdout }
    }

    /// What is still there of what was temporary.
    pub fn left(&self) -> Vec<String> {
        self.place.left()
    }

    pub fn file(&self, name: &str) -> &[u8] {
        &self.files.iter().find(|(found, _)| found == name).unwrap().1
    }

    /// All contents, to take parts of.
    pub fn contents(&self) -> Vec<Vec<u8>> {
        self.files.iter().chain(&self.of_killed).map(|(_, content)| content.clone()).collect()
    }

    /// What a hostile file of this name holds.
    pub fn hostile(&self, random: &mut Random, name: &str, good: &[u8], manner: Manner, others: &[Vec<u8>]) -> Vec<u8> {
        if manner == Manner::Plain {
            // What stands at either end of a word, or between the values of JSON, means nothing.
            let word = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
            let value = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
            loop {
                let bad = bytes(random, good, others);
                let is_same = match name {
                    "run-id" | "kernel" => word(&bad) == word(good),
                    "run.json" | "report.json" => value(&bad) == value(good),
                    _ => false,
                };
                if !is_same {
                    return bad;
                }
            }
        }
        match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
            "trace" if random.below(2) == 0 => trace(random, good),
            "trace" => with_header(&bytes(random, &good[24..], others)),
            "log" | "image" => {
                let body = bytes(random, &good[..good.len() - 8], others);
                [&body[..], &engine::sum::sum(&[&body])].concat()
            }
            "jsonl" => self.journal(random, good, others),
            "json" => json(random, good, others),
            _ => bytes(random, good, others),
        }
    }

    /// A journal with hostile lines that have the right checksums.
    fn journal(&self, random: &mut Random, good: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
        let mut lines: Vec<Vec<u8>> = good.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
        for _ in 0..=random.below(3) {
            let at = random.below(lines.len());
            let Some(opening) = lines[at].iter().position(|&byte| byte == b',') else { continue };
            let mut body = lines[at][opening + 1..].to_vec();
            for _ in 0..=random.below(3) {
                number(random, &mut body);
            }
            if random.below(3) == 0 {
                body = bytes(random, &body, others);
            }
            let body = String::from_utf8_lossy(&body).replace('\n', " ");
            lines[at] = engine::journal::seal(&self.id, &format!("{{{}", body.trim_end())).into_bytes();
        }
        lines.concat()
    }
}

fn read(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let entry = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    };
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(entry).collect();
    files.sort();
    files
}

/// Puts files into a directory.
pub fn write(directory: &Path, files: &[(String, Vec<u8>)]) {
    fs::create_dir_all(directory).unwrap();
    files.iter().for_each(|(name, content)| fs::write(directory.join(name), content).unwrap());
}

/// The file of a trace with this body.
fn with_header(body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u64).to_le_bytes();
    [b"CCTRACE\n", &3u32.to_le_bytes()[..], &length, &crc32fast::hash(body).to_le_bytes(), body].concat()
}

/// A manifest with its checksum, if it is still JSON.
fn json(random: &mut Random, good: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
    let mut bad = good.to_vec();
    number(random, &mut bad);
    if random.below(2) == 0 {
        bad = bytes(random, &bad, others);
    }
    match serde_json::from_slice::<serde_json::Value>(&bad) {
        Ok(mut value) if value.is_object() => {
            engine::sum::seal(&mut value);
            value.to_string().into_bytes()
        }
        _ => bad,
    }
}

/// A trace of calls that no program made: with offsets, lengths and handles of any size, many times.
fn trace(random: &mut Random, good: &[u8]) -> Vec<u8> {
    const NUMBERS: [u64; 9] = [0, 1, 4095, 1 << 20, (1 << 30) - 1, 1 << 30, 1 << 40, i64::MAX as u64, u64::MAX];
    let mut trace = Trace::from_bytes(good).unwrap();
    let (exit, mut ops) = (trace.ops.pop(), std::mem::take(&mut trace.ops));
    for _ in 0..*random.one_of(&[1, 3, 40]) {
        let mut number = || *random.one_of(&NUMBERS);
        let (one, two, three) = (number(), number(), number());
        let (handle, other) = (Handle((one % 3) as u32), Handle((two % 3) as u32));
        let path = RelPath::from(*random.one_of(&["f", "g", "h/i", ""]));
        let file = || Target::Path(path.clone());
        let call = match random.below(12) {
            0 => Call::Open { handle, path, flags: *random.one_of(&[0o101, 0o1101, 0o2, u32::MAX]), mode: u32::MAX },
            1 => Call::Close { handle },
            2 => Call::Write { handle, offset: one, data: vec![7; 10].into(), flags: two as u32 },
            3 => Call::CopyRange { from: handle, from_offset: 0, to: other, to_offset: one, length: two },
            4 => Call::Truncate { target: file(), length: one },
            5 => Call::Allocate { handle, mode: *random.one_of(&[0, 1, 3, 8, 16, 32]), offset: one, length: two },
            6 => Call::Mkdir { path, mode: one as u32 },
            7 => Call::Rename { from: path, to: "g".into(), flags: *random.one_of(&[0, 1, 2, 4]) },
            8 => Call::Fsync { handle },
            9 => Call::SyncRange { handle, offset: one, length: two, flags: three as u32 },
            10 => Call::Ack { channel: program::Channel::Stdout, data: vec![b'a'; (one % 5000) as usize] },
            _ => Call::Truncate { target: Target::Handle(handle), length: two },
        };
        let result = *random.one_of(&[0, 0, 1, -1, i64::MAX, i64::MIN]);
        let thread = *random.one_of(&[0, 0, 1, u32::MAX]);
        let at = random.below(ops.len() + 1);
        ops.insert(at, Op { call, syscall: "write".into(), result, thread });
    }
    trace.ops = ops.into_iter().chain(exit).collect();
    trace.to_bytes()
}
