//! The contract of every port, which the adapters keep on a local emulator.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::world::World;
use async_trait::async_trait;
use aws_sdk_sqs::types::Message as SqsMessage;
use tokio::sync::Mutex;
use tufline_aws::{CopyLimits, EventBridgeEvents, QueueUrls, S3Blobs, S3Uploads, SqsQueues};
use tufline_store::contract::{self, EventsReader, QueuesReader, Uploader};
use tufline_store::{Blobs, Events, Message, Queue, Queues, Uploads};

#[tokio::test]
#[ignore = "needs the emulator: tests/run starts it"]
async fn store() {
    let world = World::new().await;
    contract::store(&world.store(), &world.signer(&[]).await).await;
}

#[tokio::test]
#[ignore = "needs the emulator: tests/run starts it"]
async fn signer() {
    let world = World::new().await;
    contract::signer(&world.signer(&[]).await).await;
}

struct S3Uploader {
    world: World,
    uploads: S3Uploads,
    blobs: S3Blobs,
}

#[async_trait]
impl Uploader for S3Uploader {
    fn uploads(&self) -> &dyn Uploads {
        &self.uploads
    }

    fn blobs(&self) -> &dyn Blobs {
        &self.blobs
    }

    async fn put(&self, name: &str, bytes: &[u8], custom: Option<&str>) {
        let put = self
            .world
            .clients
            .s3
            .put_object()
            .bucket(&self.world.uploads)
            .key(format!("targets/{name}"));
        let put = put.body(bytes.to_vec().into());
        let put = if let Some(custom) = custom { put.metadata("tuf-custom", custom) } else { put };
        put.send().await.unwrap();
    }

    async fn remove(&self, name: &str) {
        self.world.remove(&format!("targets/{name}")).await;
    }

    fn keeps_versions(&self) -> bool {
        true
    }
}

async fn check_uploads(limits: CopyLimits) {
    let world = World::new().await;
    let (uploads, blobs) = (world.uploads(), world.blobs(limits));
    contract::uploads(&S3Uploader { world, uploads, blobs }).await;
}

#[tokio::test]
#[ignore = "needs the emulator: tests/run starts it"]
async fn uploads_copied_whole() {
    check_uploads(CopyLimits::default()).await;
}

#[tokio::test]
#[ignore = "needs the emulator: tests/run starts it"]
async fn uploads_copied_in_parts() {
    check_uploads(CopyLimits { whole: 100, part: 1000 }).await;
}

#[tokio::test]
#[ignore = "needs the emulator: tests/run starts it"]
async fn chunks() {
    let (world, scratch) = (World::new().await, tempfile::tempdir().unwrap());
    contract::chunks(&world.chunks(), scratch.path()).await;
}

struct SqsReader {
    world: World,
    queues: SqsQueues,
    urls: BTreeMap<Queue, QueueUrls>,
}

impl SqsReader {
    async fn receive_from(&self, url: &str, wait: Duration) -> Vec<SqsMessage> {
        let seconds = i32::try_from(wait.as_secs()).unwrap();
        let request =
            self.world.clients.sqs().receive_message().queue_url(url).wait_time_seconds(seconds);
        // A long poll may take longer than the timeouts of other requests allow.
        let patience = aws_sdk_sqs::config::timeout::TimeoutConfig::builder();
        let patience = patience.operation_attempt_timeout(wait + Duration::from_secs(5)).build();
        let patience = aws_sdk_sqs::Config::builder().timeout_config(patience);
        let request = request.max_number_of_messages(10).customize().config_override(patience);
        let messages = request.send().await.unwrap().messages.unwrap_or_default();
        for message in &messages {
            let delete = self.world.clients.sqs().delete_message().queue_url(url);
            delete.receipt_handle(message.receipt_handle().unwrap()).send().await.unwrap();
        }
        messages
    }
}

#[async_trait]
impl QueuesReader for SqsReader {
    fn queues(&self) -> &dyn Queues {
        &self.queues
    }

    async fn receive(&self, queue: Queue, wait: Duration) -> Vec<Message> {
        let messages = self.receive_from(&self.urls[&queue].messages, wait).await;
        messages
            .iter()
            .map(|message| Message::from_body(message.body().unwrap()).unwrap())
            .collect()
    }

    async fn bury(&self, queue: Queue, body: &str) -> bool {
        let url = &self.urls[&queue].dead_letters;
        self.world
            .clients
            .sqs()
            .send_message()
            .queue_url(url)
            .message_body(body)
            .send()
            .await
            .unwrap();
        true
    }
}

#[tokio::test]
#[ignore = "needs the emulator: tests/run starts it"]
async fn queues() {
    let world = World::new().await;
    let (queues, urls) = world.queues().await;
    contract::queues(&SqsReader { world, queues, urls }).await;
}

struct BusReader {
    world: World,
    events: EventBridgeEvents,
    queue: String,
    sent: Mutex<Vec<serde_json::Value>>,
}

#[async_trait]
impl EventsReader for BusReader {
    fn events(&self) -> &dyn Events {
        &self.events
    }

    async fn sent(&self) -> Vec<serde_json::Value> {
        let mut sent = self.sent.lock().await;
        sent.extend(self.world.receive_all(&self.queue).await);
        sent.clone()
    }
}

#[tokio::test]
#[ignore = "needs the emulator: tests/run starts it"]
async fn events() {
    let world = World::new().await;
    let (events, queue) = world.events().await;
    contract::events(&BusReader { world, events, queue, sent: Mutex::default() }).await;
}
