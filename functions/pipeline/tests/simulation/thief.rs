//! Thieves. A thief holds the credentials of one role, and writes anything that the role's policy
//! allows, and nothing else. It creates records and never replaces any, since the buckets' policies
//! prevent that.
//!
//! *Property*: no device sees a content that was not in effect for its name within the last
//! minutes, a party that nobody decided on, or an expiry beyond the policy. Once the thief is
//! silent, everything in effect is shown again.

use std::collections::BTreeSet;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tough::schema::key::Key as PublicKey;
use tough::schema::{Signature, Targets};
use tufline_pipeline::state::records::Hashed;
use tufline_pipeline::state::records::RECORD_FORMAT;
use tufline_store::memory::Memory;
use tufline_store::{Change, Clock, Key, Message, OnlineRole, Signer, UploadKey, VersionId};
use tufline_tuf::delegations::PartyEdit;
use tufline_tuf::generation::{
    self, DEEPEST_BIN, Edit, Folding, Next, Others, Policy, TargetEdit, Versions,
};
use tufline_tuf::index::IndexEntry;
use tufline_tuf::{
    Addressed, BinsKeys, Config, Content, Custom, Draft, Index, Manifest, Parties, RecordedPolicy,
    RoleDocument, RoleKeys, RoleName, Sha256, TargetName, json, root, time, trie,
};

use crate::common::{self, finish};

/// The role whose credentials were stolen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thief {
    /// Rebuild: drafts, pages, parties, manifests, messages to sign.
    Rebuild,
    /// Sign: the keys of targets, bins and snapshot, new metadata, messages to publish.
    Sign,
    /// Hash: receipts, blobs, changes.
    Hash,
    /// An operator who may make generations and store metadata, but makes no decision about a
    /// party.
    Operator,
}

/// Everything that was ever uploaded: a name, a version and its content.
pub type Uploaded = Vec<(String, String, Content)>;

/// A thief in action.
pub struct Thieving {
    pub who: Thief,
    random: StdRng,
}

impl Thieving {
    pub fn new(who: Thief, seed: u64) -> Self {
        Self { who, random: StdRng::seed_from_u64(seed ^ 0x7e1f) }
    }

    /// Does one evil thing. Returns a description of it.
    pub fn act(&mut self, world: &Memory, config: &Config, uploaded: &Uploaded) -> String {
        let Some(published) = published(world) else { return "waits".into() };
        match self.who {
            Thief::Rebuild => self.rebuild(world, config, published, uploaded),
            Thief::Sign => self.sign(world, config, published, uploaded),
            Thief::Hash => self.hash(world, uploaded),
            Thief::Operator => self.operator(world, config, published, uploaded),
        }
    }

