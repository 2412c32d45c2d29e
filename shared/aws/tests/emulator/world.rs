//! A test's own buckets, queues and keys on the emulator.

use std::collections::BTreeMap;

use aws_sdk_kms::types::{KeySpec, KeyUsageType};
use aws_sdk_s3::types::{
    BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration,
    VersioningConfiguration,
};
use aws_sdk_sqs::types::QueueAttributeName;
use serde::Deserialize;
use tufline_aws::{
    Access, AccessKey, Clients, CopyLimits, EventBridgeEvents, KmsSigner, QueueUrls, S3Blobs,
    S3Chunks, S3Store, S3Uploads, SqsQueues,
};
use tufline_store::{OnlineRole, Queue, VersionId};

/// The variable that names the file of endpoints.
const VARIABLE: &str = "TUFLINE_TEST_ADMIN_ENDPOINTS";

#[derive(Deserialize)]
struct Endpoints {
    aws: String,
    region: String,
    access_key_id: String,
    secret_access_key: String,
}

/// A test's own three buckets, and the clients with which it makes more resources.
pub struct World {
    pub clients: Clients,
    pub uploads: String,
    pub repository: String,
    pub ledger: String,
    suffix: String,
}

impl World {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests/run says in the environment where the emulator is"
    )]
    pub async fn new() -> Self {
        let file = std::env::var(VARIABLE)
            .unwrap_or_else(|_| panic!("set {VARIABLE}: the emulator's endpoints file"));
        let Endpoints { aws, region, access_key_id, secret_access_key } =
            serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let key = AccessKey { id: access_key_id, secret: secret_access_key, session_token: None };
        // S3 wants every region named but this one
        // (https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html).
        let location = (region != "us-east-1").then(|| {
            let location = BucketLocationConstraint::from(region.as_str());
            CreateBucketConfiguration::builder().location_constraint(location).build()
        });
        let access = Access {
            region: Some(region),
            endpoint: Some(aws),
            key: Some(key),
            ..Access::default()
        };
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random).unwrap();
        let suffix = hex::encode(random);
        let world = Self {
            clients: Clients::new(access).await.unwrap(),
            uploads: format!("uploads-{suffix}"),
            repository: format!("repository-{suffix}"),
            ledger: format!("ledger-{suffix}"),
            suffix,
        };
        for bucket in [&world.uploads, &world.repository, &world.ledger] {
            let create = world.clients.s3.create_bucket().bucket(bucket);
            create.set_create_bucket_configuration(location.clone()).send().await.unwrap();
            let enabled =
                VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
            let request = world.clients.s3.put_bucket_versioning().bucket(bucket);
            request.versioning_configuration(enabled).send().await.unwrap();
        }
        world
    }

    pub fn store(&self) -> S3Store {
        S3Store::new(self.clients.s3.clone(), self.repository.clone(), self.ledger.clone())
    }

    pub fn uploads(&self) -> S3Uploads {
        S3Uploads::new(self.clients.s3.clone(), self.uploads.clone(), "targets/".into())
    }

    pub fn blobs(&self, limits: CopyLimits) -> S3Blobs {
        let (uploads, repository) = (self.uploads.clone(), self.repository.clone());
        S3Blobs::new(self.clients.s3.clone(), uploads, "targets/".into(), repository, limits)
    }

    pub fn chunks(&self) -> S3Chunks {
        S3Chunks::new(self.clients.s3.clone(), self.repository.clone())
    }

    pub async fn put_raw(&self, bucket: &str, key: &str, bytes: &[u8]) -> Option<VersionId> {
        let put = self.clients.s3.put_object().bucket(bucket).key(key).body(bytes.to_vec().into());
        put.send().await.unwrap().version_id.map(VersionId)
    }

    pub async fn put(&self, key: &str, bytes: &[u8]) -> VersionId {
        self.put_raw(&self.uploads, key, bytes).await.unwrap()
    }

    pub async fn remove_raw(&self, bucket: &str, key: &str) -> Option<VersionId> {
        self.clients
            .s3
            .delete_object()
            .bucket(bucket)
            .key(key)
            .send()
            .await
            .unwrap()
            .version_id
            .map(VersionId)
    }

    pub async fn remove(&self, key: &str) -> VersionId {
        self.remove_raw(&self.uploads, key).await.unwrap()
    }

    async fn create_queue(&self, name: &str, is_fifo: bool) -> String {
        let request = self.clients.sqs().create_queue().queue_name(name);
        let request = if is_fifo {
            request.attributes(QueueAttributeName::FifoQueue, "true")
        } else {
            request
        };
        request.send().await.unwrap().queue_url.unwrap()
    }

    fn queue_name(&self, queue: Queue, kind: &str) -> String {
        format!(
            "{}{kind}-{}{}",
            queue.name(),
            self.suffix,
            if queue.is_fifo() { ".fifo" } else { "" }
        )
    }

    /// The queues, and where the test finds them.
    pub async fn queues(&self) -> (SqsQueues, BTreeMap<Queue, QueueUrls>) {
        let mut urls = BTreeMap::new();
        for queue in Queue::ALL {
            let messages = self.create_queue(&self.queue_name(queue, ""), queue.is_fifo()).await;
            let dead_letters =
                self.create_queue(&self.queue_name(queue, "-dlq"), queue.is_fifo()).await;
            urls.insert(queue, QueueUrls { messages, dead_letters });
        }
        (SqsQueues::new(self.clients.sqs(), urls.clone()), urls)
    }

    /// A key for each role, but for the role `wrong` one on another curve.
    pub async fn signer(&self, wrong: &[OnlineRole]) -> KmsSigner {
        let mut keys = BTreeMap::new();
        for role in OnlineRole::ALL {
            let spec =
                if wrong.contains(&role) { KeySpec::EccNistP384 } else { KeySpec::EccNistP256 };
            let request =
                self.clients.kms().create_key().key_spec(spec).key_usage(KeyUsageType::SignVerify);
            keys.insert(
                role,
                vec![request.send().await.unwrap().key_metadata.unwrap().arn.unwrap()],
            );
        }
        KmsSigner::new(self.clients.kms(), keys)
    }

    /// A bus, and a queue that receives its events.
    pub async fn events(&self) -> (EventBridgeEvents, String) {
        let bus = format!("bus-{}", self.suffix);
        let events = self.clients.eventbridge();
        events.create_event_bus().name(&bus).send().await.unwrap();
        let url = self.create_queue(&format!("events-{}", self.suffix), false).await;
        let arn = self
            .clients
            .sqs()
            .get_queue_attributes()
            .queue_url(&url)
            .attribute_names(QueueAttributeName::QueueArn);
        let arn = arn
            .send()
            .await
            .unwrap()
            .attributes
            .unwrap()
            .remove(&QueueAttributeName::QueueArn)
            .unwrap();
        let pattern = r#"{"source":["tufline"]}"#;
        events
            .put_rule()
            .name("all")
            .event_bus_name(&bus)
            .event_pattern(pattern)
            .send()
            .await
            .unwrap();
        let target =
            aws_sdk_eventbridge::types::Target::builder().id("queue").arn(arn).build().unwrap();
        events.put_targets().rule("all").event_bus_name(&bus).targets(target).send().await.unwrap();
        (EventBridgeEvents::new(events.clone(), bus), url)
    }

    /// The bodies of all messages in the queue at `url`, once no more come.
    pub async fn receive_all(&self, url: &str) -> Vec<serde_json::Value> {
        let mut found = Vec::new();
        loop {
            let request =
                self.clients.sqs().receive_message().queue_url(url).max_number_of_messages(10);
            let messages =
                request.wait_time_seconds(1).send().await.unwrap().messages.unwrap_or_default();
            if messages.is_empty() {
                return found;
            }
            for message in messages {
                found.push(serde_json::from_str(message.body().unwrap()).unwrap());
                let delete = self.clients.sqs().delete_message().queue_url(url);
                delete.receipt_handle(message.receipt_handle().unwrap()).send().await.unwrap();
            }
        }
    }
}
