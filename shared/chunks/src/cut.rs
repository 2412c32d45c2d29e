//! Cuts bytes into chunks.

use std::io::{self, Read};

use fastcdc::v2020::FastCDC;

/// The smallest average length of chunks, in bytes.
pub const SMALLEST_AVERAGE: u32 = 4 << 10;

/// The average with which servers begin, in bytes. They take a larger one if there would be too
/// many chunks.
pub const USUAL_AVERAGE: u32 = 8 << 10;

/// The largest average, in bytes. With it no blob has more than [`MOST_CHUNKS`](crate::MOST_CHUNKS)
/// chunks.
pub const LARGEST_AVERAGE: u32 = 64 << 10;

/// Cuts a reader's bytes into chunks, by `FastCDC` of 2020. Equal bytes are cut alike wherever they
/// are, except for the first chunk after a change.
///
/// *Invariant*: the chunks together are the bytes that were read. Each chunk but the last has at
/// least a quarter of the average, and each has at most four times the average.
///
/// ```
/// use std::collections::BTreeSet;
/// use tufline_chunks::{Cutter, SMALLEST_AVERAGE, digest};
///
/// fn chunks(image: &[u8]) -> std::io::Result<BTreeSet<[u8; 16]>> {
///     let (mut cutter, mut digests) = (Cutter::new(image, SMALLEST_AVERAGE), BTreeSet::new());
///     while let Some(chunk) = cutter.next_chunk()? {
///         digests.insert(digest(chunk));
///     }
///     Ok(digests)
/// }
///
/// // One more byte in the middle of an image changes one or two chunks of many.
/// let words = (0..100_000_u32).map(|number| number.wrapping_mul(2_654_435_761));
/// let old: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
/// let mut new = old.clone();
/// new.insert(200_000, 1);
/// let (old, new) = (chunks(&old)?, chunks(&new)?);
/// assert!(new.len() > 20 && new.difference(&old).count() <= 2);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Cutter<R> {
    source: R,
    average: usize,
    buffer: Vec<u8>,
    /// Where the bytes begin that were read and not yet returned.
    begin: usize,
    end: usize,
    at_end: bool,
}

impl<R: Read> Cutter<R> {
    /// Cuts the rest of `source` into chunks of about `average` bytes. An average outside
    /// [`SMALLEST_AVERAGE`] to [`LARGEST_AVERAGE`] is moved to the nearer bound, and every average
    /// is rounded down to a multiple of eight.
    pub fn new(source: R, average: u32) -> Self {
        let average = average.clamp(SMALLEST_AVERAGE, LARGEST_AVERAGE) as usize & !7;
        // Room for two of the longest chunks, so that unreturned bytes are moved at most once a
        // chunk.
        Self { source, average, buffer: vec![0; 8 * average], begin: 0, end: 0, at_end: false }
    }

    /// The length of the longest possible chunk, in bytes.
    fn most(&self) -> usize {
        4 * self.average
    }

    /// The next chunk; `None` at the end.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn next_chunk(&mut self) -> io::Result<Option<&[u8]>> {
        if self.end - self.begin < self.most() && !self.at_end {
            self.refill()?;
        }
        let rest = self.buffer.get(self.begin..self.end).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let (_, length) =
            FastCDC::new(rest, self.average / 4, self.average, self.most()).cut(0, rest.len());
        self.begin += length.clamp(1, rest.len());
        Ok(rest.get(..length.clamp(1, rest.len())))
    }

    fn refill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.begin..self.end, 0);
        self.end -= self.begin;
        self.begin = 0;
        while let Some(room @ [_, ..]) = self.buffer.get_mut(self.end..) {
            match self.source.read(room) {
                Ok(0) => {
                    self.at_end = true;
                    break;
                }
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pseudo-random bytes, the same each time (xorshift).
    fn bytes(length: usize) -> Vec<u8> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        (0..length).map(|_| next()).collect()
    }

    fn cut(bytes: &[u8], average: u32) -> Vec<Vec<u8>> {
        let (mut cutter, mut chunks) = (Cutter::new(bytes, average), Vec::new());
        while let Some(chunk) = cutter.next_chunk().unwrap() {
            chunks.push(chunk.to_vec());
        }
        chunks
    }

    /// Servers and devices of all versions must cut alike.
    #[test]
    fn the_cuts_are_those_of_the_format() {
        let lengths =
            |average| cut(&bytes(200_000), average).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(32 << 10), [8280, 16471, 36416, 35368, 67385, 34207, 1873]);
        assert_eq!(lengths(64 << 10), [79735, 120_265]);
    }

    #[test]
    fn a_change_is_cut_out() {
        let old = bytes(2_000_000);
        let mut new = old.clone();
        new.splice(1_000_000..1_000_010, *b"something longer");
        let known: std::collections::BTreeSet<Vec<u8>> = cut(&old, 16 << 10).into_iter().collect();
        let missing =
            cut(&new, 16 << 10).into_iter().filter(|chunk| !known.contains(chunk)).count();
        assert!((1..=3).contains(&missing), "{missing}");
    }

    /// Returns a few bytes at a time.
    struct Slow<'b>(&'b [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = self.1.min(buffer.len());
            self.0.read(&mut buffer[..most])
        }
    }

    proptest! {
        #[test]
        fn chunks_make_the_whole_and_have_bounds(length in 0_usize..300_000, zeros in 0_usize..100_000, step in 1_usize..5_000, average in 4096_u32..20_000) {
            let mut whole = bytes(length);
            whole.extend(vec![0; zeros]);
            let chunks = cut(&whole, average);
            prop_assert_eq!(chunks.concat(), whole.clone());
            let average = (average & !7) as usize;
            let bounds = average / 4..=4 * average;
            prop_assert!(chunks.iter().rev().skip(1).all(|chunk| bounds.contains(&chunk.len())));
            let (mut slow, mut pieces) = (Cutter::new(Slow(&whole, step), average as u32), Vec::new());
            while let Some(chunk) = slow.next_chunk()? {
                pieces.push(chunk.to_vec());
            }
            prop_assert_eq!(pieces, chunks);
        }
    }
}
