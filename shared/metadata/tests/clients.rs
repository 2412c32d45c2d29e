//! Metadata as repositories in the field have it and clients read it, in the forms that various
//! tools write.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod signers;

use std::collections::BTreeMap;

use aws_lc_rs::rsa::KeySize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};
use signers::{Signer, form, id, pem, signed};
use tufline_metadata::{Error, Snapshot, Target, Targets, Time, Timestamp, TrustedRoot, find};

const EXPIRES: &str = "2030-01-01T00:00:00Z";

fn now() -> Time {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// A root in which one key, with this entry under this id, signs for every role.
fn root_of(version: u64, id: &str, entry: &Value) -> Value {
    let role = json!({"keyids": [id], "threshold": 1});
    json!({
        "_type": "root", "spec_version": "1.0.31", "version": version, "expires": EXPIRES, "consistent_snapshot": true,
        "keys": {id: entry},
        "roles": {"root": role, "timestamp": role, "snapshot": role, "targets": role},
    })
}

fn begin(id: &str, entry: &Value, signer: &Signer) -> Result<TrustedRoot, Error> {
    TrustedRoot::begin(&signed(&root_of(1, id, entry), &[(id, signer)]))
}

#[test]
fn an_id_is_what_the_root_says() {
    let signer = Signer::ed25519(1);
    let plain = signer.entry();
    let (mut own, mut hashed) = (plain.clone(), plain.clone());
    // tuf-on-ci adds the key's owner to the entry, and keeps the id that the entry had before.
    own["x-tuf-on-ci-keyowner"] = json!("@somebody");
    // python-tuf before 1.0 had this in the entry, and computed the id with or without it.
    hashed["keyid_hash_algorithms"] = json!(["sha256", "sha512"]);
    for (id, entry) in [
        (id(&plain), &own),
        (id(&hashed), &hashed),
        (id(&plain), &hashed),
        ("any".to_owned(), &plain),
    ] {
        let root = begin(&id, entry, &signer).unwrap();
        assert_eq!(root.root().role("timestamp").unwrap().keys().next().unwrap().0, id);
    }
    assert!(begin("any", &plain, &Signer::ed25519(2)).is_err());
}

#[test]
fn all_kinds_of_keys() {
    let kinds = [
        Signer::ed25519(1),
        Signer::p256(),
        Signer::p384(),
        Signer::rsa(KeySize::Rsa2048),
        Signer::rsa(KeySize::Rsa4096),
    ];
    let mut entries: Vec<(Value, &Signer, &str)> = Vec::new();
    for (signer, kind) in kinds.iter().zip(["Ed25519", "ECDSA P-256", "ECDSA P-384", "RSA", "RSA"])
    {
        entries.push((signer.entry(), signer, kind));
    }
    for (signer, old) in [(&kinds[1], "ecdsa-sha2-nistp256"), (&kinds[2], "ecdsa-sha2-nistp384")] {
        let mut entry = signer.entry();
        entry["keytype"] = json!(old);
        entries.push((entry.clone(), signer, signer_kind(old)));
        // go-tuf wrote the point in hexadecimal.
        entry["keyval"]["public"] = json!(hex::encode(signer.bare()));
        entries.push((entry.clone(), signer, signer_kind(old)));
        entry["keytype"] = json!("ecdsa");
        entries.push((entry, signer, signer_kind(old)));
    }
    // PKCS#1, with line ends as on Windows, and none after the last line.
    let mut entry = kinds[3].entry();
    entry["keyval"]["public"] =
        json!(pem("RSA PUBLIC KEY", &kinds[3].bare()).replace('\n', "\r\n").trim_end());
    entries.push((entry, &kinds[3], "RSA"));
    for (entry, signer, kind) in entries {
        let root =
            begin(&id(&entry), &entry, signer).unwrap_or_else(|error| panic!("{entry}: {error}"));
        assert_eq!(root.root().keys().values().next().unwrap().kind(), Some(kind));
        let stranger = if kind == "RSA" { Signer::rsa(KeySize::Rsa2048) } else { Signer::p256() };
        assert!(begin(&id(&entry), &entry, &stranger).is_err(), "{entry}");
    }
}

fn signer_kind(keytype: &str) -> &'static str {
    if keytype.ends_with("384") { "ECDSA P-384" } else { "ECDSA P-256" }
}

