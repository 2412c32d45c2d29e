//! The list of a blob's chunks.

use sha2::{Digest, Sha256};

use crate::cut::{LARGEST_AVERAGE, SMALLEST_AVERAGE, USUAL_AVERAGE};
use crate::limits::{LARGEST_BLOB, MOST_CHUNKS};

/// The first bytes of a list. The digit is the version of the format.
const MAGIC: &[u8; 8] = b"tufchnk1";

/// The length of the header, in bytes: magic, the blob's SHA-256 (32 bytes), its length (8), the
/// average (4), the number of chunks (4). Numbers are little-endian.
const HEADER: usize = 56;

/// The length of an entry, in bytes: digest (16), length (3), packed length (3).
const ENTRY: usize = 22;

/// The length of the trailer, in bytes: the digest of everything before it.
const TRAILER: usize = 16;

/// The most bytes by which a packed chunk may exceed the chunk: a frame has a header.
const MOST_OVERHEAD: u32 = 64;

/// A chunk, as the list describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The [`digest`] of the chunk's bytes.
    pub digest: [u8; 16],
    /// The chunk's length in bytes.
    pub length: u32,
    /// The packed chunk's length in bytes.
    pub packed: u32,
}

/// The first 16 bytes of the SHA-256, which identify a chunk. A short digest suffices, since nobody
/// trusts it: the device hashes the whole target at the end.
#[must_use]
pub fn digest(bytes: &[u8]) -> [u8; 16] {
    let mut digest = [0; 16];
    let whole = Sha256::digest(bytes);
    digest.iter_mut().zip(whole).for_each(|(to, from)| *to = from);
    digest
}

/// The fewest bytes of a list. They suffice to compute the length of the whole list
/// ([`list_bytes`]).
pub const LEAST_LIST: usize = HEADER + TRAILER;

/// The length, in bytes, of the list that begins with these bytes.
///
/// # Errors
/// [`NotAList`] if no list begins like this.
pub fn list_bytes(begin: &[u8]) -> Result<usize, NotAList> {
    let header = Header::read(begin)?;
    Ok(List::bytes_with(header.count))
}

/// About how many bytes the list of a blob of this length has. A device requests that many at once.
/// The estimate is right for random bytes, whose chunks are a quarter longer than the average.
#[must_use]
pub fn usual_list_bytes(length: u64) -> u64 {
    let mut average = u64::from(USUAL_AVERAGE);
    while length / average > MOST_CHUNKS as u64 {
        average *= 2;
    }
    (LEAST_LIST + ENTRY) as u64 + length * 4 / (5 * average) * ENTRY as u64
}

