//! Makes a target from its chunks: copies those that an older image has, and fetches the others.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ruzstd::decoding::{BlockDecodingStrategy, Dictionary, FrameDecoder};
use tufline_chunks::{
    Entry, HISTORY, LEAST_LIST, List, digest, is_cut, list_bytes, usual_list_bytes,
};

use crate::durable;
use crate::failure::Failure;
use crate::part::{LIST, PACKED, Part};
use crate::patience::{Patience, SOME_WAY};
use crate::seed::{self, Place, Places};
use crate::wanted::Wanted;
use crate::window::{NoBytes, Window, page};

/// The device also fetches chunks that it has, if they lie between chunks that it fetches and take
/// at most this many packed bytes: the header of another request would take as many.
const MOST_JOINED: u64 = 1 << 10;

/// Why chunks did not make the target.
#[derive(Debug)]
pub enum Stop {
    /// The device must fetch the whole target, for this reason.
    Whole(String),
    /// The list misled. The device requests it once more, and then fetches the whole target.
    Misled(String),
    /// The target can't be fetched at all.
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// The fetch of one target by chunks.
///
/// *Invariant*: the list is not trusted. It says what to request, and the device refuses a chunk
/// whose digest differs from the list's. The device knows how many bytes it needs before it
/// requests the first chunk, and requests none that exceed the budget.
pub struct Difference<'d> {
    wanted: Wanted<'d>,
    sha256: [u8; 32],
    seed: File,
    window: Window<'d>,
    decoder: FrameDecoder,
    patience: Patience,
    /// The number of received bytes at the last progress.
    furthest: u64,
    /// The bytes copied from the seed.
    pub copied: u64,
}

