//! Parties' deliveries at the gate, including those that rebuild should not have taken in.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

use aws_lc_rs::signature::EcdsaKeyPair;
use bytes::Bytes;
use common::{Generation, Keys, key, now, policy, set, sign, signature};
use tough::schema::{self, DelegatedRole, Delegations, PathPattern, PathSet, Role, Root, Targets};
use tough::sign::Sign;
use tufline_tuf::delegations::{PartyEdit, PartyState};
use tufline_tuf::delivery::{Delivered, DeliveryRules, Files, Judged, judge_files};
use tufline_tuf::gate::{Checked, Fault, Gate, OtherParties, Refused};
use tufline_tuf::generation::{FirstBins, Others, SPEC_VERSION, snapshot};
use tufline_tuf::time::after;
use tufline_tuf::{Addressed, Parties, RejectionCode, RoleName, Sha256, Time};

const DAY: u64 = 86_400;

fn vendor() -> RoleName {
    "vendor".parse().unwrap()
}

fn rules() -> DeliveryRules {
    DeliveryRules { nested: false, now: now() }
}

/// A vendor with one key, and a document that is not yet signed.
struct Vendor {
    key: EcdsaKeyPair,
    document: Targets,
}

impl Vendor {
    fn new() -> Self {
        Self {
            key: key(),
            document: Targets::new(SPEC_VERSION.into(), NonZeroU64::MIN, after(now(), DAY)),
        }
    }

    /// Lists a target with these bytes.
    fn list(&mut self, name: &str, bytes: &str) {
        let from = common::start().fold(&[set(name, bytes)], policy(None, now())).unwrap();
        let document = from.documents[&RoleName::targets()].document().clone();
        self.document.targets.extend(document.targets);
    }

    fn signed(&self, by: &EcdsaKeyPair) -> Bytes {
        let signatures = vec![signature(by, &self.document.canonical_form().unwrap())];
        tufline_tuf::json::to_vec(&schema::Signed { signed: self.document.clone(), signatures })
            .unwrap()
            .into()
    }

    fn parties(&self) -> Parties {
        let paths = vec!["vendor/*".parse().unwrap()];
        let create = PartyEdit::Create { paths, keys: vec![self.key.tuf_key()], threshold: 1 };
        Parties::default().edit(&vendor(), create).unwrap()
    }
}

/// The parties after a delivery, or why it was refused.
fn deliver(parties: &Parties, bytes: Bytes) -> Result<Parties, String> {
    let delivered = Delivered { bytes, upload: Some("v1".into()) };
    let files =
        Files { delivered: BTreeMap::from([(vendor(), delivered)]), included: BTreeMap::new() };
    let mut settled =
        judge_files(&vendor(), &parties.parties[&vendor()], &parties.documents, &files, rules());
    match settled.rejections.remove(&vendor()) {
        Some(refusal) => {
            assert_eq!(refusal.code, RejectionCode::Delegation);
            assert_eq!(settled.documents.map(|_| ()), None);
            Err(refusal.reason)
        }
        None => Ok(parties.take(&vendor(), &settled).0),
    }
}

/// A generation that takes in a delivery, and all that the gate is given.
struct World {
    keys: Keys,
    root: Root,
    published: Generation,
    candidate: Generation,
    parties: Parties,
    bytes: Bytes,
    targets: Bytes,
}

impl World {
    fn new(change: impl FnOnce(&mut Vendor)) -> Self {
        let mut party = Vendor::new();
        party.list("vendor/a", "a");
        change(&mut party);
        let bytes = party.signed(&party.key);
        let mut good = Vendor { key: party.key, document: party.document.clone() };
        good.document.targets.retain(|name, _| name.raw() == "vendor/a");
        good.document.expires = after(now(), DAY);
        // A rebuild that overlooks the fault would take it in like this.
        let mut parties = deliver(&good.parties(), good.signed(&good.key)).unwrap();
        let document = parties.documents.get_mut(&vendor()).unwrap();
        (document.sha256, document.length) = (Sha256::of(&bytes), bytes.len() as u64);
        document.expires = party.document.expires;
        Self::with(parties, bytes)
    }