#[test]
fn unusable_keys_do_not_block_others() {
    let signer = Signer::ed25519(1);
    let mut document = root_of(1, "a", &signer.entry());
    for (id, entry) in [
        (
            "b",
            json!({"keytype": "sigstore-oidc", "scheme": "Fulcio", "keyval": {"identity": "a@b", "issuer": "c"}}),
        ),
        ("c", json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "00"}})),
        ("d", json!({"keytype": "ed25519", "scheme": "ed448", "keyval": {"public": "00"}})),
    ] {
        document["keys"][id] = entry;
        document["roles"]["root"]["keyids"].as_array_mut().unwrap().push(json!(id));
    }
    document["roles"]["root"]["keyids"].as_array_mut().unwrap().push(json!("nobody"));
    document["roles"]["mirrors"] = json!({"keyids": ["b"], "threshold": 1});
    let stranger = Signer::ed25519(2);
    let root = TrustedRoot::begin(&signed(&document, &[("a", &signer), ("c", &stranger)])).unwrap();
    assert_eq!(root.root().keys()["b"].kind(), None);
    assert_eq!(root.root().role("root").unwrap().unknown().collect::<Vec<_>>(), ["nobody"]);
    document["roles"]["root"]["threshold"] = json!(2);
    let error = TrustedRoot::begin(&signed(
        &document,
        &[("a", &signer), ("b", &stranger), ("c", &stranger)],
    ));
    assert!(matches!(error, Err(Error::Signatures { good: 1, needed: 2, .. })));
}

#[test]
fn a_chain_begins_anywhere_and_has_no_gaps() {
    let (old, new) = (Signer::ed25519(1), Signer::p384());
    let document = root_of(15, "new", &new.entry());
    let fifteenth = TrustedRoot::begin(&signed(&document, &[("new", &new)])).unwrap();
    let next = root_of(16, "new", &new.entry());
    assert_eq!(fifteenth.follow(&signed(&next, &[("new", &new)])).unwrap().version(), 16);
    let skips = root_of(17, "new", &new.entry());
    assert!(matches!(
        fifteenth.follow(&signed(&skips, &[("new", &new)])),
        Err(Error::Version { found: 17, expected: 16 })
    ));
    // The old key and the new one must both sign the root that replaces one by the other.
    let before =
        TrustedRoot::begin(&signed(&root_of(14, "old", &old.entry()), &[("old", &old)])).unwrap();
    assert!(before.follow(&signed(&document, &[("new", &new)])).is_err());
    assert!(before.follow(&signed(&document, &[("old", &old)])).is_err());
    assert!(before.follow(&signed(&document, &[("old", &old), ("new", &new)])).is_ok());
}

