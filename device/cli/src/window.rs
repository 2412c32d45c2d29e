//! Receives the packed chunks from the server.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

use crate::durable;
use crate::failure::NetworkFailure;
use crate::http::{Answer, Connection, FileAnswer};

/// The bytes of an object on a server that were received and not used yet.
///
/// A file keeps the received bytes of an incomplete chunk. Nothing waits until the file is on disk:
/// a kill loses nothing, and a power cut loses some bytes. The caller compares the digest of what
/// it uses, so a torn file costs one more request.
pub struct Window<'w> {
    connection: &'w Connection,
    url: &'w str,
    /// The URL to which the server redirected. It is used until it fails.
    link: Option<String>,
    answer: Option<FileAnswer>,
    /// Where the current answer ends, and whether that is before the requested end.
    end: u64,
    is_short: bool,
    /// Whether the last answer said that it is a part of a file.
    is_part: bool,
    /// The object's length in bytes, once it is known.
    pub length: Option<u64>,
    /// The offset of the first byte in `bytes`.
    begin: u64,
    bytes: Vec<u8>,
    kept: Kept,
    /// The number of bytes received in all.
    pub received: u64,
}

/// Why no bytes came.
#[derive(Debug)]
pub enum NoBytes {
    /// Another request would fail too.
    Never(String),
    /// Another request may succeed.
    Failed(NetworkFailure),
    /// This device's file can't be written.
    File(io::Error),
}

impl From<NetworkFailure> for NoBytes {
    fn from(failure: NetworkFailure) -> Self {
        Self::Failed(failure)
    }
}

impl From<io::Error> for NoBytes {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

impl<'w> Window<'w> {
    /// Begins with the bytes kept at `path`, if they belong to the object `name`.
    pub fn open(
        connection: &'w Connection,
        url: &'w str,
        path: &Path,
        name: [u8; 32],
    ) -> io::Result<Self> {
        let (kept, begin, bytes) = Kept::open(path, name)?;
        Ok(Self {
            connection,
            url,
            link: None,
            answer: None,
            end: 0,
            is_short: false,
            is_part: true,
            length: None,
            begin,
            bytes,
            kept,
            received: 0,
        })
    }

    /// The object's URL.
    pub fn url(&self) -> &str {
        self.url
    }

    /// Whether the last answer may be a web page in the object's place: it didn't say that it is a
    /// part of a file.
    pub fn may_be_page(&self) -> bool {
        !self.is_part
    }

    /// The number of bytes that are here from the offset `begin` on.
    pub fn has(&self, begin: u64) -> u64 {
        let end = self.begin + self.bytes.len() as u64;
        if (self.begin..end).contains(&begin) { end - begin } else { 0 }
    }

    /// Makes the window begin with the bytes of `part`. If some are missing, requests all bytes up
    /// to `end`.
    pub fn fill(&mut self, part: &Range<u64>, end: u64) -> Result<(), NoBytes> {
        self.forget_before(part.start);
        let length = usize::try_from(part.end - part.start).unwrap_or(usize::MAX);
        let mut piece = vec![0; 1 << 16];
        // No more than that, since a list is long.
        self.bytes.reserve_exact((length + piece.len()).saturating_sub(self.bytes.len()));
        while self.bytes.len() < length {
            // Save the bytes now, since the network may take long.
            self.kept.keep(self.begin, &self.bytes)?;
            let next = self.begin + self.bytes.len() as u64;
            // Don't ask a server forever that answers each request with one byte.
            if next >= self.end && self.answer.take().is_some() && self.is_short {
                return Err(NetworkFailure::Broken("the answer ended too early".to_owned()).into());
            }
            let mut answer = match self.answer.take() {
                Some(answer) => answer,
                None => self.ask(next..end)?,
            };
            let most = usize::try_from(self.end - next).unwrap_or(usize::MAX).min(piece.len());
            let came = answer.read(piece.get_mut(..most).unwrap_or_default())?;
            if came.is_empty() {
                return Err(NetworkFailure::Broken("the answer ended too early".to_owned()).into());
            }
            self.received += came.len() as u64;
            self.bytes.extend_from_slice(came);
            self.answer = Some(answer);
        }
        Ok(())
    }

