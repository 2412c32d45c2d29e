//! Who may sign a root, and whose signatures are valid.

use tough::schema::key::Key;
use tough::schema::{RoleType, Root, Signature};

use crate::primitives::RoleName;
use crate::signing::{KeyId, canonical_message, signature};
/// The root keys of a root, with their ids.
pub(super) fn root_keys(root: &Root) -> impl Iterator<Item = (&KeyId, &Key)> {
    let ids =
        root.roles.get(&RoleType::Root).map(|entry| entry.keyids.as_slice()).unwrap_or_default();
    ids.iter().filter_map(|id| Some((id, root.keys.get(id)?)))
}

/// Whether `key` made `signature` over `root`.
pub(super) fn is_good(root: &Root, key: &Key, signature: &Signature) -> bool {
    canonical_message(&RoleName::root(), root)
        .is_ok_and(|(message, _)| signature::is_good(key, &message, &signature.sig))
}
