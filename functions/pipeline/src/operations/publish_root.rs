//! Publishes a root, without breaking anything that devices see on the way.
//!
//! The steps are:
//!
//! 1. Write the next root as an intent. From then on, everything that is shown verifies under it
//!    too.
//! 2. Have refresh replace the timestamp. A stage that was about to show something without knowing
//!    the intent then loses its write.
//! 3. Verify under the new root everything that is published.
//! 4. Create `<version>.root.json`, which is the publication.
//!
//! A crash before step 4 leaves an intent. What is published verifies under it, and the next run
//! writes an intent of its own.
//!
//! A root that only adds online keys needs no intent, since everything that is shown verifies under
//! it anyway. So people can also replace a lost key, with which nobody can sign a timestamp any
//! more.

use bytes::Bytes;
use tough::schema::{Root, Targets, Timestamp};
use tufline_store::{Clock, Document, Key, OnlineRole, Signer, Store, Written};
use tufline_tuf::root::{
    FitRoot, PublishedRoot, RootError, RootFile, begin, contents, only_adds, succeed,
};
use tufline_tuf::{RoleKeys, RoleName, VerifyError, verify_published};

use crate::error::{Result, StageError};
use crate::state::intents::{Intent, Intents};
use crate::state::{ledger, roots};

/// A root that is about to be published.
pub struct Proposal {
    root: FitRoot,
    attempt: String,
    /// The timestamp's version when the intent was written. The timestamp must be replaced before
    /// the root is published. `None` for a root that only adds keys.
    replaces: Option<u64>,
}

impl Proposal {
    /// Whether the timestamp must be replaced first.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.replaces.is_some()
    }
}

/// The outcome of [`propose`].
pub enum Proposed {
    /// The caller must [`conclude`] the proposal.
    Now(Box<Proposal>),
    /// This very root is published already, by an earlier run.
    Already,
}

/// The outcome of [`conclude`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concluded {
    /// The root is published.
    Published,
    /// The timestamp has not been replaced yet.
    Waiting,
}

/// Creates version 1 of the root. It must trust the online keys of `signer`, and be the pinned root
/// if the configuration pins one. It does nothing if this very root exists already.
///
/// # Errors
/// [`StageError::Root`] and [`StageError::Refused`]: nothing was written.
pub async fn publish_first(
    store: &dyn Store,
    signer: &dyn Signer,
    clock: &dyn Clock,
    file: &RootFile,
) -> Result<()> {
    if let Some(chain) = roots::chain(store).await? {
        if roots::first(store).await?.is_some_and(|stored| is_same(file, &stored.bytes)) {
            return Ok(());
        }
        return Err(roots::begun(&chain));
    }
    let fit = begin(file, clock.now())?;
    roots::expect_free(store, Some(contents(fit.root())?))?;
    for (role, online) in [
        (RoleName::targets(), OnlineRole::Targets),
        (RoleName::snapshot(), OnlineRole::Snapshot),
        (RoleName::timestamp(), OnlineRole::Timestamp),
    ] {
        let keys = RoleKeys::in_root(fit.root(), &role)?;
        let held = signer.public_keys(online).await?;
        if !held.iter().any(|key| keys.id_of(key).is_some()) || keys.threshold() != 1 {
            return Err(StageError::refused(format!(
                "the root does not trust this repository's {role} key on its own: start with \
                 `tufline root init` on this repository"
            )));
        }
    }
    create(store, &fit).await
}

/// Checks the next root. Unless it only adds keys, also writes it as an intent. `attempt` is a name
/// that no other run has.
///
/// # Errors
/// [`StageError::Root`] and [`StageError::Refused`]: nothing was written.
pub async fn propose(
    store: &dyn Store,
    clock: &dyn Clock,
    file: &RootFile,
    attempt: String,
) -> Result<Proposed> {
    let chain = roots::chain(store).await?.ok_or(StageError::NotInitialised)?;
    let newest = chain.newest();
    if is_same(file, chain.newest_bytes()) {
        return Ok(Proposed::Already);
    }
    let root = succeed(newest, file, clock.now())?;
    check_published(store, root.root()).await?.map_err(|error| refusal(&root, error))?;
    if only_adds(newest, root.root()) {
        return Ok(Proposed::Now(Box::new(Proposal { root, attempt, replaces: None })));
    }
    let published = newest.version.get();
    let mut replaces = timestamp_version(store).await?;
    loop {
        // A crash after this leaves an intent: see the top of this file.
        let intent = Intent::new(&attempt, &root, replaces);
        Intents::write(store, &attempt, Some(&intent), published).await?;
        let now = timestamp_version(store).await?;
        if now == replaces {
            return Ok(Proposed::Now(Box::new(Proposal {
                root,
                attempt,
                replaces: Some(replaces),
            })));
        }
        // Another stage showed something before the intent was written, and yet another may be
        // about to go on from that.
        replaces = now;
    }
}

