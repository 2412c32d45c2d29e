//! A small repository, signed by its own keys.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use tufline_metadata::canonical;

pub const TOP: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];

/// The target that tests look for.
pub const TARGET: &str = "bin/one";

/// The key with this number, always the same one.
pub fn key(number: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[number; 32]).unwrap()
}

fn public(number: u8) -> Value {
    json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": hex::encode(key(number).public_key().as_ref())}})
}

fn id(number: u8) -> String {
    format!("key-{number}")
}

/// A metadata file: `signed` with the signatures of these keys.
pub fn file(signed: &Value, signers: &[u8]) -> Vec<u8> {
    try_file(signed, signers).unwrap()
}

/// The metadata file, or `None` if `signed` has no canonical form.
pub fn try_file(signed: &Value, signers: &[u8]) -> Option<Vec<u8>> {
    let message = canonical::form(signed).ok()?;
    let signature = |number: &u8| json!({"keyid": id(*number), "sig": hex::encode(key(*number).sign(&message).as_ref())});
    serde_json::to_vec(
        &json!({"signed": signed, "signatures": signers.iter().map(signature).collect::<Vec<_>>()}),
    )
    .ok()
}

/// A repository: its files by path (targets are below `targets/`), and the keys of its roles.
#[derive(Debug, Clone)]
pub struct Repository {
    pub files: BTreeMap<String, Vec<u8>>,
    /// The numbers of each top-level role's keys.
    pub keys: BTreeMap<&'static str, Vec<u8>>,
    pub versions: BTreeMap<&'static str, u64>,
    pub expires: &'static str,
}

impl Repository {
    pub fn new() -> Self {
        let keys = TOP.into_iter().zip(1..).map(|(role, number)| (role, vec![number])).collect();
        let versions = TOP.into_iter().map(|role| (role, 0)).collect();
        let mut new =
            Self { files: BTreeMap::new(), keys, versions, expires: "2030-01-01T00:00:00Z" };
        new.next_root(&[1]);
        new.publish();
        new
    }

    /// Publishes a next root with the current keys, signed by `signers`.
    pub fn next_root(&mut self, signers: &[u8]) {
        let version = self.next("root");
        let keys: BTreeMap<String, Value> =
            self.keys.values().flatten().map(|number| (id(*number), public(*number))).collect();
        let roles: BTreeMap<&str, Value> = self
            .keys
            .iter()
            .map(|(role, keys)| {
                (*role, json!({"keyids": keys.iter().map(|key| id(*key)).collect::<Vec<_>>(), "threshold": 1}))
            })
            .collect();
        let signed = self.document(
            "root",
            version,
            &json!({"consistent_snapshot": true, "keys": keys, "roles": roles}),
        );
        self.files.insert(format!("{version}.root.json"), file(&signed, signers));
    }

    /// Publishes new targets, a snapshot and a timestamp. `targets` delegates all of `bin/` to
    /// `bins`.
    pub fn publish(&mut self) {
        let version = self.next("targets");
        let delegated = json!({"keys": {id(9): public(9)}, "roles": [{
            "name": "bins", "keyids": [id(9)], "threshold": 1, "paths": ["bin/*"], "terminating": false
        }]});
        let own = json!({"own": {"length": 1, "hashes": {"sha256": "00"}}});
        let signed =
            self.document("targets", version, &json!({"targets": own, "delegations": delegated}));
        self.sign("targets", &format!("{version}.targets.json"), &signed);
        let bytes = format!("{TARGET} of version {version}").into_bytes();
        let sha256 = hex::encode(digest(&SHA256, &bytes));
        let listed = json!({TARGET: {"length": bytes.len(), "hashes": {"sha256": sha256}}});
        let bins = self.document("targets", version, &json!({"targets": listed}));
        self.files
            .insert(format!("targets/{}", TARGET.replace('/', &format!("/{sha256}."))), bytes);
        self.files.insert(format!("{version}.bins.json"), file(&bins, &[9]));
        let meta = json!({"targets.json": {"version": version}, "bins.json": {"version": version}});
        let snapshot = self.next("snapshot");
        let signed = self.document("snapshot", snapshot, &json!({"meta": meta}));
        self.sign("snapshot", &format!("{snapshot}.snapshot.json"), &signed);
        self.refresh();
    }

    /// Publishes a timestamp.
    pub fn refresh(&mut self) {
        let version = self.next("timestamp");
        let meta = json!({"snapshot.json": {"version": self.versions["snapshot"]}});
        let signed = self.document("timestamp", version, &json!({"meta": meta}));
        self.sign("timestamp", "timestamp.json", &signed);
    }

    pub fn document(&self, kind: &str, version: u64, fields: &Value) -> Value {
        let mut signed = json!({"_type": kind, "spec_version": "1.0.34", "version": version, "expires": self.expires});
        signed.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        signed
    }

    fn sign(&mut self, role: &str, path: &str, signed: &Value) {
        let file = file(signed, &self.keys[role]);
        self.files.insert(path.to_owned(), file);
    }

    fn next(&mut self, role: &'static str) -> u64 {
        let version = self.versions.get_mut(role).unwrap();
        *version += 1;
        *version
    }
}
