//! Roots: editing them, signing by several people, and which root may follow which.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::sync::OnceLock;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;
use tough::schema::key::Key;
use tough::schema::{self, RoleType, Root, Signature};
use tough::sign::{Sign, SignKeyPair};
use tufline_tuf::root::{
    Chain, FirstRoot, KeyName, OnlineKeys, PublishedRoot, ROLES, RootChange, RootError, RootFile,
    RootKey, add_key, adopt, begin, changes, expect_plain, extra_fields, holder, key_id, needed,
    next, only_adds, read_public_key, remove_key, set_expiry, set_threshold, short_id, succeed,
    tallies,
};
use tufline_tuf::{Time, canonical, time};

use common::{key, now};

/// A person with a key.
struct Holder {
    name: &'static str,
    key: SignKeyPair,
}

impl Holder {
    fn root_key(&self) -> RootKey {
        RootKey { holder: Some(self.name.into()), key: self.key.tuf_key() }
    }

    fn signature(&self, file: &RootFile) -> Vec<u8> {
        sign(&self.key, &file.message().unwrap())
    }

    fn sign(&self, file: &mut RootFile, previous: Option<&Root>) -> Result<(), RootError> {
        let signature = self.signature(file);
        file.add_signature(&self.key.tuf_key(), &signature, previous)
    }
}

fn sign(key: &SignKeyPair, message: &[u8]) -> Vec<u8> {
    match key {
        SignKeyPair::ED25519(key) => key.sign(message).as_ref().to_vec(),
        SignKeyPair::ECDSA(key) => {
            EcdsaKeyPair::sign(key, &SystemRandom::new(), message).unwrap().as_ref().to_vec()
        }
        SignKeyPair::RSA(_) => unreachable!("no holder here has an RSA key"),
    }
}

/// The same people in all tests. Every other one has an Ed25519 key.
fn people() -> &'static [Holder] {
    static PEOPLE: OnceLock<Vec<Holder>> = OnceLock::new();
    PEOPLE.get_or_init(|| {
        let names = ["alice", "bob", "carol", "dave", "erin", "frank"];
        let key = |index: usize| match index % 2 {
            0 => SignKeyPair::ECDSA(key()),
            _ => SignKeyPair::ED25519(Ed25519KeyPair::generate().unwrap()),
        };
        names.iter().enumerate().map(|(index, name)| Holder { name, key: key(index) }).collect()
    })
}

fn online() -> OnlineKeys {
    static ONLINE: OnceLock<OnlineKeys> = OnceLock::new();
    let make = || OnlineKeys {
        targets: key().tuf_key(),
        snapshot: key().tuf_key(),
        timestamp: key().tuf_key(),
    };
    ONLINE.get_or_init(make).clone()
}

fn expires() -> Time {
    time::after(now(), 365 * 86_400)
}

fn make(people: &[Holder], threshold: u64) -> Result<RootFile, RootError> {
    let keys = people.iter().map(Holder::root_key).collect();
    FirstRoot { keys, threshold, online: online(), expires: expires() }.make()
}

fn signed_by(file: &RootFile, previous: Option<&Root>, signers: &[&Holder]) -> RootFile {
    let mut file = file.clone();
    for signer in signers {
        signer.sign(&mut file, previous).unwrap();
    }
    file
}

/// A published root of alice, bob and carol, of whom two must sign.
fn two_of_three() -> Root {
    let people = people();
    let file = signed_by(&make(&people[..3], 2).unwrap(), None, &[&people[0], &people[1]]);
    begin(&file, now()).unwrap().root().clone()
}

