//! What `tufline status` says, collected.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use tufline_folder::DataFolder;
use tufline_pipeline::state::ledger;
use tufline_pipeline::state::ledger::Published;
use tufline_pipeline::state::parties::read_parties;
use tufline_pipeline::state::pending::Pending;
use tufline_pipeline::state::records::HeldRemovals;
use tufline_pipeline::state::records::RefusedGeneration;
use tufline_pipeline::state::roots;
use tufline_pipeline::state::roots::IgnoredRoot;
use tufline_store::{Folder, Head, Key, Queue, Queues, RejectedUpload};
use tufline_tuf::config::Expiry;
use tufline_tuf::index::Expiring;
use tufline_tuf::{Manifest, RoleName, TargetName, Time};

use super::attention::{Reason, attention};
use super::documents::{Damage, damaged};
use crate::inside::Inside;
use crate::local::troubles::{self, Record};
use crate::outcome::one_line;

/// So many requests are under way at once.
const AT_ONCE: usize = 32;

/// Of more refusals than this only so many are looked at to find the last ones.
const REFUSALS_READ: usize = 1000;

/// How many refusals are looked at, and how many of these are listed.
#[derive(Debug, Clone, Copy)]
pub enum Refusals {
    /// Some of the last ones.
    Last,
    /// All of them.
    All,
}

/// So many refusals are listed unless all are asked for.
const REFUSALS_LISTED: usize = 5;

/// Of more waiting generations than this only the oldest are looked at.
const GENERATIONS_READ: usize = 1000;

/// Of more held removals than this only so many are looked at.
const HELD_READ: usize = 1000;

/// The state of a repository.
#[derive(Debug, Serialize)]
pub struct Status {
    /// When this was collected.
    pub now: Time,
    /// The generation that devices see.
    pub generation: u64,
    /// When it was made.
    pub made: Time,
    /// How many targets it has.
    pub targets: u64,
    /// Root, timestamp, snapshot, targets, and of the bins the one that expires first.
    pub roles: Vec<Role>,
    /// Published files that are missing or damaged; of a large repository a part is looked at, each time another.
    pub damaged: Vec<Damage>,
    /// What lies where roots belong and is none: it counts as absent.
    pub ignored_roots: Vec<IgnoredRoot>,
    /// Newer generations.
    pub waiting: Newer,
    /// On AWS: what waits in each queue.
    pub queues: Option<BTreeMap<Queue, Depth>>,
    /// Refused uploads.
    pub rejected: Rejected,
    /// Generations that the gate refused, newer than the published one.
    pub refused_generations: Vec<RefusedNewer>,
    /// Targets whose removal waits for an operator.
    pub held_removals: BTreeSet<String>,
    /// In the embedded form, where the clock is behind what was signed last: when that was stored. Nothing is signed meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_behind: Option<Time>,
    /// In the embedded form: what its process fails at.
    #[serde(flatten)]
    pub troubles: Record,
    /// In the embedded form: whether a process runs it. Nothing is published or renewed meanwhile, if none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<bool>,
    /// What of all this could not be read, one line each.
    pub unreadable: Vec<String>,
    /// Why somebody should look at it now, one line each.
    pub attention: Vec<Reason>,
}

/// A role's document.
#[derive(Debug, Serialize)]
pub struct Role {
    /// Its name.
    #[serde(rename = "role")]
    pub name: RoleName,
    /// Its version.
    pub version: u64,
    /// When it expires.
    pub expires: Time,
}