/// Why bytes are not a list, or not the list of this blob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a list of the target's chunks: {0}")]
pub struct NotAList(&'static str);

/// The facts in a list's header.
#[derive(Debug, Clone, Copy)]
struct Header {
    sha256: [u8; 32],
    length: u64,
    average: u32,
    count: usize,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, NotAList> {
        let mut rest =
            bytes.strip_prefix(MAGIC).ok_or(NotAList("it doesn't begin as a list does"))?;
        let sha256 = take(&mut rest)?;
        let length = u64::from_le_bytes(take(&mut rest)?);
        let average = u32::from_le_bytes(take(&mut rest)?);
        let count = u32::from_le_bytes(take(&mut rest)?) as usize;
        if length > LARGEST_BLOB {
            return Err(NotAList("the blob is too long"));
        }
        if !(SMALLEST_AVERAGE..=LARGEST_AVERAGE).contains(&average) {
            return Err(NotAList("it is cut too fine or too coarse"));
        }
        if count > MOST_CHUNKS {
            return Err(NotAList("it has too many chunks"));
        }
        Ok(Self { sha256, length, average, count })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], NotAList> {
    let (taken, left) = rest.split_first_chunk::<N>().ok_or(NotAList("it ends too early"))?;
    *rest = left;
    Ok(*taken)
}

/// The chunks of a blob in their order, and the average with which it was cut.
///
/// *Invariant*: the lengths sum to the blob's length; no chunk is empty or longer than four
/// averages; no packed chunk is longer than that and a frame's header. So a reader knows beforehand
/// how much memory and how many bytes from the network it will use.
///
/// ```
/// use sha2::{Digest, Sha256};
/// use tufline_chunks::{Cutter, List, ListWriter, SMALLEST_AVERAGE};
///
/// let image = vec![7; 100_000];
/// let sha256 = Sha256::digest(&image).into();
/// let mut writer = ListWriter::new(SMALLEST_AVERAGE);
/// let mut cutter = Cutter::new(&image[..], SMALLEST_AVERAGE);
/// while let Some(chunk) = cutter.next_chunk()? {
///     // A server compresses the chunk, and adds the length of that.
///     writer.add(chunk, chunk.len() as u32);
/// }
/// let stored = writer.finish(&sha256)?.bytes().to_vec();
///
/// // A device reads the list of the target whose digest and length the metadata has.
/// let list = List::read(stored.clone(), &sha256, 100_000)?;
/// assert_eq!(list.entries().map(|chunk| u64::from(chunk.length)).sum::<u64>(), 100_000);
/// assert!(List::read(stored, &sha256, 100_001).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// The whole list, including header and trailer.
    bytes: Vec<u8>,
    average: u32,
}

impl List {
    /// Reads the list of the blob with this digest and length.
    ///
    /// # Errors
    /// [`NotAList`] if it is damaged, belongs to another blob, or breaks the invariant.
    pub fn read(bytes: Vec<u8>, sha256: &[u8; 32], length: u64) -> Result<Self, NotAList> {
        let header = Header::read(&bytes)?;
        if header.sha256 != *sha256 || header.length != length {
            return Err(NotAList("it belongs to another target"));
        }
        let (signed, trailer) =
            bytes.split_last_chunk::<TRAILER>().ok_or(NotAList("it ends too early"))?;
        if bytes.len() != Self::bytes_with(header.count) {
            return Err(NotAList("its length is not the one that it states"));
        }
        if digest(signed) != *trailer {
            return Err(NotAList("it was damaged in transit"));
        }
        let list = Self { bytes, average: header.average };
        let mut sum = 0;
        for entry in list.entries() {
            if entry.length == 0 || entry.length > 4 * header.average {
                return Err(NotAList("a chunk is empty or too long"));
            }
            if entry.packed == 0 || entry.packed > entry.length + MOST_OVERHEAD {
                return Err(NotAList("a packed chunk is empty or too long"));
            }
            sum += u64::from(entry.length);
        }
        if sum != length {
            return Err(NotAList("its chunks don't make the target"));
        }
        Ok(list)
    }

    /// The length, in bytes, of a list of `count` chunks.
    #[must_use]
    pub const fn bytes_with(count: usize) -> usize {
        HEADER + count * ENTRY + TRAILER
    }

    /// The list's bytes, as they are stored.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The average with which the blob was cut, for a [`Cutter`](crate::Cutter).
    #[must_use]
    pub fn average(&self) -> u32 {
        self.average
    }

    /// The number of chunks.
    #[must_use]
    pub fn count(&self) -> usize {
        self.bytes.len().saturating_sub(HEADER + TRAILER) / ENTRY
    }

    /// The entry of one chunk.
    #[must_use]
    pub fn entry(&self, index: usize) -> Option<Entry> {
        if index >= self.count() {
            return None;
        }
        let begin = HEADER + index * ENTRY;
        let mut rest = self.bytes.get(begin..begin + ENTRY)?;
        let digest = take(&mut rest).ok()?;
        let (length, packed) = (take(&mut rest).ok()?, take(&mut rest).ok()?);
        Some(Entry { digest, length: u24(length), packed: u24(packed) })
    }

    /// The entries of all chunks, in their order.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        (0..self.count()).filter_map(|index| self.entry(index))
    }
}

fn u24([low, middle, high]: [u8; 3]) -> u32 {
    u32::from_le_bytes([low, middle, high, 0])
}

/// Builds a list, chunk by chunk.
#[derive(Debug)]
pub struct ListWriter {
    entries: Vec<u8>,
    average: u32,
    length: u64,
}

impl ListWriter {
    /// Begins the list of a blob that is cut with this average.
    #[must_use]
    pub fn new(average: u32) -> Self {
        Self { entries: Vec::new(), average, length: 0 }
    }

