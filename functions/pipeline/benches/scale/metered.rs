//! Ports that count every request, and can be as slow as AWS.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::EcdsaKeyPair;
use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tough::schema::key::Key as PublicKey;
use tough::sign::Sign;
use tufline_store::memory::Memory;
use tufline_store::{
    Blob, Blobs, Document, Event, Events, Folder, Head, Kept, Key, Letter, Message, OnlineRole,
    PastVersion, Pointer, Queue, Queues, Result, Signer, Source, Store, Stored, Tag, Upload,
    Uploads, VersionId, Waiting, Written,
};
use tufline_tuf::Sha256;
use tufline_tuf::root::{PinnedRoot, same_key};

/// How long requests take, by service.
#[derive(Clone, Copy)]
pub struct Delays {
    s3: Duration,
    /// Also used for events.
    sqs: Duration,
    kms: Duration,
}

impl Delays {
    /// No request waits.
    pub fn none() -> Self {
        Self { s3: Duration::ZERO, sqs: Duration::ZERO, kms: Duration::ZERO }
    }

    /// Usual times within a region.
    pub fn of_aws() -> Self {
        let [s3, sqs, kms] = [20, 10, 15].map(Duration::from_millis);
        Self { s3, sqs, kms }
    }

    fn of(&self, request: &str) -> Duration {
        match request.split(' ').next() {
            Some("S3") => self.s3,
            Some("KMS") => self.kms,
            _ => self.sqs,
        }
    }
}

/// How many requests were made, and how much was written.
#[derive(Clone, Default)]
pub struct Counted {
    /// Requests by operation.
    pub requests: BTreeMap<&'static str, u64>,
    /// Bytes written, by the folder of the object.
    pub written: BTreeMap<&'static str, u64>,
    /// Bytes of messages and events sent.
    pub sent: u64,
}

/// Counts the requests to all ports.
pub struct Meter {
    delays: Delays,
    state: Mutex<State>,
    /// Notified when a message arrives in any queue.
    pub arrived: Notify,
    /// A newer key of the bins, if there is one.
    pub bins_key: OnceLock<EcdsaKeyPair>,
}

#[derive(Default)]
struct State {
    counted: Counted,
    published: Option<Instant>,
}

impl Meter {
    pub fn new(delays: Delays) -> Self {
        Self { delays, state: Mutex::default(), arrived: Notify::new(), bins_key: OnceLock::new() }
    }

    /// Counts `times` requests, and waits for one of them: they count as sequential requests that
    /// nobody waits for.
    pub async fn request(&self, operation: &'static str, times: usize) {
        *self.state().counted.requests.entry(operation).or_default() += times as u64;
        let delay = self.delays.of(operation);
        if !delay.is_zero() {
            sleep(delay).await;
        }
    }

    fn written(&self, document: &Document) {
        let folder = folder(document.key());
        *self.state().counted.written.entry(folder).or_default() += document.bytes().len() as u64;
    }

    fn sent(&self, bytes: usize) {
        self.state().counted.sent += bytes as u64;
    }

    fn stored(&self, document: &Document, written: Written) {
        if *document.key() == Key::Timestamp && written == Written::Done {
            self.state().published = Some(Instant::now());
        }
    }

    /// Starts to count from zero.
    pub fn reset(&self) {
        *self.state() = State::default();
    }

    /// The counts so far.
    pub fn counted(&self) -> Counted {
        self.state().counted.clone()
    }

    /// When the timestamp was last written.
    pub fn published(&self) -> Option<Instant> {
        self.state().published
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name under which a document is counted.
fn folder(key: &Key) -> &'static str {
    match key {
        Key::Timestamp | Key::Metadata { .. } => "metadata",
        Key::Draft(_) => "drafts",
        Key::Manifest(_) => "generations",
        Key::Page(_) => "index",
        Key::Hashed(_) | Key::Rejected(_) => "receipts",
        _ => "other records",
    }
}

/// The ports of `world`, metered.
pub struct Metered {
    world: Arc<Memory>,
    meter: Arc<Meter>,
}

impl Metered {
    pub fn new(world: Arc<Memory>, meter: Arc<Meter>) -> Self {
        Self { world, meter }
    }
}

#[async_trait]
impl Store for Metered {
    async fn get_within(&self, key: &Key, most: usize) -> Result<Option<Stored>> {
        self.meter.request("S3 GET", 1).await;
        // A function gets its own copy of what it reads.
        let stored = self.world.get_within(key, most).await?;
        Ok(stored.map(|stored| Stored { bytes: Bytes::copy_from_slice(&stored.bytes), ..stored }))
    }

    fn pinned_root(&self) -> Option<PinnedRoot> {
        self.world.pinned_root()
    }

    async fn exists(&self, key: &Key) -> Result<bool> {
        self.meter.request("S3 HEAD", 1).await;
        self.world.exists(key).await
    }

    async fn create(&self, document: &Document) -> Result<Written> {
        self.meter.request("S3 PUT", 1).await;
        self.meter.written(document);
        let written = self.world.create(document).await?;
        self.meter.stored(document, written);
        Ok(written)
    }

