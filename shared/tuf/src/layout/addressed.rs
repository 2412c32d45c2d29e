//! What the ledger keeps under its own digest.

use bytes::Bytes;
use tough::schema::Targets;

use crate::primitives::Sha256;
use crate::signing::{Draft, VerifyError};
/// A draft or a page of the index with its bytes, written once, and their digest, which names it in the ledger.
///
/// *Invariant*: the digest is that of the bytes, and the bytes are the record's.
#[derive(Debug, Clone, PartialEq)]
pub struct Addressed<T> {
    record: T,
    bytes: Bytes,
    digest: Sha256,
}

/// An unsigned document of the targets family.
pub type AddressedDraft = Addressed<Draft<Targets>>;

impl<T> Addressed<T> {
    pub(crate) fn new(record: T, bytes: Bytes) -> Self {
        let digest = Sha256::of(&bytes);
        Self { record, bytes, digest }
    }

    /// What is kept.
    #[must_use]
    pub fn record(&self) -> &T {
        &self.record
    }

    /// What is kept, without its bytes.
    #[must_use]
    pub fn into_record(self) -> T {
        self.record
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Their digest.
    #[must_use]
    pub fn digest(&self) -> Sha256 {
        self.digest
    }
}

impl TryFrom<Draft<Targets>> for AddressedDraft {
    type Error = VerifyError;

    fn try_from(draft: Draft<Targets>) -> Result<Self, VerifyError> {
        let bytes = draft.to_bytes()?;
        Ok(Self::new(draft, bytes))
    }
}
