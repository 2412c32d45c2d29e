//! Recovery from fast-forward attacks (TUF specification 5.3.11). When a new root removes a key of
//! the timestamp or the snapshot role, the device forgets both trusted documents: a thief of that
//! key may have signed any version.
//!
//! *Invariant*: the device forgets once for each such root, even if it loses power at any moment.
//! It notes the root's version before it stores that root, and removes the note after it has
//! forgotten both documents.

use alloc::string::{String, ToString};

use tufline_metadata::{Root, TrustedRoot};

use crate::error::Result;
use crate::storage::{SNAPSHOT, Storage, Stored, TIMESTAMP};

/// The name of the note. No role's document has this name, since those end in `.json`.
const NOTE: &str = "rotated";

/// Notes that `new` removes a key of the timestamp or the snapshot role. The caller stores `new`
/// afterwards.
pub(crate) fn note_if_due<S: Storage>(
    storage: &mut S,
    old: &TrustedRoot,
    new: &TrustedRoot,
) -> Result<(), S::Error> {
    if takes_away(old.root(), new.root()) {
        return Stored(storage).write(NOTE, new.version().to_string().as_bytes());
    }
    Ok(())
}

/// Forgets the timestamp and the snapshot if the note says so. `version` is that of the stored
/// root.
pub(crate) fn forget<S: Storage>(storage: &mut S, version: u64) -> Result<(), S::Error> {
    let mut storage = Stored(storage);
    let Some(note) = storage.read(NOTE, 20)? else { return Ok(()) };
    let noted = String::from_utf8(note).ok().and_then(|note| note.parse::<u64>().ok());
    // A note about a root that isn't stored has no effect: the device lost power in between, and
    // will read and judge that root again.
    if noted.is_none_or(|noted| noted <= version) {
        storage.remove(TIMESTAMP)?;
        storage.remove(SNAPSHOT)?;
    }
    storage.remove(NOTE)
}

fn takes_away(old: &Root, new: &Root) -> bool {
    ["timestamp", "snapshot"].into_iter().any(|role| match (old.role(role), new.role(role)) {
        (Ok(old), Ok(new)) => {
            old.keys().any(|(_, key)| !new.keys().any(|(_, other)| other.is_same(key)))
        }
        (Ok(_), Err(_)) => true,
        (Err(_), _) => false,
    })
}
