//! The library over real connections: what goes over them, and what is left on disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use common::repository::{self, Repository};
use common::{Server, answer, answers, device};
use serde_json::json;
use sha2::{Digest, Sha256};
use tufline_device::{Device, Failure, Identity, NetworkFailure};

/// A repository with one target, and its bytes.
fn repository() -> (Repository, Vec<u8>) {
    let data: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut repository = Repository::new();
    let listed =
        json!({"length": data.len(), "hashes": {"sha256": hex::encode(Sha256::digest(&data))}});
    let signed = repository.document("targets", 1, &json!({"targets": {"firmware": listed}}));
    repository.files.insert(
        "1.targets.json".to_owned(),
        repository::file(&signed, &repository.keys["targets"]),
    );
    (repository, data)
}

/// The part that is asked for, and of it so many bytes at most.
fn part(data: &[u8], fields: &BTreeMap<String, String>, most: usize) -> Vec<u8> {
    let from = fields
        .get("range")
        .map_or(0, |range| range["bytes=".len()..range.len() - 1].parse().unwrap());
    let (status, range) = match from {
        0 => ("200 OK", String::new()),
        from => (
            "206 Partial Content",
            format!("content-range: bytes {from}-{}/{}\r\n", data.len() - 1, data.len()),
        ),
    };
    let whole = answer(status, &format!("etag: \"one\"\r\n{range}"), &data[from..]);
    let head = whole.len() - (data.len() - from);
    whole[..whole.len().min(head.saturating_add(most))].to_vec()
}

/// Serves the repository, and of its target so many bytes with each answer at most.
fn serve(repository: &Repository, data: &[u8], most: usize) -> Server {
    let data = data.to_vec();
    Server::start(answers(repository, move |_, fields| part(&data, fields, most)))
}

#[test]
fn a_cut_costs_nothing_that_came() {
    let (repository, data) = repository();
    let server = serve(&repository, &data, 150_000);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("firmware");
    let mut device = Device::open(device(folder.path(), &repository, &server.url)).unwrap();
    let fetched = device.find_and_fetch("firmware", &out, None).unwrap();
    assert_eq!(fs::read(&out).unwrap(), data);
    assert_eq!(fetched.received, fetched.length, "each byte came once");
    let asked = server.asked();
    let ranges: Vec<_> = asked
        .iter()
        .filter_map(|(_, fields)| Some((fields.get("range")?, fields.get("if-range")?)))
        .collect();
    assert_eq!(ranges.len(), 5, "{ranges:?}");
    assert_eq!(ranges[0], (&"bytes=150000-".to_owned(), &"\"one\"".to_owned()));
    let encodings = asked
        .iter()
        .filter(|(path, _)| path.starts_with("/targets/"))
        .map(|(_, fields)| fields["accept-encoding"].as_str());
    assert!(encodings.into_iter().all(|encoding| encoding == "identity"));
}

/// A device that got the first 300,000 bytes, and whose server is gone then.
fn interrupted(repository: &Repository, data: &[u8], folder: &Path) {
    let server = {
        let data = data.to_vec();
        Server::start(answers(repository, move |_, fields| {
            let goes_on = fields.contains_key("range");
            if goes_on {
                answer("503 Service Unavailable", "", b"")
            } else {
                part(&data, fields, 300_000)
            }
        }))
    };
    let mut device = Device::open(device(folder, repository, &server.url)).unwrap();
    let told = device.find_and_fetch("firmware", &folder.join("firmware"), None).unwrap_err();
    assert!(
        matches!(told, Failure::Network { failure: NetworkFailure::Status(503), .. }),
        "{told}"
    );
    assert!(!folder.join("firmware").exists());
}

#[test]
fn a_kill_costs_nothing_that_is_on_disk() {
    let (repository, data) = repository();
    let folder = tempfile::tempdir().unwrap();
    interrupted(&repository, &data, folder.path());
    let server = serve(&repository, &data, usize::MAX);
    let out = folder.path().join("firmware");
    let mut device = Device::open(device(folder.path(), &repository, &server.url)).unwrap();
    let fetched = device.find_and_fetch("firmware", &out, None).unwrap();
    assert_eq!(
        (fs::read(&out).unwrap(), fetched.received),
        (data.clone(), data.len() as u64 - 300_000)
    );
}

#[test]
fn damage_of_what_was_kept_is_found_and_begun_anew() {
    let (repository, data) = repository();
    let folder = tempfile::tempdir().unwrap();
    interrupted(&repository, &data, folder.path());
    let mut kept = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let kept =
        kept.find(|path| path.extension().is_some_and(|extension| extension == "part")).unwrap();
    let mut bytes = fs::read(&kept).unwrap();
    bytes[1000] ^= 1;
    fs::write(&kept, bytes).unwrap();
    let server = serve(&repository, &data, usize::MAX);
    let out = folder.path().join("firmware");
    let mut device = Device::open(device(folder.path(), &repository, &server.url)).unwrap();
    device.find_and_fetch("firmware", &out, None).unwrap();
    assert_eq!(fs::read(&out).unwrap(), data);
}

#[test]
fn who_the_device_is_stays_with_the_first_server() {
    let (repository, data) = repository();
    let store = {
        let data = data.clone();
        Server::start(Box::new(move |_, fields| part(&data, fields, usize::MAX)))
    };
    let elsewhere = format!("location: {}/blob?signature=1\r\n", store.url);
    let api = Server::start(answers(&repository, move |_, _| {
        answer("307 Temporary Redirect", &elsewhere, b"")
    }));
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "secret\n").unwrap();
    let mut settings = device(folder.path(), &repository, &api.url);
    settings.identity = Identity::Token(token);
    let out = folder.path().join("firmware");
    Device::open(settings).unwrap().find_and_fetch("firmware", &out, None).unwrap();
    assert_eq!(fs::read(out).unwrap(), data);
    assert!(api.asked().iter().all(|(_, fields)| fields["authorization"] == "Bearer secret"));
    let asked = store.asked();
    assert_eq!(asked.len(), 1);
    assert!(!asked[0].1.contains_key("authorization"), "{asked:?}");
}

#[test]
fn a_page_in_a_documents_place_is_waited_out() {
    let (repository, data) = repository();
    let portal = Mutex::new(2);
    let documents = answers(&repository, move |_, fields| part(&data, fields, usize::MAX));
    let server = Server::start(Box::new(move |path, fields| {
        let mut left = portal.lock().unwrap();
        if *left > 0 {
            *left -= 1;
            return answer(
                "200 OK",
                "content-type: text/html\r\n",
                b"<html>Welcome to our hotel</html>",
            );
        }
        documents(path, fields)
    }));
    let folder = tempfile::tempdir().unwrap();
    Device::open(device(folder.path(), &repository, &server.url)).unwrap().refresh().unwrap();
}
