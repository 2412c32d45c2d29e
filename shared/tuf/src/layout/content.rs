//! The content of a target, in the form of changes and manifests, and in the form of documents.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use tough::schema::decoded::Decoded;
use tough::schema::{Hashes, Target, Targets};

use crate::primitives::{Custom, Sha256, TargetName};
/// What a target's bytes are, and its custom metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// The digest of the bytes, which also names the blob.
    pub sha256: Sha256,
    /// The length in bytes.
    pub length: u64,
    /// Custom metadata; empty means none.
    #[serde(default, skip_serializing_if = "Custom::is_empty")]
    pub custom: Custom,
}

pub(crate) fn write_target(content: &Content) -> Target {
    Target {
        length: content.length,
        hashes: Hashes {
            sha256: Decoded::from(content.sha256.as_bytes().to_vec()),
            _extra: HashMap::new(),
        },
        custom: content.custom.clone().into_iter().collect(),
        _extra: HashMap::new(),
    }
}

/// Whether a document's `target` equals a change's `content`. Two absent ones are equal.
pub(crate) fn same_content(target: Option<&Target>, content: Option<&Content>) -> bool {
    match (target, content) {
        (Some(target), Some(Content { sha256, length, custom })) => {
            digest_of(target) == Some(*sha256)
                && target.length == *length
                && target.custom.len() == custom.len()
                && custom.iter().all(|(field, value)| target.custom.get(field) == Some(value))
        }
        (None, None) => true,
        _ => false,
    }
}

/// A document's target in the form of changes; `None` if its digest is not a SHA-256.
pub(crate) fn read_content(target: &Target) -> Option<Content> {
    let custom = target.custom.clone().into_iter().collect();
    Some(Content { sha256: digest_of(target)?, length: target.length, custom })
}

/// The digest of a target; `None` if that is not a SHA-256.
#[must_use]
pub fn digest_of(target: &Target) -> Option<Sha256> {
    <[u8; 32]>::try_from(&target.hashes.sha256[..]).ok().map(Sha256::from_bytes)
}

/// The entry for `name` in `document`.
#[must_use]
pub fn target_of<'a>(document: &'a Targets, name: &TargetName) -> Option<&'a Target> {
    document
        .targets
        .iter()
        .find_map(|(found, target)| (found.raw() == name.as_str()).then_some(target))
}
