//! The keys of everything that Tufline stores. Only this module makes an object's path.

use std::fmt;

use serde::{Deserialize, Serialize};
use tufline_tuf::delivery::LARGEST_DELIVERY;
use tufline_tuf::root::LARGEST_ROOT;
use tufline_tuf::{RoleName, Sha256};

/// The bucket (or folder) that an object lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// Files that devices read: metadata and blobs.
    Repository,
    /// The pipeline's own records: drafts, manifests, receipts.
    Ledger,
}

/// The largest manifest, in bytes.
const MOST_MANIFEST: usize = 16_000_000;

/// The most bytes of JSON that the changes of one generation may have. It is half a manifest, which
/// leaves as much for the documents that they change.
pub const MOST_CHANGES: usize = MOST_MANIFEST / 2;

/// The prefix of other parties' files in the uploads bucket, and their folder in the embedded form.
pub const DELIVERIES: &str = "delegations/";

/// The version of an upload: S3's version ID, or in the embedded form a fingerprint of the file's
/// state.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VersionId(pub String);

impl fmt::Display for VersionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for VersionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

/// The name of one stored object.
///
/// ```
/// use tufline_store::{Bucket, Key};
///
/// let key = Key::snapshot(12);
/// assert_eq!(key.bucket(), Bucket::Repository);
/// assert_eq!(key.path(), "metadata/12.snapshot.json");
/// assert_eq!(Key::parse("metadata/12.snapshot.json"), Some(key));
/// // An object has one spelling.
/// assert_eq!(Key::parse("metadata/012.snapshot.json"), None);
/// ```
///
/// *Invariant*: every object but [`Key::Timestamp`] and the pointers ([`Key::is_pointer`]) is
/// written at most once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// `metadata/timestamp.json`: the pointer that devices follow. Replacing it is the publication.
    Timestamp,
    /// `metadata/<version>.<role>.json`: root, snapshot, targets and delegated roles.
    Metadata {
        /// The role whose document it is.
        role: RoleName,
        /// The document's version; for a snapshot the generation.
        version: u64,
    },
    /// `blobs/<sha256>`: the bytes of a target.
    Blob(Sha256),
    /// `chunks/<sha256>`: the list of a blob's chunks, and behind it the compressed chunks.
    Chunks(Sha256),
    /// `incoming/<sha256 of the name>/<upload version>`: a copy that is being hashed.
    Incoming(UploadKey),
    /// `checked/<sha256 of the name>/<upload version>`: a copy that sign or publish made, to get a
    /// checksum from the store itself.
    Checked(UploadKey),
    /// `generations/<generation, 20 digits>.json`: a [`tufline_tuf::Manifest`].
    Manifest(u64),
    /// `drafts/<sha256>.json`: an unsigned role document.
    Draft(Sha256),
    /// `index/<sha256>.json`: a page of the index of roles, a [`tufline_tuf::index::Page`].
    Page(Sha256),
    /// `parties/<sha256>.json`: the delegations to other parties, a [`tufline_tuf::Parties`].
    Parties(Sha256),
    /// `decisions/<number, 20 digits>.json`: an operator's decision about a delegation, a
    /// [`tufline_tuf::delegations::Decision`]. Decisions are numbered from 1, without gaps.
    Decision(u64),
    /// `delivered/<sha256>.json`: a document that another party signed.
    Delivered(Sha256),
    /// `hashed/<sha256 of the name>/<upload version>.json`: what hash found in an upload.
    Hashed(UploadKey),
    /// `hashing/<sha256 of the name>/<upload version>.json`: how much of a large upload has been
    /// read.
    Hashing(UploadKey),
    /// `rejected/<sha256 of the name>/<upload version>.json`: why an upload was rejected.
    Rejected(UploadKey),
    /// `refused/<generation, 20 digits>.json`: why sign or publish refused a generation. It is
    /// written again each time the refusal is announced.
    Refused(u64),
    /// `held/<sha256>.json`: removals that wait for an operator.
    Held(Sha256),
    /// `announced.json`: up to which generation events were sent.
    Announced,
    /// `root-intent.json`: the roots that operators are about to publish.
    RootIntent,
    /// `removals-accepted.json`: until when an operator accepts removals of any number.
    RemovalsAccepted,
}

/// One version of one upload, for object paths. The name is hashed, so it may have any characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadKey {
    name: Sha256,
    version: VersionId,
}

