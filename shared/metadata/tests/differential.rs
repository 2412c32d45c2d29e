//! For metadata in the form that Tufline writes, the crate accepts exactly what tough accepts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod signers;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};
use serde_json::{Value, json};
use signers::{Signer, form, id, signed};
use tough::schema;
use tufline_metadata::TrustedRoot;

const KEYS: u8 = 5;

#[derive(Debug, Clone)]
enum Change {
    Nothing,
    /// One bit of the file is changed.
    Bit(Index, u8),
    /// A number, a string or an id in the document is changed.
    Field(Index),
    /// A signature is under another key's id.
    OtherId(Index, Index),
    /// A signature occurs twice.
    Twice(Index),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        2 => Just(Change::Nothing),
        3 => (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Change::Bit(at, bit)),
        1 => any::<Index>().prop_map(Change::Field),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(one, other)| Change::OtherId(one, other)),
        1 => any::<Index>().prop_map(Change::Twice),
    ]
}

fn keys() -> Vec<(String, Value, Signer)> {
    let mut signers: Vec<Signer> = (1..KEYS).map(Signer::ed25519).collect();
    signers.push(Signer::p256());
    signers.into_iter().map(|signer| (id(&signer.entry()), signer.entry(), signer)).collect()
}

fn document(ids: &[&str], keys: &[(String, Value, Signer)], threshold: u64) -> Value {
    let entries: serde_json::Map<String, Value> =
        keys.iter().map(|(id, entry, _)| (id.clone(), entry.clone())).collect();
    let role = json!({"keyids": ids, "threshold": threshold});
    let online = json!({"keyids": [ids[0]], "threshold": 1});
    json!({
        "_type": "root", "spec_version": "1.0.33", "version": 1, "expires": "2030-01-01T00:00:00Z", "consistent_snapshot": true,
        "keys": entries,
        "roles": {"root": role, "targets": online, "snapshot": online, "timestamp": online},
    })
}

fn tough_accepts(bytes: &[u8]) -> bool {
    let Ok(file) = serde_json::from_slice::<schema::Signed<schema::Root>>(bytes) else {
        return false;
    };
    file.signed.verify_role(&file).is_ok()
}

