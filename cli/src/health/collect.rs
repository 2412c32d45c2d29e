//! Collects what `tufline status` reports.

use std::collections::BTreeMap;

use anyhow::{bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use tufline_folder::DataFolder;
use tufline_pipeline::state::ledger;
use tufline_pipeline::state::ledger::Published;
use tufline_pipeline::state::parties::read_parties;
use tufline_pipeline::state::pending::Pending;
use tufline_pipeline::state::records::RefusedGeneration;
use tufline_pipeline::state::roots;
use tufline_pipeline::state::roots::IgnoredRoot;
use tufline_store::Store;
use tufline_store::{Folder, Key, Queue, Queues, RejectedUpload};
use tufline_tuf::index::Expiring;
use tufline_tuf::{Manifest, RoleName, Time};

use super::attention::reasons;
use super::damage::{Damage, find_damage};
use super::held::held_removals;
use super::listing::list_all;
use super::status::{Depth, Newer, RefusedNewer, RejectedUploads, RoleStatus, Status};
use crate::embedded::troubles;
use crate::failure::one_line;
use crate::repository::Repository;

/// How many requests run at once.
const AT_ONCE: usize = 32;

/// How many records of rejections are read at most to find the last ones.
const REJECTIONS_READ: usize = 1000;

/// Which rejected uploads are listed.
#[derive(Debug, Clone, Copy)]
pub enum Rejections {
    /// The last five.
    Last,
    All,
}

/// How many rejections are listed, unless all are.
const REJECTIONS_LISTED: usize = 5;

/// How many waiting generations are read at most, the oldest first.
const GENERATIONS_READ: usize = 1000;

/// Collects the status; `queues` is `None` where they cannot be asked.
///
/// # Errors
/// If even the published generation cannot be read. Other parts that cannot be read are listed in
/// `unreadable`.
pub async fn collect(
    repository: &Repository,
    queues: Option<&dyn Queues>,
    rejections: Rejections,
) -> anyhow::Result<Status> {
    let lifetimes = repository.lifetimes()?;
    let store = repository.store()?;
    let store = &*store;
    let Some(published) = ledger::published(store).await? else {
        ensure!(
            !store.exists(&Key::Announced).await?,
            "{} was published, but is missing: restore it from a backup or from its older object \
             versions",
            Key::Timestamp
        );
        bail!("nothing is published yet: run `tufline init` first");
    };
    let manifest = ledger::manifest(store, published.generation).await?;
    let data = repository.data();
    let now = repository.clock().now();
    // On AWS, S3's clock stores the timestamp, and this machine's clock says nothing about that.
    let clock_behind = data.and_then(|_| published.clock_behind(now));
    let mut unreadable = Vec::new();
    let (rejected, unread) = read_rejections(store, rejections).await.or_default(&mut unreadable);
    unreadable.extend(unread);
    let (root, damaged, ignored_roots) =
        read_root(repository, store, &published, now, &mut unreadable).await;
    let mut status = Status {
        now,
        generation: published.generation,
        made: manifest.created,
        targets: manifest.targets,
        roles: read_roles(store, root, &published, &manifest, &mut unreadable).await,
        damaged,
        ignored_roots,
        waiting: count_newer(store, published.generation).await.or_default(&mut unreadable),
        queues: match queues {
            Some(queues) => read_depths(queues).await.map(Some).or_default(&mut unreadable),
            None => None,
        },
        rejected,
        refused_generations: read_refused(store, published.generation)
            .await
            .or_default(&mut unreadable),
        held_removals: held_removals(repository, store, &manifest)
            .await
            .or_default(&mut unreadable),
        clock_behind,
        troubles: data.map(troubles::read).unwrap_or_default(),
        runs: data.map(DataFolder::is_running),
        unreadable,
        attention: Vec::new(),
    };
    status.attention = reasons(&status, lifetimes.as_ref());
    Ok(status)
}

/// The newest root, the damaged files among those that devices read, and the files in the place of
/// roots that are none.
async fn read_root(
    repository: &Repository,
    store: &dyn Store,
    published: &Published,
    now: Time,
    unreadable: &mut Vec<String>,
) -> (Option<RoleStatus>, Vec<Damage>, Vec<IgnoredRoot>) {
    let root = roots::newest(store).await.map(|newest| RoleStatus {
        name: RoleName::root(),
        version: newest.version.get(),
        expires: newest.expires,
    });
    // Everything that needs a root would report the same damage of the first root, so it is
    // reported once.
    match root {
        Ok(root) => {
            let damaged = find_damage(repository, store, published, root.version, now)
                .await
                .or_default(unreadable);
            let ignored =
                roots::ignored(store).await.map_err(anyhow::Error::from).or_default(unreadable);
            (Some(root), damaged, ignored)
        }
        Err(error) => {
            let damage = Damage::of_root(store, error).map(Some).map_err(anyhow::Error::from);
            (None, damage.or_default(unreadable).into_iter().collect(), Vec::new())
        }
    }
}

/// Lets the other parts of the status be seen if one can't be read.
trait OrDefault<T> {
    /// The part; or its default, with the reason added to `unreadable`.
    fn or_default(self, unreadable: &mut Vec<String>) -> T;
}

impl<T: Default> OrDefault<T> for anyhow::Result<T> {
    fn or_default(self, unreadable: &mut Vec<String>) -> T {
        self.unwrap_or_else(|error| {
            let why = one_line(&error);
            // Several parts may fail for the same reason.
            if !unreadable.contains(&why) {
                unreadable.push(why);
            }
            T::default()
        })
    }
}

/// The root, the timestamp, the snapshot, targets, the bin that expires first, and other parties'
/// roles. What can't be read goes to `unreadable`.
async fn read_roles(
    store: &dyn Store,
    root: Option<RoleStatus>,
    published: &Published,
    manifest: &Manifest,
    unreadable: &mut Vec<String>,
) -> Vec<RoleStatus> {
    let mut roles: Vec<RoleStatus> = root.into_iter().collect();
    roles.push(RoleStatus {
        name: RoleName::timestamp(),
        version: published.version,
        expires: published.expires,
    });
    let (role, version) = (RoleName::snapshot(), manifest.generation);
    roles.push(RoleStatus { name: role, version, expires: manifest.snapshot_expires });
    let top = &manifest.top;
    roles.push(RoleStatus {
        name: RoleName::targets(),
        version: top.document.version,
        expires: top.document.expires,
    });
    roles.extend(top.bins.iter().map(|bins| {
        let Expiring { role, version, expires } = bins.first_to_expire.clone();
        RoleStatus { name: role, version, expires }
    }));
    let parties = read_parties(store, manifest).await.map_err(Into::into).or_default(unreadable);
    let of_parties = parties.in_use();
    roles.extend(of_parties.map(|(role, document)| RoleStatus {
        name: role.clone(),
        version: document.version,
        expires: document.expires,
    }));
    roles
}

async fn count_newer(store: &dyn Store, published: u64) -> anyhow::Result<Newer> {
    let pending = Pending::read(store, published).await?;
    let chain =
        pending.chain().into_iter().filter(|manifest| !manifest.is_fence()).take(GENERATIONS_READ);
    let looks = chain.map(|manifest| async move {
        let signed = store.exists(&Key::snapshot(manifest.generation)).await?;
        anyhow::Ok((manifest.created, signed))
    });
    let looks: Vec<_> = looks.collect();
    let looked: Vec<(Time, bool)> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
    let mut newer = Newer::default();
    for (created, signed) in looked {
        newer.since = newer.since.into_iter().chain([created]).min();
        if signed {
            newer.signed += 1;
            // Sign skips the unsigned generations below a signed one, so they no longer wait.
            newer.unsigned = 0;
        } else {
            newer.unsigned += 1;
        }
    }
    Ok(newer)
}

async fn read_depths(queues: &dyn Queues) -> anyhow::Result<BTreeMap<Queue, Depth>> {
    let mut depths = BTreeMap::new();
    for queue in Queue::ALL {
        let waiting = queues.waiting(queue).await?;
        depths.insert(
            queue,
            Depth { messages: waiting.messages, dead_letters: waiting.dead_letters },
        );
    }
    Ok(depths)
}

/// The rejected uploads, and the reasons why some of their records can't be read.
async fn read_rejections(
    store: &dyn Store,
    rejections: Rejections,
) -> anyhow::Result<(RejectedUploads, Vec<String>)> {
    let keys = list_all(store, Folder::Rejected).await?;
    let count = keys.len();
    let (read_at_most, listed) = match rejections {
        Rejections::Last => (REJECTIONS_READ, REJECTIONS_LISTED),
        Rejections::All => (count, count),
    };
    let reads = keys.into_iter().take(read_at_most).map(|key| async move {
        let Some(stored) = store.get(&key).await? else { return Ok(None) };
        let rejected: RejectedUpload = ledger::parse(&key, &stored.bytes)?;
        anyhow::Ok(Some((stored.modified, rejected)))
    });
    let (mut read, mut unreadable): (Vec<(Time, RejectedUpload)>, _) = (Vec::new(), Vec::new());
    for read_one in stream::iter(reads).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await {
        read.extend(read_one.or_default(&mut unreadable));
    }
    read.sort_by_key(|(when, _)| std::cmp::Reverse(*when));
    let can_be_listed = count - unreadable.len();
    let last: Vec<_> = read.into_iter().take(listed).map(|(_, rejected)| rejected).collect();
    let unlisted = can_be_listed.saturating_sub(last.len());
    Ok((RejectedUploads { count, last, unlisted }, unreadable))
}

async fn read_refused(store: &dyn Store, published: u64) -> anyhow::Result<Vec<RefusedNewer>> {
    let mut refused = Vec::new();
    for key in list_all(store, Folder::Refused).await? {
        if let Key::Refused(generation) = key
            && generation > published
            && let Some(record) = ledger::read::<RefusedGeneration>(store, &key).await?
        {
            refused.push(RefusedNewer { generation, reason: record.reason });
        }
    }
    Ok(refused)
}
