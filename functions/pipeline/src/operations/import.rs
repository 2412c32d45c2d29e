//! Takes over a repository that others made. The devices that trust it follow without any change:
//! its roots stay, and version numbers go on from its highest.
//!
//! The targets lie among the uploads already. Hash treats them as any upload, and the first
//! generation has them all at once, so that no device ever sees only a part. The timestamp shows
//! that generation and is written last. A crash before that leaves nothing that a device can see,
//! and the next run goes on. After a crash behind it, the next run finds everything done.
//!
//! In a folder one process does all of it ([`import`]). On AWS only the functions can sign: they
//! hash the uploads as these arrive, and sign and publish what [`take_over`] made.

use std::collections::BTreeMap;

use bytes::Bytes;
use tufline_store::{BoxedError, Document, Hint, Key, OnlineRole, Store, Written};
use tufline_tuf::config::Lifetime;
use tufline_tuf::generation::{self, UsedUp};
use tufline_tuf::root::{
    self, Chain, FitRoot, OnlineKeys, PinnedRoot, RootFile, adopt, same_key, succeed,
};
use tufline_tuf::{Content, RoleKeys, RoleName, TargetName, Time, time};

use crate::error::{Result, StageError};
use crate::operations::init::online_keys;
use crate::ports::Ports;
use crate::stages::{Shown, Turn, hash, publish, sign};
use crate::state::current::{Current, current_and_receipt, known_digest};
use crate::state::{ledger, roots};

/// How many uploads are hashed at once.
const BATCH: usize = 64;

/// The highest version that an import accepts. Not all clients read numbers above 2^53 alike (RFC
/// 8259, section 6), and later versions need room.
const HIGHEST_VERSION: u64 = 1 << 52;

/// Another repository, as a client verified it.
pub struct Old {
    /// All roots in their order, from the trusted one to the newest. The new repository begins with
    /// the trusted one.
    pub roots: Vec<Bytes>,
    /// The roots before those, as far as the other repository has them, by version. Only devices
    /// that are older still ask for them. Nobody verified them, and nothing else needs them.
    pub before: BTreeMap<u64, Bytes>,
    /// The highest versions that the other repository has used.
    pub used_up: UsedUp,
    /// All targets, by name.
    pub targets: BTreeMap<TargetName, Content>,
}

impl Old {
    /// Its chain of roots, which ends with the newest.
    ///
    /// # Errors
    /// [`StageError::Root`] if the roots do not form a chain.
    pub fn newest_root(&self) -> Result<Chain> {
        let mut chain = self.first_root()?;
        for root in self.roots.iter().skip(1) {
            chain.extend(root)?;
        }
        Ok(chain)
    }

    fn first_root(&self) -> Result<Chain> {
        Ok(Chain::trusting(self.roots.first().ok_or(StageError::NotInitialised)?)?)
    }

    /// The root with which the new repository begins.
    ///
    /// # Errors
    /// [`StageError::Root`] if that file is no root.
    pub fn first(&self) -> Result<PinnedRoot> {
        Ok(self.first_root()?.pinned())
    }

    /// Refuses a new repository whose chain would begin with another root. `pinned` is the root
    /// that its configuration names, if any. `remedy` says what to do, given the root that should
    /// be named.
    ///
    /// # Errors
    /// [`StageError::Refused`].
    /// [`StageError::Refused`].
    pub fn expect_first(
        &self,
        pinned: Option<PinnedRoot>,
        remedy: impl FnOnce(PinnedRoot) -> String,
    ) -> Result<()> {
        let first = self.first()?;
        if pinned.map_or(first.version == 1, |pinned| pinned == first) {
            return Ok(());
        }
        let begins = match pinned {
            Some(pinned) => format!("version {}, {}", pinned.version, pinned.contents),
            None => "version 1".into(),
        };
        Err(StageError::refused(format!(
            "the trusted root is version {}, but the new repository's chain of roots would begin \
             with {begins}: {}",
            first.version,
            remedy(first)
        )))
    }

