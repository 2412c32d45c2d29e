//! The published roots, and those that are about to be published.

use serde::Serialize;
use tough::schema::Root;
use tufline_store::{Key, Store, Stored};
use tufline_tuf::root::{self, Chain, RootFile, succeed};
use tufline_tuf::{Sha256, VerifyError};

use crate::error::{Result, StageError};
use crate::ports::Ports;
use crate::state::intents::Intents;
use crate::state::ledger;

/// The [first root](Store::first_root), on which trust in all others stands; `None` where there is none yet.
///
/// # Errors
/// [`StageError::Refused`] where something else lies in its place: nothing may begin or go on then.
pub async fn first(store: &dyn Store) -> Result<Option<Stored>> {
    let key = Key::root(store.first_root());
    if let Some(first) = store.get(&key).await? {
        return Ok(Some(first));
    }
    match store.unverified(&key).await? {
        None => Ok(None),
        Some(other) => {
            let found = match Chain::trusting(&other.bytes) {
                Ok(other) => format!("its contents are {}", other.contents()),
                Err(error) => error.to_string(),
            };
            Err(StageError::refused(format!(
                "{key} is not the root that this repository trusts ({found}): restore it from its older object versions, or from the root that \
                 devices ship with"
            )))
        }
    }
}

/// The newest root: of those that verify, one after another, from the first on. What lies behind and doesn't verify
/// counts as absent ([`VerifiedRoots`](tufline_store::VerifiedRoots), which every stage's store is).
///
/// Never cached: a root may be published at any time.
///
/// # Errors
/// [`StageError::NotInitialised`] where there is none, [`StageError::Missing`] where there must be one.
pub async fn newest(store: &dyn Store) -> Result<Root> {
    first(store).await?;
    let (mut version, mut newest) = (store.first_root(), None);
    while let Some(bytes) = store.bytes(&Key::root(version)).await? {
        (version, newest) = (version + 1, Some(bytes));
    }
    let Some(bytes) = newest else {
        let is_published = store.exists(&Key::Timestamp).await?;
        return Err(if is_published {
            ledger::lost(&Key::root(store.first_root()))
        } else {
            StageError::NotInitialised
        });
    };
    Ok(root::read(&bytes, version - 1)?.document().clone())
}

/// All published roots, from the first on, each verified as a client does that walks them; `None` where there is none.
///
/// # Errors
/// As [`first`].
pub async fn chain(store: &dyn Store) -> Result<Option<Chain>> {
    let Some(first) = first(store).await? else { return Ok(None) };
    let mut chain = Chain::trusting(&first.bytes)?;
    while let Some(next) = store.get(&Key::root(chain.newest().version.get() + 1)).await? {
        chain.extend(&next.bytes)?;
    }
    Ok(Some(chain))
}

/// Something that lies where a root belongs, and is none: somebody has rights that he should not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IgnoredRoot {
    /// The version in its name.
    pub version: u64,
    /// Of what is stored there.
    pub sha256: Sha256,
    /// Why it counts as absent: one line.
    pub reason: String,
}

/// What lies in the place of the next root, or in that of one that was published, and doesn't verify. Devices and stages don't see it. (What lies before
/// the first is nothing to them either way.)
///
/// # Errors
/// As [`first`].
pub async fn ignored(store: &dyn Store) -> Result<Vec<IgnoredRoot>> {
    let Some(first) = first(store).await? else { return Ok(Vec::new()) };
    let (mut chain, mut ignored, mut known) = (Chain::trusting(&first.bytes)?, Vec::new(), Some(first));
    for version in store.first_root().. {
        let lies = store.unverified(&Key::root(version)).await?;
        let is_known = known.as_ref().map(|known| &known.bytes) == lies.as_ref().map(|lies| &lies.bytes);
        if let Some(lies) = lies.filter(|_| !is_known) {
            let reason = match chain.clone().extend(&lies.bytes) {
                _ if known.is_some() => "it lies in the place of a root that was published".to_owned(),
                Err(error) => error.to_string(),
                // Published since.
                Ok(()) => break,
            };
            ignored.push(IgnoredRoot { version, sha256: Sha256::of(&lies.bytes), reason });
        }
        if known.is_none() {
            break;
        }
        known = store.get(&Key::root(version + 1)).await?;
        if let Some(known) = &known {
            chain.extend(&known.bytes)?;
        }
    }
    Ok(ignored)
}

/// Says that a first root can't be made where `chain` is.
pub(crate) fn begun(chain: &Chain) -> StageError {
    StageError::refused(format!(
        "this repository has a root already, version {}: make the next one of it, with `tufline root next`",
        chain.newest().version
    ))
}

/// Refuses a repository that has a root, or that shall begin with another than a new version 1.
///
/// # Errors
/// [`StageError::Refused`].
pub async fn expect_none(store: &dyn Store) -> Result<()> {
    match chain(store).await? {
        Some(chain) => Err(begun(&chain)),
        None => expect_free(store, None),
    }
}

/// Refuses a first root, of contents that are known or not made yet, where the operator said that the repository begins with another: once it is there
/// nothing could go on.
pub(crate) fn expect_free(store: &dyn Store, contents: Option<Sha256>) -> Result<()> {
    match store.pinned_root() {
        Some(pinned) if pinned.version != 1 || contents.is_some_and(|contents| contents != pinned.contents) => {
            Err(StageError::refused(format!(
                "this repository begins with version {} of the root whose contents are {} (trustedRoot, or trusted_root in config.toml): bring that \
                 one, with `tufline import` where it is of another repository, or take the setting away",
                pinned.version, pinned.contents
            )))
        }
        _ => Ok(()),
    }
}

/// What anything that is shown must verify under.
pub struct Trusted {
    /// The newest root first, then those that are about to be published.
    pub roots: Vec<Root>,
    /// A timestamp of this version or an older one must be replaced: see [`Intent::replaces`].
    pub replaces: u64,
}

/// The newest root and, if operators are about to publish the next one, that too: whatever is shown verifies under all.
///
/// Call it after the timestamp was read. The intents are read first: one that was published in between is the newest then. In
/// the other order both reads might miss it.
///
/// # Errors
/// [`StageError`].
pub async fn trusted(ports: &Ports) -> Result<Trusted> {
    let now = ports.clock.now();
    let intents = Intents::read(&*ports.store).await?.1;
    let newest = newest(&*ports.store).await?;
    let (mut roots, mut replaces) = (Vec::with_capacity(2), 0);
    for intent in intents.roots {
        // One that was published meanwhile, or expired before it was, says nothing any more.
        let fit = RootFile::read(intent.root.as_bytes()).and_then(|file| succeed(&newest, &file, now));
        if let Ok(fit) = fit {
            replaces = replaces.max(intent.replaces);
            roots.push(fit.root().clone());
        }
    }
    // Devices believe nothing under an expired root: only the next one can help them, and it must not wait for this one.
    if roots.is_empty() || newest.expires > now {
        roots.insert(0, newest);
    }
    Ok(Trusted { roots, replaces })
}

/// Says that a timestamp isn't one under `root`, which is not published yet.
pub(crate) fn not_under(root: &Root, error: VerifyError) -> StageError {
    let told = format!(
        "it would not verify under version {} of the root, which somebody is about to publish: {error}; if nobody is any more, run \
         `tufline root withdraw`",
        root.version
    );
    StageError::refused_for(told, error)
}
