//! Measures how many small artifacts a second the folder can take, with hash's steps for each. Run
//! with `-- --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use futures::stream;
use tufline_folder::{DataFolder, FolderBlobs, FolderStore, FolderUploads};
use tufline_store::{
    Blobs, Document, Head, Kept, Key, Source, Store, SystemClock, UploadKey, Uploads, Written,
};

const ARTIFACTS: usize = 3000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures this machine's disk"]
async fn small_artifacts() {
    for tasks in [1, 8, 32] {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::lock(folder.path()).unwrap();
        let uploads =
            FolderUploads::open(&data, folder.path().join("uploads"), Arc::new(SystemClock))
                .unwrap();
        let (blobs, store) = (FolderBlobs::new(&data, &uploads), FolderStore::new(&data));
        for number in 0..ARTIFACTS {
            std::fs::write(
                uploads.path().join(number.to_string()),
                format!("artifact {number} ").repeat(100),
            )
            .unwrap();
        }
        let begin = Instant::now();
        let work = async |number: usize| {
            let Head::Object(upload) = uploads.head(&number.to_string()).await.unwrap() else {
                panic!("it is there")
            };
            let sha256 = blobs.copy_in(&upload).await.unwrap().unwrap();
            assert_eq!(blobs.keep(&upload, Source::Incoming, &sha256).await.unwrap(), Kept::Whole);
            let key = Key::Hashed(UploadKey::new(&upload.name, upload.version.as_ref().unwrap()));
            let receipt = Document::record(key, &(sha256, upload.length)).unwrap();
            assert_eq!(store.create(&receipt).await.unwrap(), Written::Done);
        };
        stream::iter(0..ARTIFACTS).map(work).buffer_unordered(tasks).collect::<Vec<()>>().await;
        let took = begin.elapsed();
        println!("{tasks} tasks: {} artifacts/s", ARTIFACTS as u128 * 1000 / took.as_millis());
    }
}
