//! Contents of files as serde's own kind of bytes, for `#[serde(with = "program::bytes")]`.
//!
//! Without this a vector of bytes is a sequence of numbers, each handled by itself: half a second for 64 MiB. Postcard
//! writes both alike (its specification, "byte array" and "seq").

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

use crate::{Content, sparse};

/// Writes one content.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(content: &Content, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(content)
}

/// Reads one content.
///
/// # Errors
/// Those of the deserializer.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Content, D::Error> {
    deserializer.deserialize_byte_buf(Bytes)
}

struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Content, E> {
        Ok(sparse::content(bytes))
    }
}

/// The same for a list of contents.
pub mod each {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::Content;

    #[derive(Serialize, Deserialize)]
    struct One(#[serde(with = "super")] Content);

    /// Writes a list of contents.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(contents: &[Content], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(contents.iter().cloned().map(One))
    }

    /// Reads a list of contents.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Content>, D::Error> {
        Ok(Vec::<One>::deserialize(deserializer)?.into_iter().map(|One(content)| content).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Plain(Content, Vec<Content>);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Quick(#[serde(with = "super")] Content, #[serde(with = "super::each")] Vec<Content>);

    /// Traces and journals that were written before are still read.
    #[test]
    fn the_format_is_that_of_a_sequence() {
        let one = |length: usize| Arc::new((0..length).map(|index| index as u8).collect::<Vec<u8>>());
        let (first, others) = (one(300), vec![one(0), one(1), one(200)]);
        let bytes = postcard::to_stdvec(&Plain(first.clone(), others.clone())).unwrap();
        let quick = Quick(first, others);
        assert_eq!(postcard::to_stdvec(&quick).unwrap(), bytes);
        assert_eq!(postcard::from_bytes::<Quick>(&bytes).unwrap(), quick);
        assert!(postcard::from_bytes::<Quick>(&bytes[..bytes.len() - 1]).is_err());
    }
}
