//! A target, from the server to its place.

use std::path::Path;

use tufline_client::Error;

use crate::difference::{Difference, Stop};
use crate::failure::{Failure, NetworkFailure};
use crate::http::{Answer, FileAnswer};
use crate::part::{self, Part};
use crate::patience::{Patience, SOME_WAY};
use crate::wanted::Wanted;

/// A target that is in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedTarget {
    /// Its length in bytes.
    pub length: u64,
    /// So many came over the network now: bodies of answers, as they were sent.
    pub received: u64,
    /// So many of its bytes were copied from the seed now.
    pub copied: u64,
    /// Why it came whole, if there was a seed and it did.
    pub whole_since: Option<String>,
}

/// One target on its way.
pub struct Fetch<'f> {
    pub wanted: Wanted<'f>,
    pub url: String,
    /// What came of it in a pack.
    pub packed: Option<&'f [u8]>,
    /// An older image on this device, and the URL of the target's chunks.
    pub seed: Option<&'f Path>,
    pub chunks_url: String,
    /// Whether the list of chunks was asked for anew, since it misled.
    pub has_asked_anew: bool,
    /// What it comes to.
    pub fetched: FetchedTarget,
}

/// What an answer says of itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// It is as long as it must be: it is the target, as far as that can be known now.
    Right,
    /// It says nothing of its length. It may be a page in the target's place.
    Unknown,
    /// It is another file.
    Wrong,
}

impl<'f> Fetch<'f> {
    /// Until the target is in its place.
    pub fn run(mut self) -> Result<FetchedTarget, Failure> {
        let mut anew = false;
        loop {
            // Whoever else fetches it to this place is waited for, and may have left it there.
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
                // It may be what was kept that is damaged, or one of several answers that was another's: once more, from the beginning.
                Err(_) if !anew && (kept > 0 || answers > 1) => anew = true,
                Err(why) => {
                    return Err(Failure::Target { name: self.wanted.found.name.clone(), why });
                }
            }
        }
    }

    /// Whether what came in a pack is the target, and in its place.
    fn take_packed(&mut self, mut part: Part<'_>, bytes: &[u8]) -> Result<bool, Failure> {
        let mut hasher = self.wanted.found.target.hasher();
        hasher.update(bytes);
        // What was kept of the target stays, where this is another file.
        if bytes.len() as u64 != self.wanted.found.target.length || hasher.check().is_err() {
            return Ok(false);
        }
        self.fetched.received += bytes.len() as u64;
        part.begin_anew().and_then(|()| part.add(bytes)).map_err(self.wanted.written())?;
        Ok(part.finish(self.wanted.to).map_err(self.wanted.written())?.is_ok())
    }

    /// Whether the target is in its place, from an older image and what that lacks. If not, the rest of it is to come whole.
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
        self.fetched.whole_since = Some(match stop {
            Stop::Whole(why) => why,
            // The server may have packed the chunks anew since their list came: once more.
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

    /// Asks until the target is whole, and says how often. What counts as getting somewhere is to get further than ever before.
    fn fill(&mut self, part: &mut Part<'_>) -> Result<u32, Failure> {
        let mut patience = Patience::new(self.wanted.tries, self.wanted.connection.deadline());
        let (mut answers, mut furthest) = (0, part.length());
        while !part.is_whole() {
            let missing = self.wanted.found.target.length - part.length();
            let whole_since = self.fetched.whole_since.as_deref();
            if let Err(failure) = self.wanted.expect_budget(missing, whole_since) {
                // By chunks it may be less, another time.
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
                    self.fetched.whole_since.as_deref(),
                ));
            }
        }
        Ok(answers)
    }

    /// One request for what is missing.
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
            // It may be the question for a part: another file is there, or the server takes no such question.
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
            // It must not cost what was kept.
            Fit::Unknown if part.length() > 0 => Ok(Err(another_file())),
            Fit::Unknown => {
                let read = self.read(file, part, 0)?;
                if read.is_err() {
                    part.begin_anew().map_err(self.wanted.written())?;
                }
                Ok(read)
            }
            Fit::Right => {
                // The server says by the whole that it isn't the file of which a part was asked for.
                if file.from == 0 && file.etag.is_some() && file.etag.as_deref() != part.etag() {
                    part.begin_anew().map_err(self.wanted.written())?;
                }
                // A server that knows no parts answers the whole: what was kept of it is passed over.
                let Some(known) = part.length().checked_sub(file.from) else {
                    return Ok(Err(NetworkFailure::Broken(
                        "the server answers another part than was asked for".to_owned(),
                    )));
                };
                self.read(file, part, known)
            }
        }
    }

    /// A part's place is in its fields. Of a whole file only its length tells it from a page in its place.
    fn fit(&self, file: &FileAnswer) -> Fit {
        let left = self.wanted.found.target.length.checked_sub(file.from);
        match file.length {
            Some(length) if Some(length) == left => Fit::Right,
            Some(_) => Fit::Wrong,
            None if file.from > 0 => Fit::Right,
            None => Fit::Unknown,
        }
    }

    /// Adds what comes to the part, but for its first bytes, which are known.
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
