//! Packs: everything that a device needs for its update, in one answer. [`tufline_pack`] defines
//! the question and the answer.
//!
//! *Invariants*: a pack contains what serve would answer file by file, and making it reads nothing
//! else. The cost of a question is bounded by the names in it, by the limits of a dictionary and a
//! pack ([`tufline_pack`]), and by what stays in memory. If the server cannot make the dictionary
//! for a question, it answers without one.

mod compress;
mod files;
pub mod memory;
mod plan;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use tufline_metadata::Snapshot;
use tufline_pack::{
    CONTENT_TYPE, Entry, MOST_BYTES, MOST_DICTIONARY, MOST_ROOTS, Question, dictionary, digest,
};
use tufline_store::{Key, StoreError};

use crate::repository::{Answer, Body, NEVER, ServedRepository, not_found, plain, unanswered};
pub use memory::{MOST_PACK_AGE, Packs};
use plan::Plan;

/// The path at which devices ask for packs.
pub const PACK_PATH: &str = "/pack";

/// The result for a question.
enum Found {
    /// The device has everything already.
    Nothing,
    /// The device has seen a newer timestamp than this server.
    Older,
    /// A pack for the device.
    Pack(Vec<u8>),
    /// Nothing is published yet.
    Unpublished,
}

impl ServedRepository {
    /// Answers `GET /pack?query`; 404 if this server makes no packs.
    pub async fn pack(&self, method: &Method, query: &str) -> Answer {
        let Some(packs) = self.packs.as_ref() else { return not_found(NEVER) };
        if method != Method::GET {
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, NEVER, "only GET\n");
            answer.set(header::ALLOW, "GET");
            return answer;
        }
        let question = match Question::parse(query) {
            Ok(question) => question,
            Err(refused) => {
                let body = Body::Whole(format!("{refused}\n").into());
                return Answer::new(
                    StatusCode::BAD_REQUEST,
                    NEVER,
                    "text/plain; charset=utf-8",
                    body,
                );
            }
        };
        match self.find(packs, &question).await {
            Ok(Found::Pack(bytes)) => {
                let mut answer =
                    Answer::new(StatusCode::OK, NEVER, CONTENT_TYPE, Body::Whole(bytes.into()));
                answer.set(header::CACHE_CONTROL, &packs.age());
                answer
            }
            Ok(Found::Nothing) => nothing(&packs.age()),
            Ok(Found::Older) => nothing(NEVER),
            Ok(Found::Unpublished) => not_found(NEVER),
            Err(error) => unanswered(PACK_PATH, &error),
        }
    }

    async fn find(&self, packs: &Packs, question: &Question) -> Result<Found, StoreError> {
        // The timestamp is read before the roots, so every root that the device needs for it is
        // among the roots read.
        let Some(stored) = self.persist(|| self.store.get(&Key::Timestamp)).await? else {
            return Ok(Found::Unpublished);
        };
        let timestamp = files::timestamp(&stored.bytes)?;
        if question.version("timestamp").is_some_and(|version| version > timestamp.version) {
            return Ok(Found::Older);
        }
        let snapshot = self.snapshot(packs, timestamp.snapshot().version).await?;
        let dictionary = self.dictionary(packs, question, &snapshot).await?;
        // If the dictionary does not match, the device may have other documents than it claims, so
        // none of them counts.
        let trusted =
            if dictionary.is_some() { question.clone() } else { question.without_documents() };
        let plan = Plan::of(&trusted, timestamp.version, &snapshot);
        let mut pack = Contents::default();
        self.add_roots(question, &mut pack).await?;
        if plan.timestamp {
            pack.add_metadata(&Key::Timestamp, stored.bytes);
        }
        for key in &plan.documents {
            if pack.is_full() {
                break;
            }
            let bytes = self.file(packs, key).await?.ok_or_else(|| files::lost(key))?;
            pack.add_metadata(key, bytes);
        }
        for (path, bytes) in self.small_targets(packs, &trusted, &snapshot, &plan).await? {
            pack.add_target(path, bytes);
        }
        if pack.says_nothing() {
            return Ok(Found::Nothing);
        }
        Ok(Found::Pack(compress::compress(&pack.write(!plan.timestamp), dictionary.as_deref())?))
    }

    /// The dictionary made of the files that the device has; `None` if they differ from the files
    /// stored here.
    async fn dictionary(
        &self,
        packs: &Packs,
        question: &Question,
        snapshot: &Snapshot,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(expected) = &question.dict else { return Ok(None) };
        let mut files: Vec<Bytes> = Vec::new();
        let mut left = MOST_DICTIONARY;
        for have in question.have.iter().filter(|have| have.role != "timestamp") {
            let Some(key) = plan::plausible(have, snapshot) else { return Ok(None) };
            let Some(bytes) = self.file(packs, &key).await? else { return Ok(None) };
            let Some(rest) = left.checked_sub(bytes.len()) else { return Ok(None) };
            left = rest;
            files.push(bytes);
        }
        Ok((digest(&files) == *expected).then(|| dictionary(&files)))
    }

    /// Adds the roots after the device's own, and the note that no further one exists.
    async fn add_roots(&self, question: &Question, pack: &mut Contents) -> Result<(), StoreError> {
        // A device that trusts a root before the first one gets on by asking for files by name.
        let Some(own) = question.version("root").filter(|own| *own >= self.store.first_root())
        else {
            return Ok(());
        };
        for version in
            (own..own.saturating_add(MOST_ROOTS)).map(|version| version.saturating_add(1))
        {
            let key = Key::root(version);
            let stored = self.persist(|| self.store.get(&key)).await?;
            let Some(stored) = stored else {
                pack.absent = Some(files::name(&key));
                break;
            };
            if !pack.add_metadata(&key, stored.bytes) {
                break;
            }
        }
        Ok(())
    }
}

