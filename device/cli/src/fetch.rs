//! A target, from the server to its place.

use std::path::Path;

use tufline_client::Error;

use crate::difference::{Difference, Stop};
use crate::failure::{Failure, NetworkFailure};
use crate::http::{Answer, FileAnswer};
use crate::part::{self, Part};
use crate::patience::{Patience, SOME_WAY};
use crate::wanted::Wanted;

/// A target that was fetched and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedTarget {
    /// The target's length in bytes.
    pub length: u64,
    /// The bytes that this fetch received over the network: bodies of answers, as they were sent.
    pub received: u64,
    /// The bytes that this fetch copied from the seed.
    pub copied: u64,
    /// Why the device fetched the whole target despite a seed. `None` if it used the seed, or had
    /// none.
    pub whole_because: Option<String>,
}

/// The fetch of one target.
pub struct Fetch<'f> {
    pub wanted: Wanted<'f>,
    pub url: String,
    /// The target's bytes from a pack, if one brought them.
    pub packed: Option<&'f [u8]>,
    /// An older image on this device, and the URL of the target's chunks.
    pub seed: Option<&'f Path>,
    pub chunks_url: String,
    /// Whether the list of chunks was requested a second time because the first one misled.
    pub has_asked_anew: bool,
    /// The result so far.
    pub fetched: FetchedTarget,
}

/// Whether an answer can be the target, by its length.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// The length is right. Only the digest can tell more.
    Right,
    /// The answer states no length. It may be a web page in the target's place.
    Unknown,
    /// The length is wrong: it is another file.
    Wrong,
}

impl<'f> Fetch<'f> {
    /// Fetches until the target is in its place.
    pub fn run(mut self) -> Result<FetchedTarget, Failure> {
        let mut anew = false;
        loop {
            // This waits while another process fetches the target to the same place. That process
            // may have finished.
            let Some(mut part) = part::open_unless_there(self.wanted.found, self.wanted.to)
                .map_err(self.wanted.written())?
            else {
                return Ok(self.fetched);
            };
            if let Some(bytes) = self.packed.take() {
                if self.take_packed(part, bytes)? {
                    return Ok(self.fetched);
                }
                continue;
            }
            if let Some(seed) = self.seed.take() {
                if self.take_difference(seed, part)? {
                    return Ok(self.fetched);
                }
                continue;
            }
            part.begin_whole().map_err(self.wanted.written())?;
            let kept = part.length();
            let answers = self.fill(&mut part)?;
            match part.finish(self.wanted.to).map_err(self.wanted.written())? {
                Ok(()) => return Ok(self.fetched),
                // The kept bytes may be damaged, or one of several answers belonged to another
                // file. Try once more from the beginning.
                Err(_) if !anew && (kept > 0 || answers > 1) => anew = true,
                Err(why) => {
                    return Err(Failure::Target { name: self.wanted.found.name.clone(), why });
                }
            }
        }
    }

    /// Moves the bytes from a pack into place. `false` if they are not the target's.
    fn take_packed(&mut self, mut part: Part<'_>, bytes: &[u8]) -> Result<bool, Failure> {
        let mut hasher = self.wanted.found.target.hasher();
        hasher.update(bytes);
        // If this is another file, the kept part of the target stays.
        if bytes.len() as u64 != self.wanted.found.target.length || hasher.check().is_err() {
            return Ok(false);
        }
        self.fetched.received += bytes.len() as u64;
        part.begin_anew().and_then(|()| part.add(bytes)).map_err(self.wanted.written())?;
        Ok(part.finish(self.wanted.to).map_err(self.wanted.written())?.is_ok())
    }

    /// Makes the target from an older image and the chunks that the image lacks. `false` if the
    /// target must still be fetched.
    fn take_difference(&mut self, seed: &'f Path, mut part: Part<'_>) -> Result<bool, Failure> {
        let mut difference = match Difference::begin(self.wanted, seed, &self.chunks_url, &part) {
            Ok(difference) => difference,
            Err(stop) => return self.comes_whole(seed, part, stop),
        };
        let ran = difference.run(&mut part);
        let (received, copied) = (difference.received(), difference.copied);
        self.fetched.received += received;
        self.fetched.copied += copied;
        part.sync().map_err(self.wanted.written())?;
        if let Err(stop) = ran {
            return self.comes_whole(seed, part, stop);
        }
        match part.finish(self.wanted.to).map_err(self.wanted.written())? {
            Ok(()) => Ok(true),
            Err(why) => {
                match part::open_unless_there(self.wanted.found, self.wanted.to)
                    .map_err(self.wanted.written())?
                {
                    Some(part) => self.comes_whole(seed, part, Stop::Misled(why)),
                    None => Ok(true),
                }
            }
        }
    }

    fn comes_whole(
        &mut self,
        seed: &'f Path,
        mut part: Part<'_>,
        stop: Stop,
    ) -> Result<bool, Failure> {
        self.fetched.whole_because = Some(match stop {
            Stop::Whole(why) => why,
            // The server may have packed the chunks again since it sent their list. Try once more.
            Stop::Misled(_) if !self.has_asked_anew => {
                self.has_asked_anew = true;
                let anew = part.begin_anew().and_then(|()| part.forget_list());
                anew.map_err(self.wanted.written())?;
                self.seed = Some(seed);
                return Ok(false);
            }
            Stop::Misled(why) => {
                part.take_whole().map_err(self.wanted.written())?;
                why
            }
            Stop::Failed(failure) => return Err(failure),
        });
        Ok(false)
    }

