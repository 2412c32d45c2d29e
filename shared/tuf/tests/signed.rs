//! Signs and verifies role documents.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{Ed25519KeyPair, RSA_PSS_SHA256};
use common::{Keys, key, now, sign, signature};
use proptest::prelude::*;
use tough::schema::key::Key;
use tough::schema::{self, RoleType, Root, Signature, Targets};
use tough::sign::Sign;
use tufline_tuf::time::after;
use tufline_tuf::{Draft, RoleKeys, RoleName, VerifyError, root, verify};

fn draft() -> Draft<Targets> {
    common::start().documents[&RoleName::targets()].clone()
}

#[test]
fn what_is_signed_reads_back_and_keeps_its_draft() {
    let keys = Keys::new();
    let trusted = keys.trusted(after(now(), 60));
    let signed = sign(draft(), &keys.targets, &trusted);
    assert_eq!(signed.document(), draft().document());
    let role_keys = RoleKeys::in_root(&trusted, &RoleName::targets()).unwrap();
    assert_eq!(verify::<Targets>(signed.bytes().clone(), &role_keys).unwrap(), signed);
    let again = sign(draft(), &keys.targets, &trusted);
    assert_ne!(again.bytes(), signed.bytes(), "ECDSA signatures differ each time");
    let kept =
        Draft::<Targets>::from_bytes(RoleName::targets(), &draft().to_bytes().unwrap()).unwrap();
    assert_eq!(kept, draft());
}

#[test]
fn another_roles_key_is_refused() {
    let keys = Keys::new();
    let trusted = keys.trusted(after(now(), 60));
    let role_keys = RoleKeys::in_root(&trusted, &RoleName::targets()).unwrap();
    let message = draft().message().unwrap();
    for other in [&keys.snapshot, &keys.timestamp, &keys.root, &key()] {
        let refused = draft().sign(vec![signature(other, &message)], &role_keys).unwrap_err();
        assert!(matches!(refused, VerifyError::Signatures { .. }), "{refused}");
    }
    assert!(draft().sign(Vec::new(), &role_keys).is_err());
}

/// Lists `key` for the targets role once more, as a key entry with another id.
fn list_twice(root: &mut Root, key: &Key) {
    let Key::Ecdsa { keyval, scheme, .. } = key.clone() else { panic!() };
    let twin = Key::EcdsaOld { keyval, scheme, _extra: HashMap::new() };
    let id = twin.key_id().unwrap();
    root.keys.insert(id.clone(), twin);
    let role = root.roles.get_mut(&RoleType::Targets).unwrap();
    role.keyids.push(id);
    role.threshold = NonZeroU64::new(2).unwrap();
}

#[test]
fn a_threshold_counts_public_keys_and_not_ids() {
    let keys = Keys::new();
    let mut trusted = keys.trusted(after(now(), 60));
    list_twice(&mut trusted, &keys.targets.tuf_key());
    let role_keys = RoleKeys::in_root(&trusted, &RoleName::targets()).unwrap();
    let message = draft().message().unwrap();
    let mut twin = signature(&keys.targets, &message);
    twin.keyid = trusted.roles[&RoleType::Targets].keyids[1].clone();
    let both = vec![signature(&keys.targets, &message), twin];
    assert!(draft().sign(both, &role_keys).is_err(), "one key must not count twice");
}

#[test]
fn versions_and_expiries_are_checked() {
    let keys = Keys::new();
    let trusted = keys.trusted(after(now(), 60));
    let signed = || sign(draft(), &keys.targets, &trusted);
    assert!(signed().expect_version(1).is_ok());
    assert!(matches!(
        signed().expect_version(2),
        Err(VerifyError::Version { found: 1, expected: 2, .. })
    ));
    let expires = signed().document().expires;
    assert!(signed().expect_fresh(now()).is_ok());
    assert!(matches!(signed().expect_fresh(expires), Err(VerifyError::Expired { .. })));
}