    fn draw(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    /// A content that nobody uploaded, or that somebody uploaded at another time or under another
    /// name.
    fn content(&mut self, uploaded: &Uploaded) -> Content {
        let evil = Content { sha256: Sha256::of(b"evil"), length: 4, custom: Custom::new() };
        if self.draw(25) {
            return evil;
        }
        uploaded.choose(&mut self.random).map_or(evil, |(_, _, content)| content.clone())
    }

    fn edit(&mut self, uploaded: &Uploaded) -> TargetEdit {
        let names = ["a", "b", "c/d", "nobody/uploaded"];
        let name: TargetName = names[self.random.random_range(0..names.len())].parse().unwrap();
        let version = uploaded.choose(&mut self.random).map(|(_, version, _)| version.clone());
        let edit = if self.draw(20) { Edit::Remove } else { Edit::Set(self.content(uploaded)) };
        TargetEdit { name, version, uploaded: None, edit }
    }

    fn rebuild(
        &mut self,
        world: &Memory,
        config: &Config,
        published: u64,
        uploaded: &Uploaded,
    ) -> String {
        let pending = known(world, published);
        let next = pending.last().unwrap() + 1 + u64::from(self.draw(10));
        if self.draw(10) {
            create(
                world,
                &Key::Manifest(next),
                Bytes::from_static(b"{\"format\":1,\"garbage\":true}"),
            );
            return format!("garbage in the place of generation {next}");
        }
        let base = if self.draw(75) {
            *pending.last().unwrap()
        } else {
            *pending.choose(&mut self.random).unwrap()
        };
        let Some(base) = manifest(world, base) else { return "finds garbage".into() };
        let Some(index) = index(world, &base) else { return "finds no index".into() };
        let mut edits: Vec<TargetEdit> =
            (0..self.random.random_range(0..3)).map(|_| self.edit(uploaded)).collect();
        let mut met = BTreeSet::new();
        edits.retain(|edit| met.insert(edit.name.clone()));
        let now = world.now();
        let now = match self.random.random_range(0..10) {
            0 => time::after(now, 100_000),
            1 => time::after(now, 30),
            _ => now,
        };
        let mut recorded = RecordedPolicy::new(&config.expiry, config.max_targets_per_bin.get());
        if self.draw(10) {
            recorded.targets_seconds *= 100;
        }
        if self.draw(5) {
            recorded.max_targets_per_bin = 1;
        }
        let policy = Policy { recorded, deepest_bin: DEEPEST_BIN, removals: None, now };
        let roles: Vec<RoleName> = index.entries().map(|(role, _)| role).collect();
        let mut renew: BTreeSet<RoleName> =
            roles.choose_multiple(&mut self.random, 1).cloned().collect();
        let mut bins = base.bins_keys();
        if self.draw(10) {
            let evil = finish(world.newest_key(OnlineRole::Targets))
                .unwrap_or_else(|_| bins.signing.clone());
            bins = BinsKeys::with(&base, &evil);
            renew.extend(
                index.entries().filter(|(_, entry)| entry.bins.is_some()).map(|(role, _)| role),
            );
        }
        let mut others =
            Others { digest: base.parties, decisions: base.decisions, ..Others::default() };
        if self.draw(15) {
            let parties = Self::party(&bins.signing);
            let record = Addressed::try_from(parties.clone()).unwrap();
            create(world, &Key::Parties(record.digest()), record.bytes().clone());
            others = Others {
                parties,
                digest: Some(record.digest()),
                decisions: u64::from(self.draw(50)),
                ..others
            };
            renew.insert(RoleName::targets());
        }
        let first =
            base.serial + if self.draw(10) { 1 << 30 } else { self.random.random_range(0..3) };
        let Ok(folding) = Folding::new(&base, index, &edits, &renew, bins, &others, policy) else {
            return "can't fold".into();
        };
        let mut folding = folding.numbered(next, first);
        let (withholds_drafts, withholds_pages) = (self.draw(15), self.draw(10));
        for (role, entry) in folding.wanted().unwrap_or_default() {
            let Some(document) = document(world, &role, &entry.draft) else {
                return "finds no draft".into();
            };
            let Ok(drafts) = folding.fold(&document) else { return "can't fold".into() };
            for draft in drafts {
                if !withholds_drafts {
                    create(world, &Key::Draft(draft.digest()), draft.bytes().clone());
                }
            }
        }
        let Ok(Next { mut manifest, pages }) = folding.finish() else {
            return "can't finish".into();
        };
        for page in &pages {
            if !withholds_pages {
                create(world, &Key::Page(page.digest()), page.bytes().clone());
            }
        }
        self.twist(world, &mut manifest, uploaded);
        create(world, &Key::Manifest(next), json::to_vec(&manifest).unwrap().into());
        world.send_raw(tufline_store::Queue::Sign, &Message::Sign.to_body().unwrap());
        format!("generation {next} on {}: {:?}", manifest.base, manifest.changes)
    }

    fn party(key: &PublicKey) -> Parties {
        let paths = vec!["a".parse().unwrap(), "c/*".parse().unwrap()];
        let create = PartyEdit::Create { paths, keys: vec![key.clone()], threshold: 1 };
        Parties::default().edit(&"thief".parse().unwrap(), create).unwrap()
    }

    /// Makes the manifest differ from what was folded.
    fn twist(&mut self, world: &Memory, manifest: &mut Manifest, uploaded: &Uploaded) {
        match self.random.random_range(0..12) {
            0 => manifest.changes.clear(),
            1 => manifest.serial += 1,
            2 => manifest.base = manifest.base.saturating_sub(1),
            3 => {
                if let Some(mut entry) = manifest.changed.first_entry() {
                    entry.get_mut().expires = time::after(entry.get().expires, 1_000_000);
                }
            }
            4 => manifest.renew_snapshot = true,
            // A document in the index that is not among the changed ones, and lists something else.
            5 if manifest.top.bins.is_none() => {
                let entry = &mut manifest.top;
                if let Some(draft) = self.forged(world, &RoleName::targets(), entry, uploaded) {
                    entry.document.draft = draft;
                    if self.draw(50)
                        && let Some(changed) = manifest.changed.get_mut(&RoleName::targets())
                    {
                        changed.draft = draft;
                    }
                }
            }
            _ => {}
        }
    }

    /// A draft of `role` that differs from the existing one.
    fn forged(
        &mut self,
        world: &Memory,
        role: &RoleName,
        entry: &IndexEntry,
        uploaded: &Uploaded,
    ) -> Option<Sha256> {
        let mut forged = document(world, role, &entry.document.draft)?.document().clone();
        self.spoil(&mut forged, uploaded);
        let draft = tufline_tuf::AddressedDraft::try_from(Draft::new(role.clone(), forged)).ok()?;
        create(world, &Key::Draft(draft.digest()), draft.bytes().clone());
        Some(draft.digest())
    }

    /// Lists another content for a target.
    fn spoil(&mut self, document: &mut Targets, uploaded: &Uploaded) {
        let content = self.content(uploaded);
        let mut from = Targets::new("1.0.33".into(), document.version, document.expires);
        let edit = TargetEdit {
            name: "a".parse().unwrap(),
            version: None,
            uploaded: None,
            edit: Edit::Set(content),
        };
        // Write the target as the pipeline would.
        let policy = Policy {
            recorded: RecordedPolicy::new(&tufline_tuf::config::Expiry::default(), 1000),
            deepest_bin: DEEPEST_BIN,
            removals: None,
            now: document.expires,
        };
        let (first, drafts) =
            generation::first(policy, finish_key(), tufline_tuf::generation::FirstBins::One)
                .unwrap();
        let (edits, nothing, others) = ([edit], BTreeSet::new(), Others::default());
        let (manifest, index) = (&first.manifest, Index::new(first.manifest.top.clone()));
        let mut folding =
            Folding::new(manifest, index, &edits, &nothing, manifest.bins_keys(), &others, policy)
                .unwrap();
        for draft in folding.fold(drafts[0].record()).unwrap() {
            from.targets.extend(draft.record().document().targets.clone());
        }
        document.targets.extend(from.targets);
    }

    fn sign(
        &mut self,
        world: &Memory,
        config: &Config,
        published: u64,
        uploaded: &Uploaded,
    ) -> String {
        let newest = known(world, published).pop();
        let Some(newest) = newest.and_then(|newest| manifest(world, newest)) else {
            return "finds garbage".into();
        };
        let trusted =
            root::read(&world.object(&Key::root(1).path()).unwrap(), 1).unwrap().document().clone();
        let expires = time::after(
            world.now(),
            config.expiry.targets.seconds() * if self.draw(20) { 100 } else { 1 },
        );
        if self.draw(60) {
            let Some(index) = index(world, &newest) else { return "finds no index".into() };
            let roles: Vec<(RoleName, IndexEntry)> =
                index.entries().map(|(role, entry)| (role, entry.clone())).collect();
            let (role, entry) = roles.choose(&mut self.random).unwrap();
            let Some(found) = document(world, role, &entry.document.draft) else {
                return "finds no draft".into();
            };
            let mut forged = found.document().clone();
            forged.version = (newest.serial + self.random.random_range(1..4)).try_into().unwrap();
            forged.expires = expires;
            if entry.bins.is_none() && *role == RoleName::targets() {
                self.spoil(&mut forged, uploaded);
            } else {
                forged.targets.clear();
            }
            let (keys, online) = match trie::parent(role) {
                None => (RoleKeys::in_root(&trusted, role).unwrap(), OnlineRole::Targets),
                Some(parent) => {
                    let delegations =
                        trie::delegations(&parent, &newest.bins_keys().listed()).unwrap();
                    (RoleKeys::in_delegations(&delegations, role).unwrap(), OnlineRole::Bins)
                }
            };
            let version = forged.version;
            Self::store_signed(world, Draft::new(role.clone(), forged), &keys, online);
            return format!("signs version {version} of {role} ahead");
        }
        let mut versions = Versions::new();
        for number in 1..=newest.generation {
            if let Some(manifest) = manifest(world, number) {
                generation::advance(&mut versions, &manifest);
            }
        }
        let ahead = Manifest {
            generation: newest.generation + self.random.random_range(1..3),
            snapshot_expires: expires,
            ..newest
        };
        let draft = generation::snapshot(&ahead, &versions, &Parties::default()).unwrap();
        let keys = RoleKeys::in_root(&trusted, &RoleName::snapshot()).unwrap();
        Self::store_signed(world, draft, &keys, OnlineRole::Snapshot);
        world.send_raw(tufline_store::Queue::Publish, &Message::Publish.to_body().unwrap());
        format!("signs snapshot {} ahead", ahead.generation)
    }

    fn store_signed<T: RoleDocument>(
        world: &Memory,
        draft: Draft<T>,
        keys: &RoleKeys,
        online: OnlineRole,
    ) {
        let Ok(key) = finish(world.newest_key(online)) else { return };
        let Some(id) = keys.id_of(&key).cloned() else { return };
        let prepared = draft.prepare().unwrap();
        let Ok(sig) = finish(world.sign(online, &key, prepared.message())) else { return };
        let signed = prepared.sign(vec![Signature { keyid: id, sig: sig.into() }], keys).unwrap();
        let key = Key::Metadata { role: signed.role().clone(), version: signed.version() };
        create(world, &key, signed.bytes().clone());
    }

    fn hash(&mut self, world: &Memory, uploaded: &Uploaded) -> String {
        let Some((name, version, content)) = uploaded.choose(&mut self.random).cloned() else {
            return "waits".into();
        };
        let (name, version) = (name.parse::<TargetName>().unwrap(), VersionId(version));
        if self.draw(40) {
            // A receipt for a version whose bytes S3 itself knows. What S3 says must count.
            let other = self.content(uploaded);
            let record =
                Hashed { format: RECORD_FORMAT, sha256: other.sha256, length: content.length };
            create(
                world,
                &Key::Hashed(UploadKey::new(name.as_str(), &version)),
                json::to_vec(&record).unwrap().into(),
            );
        }
        let changes = [
            Change::Set { name: name.clone(), version: version.clone() },
            Change::Remove { name: name.clone(), marker: None },
            Change::Remove { name: name.clone(), marker: Some(version) },
            Change::Look { name },
            Change::Void { generation: self.random.random_range(1..9) },
            Change::Decision,
            Change::ReplaceBinsKey,
        ];
        let change = changes.choose(&mut self.random).unwrap().clone();
        let said = format!("sends {change:?}");
        world.send_raw(
            tufline_store::Queue::Changes,
            &Message::Changes(vec![change]).to_body().unwrap(),
        );
        said
    }

    fn operator(
        &mut self,
        world: &Memory,
        config: &Config,
        published: u64,
        uploaded: &Uploaded,
    ) -> String {
        if self.draw(40) {
            let newest = known(world, published).pop();
            let serial = newest
                .and_then(|newest| manifest(world, newest))
                .map_or(1, |manifest| manifest.serial);
            let version = serial + self.random.random_range(1..4);
            create(
                world,
                &Key::Metadata { role: RoleName::targets(), version },
                Bytes::from_static(b"{}"),
            );
            return format!("takes version {version} of targets");
        }
        self.rebuild(world, config, published, uploaded)
    }
}

fn finish_key() -> PublicKey {
    use std::sync::LazyLock;
    use tough::sign::Sign;
    static KEY: LazyLock<std::sync::Arc<aws_lc_rs::signature::EcdsaKeyPair>> =
        LazyLock::new(crate::common::key);
    KEY.tuf_key()
}

/// Creates an object. A thief may not replace one.
fn create(world: &Memory, key: &Key, bytes: Bytes) {
    if world.object(&key.path()).is_none() {
        world.tamper(&key.path(), Some(bytes));
    }
}

/// The published generation, and those that wait.
fn known(world: &Memory, published: u64) -> Vec<u64> {
    let mut known = vec![published];
    while world.object(&Key::Manifest(known[known.len() - 1] + 1).path()).is_some() {
        known.push(known[known.len() - 1] + 1);
    }
    known
}

fn manifest(world: &Memory, generation: u64) -> Option<Manifest> {
    serde_json::from_slice(&world.object(&Key::Manifest(generation).path())?).ok()
}

fn published(world: &Memory) -> Option<u64> {
    let timestamp: tough::schema::Signed<tough::schema::Timestamp> =
        serde_json::from_slice(&world.object(&Key::Timestamp.path())?).ok()?;
    Some(timestamp.signed.meta["snapshot.json"].version.get())
}

fn index(world: &Memory, manifest: &Manifest) -> Option<Index> {
    common::index(manifest, |key| world.object(&key.path()))
}

fn document(world: &Memory, role: &RoleName, digest: &Sha256) -> Option<Draft<Targets>> {
    Draft::from_bytes(role.clone(), &world.object(&Key::Draft(*digest).path())?).ok()
}