    /// Requests until the target is whole, and returns the number of requests. Only bytes further
    /// on than ever before count as progress.
    fn fill(&mut self, part: &mut Part<'_>) -> Result<u32, Failure> {
        let mut patience = Patience::new(self.wanted.tries, self.wanted.connection.deadline());
        let (mut answers, mut furthest) = (0, part.length());
        while !part.is_whole() {
            let missing = self.wanted.found.target.length - part.length();
            let whole_because = self.fetched.whole_because.as_deref();
            if let Err(failure) = self.wanted.expect_budget(missing, whole_because) {
                // Next time, chunks may take fewer bytes.
                part.forget_whole().map_err(self.wanted.written())?;
                return Err(failure);
            }
            answers += 1;
            let Err(failure) = self.ask(part)? else { continue };
            part.sync().map_err(self.wanted.written())?;
            if part.length() >= furthest + SOME_WAY {
                furthest = part.length();
                patience.progressed();
            }
            if !failure.is_passing() || !patience.again() {
                return Err(self.wanted.failure(
                    &self.url,
                    failure,
                    self.fetched.whole_because.as_deref(),
                ));
            }
        }
        Ok(answers)
    }

    /// Makes one request for the missing bytes.
    fn ask(&mut self, part: &mut Part<'_>) -> Result<Result<(), NetworkFailure>, Failure> {
        let file = match self.wanted.connection.file(
            &self.url,
            self.wanted.found.target.length,
            part.length(),
            part.etag(),
        ) {
            Ok(Answer::File(file)) => file,
            Ok(Answer::Missing) => {
                return Err(Error::Missing(format!("target {}", self.wanted.found.name)).into());
            }
            Ok(Answer::Forbidden) => return Ok(Err(NetworkFailure::Status(403))),
            // The range may be the reason: the file on the server is another one, or the server
            // accepts no ranges.
            Err(NetworkFailure::Status(400 | 412 | 416 | 431)) if part.length() > 0 => {
                part.begin_anew().map_err(self.wanted.written())?;
                return Ok(Err(NetworkFailure::Broken(
                    "the server has no such part of the file".to_owned(),
                )));
            }
            Err(failure) => return Ok(Err(failure)),
        };
        match self.fit(&file) {
            Fit::Wrong => Ok(Err(another_file())),
            // The kept bytes must not be lost to a web page.
            Fit::Unknown if part.length() > 0 => Ok(Err(another_file())),
            Fit::Unknown => {
                let read = self.read(file, part, 0)?;
                if read.is_err() {
                    part.begin_anew().map_err(self.wanted.written())?;
                }
                Ok(read)
            }
            Fit::Right => {
                // By sending the whole file, the server says that the kept part belongs to another
                // one.
                if file.from == 0 && file.etag.is_some() && file.etag.as_deref() != part.etag() {
                    part.begin_anew().map_err(self.wanted.written())?;
                }
                // A server without ranges sends the whole file. Skip the kept bytes.
                let Some(known) = part.length().checked_sub(file.from) else {
                    return Ok(Err(NetworkFailure::Broken(
                        "the server answers another part than was asked for".to_owned(),
                    )));
                };
                self.read(file, part, known)
            }
        }
    }

    /// Compares the answer's length with the target's. The fields of a partial answer state its
    /// place; only its length tells a whole file from a web page in its place.
    fn fit(&self, file: &FileAnswer) -> Fit {
        let left = self.wanted.found.target.length.checked_sub(file.from);
        match file.length {
            Some(length) if Some(length) == left => Fit::Right,
            Some(_) => Fit::Wrong,
            None if file.from > 0 => Fit::Right,
            None => Fit::Unknown,
        }
    }

    /// Adds the answer's bytes to the part, except for the first `known` bytes.
    fn read(
        &mut self,
        mut file: FileAnswer,
        part: &mut Part<'_>,
        mut known: u64,
    ) -> Result<Result<(), NetworkFailure>, Failure> {
        part.set_etag(file.etag.take());
        let mut piece = vec![0; 1 << 16];
        loop {
            let bytes = match file.read(&mut piece) {
                Ok([]) if part.is_whole() => return Ok(Ok(())),
                Ok([]) => {
                    return Ok(Err(NetworkFailure::Broken(
                        "the answer ended too early".to_owned(),
                    )));
                }
                Ok(bytes) => bytes,
                Err(failure) => return Ok(Err(failure)),
            };
            self.fetched.received += bytes.len() as u64;
            let passed_over = usize::try_from(known).unwrap_or(usize::MAX).min(bytes.len());
            known -= passed_over as u64;
            let new = bytes.get(passed_over..).unwrap_or_default();
            if part.length() + new.len() as u64 > self.wanted.found.target.length {
                return Ok(Err(another_file()));
            }
            part.add(new).map_err(self.wanted.written())?;
        }
    }
}

fn another_file() -> NetworkFailure {
    let why = "another file came, in place of the target: look whether something on the way asks for a sign-in";
    NetworkFailure::NotADocument(why.to_owned())
}
