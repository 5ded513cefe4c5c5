//! Journals that recovery reads ahead.

/// What has to be known of a journal to tell which of its blocks recovery needs and which it only reads ahead. Recovery is
/// taken to read one block after the other, and with each that it needs and that nobody has asked for, those that follow it.
#[derive(Debug, PartialEq, Eq)]
pub struct Journal {
    /// How its first block begins, which is read before all others.
    pub superblock: &'static [u8],
    /// Where, bytes, its first block has the size of a block in bytes: a big-endian 32-bit number.
    pub block_size: usize,
    /// Where, bytes, its first block has the number of blocks: a big-endian 32-bit number.
    pub blocks: usize,
    /// Bytes that are read ahead, the block that is needed included.
    pub ahead: u64,
}
