//! The list of a blob's chunks.

use sha2::{Digest, Sha256};

use crate::cut::{LARGEST_AVERAGE, SMALLEST_AVERAGE, USUAL_AVERAGE};
use crate::limits::{LARGEST_BLOB, MOST_CHUNKS};

/// What a list begins with. The digit is the format's version.
const MAGIC: &[u8; 8] = b"tufchnk1";

/// Magic, the blob's SHA-256 (32 bytes), its length (8), the average (4), how many chunks (4). Numbers
/// are little-endian.
const HEADER: usize = 56;

/// A digest (16 bytes), the length (3), the packed length (3).
const ENTRY: usize = 22;

/// The digest of all that stands before it.
const TRAILER: usize = 16;

/// A packed chunk may be longer than the chunk by this much, in bytes: a frame has a head.
const MOST_OVERHEAD: u32 = 64;

/// One chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Of its bytes, see [`digest`].
    pub digest: [u8; 16],
    /// In bytes.
    pub length: u32,
    /// How many bytes the packed chunk has.
    pub packed: u32,
}

/// The first 16 bytes of the SHA-256, by which chunks are known. Short, since nobody trusts it: the
/// whole target is hashed in the end.
#[must_use]
pub fn digest(bytes: &[u8]) -> [u8; 16] {
    let mut digest = [0; 16];
    let whole = Sha256::digest(bytes);
    digest.iter_mut().zip(whole).for_each(|(to, from)| *to = from);
    digest
}

/// A list has at least this many bytes, which say how many it has ([`list_bytes`]).
pub const LEAST_LIST: usize = HEADER + TRAILER;

/// How many bytes a list has that begins with these.
///
/// # Errors
/// [`NotAList`].
pub fn list_bytes(begin: &[u8]) -> Result<usize, NotAList> {
    let header = Header::read(begin)?;
    Ok(HEADER + header.count * ENTRY + TRAILER)
}

/// How many bytes the list of a blob of this length has as a rule: to ask for that many at once. It is about right for
/// random bytes, of which chunks are a quarter longer than the average.
#[must_use]
pub fn usual_list_bytes(length: u64) -> u64 {
    let mut average = u64::from(USUAL_AVERAGE);
    while length / average > MOST_CHUNKS as u64 {
        average *= 2;
    }
    (LEAST_LIST + ENTRY) as u64 + length * 4 / (5 * average) * ENTRY as u64
}

/// Why bytes are no list, or none of this blob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no list of the target's chunks: {0}")]
pub struct NotAList(&'static str);

/// What a list says of itself.
#[derive(Debug, Clone, Copy)]
struct Header {
    sha256: [u8; 32],
    length: u64,
    average: u32,
    count: usize,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, NotAList> {
        let mut rest = bytes.strip_prefix(MAGIC).ok_or(NotAList("it begins otherwise"))?;
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

/// The chunks of a blob in their order, with what was cut and how.
///
/// *Invariant*: the lengths sum to the blob's; no chunk is empty, or longer than four averages, and no
/// packed one longer than that and a frame's head. So whoever goes by it knows beforehand how much
/// memory, and how many bytes from the network, it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// With header and trailer.
    bytes: Vec<u8>,
    average: u32,
}

impl List {
    /// Reads the list of the blob with this digest and length.
    ///
    /// # Errors
    /// [`NotAList`]: it is damaged, another blob's, or breaks the invariant.
    pub fn read(bytes: Vec<u8>, sha256: &[u8; 32], length: u64) -> Result<Self, NotAList> {
        let header = Header::read(&bytes)?;
        if header.sha256 != *sha256 || header.length != length {
            return Err(NotAList("it is another target's"));
        }
        let (signed, trailer) = bytes.split_last_chunk::<TRAILER>().ok_or(NotAList("it ends too early"))?;
        if bytes.len() != HEADER + header.count * ENTRY + TRAILER {
            return Err(NotAList("it has another length than it says"));
        }
        if digest(signed) != *trailer {
            return Err(NotAList("it was damaged on its way"));
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

    /// How many bytes a list of so many chunks has.
    #[must_use]
    pub const fn bytes_with(count: usize) -> usize {
        HEADER + count * ENTRY + TRAILER
    }

    /// As it is stored.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// With which average it was cut, for a [`Cutter`](crate::Cutter).
    #[must_use]
    pub fn average(&self) -> u32 {
        self.average
    }

    /// How many chunks there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.bytes.len().saturating_sub(HEADER + TRAILER) / ENTRY
    }

    /// One of them.
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

    /// All of them.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        (0..self.count()).filter_map(|index| self.entry(index))
    }
}

fn u24([low, middle, high]: [u8; 3]) -> u32 {
    u32::from_le_bytes([low, middle, high, 0])
}

/// Makes a list.
#[derive(Debug)]
pub struct ListWriter {
    entries: Vec<u8>,
    average: u32,
    length: u64,
}

impl ListWriter {
    /// Of a blob that is cut with this average.
    #[must_use]
    pub fn new(average: u32) -> Self {
        Self { entries: Vec::new(), average, length: 0 }
    }

    /// How many chunks were added.
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries.len() / ENTRY
    }

    /// Adds the next chunk, which takes `packed` bytes.
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
    /// [`NotAList`] where nobody would read it: it has too many chunks, or some that are too long.
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
    fn what_would_mislead_is_refused() {
        let good = list(&[vec![1; 5000], vec![2; 4096]]);
        let read = |bytes: Vec<u8>| List::read(bytes, &BLOB, 9096).map_err(|NotAList(why)| why);
        assert_eq!(read(good.bytes.clone()), Ok(good.clone()));
        assert_eq!(List::read(good.bytes.clone(), &[8; 32], 9096), Err(NotAList("it is another target's")));
        assert_eq!(List::read(good.bytes.clone(), &BLOB, 9095), Err(NotAList("it is another target's")));
        let with = |at: usize, new: &[u8]| {
            let mut bytes = good.bytes.clone();
            bytes[at..at + new.len()].copy_from_slice(new);
            read(sealed(bytes)).unwrap_err()
        };
        for (at, new, why) in [
            (0, &b"x"[..], "it begins otherwise"),
            (44, &[1], "the blob is too long"),
            (48, &[0; 4], "it is cut too fine or too coarse"),
            (48, &[255; 4], "it is cut too fine or too coarse"),
            (52, &[255; 4], "it has too many chunks"),
            (52, &[1], "it has another length than it says"),
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
        assert_eq!(read(damaged), Err("it was damaged on its way"));
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