    /// Refuses a repository that cannot be taken over. Writes nothing.
    ///
    /// # Errors
    /// [`StageError::Refused`], [`StageError::Root`].
    pub fn check(&self, largest_target: u64) -> Result<()> {
        let newest = self.newest_root()?;
        root::check_holders(&newest)?;
        let (root, UsedUp { timestamp, snapshot, targets }) =
            (newest.newest().version.get(), self.used_up);
        for (role, version) in
            [("root", root), ("timestamp", timestamp), ("snapshot", snapshot), ("targets", targets)]
        {
            if version > HIGHEST_VERSION {
                return Err(StageError::refused(format!(
                    "version {version} of its {role} role leaves no higher versions that all \
                     clients can read"
                )));
            }
        }
        for (name, content) in &self.targets {
            let custom = serde_json::to_string(&content.custom)
                .map_err(|error| StageError::Record("custom metadata".into(), error.into()))?;
            let refuse = |why: BoxedError| {
                StageError::refused_for(format!("the target {name} can't be kept: {why}"), why)
            };
            tufline_tuf::custom::parse(&custom).map_err(|refusal| refuse(refusal.into()))?;
            if content.length > largest_target {
                let why = format!(
                    "it has {} bytes and the configured limit is {largest_target}; raise \
                     largest_target",
                    content.length
                );
                return Err(refuse(why.into()));
            }
        }
        Ok(())
    }

    /// The root that must follow, unsigned. The same people hold it, and it trusts the keys
    /// `online`.
    ///
    /// # Errors
    /// [`StageError::Root`] if not every client can use one of the root keys.
    pub fn next_root(
        &self,
        online: OnlineKeys,
        now: Time,
        lifetime: &Lifetime,
    ) -> Result<RootFile> {
        Ok(adopt(&self.newest_root()?, online, time::after(now, lifetime.seconds()))?)
    }
}

/// Checks that `next` may follow the newest root of `old`, and that it hands the other roles over
/// to the online keys. Writes nothing.
///
/// # Errors
/// [`StageError::Root`], [`StageError::Refused`].
pub async fn fit(ports: &Ports, old: &Old, next: &RootFile) -> Result<FitRoot> {
    let chain = old.newest_root()?;
    let fit = succeed(chain.newest(), next, ports.clock.now())?;
    let OnlineKeys { targets, snapshot, timestamp } = online_keys(&*ports.signer).await?;
    for (role, key) in [
        (RoleName::targets(), targets),
        (RoleName::snapshot(), snapshot),
        (RoleName::timestamp(), timestamp),
    ] {
        let keys = RoleKeys::in_root(fit.root(), &role)?;
        if keys.only(&key).is_none() || keys.keys().count() != 1 || keys.threshold() != 1 {
            return Err(StageError::refused(format!(
                "version {} of the root does not trust this repository's {role} key alone for \
                 {role}: sign the file that `tufline import` made",
                fit.signed().version()
            )));
        }
        // Clients forget the timestamp and snapshot that they have only when the role's key changes
        // (TUF specification, 5.3.11). With the same key they would refuse the new snapshot, which
        // lacks roles that the old one listed.
        if role != RoleName::targets()
            && chain.newest().keys.values().any(|known| same_key(known, &key))
        {
            return Err(StageError::refused(format!(
                "the old root lists this repository's {role} key: import with new keys"
            )));
        }
    }
    Ok(fit)
}

/// Takes the repository over in one process, and returns the generation that is shown then. `next`
/// is the root that follows those of `old`.
///
/// # Errors
/// [`StageError::Refused`] if another repository is there. After any other error, the next run goes
/// on from what is done.
pub async fn import(ports: &Ports, old: &Old, next: &FitRoot) -> Result<u64> {
    hash_all(ports, old).await?;
    take_over(ports, old, next).await?;
    sign(ports).await?;
    match publish(ports).await? {
        Shown::Now(generation) | Shown::AlreadyNewest(Some(generation)) => Ok(generation),
        Shown::AlreadyNewest(None) => Err(StageError::refused(
            "the imported repository cannot be shown; run the command again with RUST_LOG=error",
        )),
    }
}

/// The published generation, if `old` was taken over already. `next` is the root that follows, if
/// it is signed.
///
/// # Errors
/// [`StageError::Refused`] if another repository is there.
pub async fn taken_over(
    store: &dyn Store,
    old: &Old,
    next: Option<&FitRoot>,
) -> Result<Option<u64>> {
    let other = || StageError::refused("there is a repository already: import into a new one");
    if let Some(first) = roots::first(store).await?
        && old.roots.first() != Some(&first.bytes)
    {
        return Err(other());
    }
    let Some(published) = ledger::published(store).await? else { return Ok(None) };
    let next = next.ok_or_else(other)?.signed();
    let follows = store.get(&Key::root(next.version())).await?;
    if follows.is_none_or(|follows| follows.bytes != *next.bytes()) {
        return Err(other());
    }
    Ok(Some(published.generation))
}

