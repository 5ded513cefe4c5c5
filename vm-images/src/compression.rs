//! Kernel modules as distributions ship them: plain, or compressed with gzip, xz or zstd.
//!
//! They are decompressed here, on the host: a guest's kernel may have been built without that
//! (`CONFIG_MODULE_DECOMPRESS`), and takes one format at most.

use std::io::{self, Read};

use ruzstd::decoding::StreamingDecoder;

/// How the file of a module is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Not at all: `.ko`.
    Plain,
    /// `.ko.gz`.
    Gzip,
    /// `.ko.xz`.
    Xz,
    /// `.ko.zst`.
    Zstd,
}

/// Bytes of the largest module: more than any has, debug information included. A damaged file may claim to hold more than
/// there is memory for.
const LARGEST: u64 = 512 << 20;

impl Compression {
    /// What a file whose name goes on like this after `.ko` is compressed with; `None` if no module is called that.
    pub(crate) fn of_suffix(suffix: &str) -> Option<Self> {
        Some(match suffix {
            "" => Self::Plain,
            ".gz" => Self::Gzip,
            ".xz" => Self::Xz,
            ".zst" => Self::Zstd,
            _ => return None,
        })
    }

    /// What the file with these bytes holds. Its checksums are compared.
    ///
    /// # Errors
    /// The bytes are not of this format, damaged, or cut short, or they hold more than any module does.
    pub(crate) fn decompress(self, file: Vec<u8>) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain => Ok(file),
            Self::Gzip => whole(flate2::read::MultiGzDecoder::new(&*file)),
            Self::Xz => whole(lzma_rust2::XzReader::new(&*file, true)),
            Self::Zstd => zstd(&file),
        }
    }
}

fn whole(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    reader.take(LARGEST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LARGEST {
        return Err(io::Error::other(format!("it holds more than {} MiB", LARGEST >> 20)));
    }
    Ok(content)
}

/// One frame, as zstd(1) makes of one file. The decoder reads the checksum and leaves it to its caller to compare.
fn zstd(mut file: &[u8]) -> io::Result<Vec<u8>> {
    let mut decoder = StreamingDecoder::new(&mut file).map_err(io::Error::other)?;
    let content = whole(&mut decoder)?;
    let decoder = decoder.into_frame_decoder();
    let (said, is) = (decoder.get_checksum_from_data(), decoder.get_calculated_checksum());
    if said.is_some() && said != is {
        return Err(io::Error::other("its checksum is another"));
    }
    if !file.is_empty() {
        return Err(io::Error::other(format!("{} bytes follow what it holds", file.len())));
    }
    Ok(content)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;
    use lzma_rust2::{XzOptions, XzWriter};
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    /// The suffix of a compressed module, and what its file has of this content.
    pub(crate) fn compressed(content: &[u8]) -> [(&'static str, Vec<u8>); 3] {
        let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(content).unwrap();
        let mut xz = XzWriter::new(Vec::new(), XzOptions::with_preset(6)).unwrap();
        xz.write_all(content).unwrap();
        [
            (".gz", gzip.finish().unwrap()),
            (".xz", xz.finish().unwrap()),
            (".zst", compress_to_vec(content, CompressionLevel::Fastest)),
        ]
    }

    /// What compresses, and what does not.
    fn content() -> Vec<u8> {
        (0..100_000u32).flat_map(|number| (number / 7).wrapping_mul(2_654_435_761).to_le_bytes()).collect()
    }

    #[test]
    fn what_was_compressed_is_had_again() {
        let content = content();
        for (suffix, file) in compressed(&content) {
            let compression = Compression::of_suffix(suffix).unwrap();
            assert_ne!(file, content);
            assert!(compression.decompress(file).unwrap() == content, "{suffix}");
        }
        assert_eq!(Compression::of_suffix("").unwrap().decompress(vec![1, 2]).unwrap(), [1, 2]);
        for suffix in [".bz2", ".xz.bak", "xz", ".ko"] {
            assert_eq!(Compression::of_suffix(suffix), None, "{suffix}");
        }
    }

    #[test]
    fn damaged_files_are_errors() {
        let content = content();
        for (suffix, file) in compressed(&content) {
            let compression = Compression::of_suffix(suffix).unwrap();
            let fails = |file: &[u8], what: &str| {
                assert!(compression.decompress(file.to_vec()).is_err(), "{suffix}: {what}");
            };
            fails(&[], "empty");
            fails(&file[..file.len() / 2], "half of it");
            fails(&file[..file.len() - 1], "without its end");
            fails(&[&file[..], b"more"].concat(), "with more at its end");
            fails(&content, "not compressed");
            // A bit of the data, not one of those in a header that say nothing.
            for at in [file.len() / 3, file.len() / 2] {
                let mut flipped = file.clone();
                flipped[at] ^= 4;
                fails(&flipped, "a flipped bit");
            }
        }
    }
}
