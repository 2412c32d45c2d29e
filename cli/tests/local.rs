//! `tufline local` and the commands that work with it, as a user runs them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const TUFLINE: &str = env!("CARGO_BIN_EXE_tufline");

/// A running `tufline local` in a folder of its own.
struct Local {
    folder: TempDir,
    process: Child,
}

impl Local {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = Self::launch(folder.path());
        Self { folder, process }
    }

    fn launch(folder: &Path) -> Child {
        let endpoints = folder.join("data/endpoints.json");
        // A killed process left it behind; it names a closed port.
        let _ = std::fs::remove_file(&endpoints);
        let mut command = local(folder, "127.0.0.1:0");
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until("ready", || {
            assert!(process.try_wait().unwrap().is_none(), "tufline local ended");
            endpoints.exists()
        });
        process
    }

    fn data(&self, name: &str) -> PathBuf {
        self.folder.path().join("data").join(name)
    }

    fn endpoints(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.data("endpoints.json")).unwrap()).unwrap()
    }

    /// Drops a file by a rename, as `tufline upload` does.
    fn drop_file(&self, name: &str, bytes: &[u8]) {
        let temporary = self.data("uploads/.hidden");
        std::fs::write(&temporary, bytes).unwrap();
        std::fs::rename(temporary, self.data("uploads").join(name)).unwrap();
    }

    fn tufline(&self, arguments: &[&str]) -> Output {
        let mut command = tufline(arguments);
        command.arg("--endpoints").arg(self.data("endpoints.json")).output().unwrap()
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn signal(&self, signal: &str) {
        let sent =
            Command::new("kill").args([signal, &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn tufline(arguments: &[&str]) -> Command {
    let mut command = Command::new(TUFLINE);
    command
        .args(arguments)
        .env_remove("TUFLINE_ENDPOINTS")
        .env_remove("TUFLINE_UPLOADS_BUCKET")
        .env_remove("RUST_LOG");
    command
}

fn local(folder: &Path, listen: &str) -> Command {
    let mut command = tufline(&["local", "--listen", listen]);
    command.arg("--data").arg(folder.join("data"));
    command
}

fn until(what: &str, mut happens: impl FnMut() -> bool) {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test that waits for another process has a limit"
    )]
    let begin = Instant::now();
    while !happens() {
        assert!(begin.elapsed() < Duration::from_secs(20), "not {what} in time");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn an_upload_is_published_overwritten_and_removed() {
    let local = Local::start();
    for bytes in [&b"one"[..], b"two, longer", b""] {
        local.drop_file("a.bin", bytes);
        let waited = local.tufline(&["wait", "a.bin", "--json", "--timeout", "20"]);
        assert_eq!(waited.status.code(), Some(0), "{waited:?}");
        let line = json(&waited);
        assert_eq!((&line["outcome"], &line["length"]), (&"published".into(), &bytes.len().into()));
    }
    std::fs::remove_file(local.data("uploads/a.bin")).unwrap();
    let waited = local.tufline(&["wait", "a.bin", "--gone", "--json", "--timeout", "20"]);
    assert_eq!(
        (waited.status.code(), json(&waited)["outcome"].as_str()),
        (Some(0), Some("gone")),
        "{waited:?}"
    );
}

#[test]
fn endpoints_are_what_the_documentation_says() {
    let mut local = Local::start();
    let endpoints = local.endpoints();
    let fields: Vec<_> = endpoints.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        fields,
        ["events", "metadata_url", "pack_url", "targets_url", "trusted_root", "uploads"]
    );
    for file in ["events", "trusted_root", "uploads"] {
        assert!(Path::new(endpoints[file].as_str().unwrap()).is_absolute(), "{file}");
        assert!(Path::new(endpoints[file].as_str().unwrap()).exists(), "{file}");
    }
    let root = std::fs::read(local.data("root.json")).unwrap();
    assert_eq!(root, std::fs::read(local.data("repository/metadata/1.root.json")).unwrap());
    local.signal("-TERM");
    assert_eq!(local.process.wait().unwrap().code(), Some(0));
    assert!(!local.data("endpoints.json").exists(), "a clean stop removes them");
}

#[test]
fn upload_waits_and_keeps_custom_metadata() {
    let local = Local::start();
    let file = local.folder.path().join("fw.bin");
    std::fs::write(&file, "firmware").unwrap();
    let file = file.to_str().unwrap();
    let arguments =
        ["upload", file, "--prefix", "v1", "--custom", r#"{"board":"é"}"#, "--wait", "--json"];
    let uploaded = local.tufline(&arguments);
    assert_eq!(uploaded.status.code(), Some(0), "{uploaded:?}");
    assert_eq!(
        (&json(&uploaded)["name"], &json(&uploaded)["outcome"]),
        (&"v1/fw.bin".into(), &"published".into())
    );
    until("published with custom metadata", || {
        let metadata = local.data("repository/metadata");
        let files = std::fs::read_dir(metadata).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.to_str().unwrap().ends_with("targets.json")).any(|path| {
            let document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            document["signed"]["targets"]["v1/fw.bin"]["custom"]["board"] == "é"
        })
    });
}

#[test]
fn an_upload_that_breaks_a_rule_is_rejected_with_the_reason() {
    let local = Local::start();
    let file = local.folder.path().join("f");
    std::fs::write(&file, "x").unwrap();
    let file = file.to_str().unwrap();
    for arguments in [&["upload", file, "--name", "a b"][..], &["upload", file, "--custom", "[]"]] {
        let refused = local.tufline(arguments);
        assert_eq!(refused.status.code(), Some(3), "{refused:?}");
        assert!(text(&refused.stderr).contains("rejected"), "{refused:?}");
    }
    assert!(!local.data("uploads/a b").exists(), "nothing was sent");

    local.drop_file("bad name.bin", b"x");
    let waited = local.tufline(&["wait", "bad name.bin"]);
    assert_eq!(waited.status.code(), Some(3), "{waited:?}");
    std::fs::write(local.data("uploads/c.bin.tuf.json"), "{\"a\":1.5}").unwrap();
    local.drop_file("c.bin", b"x");
    let waited = local.tufline(&["wait", "c.bin", "--json", "--timeout", "20"]);
    assert_eq!(waited.status.code(), Some(3), "{waited:?}");
    assert!(json(&waited)["reason"].as_str().unwrap().contains("1.5"), "{waited:?}");
    until("told", || {
        let events = std::fs::read_to_string(local.data("events.jsonl")).unwrap();
        events.contains("bad name.bin") && events.contains("c.bin")
    });
    let status = json(&local.tufline(&["status", "--json"]));
    assert_eq!((&status["rejected"]["count"], &status["targets"]), (&2.into(), &0.into()));
}

#[test]
fn an_unknown_name_is_said_to_be_unknown() {
    let local = Local::start();
    let waited = local.tufline(&["wait", "nothing", "--timeout", "1"]);
    assert_eq!(waited.status.code(), Some(4));
    assert!(text(&waited.stderr).contains("no such upload exists"), "{waited:?}");
    assert_eq!(local.tufline(&["wait", "nothing", "--gone"]).status.code(), Some(0));
    assert_eq!(tufline(&["wait"]).output().unwrap().status.code(), Some(2));
    let nowhere = tufline(&["status", "--endpoints", "/nowhere/endpoints.json"]).output().unwrap();
    assert_eq!(
        (nowhere.status.code(), text(&nowhere.stderr).lines().count()),
        (Some(1), 1),
        "{nowhere:?}"
    );
}

#[test]
fn the_port_and_the_data_folder_are_taken_once() {
    let first = Local::start();
    let url = first.endpoints()["metadata_url"].as_str().unwrap().to_owned();
    let address = url.strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned();
    let elsewhere = tempfile::tempdir().unwrap();
    for (folder, listen, words) in [
        (elsewhere.path(), address.as_str(), "is taken by another program"),
        (first.folder.path(), "127.0.0.1:0", "already in use by another tufline"),
    ] {
        let second = local(folder, listen).output().unwrap();
        let said = text(&second.stderr);
        assert_eq!(second.status.code(), Some(1), "{second:?}");
        assert!(said.contains(words) && said.lines().count() == 1, "{said}");
    }
    assert!(first.data("endpoints.json").exists(), "the first goes on");

    drop(first);
    std::fs::write(elsewhere.path().join("data/format"), "99\n").unwrap();
    let other = local(elsewhere.path(), "127.0.0.1:0").output().unwrap();
    assert!(text(&other.stderr).contains("its format is \"99\""), "{other:?}");
}

#[test]
fn a_killed_repository_goes_on_where_it_was() {
    let mut local = Local::start();
    local.drop_file("before", b"1");
    assert_eq!(local.tufline(&["wait", "before", "--timeout", "20"]).status.code(), Some(0));
    let root = std::fs::read(local.data("root.json")).unwrap();
    local.drop_file("during", b"2");
    local.kill();
    local.drop_file("after", b"3");
    std::fs::remove_file(local.data("uploads/before")).unwrap();
    local.process = Local::launch(local.folder.path());
    for arguments in [&["wait", "during"][..], &["wait", "after"], &["wait", "before", "--gone"]] {
        let waited = local.tufline(&[arguments, &["--timeout", "20"]].concat());
        assert_eq!(waited.status.code(), Some(0), "{arguments:?} {waited:?}");
    }
    assert_eq!(root, std::fs::read(local.data("root.json")).unwrap());
}

#[test]
fn many_removals_are_held_until_they_are_accepted() {
    let local = Local::start();
    for number in 0..30 {
        local.drop_file(&format!("{number}.bin"), b"x");
    }
    for number in 0..30 {
        assert_eq!(local.tufline(&["wait", &format!("{number}.bin")]).status.code(), Some(0));
    }
    for number in 0..30 {
        std::fs::remove_file(local.data("uploads").join(format!("{number}.bin"))).unwrap();
    }
    let held =
        || json(&local.tufline(&["status", "--json"]))["held_removals"].as_array().unwrap().len();
    until("held", || held() > 0);
    assert_eq!(
        local.tufline(&["wait", "29.bin", "--timeout", "0"]).status.code(),
        Some(0),
        "it is still there"
    );
    let accepted = local.tufline(&["accept-removals"]);
    assert_eq!(accepted.status.code(), Some(0), "{accepted:?}");
    for number in 0..30 {
        let waited =
            local.tufline(&["wait", &format!("{number}.bin"), "--gone", "--timeout", "20"]);
        assert_eq!(waited.status.code(), Some(0), "{waited:?}");
    }
    assert_eq!(held(), 0);
}

#[test]
fn an_unmounted_uploads_folder_removes_nothing_and_shows_its_status() {
    let local = Local::start();
    local.drop_file("a", b"1");
    assert_eq!(local.tufline(&["wait", "a"]).status.code(), Some(0));
    std::fs::rename(local.data("uploads"), local.data("away")).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let status = json(&local.tufline(&["status", "--json"]));
    assert_eq!(status["targets"], 1);
    let waited = local.tufline(&["wait", "a", "--gone", "--timeout", "1"]);
    // A disk may come back: the process waits for it.
    assert_eq!(waited.status.code(), Some(4), "{waited:?}");
    assert!(text(&waited.stderr).contains("not mounted"), "{waited:?}");

    std::fs::rename(local.data("away"), local.data("uploads")).unwrap();
    local.drop_file("b", b"2");
    for name in ["a", "b"] {
        assert_eq!(
            local.tufline(&["wait", name, "--timeout", "20"]).status.code(),
            Some(0),
            "{name}"
        );
    }
}

#[test]
fn reconcile_is_answered_by_the_running_process() {
    let local = Local::start();
    local.drop_file("a", b"1");
    assert_eq!(local.tufline(&["wait", "a"]).status.code(), Some(0));
    let answer = local.tufline(&["reconcile", "--json"]);
    assert_eq!(
        (answer.status.code(), json(&answer)["hints"].as_u64()),
        (Some(0), Some(1)),
        "{answer:?}"
    );
}

#[test]
fn the_demo_runs_to_its_end() {
    let mut demo =
        tufline(&["demo", "--exit"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    demo.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    let mut errors = String::new();
    demo.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(0), "{said}{errors}");
    for word in [
        "hash",
        "rebuild",
        "sign",
        "publish",
        "root",
        "timestamp",
        "snapshot",
        "targets",
        "Verified",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert_eq!(errors, "", "no noise");
}
