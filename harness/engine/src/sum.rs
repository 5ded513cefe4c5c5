//! Checksums of what is kept in a results directory: they tell what a disk or a slip of the hand has damaged. They keep
//! nobody out who means it.

use std::io::{self, Read, Write};

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The first bytes of a SHA-256.
pub type Sum = [u8; 8];

/// Sums up what goes through it.
pub struct Summing<T> {
    inner: T,
    hasher: Sha256,
}

impl<T> Summing<T> {
    /// Nothing yet.
    pub fn new(inner: T) -> Self {
        Self { inner, hasher: Sha256::new() }
    }

    /// What went through, and what it went to.
    pub fn end(self) -> (Sum, T) {
        (first(self.hasher), self.inner)
    }
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Summing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

fn first(hasher: Sha256) -> Sum {
    let digest = hasher.finalize();
    std::array::from_fn(|index| digest[index])
}

/// The sum of all parts, one after the other.
pub fn sum(parts: &[&[u8]]) -> Sum {
    first(parts.iter().fold(Sha256::new(), |hasher, part| hasher.chain_update(part)))
}

/// The key under which an object of JSON has its own sum.
const KEY: &str = "checksum";

/// Gives an object of JSON the sum of all else that it holds.
pub fn seal(value: &mut Value) {
    let sum = of(value);
    value[KEY] = sum.into();
}

/// Whether an object of JSON holds what it held when it was sealed.
pub fn is_sealed(value: &Value) -> bool {
    value.get(KEY).and_then(Value::as_str) == Some(&of(value))
}

fn of(value: &Value) -> String {
    let mut rest = value.clone();
    if let Some(rest) = rest.as_object_mut() {
        rest.remove(KEY);
    }
    hex::encode(sum(&[rest.to_string().as_bytes()]))
}
