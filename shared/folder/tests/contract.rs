//! The contract of every port, which a folder keeps, with the runtime that the stages have.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tempfile::TempDir;
use tufline_folder::{
    DataFolder, Delivery, FileEvents, FileSigner, FolderBlobs, FolderChunks, FolderStore,
    FolderUploads, LocalQueues,
};
use tufline_store::contract::{self, EventsReader, QueuesReader, Uploader};
use tufline_store::{Blobs, Events, Message, Queue, Queues, SystemClock, Uploads};

fn data() -> (TempDir, DataFolder) {
    let folder = tempfile::tempdir().unwrap();
    let data = DataFolder::lock(folder.path().join("data")).unwrap();
    (folder, data)
}

/// All files below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn store() {
    let (_folder, data) = data();
    let signer = FileSigner::generate(&data.keys()).unwrap();
    contract::store(&FolderStore::new(&data), &signer).await;
    assert_eq!(
        files(&data.path().join("tmp")),
        Vec::<PathBuf>::new(),
        "nothing half-written is left"
    );
}

#[tokio::test]
async fn signer() {
    let (_folder, data) = data();
    contract::signer(&FileSigner::generate(&data.keys()).unwrap()).await;
    contract::signer(&FileSigner::open(&data.keys()).unwrap()).await;
}

struct FolderUploader {
    uploads: FolderUploads,
    blobs: FolderBlobs,
}

#[async_trait]
impl Uploader for FolderUploader {
    fn uploads(&self) -> &dyn Uploads {
        &self.uploads
    }

    fn blobs(&self) -> &dyn Blobs {
        &self.blobs
    }

    async fn put(&self, name: &str, bytes: &[u8], custom: Option<&str>) {
        let path = self.uploads.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        // In place, as an editor or `cp` does: the worst case for a blob that would share its bytes
        // with the file.
        std::fs::write(&path, bytes).unwrap();
        let side = self.uploads.path().join(format!("{name}.tuf.json"));
        match custom {
            Some(text) => std::fs::write(side, text).unwrap(),
            None => drop(std::fs::remove_file(side)),
        }
    }

    async fn remove(&self, name: &str) {
        std::fs::remove_file(self.uploads.path().join(name)).unwrap();
    }

    fn keeps_versions(&self) -> bool {
        false
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_and_blobs() {
    let (_folder, data) = data();
    let uploads =
        FolderUploads::open(&data, data.path().join("uploads"), Arc::new(SystemClock)).unwrap();
    let blobs = FolderBlobs::new(&data, &uploads);
    contract::uploads(&FolderUploader { uploads, blobs }).await;
    for folder in ["tmp", "repository/incoming"] {
        assert_eq!(
            files(&data.path().join(folder)),
            Vec::<PathBuf>::new(),
            "nothing is left in {folder}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks() {
    let (_folder, data) = data();
    let chunks = FolderChunks::new(&data);
    contract::chunks(&chunks, &chunks.scratch()).await;
    assert_eq!(files(&data.path().join("tmp")), Vec::<PathBuf>::new());
}

struct LocalReader(LocalQueues);

#[async_trait]
impl QueuesReader for LocalReader {
    fn queues(&self) -> &dyn Queues {
        &self.0
    }

    async fn receive(&self, queue: Queue, wait: Duration) -> Vec<Message> {
        let deliveries = self.0.receive(queue, 10, wait).await;
        let messages = deliveries.iter().map(|delivery| delivery.message().clone()).collect();
        deliveries.into_iter().for_each(Delivery::done);
        messages
    }

    async fn bury(&self, _queue: Queue, _body: &str) -> bool {
        false
    }
}

#[tokio::test(start_paused = true)]
async fn queues() {
    contract::queues(&LocalReader(LocalQueues::new())).await;
}

struct FileReader(FileEvents);

#[async_trait]
impl EventsReader for FileReader {
    fn events(&self) -> &dyn Events {
        &self.0
    }

    async fn sent(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.0.path()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[tokio::test]
async fn events() {
    let (_folder, data) = data();
    let reader = FileReader(FileEvents::open(&data, Arc::new(SystemClock)).unwrap());
    contract::events(&reader).await;
    for event in reader.sent().await {
        assert_eq!(event["source"], "tufline");
        let time = event["time"].as_str().unwrap();
        assert!(time.ends_with('Z') && time.len() == 20, "{time}");
    }
    // The file is moved away, as log rotation does, and a new one begins.
    std::fs::rename(reader.0.path(), data.path().join("events.old")).unwrap();
    let again = FileReader(FileEvents::open(&data, Arc::new(SystemClock)).unwrap());
    contract::events(&again).await;
}