#[test]
fn a_ceremony_of_two_of_three() {
    let people = people();
    let file = make(&people[..3], 2).unwrap();
    assert_eq!(RootFile::read(&file.to_bytes().unwrap()).unwrap(), file);
    let [own] = &tallies(&file, None)[..] else { panic!() };
    assert_eq!((own.needed(), own.missing.len()), (2, 3));
    let names: Vec<_> = own.missing.iter().map(|id| holder(file.root(), id)).collect();
    assert_eq!(names, [Some("alice"), Some("bob"), Some("carol")]);

    // Copies on two USB sticks.
    let (alice, bob) =
        (signed_by(&file, None, &[&people[0]]), signed_by(&file, None, &[&people[1]]));
    let error = begin(&alice, now()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "version 1 of the root asks for 2 signatures of its root keys, and 1 of them count: 1 more needed"
    );
    let mut merged = alice.clone();
    assert_eq!(merged.merge(&bob, None).unwrap(), 1);
    assert_eq!(merged.merge(&bob, None).unwrap(), 0, "once is enough");
    let first = begin(&merged, now()).unwrap();
    assert_eq!(first.signed().version(), 1);
    // A client's check, on the bytes that it gets.
    let read: schema::Signed<Root> = serde_json::from_slice(first.signed().bytes()).unwrap();
    read.signed.verify_role(&read).unwrap();

    // Carol leaves, dave joins, and three must sign.
    let root = first.root();
    let file = next(root, expires()).unwrap();
    let file = add_key(&file, RoleType::Root, people[3].root_key()).unwrap();
    let file = remove_key(&file, RoleType::Root, &KeyName("carol".into())).unwrap();
    let file = set_threshold(&file, RoleType::Root, 3).unwrap();
    let told: Vec<String> = changes(root, file.root()).iter().map(RootChange::to_string).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].starts_with("root: + dave ") && told[0].ends_with("… (Ed25519)"), "{told:?}");
    assert!(
        told[1].starts_with("root: - carol ") && told[1].ends_with("… (ECDSA P-256)"),
        "{told:?}"
    );
    assert_eq!(told[2], "root: threshold 2 → 3");

    let carol_too = signed_by(&file, Some(root), &[&people[0], &people[2], &people[3]]);
    let [old, new] = &tallies(&carol_too, Some(root))[..] else { panic!() };
    assert_eq!((old.needed(), new.needed()), (0, 1), "carol counts under the old root only");
    let error = succeed(root, &carol_too, now()).unwrap_err();
    assert!(
        matches!(
            error,
            RootError::TooFewSignatures { judge: 2, threshold: 3, found: 2, missing: 1 }
        ),
        "{error}"
    );
    // The new holder alone doesn't reach the old threshold.
    let dave =
        signed_by(&set_threshold(&file, RoleType::Root, 1).unwrap(), Some(root), &[&people[3]]);
    let error = succeed(root, &dave, now()).unwrap_err();
    assert!(
        matches!(
            error,
            RootError::TooFewSignatures { judge: 1, threshold: 2, found: 0, missing: 2 }
        ),
        "{error}"
    );

    let enough = signed_by(&carol_too, Some(root), &[&people[1]]);
    let second = succeed(root, &enough, now()).unwrap();
    let mut chain = Chain::begin(first.signed().bytes()).unwrap();
    chain.extend(second.signed().bytes()).unwrap();
    assert_eq!(chain.newest(), second.root());
    assert!(chain.clone().extend(second.signed().bytes()).is_err(), "a version follows itself");
}

/// However somebody with too few keys, or none, changes a good root: no chain accepts it, and the
/// chain stays as it was.
#[test]
fn a_chain_goes_on_only_with_what_enough_holders_signed() {
    let people = people();
    let root = two_of_three();
    let first =
        signed_by(&RootFile::unsigned(root.clone()).unwrap(), None, &[&people[0], &people[1]]);
    let first = begin(&first, now()).unwrap().signed().bytes().clone();
    let file = next(&root, expires()).unwrap();
    let file = add_key(&file, RoleType::Root, people[3].root_key()).unwrap();
    let file = set_threshold(&file, RoleType::Root, 1).unwrap();
    for signers in 0_usize..16 {
        let chosen: Vec<&Holder> =
            (0..4).filter(|index| signers >> index & 1 == 1).map(|index| &people[index]).collect();
        let signed = signed_by(&file, Some(&root), &chosen);
        let bytes: Bytes = signed.to_bytes().unwrap().into();
        let old_holders = chosen.iter().filter(|person| person.name != "dave").count();
        for mut chain in [Chain::begin(&first).unwrap(), Chain::trusting(&first).unwrap()] {
            let before = chain.newest().clone();
            assert_eq!(chain.extend(&bytes).is_ok(), old_holders >= 2, "signers {signers:b}");
            assert_eq!(chain.newest() == &before, old_holders < 2);
        }
        // One byte of it differs.
        let mut text = bytes.to_vec();
        let at = text.windows(7).position(|window| window == b"version").unwrap() + 10;
        text[at] = b'3';
        assert!(Chain::begin(&first).unwrap().extend(&text.into()).is_err());
    }
    assert!(Chain::trusting(&Bytes::from_static(b"{}")).is_err());
}

type Edit<'a> = &'a dyn Fn(&mut Value);

