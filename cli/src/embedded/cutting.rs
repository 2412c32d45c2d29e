//! Cuts targets into chunks: collects the blobs to be cut, and cuts them one after another.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Mutex, mpsc};
use tufline_chunk::{Chunked, Chunker};
use tufline_chunks::is_cut;
use tufline_folder::FolderChunks;
use tufline_pipeline::state::listed_blobs::listed_blobs;
use tufline_store::{Blob, Blobs, Clock, Event, Events, Kept, Result, Source, Store, Upload};
use tufline_tuf::{Sha256, Time};

/// The blobs that wait to be cut. If the process ends, the next start finds them again.
pub struct Cutting {
    chunker: Chunker,
    ask: mpsc::UnboundedSender<Sha256>,
    asked: Mutex<mpsc::UnboundedReceiver<Sha256>>,
}

impl Cutting {
    /// Cuts blobs of `blobs` and stores their `chunks`. No blob waits yet.
    pub fn new(blobs: Arc<dyn Blobs>, chunks: FolderChunks, clock: Arc<dyn Clock>) -> Arc<Self> {
        let scratch = chunks.scratch();
        let chunker =
            Chunker { blobs, chunks: Arc::new(chunks), clock, scratch, turn: Mutex::default() };
        let (ask, asked) = mpsc::unbounded_channel();
        Arc::new(Self { chunker, ask, asked: Mutex::new(asked) })
    }

    /// Requests the chunks of a blob.
    pub fn ask(&self, blob: Sha256) {
        // The receiver lives as long as the sender.
        let _ = self.ask.send(blob);
    }

    /// Requests the chunks of all listed blobs that have none; returns how many blobs those are.
    pub async fn ask_for_all(&self, store: &dyn Store) -> anyhow::Result<usize> {
        let mut count = 0;
        for (blob, length) in listed_blobs(store).await? {
            if is_cut(length) && self.chunker.chunks.length(&blob).await?.is_none() {
                self.ask(blob);
                count += 1;
            }
        }
        Ok(count)
    }

    /// Waits for the next requested blob.
    pub async fn next(&self) -> Sha256 {
        match self.asked.lock().await.recv().await {
            Some(blob) => blob,
            None => std::future::pending().await,
        }
    }

    /// Cuts a blob, however long it takes.
    pub async fn cut(&self, blob: Sha256) -> Result<()> {
        if let Chunked::Stored { chunks, bytes } = self.chunker.chunk(&blob, Time::MAX).await? {
            tracing::info!("{blob} has {chunks} chunks, in {bytes} bytes");
        }
        Ok(())
    }
}

/// Wraps [`Blobs`], and requests the chunks of each blob once it is whole.
pub struct ToldBlobs {
    blobs: Arc<dyn Blobs>,
    cutting: Arc<Cutting>,
}

impl ToldBlobs {
    pub fn new(blobs: Arc<dyn Blobs>, cutting: &Arc<Cutting>) -> Self {
        Self { blobs, cutting: Arc::clone(cutting) }
    }
}

#[async_trait]
impl Blobs for ToldBlobs {
    async fn copy_in(&self, upload: &Upload) -> Result<Option<Sha256>> {
        self.blobs.copy_in(upload).await
    }

    async fn check(&self, upload: &Upload) -> Result<Option<Sha256>> {
        self.blobs.check(upload).await
    }

    async fn keep(&self, upload: &Upload, source: Source, sha256: &Sha256) -> Result<Kept> {
        let kept = self.blobs.keep(upload, source, sha256).await?;
        if kept == Kept::Whole && is_cut(upload.length) {
            self.cutting.ask(*sha256);
        }
        Ok(kept)
    }

    async fn head(&self, sha256: &Sha256) -> Result<Option<Blob>> {
        self.blobs.head(sha256).await
    }

    async fn read(&self, sha256: &Sha256, offset: u64, length: u64) -> Result<Option<Bytes>> {
        self.blobs.read(sha256, offset, length).await
    }
}

/// Events; asks for the chunks of each target that is published now. A process that was killed
/// before that had forgotten that the target's blob is new.
pub struct ToldEvents<E> {
    events: E,
    cutting: Arc<Cutting>,
}

impl<E> ToldEvents<E> {
    /// The given events, and where to ask.
    pub fn new(events: E, cutting: &Arc<Cutting>) -> Self {
        Self { events, cutting: Arc::clone(cutting) }
    }
}

#[async_trait]
impl<E: Events> Events for ToldEvents<E> {
    async fn send(&self, events: &[Event]) -> Result<()> {
        self.events.send(events).await?;
        for event in events {
            if let Event::TargetsPublished { targets, .. } = event {
                let cut = targets.iter().filter(|target| is_cut(target.length));
                cut.for_each(|target| self.cutting.ask(target.sha256));
            }
        }
        Ok(())
    }
}
