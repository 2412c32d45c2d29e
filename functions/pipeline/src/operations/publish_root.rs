//! Publishing a root: people decide, and nothing that devices see breaks on the way.
//!
//! The next root is written as an intent, so that whatever is shown from then on verifies under it too. Then refresh replaces the
//! timestamp, so that whoever was about to show something without knowing the intent loses. Then what is published is verified
//! under the new root, and only then `<version>.root.json` is created, which is the publication. A crash before it leaves an intent
//! that what is published verifies under, and the next run begins with one of its own.
//!
//! A root that only adds online keys needs none of that: whatever is shown verifies under it. So a lost key can be replaced too, with
//! which no timestamp can be signed any more.

use bytes::Bytes;
use tough::schema::{Root, Targets, Timestamp};
use tufline_store::{Clock, Document, Key, OnlineRole, Signer, Store, Written};
use tufline_tuf::root::{FitRoot, PublishedRoot, RootError, RootFile, begin, contents, only_adds, succeed};
use tufline_tuf::{RoleKeys, RoleName, VerifyError, verify_published};

use crate::error::{Result, StageError};
use crate::state::intents::{Intent, Intents};
use crate::state::{ledger, roots};

/// A root that is about to be published.
pub struct Proposal {
    root: FitRoot,
    attempt: String,
    /// The timestamp's version when the intent was there: it must be replaced, unless the root only adds keys.
    replaces: Option<u64>,
}

impl Proposal {
    /// Whether the timestamp must be replaced first.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.replaces.is_some()
    }
}

/// What [`propose`] came to.
pub enum Proposed {
    /// [`conclude`] it.
    Now(Box<Proposal>),
    /// This very root is published: an earlier run got through.
    Already,
}

/// What [`conclude`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concluded {
    /// The root is published.
    Published,
    /// The timestamp is not replaced yet.
    Waiting,
}

/// Creates version 1, which must trust the online keys of `signer`, and be the pinned root where one is pinned. Harmless where that very root is there.
///
/// # Errors
/// [`StageError::Root`] and [`StageError::Refused`]: nothing was written.
pub async fn publish_first(store: &dyn Store, signer: &dyn Signer, clock: &dyn Clock, file: &RootFile) -> Result<()> {
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
                "the root does not trust this repository's {role} key by itself: begin with `tufline root init` on this repository"
            )));
        }
    }
    create(store, &fit).await
}

/// Checks the next root, and writes it as an intent unless it only adds keys. `attempt` is a name that no other run has.
///
/// # Errors
/// [`StageError::Root`] and [`StageError::Refused`]: nothing was written.
pub async fn propose(store: &dyn Store, clock: &dyn Clock, file: &RootFile, attempt: String) -> Result<Proposed> {
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
        // A crash after this: see above.
        let intent = Intent::new(&attempt, &root, replaces);
        Intents::write(store, &attempt, Some(&intent), published).await?;
        let now = timestamp_version(store).await?;
        if now == replaces {
            return Ok(Proposed::Now(Box::new(Proposal { root, attempt, replaces: Some(replaces) })));
        }
        // Somebody showed something before the intent was there, and another may be about to go on from that.
        replaces = now;
    }
}

/// Publishes the root if the timestamp was replaced since, and all that is published verifies under it. Call it again while it
/// answers [`Concluded::Waiting`], and [`withdraw`] when that takes too long or is refused.
///
/// # Errors
/// [`StageError::Refused`] and [`StageError::Root`]: the root must not be published. After [`StageError::Store`] nobody knows
/// whether it was, or will be: the intent must stay.
pub async fn conclude(store: &dyn Store, clock: &dyn Clock, proposal: &Proposal) -> Result<Concluded> {
    if let Some(replaces) = proposal.replaces
        && timestamp_version(store).await? <= replaces
    {
        return Ok(Concluded::Waiting);
    }
    let root = proposal.root.root();
    match check_published(store, root).await? {
        Ok(()) => {}
        // Whoever wrote it didn't know the intent yet. Refresh signs it again.
        Err(error) if error.role() == &RoleName::timestamp() => return Ok(Concluded::Waiting),
        Err(error) => return Err(refusal(&proposal.root, error)),
    }
    if root.expires <= clock.now() {
        return Err(RootError::Expired(root.expires).into());
    }
    // Without it nobody sees to it that what is shown verifies under this root. Another run with the same root takes it away when
    // that is published.
    if proposal.replaces.is_some()
        && !Intents::has(store, &proposal.attempt).await?
        && store.get(&Key::root(root.version.get())).await?.is_none()
    {
        return Err(StageError::refused(format!(
            "{} does not have this root any more: somebody withdrew it, or wrote over it; run the same command again",
            Key::RootIntent
        )));
    }
    create(store, &proposal.root).await?;
    Ok(Concluded::Published)
}

/// Gives up: what is shown need not verify under this root any more.
///
/// # Errors
/// [`StageError`]: the intent stays. What is published verifies under it, or did.
pub async fn withdraw(store: &dyn Store, proposal: &Proposal) -> Result<()> {
    Intents::write(store, &proposal.attempt, None, 0).await
}

/// Gives up whatever anybody is about to publish; answers how many intents there were. A run that was killed leaves its intent behind,
/// which does no harm until an online key is used that it doesn't list.
///
/// Not while another run is alive: it would publish a root that nobody watches over any more.
///
/// # Errors
/// [`StageError`].
pub async fn withdraw_all(store: &dyn Store) -> Result<usize> {
    Intents::clear(store).await
}

/// This write is the publication.
async fn create(store: &dyn Store, fit: &FitRoot) -> Result<()> {
    let document = Document::signed(fit.signed());
    // Somebody may have published the same at the same time, or an earlier try was applied and its reply lost.
    match ledger::create_same(store, &document).await? {
        Written::Done => Ok(()),
        Written::Lost => {
            let version = fit.signed().version();
            Err(StageError::refused(format!("another root of version {version} was published meanwhile")))
        }
    }
}

/// Whether `stored` is this root, by whomever it was signed.
fn is_same(file: &RootFile, stored: &Bytes) -> bool {
    PublishedRoot::read(stored).is_ok_and(|stored| stored.root() == file.root())
}

async fn timestamp_version(store: &dyn Store) -> Result<u64> {
    Ok(ledger::published(store).await?.map_or(0, |published| published.version))
}

fn refusal(root: &FitRoot, error: VerifyError) -> StageError {
    let version = root.signed().version();
    let told = format!("what is published would not verify under version {version} of the root: {error}");
    StageError::refused_for(told, error)
}

/// Verifies what is published as a client that trusts `root`: all that a root decides, which is whose signatures count for the
/// timestamp, the snapshot and the top-level targets role. Everything else was checked when it was shown, and does not depend
/// on the root; and what is expired can be renewed under the new one.
async fn check_published(store: &dyn Store, root: &Root) -> Result<std::result::Result<(), VerifyError>> {
    let Some(published) = ledger::published(store).await? else { return Ok(Ok(())) };
    let keys = |role: &RoleName| RoleKeys::in_root(root, role);
    let verified = async {
        verify_published::<Timestamp>(published.stored.bytes.clone(), &keys(&RoleName::timestamp())?)?;
        let role = RoleName::targets();
        let version = ledger::published_versions(store, root, Some(&published)).await?.remove(&role);
        let version =
            version.ok_or_else(|| StageError::Record("snapshot".into(), "it lists no targets.json".into()))?;
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