impl UploadKey {
    /// The key of version `version` of the upload `name`.
    #[must_use]
    pub fn new(name: &str, version: &VersionId) -> Self {
        Self { name: Sha256::of(name.as_bytes()), version: version.clone() }
    }

    fn parse(path: &str) -> Option<Self> {
        let (name, version) = path.split_once('/')?;
        Some(Self { name: name.parse().ok()?, version: VersionId(version.into()) })
    }
}

impl fmt::Display for UploadKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.name, self.version)
    }
}

/// A folder whose keys can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Folder {
    /// All [`Key::Manifest`], oldest first.
    Manifests,
    /// All [`Key::Rejected`], in the order of their paths.
    Rejected,
    /// All [`Key::Refused`], oldest first.
    Refused,
    /// All [`Key::Held`], in the order of their paths.
    Held,
}

impl Folder {
    /// The bucket of the folder.
    #[must_use]
    pub fn bucket(self) -> Bucket {
        Bucket::Ledger
    }

    /// The path with which all keys of the folder begin. It ends in `/`.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Manifests => "generations/",
            Self::Rejected => "rejected/",
            Self::Refused => "refused/",
            Self::Held => "held/",
        }
    }
}

impl Key {
    /// The key of this version of the root.
    #[must_use]
    pub fn root(version: u64) -> Self {
        Self::Metadata { role: RoleName::root(), version }
    }

    /// The version of the root that belongs here; `None` for other keys.
    #[must_use]
    pub fn root_version(&self) -> Option<u64> {
        match self {
            Self::Metadata { role, version } if *role == RoleName::root() => Some(*version),
            _ => None,
        }
    }

    /// The most bytes that the object may have. A longer one is never stored, and reads as if it
    /// were empty, which no reader accepts. Otherwise a writer could fill the memory of every
    /// reader.
    ///
    /// Each limit is a few times what the pipeline makes, and what a small function can hold,
    /// parsed, beside everything else.
    #[must_use]
    pub fn most_bytes(&self) -> usize {
        match self {
            Self::Metadata { role, .. } if *role == RoleName::root() => LARGEST_ROOT,
            // 33 bytes per role: room for more than 100,000 roles, more than 10 million targets
            // need.
            Self::Metadata { role, .. } if *role == RoleName::snapshot() => 4_000_000,
            // A role is split beyond 1 MB. `targets` may have as much again for delegations to
            // parties (below), and the signatures.
            Self::Metadata { .. } | Self::Draft(_) => 2_500_000,
            // 8 MB of changes, and 150 bytes for each document that they change: 50,000 documents.
            Self::Manifest(_) | Self::Held(_) => MOST_MANIFEST,
            // At most 20 parties are listed, but removed ones stay in the record.
            Self::Parties(_) => 1_000_000,
            Self::Delivered(_) => usize::try_from(LARGEST_DELIVERY).unwrap_or(usize::MAX),
            // The writer limits the number of names.
            Self::Refused(_) => 1_500_000,
            // Some roots, each as a JSON string.
            Self::RootIntent => 4_000_000,
            // A party's keys and paths; or a name of 1,024 bytes, each written as six, and a
            // reason.
            Self::Decision(_) | Self::Rejected(_) | Self::Announced => 64_000,
            // 16 entries of some 400 bytes. Clients accept no longer timestamp either.
            Self::Page(_) | Self::Timestamp => 16_384,
            Self::Hashed(_) | Self::Hashing(_) | Self::RemovalsAccepted => 4_000,
            // These are never read as a whole.
            Self::Blob(_) | Self::Chunks(_) | Self::Incoming(_) | Self::Checked(_) => 0,
        }
    }

    /// The key of a generation's snapshot.
    #[must_use]
    pub fn snapshot(generation: u64) -> Self {
        Self::Metadata { role: RoleName::snapshot(), version: generation }
    }

    /// The bucket that holds the object.
    #[must_use]
    pub fn bucket(&self) -> Bucket {
        match self {
            Self::Timestamp
            | Self::Metadata { .. }
            | Self::Blob(_)
            | Self::Chunks(_)
            | Self::Incoming(_)
            | Self::Checked(_) => Bucket::Repository,
            _ => Bucket::Ledger,
        }
    }

    /// Whether the object may be replaced, which always takes a compare-and-swap.
    #[must_use]
    pub fn is_pointer(&self) -> bool {
        matches!(
            self,
            Self::Timestamp
                | Self::Hashing(_)
                | Self::Refused(_)
                | Self::Announced
                | Self::RootIntent
                | Self::RemovalsAccepted
        )
    }

