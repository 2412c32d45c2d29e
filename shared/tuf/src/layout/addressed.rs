//! Records that the ledger stores under their own digest.

use bytes::Bytes;
use tough::schema::Targets;

use crate::primitives::Sha256;
use crate::signing::{Draft, VerifyError};
/// A draft or a page of the index, with its bytes and their digest, which names it in the ledger.
///
/// *Invariant*: the digest is that of the bytes, and the bytes are the record's.
#[derive(Debug, Clone, PartialEq)]
pub struct Addressed<T> {
    record: T,
    bytes: Bytes,
    digest: Sha256,
}

/// An unsigned document of the targets family, with its bytes and digest.
pub type AddressedDraft = Addressed<Draft<Targets>>;

impl<T> Addressed<T> {
    pub(crate) fn new(record: T, bytes: Bytes) -> Self {
        let digest = Sha256::of(&bytes);
        Self { record, bytes, digest }
    }

    /// The draft or page.
    #[must_use]
    pub fn record(&self) -> &T {
        &self.record
    }

    /// The draft or page, without its bytes.
    #[must_use]
    pub fn into_record(self) -> T {
        self.record
    }

    /// The record's bytes, as they are stored.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The SHA-256 of the bytes.
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