/// Copies the roots of `old`, older ones too, adds `next`, and makes the first generation, which
/// sign and publish must still process. Hash must have finished all targets before.
///
/// # Errors
/// [`StageError::Refused`] if another repository is there. After any other error, the next run goes
/// on from what is done.
pub async fn take_over(ports: &Ports, old: &Old, next: &FitRoot) -> Result<()> {
    let store = &*ports.store;
    let first = old.first()?;
    let before = old
        .before
        .iter()
        .filter_map(|(version, bytes)| Document::before(first, *version, bytes.clone()));
    for document in before {
        // A file there may come from an earlier run, or from anybody. It harms no device that could
        // follow.
        let (Written::Done | Written::Lost) = store.create(&document).await?;
    }
    for (number, bytes) in (first.version..).zip(&old.roots) {
        create_root(ports, &Document::signed(&root::read(bytes, number)?)).await?;
    }
    create_root(ports, &Document::signed(next.signed())).await?;
    let generation = old.used_up.snapshot + 1;
    match ledger::first_generation(store).await? {
        None => begin(ports, old).await,
        Some(found) => {
            let manifest = ledger::manifest(store, found).await?;
            let first_serial =
                manifest.changed.values().map(|entry| entry.version).min().unwrap_or(u64::MAX);
            // An earlier run made it. The other repository must not have gone on since.
            if found < generation
                || manifest.timestamp_above < old.used_up.timestamp
                || first_serial <= old.used_up.targets
                || manifest.targets != old.targets.len() as u64
            {
                return Err(StageError::refused(
                    "the other repository has changed since the last run: stop publishing there, \
                     and import into a new repository",
                ));
            }
            Ok(())
        }
    }
}

async fn begin(ports: &Ports, old: &Old) -> Result<()> {
    let bins_key = ports.signer.newest_key(OnlineRole::Bins).await?;
    let targets = old.targets.clone().into_iter().collect();
    let (first, drafts) =
        generation::imported(&old.used_up, bins_key, targets, ports.policy(None))?;
    ledger::begin(&*ports.store, &first, &drafts).await
}

async fn create_root(ports: &Ports, document: &Document) -> Result<()> {
    match ledger::create_same(&*ports.store, document).await? {
        Written::Done => Ok(()),
        Written::Lost => Err(StageError::refused(format!(
            "another {} is there already: import into a new repository",
            document.key()
        ))),
    }
}

/// Makes every upload a blob with a receipt, and checks that it is the listed target.
async fn hash_all(ports: &Ports, old: &Old) -> Result<()> {
    let names: Vec<(&TargetName, &Content)> = old.targets.iter().collect();
    for batch in names.chunks(BATCH) {
        let mut left: Vec<(&TargetName, &Content)> = batch.to_vec();
        while !left.is_empty() {
            let hint = |name: &TargetName| Hint {
                name: name.as_str().to_owned(),
                removed: false,
                version: None,
            };
            let hints: Vec<Hint> = left.iter().map(|(name, _)| hint(name)).collect();
            // Each call does a part of a large upload.
            let failures = hash(ports, Turn::Large { until: Time::MAX }, &hints).await;
            if let Some(error) = failures.into_iter().flatten().next() {
                return Err(error.into());
            }
            let mut next = Vec::new();
            for (name, content) in left {
                match standing(ports, name, content).await? {
                    Standing::Hashed => {}
                    Standing::Waits => next.push((name, content)),
                    Standing::Missing => return Err(missing(name)),
                }
            }
            left = next;
        }
    }
    Ok(())
}

/// How far a target of the other repository has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// No upload has the target's name and content.
    Missing,
    /// The upload is there, as far as can be seen before it is hashed.
    Waits,
    /// The upload is there and hashed.
    Hashed,
}

/// Looks how far the target `name` with this `content` has got.
///
/// # Errors
/// A request failed.
pub async fn standing(ports: &Ports, name: &TargetName, content: &Content) -> Result<Standing> {
    let (Current::Object(accepted), _, receipt) = current_and_receipt(ports, name, None).await?
    else {
        return Ok(Standing::Missing);
    };
    let sha256 = known_digest(&accepted.upload, receipt.as_ref());
    let is_same = accepted.upload.length == content.length
        && accepted.custom == content.custom
        && sha256.is_none_or(|sha256| sha256 == content.sha256);
    Ok(match receipt {
        _ if !is_same => Standing::Missing,
        Some(_) => Standing::Hashed,
        None => Standing::Waits,
    })
}

/// The refusal of an upload that is not the target of its name.
#[must_use]
pub fn missing(name: &TargetName) -> StageError {
    StageError::refused(format!(
        "the upload {name} is not the target of that name: remove it, and run the command again"
    ))
}