    /// Whether the object never changes once it exists, and its readers can tell that it is the
    /// right one. Such objects may be kept in memory.
    #[must_use]
    pub fn is_immutable_record(&self) -> bool {
        matches!(
            self,
            Self::Manifest(_)
                | Self::Draft(_)
                | Self::Page(_)
                | Self::Parties(_)
                | Self::Decision(_)
                | Self::Delivered(_)
                | Self::Hashed(_)
        )
    }

    /// The object's path in its bucket.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::Timestamp => "metadata/timestamp.json".into(),
            Self::Metadata { role, version } => format!("metadata/{version}.{role}.json"),
            Self::Blob(sha256) => format!("blobs/{sha256}"),
            Self::Chunks(sha256) => format!("chunks/{sha256}"),
            Self::Incoming(upload) => format!("incoming/{upload}"),
            Self::Checked(upload) => format!("checked/{upload}"),
            Self::Manifest(generation) => format!("generations/{generation:020}.json"),
            Self::Draft(sha256) => format!("drafts/{sha256}.json"),
            Self::Page(sha256) => format!("index/{sha256}.json"),
            Self::Parties(sha256) => format!("parties/{sha256}.json"),
            Self::Decision(number) => format!("decisions/{number:020}.json"),
            Self::Delivered(sha256) => format!("delivered/{sha256}.json"),
            Self::Hashed(upload) => format!("hashed/{upload}.json"),
            Self::Hashing(upload) => format!("hashing/{upload}.json"),
            Self::Rejected(upload) => format!("rejected/{upload}.json"),
            Self::Refused(generation) => format!("refused/{generation:020}.json"),
            Self::Held(sha256) => format!("held/{sha256}.json"),
            Self::Announced => "announced.json".into(),
            Self::RootIntent => "root-intent.json".into(),
            Self::RemovalsAccepted => "removals-accepted.json".into(),
        }
    }

    /// Parses a path that [`Key::path`] made: of a key in a [`Folder`], in `metadata/`, in `blobs/`
    /// or in `hashing/`. `None` for any other path.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (folder, rest) = path.split_once('/')?;
        let key = match folder {
            "metadata" if rest == "timestamp.json" => Self::Timestamp,
            "metadata" => {
                let (version, role) = rest.strip_suffix(".json")?.split_once('.')?;
                Self::Metadata { role: role.parse().ok()?, version: version.parse().ok()? }
            }
            "blobs" => Self::Blob(rest.parse().ok()?),
            "chunks" => Self::Chunks(rest.parse().ok()?),
            "generations" => Self::Manifest(rest.strip_suffix(".json")?.parse().ok()?),
            "refused" => Self::Refused(rest.strip_suffix(".json")?.parse().ok()?),
            "held" => Self::Held(rest.strip_suffix(".json")?.parse().ok()?),
            "hashing" => Self::Hashing(UploadKey::parse(rest.strip_suffix(".json")?)?),
            "rejected" => Self::Rejected(UploadKey::parse(rest.strip_suffix(".json")?)?),
            _ => return None,
        };
        // Only the spelling that `path` makes counts: "01" or "+1" must not be a second name of an
        // object.
        (key.path() == path).then_some(key)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_back() {
        let digest = Sha256::of(b"a");
        let upload = UploadKey::new("a/b", &VersionId("v.1".into()));
        for key in [
            Key::Timestamp,
            Key::root(1),
            Key::snapshot(u64::MAX),
            Key::Metadata { role: "bin-0a".parse().unwrap(), version: 12 },
            Key::Blob(digest),
            Key::Chunks(digest),
            Key::Manifest(7),
            Key::Refused(7),
            Key::Held(digest),
            Key::Hashing(upload.clone()),
            Key::Rejected(upload),
        ] {
            assert_eq!(Key::parse(&key.path()), Some(key));
        }
    }

    #[test]
    fn an_object_has_one_spelling() {
        for path in [
            "metadata/01.root.json",
            "metadata/+1.root.json",
            "metadata/1.ROOT.json",
            "metadata/../1.root.json",
            "metadata/1.root.json/",
            "generations/1.json",
            "blobs/A",
            "other/x",
            "timestamp.json",
            "",
        ] {
            assert_eq!(Key::parse(path), None, "{path}");
        }
    }

    #[test]
    fn manifests_sort_by_generation() {
        assert!(Key::Manifest(9).path() < Key::Manifest(10).path());
        assert!(Key::Manifest(u64::MAX - 1).path() < Key::Manifest(u64::MAX).path());
    }
}