    /// The first bytes of the window, at most `length`.
    pub fn bytes(&self, length: usize) -> &[u8] {
        self.bytes.get(..length.min(self.bytes.len())).unwrap_or_default()
    }

    /// Takes the first bytes out of the window, at most `length`.
    pub fn take_out(&mut self, length: usize) -> Vec<u8> {
        let rest = self.bytes.split_off(length.min(self.bytes.len()));
        let taken = std::mem::replace(&mut self.bytes, rest);
        self.begin += taken.len() as u64;
        taken
    }

    /// Drops the bytes, which are wrong. The next request follows no earlier redirect.
    pub fn forget(&mut self) {
        self.forget_all();
        self.link = None;
    }

    fn forget_before(&mut self, begin: u64) {
        let known = begin.checked_sub(self.begin).and_then(|known| usize::try_from(known).ok());
        match known.filter(|known| *known <= self.bytes.len()) {
            Some(known) => drop(self.bytes.drain(..known)),
            // The rest of the current answer would have to be skipped.
            None => self.forget_all(),
        }
        self.begin = begin;
    }

    fn forget_all(&mut self) {
        self.bytes.clear();
        self.answer = None;
    }

    fn ask(&mut self, part: Range<u64>) -> Result<FileAnswer, NoBytes> {
        let asked = self.connection.range(self.url, &part, &mut self.link);
        let link = self.link.take();
        let answer = match asked {
            Ok(Answer::File(answer)) => answer,
            Ok(Answer::Missing | Answer::Forbidden) => {
                return Err(NoBytes::Never("the server has no chunks of it".to_owned()));
            }
            Err(NetworkFailure::Status(416)) => {
                return Err(NoBytes::Never("its chunks end too early".to_owned()));
            }
            Err(failure) => return Err(failure.into()),
        };
        let asked_for = part.end - part.start;
        if answer.is_part
            && (answer.from != part.start || answer.length.is_some_and(|length| length > asked_for))
        {
            return Err(NetworkFailure::Broken(
                "the server answers another part than was asked for".to_owned(),
            )
            .into());
        }
        if !answer.is_part && part.start > 0 {
            return Err(if answer.length.is_some() && answer.length == self.length {
                NoBytes::Never("the server answers no parts of files".to_owned())
            } else {
                page()
            });
        }
        // The redirect led to the file, so the next request goes to the same place.
        self.link = link;
        self.is_part = answer.is_part;
        self.end = answer.length.map_or(part.end, |length| part.end.min(part.start + length));
        self.is_short = self.end < part.end;
        Ok(answer)
    }
}

/// The failure if something on the way answers in the server's place, such as a captive portal.
pub fn page() -> NoBytes {
    let why =
        "a page came in place of chunks: look whether something on the way asks for a sign-in";
    NetworkFailure::NotADocument(why.to_owned()).into()
}

/// The file that keeps a window's bytes: the object's name, the offset of the first byte (8 bytes),
/// and the bytes.
#[derive(Debug)]
struct Kept {
    file: File,
    name: [u8; 32],
    /// The offset and the number of the bytes in the file.
    begin: u64,
    length: usize,
}

impl Kept {
    fn open(path: &Path, name: [u8; 32]) -> io::Result<(Self, u64, Vec<u8>)> {
        let mut file = durable::create_or_open(path)?;
        let mut all = Vec::new();
        (&mut file).take(1 << 20).read_to_end(&mut all)?;
        let read = |all: &[u8]| {
            let (begin, bytes) = all.strip_prefix(&name)?.split_first_chunk()?;
            Some((u64::from_le_bytes(*begin), bytes.to_vec()))
        };
        let (begin, bytes) = read(&all).unwrap_or_default();
        // The first write replaces the whole file, which may belong to another object.
        Ok((Self { file, name, begin: u64::MAX, length: 0 }, begin, bytes))
    }

    /// Writes the bytes that the file lacks.
    fn keep(&mut self, begin: u64, bytes: &[u8]) -> io::Result<()> {
        if begin != self.begin || bytes.len() < self.length {
            self.file.set_len(0)?;
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(&[self.name.as_slice(), &begin.to_le_bytes()].concat())?;
            (self.begin, self.length) = (begin, 0);
        }
        self.file.write_all(bytes.get(self.length..).unwrap_or_default())?;
        self.length = bytes.len();
        Ok(())
    }
}