#[test]
fn what_a_terminal_does_not_show_is_not_signed() {
    let file = RootFile::unsigned(two_of_three()).unwrap();
    expect_plain(file.root()).unwrap();
    for hidden in ["\u{1b}[2K", "\u{202e}", "\n", "\u{200b}", "\u{85}", "\u{2028}", "\u{7f}"] {
        let text = format!("a{hidden}b");
        let places: [(&str, Edit<'_>); 4] = [
            ("x-ticket.a", &|root| root["x-ticket"] = serde_json::json!({"a": [1, {}, text]})),
            ("x-ticket", &|root| root["x-ticket"] = serde_json::json!({ (text.as_str()): 1 })),
            ("the name of a field", &|root| root[text.as_str()] = 1.into()),
            ("roles.root.x", &|root| root["roles"]["root"]["x"] = text.as_str().into()),
        ];
        for (place, edit) in places {
            let mut root = serde_json::to_value(file.root()).unwrap();
            edit(&mut root);
            let root: Root = serde_json::from_value(root).unwrap();
            let error = expect_plain(&root).unwrap_err().to_string();
            assert!(error.starts_with(place) && !error.contains(hidden), "{place}: {error}");
            assert_eq!(extra_fields(&root).len(), 1, "it is shown");
        }
    }
}

#[test]
fn what_must_not_be_published_is_refused_with_its_reason() {
    let people = people();
    let root = two_of_three();
    let (alice, bob) = (&people[0], &people[1]);
    let refused = |file: &RootFile| succeed(&root, file, now()).unwrap_err().to_string();

    // A version is skipped or repeated.
    let second = next(&root, expires()).unwrap();
    let third = signed_by(&next(second.root(), expires()).unwrap(), Some(&root), &[alice, bob]);
    assert!(
        refused(&third).starts_with("it is version 3, and the next one is 2"),
        "{}",
        refused(&third)
    );
    let again = signed_by(&RootFile::unsigned(root.clone()).unwrap(), Some(&root), &[alice, bob]);
    assert!(refused(&again).starts_with("it is version 1, and the next one is 2"));
    assert!(
        begin(&signed_by(&second, None, &[alice, bob]), now()).is_err(),
        "version 2 is no first root"
    );

    // It expires at this very second.
    let expired = signed_by(&set_expiry(&second, now()).unwrap(), Some(&root), &[alice, bob]);
    assert_eq!(
        refused(&expired),
        format!(
            "it expired at {}, its signed.expires: set a new expiry, and have it signed again",
            now()
        )
    );
    let second_left = set_expiry(&second, time::after(now(), 1)).unwrap();
    succeed(&root, &signed_by(&second_left, Some(&root), &[alice, bob]), now()).unwrap();

    // Too few signatures, or one of them twice.
    let one = signed_by(&second, Some(&root), &[alice]);
    assert!(refused(&one).ends_with("1 more needed"));
    let twice = signed_by(&one, Some(&root), &[alice]);
    assert_eq!(twice.signatures().len(), 1);
    let mut value: Value = serde_json::from_slice(&one.to_bytes().unwrap()).unwrap();
    let signature = value["signatures"][0].clone();
    value["signatures"].as_array_mut().unwrap().push(signature);
    let twice = RootFile::read(&serde_json::to_vec(&value).unwrap()).unwrap();
    assert!(refused(&twice).ends_with("1 more needed"));
    // A stranger's signature under alice's id.
    value["signatures"] = serde_json::json!([{
        "keyid": value["signatures"][0]["keyid"],
        "sig": hex::encode(bob.signature(&one)),
    }]);
    let forged = RootFile::read(&serde_json::to_vec(&value).unwrap()).unwrap();
    assert!(refused(&forged).ends_with("2 more needed"));
}

#[test]
fn a_key_counts_once_whatever_its_ids() {
    let people = people();
    let file = make(&people[..2], 2).unwrap();
    // Alice's key again under another id: the same public key, with a field that changes the id.
    let mut value = serde_json::to_value(file.root()).unwrap();
    let alice = hex::encode(key_id(&people[0].key.tuf_key()).unwrap());
    let mut entry = value["keys"][&alice].clone();
    entry["x"] = "y".into();
    let other: Key = serde_json::from_value(entry.clone()).unwrap();
    let id = hex::encode(key_id(&other).unwrap());
    assert_ne!(id, alice);
    value["keys"][&id] = entry;
    value["roles"]["root"]["keyids"] = serde_json::json!([alice, id]);
    let text = serde_json::to_vec(&serde_json::json!({"signed": value, "signatures": []})).unwrap();
    let error = RootFile::read(&text).unwrap_err();
    assert!(matches!(error, RootError::KeyTwice { role: "root", .. }), "{error}");
    assert!(error.to_string().contains("a threshold must be reached by different keys"), "{error}");
    let again = RootKey { holder: None, key: other };
    assert!(matches!(add_key(&file, RoleType::Root, again), Err(RootError::KeyTwice { .. })));
}

#[test]
fn no_operation_takes_a_roles_last_key_or_its_threshold() {
    let people = people();
    let file = make(&people[..1], 1).unwrap();
    for role in ROLES {
        let id = hex::encode(&file.root().roles[&role].keyids[0]);
        let error = remove_key(&file, role, &KeyName(id)).unwrap_err().to_string();
        assert!(error.starts_with("no key would be left for the role "), "{error}");
        for threshold in [0, 2] {
            let error = set_threshold(&file, role, threshold).unwrap_err().to_string();
            assert!(
                error.contains("threshold is at least 1 and at most the number of keys"),
                "{error}"
            );
        }
    }
    let file = make(&people[..2], 2).unwrap();
    let error = remove_key(&file, RoleType::Root, &KeyName("bob".into())).unwrap_err().to_string();
    assert!(error.starts_with("root would ask for 2 signatures with 1 keys"), "{error}");
    let error =
        remove_key(&file, RoleType::Root, &KeyName("carol".into())).unwrap_err().to_string();
    let why = "'carol' matches 0 keys of root, and must match one: it has alice (";
    assert!(error.starts_with(why), "{error}");
    // Another tool may have removed the keys.
    let mut value: Value = serde_json::from_slice(&file.to_bytes().unwrap()).unwrap();
    value["signed"]["roles"]["timestamp"]["keyids"] = serde_json::json!([]);
    let error = RootFile::read(&serde_json::to_vec(&value).unwrap()).unwrap_err();
    assert_eq!(error, RootError::NoKeys("timestamp"));
}

#[test]
fn a_root_that_only_adds_online_keys_is_detected() {
    let root = two_of_three();
    let file = next(&root, expires()).unwrap();
    let add = |file: &RootFile, role| {
        add_key(file, role, RootKey { holder: None, key: key().tuf_key() }).unwrap()
    };
    let added = add(&file, RoleType::Timestamp);
    assert!(only_adds(&root, added.root()));
    assert!(!only_adds(&root, file.root()), "nothing is added");
    assert!(
        !only_adds(&root, add(&file, RoleType::Root).root()),
        "the new key signs nothing online"
    );
    let asks_for_more = set_threshold(&added, RoleType::Timestamp, 2).unwrap();
    assert!(!only_adds(&root, asks_for_more.root()));
    // As people see it, in groups.
    let old = KeyName(short_id(&root.roles[&RoleType::Timestamp].keyids[0]));
    let replaced = remove_key(&added, RoleType::Timestamp, &old).unwrap();
    assert!(!only_adds(&root, replaced.root()));
    assert!(
        !only_adds(&root, add(&replaced, RoleType::Snapshot).root()),
        "a key of another role is removed"
    );
}

#[test]
fn a_root_key_stays_offline() {
    let people = people();
    let file = make(&people[..2], 1).unwrap();
    let error = add_key(&file, RoleType::Timestamp, people[0].root_key()).unwrap_err();
    assert!(matches!(error, RootError::RootKeyOnline(_)), "{error}");
    let timestamp = RootKey { holder: None, key: online().timestamp };
    assert!(matches!(
        add_key(&file, RoleType::Root, timestamp.clone()),
        Err(RootError::RootKeyOnline(_))
    ));
    add_key(&file, RoleType::Snapshot, timestamp).unwrap();
}

/// A root that others made from one of ours, signed by these people under the ids that it gives
/// them.
fn of_others(edit: impl FnOnce(&mut Value), signers: &[&Holder]) -> (Bytes, Chain) {
    let mut signed = serde_json::to_value(two_of_three()).unwrap();
    edit(&mut signed);
    let message = canonical::form(&signed).unwrap();
    let signature = |signer: &&Holder| {
        let public = key_public(&signer.key.tuf_key());
        let keys = signed["keys"].as_object().unwrap();
        let (id, _) = keys.iter().find(|(_, entry)| entry["keyval"]["public"] == public).unwrap();
        serde_json::json!({"keyid": id, "sig": hex::encode(sign(&signer.key, &message))})
    };
    let signatures: Vec<Value> = signers.iter().map(signature).collect();
    let bytes: Bytes =
        serde_json::json!({"signed": signed, "signatures": signatures}).to_string().into();
    let chain = Chain::trusting(&bytes).unwrap();
    (bytes, chain)
}

fn key_public(key: &Key) -> Value {
    serde_json::to_value(key).unwrap()["keyval"]["public"].clone()
}

/// Gives a root key the id `new`, and edits its entry.
fn rename(signed: &mut Value, old: &str, new: &str, edit: impl FnOnce(&mut Value)) {
    let mut entry = signed["keys"].as_object_mut().unwrap().remove(old).unwrap();
    edit(&mut entry);
    signed["keys"][new] = entry;
    for id in signed["roles"]["root"]["keyids"].as_array_mut().unwrap() {
        if *id == old {
            *id = new.into();
        }
    }
}

fn new_online() -> OnlineKeys {
    OnlineKeys { targets: key().tuf_key(), snapshot: key().tuf_key(), timestamp: key().tuf_key() }
}

#[test]
fn an_imported_root_keeps_its_holders() {
    let [alice, bob, ..] = people() else { panic!() };
    let edit = |signed: &mut Value| {
        signed["consistent_snapshot"] = false.into();
        signed["spec_version"] = "1.0".into();
        signed["expires"] = "2035-01-02T03:04:05.678+01:00".into();
        signed["version"] = 15.into();
    };
    let (_, chain) = of_others(edit, &[alice, bob]);
    let (new, foreign) = (new_online(), chain.newest());
    let file = adopt(&chain, new.clone(), expires()).unwrap();
    let root = file.root();
    assert_eq!((root.version.get(), root.consistent_snapshot), (16, true));
    assert_eq!(root.roles[&RoleType::Root], foreign.roles[&RoleType::Root]);
    assert_eq!(
        root.keys.len(),
        foreign.roles[&RoleType::Root].keyids.len() + 3,
        "the old online keys are gone"
    );
    for (role, key) in [
        (RoleType::Targets, &new.targets),
        (RoleType::Snapshot, &new.snapshot),
        (RoleType::Timestamp, &new.timestamp),
    ] {
        assert_eq!(root.roles[&role].keyids, [key_id(key).unwrap()]);
        assert_eq!(root.roles[&role].threshold.get(), 1);
    }
    assert!(
        succeed(foreign, &signed_by(&file, Some(foreign), &[alice]), now()).is_err(),
        "two must sign"
    );
    let fit = succeed(foreign, &signed_by(&file, Some(foreign), &[alice, bob]), now()).unwrap();
    chain.clone().extend(fit.signed().bytes()).unwrap();
    // A root key never becomes an online one.
    let careless = OnlineKeys { snapshot: alice.key.tuf_key(), ..new };
    assert!(matches!(adopt(&chain, careless, expires()), Err(RootError::RootKeyOnline(_))));
}

#[test]
fn a_key_keeps_the_id_that_others_gave_it() {
    let [alice, bob, ..] = people() else { panic!() };
    let id = |holder: &Holder| hex::encode(key_id(&holder.key.tuf_key()).unwrap());
    let edit = |signed: &mut Value| {
        // As tuf-on-ci and old python-tuf do.
        rename(signed, &id(alice), &id(alice), |entry| {
            entry["x-tuf-on-ci-keyowner"] = "@alice".into();
        });
        rename(signed, &id(bob), "0b0b", |entry| {
            entry["keyid_hash_algorithms"] = serde_json::json!(["sha256"]);
        });
        let p384 = serde_json::json!({"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp384", "keyval": {"public": "?"}});
        signed["keys"]["38"] = p384;
        signed["roles"]["timestamp"]["keyids"] = serde_json::json!(["38"]);
        signed["roles"]["mirrors"] = serde_json::json!({"keyids": ["38"], "threshold": 1});
    };
    let (bytes, chain) = of_others(edit, &[alice, bob]);
    let foreign = chain.newest();
    let file = adopt(&chain, new_online(), expires()).unwrap();
    assert_eq!(file.root().roles[&RoleType::Root], foreign.roles[&RoleType::Root]);
    // People can pass the file on, and clients that read it in that form follow.
    let file = RootFile::read(&file.to_bytes().unwrap()).unwrap();
    let signed = signed_by(&file, Some(foreign), &[alice, bob]);
    assert_eq!(needed(&signed, Some(foreign)), 0);
    let fit = succeed(foreign, &signed, now()).unwrap();
    let mut chain = chain.clone();
    chain.extend(fit.signed().bytes()).unwrap();
    let after = next(chain.newest(), expires()).unwrap();
    succeed(chain.newest(), &signed_by(&after, Some(chain.newest()), &[alice, bob]), now())
        .unwrap();
    // The previous version is read as it is.
    let before = PublishedRoot::read(&bytes).unwrap();
    assert_eq!((before.version(), before.missing()), (1, 0));
    assert_eq!(before.file().unverified().keys()["38"].kind(), None);

    // A new key must have its own id.
    let edit = |text: &str| {
        text.replace(&hex::encode(&file.root().roles[&RoleType::Timestamp].keyids[0]), "0c0c")
    };
    let renamed =
        RootFile::read(edit(&String::from_utf8(file.to_bytes().unwrap()).unwrap()).as_bytes())
            .unwrap();
    let error =
        succeed(foreign, &signed_by(&renamed, Some(foreign), &[alice, bob]), now()).unwrap_err();
    assert!(error.to_string().contains("its id is not the SHA-256"), "{error}");
}

#[test]
fn root_keys_that_an_import_cannot_keep_are_named() {
    let [alice, bob, carol, ..] = people() else { panic!() };
    let id = |holder: &Holder| hex::encode(key_id(&holder.key.tuf_key()).unwrap());
    let p384 = |entry: &mut Value| entry["scheme"] = "ecdsa-sha2-nistp384".into();
    let (_, chain) = of_others(|signed| rename(signed, &id(carol), "cc", p384), &[alice, bob]);
    let error = adopt(&chain, new_online(), expires()).unwrap_err().to_string();
    assert!(
        error.contains("version 1 of the root lists the key cc (ecdsa ecdsa-sha2-nistp384)"),
        "{error}"
    );
    // A bare point, as old go-tuf wrote it.
    let Key::Ecdsa { keyval, .. } = carol.key.tuf_key() else { panic!() };
    let bare = |entry: &mut Value| entry["keyval"]["public"] = hex::encode(&keyval.public).into();
    let (_, chain) = of_others(|signed| rename(signed, &id(carol), "cc", bare), &[alice, bob]);
    let error = adopt(&chain, new_online(), expires()).unwrap_err().to_string();
    assert!(
        error.contains("the key cc (ecdsa ecdsa-sha2-nistp256)") && error.contains("not PEM"),
        "{error}"
    );
    // An id without a key is left out, and so is a second id of the same key.
    let edit = |signed: &mut Value| {
        signed["keys"]["aa"] = signed["keys"][id(carol)].clone();
        let ids = signed["roles"]["root"]["keyids"].as_array_mut().unwrap();
        ids.extend(["aa".into(), "dd".into()]);
    };
    let (_, chain) = of_others(edit, &[alice, bob]);
    let file = adopt(&chain, new_online(), expires()).unwrap();
    assert_eq!(file.root().roles[&RoleType::Root].keyids.len(), 3);
    // A small RSA key may stay, but not be added.
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let rsa =
        pem::encode(&pem::Pem::new("PUBLIC KEY", rsa.public_key().as_der().unwrap().as_ref()));
    let small = serde_json::json!({"keytype": "rsa", "scheme": "rsassa-pss-sha256", "keyval": {"public": rsa}});
    let with = |signed: &mut Value| rename(signed, &id(carol), "cc", |entry| *entry = small);
    let (_, chain) = of_others(with, &[alice, bob]);
    let file = adopt(&chain, new_online(), expires()).unwrap();
    let signed = signed_by(&file, Some(chain.newest()), &[alice, bob]);
    succeed(chain.newest(), &signed, now()).unwrap();
    let mut other = chain.newest().clone();
    other.keys.retain(|id, _| *id != hex::decode("cc").unwrap());
    let signed = signed_by(&file, Some(&other), &[alice, bob]);
    assert!(
        succeed(&other, &signed, now()).unwrap_err().to_string().contains("RSA key of 2048 bits")
    );
}

#[test]
fn only_root_keys_sign_and_contents_cannot_be_mixed() {
    let people = people();
    let mut file = make(&people[..2], 1).unwrap();
    let error = people[2].sign(&mut file, None).unwrap_err().to_string();
    assert!(error.ends_with("its signature would not count"), "{error}");
    let other = set_expiry(&file, time::after(now(), 60)).unwrap();
    let signature = people[0].signature(&other);
    assert!(matches!(
        file.add_signature(&people[0].key.tuf_key(), &signature, None),
        Err(RootError::BadSignature(_))
    ));
    assert!(file.signatures().is_empty());
    assert_eq!(
        file.merge(&signed_by(&other, None, &[&people[0]]), None),
        Err(RootError::OtherRoot)
    );
    // An edit drops the earlier signatures.
    let signed = signed_by(&file, None, &[&people[0]]);
    assert!(set_threshold(&signed, RoleType::Root, 2).unwrap().signatures().is_empty());
}

#[test]
fn a_file_that_clients_may_read_differently_is_refused() {
    let file = make(&people()[..2], 1).unwrap();
    let text = String::from_utf8(file.to_bytes().unwrap()).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut value = value.clone();
        change(&mut value["signed"]);
        RootFile::read(&serde_json::to_vec(&value).unwrap()).unwrap_err().to_string()
    };
    let expires = value["signed"]["expires"].as_str().unwrap();
    let fraction = expires.replace('Z', ".000Z");
    assert!(
        with(&|root| root["expires"] = fraction.as_str().into())
            .contains("every client reads alike")
    );
    assert!(
        with(&|root| root["roles"]["mirrors"] = root["roles"]["root"].clone())
            .contains("every client reads alike")
    );
    assert!(
        with(&|root| root["roles"]["delegated-targets"] = root["roles"]["root"].clone())
            .contains("a role beside")
    );
    assert!(
        with(&|root| root["consistent_snapshot"] = false.into()).contains("consistent_snapshot")
    );
    assert!(with(&|root| root["spec_version"] = "2.0.0".into()).contains("spec_version"));
    assert!(with(&|root| root["version"] = 0.into()).contains("every client reads alike"));
    assert!(
        with(&|root| root["roles"]["root"]["keyids"][0] = "00".into()).contains("does not have")
    );
    assert!(with(&|root| root["x-tufline-keyholders"] = 1.into()).contains("keyholder"));
    assert!(
        with(&|root| root["x-tufline-keyholders"]["00"] = "a\u{1b}[2J".into())
            .contains("control characters")
    );
    for text in ["", "{}", "[]", "null", r#"{"signed": {}, "signatures": []}"#] {
        assert!(RootFile::read(text.as_bytes()).is_err(), "{text}");
    }
    assert!(RootFile::read(&vec![b' '; 600_000]).unwrap_err().to_string().contains("bytes"));
    // Fields that other tools add are kept and signed.
    let mut extra = value.clone();
    extra["signed"]["x-other"] = serde_json::json!({"a": [1, "b"]});
    let read = RootFile::read(&serde_json::to_vec(&extra).unwrap()).unwrap();
    assert!(
        String::from_utf8(read.message().unwrap()).unwrap().contains(r#""x-other":{"a":[1,"b"]}"#)
    );
    assert_eq!(changes(file.root(), read.root()), [RootChange::Other("x-other".into())]);
}

#[test]
fn a_public_key_has_one_id_however_it_is_written() {
    let pair = key();
    let json = serde_json::to_value(pair.tuf_key()).unwrap();
    let pem = json["keyval"]["public"].as_str().unwrap();
    let id = key_id(&pair.tuf_key()).unwrap();
    // As other tools write it: with a line end after it, with Windows line ends, or in a root's
    // JSON.
    let mut other = json.clone();
    other["keyval"]["public"] = format!("{pem}\n").into();
    for text in [
        pem.to_owned(),
        format!("{pem}\n"),
        pem.replace('\n', "\r\n"),
        json.to_string(),
        other.to_string(),
    ] {
        assert_eq!(key_id(&read_public_key(text.as_bytes(), "a").unwrap()).unwrap(), id, "{text}");
    }
    for (text, why) in [
        ("", "it is empty"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "private key"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "openssl x509"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "neither Ed25519"),
        (r#"{"keytype": "dsa"}"#, "dsa"),
    ] {
        let error = read_public_key(text.as_bytes(), "a.pub").unwrap_err().to_string();
        assert!(
            error.starts_with("the key a.pub cannot be used: ") && error.contains(why),
            "{error}"
        );
    }
}

#[derive(Debug, Clone)]
enum Step {
    Next,
    Add(usize),
    Remove(usize),
    Threshold(u64),
    Expiry(u64),
    Sign(usize),
    /// A copy that somebody signed is merged.
    Merge(usize),
    /// Somebody publishes the file that they have.
    Publish,
}

fn step() -> impl Strategy<Value = Step> {
    let person = 0..people().len();
    prop_oneof![
        2 => Just(Step::Next),
        3 => person.clone().prop_map(Step::Add),
        2 => person.clone().prop_map(Step::Remove),
        2 => (0_u64..5).prop_map(Step::Threshold),
        1 => (0_u64..1000).prop_map(Step::Expiry),
        8 => person.clone().prop_map(Step::Sign),
        3 => person.prop_map(Step::Merge),
        4 => Just(Step::Publish),
    ]
}

/// At least as many distinct public keys as the threshold, and at least one.
fn keeps_its_thresholds(root: &Root) {
    for role in ROLES {
        let entry = &root.roles[&role];
        let keys: BTreeSet<String> = entry
            .keyids
            .iter()
            .map(|id| serde_json::to_value(&root.keys[id]).unwrap()["keyval"].to_string())
            .collect();
        assert!(entry.threshold.get() >= 1 && keys.len() as u64 >= entry.threshold.get(), "{role}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// After any sequence of operations, no root, published or not, requires more signatures than
    /// it has keys, and a client that knows only the first root can follow to the newest.
    #[test]
    fn no_sequence_of_operations_loses_the_threshold(steps in prop::collection::vec(step(), 1..60)) {
        let people = people();
        let first = signed_by(&make(&people[..3], 2).unwrap(), None, &[&people[0], &people[1]]);
        let first = begin(&first, now()).unwrap();
        let mut published: Vec<Bytes> = vec![first.signed().bytes().clone()];
        let mut newest = first.root().clone();
        let mut file = next(&newest, expires()).unwrap();
        for step in steps {
            let changed = match step {
                Step::Next => next(&newest, expires()),
                Step::Add(person) => add_key(&file, RoleType::Root, people[person].root_key()),
                Step::Remove(person) => remove_key(&file, RoleType::Root, &KeyName(people[person].name.into())),
                Step::Threshold(count) => set_threshold(&file, RoleType::Root, count),
                Step::Expiry(days) => set_expiry(&file, time::after(now(), days * 86_400)),
                Step::Sign(person) => {
                    let mut signed = file.clone();
                    people[person].sign(&mut signed, Some(&newest)).map(|()| signed)
                }
                Step::Merge(person) => {
                    let (mut copy, mut merged) = (file.clone(), file.clone());
                    people[person].sign(&mut copy, Some(&newest)).and_then(|()| merged.merge(&copy, Some(&newest))).map(|_| merged)
                }
                Step::Publish => {
                    if let Ok(fit) = succeed(&newest, &file, now()) {
                        newest = fit.root().clone();
                        published.push(fit.signed().bytes().clone());
                    }
                    Ok(file.clone())
                }
            };
            if let Ok(changed) = changed {
                file = changed;
            }
            keeps_its_thresholds(file.root());
            keeps_its_thresholds(&newest);
            prop_assert_eq!(&RootFile::read(&file.to_bytes().unwrap()).unwrap(), &file);
        }
        // `tough` follows, as in a device (TUF specification 5.3.4 to 5.3.5).
        let mut trusted: schema::Signed<Root> = serde_json::from_slice(&published[0]).unwrap();
        for bytes in &published[1..] {
            let next: schema::Signed<Root> = serde_json::from_slice(bytes).unwrap();
            trusted.signed.verify_role(&next).unwrap();
            next.signed.verify_role(&next).unwrap();
            prop_assert_eq!(next.signed.version.get(), trusted.signed.version.get() + 1);
            prop_assert!(next.signed.expires > now());
            trusted = next;
        }
        // And a next root is always possible: everybody signs.
        let mut file = next(&newest, expires()).unwrap();
        for person in people {
            let _ = person.sign(&mut file, Some(&newest));
        }
        succeed(&newest, &file, now()).unwrap();
    }

    /// No difference is hidden: `show` prints none only if the two roots have the same content.
    #[test]
    fn every_difference_is_shown(steps in prop::collection::vec(step(), 0..6), field in 0..6) {
        let people = people();
        let old = two_of_three();
        let mut file = RootFile::unsigned(old.clone()).unwrap();
        for step in steps {
            let changed = match step {
                Step::Add(person) => add_key(&file, RoleType::Root, people[person].root_key()),
                Step::Remove(person) => remove_key(&file, RoleType::Root, &KeyName(people[person].name.into())),
                Step::Threshold(count) => set_threshold(&file, RoleType::Root, count),
                Step::Expiry(days) => set_expiry(&file, time::after(now(), days * 86_400)),
                _ => continue,
            };
            file = changed.unwrap_or(file);
        }
        let mut new = file.root().clone();
        let any = key();
        match field {
            0 => new.spec_version = "1.9".into(),
            1 => _ = new._extra.insert("x".into(), 1.into()),
            2 => _ = new.keys.insert(key_id(&any.tuf_key()).unwrap(), any.tuf_key()),
            3 => new.roles.get_mut(&RoleType::Root).unwrap()._extra.insert("x".into(), 1.into()).map_or((), drop),
            _ => {}
        }
        // The order in which a role lists its keys has no meaning.
        let sorted = |mut root: Root| {
            root.roles.values_mut().for_each(|entry| entry.keyids.sort());
            root
        };
        prop_assert_eq!(changes(&old, &new).is_empty(), sorted(old) == sorted(new));
    }
}

#[test]
fn an_unknown_signature_is_dropped_before_devices_see_it() {
    let people = people();
    let file = make(&people[..2], 1).unwrap();
    let signed = signed_by(&file, None, &[&people[0]]);
    let mut value: Value = serde_json::from_slice(&signed.to_bytes().unwrap()).unwrap();
    let stranger = Signature { keyid: key_id(&key().tuf_key()).unwrap(), sig: vec![1].into() };
    // tuf-on-ci marks a missing signature in this way.
    let empty = serde_json::json!({"keyid": hex::encode(key_id(&people[1].key.tuf_key()).unwrap()), "sig": ""});
    value["signatures"]
        .as_array_mut()
        .unwrap()
        .extend([serde_json::to_value(stranger).unwrap(), empty]);
    let read = RootFile::read(&serde_json::to_vec(&value).unwrap()).unwrap();
    assert_eq!(read.signatures().len(), 3);
    let published: schema::Signed<Root> =
        serde_json::from_slice(begin(&read, now()).unwrap().signed().bytes()).unwrap();
    assert_eq!(published.signatures, signed.signatures());
}
