//! The start of trust: the root that ships with the device (TUF specification 5.2).

use alloc::borrow::ToOwned;
use core::cmp::Ordering;

use tufline_metadata::TrustedRoot;

use crate::error::{Error, Result, Why};
use crate::rotation;
use crate::storage::{ROOT, Storage, Stored};

/// Trusts the root that came with the device (TUF specification 5.2), and returns the root that the
/// device trusts afterwards.
///
/// A device may call this at each start with the root in its image. If it already trusts that root
/// or a newer one, nothing changes. If it trusts an older one, this root replaces it: the device's
/// owner vouches for the image.
///
/// # Errors
/// [`Error::Refused`] if the root doesn't carry valid signatures by its own keys,
/// [`Error::InitialisedOtherwise`] if the device trusts another root of the same version,
/// [`Error::Storage`].
pub fn begin_with<S: Storage>(storage: &mut S, root: &[u8]) -> Result<TrustedRoot, S::Error> {
    let refused =
        |error| Error::Refused { file: "the trusted root".to_owned(), why: Why::Invalid(error) };
    let given = TrustedRoot::begin(root).map_err(refused)?;
    // A stored root that doesn't verify is damaged: the device starts again from the given one.
    let stored =
        Stored(storage).read(ROOT, usize::MAX)?.and_then(|stored| TrustedRoot::begin(&stored).ok());
    if let Some(stored) = stored {
        match stored.version().cmp(&given.version()) {
            Ordering::Greater => return Ok(stored),
            Ordering::Equal if stored.file().message() == given.file().message() => {
                return Ok(stored);
            }
            Ordering::Equal => return Err(Error::InitialisedOtherwise(stored.version())),
            Ordering::Less => rotation::note_if_due(storage, &stored, &given)?,
        }
    }
    Stored(storage).write(ROOT, root)?;
    rotation::forget(storage, given.version())?;
    Ok(given)
}
