//! Packs a blob's bytes into its list and its packed chunks.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};

use tufline_chunks::{Cutter, HISTORY, LARGEST_AVERAGE, List, ListWriter, MOST_CHUNKS};
use zstd::zstd_safe::{CCtx, CParameter, compress_bound, get_error_name};

/// The average to try next, if `average` gave too many chunks.
pub fn next_average(average: u32) -> Option<u32> {
    (average < LARGEST_AVERAGE).then(|| average.saturating_mul(2).min(LARGEST_AVERAGE))
}

/// The number of chunks. `None` if there are too many for a list.
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

/// Packs one chunk into `buffer`, with the bytes before it as history.
fn pack_chunk(chunk: &[u8], history: &[u8], level: i32, buffer: &mut Vec<u8>) -> io::Result<()> {
    let failed = |code| io::Error::other(get_error_name(code));
    let mut context = CCtx::create();
    context.set_parameter(CParameter::CompressionLevel(level)).map_err(failed)?;
    context.ref_prefix(history).map_err(failed)?;
    buffer.clear();
    buffer.reserve(compress_bound(chunk.len()));
    context.compress2(buffer, chunk).map_err(failed)?;
    Ok(())
}

/// The blob to pack.
pub struct Cut {
    /// The blob's digest.
    pub sha256: [u8; 32],
    /// The blob's length in bytes.
    pub length: u64,
    /// The average length of its chunks.
    pub average: u32,
    /// The number of its chunks, from [`count`].
    pub count: usize,
}

/// Writes the list and the packed chunks to `file`, which is empty. Each chunk becomes a Zstandard
/// frame that states the chunk's length. It has no checksum, since the list has a digest. `level`
/// returns the compression level, given the number of bytes left.
///
/// # Errors
/// Those of the reader and of the file; also if the blob isn't the one that was counted.
pub fn pack(
    source: impl Read,
    cut: &Cut,
    level: impl Fn(u64) -> i32,
    file: &mut File,
) -> io::Result<List> {
    // The list comes first in the file, and is known last.
    let begin = List::bytes_with(cut.count) as u64;
    let mut cutter = Cutter::new(source, cut.average);
    let mut list = ListWriter::new(cut.average);
    let mut packed = BufWriter::with_capacity(1 << 20, &mut *file);
    packed.seek(SeekFrom::Start(begin))?;
    let mut left = cut.length;
    let (mut history, mut buffer) = (Vec::new(), Vec::new());
    while let Some(chunk) = cutter.next_chunk()? {
        pack_chunk(chunk, &history, level(left), &mut buffer)?;
        packed.write_all(&buffer)?;
        list.add(chunk, u32::try_from(buffer.len()).unwrap_or(u32::MAX));
        history.extend_from_slice(chunk);
        history.drain(..history.len().saturating_sub(HISTORY));
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
