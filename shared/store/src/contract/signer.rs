//! The contract of [`Signer`].

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU64;

use tough::schema::{self, RoleType, Root, Signature};
use tufline_tuf::root;
use tufline_tuf::{Draft, RoleDocument, RoleKeys, RoleName, Signed, Time, verify};

use crate::port::{OnlineRole, Signer};

/// Checks `signer`.
///
/// # Panics
/// If the port breaks its contract.
pub async fn signer(signer: &dyn Signer) {
    every_role_has_a_key_of_its_own_that_stays(signer).await;
    keys_are_as_every_client_reads_them(signer).await;
    signatures_verify_under_the_public_key(signer).await;
}

async fn every_role_has_a_key_of_its_own_that_stays(signer: &dyn Signer) {
    let mut ids = BTreeSet::new();
    let mut count = 0;
    for role in OnlineRole::ALL {
        let keys = signer.public_keys(role).await.unwrap();
        assert_eq!(
            signer.public_keys(role).await.unwrap(),
            keys,
            "{role:?}: the same keys each time"
        );
        assert_eq!(
            keys.last(),
            Some(&signer.newest_key(role).await.unwrap()),
            "{role:?}: the newest is the last"
        );
        count += keys.len();
        ids.extend(keys.iter().map(|key| key.key_id().unwrap().to_vec()));
    }
    assert_eq!(ids.len(), count, "no key is there twice, and no two roles share one");
}

async fn keys_are_as_every_client_reads_them(signer: &dyn Signer) {
    for role in OnlineRole::ALL {
        let key = serde_json::to_value(signer.newest_key(role).await.unwrap()).unwrap();
        assert_eq!(
            (&key["keytype"], &key["scheme"]),
            (&"ecdsa".into(), &"ecdsa-sha2-nistp256".into()),
            "{role:?}"
        );
        let public = key["keyval"]["public"].as_str().unwrap();
        let is_pem = public.starts_with("-----BEGIN PUBLIC KEY-----\n")
            && public.ends_with("-----END PUBLIC KEY-----");
        assert!(is_pem && !public.contains('\r'), "{role:?}: {public}");
        assert_eq!(
            key.as_object().unwrap().len(),
            3,
            "{role:?}: other fields would change the key's id: {key}"
        );
    }
}

async fn signatures_verify_under_the_public_key(signer: &dyn Signer) {
    for role in OnlineRole::ALL {
        let root = sign_root(signer, role).await;
        let bytes = String::from_utf8(root.bytes().to_vec()).unwrap();
        let keys = root::own_keys(root.document()).unwrap();
        let forged = bytes.replacen("2099", "2098", 1);
        assert_ne!(forged, bytes);
        let forged = verify::<tough::schema::Root>(forged.into(), &keys);
        assert!(forged.is_err(), "{role:?}: a signature over other bytes verified");
    }
    let key = signer.newest_key(OnlineRole::Targets).await.unwrap();
    let long = vec![b'x'; 1_000_000];
    assert!(
        !signer.sign(OnlineRole::Targets, &key, &long).await.unwrap().is_empty(),
        "a long message is signed too"
    );
    assert!(
        !signer.sign(OnlineRole::Targets, &key, b"").await.unwrap().is_empty(),
        "and an empty one"
    );
}

/// A root that lists `role`'s key for every role and is signed with it.
pub async fn sign_root(signer: &dyn Signer, role: OnlineRole) -> Signed<tough::schema::Root> {
    let key = signer.newest_key(role).await.unwrap();
    let (id, one) = (key.key_id().unwrap(), NonZeroU64::MIN);
    // Made by hand, because our rules for roots demand a root key that is not online.
    let of_role =
        schema::RoleKeys { keyids: vec![id.clone()], threshold: one, _extra: HashMap::new() };
    let roles = [RoleType::Root, RoleType::Targets, RoleType::Snapshot, RoleType::Timestamp];
    let root = Root {
        spec_version: "1.0.33".into(),
        consistent_snapshot: true,
        version: one,
        expires: "2099-01-01T00:00:00Z".parse::<Time>().unwrap(),
        keys: HashMap::from([(id, key)]),
        roles: roles.into_iter().map(|role| (role, of_role.clone())).collect(),
        _extra: HashMap::new(),
    };
    let draft = Draft::new(RoleName::root(), root);
    let keys = root::own_keys(draft.document()).unwrap();
    sign(signer, role, draft, &keys).await
}

/// Signs `draft` with `role`'s key, for a role whose keys are `keys`.
pub async fn sign<T: RoleDocument>(
    signer: &dyn Signer,
    role: OnlineRole,
    draft: Draft<T>,
    keys: &RoleKeys,
) -> Signed<T> {
    let key = signer.newest_key(role).await.unwrap();
    let keyid = keys.id_of(&key).expect("the key is listed").clone();
    let sig = signer.sign(role, &key, &draft.message().unwrap()).await.unwrap().into();
    draft
        .sign(vec![Signature { keyid, sig }], keys)
        .expect("the signature verifies under the public key")
}

/// A timestamp of version `version` under `root`, signed with the timestamp role's key, which
/// `root` must list.
pub async fn sign_timestamp(
    signer: &dyn Signer,
    root: &Signed<tough::schema::Root>,
    version: u64,
) -> Signed<tough::schema::Timestamp> {
    let keys = RoleKeys::in_root(root.document(), &RoleName::timestamp()).unwrap();
    let expires: Time = "2099-01-01T00:00:00Z".parse().unwrap();
    let timestamp =
        tough::schema::Timestamp::new("1.0.33".into(), version.try_into().unwrap(), expires);
    sign(signer, OnlineRole::Timestamp, Draft::new(RoleName::timestamp(), timestamp), &keys).await
}