/// Publishes the root, if the timestamp was replaced since the intent and everything published
/// verifies under the root. The caller calls it again while the answer is [`Concluded::Waiting`],
/// and calls [`withdraw`] if that takes too long or the root is refused.
///
/// # Errors
/// [`StageError::Refused`] and [`StageError::Root`]: the root must not be published. After
/// [`StageError::Store`] nobody knows whether it was published or will be, so the intent must stay.
pub async fn conclude(
    store: &dyn Store,
    clock: &dyn Clock,
    proposal: &Proposal,
) -> Result<Concluded> {
    if let Some(replaces) = proposal.replaces
        && timestamp_version(store).await? <= replaces
    {
        return Ok(Concluded::Waiting);
    }
    let root = proposal.root.root();
    match check_published(store, root).await? {
        Ok(()) => {}
        // The stage that wrote this timestamp did not know the intent yet. Refresh signs it again.
        Err(error) if error.role() == &RoleName::timestamp() => return Ok(Concluded::Waiting),
        Err(error) => return Err(refusal(&proposal.root, error)),
    }
    if root.expires <= clock.now() {
        return Err(RootError::Expired(root.expires).into());
    }
    // Without the intent, no stage makes sure that what it shows verifies under this root. Another
    // run with the same root removes the intent once that root is published.
    if proposal.replaces.is_some()
        && !Intents::has(store, &proposal.attempt).await?
        && store.get(&Key::root(root.version.get())).await?.is_none()
    {
        return Err(StageError::refused(format!(
            "{} no longer has this root: somebody withdrew or overwrote it; run the same command \
             again",
            Key::RootIntent
        )));
    }
    create(store, &proposal.root).await?;
    Ok(Concluded::Published)
}

/// Withdraws the proposal: what is shown need not verify under this root any more.
///
/// # Errors
/// A request failed. The intent stays, which is harmless: what is published verifies under it, or
/// did.
pub async fn withdraw(store: &dyn Store, proposal: &Proposal) -> Result<()> {
    Intents::write(store, &proposal.attempt, None, 0).await
}

/// Withdraws all intents, whoever wrote them, and returns how many there were. A killed run leaves
/// its intent behind. That does no harm until an online key is used that the intent does not list.
///
/// The caller must make sure that no other run is alive: it would publish a root that no stage
/// respects any more.
///
/// # Errors
/// A request failed.
pub async fn withdraw_all(store: &dyn Store) -> Result<usize> {
    Intents::clear(store).await
}

/// Creates the root's file. This write is the publication.
async fn create(store: &dyn Store, fit: &FitRoot) -> Result<()> {
    let document = Document::signed(fit.signed());
    // Another run may have published the same root at the same time, or an earlier try was applied
    // and its reply lost.
    match ledger::create_same(store, &document).await? {
        Written::Done => Ok(()),
        Written::Lost => {
            let version = fit.signed().version();
            Err(StageError::refused(format!(
                "another root of version {version} was published meanwhile"
            )))
        }
    }
}

/// Whether `stored` is this root. Its signatures may differ.
fn is_same(file: &RootFile, stored: &Bytes) -> bool {
    PublishedRoot::read(stored).is_ok_and(|stored| stored.root() == file.root())
}

async fn timestamp_version(store: &dyn Store) -> Result<u64> {
    Ok(ledger::published(store).await?.map_or(0, |published| published.version))
}

fn refusal(root: &FitRoot, error: VerifyError) -> StageError {
    let version = root.signed().version();
    let told =
        format!("what is published would not verify under version {version} of the root: {error}");
    StageError::refused_for(told, error)
}

/// Verifies what is published as a client would that trusts `root`. A root decides whose signatures
/// count for the timestamp, the snapshot and the top-level targets role, so these are verified.
/// Everything else was checked when it was shown, and does not depend on the root. Expiries are not
/// checked: expired documents can be renewed under the new root.
async fn check_published(
    store: &dyn Store,
    root: &Root,
) -> Result<std::result::Result<(), VerifyError>> {
    let Some(published) = ledger::published(store).await? else { return Ok(Ok(())) };
    let keys = |role: &RoleName| RoleKeys::in_root(root, role);
    let verified = async {
        verify_published::<Timestamp>(
            published.stored.bytes.clone(),
            &keys(&RoleName::timestamp())?,
        )?;
        let role = RoleName::targets();
        let version =
            ledger::published_versions(store, root, Some(&published)).await?.remove(&role);
        let version = version.ok_or_else(|| {
            StageError::Record("snapshot".into(), "it lists no targets.json".into())
        })?;
        let bytes = ledger::published_file(store, &Key::Metadata { role, version }).await?;
        verify_published::<Targets>(bytes, &keys(&RoleName::targets())?)?;
        Ok(())
    };
    match verified.await {
        Ok(()) => Ok(Ok(())),
        Err(StageError::Document(error)) => Ok(Err(error)),
        Err(error) => Err(error),
    }
}
