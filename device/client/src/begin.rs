//! Where trust begins (TUF specification 5.2).

use alloc::borrow::ToOwned;
use core::cmp::Ordering;

use tufline_metadata::TrustedRoot;

use crate::error::{Error, Result, Why};
use crate::rotation;
use crate::storage::{ROOT, Storage, Stored};

/// Begins to trust this root (TUF specification 5.2), which came with the device, and says which one is trusted then.
///
/// A device may do this at each start, with the root in its image: where that one or a newer one is trusted already nothing changes, and where an older
/// one is this one follows it, whose holder vouches for it.
///
/// # Errors
/// [`Error::Refused`] if it isn't signed by itself, [`Error::InitialisedOtherwise`], [`Error::Storage`].
pub fn begin_with<S: Storage>(storage: &mut S, root: &[u8]) -> Result<TrustedRoot, S::Error> {
    let refused = |error| Error::Refused { file: "the trusted root".to_owned(), why: Why::Invalid(error) };
    let given = TrustedRoot::begin(root).map_err(refused)?;
    // What doesn't verify was damaged: the device begins again.
    let stored = Stored(storage).read(ROOT, usize::MAX)?.and_then(|stored| TrustedRoot::begin(&stored).ok());
    if let Some(stored) = stored {
        match stored.version().cmp(&given.version()) {
            Ordering::Greater => return Ok(stored),
            Ordering::Equal if stored.file().message() == given.file().message() => return Ok(stored),
            Ordering::Equal => return Err(Error::InitialisedOtherwise(stored.version())),
            Ordering::Less => rotation::note_if_due(storage, &stored, &given)?,
        }
    }
    Stored(storage).write(ROOT, root)?;
    rotation::forget(storage, given.version())?;
    Ok(given)
}