#[test]
fn small_things() {
    let signer = Signer::ed25519(1);
    let edit = |edit: fn(&mut Value)| {
        let mut document = root_of(1, "a", &signer.entry());
        edit(&mut document);
        TrustedRoot::begin(&signed(&document, &[("a", &signer)]))
    };
    for (text, seconds) in [
        ("2030-01-01T00:00:00.123456Z", 0),
        ("2030-01-01T02:00:00+02:00", 0),
        ("2029-12-31T23:59:59.5-00:00", -1),
    ] {
        let mut document = root_of(1, "a", &signer.entry());
        document["expires"] = json!(text);
        let root = TrustedRoot::begin(&signed(&document, &[("a", &signer)])).unwrap();
        assert_eq!(
            root.file().common().expires.as_second() - EXPIRES.parse::<Time>().unwrap().as_second(),
            seconds
        );
    }
    assert!(
        !edit(|document| _ = document.as_object_mut().unwrap().remove("consistent_snapshot"))
            .unwrap()
            .root()
            .consistent_snapshot
    );
    for spec_version in ["1.0", "1.0.0", "1.0.33", "1.1", "1"] {
        let mut document = root_of(1, "a", &signer.entry());
        document["spec_version"] = json!(spec_version);
        assert!(
            TrustedRoot::begin(&signed(&document, &[("a", &signer)])).is_ok(),
            "{spec_version}"
        );
    }
    edit(|document| document["roles"]["root"]["x-tuf-on-ci-expiry-period"] = json!(365)).unwrap();
    edit(|document| document["x"] = json!({"y": [null, true, {"z": "é\u{1}"}]})).unwrap();
    for (place, refused) in [
        ("_type", edit(|document| document["_type"] = json!("targets"))),
        ("spec_version", edit(|document| document["spec_version"] = json!("2.0.0"))),
        ("version", edit(|document| document["version"] = json!(0))),
        ("version", edit(|document| document["version"] = json!("1"))),
        ("expires", edit(|document| document["expires"] = json!("tomorrow"))),
        (
            "roles.root.threshold",
            edit(|document| document["roles"]["root"]["threshold"] = json!(0)),
        ),
        ("keys.a.scheme", edit(|document| document["keys"]["a"]["scheme"] = json!(null))),
    ] {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains(place) && !error.contains('\n'), "{error}");
    }
    assert!(TrustedRoot::begin(b"[]").is_err());
    assert!(TrustedRoot::begin(b"").is_err());
}

#[test]
fn a_document_without_a_common_form_is_reported() {
    let signer = Signer::ed25519(1);
    let mut document = root_of(1, "a", &signer.entry());
    // Not in normal form C, and signed as python-tuf and go-tuf sign it.
    document["x"] = json!("e\u{301}");
    let mut message = form(&document);
    let at = message.windows(2).position(|pair| pair == "é".as_bytes()).unwrap();
    message.splice(at..at + 2, "e\u{301}".bytes());
    let file = json!({"signed": document, "signatures": [{"keyid": "a", "sig": hex::encode(signer.sign(&message))}]});
    let root = TrustedRoot::begin(file.to_string().as_bytes()).unwrap();
    assert!(root.file().unalike().is_some());
    document["x"] = json!(0.5);
    let file = json!({"signed": document, "signatures": []});
    assert!(matches!(TrustedRoot::begin(file.to_string().as_bytes()), Err(Error::Form(_))));
}

/// Form C turns the Kelvin sign into an ordinary `K`, and some other characters into other ASCII
/// characters. An attacker who can change a file on its way could use that to change what a
/// signature vouches for.
#[test]
fn no_string_replaces_another_that_was_signed() {
    let signer = Signer::ed25519(1);
    for (signed_text, changed) in
        [("K", "\u{212a}"), (";", "\u{37e}"), ("`", "\u{1fef}"), ("é", "e\u{301}")]
    {
        let mut document = root_of(1, "a", &signer.entry());
        document["x"] = json!({signed_text: signed_text});
        let file = signed(&document, &[("a", &signer)]);
        assert!(TrustedRoot::begin(&file).is_ok());
        for x in [json!({signed_text: changed}), json!({changed: signed_text})] {
            let mut file: serde_json::Value = serde_json::from_slice(&file).unwrap();
            file["signed"]["x"] = x;
            let refused = TrustedRoot::begin(file.to_string().as_bytes()).unwrap_err();
            assert!(matches!(refused, Error::Signatures { .. }), "{changed:?}: {refused}");
        }
    }
}

/// A root and the documents below it, all signed by one key.
struct Repository {
    signer: Signer,
    root: TrustedRoot,
}

impl Repository {
    fn new() -> Self {
        let signer = Signer::ed25519(1);
        let root = begin("a", &signer.entry(), &signer).unwrap();
        Self { signer, root }
    }

    fn file(&self, mut document: Value, kind: &str) -> Vec<u8> {
        document["_type"] = json!(kind);
        for (field, value) in
            [("version", json!(1)), ("spec_version", json!("1.0")), ("expires", json!(EXPIRES))]
        {
            if document.get(field).is_none() {
                document[field] = value;
            }
        }
        signed(&document, &[("a", &self.signer)])
    }