impl<'d> Difference<'d> {
    /// Begins, or continues from the files that an earlier run kept beside the part. `url` is the
    /// URL of the chunks.
    pub fn begin(
        wanted: Wanted<'d>,
        seed: &Path,
        url: &'d str,
        part: &Part<'_>,
    ) -> Result<Self, Stop> {
        let whole = |why: &str| Err(Stop::Whole(why.to_owned()));
        let target = &wanted.found.target;
        if part.comes_whole() {
            return whole("its chunks gave wrong bytes last time");
        }
        if !is_cut(target.length) {
            return whole("targets of this length have no chunks");
        }
        let Some(sha256) =
            target.hashes.get("sha256").and_then(|digest| digest.as_slice().try_into().ok())
        else {
            return whole("its metadata lists no SHA-256, by which chunks are found");
        };
        let opened = seed::open(seed)
            .map_err(|error| Stop::Whole(format!("{}: {error}", seed.display())))?;
        let window = Window::open(wanted.connection, url, &part.beside(PACKED), sha256)
            .map_err(wanted.written())?;
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MOST_WINDOW);
        let patience = Patience::new(wanted.tries, wanted.connection.deadline());
        Ok(Self { wanted, sha256, seed: opened, window, decoder, patience, furthest: 0, copied: 0 })
    }

    /// The bytes received over the network.
    pub fn received(&self) -> u64 {
        self.window.received
    }

    /// Fills the part up to the target's length. The caller then checks the target's digest.
    pub fn run(&mut self, part: &mut Part<'_>) -> Result<(), Stop> {
        let list = self.list(part)?;
        let packed: u64 = list.entries().map(|entry| u64::from(entry.packed)).sum();
        self.window.length = Some(list.bytes().len() as u64 + packed);
        recover(&list, part).map_err(self.wanted.written())?;
        let places = Places::find(&list, &self.seed);
        let mut places =
            places.map_err(|error| Stop::Whole(format!("the seed can't be read: {error}")))?;
        places.join(&list, MOST_JOINED);
        let needs = self.needs(&list, &places, part);
        // Only chunks can continue a part that chunks began, so this goes on however little it
        // saves.
        let missing = self.wanted.found.target.length - part.length();
        if needs >= missing && !part.is_by_chunks() {
            return Err(Stop::Whole("its chunks would be as many bytes".to_owned()));
        }
        self.wanted.expect_budget(needs, None)?;
        part.begin_chunks().map_err(self.wanted.written())?;
        self.add_all(&list, &mut places, part)
    }

    /// The list of chunks. A complete list is kept beside the part.
    fn list(&mut self, part: &Part<'_>) -> Result<List, Stop> {
        let (path, length) = (part.beside(LIST), self.wanted.found.target.length);
        if let Some(list) =
            fs::read(&path).ok().and_then(|bytes| List::read(bytes, &self.sha256, length).ok())
        {
            return Ok(list);
        }
        // The kept bytes may be damaged.
        let mut is_last = self.window.has(0) == 0;
        loop {
            match List::read(self.ask_list(length)?, &self.sha256, length) {
                Ok(list) => {
                    durable::write(&path, list.bytes()).map_err(self.wanted.written())?;
                    return Ok(list);
                }
                Err(_) if self.window.may_be_page() => {
                    self.window.forget();
                    // A web page is no progress, however long it is.
                    self.furthest = self.window.received;
                    self.again(page())?;
                }
                Err(not) if is_last => return Err(Stop::Whole(not.to_string())),
                Err(_) => {
                    self.window.forget();
                    is_last = true;
                }
            }
        }
    }

    /// Requests the list, mostly by one request. Bytes that follow it are the first chunks.
    fn ask_list(&mut self, length: u64) -> Result<Vec<u8>, Stop> {
        let begin = self.bytes(0..LEAST_LIST as u64, usual_list_bytes(length))?;
        // The caller refuses bytes that are not a list.
        let Ok(whole) = list_bytes(&begin) else { return Ok(begin) };
        self.fill(&(0..whole as u64), whole as u64)?;
        Ok(self.window.take_out(whole))
    }

    /// The number of packed bytes that the device must still fetch.
    fn needs(&self, list: &List, places: &Places, part: &Part<'_>) -> u64 {
        let (mut offset, mut packed, mut needs) = (0, list.bytes().len() as u64, 0);
        for (index, entry) in list.entries().enumerate() {
            offset += u64::from(entry.length);
            if part.length() < offset && places.get(index) == Place::Server {
                needs +=
                    u64::from(entry.packed) - self.window.has(packed).min(u64::from(entry.packed));
            }
            packed += u64::from(entry.packed);
        }
        needs
    }

    /// Adds all chunks that the part lacks.
    fn add_all(
        &mut self,
        list: &List,
        places: &mut Places,
        part: &mut Part<'_>,
    ) -> Result<(), Stop> {
        // The end of the bytes that the current request asked for.
        let mut run_end = 0;
        let (mut offset, mut packed, mut chunk) = (0, list.bytes().len() as u64, Vec::new());
        for (index, entry) in list.entries().enumerate() {
            let end = offset + u64::from(entry.length);
            if part.length() < end {
                let has = match places.get(index) {
                    Place::Seed(at) => seed::read_chunk(&self.seed, at, &entry, &mut chunk),
                    Place::Target(at) => seed::read_chunk(part.file(), at, &entry, &mut chunk),
                    Place::Server => false,
                };
                let known = usize::try_from(part.length() - offset).unwrap_or(usize::MAX);
                if !has {
                    // The seed may have changed since it was searched.
                    places.ask_server(index);
                    let history = history(part, offset).map_err(self.wanted.written())?;
                    if run_end <= packed {
                        run_end = packed + places.run(list, index);
                    }
                    self.take(packed, run_end, &entry, &history, &mut chunk)?;
                } else if matches!(places.get(index), Place::Seed(_)) {
                    self.copied += (chunk.len() - known) as u64;
                }
                part.add(chunk.get(known..).unwrap_or_default()).map_err(self.wanted.written())?;
            }
            offset = end;
            packed += u64::from(entry.packed);
        }
        Ok(())
    }

    /// Fetches and unpacks into `chunk` the chunk at the byte `packed`. One request asks for all
    /// bytes up to `end`.
    fn take(
        &mut self,
        packed: u64,
        end: u64,
        entry: &Entry,
        history: &[u8],
        chunk: &mut Vec<u8>,
    ) -> Result<(), Stop> {
        // It may be what was kept of it that is damaged.
        for _ in 0..2 {
            let bytes = self.bytes(packed..packed + u64::from(entry.packed), end)?;
            chunk.resize(entry.length as usize, 0);
            if unpack(&mut self.decoder, &bytes, history, chunk).is_some()
                && digest(chunk) == entry.digest
            {
                return Ok(());
            }
            self.window.forget();
        }
        Err(Stop::Misled("a chunk is not what its list says".to_owned()))
    }

    /// These bytes of the object that holds the list and the packed chunks.
    fn bytes(&mut self, part: Range<u64>, end: u64) -> Result<Vec<u8>, Stop> {
        self.fill(&part, end)?;
        let length = usize::try_from(part.end - part.start).unwrap_or(usize::MAX);
        Ok(self.window.bytes(length).to_vec())
    }

    /// Requests until these bytes are in the window.
    fn fill(&mut self, part: &Range<u64>, end: u64) -> Result<(), Stop> {
        while let Err(why) = self.window.fill(part, end) {
            self.again(why)?;
        }
        Ok(())
    }

    /// Waits before the next request, if that may help. Otherwise returns why not.
    fn again(&mut self, why: NoBytes) -> Result<(), Stop> {
        let failure = match why {
            NoBytes::Never(why) => return Err(Stop::Whole(why)),
            NoBytes::File(error) => return Err(self.wanted.written()(error).into()),
            NoBytes::Failed(failure) => failure,
        };
        if self.window.received >= self.furthest + SOME_WAY {
            self.furthest = self.window.received;
            self.patience.progressed();
        }
        if failure.is_passing() && self.patience.again() {
            return Ok(());
        }
        Err(self.wanted.failure(self.window.url(), failure, None).into())
    }
}

