//! Memory for direct I/O.

/// Memory and lengths of `O_DIRECT` requests must be multiples of the logical block size; a page always is.
pub const ALIGN: usize = 4096;

/// A buffer whose start is aligned for `O_DIRECT`.
pub struct Aligned {
    bytes: Vec<u8>,
    start: usize,
}

impl Aligned {
    /// `size` zero bytes.
    pub fn new(size: usize) -> Self {
        let bytes = vec![0; size + ALIGN];
        let start = bytes.as_ptr().align_offset(ALIGN);
        Self { bytes, start }
    }

    /// The first `size` bytes.
    pub fn get(&mut self, size: usize) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + size]
    }
}
