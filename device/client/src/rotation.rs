//! Recovery from fast-forward attacks (TUF specification 5.3.11): where a root takes a key of the timestamp or of the snapshot away, what was trusted of
//! both is forgotten, since whoever had the key may have given it any version.
//!
//! *Invariant*: this happens once for each such root, and whatever moment the power goes at: the version of the root is noted before that root is
//! stored, and the note is removed after all is forgotten.

use alloc::string::{String, ToString};

use tufline_metadata::{Root, TrustedRoot};

use crate::error::Result;
use crate::storage::{SNAPSHOT, Storage, Stored, TIMESTAMP};

/// The note. No role's document is stored under this name: those end in `.json`.
const NOTE: &str = "rotated";

/// Notes, before `new` is stored, that it takes a key of the timestamp or of the snapshot away that `old` has.
pub(crate) fn note_if_due<S: Storage>(storage: &mut S, old: &TrustedRoot, new: &TrustedRoot) -> Result<(), S::Error> {
    if takes_away(old.root(), new.root()) {
        return Stored(storage).write(NOTE, new.version().to_string().as_bytes());
    }
    Ok(())
}

/// Forgets what the root of this version, which is stored, says to forget.
pub(crate) fn forget<S: Storage>(storage: &mut S, version: u64) -> Result<(), S::Error> {
    let mut storage = Stored(storage);
    let Some(note) = storage.read(NOTE, 20)? else { return Ok(()) };
    let noted = String::from_utf8(note).ok().and_then(|note| note.parse::<u64>().ok());
    // A note of a root that isn't stored is void: the power went in between, and that root is read and judged again.
    if noted.is_none_or(|noted| noted <= version) {
        storage.remove(TIMESTAMP)?;
        storage.remove(SNAPSHOT)?;
    }
    storage.remove(NOTE)
}

fn takes_away(old: &Root, new: &Root) -> bool {
    ["timestamp", "snapshot"].into_iter().any(|role| match (old.role(role), new.role(role)) {
        (Ok(old), Ok(new)) => old.keys().any(|(_, key)| !new.keys().any(|(_, other)| other.is_same(key))),
        (Ok(_), Err(_)) => true,
        (Err(_), _) => false,
    })
}