    async fn replace(&self, document: &Pointer, expected: &Tag) -> Result<Written> {
        self.meter.request("S3 PUT", 1).await;
        self.meter.written(document);
        let written = self.world.replace(document, expected).await?;
        self.meter.stored(document, written);
        Ok(written)
    }

    async fn list(&self, folder: Folder, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        self.meter.request("S3 LIST", limit.div_ceil(1000)).await;
        Store::list(&*self.world, folder, after, limit).await
    }
}

#[async_trait]
impl Uploads for Metered {
    async fn head(&self, name: &str) -> Result<Head> {
        self.meter.request("S3 HEAD", 1).await;
        Uploads::head(&*self.world, name).await
    }

    async fn head_version(&self, name: &str, version: &VersionId) -> Result<Option<Upload>> {
        self.meter.request("S3 HEAD", 1).await;
        self.world.head_version(name, version).await
    }

    async fn versions(&self, name: &str) -> Result<Vec<PastVersion>> {
        self.meter.request("S3 LIST", 1).await;
        self.world.versions(name).await
    }

    async fn list(&self, after: Option<&str>) -> Result<Vec<String>> {
        self.meter.request("S3 LIST", 1).await;
        Uploads::list(&*self.world, after).await
    }

    async fn read_into(
        &self,
        buffer: BytesMut,
        upload: &Upload,
        offset: u64,
        length: u64,
    ) -> Result<BytesMut> {
        self.meter.request("S3 GET", 1).await;
        self.world.read_into(buffer, upload, offset, length).await
    }

    fn place(&self, name: &str) -> String {
        self.world.place(name)
    }
}

#[async_trait]
impl Blobs for Metered {
    async fn copy_in(&self, upload: &Upload) -> Result<Option<Sha256>> {
        self.meter.request("S3 COPY", 1).await;
        self.world.copy_in(upload).await
    }

    async fn check(&self, upload: &Upload) -> Result<Option<Sha256>> {
        self.meter.request("S3 COPY", 1).await;
        self.world.check(upload).await
    }

    async fn keep(&self, upload: &Upload, source: Source, sha256: &Sha256) -> Result<Kept> {
        self.meter.request("S3 COPY", 1).await;
        self.world.keep(upload, source, sha256).await
    }

    async fn head(&self, sha256: &Sha256) -> Result<Option<Blob>> {
        self.meter.request("S3 HEAD", 1).await;
        Blobs::head(&*self.world, sha256).await
    }

    async fn read(&self, sha256: &Sha256, offset: u64, length: u64) -> Result<Option<Bytes>> {
        self.meter.request("S3 GET", 1).await;
        Blobs::read(&*self.world, sha256, offset, length).await
    }
}

#[async_trait]
impl Queues for Metered {
    async fn send(&self, message: &Message, delay: Duration) -> Result<()> {
        self.meter.request("SQS send", 1).await;
        self.meter.sent(message.to_body().map_or(0, |body| body.len()));
        Queues::send(&*self.world, message, delay).await?;
        self.meter.arrived.notify_one();
        Ok(())
    }

    async fn dead_letters(&self, queue: Queue, limit: usize) -> Result<Vec<Letter>> {
        self.meter.request("SQS receive", 1).await;
        self.world.dead_letters(queue, limit).await
    }

    async fn redrive(&self, queue: Queue, letter: &Letter) -> Result<()> {
        self.meter.request("SQS send", 1).await;
        self.world.redrive(queue, letter).await?;
        self.meter.arrived.notify_one();
        Ok(())
    }

    async fn waiting(&self, queue: Queue) -> Result<Waiting> {
        self.meter.request("SQS receive", 1).await;
        self.world.waiting(queue).await
    }
}

#[async_trait]
impl Signer for Metered {
    /// Not counted, since on AWS each process reads the keys once.
    async fn public_keys(&self, role: OnlineRole) -> Result<Vec<PublicKey>> {
        let mut keys = self.world.public_keys(role).await?;
        if let Some(new) = self.meter.bins_key.get().filter(|_| role == OnlineRole::Bins) {
            keys.push(new.tuf_key());
        }
        Ok(keys)
    }

    async fn sign(&self, role: OnlineRole, key: &PublicKey, message: &[u8]) -> Result<Vec<u8>> {
        self.meter.request("KMS sign", 1).await;
        match self.meter.bins_key.get() {
            Some(new) if role == OnlineRole::Bins && same_key(key, &new.tuf_key()) => {
                let signature = EcdsaKeyPair::sign(new, &SystemRandom::new(), message).unwrap();
                Ok(signature.as_ref().to_vec())
            }
            _ => self.world.sign(role, key, message).await,
        }
    }
}

#[async_trait]
impl Events for Metered {
    async fn send(&self, events: &[Event]) -> Result<()> {
        // EventBridge takes ten events at once.
        self.meter.request("EventBridge put", events.len().div_ceil(10)).await;
        self.meter.sent(
            events
                .iter()
                .map(|event| serde_json::to_vec(event).map_or(0, |detail| detail.len()))
                .sum(),
        );
        Events::send(&*self.world, events).await
    }
}
