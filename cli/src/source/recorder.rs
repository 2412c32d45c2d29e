//! Keeping what a client read: once it has verified everything, these bytes are what it verified.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{StreamExt, future, stream};
use tough::{Transport, TransportError, TransportStream, async_trait};
use url::Url;

use super::transport::AnyTransport;

type Files = BTreeMap<String, Vec<u8>>;

/// Fetches for a client, and remembers each metadata file that it read to its end.
#[derive(Debug, Clone)]
pub struct Recorder {
    inner: AnyTransport,
    metadata: String,
    kept: Option<PathBuf>,
    files: Arc<Mutex<Files>>,
}

impl Recorder {
    /// Remembers what is below `metadata`. What the folder `kept` has of files that never change is taken from there.
    pub fn new(inner: AnyTransport, metadata: &Url, kept: Option<&Path>) -> Self {
        Self { inner, metadata: metadata.to_string(), kept: kept.map(Path::to_owned), files: Arc::default() }
    }

    /// What was read so far.
    pub fn files(&self) -> Files {
        lock(&self.files).clone()
    }

    /// The file of this name, if it was read.
    pub fn file(&self, name: &str) -> Option<Vec<u8>> {
        lock(&self.files).get(name).cloned()
    }

    fn kept(&self, name: &str) -> Option<Vec<u8>> {
        let never_changes = name.split_once('.').is_some_and(|(version, _)| version.parse::<u64>().is_ok());
        let kept = self.kept.as_ref().filter(|_| never_changes && !name.contains('/'))?;
        std::fs::read(kept.join(name)).ok()
    }
}

#[async_trait]
impl Transport for Recorder {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let Some(name) = url.as_str().strip_prefix(&self.metadata).map(str::to_owned) else {
            return self.inner.fetch(url).await;
        };
        if let Some(bytes) = self.kept(&name) {
            lock(&self.files).insert(name, bytes.clone());
            return Ok(Box::pin(stream::once(future::ready(Ok(bytes.into())))));
        }
        let stream = self.inner.fetch(url).await?;
        lock(&self.files).insert(name.clone(), Vec::new());
        let files = self.files.clone();
        Ok(Box::pin(stream.inspect(move |piece| {
            let mut files = lock(&files);
            match piece {
                Ok(piece) => files.entry(name.clone()).or_default().extend_from_slice(piece),
                // Such as the next root, where there is none.
                Err(_) => _ = files.remove(&name),
            }
        })))
    }
}

fn lock(files: &Mutex<Files>) -> MutexGuard<'_, Files> {
    files.lock().unwrap_or_else(PoisonError::into_inner)
}