/// What tough accepts though its bytes are not what was signed: tough reads ids and signatures in
/// either case, and doesn't read `_type`, but writes "root" there before it verifies.
fn only_tough_accepts(bytes: &[u8], original: &[u8]) -> bool {
    let other_type = serde_json::from_slice::<Value>(bytes)
        .is_ok_and(|file| file["signed"]["_type"].as_str() != Some("root"));
    bytes != original && (other_type || bytes.eq_ignore_ascii_case(original))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn roots_are_accepted_as_tough_accepts_them(
        listed in subsequence((0..KEYS as usize).collect::<Vec<_>>(), 1..=KEYS as usize),
        threshold in 1..=4_u64,
        signing in vec(0..KEYS as usize, 0..5),
        change in change(),
    ) {
        let keys = keys();
        let ids: Vec<&str> = listed.iter().map(|index| keys[*index].0.as_str()).collect();
        let document = document(&ids, &keys, threshold);
        let mut signing = signing;
        signing.sort_unstable();
        signing.dedup();
        let signers: Vec<(&str, &Signer)> = signing.iter().map(|index| (keys[*index].0.as_str(), &keys[*index].2)).collect();
        let mut bytes = signed(&document, &signers);
        let good = signing.iter().filter(|index| listed.contains(index)).count() as u64;
        let original = bytes.clone();
        match &change {
            Change::Bit(at, bit) => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            Change::Field(at) => {
                let mut file: Value = serde_json::from_slice(&bytes).unwrap();
                let fields = ["version", "expires", "consistent_snapshot", "spec_version", "extra"];
                file["signed"][*at.get(&fields)] = json!(7);
                bytes = file.to_string().into_bytes();
            }
            Change::OtherId(one, other) if !signers.is_empty() => {
                let mut file: Value = serde_json::from_slice(&bytes).unwrap();
                let id = keys[other.index(keys.len())].0.clone();
                file["signatures"][one.index(signers.len())]["keyid"] = json!(id);
                bytes = file.to_string().into_bytes();
            }
            Change::Twice(at) if !signers.is_empty() => {
                let mut file: Value = serde_json::from_slice(&bytes).unwrap();
                let again = file["signatures"][at.index(signers.len())].clone();
                file["signatures"].as_array_mut().unwrap().push(again);
                bytes = file.to_string().into_bytes();
            }
            _ => {}
        }
        let accepted = TrustedRoot::begin(&bytes);
        if tough_accepts(&bytes) && !only_tough_accepts(&bytes, &original) {
            prop_assert!(accepted.is_ok(), "{accepted:?}");
        }
        if bytes == original {
            prop_assert_eq!(accepted.is_ok(), tough_accepts(&bytes), "{:?}", &accepted);
            prop_assert_eq!(accepted.is_ok(), good >= threshold);
        }
        // Whatever is accepted is what was signed, but for what is not signed.
        if let Ok(root) = accepted {
            prop_assert_eq!(root.file().message(), form(&document));
            prop_assert!(root.file().signers(&root.root().role("root").unwrap()).len() as u64 >= threshold);
        }
    }

    /// A signature in which a bit changed is nobody's.
    #[test]
    fn a_changed_signature_never_verifies(kind in 0..4_u8, at in any::<Index>(), bit in 0..8_u8) {
        thread_local! {
            static SIGNERS: [Signer; 4] =
                [Signer::ed25519(9), Signer::p256(), Signer::p384(), Signer::rsa(aws_lc_rs::rsa::KeySize::Rsa2048)];
        }
        SIGNERS.with(|signers| {
            let signer = &signers[usize::from(kind)];
            let id = id(&signer.entry());
            let key = [(id.clone(), signer.entry(), Signer::ed25519(1))];
            let document = document(&[&id], &key, 1);
            let mut file: Value = serde_json::from_slice(&signed(&document, &[(&id, signer)])).unwrap();
            prop_assert!(TrustedRoot::begin(file.to_string().as_bytes()).is_ok());
            let mut signature = hex::decode(file["signatures"][0]["sig"].as_str().unwrap()).unwrap();
            let at = at.index(signature.len());
            signature[at] ^= 1 << bit;
            file["signatures"][0]["sig"] = json!(hex::encode(&signature));
            prop_assert!(TrustedRoot::begin(file.to_string().as_bytes()).is_err());
            Ok(())
        })?;
    }

    /// Under as many ids as one likes, a key signs once.
    #[test]
    fn thresholds_count_keys(aliases in vec((0..3_u8, 0..4_u8), 1..8), threshold in 1..=4_u64) {
        let mut entries = serde_json::Map::new();
        let mut signatures = Vec::new();
        let signers: Vec<Signer> = (1..=3).map(Signer::ed25519).collect();
        for (key, alias) in &aliases {
            let id = format!("{key}{alias}");
            let mut entry = signers[usize::from(*key)].entry();
            entry["x-alias"] = json!(alias);
            entries.insert(id.clone(), entry);
            signatures.push((id, &signers[usize::from(*key)]));
        }
        signatures.sort_by(|one, other| one.0.cmp(&other.0));
        signatures.dedup_by(|one, other| one.0 == other.0);
        let ids: Vec<&str> = signatures.iter().map(|(id, _)| id.as_str()).collect();
        let document = json!({
            "_type": "root", "spec_version": "1.0", "version": 1, "expires": "2030-01-01T00:00:00Z",
            "keys": entries, "roles": {"root": {"keyids": ids, "threshold": threshold}},
        });
        let signatures: Vec<(&str, &Signer)> = signatures.iter().map(|(id, signer)| (id.as_str(), *signer)).collect();
        let distinct: std::collections::BTreeSet<u8> = aliases.iter().map(|(key, _)| *key).collect();
        let accepted = TrustedRoot::begin(&signed(&document, &signatures)).is_ok();
        prop_assert_eq!(accepted, distinct.len() as u64 >= threshold);
    }
}

/// Whichever bit of a file with two good signatures changes: if tough accepts it, so does the crate,
/// and what the crate accepts is what was signed.
#[test]
fn no_bit_can_change_unnoticed() {
    let keys = keys();
    let ids: Vec<&str> = keys.iter().map(|key| key.0.as_str()).collect();
    let document = document(&ids, &keys, 1);
    let original = signed(&document, &[(ids[0], &keys[0].2), (ids[4], &keys[4].2)]);
    for at in 0..original.len() {
        for bit in 0..8 {
            let mut bytes = original.clone();
            bytes[at] ^= 1 << bit;
            let accepted = TrustedRoot::begin(&bytes);
            if tough_accepts(&bytes) && !only_tough_accepts(&bytes, &original) {
                assert!(accepted.is_ok(), "bit {bit} of byte {at}: {accepted:?}");
            }
            if let Ok(root) = accepted {
                assert_eq!(root.file().message(), form(&document), "bit {bit} of byte {at}");
            }
        }
    }
}
