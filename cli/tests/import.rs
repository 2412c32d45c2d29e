//! `tufline import` of a repository that tuftool made. The test makes the same calls as tuftool
//! 0.17, with its library (`tough::editor`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use serde_json::Value;
use tough::editor::RepositoryEditor;
use tough::editor::signed::{PathExists, SignedRole};
use tough::key_source::{KeySource, LocalKeySource};
use tough::schema::{KeyHolder, RoleKeys, RoleType, Root, Signed};
use tough::{IntoVec, Repository, RepositoryLoader, TargetName};
use tufline_store::{Clock, SystemClock};
use tufline_tuf::time;
use url::Url;

/// The number of targets in the repository.
const TARGETS: usize = 2000;

/// A repository as tuftool leaves it.
struct Tuftool {
    folder: PathBuf,
}

impl Tuftool {
    /// `tuftool root init`, `add-key`, `sign`, and `create`.
    async fn create(folder: &Path) -> Self {
        let tuftool = Self { folder: folder.to_owned() };
        let new =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
                .unwrap();
        std::fs::write(tuftool.path("key.der"), new.as_ref()).unwrap();
        let key = tuftool.key().as_sign().await.unwrap().tuf_key();
        let id = key.key_id().unwrap();
        let role = RoleKeys {
            keyids: vec![id.clone()],
            threshold: NonZeroU64::MIN,
            _extra: HashMap::new(),
        };
        let roles = [RoleType::Root, RoleType::Targets, RoleType::Snapshot, RoleType::Timestamp];
        let root = Root {
            spec_version: "1.0.0".into(),
            consistent_snapshot: true,
            version: NonZeroU64::MIN,
            expires: in_days(100),
            keys: HashMap::from([(id, key)]),
            roles: roles.into_iter().map(|name| (name, role.clone())).collect(),
            _extra: HashMap::new(),
        };
        tuftool.sign_root(root.clone(), &root, &tuftool.path("root.json")).await;

        let files: Vec<PathBuf> =
            (0..TARGETS).map(|number| tuftool.path("in").join(name(number))).collect();
        std::fs::create_dir(tuftool.path("in")).unwrap();
        for (number, file) in files.iter().enumerate() {
            std::fs::write(file, content(number)).unwrap();
        }
        let mut editor = RepositoryEditor::new(tuftool.path("root.json")).await.unwrap();
        editor.targets_version(version(31)).unwrap().targets_expires(in_days(7)).unwrap();
        editor.snapshot_version(version(32)).snapshot_expires(in_days(7));
        editor.timestamp_version(version(33)).timestamp_expires(in_days(7));
        editor.add_target_paths(files).await.unwrap();
        let signed = editor.sign(&[Box::new(tuftool.key())]).await.unwrap();
        signed.write(tuftool.path("metadata")).await.unwrap();
        signed
            .copy_targets(tuftool.path("in"), tuftool.path("targets"), PathExists::Fail)
            .await
            .unwrap();
        tuftool
    }

    /// `tuftool root sign`, with a key of the root `judge`.
    async fn sign_root(&self, root: Root, judge: &Root, file: &Path) {
        let keys: [Box<dyn KeySource>; 1] = [Box::new(self.key())];
        let signed =
            SignedRole::new(root, &KeyHolder::Root(judge.clone()), &keys, &SystemRandom::new())
                .await
                .unwrap();
        std::fs::write(file, signed.buffer()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn key(&self) -> LocalKeySource {
        LocalKeySource { path: self.path("key.der") }
    }
}

fn name(number: usize) -> String {
    format!("module-{number}.bin")
}

fn content(number: usize) -> Vec<u8> {
    number.to_string().into_bytes().repeat(20)
}

fn version(number: u64) -> NonZeroU64 {
    NonZeroU64::new(number).unwrap()
}

fn in_days(days: u64) -> tufline_tuf::Time {
    time::after(SystemClock.now(), days * 86_400)
}

/// A device with tough's client, which keeps what it saw in `state`.
async fn device(root: &[u8], state: &Path, metadata: &Url, targets: &Url) -> Repository {
    let loader = RepositoryLoader::new(&root, metadata.clone(), targets.clone());
    loader.datastore(state).load().await.unwrap()
}

async fn read(repository: &Repository, name: &str) -> Vec<u8> {
    let stream = repository.read_target(&TargetName::new(name).unwrap()).await.unwrap();
    stream.expect("the target").into_vec().await.unwrap()
}

fn tufline(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tufline"));
    command.args(arguments).current_dir(folder);
    command
        .env_remove("TUFLINE_ENDPOINTS")
        .env_remove("TUFLINE_UPLOADS_BUCKET")
        .env_remove("RUST_LOG");
    command
}

fn done(folder: &Path, arguments: &[&str]) {
    let output = tufline(folder, arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A running `tufline local`.
struct Local(Child);

impl Drop for Local {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Local {
    /// Starts it on `data`; also returns its endpoints.
    async fn start(folder: &Path, data: &Path) -> (Self, Value) {
        let mut command = tufline(folder, &["local", "--listen", "127.0.0.1:0", "--data"]);
        let process =
            command.arg(data).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let local = Self(process);
        for _ in 0..1000 {
            if let Ok(text) = std::fs::read(data.join("endpoints.json")) {
                return (local, serde_json::from_slice(&text).unwrap());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not ready in time");
    }
}

#[tokio::test]
async fn a_device_of_a_repository_that_tuftool_made_follows() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let old = Tuftool::create(folder.path()).await;
    let root = std::fs::read(path("metadata/1.root.json")).unwrap();
    let state = path("state");
    std::fs::create_dir(&state).unwrap();
    let url = |name: &str| Url::from_directory_path(path(name)).unwrap();
    let before = device(&root, &state, &url("metadata"), &url("targets")).await;
    assert_eq!(read(&before, &name(3)).await, content(3));

    done(folder.path(), &["import", ".", "--data", "data"]);
    let [first, next] = ["1.root.json", "2.root.json"].map(|name| -> Signed<Root> {
        serde_json::from_slice(&std::fs::read(path(name)).unwrap()).unwrap()
    });
    old.sign_root(next.signed, &first.signed, &path("2.root.json")).await;
    done(folder.path(), &["import", ".", "--data", "data", "--next-root", "2.root.json"]);

    let (_local, endpoints) = Local::start(folder.path(), &path("data")).await;
    let url = |name: &str| endpoints[name].as_str().unwrap().parse::<Url>().unwrap();
    let wait = ["upload", "new.bin", "--wait", "--endpoints", "data/endpoints.json"];
    std::fs::write(path("new.bin"), "uploaded here").unwrap();
    done(folder.path(), &wait);
    let after = device(&root, &state, &url("metadata_url"), &url("targets_url")).await;
    assert_eq!(after.all_targets().count(), TARGETS + 1);
    assert_eq!(read(&after, &name(3)).await, content(3));
    assert_eq!(read(&after, "new.bin").await, b"uploaded here");
    assert!(
        after.timestamp().signed.version.get() > 33 && after.snapshot().signed.version.get() > 32
    );
    assert!(after.targets().signed.version.get() > 31);
}
