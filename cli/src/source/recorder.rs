//! Keeping what a client read: once it has verified everything, these bytes are what it verified.
//!
//! A next root that doesn't verify counts as absent: whoever may write files there, and holds no keys, must not stop the copy. (A plain client
//! would stop, TUF specification 5.3.4; this repository doesn't answer such a root, others may.)

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{StreamExt, future, stream};
use tough::{Transport, TransportError, TransportErrorKind, TransportStream, async_trait};
use tufline_tuf::root::{Chain, LARGEST_ROOT};
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
    roots: Arc<Mutex<Roots>>,
}

/// The roots as far as they were read.
#[derive(Debug)]
struct Roots {
    /// `None` where the trusted one can't be read: the client says so.
    chain: Option<Chain>,
    /// What lies behind, and why it is not the next one.
    ignored: Option<String>,
}

impl Recorder {
    /// Remembers what is below `metadata`. What the folder `kept` has of files that never change is taken from there.
    pub fn new(inner: AnyTransport, metadata: &Url, kept: Option<&Path>, trusted: &[u8]) -> Self {
        let chain = Chain::trusting(&trusted.to_vec().into()).ok();
        let roots = Arc::new(Mutex::new(Roots { chain, ignored: None }));
        Self { inner, metadata: metadata.to_string(), kept: kept.map(Path::to_owned), files: Arc::default(), roots }
    }

    /// What lies where the next root belongs and is none, if there is such.
    pub fn ignored(&self) -> Option<String> {
        lock(&self.roots).ignored.clone()
    }

    /// Whether these bytes are another file than a root, or a root that a client would follow to.
    fn is_good(&self, name: &str, bytes: &[u8]) -> bool {
        let version = name.strip_suffix(".root.json").and_then(|version| version.parse::<u64>().ok());
        let mut roots = lock(&self.roots);
        let Roots { chain: Some(chain), ignored } = &mut *roots else { return true };
        if version != Some(chain.newest().version.get() + 1) {
            return true;
        }
        match chain.extend(&bytes.to_vec().into()) {
            Ok(()) => true,
            Err(error) => {
                *ignored = Some(format!("{name} there is no root that follows, and counts as absent: {error}"));
                false
            }
        }
    }

    /// A root as a whole: it is judged before the client sees it.
    async fn root(&self, name: String, url: Url) -> Result<TransportStream, TransportError> {
        let mut bytes = Vec::new();
        if let Some(kept) = self.kept(&name) {
            bytes = kept;
        } else {
            let mut stream = self.inner.fetch(url.clone()).await?;
            while let Some(piece) = stream.next().await {
                bytes.extend_from_slice(&piece?);
                // What is longer isn't read by any client.
                if bytes.len() > LARGEST_ROOT {
                    break;
                }
            }
        }
        if !self.is_good(&name, &bytes) {
            return Err(TransportError::new(TransportErrorKind::FileNotFound, url));
        }
        lock(&self.files).insert(name, bytes.clone());
        Ok(Box::pin(stream::once(future::ready(Ok(bytes.into())))))
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
        if name.ends_with(".root.json") {
            return self.root(name, url).await;
        }
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
