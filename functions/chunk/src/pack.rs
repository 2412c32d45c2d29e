//! A blob's bytes in, its list and packed chunks out.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};

use tufline_chunks::{Cutter, HISTORY, LARGEST_AVERAGE, List, ListWriter, MOST_CHUNKS};
use zstd::zstd_safe::{CCtx, CParameter, compress_bound, get_error_name};

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

/// Packs one chunk into `buffer`, with the bytes before it.
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
pub fn pack(
    source: impl Read,
    cut: &Cut,
    level: impl Fn(u64) -> i32,
    file: &mut File,
) -> io::Result<List> {
    // The list comes first, and is known last.
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
