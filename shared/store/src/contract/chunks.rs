//! The contract of [`Chunks`].

use std::path::{Path, PathBuf};

use futures::future::join_all;
use tufline_tuf::Sha256;

use super::at_once::AT_ONCE;
use crate::port::{Chunks, Written};

/// Checks the port, which must not have any chunks yet. Files to store are made in the folder
/// `scratch`.
///
/// # Panics
/// If the port breaks its contract.
pub async fn chunks(chunks: &dyn Chunks, scratch: &Path) {
    missing_chunks_are_none(chunks).await;
    what_is_stored_comes_back(chunks, scratch).await;
    creation_has_one_winner(chunks, scratch).await;
}

fn file(scratch: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = scratch.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Removes a file, if the port has not moved it away.
fn remove(path: &Path) {
    drop(std::fs::remove_file(path));
}

async fn missing_chunks_are_none(chunks: &dyn Chunks) {
    let blob = Sha256::of(b"no such blob");
    assert_eq!(chunks.length(&blob).await.unwrap(), None);
    for (offset, length) in [(0, 1), (0, 0), (10, 10)] {
        assert_eq!(chunks.read(&blob, offset, length).await.unwrap(), None);
    }
}

async fn what_is_stored_comes_back(chunks: &dyn Chunks, scratch: &Path) {
    let long: Vec<u8> =
        (0..6_000_003_u32).map(|index| (index.wrapping_mul(index) >> 7).to_le_bytes()[0]).collect();
    for bytes in [&b"0123456789"[..], &long] {
        let blob = Sha256::of(bytes);
        let path = file(scratch, "stored", bytes);
        assert_eq!(chunks.create(&blob, &path).await.unwrap(), Written::Done);
        remove(&path);
        let length = bytes.len() as u64;
        assert_eq!(chunks.length(&blob).await.unwrap(), Some(length));
        let read =
            async |offset, length| chunks.read(&blob, offset, length).await.unwrap().unwrap();
        assert!(read(0, length).await == *bytes);
        assert_eq!(read(3, 4).await, bytes[3..7]);
        assert_eq!(read(length - 1, 10).await, bytes[bytes.len() - 1..], "up to the end");
        assert!(read(length, 1).await.is_empty() && read(2, 0).await.is_empty());
    }
}

async fn creation_has_one_winner(chunks: &dyn Chunks, scratch: &Path) {
    let blob = Sha256::of(b"raced for");
    let files: Vec<(Vec<u8>, PathBuf)> = (0..AT_ONCE)
        .map(|number| {
            let bytes = format!("{number:03}").into_bytes();
            let path = file(scratch, &format!("racer-{number}"), &bytes);
            (bytes, path)
        })
        .collect();
    let written = join_all(files.iter().map(|(_, path)| chunks.create(&blob, path))).await;
    let winners: Vec<&Vec<u8>> = files
        .iter()
        .zip(written)
        .filter(|(_, written)| *written.as_ref().unwrap() == Written::Done)
        .map(|((bytes, _), _)| bytes)
        .collect();
    for (_, path) in &files {
        remove(path);
    }
    assert_eq!(winners.len(), 1, "one of {AT_ONCE} creators wins");
    assert_eq!(
        chunks.read(&blob, 0, 10).await.unwrap().unwrap(),
        winners[0][..],
        "what is stored is the winner's"
    );
    let late = file(scratch, "late", b"late");
    assert_eq!(chunks.create(&blob, &late).await.unwrap(), Written::Lost);
    remove(&late);
    assert_eq!(
        chunks.read(&blob, 0, 10).await.unwrap().unwrap(),
        winners[0][..],
        "and it is never replaced"
    );
}
