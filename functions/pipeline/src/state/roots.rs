//! Reads the published roots, and those that are about to be published.

use serde::Serialize;
use tough::schema::Root;
use tufline_store::{Key, Store, Stored};
use tufline_tuf::root::{self, Chain, RootFile, succeed};
use tufline_tuf::{Sha256, VerifyError};

use crate::error::{Result, StageError};
use crate::ports::Ports;
use crate::state::intents::Intents;
use crate::state::ledger;

/// The [first root](Store::first_root), on which trust in all others rests; `None` if there is none
/// yet.
///
/// # Errors
/// [`StageError::Refused`] if another file lies in its place: then nothing may start or go on.
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
                "{key} is not the root that this repository trusts ({found}): restore it from its \
                 older object versions, or from the root that devices ship with"
            )))
        }
    }
}

/// The newest root of the chain that verifies, starting at the first root. A file behind it that
/// does not verify counts as absent ([`VerifiedRoots`](tufline_store::VerifiedRoots), which wraps
/// every stage's store).
///
/// It is never cached, since a root may be published at any time.
///
/// # Errors
/// [`StageError::NotInitialised`] if there is none, [`StageError::Missing`] if there must be one.
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

/// All published roots from the first on, verified as a client verifies them; `None` if there is
/// none.
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

/// A file that lies in the place of a root and is none. Somebody has permissions that they should
/// not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IgnoredRoot {
    /// The version in the file's name.
    pub version: u64,
    /// The SHA-256 of the file's bytes.
    pub sha256: Sha256,
    /// Why the file counts as absent, in one line.
    pub reason: String,
}

/// Files that do not verify, in the place of the next root or of a published one. Devices and
/// stages do not see them. (Files before the first root never matter.)
///
/// # Errors
/// As [`first`].
pub async fn ignored(store: &dyn Store) -> Result<Vec<IgnoredRoot>> {
    let Some(first) = first(store).await? else { return Ok(Vec::new()) };
    let (mut chain, mut ignored, mut known) =
        (Chain::trusting(&first.bytes)?, Vec::new(), Some(first));
    for version in store.first_root().. {
        let lies = store.unverified(&Key::root(version)).await?;
        let is_known =
            known.as_ref().map(|known| &known.bytes) == lies.as_ref().map(|lies| &lies.bytes);
        if let Some(lies) = lies.filter(|_| !is_known) {
            let reason = match chain.clone().extend(&lies.bytes) {
                _ if known.is_some() => {
                    "it lies in the place of a root that was published".to_owned()
                }
                Err(error) => error.to_string(),
                // The root was published a moment ago.
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

/// The refusal to make a first root in a repository that has one.
pub(crate) fn begun(chain: &Chain) -> StageError {
    StageError::refused(format!(
        "this repository has a root already, version {}: make its next version with `tufline root \
         next`",
        chain.newest().version
    ))
}

/// Refuses a repository that has a root, or that is pinned to a first root that cannot be a new
/// version 1.
///
/// # Errors
/// [`StageError::Refused`].
pub async fn expect_none(store: &dyn Store) -> Result<()> {
    match chain(store).await? {
        Some(chain) => Err(begun(&chain)),
        None => expect_free(store, None),
    }
}

/// Refuses a first root if the configuration pins another one, since nothing could go on under it.
/// `contents` is the digest of the new root, if that is made already.
pub(crate) fn expect_free(store: &dyn Store, contents: Option<Sha256>) -> Result<()> {
    match store.pinned_root() {
        Some(pinned)
            if pinned.version != 1
                || contents.is_some_and(|contents| contents != pinned.contents) =>
        {
            Err(StageError::refused(format!(
                "this repository begins with version {} of the root whose contents are {} \
                 (trustedRoot, or trusted_root in config.toml): publish that root (with `tufline \
                 import` if it is another repository's), or remove the setting",
                pinned.version, pinned.contents
            )))
        }
        _ => Ok(()),
    }
}

/// The roots under which everything that is shown must verify.
pub struct Trusted {
    /// The newest root, then those that are about to be published.
    pub roots: Vec<Root>,
    /// A timestamp up to this version must be replaced: see `Intent::replaces` in
    /// `intents.rs`.
    pub replaces: u64,
}

/// The newest root and, if operators are about to publish the next one, that one too. Everything
/// that is shown must verify under all of them.
///
/// The caller must have read the timestamp before. This function reads the intents before the
/// roots: a root published in between is then the newest. In the other order, both reads might miss
/// it.
///
/// # Errors
/// A request failed, or there is no root.
pub async fn trusted(ports: &Ports) -> Result<Trusted> {
    let now = ports.clock.now();
    let intents = Intents::read(&*ports.store).await?.1;
    let newest = newest(&*ports.store).await?;
    let (mut roots, mut replaces) = (Vec::with_capacity(2), 0);
    for intent in intents.roots {
        // An intent whose root was published meanwhile, or expired before, does not count any more.
        let fit =
            RootFile::read(intent.root.as_bytes()).and_then(|file| succeed(&newest, &file, now));
        if let Ok(fit) = fit {
            replaces = replaces.max(intent.replaces);
            roots.push(fit.root().clone());
        }
    }
    // Devices believe nothing under an expired root. Only the next root can help them, so it must
    // not depend on the expired one.
    if roots.is_empty() || newest.expires > now {
        roots.insert(0, newest);
    }
    Ok(Trusted { roots, replaces })
}

/// The refusal of a timestamp that does not verify under `root`, which is not published yet.
pub(crate) fn not_under(root: &Root, error: VerifyError) -> StageError {
    let told = format!(
        "it would not verify under version {} of the root, which somebody is about to publish: \
         {error}; if nobody is publishing it any more, run `tufline root withdraw`",
        root.version
    );
    StageError::refused_for(told, error)
}