/// Generations that are newer than the published one.
#[derive(Debug, Default, Serialize)]
pub struct Newer {
    /// Not signed yet.
    pub unsigned: u64,
    /// Signed and not published yet.
    pub signed: u64,
    /// When the oldest of them was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}

/// A queue's depth.
#[derive(Debug, Serialize)]
pub struct Depth {
    /// Messages that wait or are being handled.
    pub messages: u64,
    /// Dead letters.
    pub dead_letters: u64,
}

/// Refused uploads.
#[derive(Debug, Default, Serialize)]
pub struct Rejected {
    /// How many versions of uploads were ever refused.
    pub count: usize,
    /// The last ones, newest first: five, unless all were asked for.
    pub last: Vec<RejectedUpload>,
    /// How many more there are, which are not listed.
    pub unlisted: usize,
}

/// A generation that the gate refused.
#[derive(Debug, Serialize)]
pub struct RefusedNewer {
    /// Its number.
    pub generation: u64,
    /// Why.
    pub reason: String,
}

/// Collects it all. `queues` where they can be asked, and `lifetimes` of documents where they are known.
///
/// # Errors
/// Where not even what is published can be read.
pub async fn collect(
    inside: &Inside,
    queues: Option<&dyn Queues>,
    lifetimes: Option<&Expiry>,
    refusals: Refusals,
) -> anyhow::Result<Status> {
    let store = &*inside.store;
    let Some(published) = ledger::published(store).await? else {
        ensure!(
            !store.exists(&Key::Announced).await?,
            "{} is missing, and was published: bring it back from a backup or from its older object versions",
            Key::Timestamp
        );
        bail!("nothing is published yet: run `tufline init` first");
    };
    let manifest = ledger::manifest(store, published.generation).await?;
    let data = inside.data()?;
    let now = inside.clock.now();
    // On AWS the store's clock is another than that of whoever looks.
    let clock_behind = data.and_then(|_| published.clock_behind(now));
    let mut unreadable = Vec::new();
    let (rejected, unread) = rejected(inside, refusals).await.or_default(&mut unreadable);
    unreadable.extend(unread);
    let root = roots::newest(store).await.map(|newest| Role {
        name: RoleName::root(),
        version: newest.version.get(),
        expires: newest.expires,
    });
    // What is wrong with the first root is wrong with all that needs a root, and is told once.
    let (root, damaged, ignored_roots) = match root {
        Ok(root) => {
            let damaged = damaged(inside, &published, root.version, now).await.or_default(&mut unreadable);
            let ignored = roots::ignored(store).await.map_err(anyhow::Error::from).or_default(&mut unreadable);
            (Some(root), damaged, ignored)
        }
        Err(error) => {
            let damage = Damage::of_root(store, error).map(Some).map_err(anyhow::Error::from);
            (None, damage.or_default(&mut unreadable).into_iter().collect(), Vec::new())
        }
    };
    let mut status = Status {
        now,
        generation: published.generation,
        made: manifest.created,
        targets: manifest.targets,
        roles: roles(inside, root, &published, &manifest, &mut unreadable).await,
        damaged,
        ignored_roots,
        waiting: newer(inside, published.generation).await.or_default(&mut unreadable),
        queues: match queues {
            Some(queues) => depths(queues).await.map(Some).or_default(&mut unreadable),
            None => None,
        },
        rejected,
        refused_generations: refused(inside, published.generation).await.or_default(&mut unreadable),
        held_removals: held(inside, &manifest).await.or_default(&mut unreadable),
        clock_behind,
        troubles: data.map(troubles::read).unwrap_or_default(),
        runs: data.map(DataFolder::is_running),
        unreadable,
        attention: Vec::new(),
    };
    status.attention = attention(&status, lifetimes);
    Ok(status)
}

/// A part that can't be read keeps nobody from seeing the others.
trait OrDefault<T> {
    /// The part, or nothing and why.
    fn or_default(self, unreadable: &mut Vec<String>) -> T;
}

impl<T: Default> OrDefault<T> for anyhow::Result<T> {
    fn or_default(self, unreadable: &mut Vec<String>) -> T {
        self.unwrap_or_else(|error| {
            let why = one_line(&error);
            // Several parts may need the same.
            if !unreadable.contains(&why) {
                unreadable.push(why);
            }
            T::default()
        })
    }
}

/// Root, timestamp, snapshot, targets, other parties' roles, and of the bins the one that expires first; and what of them can't be read.
async fn roles(
    inside: &Inside,
    root: Option<Role>,
    published: &Published,
    manifest: &Manifest,
    unreadable: &mut Vec<String>,
) -> Vec<Role> {
    let mut roles: Vec<Role> = root.into_iter().collect();
    roles.push(Role { name: RoleName::timestamp(), version: published.version, expires: published.expires });
    let (role, version) = (RoleName::snapshot(), manifest.generation);
    roles.push(Role { name: role, version, expires: manifest.snapshot_expires });
    let top = &manifest.top;
    roles.push(Role { name: RoleName::targets(), version: top.document.version, expires: top.document.expires });
    roles.extend(top.bins.iter().map(|bins| {
        let Expiring { role, version, expires } = bins.first_to_expire.clone();
        Role { name: role, version, expires }
    }));
    let parties = read_parties(&*inside.store, manifest).await.map_err(Into::into).or_default(unreadable);
    let of_parties = parties.in_use();
    roles.extend(of_parties.map(|(role, document)| Role {
        name: role.clone(),
        version: document.version,
        expires: document.expires,
    }));
    roles
}

async fn newer(inside: &Inside, published: u64) -> anyhow::Result<Newer> {
    let pending = Pending::read(&*inside.store, published).await?;
    let chain = pending.chain().into_iter().filter(|manifest| !manifest.is_fence()).take(GENERATIONS_READ);
    let looks = chain.map(|manifest| async move {
        let signed = inside.store.exists(&Key::snapshot(manifest.generation)).await?;
        anyhow::Ok((manifest.created, signed))
    });
    let looks: Vec<_> = looks.collect();
    let looked: Vec<(Time, bool)> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
    let mut newer = Newer::default();
    for (created, signed) in looked {
        newer.since = newer.since.into_iter().chain([created]).min();
        if signed {
            newer.signed += 1;
            // What comes before isn't signed any more.
            newer.unsigned = 0;
        } else {
            newer.unsigned += 1;
        }
    }
    Ok(newer)
}

async fn depths(queues: &dyn Queues) -> anyhow::Result<BTreeMap<Queue, Depth>> {
    let mut depths = BTreeMap::new();
    for queue in Queue::ALL {
        let waiting = queues.waiting(queue).await?;
        depths.insert(queue, Depth { messages: waiting.messages, dead_letters: waiting.dead_letters });
    }
    Ok(depths)
}

/// Refused uploads, and which of their records can't be read.
async fn rejected(inside: &Inside, refusals: Refusals) -> anyhow::Result<(Rejected, Vec<String>)> {
    let keys = inside.list(Folder::Rejected).await?;
    let count = keys.len();
    let (read_at_most, listed) = match refusals {
        Refusals::Last => (REFUSALS_READ, REFUSALS_LISTED),
        Refusals::All => (count, count),
    };
    let reads = keys.into_iter().take(read_at_most).map(|key| async move {
        let Some(stored) = inside.store.get(&key).await? else { return Ok(None) };
        let rejected: RejectedUpload = ledger::parse(&key, &stored.bytes)?;
        anyhow::Ok(Some((stored.modified, rejected)))
    });
    let (mut read, mut unreadable): (Vec<(Time, RejectedUpload)>, _) = (Vec::new(), Vec::new());
    for outcome in stream::iter(reads).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await {
        read.extend(outcome.or_default(&mut unreadable));
    }
    read.sort_by_key(|(when, _)| std::cmp::Reverse(*when));
    let can_be_listed = count - unreadable.len();
    let last: Vec<_> = read.into_iter().take(listed).map(|(_, rejected)| rejected).collect();
    let unlisted = can_be_listed.saturating_sub(last.len());
    Ok((Rejected { count, last, unlisted }, unreadable))
}

async fn refused(inside: &Inside, published: u64) -> anyhow::Result<Vec<RefusedNewer>> {
    let mut refused = Vec::new();
    for key in inside.list(Folder::Refused).await? {
        if let Key::Refused(generation) = key
            && generation > published
            && let Some(record) = ledger::read::<RefusedGeneration>(&*inside.store, &key).await?
        {
            refused.push(RefusedNewer { generation, reason: record.reason });
        }
    }
    Ok(refused)
}

/// The names in records of held removals that are still published, and whose uploads are still gone.
pub async fn held(inside: &Inside, manifest: &Manifest) -> anyhow::Result<BTreeSet<String>> {
    let keys = inside.list(Folder::Held).await?;
    if keys.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut names: BTreeSet<TargetName> = BTreeSet::new();
    for key in keys {
        let record: Option<HeldRemovals> = ledger::read(&*inside.store, &key).await?;
        names.extend(record.into_iter().flat_map(|record| record.names));
    }
    let still: Vec<TargetName> = inside.published(manifest, &names).await?.into_iter().take(HELD_READ).collect();
    let uploads = &inside.uploads()?;
    let looks = still.into_iter().map(|name| async move {
        let head = uploads.head(name.as_str()).await?;
        anyhow::Ok(matches!(head, Head::Gone { .. }).then(|| name.into()))
    });
    let gone: Vec<Option<String>> = stream::iter(looks).buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(gone.into_iter().flatten().collect())
}
