//! Packs: everything that an update needs in one answer, from servers that make packs.
//!
//! A pack only fills a cache in front of the ordinary workflow. An [`Updater`] and its searches ask
//! for the same files as without a pack, and verify them the same way. The caller looks into the
//! [`Pack`] first, and fetches by name what it lacks or what was refused.
//!
//! *Invariant*: coming in a pack earns a file no trust. To build the question, this module reads
//! stored files without verifying them. They only tell the server which files it need not send, and
//! form the dictionary, whose digest the server compares.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use ruzstd::decoding::{BlockDecodingStrategy, Dictionary, FrameDecoder};
use tufline_metadata::{File, MetadataType, Snapshot, Targets, metadata_path};
use tufline_pack::{
    Entry, Have, MOST_BLOCKS, MOST_BYTES, MOST_DICTIONARY, MOST_FILES, MOST_HAVE, MOST_ROLES,
    NotAPack, Question, dictionary, digest, read, role_prefix,
};

use crate::error::Result;
use crate::names::stored_name;
use crate::need::Answer;
use crate::storage::{ROOT, SNAPSHOT, Storage, Stored, TIMESTAMP};
use crate::updater::Updater;

/// A question for one pack.
#[derive(Debug, Clone)]
pub struct PackQuestion {
    question: Question,
    /// The files that form the dictionary.
    files: Vec<Vec<u8>>,
    /// The device's timestamp, and the path of the root that would follow the device's.
    timestamp: Option<Vec<u8>>,
    next_root: String,
}

/// The files of one pack, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pack {
    metadata: BTreeMap<String, Option<Vec<u8>>>,
    targets: BTreeMap<String, Vec<u8>>,
}

/// What a pack says about a metadata file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packed {
    /// The file's bytes.
    Bytes(Vec<u8>),
    /// The server has no such file.
    Missing,
}

impl Packed {
    /// The answer to pass to `give` of an [`Updater`] or a [`Search`](crate::Search).
    #[must_use]
    pub fn answer(&self) -> Answer<'_> {
        match self {
            Self::Bytes(bytes) => Answer::Bytes(bytes),
            Self::Missing => Answer::Missing,
        }
    }
}

impl<S: Storage> Updater<S> {
    /// The question for a pack, before an update that looks for the targets `names`. The bytes of
    /// those in `small` may come in the pack too. The question leaves out what exceeds a pack's
    /// limits; the update asks for that by name later.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::Error::Storage).
    pub fn pack_question(
        &mut self,
        names: &[&str],
        small: &[&str],
    ) -> Result<PackQuestion, S::Error> {
        let limits = self.limits;
        let root = Stored(&mut self.storage).read(ROOT, usize::MAX)?.unwrap_or_default();
        let mut asked = PackQuestion {
            question: Question::default(),
            files: Vec::new(),
            timestamp: None,
            next_root: metadata_path("root", Some(self.root().version().saturating_add(1))),
        };
        asked.keep("root", self.root().version(), root);
        if let Some((trusted, _)) = self.trusted_timestamp()? {
            asked
                .question
                .have
                .push(Have { role: "timestamp".to_owned(), version: trusted.version });
            asked.timestamp = Stored(&mut self.storage).read(TIMESTAMP, limits.timestamp)?;
        }
        if let Some(bytes) = Stored(&mut self.storage).read(SNAPSHOT, limits.snapshot)? {
            asked.keep_readable::<Snapshot>("snapshot", bytes);
        }
        let mut roles = Roles {
            storage: Stored(&mut self.storage),
            most: limits.targets,
            read: BTreeMap::new(),
        };
        roles.read("targets", &mut asked)?;
        for name in names {
            asked.ask(role_prefix(name));
            for role in roles.on_the_way(name, &mut asked)? {
                asked.ask(role);
            }
        }
        asked.question.files =
            small.iter().take(MOST_FILES).map(|name| (*name).to_owned()).collect();
        asked.question.dict = Some(digest(&asked.files));
        Ok(asked)
    }
}

impl PackQuestion {
    /// The query, to append to the pack's URL after a `?`.
    #[must_use]
    pub fn query(&self) -> String {
        self.question.to_query()
    }

    /// Unpacks an answer of at most [`MOST_BYTES`] bytes.
    ///
    /// # Errors
    /// [`NotAPack`] if the answer can't be decompressed or read.
    pub fn unpack(&self, answer: &[u8]) -> core::result::Result<Pack, NotAPack> {
        let bytes = decompress(answer, &self.files)?;
        let mut pack = Pack::default();
        for entry in read(&bytes)? {
            match entry {
                Entry::Metadata { path, bytes } => {
                    _ = pack.metadata.insert(path.to_owned(), Some(bytes.to_owned()));
                }
                Entry::Absent { path } => _ = pack.metadata.insert(path.to_owned(), None),
                Entry::Kept { path } => pack.keep(path, self.timestamp.as_ref()),
                Entry::Target { path, bytes } => {
                    _ = pack.targets.insert(path.to_owned(), bytes.to_owned());
                }
            }
        }
        Ok(pack)
    }

    /// What HTTP 204 (nothing new) means: no root follows, and the device's timestamp is still the
    /// newest.
    #[must_use]
    pub fn nothing_new(&self) -> Pack {
        let mut pack = Pack::default();
        pack.metadata.insert(self.next_root.clone(), None);
        pack.keep(TIMESTAMP, self.timestamp.as_ref());
        pack
    }

    fn keep_readable<T: MetadataType>(&mut self, role: &str, bytes: Vec<u8>) -> Option<File<T>> {
        let file = File::read(&bytes).ok()?;
        self.keep(role, file.common().version, bytes);
        Some(file)
    }