/// The largest window of a frame, in bytes: frames need no more memory than the longest chunk.
const MOST_WINDOW: u64 = 4 * tufline_chunks::LARGEST_AVERAGE as u64;

/// The target's bytes before `offset`. The chunk that begins there was packed with them as history.
fn history(part: &Part<'_>, offset: u64) -> io::Result<Vec<u8>> {
    let length = offset.min(HISTORY as u64);
    let mut history = vec![0; usize::try_from(length).unwrap_or(HISTORY)];
    part.file().read_exact_at(&mut history, offset - length)?;
    Ok(history)
}

/// Unpacks one frame, which must fill `chunk` and have nothing behind it.
fn unpack(
    decoder: &mut FrameDecoder,
    mut packed: &[u8],
    history: &[u8],
    chunk: &mut [u8],
) -> Option<()> {
    decoder.init(&mut packed).ok()?;
    if !history.is_empty() {
        // The decoder accepts history only as part of a dictionary. No frame uses that dictionary's
        // tables, since none was packed with them.
        let mut dictionary =
            Dictionary::decode_dict(&tufline_pack::dictionary::<&[u8]>(&[])).ok()?;
        dictionary.dict_content = history.to_vec();
        // As without a dictionary (RFC 8878, section 3.1.1.5).
        dictionary.offset_hist = [1, 4, 8];
        let id = dictionary.id;
        decoder.add_dict(dictionary).ok()?;
        decoder.force_dict(id).ok()?;
    }
    let mut room = chunk;
    while !decoder.is_finished() {
        // A few bytes of a hostile frame can expand to a block of 128 KiB, so decode one at a time.
        decoder.decode_blocks(&mut packed, BlockDecodingStrategy::UptoBlocks(1)).ok()?;
        // Within its bounded window, the decoder keeps what later blocks may refer to.
        let bytes = decoder.collect().unwrap_or_default();
        let (begin, rest) = room.split_at_mut_checked(bytes.len())?;
        begin.copy_from_slice(&bytes);
        room = rest;
    }
    (room.is_empty() && packed.is_empty()).then_some(())
}

/// Accepts the correct chunks that a killed process left behind the part's safe bytes.
fn recover(list: &List, part: &mut Part<'_>) -> io::Result<()> {
    let (mut offset, mut chunk) = (0, Vec::new());
    for entry in list.entries() {
        let end = offset + u64::from(entry.length);
        if part.length() < end {
            if !seed::read_chunk(part.file(), offset, &entry, &mut chunk) {
                break;
            }
            let known = usize::try_from(part.length() - offset).unwrap_or(usize::MAX);
            part.accept(chunk.get(known..).unwrap_or_default());
        }
        offset = end;
    }
    part.drop_tail()
}
