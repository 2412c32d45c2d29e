//! Signing and verification.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashMap;
use std::num::NonZeroU64;

use common::{Keys, key, now, sign, signature};
use proptest::prelude::*;
use tough::schema::key::Key;
use tough::schema::{RoleType, Root, Targets};
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
    assert!(signed.is_signed_form_of(&draft()));
    let role_keys = RoleKeys::in_root(&trusted, &RoleName::targets()).unwrap();
    assert_eq!(verify::<Targets>(signed.bytes().clone(), &role_keys).unwrap(), signed);
    let again = sign(draft(), &keys.targets, &trusted);
    assert_ne!(again.bytes(), signed.bytes(), "ECDSA signatures differ each time");
    let kept = Draft::<Targets>::from_bytes(RoleName::targets(), &draft().to_bytes().unwrap()).unwrap();
    assert_eq!(kept, draft());
}

#[test]
fn another_role_s_key_is_no_use() {
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

/// Lists `key` for the targets role once more, as a key object with another id.
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
    assert!(matches!(signed().expect_version(2), Err(VerifyError::Version { found: 1, expected: 2, .. })));
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever byte of a file is changed: it is refused, or still says the same.
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