    fn timestamp(&self, snapshot: &Value) -> Result<Timestamp, Error> {
        self.root
            .timestamp(&self.file(json!({"meta": {"snapshot.json": snapshot}}), "timestamp"), now())
    }

    fn snapshot(&self, meta: &Value) -> Snapshot {
        let file = self.file(json!({"meta": meta}), "snapshot");
        let timestamp = self.timestamp(&json!({"version": 1})).unwrap();
        self.root.snapshot(&file, &timestamp, now()).unwrap()
    }
}

#[test]
fn lengths_and_hashes_may_be_missing_or_of_any_kind() {
    let repository = Repository::new();
    let file = repository.file(json!({"meta": {"targets.json": {"version": 1}}}), "snapshot");
    let (sha256, sha512) = (hex::encode(Sha256::digest(&file)), hex::encode(Sha512::digest(&file)));
    let check = |listed: &Value| {
        let timestamp = repository.timestamp(listed).unwrap();
        repository.root.snapshot(&file, &timestamp, now())
    };
    for good in [
        json!({"version": 1}),
        json!({"version": 1, "length": file.len()}),
        json!({"version": 1, "hashes": {"sha512": sha512}}),
        json!({"version": 1, "hashes": {"sha256": sha256, "blake2b-256": "00"}}),
        json!({"version": 1, "length": null, "hashes": {}}),
    ] {
        assert!(check(&good).is_ok(), "{good}");
    }
    for bad in [
        json!({"version": 2}),
        json!({"version": 1, "length": file.len() + 1}),
        json!({"version": 1, "hashes": {"sha512": sha256}}),
        json!({"version": 1, "hashes": {"sha256": sha256, "sha512": "00"}}),
        json!({"version": 1, "hashes": {"blake2b-256": "00"}}),
    ] {
        assert!(check(&bad).is_err(), "{bad}");
    }
    let timestamp = repository.timestamp(&json!({"version": 1})).unwrap();
    let late = EXPIRES.parse().unwrap();
    assert!(matches!(repository.root.snapshot(&file, &timestamp, late), Err(Error::Expired(_))));
    let stranger = Signer::ed25519(2);
    let forged = signed(&json!({"_type": "snapshot"}), &[("a", &stranger)]);
    assert!(repository.root.snapshot(&forged, &timestamp, now()).is_err());
}

fn target(content: &str) -> Value {
    json!({"length": content.len(), "hashes": {"sha256": hex::encode(Sha256::digest(content))}})
}