    /// The number of chunks added so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries.len() / ENTRY
    }

    /// Adds the next chunk, which takes `packed` bytes when packed.
    pub fn add(&mut self, chunk: &[u8], packed: u32) {
        let length = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        self.length += u64::from(length);
        self.entries.extend(digest(chunk));
        for number in [length, packed] {
            let [low, middle, high, _] = number.to_le_bytes();
            self.entries.extend([low, middle, high]);
        }
    }

    /// The list of the blob with this digest.
    ///
    /// # Errors
    /// [`NotAList`] if no reader would accept it: it has too many chunks, or a chunk is too long.
    pub fn finish(self, sha256: &[u8; 32]) -> Result<List, NotAList> {
        let count = u32::try_from(self.count()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(HEADER + self.entries.len() + TRAILER);
        bytes.extend(MAGIC);
        bytes.extend(sha256);
        bytes.extend(self.length.to_le_bytes());
        bytes.extend(self.average.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(self.entries);
        bytes.extend(digest(&bytes));
        List::read(bytes, sha256, self.length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BLOB: [u8; 32] = [7; 32];

    fn list(chunks: &[Vec<u8>]) -> List {
        let mut writer = ListWriter::new(SMALLEST_AVERAGE);
        for chunk in chunks {
            writer.add(chunk, chunk.len() as u32);
        }
        writer.finish(&BLOB).unwrap()
    }

    fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.truncate(bytes.len() - TRAILER);
        bytes.extend(digest(&bytes));
        bytes
    }

    #[test]
    fn misleading_lists_are_refused() {
        let good = list(&[vec![1; 5000], vec![2; 4096]]);
        let read = |bytes: Vec<u8>| List::read(bytes, &BLOB, 9096).map_err(|NotAList(why)| why);
        assert_eq!(read(good.bytes.clone()), Ok(good.clone()));
        assert_eq!(
            List::read(good.bytes.clone(), &[8; 32], 9096),
            Err(NotAList("it belongs to another target"))
        );
        assert_eq!(
            List::read(good.bytes.clone(), &BLOB, 9095),
            Err(NotAList("it belongs to another target"))
        );
        let with = |at: usize, new: &[u8]| {
            let mut bytes = good.bytes.clone();
            bytes[at..at + new.len()].copy_from_slice(new);
            read(sealed(bytes)).unwrap_err()
        };
        for (at, new, why) in [
            (0, &b"x"[..], "it doesn't begin as a list does"),
            (44, &[1], "the blob is too long"),
            (48, &[0; 4], "it is cut too fine or too coarse"),
            (48, &[255; 4], "it is cut too fine or too coarse"),
            (52, &[255; 4], "it has too many chunks"),
            (52, &[1], "its length is not the one that it states"),
            (HEADER + 16, &[0, 0, 0], "a chunk is empty or too long"),
            (HEADER + 16, &[1, 64, 0], "a chunk is empty or too long"),
            (HEADER + 16, &[135], "its chunks don't make the target"),
            (HEADER + 19, &[0, 0, 0], "a packed chunk is empty or too long"),
            (HEADER + 19, &[255, 255, 255], "a packed chunk is empty or too long"),
        ] {
            assert_eq!(with(at, new), why, "{at} {new:?}");
        }
        let mut damaged = good.bytes.clone();
        damaged[HEADER] ^= 1;
        assert_eq!(read(damaged), Err("it was damaged in transit"));
    }

    proptest! {
        #[test]
        fn a_list_is_read_back(lengths in prop::collection::vec(1_usize..16_384, 0..40)) {
            let chunks: Vec<Vec<u8>> = lengths.iter().map(|length| vec![*length as u8; *length]).collect();
            let list = list(&chunks);
            prop_assert_eq!(list_bytes(list.bytes()), Ok(list.bytes().len()));
            let expected: Vec<Entry> = chunks
                .iter()
                .map(|chunk| Entry { digest: digest(chunk), length: chunk.len() as u32, packed: chunk.len() as u32 })
                .collect();
            prop_assert_eq!(list.entries().collect::<Vec<_>>(), expected);
            prop_assert_eq!(list.entry(chunks.len()), None);
        }

        #[test]
        fn nothing_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..200), is_ours: bool) {
            if is_ours && bytes.len() >= HEADER + TRAILER {
                bytes[..8].copy_from_slice(MAGIC);
                bytes[8..40].copy_from_slice(&BLOB);
                bytes[40..48].copy_from_slice(&5000_u64.to_le_bytes());
                bytes[48..56].copy_from_slice(&[0, 16, 0, 0, 2, 0, 0, 0]);
                bytes = sealed(bytes);
            }
            _ = list_bytes(&bytes);
            if let Ok(list) = List::read(bytes, &BLOB, 5000) {
                prop_assert_eq!(list.entries().map(|entry| u64::from(entry.length)).sum::<u64>(), 5000);
            }
        }
    }
}