    /// Adds a file to the dictionary, if there is room.
    fn keep(&mut self, role: &str, version: u64, bytes: Vec<u8>) {
        let length = self.files.iter().map(Vec::len).sum::<usize>().saturating_add(bytes.len());
        if length <= MOST_DICTIONARY && self.question.have.len() < MOST_HAVE {
            self.question.have.push(Have { role: role.to_owned(), version });
            self.files.push(bytes);
        }
    }

    fn ask(&mut self, role: String) {
        let roles = &mut self.question.roles;
        if roles.len() < MOST_ROLES && !roles.contains(&role) {
            roles.push(role);
        }
    }
}

/// The stored roles that the searches have reached so far.
struct Roles<'s, S> {
    storage: Stored<'s, S>,
    most: usize,
    read: BTreeMap<String, Option<File<Targets>>>,
}

impl<S: Storage> Roles<'_, S> {
    fn read(&mut self, role: &str, asked: &mut PackQuestion) -> Result<Option<&Targets>, S::Error> {
        if !self.read.contains_key(role) {
            let bytes = self.storage.read(&stored_name(role), self.most)?;
            let targets = bytes.and_then(|bytes| asked.keep_readable::<Targets>(role, bytes));
            self.read.insert(role.to_owned(), targets);
        }
        Ok(self.read.get(role).and_then(Option::as_ref).map(File::unverified))
    }

    /// The names of other parties' roles that a search for `name` would ask, as far as the stored
    /// documents lead to them. Documents read on the way go into the dictionary.
    fn on_the_way(
        &mut self,
        name: &str,
        asked: &mut PackQuestion,
    ) -> Result<Vec<String>, S::Error> {
        let (mut found, mut visited) = (Vec::new(), BTreeSet::new());
        let mut next = Vec::from(["targets".to_owned()]);
        while let Some(role) = next.pop() {
            if visited.len() >= MOST_ROLES || !visited.insert(role.clone()) {
                continue;
            }
            let Some(targets) = self.read(&role, asked)? else { continue };
            if targets.targets().contains_key(name) {
                break;
            }
            let (delegated, ends) = targets.roles_to_ask(name);
            if ends {
                next.clear();
            }
            found.extend(
                delegated
                    .iter()
                    .filter(|delegated| !delegated.by_digest)
                    .map(|delegated| delegated.role.clone()),
            );
            next.extend(delegated.into_iter().rev().map(|delegated| delegated.role));
        }
        Ok(found)
    }
}

impl Pack {
    /// Takes a metadata file out of the pack. A file that was refused is therefore fetched by name
    /// next time.
    pub fn take(&mut self, path: &str) -> Option<Packed> {
        let (_, bytes) = self.metadata.remove_entry(path)?;
        Some(bytes.map_or(Packed::Missing, Packed::Bytes))
    }

    /// The bytes of a target, by its path below the targets URL, if they came in the pack.
    #[must_use]
    pub fn target(&self, path: &str) -> Option<&[u8]> {
        self.targets.get(path).map(Vec::as_slice)
    }

    fn keep(&mut self, path: &str, timestamp: Option<&Vec<u8>>) {
        if let Some(timestamp) = timestamp.filter(|_| path == TIMESTAMP) {
            self.metadata.insert(path.to_owned(), Some(timestamp.clone()));
        }
    }
}

/// Decompresses one Zstandard frame (RFC 8878). The frame must state its length, carry a checksum,
/// and have nothing after it. This takes no more memory than the window and the length that the
/// frame states; neither may exceed [`MOST_BYTES`].
fn decompress(frame: &[u8], files: &[Vec<u8>]) -> core::result::Result<Vec<u8>, NotAPack> {
    const DAMAGED: NotAPack = NotAPack("it is not a Zstandard frame that this device can read");
    const TOO_LONG: NotAPack = NotAPack("it is longer than it states");
    if frame.len() > MOST_BYTES {
        return Err(NotAPack("it is longer than any pack"));
    }
    let mut rest = frame;
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(MOST_BYTES as u64);
    let dictionary = Dictionary::decode_dict(&dictionary(files)).map_err(|_| DAMAGED)?;
    decoder.add_dict(dictionary).map_err(|_| DAMAGED)?;
    decoder.init(&mut rest).map_err(|_| DAMAGED)?;
    let says = usize::try_from(decoder.content_size())
        .ok()
        .filter(|says| *says <= MOST_BYTES)
        .ok_or(DAMAGED)?;
    let mut bytes = Vec::new();
    while !decoder.is_finished() {
        decoder
            .decode_blocks(&mut rest, BlockDecodingStrategy::UptoBlocks(1))
            .map_err(|_| DAMAGED)?;
        // During decompression this yields the bytes before the window, and at the end the rest.
        if decoder.can_collect() > says - bytes.len() {
            return Err(TOO_LONG);
        }
        bytes.extend(decoder.collect().unwrap_or_default());
        if decoder.blocks_decoded() > MOST_BLOCKS {
            return Err(NotAPack("it has more blocks than any pack"));
        }
    }
    if bytes.len() != says {
        return Err(NotAPack("it doesn't have the length that it states"));
    }
    // The checksum detects damage. It is no protection against an attacker.
    if decoder.get_checksum_from_data() != decoder.get_calculated_checksum() {
        return Err(NotAPack("its checksum is wrong or missing"));
    }
    if rest.is_empty() { Ok(bytes) } else { Err(NotAPack("it is followed by other bytes")) }
}
