//! A blob's bytes in, its list and packed chunks out.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};

use tufline_chunks::{Cutter, LARGEST_AVERAGE, List, ListWriter, MOST_CHUNKS};
use zstd::bulk::Compressor;
use zstd::zstd_safe::compress_bound;

/// The average that is tried after `average` gave too many chunks.
pub fn next_average(average: u32) -> Option<u32> {
    (average < LARGEST_AVERAGE).then(|| average.saturating_mul(2).min(LARGEST_AVERAGE))
}

/// How many chunks there are; `None` if there are too many for a list.
pub fn count(source: impl Read, average: u32) -> io::Result<Option<usize>> {
    let (mut cutter, mut count) = (Cutter::new(source, average), 0);
    while cutter.next_chunk()?.is_some() {
        count += 1;
        if count > MOST_CHUNKS {
            return Ok(None);
        }
    }
    Ok(Some(count))
}

/// What is to be packed.
pub struct Cut {
    /// The blob's digest.
    pub sha256: [u8; 32],
    /// In bytes.
    pub length: u64,
    /// The average length of its chunks.
    pub average: u32,
    /// How many there are, as [`count`] says.
    pub count: usize,
}

/// Writes the list and the packed chunks to `file`, which is empty. Each chunk becomes a frame of Zstandard with the chunk's length
/// and no checksum, since the list has a digest; `level` says how hard to try, given how many bytes are left.
///
/// # Errors
/// Of the reader and of the file; and where the blob isn't the one that was counted.
pub fn pack(source: impl Read, cut: &Cut, level: impl Fn(u64) -> i32, file: &mut File) -> io::Result<List> {
    // The list comes first, and is known last.
    let begin = List::bytes_with(cut.count) as u64;
    let mut cutter = Cutter::new(source, cut.average);
    let mut list = ListWriter::new(cut.average);
    let mut packed = BufWriter::with_capacity(1 << 20, &mut *file);
    packed.seek(SeekFrom::Start(begin))?;
    let mut left = cut.length;
    let mut current = level(left);
    let mut compressor = Compressor::new(current)?;
    let mut buffer = Vec::new();
    while let Some(chunk) = cutter.next_chunk()? {
        let level = level(left);
        if level != current {
            compressor.set_compression_level(level)?;
            current = level;
        }
        buffer.clear();
        buffer.reserve(compress_bound(chunk.len()));
        compressor.compress_to_buffer(chunk, &mut buffer)?;
        packed.write_all(&buffer)?;
        list.add(chunk, u32::try_from(buffer.len()).unwrap_or(u32::MAX));
        left = left.saturating_sub(chunk.len() as u64);
    }
    packed.flush()?;
    drop(packed);
    let list = list.finish(&cut.sha256).map_err(io::Error::other)?;
    if list.bytes().len() as u64 != begin || left > 0 {
        return Err(io::Error::other("its bytes changed while they were read"));
    }
    file.rewind()?;
    file.write_all(list.bytes())?;
    Ok(list)
}