    fn with(parties: Parties, bytes: Bytes) -> Self {
        let keys = Keys::new();
        let root = keys.trusted(after(now(), 365 * DAY));
        let published = Generation::first(&keys.bins, FirstBins::One);
        let mut base = published.clone();
        let digest = Some(Addressed::try_from(parties.clone()).unwrap().digest());
        base.others = Others { parties: parties.clone(), digest, ..Others::default() };
        let (index, bins) = (base.whole_index(), base.manifest.bins_keys());
        let renew = BTreeSet::from([RoleName::targets()]);
        let candidate = base.fold_with(index, &[], &renew, bins, policy(None, now())).unwrap();
        let draft = candidate.documents[&RoleName::targets()].clone();
        let targets = sign(draft, &keys.targets, &root).bytes().clone();
        Self { keys, root, published, candidate, parties, bytes, targets }
    }

    fn check(&self, seen: &Parties, blob: Option<u64>) -> Result<Checked, Refused> {
        let manifest = &self.candidate.manifest;
        let snapshot = snapshot(manifest, &self.candidate.versions, &self.parties).unwrap();
        let snapshot = sign(snapshot, &self.keys.snapshot, &self.root).bytes().clone();
        let (roots, since) = (std::slice::from_ref(&self.root), std::slice::from_ref(manifest));
        let others = OtherParties { published: seen, candidate: &self.parties };
        let mut gate =
            Gate::open(roots, &self.published.versions, since, manifest, others, &snapshot, now())?;
        for (role, _) in gate.wanted_roles() {
            gate.role(&role, &self.targets, Some(self.published.documents[&role].document()))?;
        }
        for wanted in gate.wanted_deliveries() {
            gate.delivery(&wanted.role, &self.bytes, None)?;
        }
        for sha256 in gate.wanted_blobs() {
            gate.blob(&sha256, blob.map(|length| (length, None)));
        }
        gate.pass()
    }

    fn fault(&self) -> Fault {
        self.check(&Parties::default(), Some(1)).unwrap_err().fault
    }
}

fn of_vendor() -> Fault {
    Fault::Role(vendor(), 1)
}

#[test]
fn a_good_document_passes() {
    let world = World::new(|_| {});
    assert_eq!(world.parties.parties[&vendor()].state, PartyState::Listed);
    world.check(&Parties::default(), Some(1)).unwrap();
    // A published document is not checked again.
    world.check(&world.parties, None).unwrap();
}

#[test]
fn what_the_gate_must_refuse() {
    let mut stranger = World::new(|_| {}).parties;
    stranger.parties.get_mut(&vendor()).unwrap().keys = vec![key().tuf_key()];
    assert_eq!(World::with(stranger, World::new(|_| {}).bytes).fault(), of_vendor());
    assert_eq!(World::new(|party| party.list("mine/a", "a")).fault(), of_vendor());
    assert_eq!(World::new(|party| party.list("vendor/a/b", "a")).fault(), of_vendor());
    assert_eq!(
        World::new(|party| party.document.expires = now()).fault(),
        Fault::Expired(vendor(), 1)
    );
    let missing = World::new(|_| {}).check(&Parties::default(), None).unwrap_err().fault;
    assert_eq!(missing, Fault::Targets(vec!["vendor/a".parse().unwrap()]));
    let mut other = World::new(|_| {});
    other.bytes = World::new(|_| {}).bytes;
    assert_eq!(other.fault(), of_vendor(), "not the one that the snapshot means");
    let mut unlisted = World::new(|_| {});
    unlisted.parties.parties.get_mut(&vendor()).unwrap().state = PartyState::Suspended;
    assert_eq!(unlisted.fault(), Fault::Role(RoleName::targets(), 2), "targets delegates to it");
    let gone = World::with(Parties::default(), Bytes::new());
    let seen = World::new(|_| {}).parties;
    let fault = gone.check(&seen, Some(1)).unwrap_err().fault;
    assert_eq!(fault, Fault::Role(RoleName::snapshot(), 2), "a role that was listed stays listed");
}

#[test]
fn a_target_of_ours_under_a_partys_name_is_refused() {
    let mut world = World::new(|_| {});
    let (mine, theirs) =
        (RoleName::targets(), world.candidate.documents[&RoleName::targets()].document().clone());
    let mut document = theirs;
    let mut other = Vendor::new();
    other.list("vendor/deep/er", "a");
    document.targets.extend(other.document.targets);
    world.targets = sign(tufline_tuf::Draft::new(mine, document), &world.keys.targets, &world.root)
        .bytes()
        .clone();
    assert_eq!(world.fault(), Fault::Targets(vec!["vendor/deep/er".parse().unwrap()]));
}