#[test]
fn a_root_signs_itself_under_its_own_version() {
    let keys = Keys::new();
    let trusted = keys.trusted(after(now(), 60));
    let draft = Draft::new(RoleName::root(), trusted.clone());
    let own = root::own_keys(&trusted).unwrap();
    let message = draft.message().unwrap();
    let signed = draft.sign(vec![signature(&keys.root, &message)], &own).unwrap();
    assert_eq!(root::read(signed.bytes(), 1).unwrap(), signed);
    assert!(root::read(signed.bytes(), 2).is_err());
    assert!(root::read(&b"{}"[..].into(), 1).is_err());
}

type Signer = (Key, Box<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>);

/// Two keys of each scheme, with a function that signs with each.
static SIGNERS: LazyLock<Vec<Signer>> = LazyLock::new(|| (0..2).flat_map(|_| signers()).collect());

fn signers() -> [Signer; 3] {
    let (ecdsa, ed25519) = (key(), Ed25519KeyPair::generate().unwrap());
    let rsa = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let keys = [ecdsa.tuf_key(), ed25519.tuf_key(), rsa.tuf_key()];
    let by_ecdsa =
        move |message: &[u8]| ecdsa.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec();
    let by_ed25519 = move |message: &[u8]| ed25519.sign(message).as_ref().to_vec();
    let by_rsa = move |message: &[u8]| {
        let mut signature = vec![0; rsa.public_modulus_len()];
        rsa.sign(&RSA_PSS_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    };
    let [first, second, third] = keys;
    [(first, Box::new(by_ecdsa)), (second, Box::new(by_ed25519)), (third, Box::new(by_rsa))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any keys may be listed, at any threshold, and any key may sign anything under any id.
    #[test]
    fn signatures_count_as_they_do_for_tough(
        listed in prop::collection::vec(any::<bool>(), 6),
        threshold in 1..4_u64,
        made in prop::collection::vec((0..6_usize, 0..8_usize, 0..4_usize), 0..6),
    ) {
        let keys = Keys::new();
        let mut trusted = keys.trusted(after(now(), 60));
        let ids: Vec<_> = SIGNERS.iter().map(|(key, _)| key.key_id().unwrap()).collect();
        let role = trusted.roles.get_mut(&RoleType::Targets).unwrap();
        role.threshold = NonZeroU64::new(threshold).unwrap();
        role.keyids = ids.iter().zip(&listed).filter(|(_, listed)| **listed).map(|(id, _)| id.clone()).collect();
        trusted.keys.extend(ids.iter().cloned().zip(SIGNERS.iter().map(|(key, _)| key.clone())));
        let message = draft().message().unwrap();
        let signatures: Vec<_> = made.into_iter().map(|(signer, id, what)| {
            // Most keys sign the right message under their own id.
            let mut sig = SIGNERS[signer].1(if what == 3 { b"another" } else { &message });
            sig[3] ^= u8::from(what == 2);
            Signature { keyid: ids.get(id).filter(|_| what == 1).unwrap_or(&ids[signer]).clone(), sig: sig.into() }
        }).collect();
        let envelope = schema::Signed { signed: draft().document().clone(), signatures };
        let role_keys = RoleKeys::in_root(&trusted, &RoleName::targets()).unwrap();
        let verified = verify::<Targets>(serde_json::to_vec(&envelope).unwrap().into(), &role_keys);
        prop_assert_eq!(verified.is_ok(), trusted.verify_role(&envelope).is_ok(), "{:?}", verified);
    }

    /// After a change of any byte, the file is refused or has the same content.
    #[test]
    fn no_changed_byte_is_believed(position in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let keys = Keys::new();
        let trusted = keys.trusted(after(now(), 60));
        let signed = sign(draft(), &keys.targets, &trusted);
        let mut bytes = signed.bytes().to_vec();
        let position = position.index(bytes.len());
        bytes[position] = byte;
        let role_keys = RoleKeys::in_root(&trusted, &RoleName::targets()).unwrap();
        if let Ok(read) = verify::<Targets>(bytes.into(), &role_keys) {
            prop_assert_eq!(read.document(), signed.document());
        }
    }
}
