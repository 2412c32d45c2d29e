//! What a target is, as changes and manifests say it and as documents do.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use tough::schema::decoded::Decoded;
use tough::schema::{Hashes, Target, Targets};

use crate::primitives::{Custom, Sha256, TargetName};
/// A target's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// The digest, which also names the blob.
    pub sha256: Sha256,
    /// In bytes.
    pub length: u64,
    /// Custom metadata; empty means none.
    #[serde(default, skip_serializing_if = "Custom::is_empty")]
    pub custom: Custom,
}

pub(crate) fn write_target(content: &Content) -> Target {
    Target {
        length: content.length,
        hashes: Hashes { sha256: Decoded::from(content.sha256.as_bytes().to_vec()), _extra: HashMap::new() },
        custom: content.custom.clone().into_iter().collect(),
        _extra: HashMap::new(),
    }
}

/// A target as a change gives it.
pub(crate) fn read_content(target: &Target) -> Content {
    let mut sha256 = [0; 32];
    if target.hashes.sha256.len() == sha256.len() {
        sha256.copy_from_slice(&target.hashes.sha256);
    }
    Content {
        sha256: Sha256::from_bytes(sha256),
        length: target.length,
        custom: target.custom.clone().into_iter().collect(),
    }
}

/// What `documents` say about `name`.
#[must_use]
pub fn content_of(document: &Targets, name: &TargetName) -> Option<Content> {
    let target =
        document.targets.iter().find_map(|(found, target)| (found.raw() == name.as_str()).then_some(target))?;
    Some(read_content(target))
}