#[test]
fn deliveries_are_judged() {
    let mut party = Vendor::new();
    party.list("vendor/a", "a");
    let parties = party.parties();
    let taken = deliver(&parties, party.signed(&party.key)).unwrap();
    assert_eq!(taken.documents[&vendor()].version, 1);
    party.list("vendor/b", "b");
    assert!(refusal(&taken, party.signed(&party.key)).contains("version 1 was delivered before"));
    party.document.version = 2.try_into().unwrap();
    assert_eq!(deliver(&taken, party.signed(&party.key)).unwrap().documents[&vendor()].version, 2);
    assert!(refusal(&taken, party.signed(&key())).contains("not signed as it must be"));
    let mut late: Time = after(now(), 3599);
    std::mem::swap(&mut party.document.expires, &mut late);
    assert!(refusal(&taken, party.signed(&party.key)).contains("an hour must be left"));
}

fn refusal(parties: &Parties, bytes: Bytes) -> String {
    deliver(parties, bytes).unwrap_err()
}

type Spoil = fn(&mut Targets);

#[test]
fn what_not_all_clients_read_alike_is_refused() {
    let mut vendor = Vendor::new();
    vendor.list("vendor/a", "a");
    let parties = vendor.parties();
    assert!(deliver(&parties, vendor.signed(&vendor.key)).is_ok());
    let spoiled: [(&str, Spoil); 5] = [
        ("x-ticket 2", |document| {
            document._extra.insert("x-ticket".into(), 1.into());
            document._extra.insert("x-ticket 2".into(), 2.into());
        }),
        ("\"k!\"", |document| {
            let target = document.targets.values_mut().next().unwrap();
            target.custom.insert("a".into(), serde_json::json!({"k": 1, "k!": 2}));
        }),
        ("go-tuf takes Version", |document| _ = document._extra.insert("Version".into(), 1.into())),
        ("spec_version", |document| document.spec_version = "1.0.0-rc".into()),
        ("lower-case", |document| {
            let target = document.targets.values_mut().next().unwrap();
            target.hashes =
                serde_json::from_value(serde_json::json!({"sha256": "AB".repeat(32)})).unwrap();
        }),
    ];
    for (why, spoil) in spoiled {
        let mut vendor = Vendor { key: key(), document: vendor.document.clone() };
        spoil(&mut vendor.document);
        let reason = deliver(&vendor.parties(), vendor.signed(&vendor.key)).unwrap_err();
        assert!(reason.contains(why) && !reason.contains('\n'), "{reason}");
    }
}

/// An older release, before that rule existed, took the document in. Devices keep it until the
/// party delivers a better one.
#[test]
fn a_published_document_stays() {
    let mut vendor = Vendor::new();
    vendor.document._extra.insert("x-note".into(), "e\u{301}".into());
    let bytes = vendor.signed(&vendor.key);
    let parties = vendor.parties();
    assert!(deliver(&parties, bytes.clone()).is_err());
    // The party's file may still be in the uploads.
    let delivered =
        BTreeMap::from([(self::vendor(), Delivered { bytes: bytes.clone(), upload: None })]);
    for delivered in [BTreeMap::new(), delivered] {
        let files =
            Files { delivered, included: BTreeMap::from([(self::vendor(), bytes.clone())]) };
        let settled = judge_files(
            &self::vendor(),
            &parties.parties[&self::vendor()],
            &parties.documents,
            &files,
            rules(),
        );
        assert_eq!(settled.documents.unwrap().len(), 1);
    }
}

/// A party's role and other roles, each below the one before. Each has a published document and a
/// new one.
struct Chain {
    vendor: Vendor,
    roles: Vec<RoleName>,
    included: Vec<Bytes>,
    delivered: Vec<Bytes>,
}

impl Chain {
    /// `length` roles. Of the published documents, the lowest role's expires in two hours, the
    /// others in a day.
    fn new(length: usize) -> Self {
        let vendor = Vendor::new();
        let role = |level: usize| format!("vendor{}", "--b".repeat(level)).parse().unwrap();
        let roles: Vec<RoleName> = (0..length).map(role).collect();
        let document = |version, level| {
            let hours = if (version, level + 1) == (1, length) { 2 } else { 24 };
            vendor.delegating(version, hours, roles.get(level + 1))
        };
        let documents = |version: u64| (0..length).map(|level| document(version, level)).collect();
        let (included, delivered) = (documents(1), documents(2));
        Self { vendor, roles, included, delivered }
    }