/// The contents of a pack. What does not fit is left out, and the device asks for it by name.
#[derive(Default)]
struct Contents {
    metadata: Vec<(String, Bytes)>,
    targets: Vec<(String, Bytes)>,
    /// The name of the next root, if it does not exist.
    absent: Option<String>,
    length: usize,
    is_full: bool,
}

/// How many bytes of a pack are reserved for the entries' headers.
const ROOM: usize = 4096;

impl Contents {
    fn add_metadata(&mut self, key: &Key, bytes: Bytes) -> bool {
        let path = files::name(key);
        let fits = self.fits(&Entry::Metadata { path: &path, bytes: &bytes });
        if fits {
            self.metadata.push((path, bytes));
        }
        fits
    }

    fn add_target(&mut self, path: String, bytes: Bytes) {
        if self.fits(&Entry::Target { path: &path, bytes: &bytes }) {
            self.targets.push((path, bytes));
        }
    }

    fn fits(&mut self, entry: &Entry<'_>) -> bool {
        let length = self.length.saturating_add(entry.length());
        self.is_full |= length > MOST_BYTES - ROOM;
        if !self.is_full {
            self.length = length;
        }
        !self.is_full
    }

    fn is_full(&self) -> bool {
        self.is_full
    }

    /// Whether the pack says no more than a 204 does: no root follows, and the device has all the
    /// rest.
    fn says_nothing(&self) -> bool {
        self.absent.is_some() && self.metadata.is_empty() && self.targets.is_empty()
    }

    fn write(&self, has_timestamp: bool) -> Vec<u8> {
        let absent = self.absent.as_deref().map(|path| Entry::Absent { path });
        let timestamp = files::name(&Key::Timestamp);
        let kept = has_timestamp.then_some(Entry::Kept { path: &timestamp });
        let metadata = self.metadata.iter().map(|(path, bytes)| Entry::Metadata { path, bytes });
        let targets = self.targets.iter().map(|(path, bytes)| Entry::Target { path, bytes });
        let entries: Vec<_> =
            absent.into_iter().chain(kept).chain(metadata).chain(targets).collect();
        tufline_pack::write(&entries)
    }
}

fn nothing(age: &str) -> Answer {
    let mut answer = Answer::new(StatusCode::NO_CONTENT, NEVER, "", Body::Whole(Bytes::new()));
    // A 204 has no `Content-Length` (RFC 9110, section 8.6).
    answer.headers.remove(header::CONTENT_LENGTH);
    answer.headers.remove(header::CONTENT_TYPE);
    answer.set(header::CACHE_CONTROL, age);
    answer
}
