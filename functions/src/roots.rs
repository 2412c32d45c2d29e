//! The roots that what is shown must verify under: the newest, and the one that is about to be published.

use tough::schema::Root;
use tufline_store::{Key, Store};
use tufline_tuf::root;

use crate::ports::{Result, StageError};

/// The newest root.
///
/// Found by asking for versions 1, 2, 4, 8, …, and then between: versions have no gaps, since a client walks them one by
/// one (TUF specification 5.3.3). Never cached: a root may be published at any time.
///
/// # Errors
/// [`StageError::NotInitialised`] where there is none.
pub async fn newest(store: &dyn Store) -> Result<Root> {
    let mut known = None;
    let (mut step, mut missing) = (1, None);
    while missing.is_none() {
        match store.get(&Key::root(step)).await? {
            Some(stored) => known = Some((step, stored.bytes)),
            None => missing = Some(step),
        }
        step *= 2;
    }
    let (mut version, mut bytes) = known.ok_or(StageError::NotInitialised)?;
    let mut missing = missing.unwrap_or(step);
    while version + 1 < missing {
        let middle = version.midpoint(missing);
        match store.get(&Key::root(middle)).await? {
            Some(stored) => (version, bytes) = (middle, stored.bytes),
            None => missing = middle,
        }
    }
    Ok(root::read(&bytes, version)?.document().clone())
}

/// The newest root and, if an operator is about to publish one, that one too: whatever is shown verifies under both.
pub async fn trusted(store: &dyn Store) -> Result<Vec<Root>> {
    let newest = newest(store).await?;
    let mut roots = Vec::with_capacity(2);
    if let Some(stored) = store.get(&Key::RootIntent).await? {
        let next = newest.version.get() + 1;
        // An intent that was published meanwhile, or given up for another, says nothing any more.
        if let Ok(intent) = root::read(&stored.bytes, next) {
            roots.push(intent.document().clone());
        }
    }
    roots.insert(0, newest);
    Ok(roots)
}