    /// The outcome of judging the new documents `hours` hours later.
    fn judge_files(&self, hours: u64) -> Judged {
        let mut parties = self.vendor.parties();
        let judge = |parties: &Parties, files: &Files, hours: u64| {
            let rules = DeliveryRules { nested: true, now: after(now(), hours * 3600) };
            judge_files(&vendor(), &parties.parties[&vendor()], &parties.documents, files, rules)
        };
        let first = judge(
            &parties,
            &Files { delivered: self.files(&self.included), ..Files::default() },
            0,
        );
        assert!(first.rejections.is_empty() && first.documents.is_some(), "{:?}", first.rejections);
        parties = parties.take(&vendor(), &first).0;
        let included = self.roles.iter().cloned().zip(self.included.iter().cloned()).collect();
        judge(&parties, &Files { delivered: self.files(&self.delivered), included }, hours)
    }

    fn files(&self, documents: &[Bytes]) -> BTreeMap<RoleName, Delivered> {
        let delivered =
            documents.iter().map(|bytes| Delivered { bytes: bytes.clone(), upload: None });
        self.roles.iter().cloned().zip(delivered).collect()
    }
}

impl Vendor {
    /// A document that delegates to this role, with the vendor's own key.
    fn delegating(&self, version: u64, hours: u64, below: Option<&RoleName>) -> Bytes {
        let mut document = Targets::new(
            SPEC_VERSION.into(),
            version.try_into().unwrap(),
            after(now(), hours * 3600),
        );
        let keyid = self.key.tuf_key().key_id().unwrap();
        document.delegations = below.map(|below| Delegations {
            keys: [(keyid.clone(), self.key.tuf_key())].into(),
            roles: vec![DelegatedRole {
                name: below.to_string(),
                keyids: vec![keyid.clone()],
                threshold: NonZeroU64::MIN,
                paths: PathSet::Paths(vec![PathPattern::new("vendor/*").unwrap()]),
                terminating: true,
                targets: None,
            }],
        });
        let signatures = vec![signature(&self.key, &document.canonical_form().unwrap())];
        tufline_tuf::json::to_vec(&schema::Signed { signed: document, signatures }).unwrap().into()
    }
}

/// The number of roles with new documents.
fn taken(settled: &Judged) -> usize {
    settled.documents.iter().flatten().filter(|(_, taken)| taken.is_new).count()
}

#[test]
fn deep_delegations_take_as_many_looks_as_there_are_documents() {
    for length in 1..=10 {
        let mut chain = Chain::new(length);
        let settled = chain.judge_files(0);
        assert_eq!((taken(&settled), settled.effort.looks), (length, length));
        // The lowest role's new document can't be used, but its published one can.
        *chain.delivered.last_mut().unwrap() = chain.vendor.signed(&key());
        let settled = chain.judge_files(0);
        assert_eq!((taken(&settled), settled.rejections.len()), (length - 1, 1));
        assert!(settled.effort.looks <= length + 1);
        // Now that one can't be used either, and every combination of the other documents ends
        // there.
        let settled = chain.judge_files(3);
        assert!(settled.documents.is_none());
        assert!(settled.effort.checks <= 4 * length, "{length} roles: {:?}", settled.effort);
        assert!(
            settled.effort.looks <= 8 * length + 2 * length * length,
            "{length} roles: {:?}",
            settled.effort
        );
    }
}

#[test]
fn too_deep_and_double_delegations_are_refused() {
    let chain = Chain::new(10);
    let mut deeper = chain.roles.clone();
    deeper.push("vendor--b--b--b--b--b--b--b--b--b--b".parse().unwrap());
    let mut documents = chain.delivered.clone();
    *documents.last_mut().unwrap() = chain.vendor.delegating(2, 24, deeper.last());
    let refused = Chain { delivered: documents, ..chain }.judge_files(0);
    let why = refused.rejections[&deeper[9]].to_string();
    assert!(
        why.contains("10 levels below the party's own role") && why.contains("9 levels at most"),
        "{why}"
    );
    assert_eq!(taken(&refused), 9, "the others are taken");

    let chain = Chain::new(2);
    let mut document: schema::Signed<Targets> =
        serde_json::from_slice(&chain.delivered[0]).unwrap();
    let roles = &mut document.signed.delegations.as_mut().unwrap().roles;
    roles.push(roles[0].clone());
    let own = Vendor { key: chain.vendor.key, document: document.signed };
    let doubled = Chain {
        delivered: vec![own.signed(&own.key), chain.delivered[1].clone()],
        vendor: own,
        ..chain
    };
    let why = doubled.judge_files(0).rejections[&vendor()].to_string();
    assert!(why.contains("twice"), "{why}");
}