#[test]
fn delegations_of_all_kinds() {
    let repository = Repository::new();
    let entry = repository.signer.entry();
    let role =
        |name: &str| json!({"name": name, "keyids": ["k"], "threshold": 1, "terminating": false});
    let with = |mut role: Value, field: &str, value: Value| {
        role[field] = value;
        role
    };
    let digest = hex::encode(Sha256::digest("hashed"));
    let top = json!({
        "targets": {"own/a": target("top")},
        "delegations": {
            "keys": {"k": entry},
            "roles": [
                with(role("first"), "paths", json!(["own/*", "one/?.bin"])),
                with(role("ends"), "paths", json!(["end/*"])),
                with(role("hashes"), "path_hash_prefixes", json!([&digest[..3]])),
                // Without paths and without `terminating`: python-tuf doesn't read this, go-tuf
                // does.
                json!({"name": "nothing", "keyids": [], "threshold": 1}),
                with(role("absent"), "paths", json!(["never/*"])),
                with(role("last"), "paths", json!(["*", "*/*", "*/*/*"])),
            ],
        },
    });
    let mut top = top;
    top["delegations"]["roles"][1]["terminating"] = json!(true);
    let listed = |names: &[&str], content: &str| {
        let targets: serde_json::Map<String, Value> =
            names.iter().map(|name| ((*name).to_owned(), target(content))).collect();
        json!({"targets": targets})
    };
    let documents: BTreeMap<&str, Value> = [
        ("targets", top),
        ("first", listed(&["own/a", "own/b", "one/é.bin"], "first")),
        ("ends", json!({"targets": {}})),
        ("hashes", listed(&["hashed"], "hashes")),
        ("nothing", listed(&["hidden"], "nothing")),
        ("last", listed(&["own/a", "own/b", "end/x", "hashed", "hidden", "a b/%/ü"], "last")),
    ]
    .into();
    let meta: serde_json::Map<String, Value> =
        documents.keys().map(|name| (format!("{name}.json"), json!({"version": 1}))).collect();
    let snapshot = repository.snapshot(&Value::Object(meta));
    let mut roles = BTreeMap::new();
    let top = repository
        .root
        .targets(&repository.file(documents["targets"].clone(), "targets"), &snapshot, now())
        .unwrap();
    assert_eq!(top.delegated_roles(&snapshot), ["first", "ends", "hashes", "nothing", "last"]);
    for name in top.delegated_roles(&snapshot) {
        let mut document = documents[name.as_str()].clone();
        document["_type"] = json!("targets");
        document["version"] = json!(1);
        document["spec_version"] = json!("1.0.31");
        document["expires"] = json!(EXPIRES);
        let file = signed(&document, &[("k", &repository.signer)]);
        let read = top.delegated("targets", &name, &file, &snapshot, now());
        if name == "nothing" {
            assert!(matches!(read, Err(Error::Signatures { good: 0, .. })));
            continue;
        }
        roles.insert(name, read.unwrap());
    }
    assert!(matches!(top.role("targets", "unknown"), Err(Error::NoRole { .. })));
    roles.insert("targets".to_owned(), top);
    let found = |name: &str| find(&roles, name).map(|(role, _)| role.to_owned());
    for (name, role) in [
        ("own/a", Some("targets")),
        ("own/b", Some("first")),
        ("one/é.bin", Some("first")),
        ("end/x", None),
        ("hashed", Some("hashes")),
        ("hidden", Some("last")),
        ("a b/%/ü", Some("last")),
        ("never/x", None),
    ] {
        assert_eq!(found(name).as_deref(), role, "{name}");
    }
    let Target { length, .. } = find(&roles, "hashed").unwrap().1;
    assert_eq!(*length, 6);
}

#[test]
fn succinct_roles() {
    let repository = Repository::new();
    for (bits, digits) in [(1, 1), (4, 1), (5, 2), (8, 2), (9, 3), (32, 8)] {
        let top = json!({
            "targets": {},
            "delegations": {
                "keys": {"k": repository.signer.entry()},
                "succinct_roles": {"keyids": ["k"], "threshold": 1, "bit_length": bits, "name_prefix": "bins-x"},
            },
        });
        let sha256 = Sha256::digest("some/name");
        let number =
            u32::from_be_bytes([sha256[0], sha256[1], sha256[2], sha256[3]]) >> (32 - bits);
        let bin = format!("bins-x-{number:0digits$x}");
        let snapshot = repository.snapshot(&json!({
            "targets.json": {"version": 1},
            format!("{bin}.json"): {"version": 1},
            format!("bins-x-0{number:0digits$x}.json"): {"version": 1},
            "bins-x-zz.json": {"version": 1},
        }));
        let top: Targets =
            repository.root.targets(&repository.file(top, "targets"), &snapshot, now()).unwrap();
        assert_eq!(top.delegated_roles(&snapshot), [bin.as_str()]);
        let asked = top.roles_for("some/name");
        assert_eq!(
            (asked[0].role.as_str(), asked[0].terminating, asked.len()),
            (bin.as_str(), true, 1)
        );
    }
}

#[test]
fn a_delegated_role_has_a_name_of_its_own() {
    let repository = Repository::new();
    for name in ["", "root", "targets"] {
        let role = json!({"name": name, "keyids": [], "threshold": 1, "terminating": false, "paths": ["*"]});
        let top = json!({"targets": {}, "delegations": {"keys": {}, "roles": [role]}});
        let snapshot = repository.snapshot(&json!({"targets.json": {"version": 1}}));
        let error = repository
            .root
            .targets(&repository.file(top, "targets"), &snapshot, now())
            .unwrap_err()
            .to_string();
        assert!(error.contains("signed.delegations.roles.0.name"), "{error}");
    }
}
