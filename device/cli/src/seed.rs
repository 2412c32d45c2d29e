//! An older image on this device, and which chunks of the new one it has.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;

use tufline_chunks::{Cutter, Entry, LARGEST_BLOB, List, digest};

/// Where a chunk's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On the server only.
    Server,
    /// In the seed, from this byte on.
    Seed(u64),
    /// In the target itself, from this byte on: an earlier chunk is equal.
    Target(u64),
}

/// Where the bytes of each chunk of a list are. An entry has eight bytes, since a list may be long.
///
/// *Invariant*: a place is only a hint. A caller that reads a chunk there compares its digest.
#[derive(Debug)]
pub struct Places(Vec<u64>);

/// The device searches at most this many bytes of a seed: four times the longest target.
const MOST_SEED: u64 = 4 * LARGEST_BLOB;

/// Tells [`Place::Target`] from [`Place::Seed`]: no file is that long.
const IN_TARGET: u64 = 1 << 63;

const ON_SERVER: u64 = u64::MAX;

impl Places {
    /// Looks for the chunks of `list` in the target itself and in `seed`, which is read once.
    ///
    /// # Errors
    /// The seed can't be read.
    pub fn find(list: &List, seed: &File) -> io::Result<Self> {
        let mut places = vec![ON_SERVER; list.count()];
        let by_digest = Index::new(list);
        let mut seed = seed;
        seed.seek(SeekFrom::Start(0))?;
        // An endless device or a sparse file must not take forever.
        let (mut cutter, mut offset) = (Cutter::new(seed.take(MOST_SEED), list.average()), 0);
        while let Some(chunk) = cutter.next_chunk()? {
            let same = by_digest.find(list, &digest(chunk));
            // The first match found all equal chunks. Otherwise a list and a seed of zeros would
            // take the product of their lengths.
            let is_new =
                same.first().is_some_and(|first| places.get(*first as usize) == Some(&ON_SERVER));
            for index in same.iter().filter(|_| is_new) {
                if let Some(place) = places.get_mut(*index as usize) {
                    *place = offset;
                }
            }
            offset += chunk.len() as u64;
        }
        let mut places = Self(places);
        places.find_repeated(list, &by_digest);
        Ok(places)
    }

    /// Fetches equal chunks of the target only once.
    fn find_repeated(&mut self, list: &List, by_digest: &Index) {
        let mut offset = 0;
        for (index, entry) in list.entries().enumerate() {
            let first =
                by_digest.find(list, &entry.digest).first().map_or(index, |first| *first as usize);
            if first == index && self.get(index) == Place::Server {
                for later in by_digest.find(list, &entry.digest).iter().skip(1) {
                    if let Some(place) = self.0.get_mut(*later as usize) {
                        *place = IN_TARGET | offset;
                    }
                }
            }
            offset += u64::from(entry.length);
        }
    }

    /// The place of this chunk's bytes.
    pub fn get(&self, index: usize) -> Place {
        match self.0.get(index).copied() {
            None | Some(ON_SERVER) => Place::Server,
            Some(place) if place & IN_TARGET != 0 => Place::Target(place & !IN_TARGET),
            Some(place) => Place::Seed(place),
        }
    }

    /// Marks chunks that lie between fetched ones as fetched too, if they take at most `most`
    /// packed bytes. This saves requests.
    pub fn join(&mut self, list: &List, most: u64) {
        // The chunk after the last fetched one, and the packed bytes since; `None` before the
        // first.
        let mut between = None::<(usize, u64)>;
        for (index, entry) in list.entries().enumerate() {
            if self.get(index) != Place::Server {
                between = between.map(|(begin, packed)| (begin, packed + u64::from(entry.packed)));
                continue;
            }
            if let Some((begin, _)) = between.filter(|(_, packed)| *packed <= most) {
                (begin..index).for_each(|index| self.ask_server(index));
            }
            between = Some((index + 1, 0));
        }
    }

    /// The number of packed bytes in one request that begins with this chunk.
    pub fn run(&self, list: &List, begin: usize) -> u64 {
        let run = (begin..list.count())
            .take_while(|index| *index == begin || self.get(*index) == Place::Server);
        run.filter_map(|index| list.entry(index)).map(|entry| u64::from(entry.packed)).sum()
    }

    /// Marks a chunk as fetched from the server.
    pub fn ask_server(&mut self, index: usize) {
        if let Some(place) = self.0.get_mut(index) {
            *place = ON_SERVER;
        }
    }
}

/// The numbers of a list's chunks, sorted by digest and then by number.
struct Index(Vec<u32>);

impl Index {
    fn new(list: &List) -> Self {
        let mut all: Vec<u32> = (0..u32::try_from(list.count()).unwrap_or(u32::MAX)).collect();
        all.sort_unstable_by_key(|index| {
            (list.entry(*index as usize).map(|entry| entry.digest), *index)
        });
        Self(all)
    }

    fn find(&self, list: &List, digest: &[u8; 16]) -> &[u32] {
        let of =
            |index: &u32| list.entry(*index as usize).map(|entry| entry.digest).unwrap_or_default();
        let begin = self.0.partition_point(|index| of(index) < *digest);
        let rest = self.0.get(begin..).unwrap_or_default();
        let length = rest.partition_point(|index| of(index) == *digest);
        rest.get(..length).unwrap_or_default()
    }
}

/// Reads the chunk at this place into `chunk`. `false` if it is no longer there.
pub fn read_chunk(file: &File, offset: u64, entry: &Entry, chunk: &mut Vec<u8>) -> bool {
    chunk.resize(entry.length as usize, 0);
    file.read_exact_at(chunk, offset).is_ok() && digest(chunk) == entry.digest
}

/// Opens a seed: a file or a block device.
pub fn open(path: &Path) -> io::Result<File> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_file() || kind.is_block_device() {
        return File::open(path);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is neither a file nor a block device"))
}
