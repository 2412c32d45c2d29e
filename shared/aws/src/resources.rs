//! The buckets, queues, keys and event bus of a repository.

use std::collections::BTreeMap;

use tufline_store::{DELIVERIES, OnlineRole, Queue};

use crate::{
    ChunkQueue, Clients, CopyLimits, EventBridgeEvents, KmsSigner, QueueUrls, S3Blobs, S3Chunks,
    S3Links, S3Store, S3Uploads, SqsQueues,
};

const CHUNK_QUEUE: &str = "TUFLINE_QUEUE_CHUNK";
const CHUNK_DEAD_LETTERS: &str = "TUFLINE_DLQ_CHUNK";

/// The names of a repository's resources. Each port needs only some of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// `TUFLINE_UPLOADS_BUCKET`.
    pub uploads_bucket: Option<String>,
    /// `TUFLINE_UPLOADS_PREFIX`: the prefix of the keys of uploads, for example `targets/`; it may
    /// be empty.
    pub uploads_prefix: Option<String>,
    /// `TUFLINE_REPOSITORY_BUCKET`.
    pub repository_bucket: Option<String>,
    /// `TUFLINE_LEDGER_BUCKET`.
    pub ledger_bucket: Option<String>,
    /// `TUFLINE_QUEUE_UPLOADS`, `_LARGE`, `_CHANGES`, `_SIGN`, `_PUBLISH`: the queues' URLs.
    pub queues: BTreeMap<Queue, String>,
    /// `TUFLINE_DLQ_UPLOADS`, `_LARGE`, `_CHANGES`, `_SIGN`, `_PUBLISH`: the URLs of their
    /// dead-letter queues.
    pub dead_letter_queues: BTreeMap<Queue, String>,
    /// `TUFLINE_QUEUE_CHUNK`: the URL of the queue of blobs to be cut, if targets are cut.
    pub chunk_queue: Option<String>,
    /// `TUFLINE_DLQ_CHUNK`: the URL of its dead-letter queue.
    pub chunk_dead_letters: Option<String>,
    /// `TUFLINE_KEY_TARGETS`, `_BINS`, `_SNAPSHOT`, `_TIMESTAMP`: KMS key ids or ARNs. During a
    /// rotation a role has several, separated by commas, the oldest first.
    pub keys: BTreeMap<OnlineRole, String>,
    /// `TUFLINE_EVENT_BUS`: the event bus, by name or ARN.
    pub event_bus: Option<String>,
}

/// The error that a port needs a resource whose name is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} is not set: set it to {what}")]
pub struct MissingResource {
    /// The environment variable that should name it.
    pub variable: String,
    /// What the variable should contain, for people.
    pub what: &'static str,
}

impl Resources {
    /// The resources that the environment names; `variable` looks up one variable.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let urls = |variable_of: fn(Queue) -> String| {
            Queue::ALL
                .into_iter()
                .filter_map(|queue| Some((queue, variable(&variable_of(queue))?)))
                .collect()
        };
        Self {
            uploads_bucket: variable("TUFLINE_UPLOADS_BUCKET"),
            uploads_prefix: variable("TUFLINE_UPLOADS_PREFIX"),
            repository_bucket: variable("TUFLINE_REPOSITORY_BUCKET"),
            ledger_bucket: variable("TUFLINE_LEDGER_BUCKET"),
            queues: urls(queue_variable),
            dead_letter_queues: urls(dead_letter_variable),
            chunk_queue: variable(CHUNK_QUEUE),
            chunk_dead_letters: variable(CHUNK_DEAD_LETTERS),
            keys: OnlineRole::ALL
                .into_iter()
                .filter_map(|role| Some((role, variable(&key_variable(role))?)))
                .collect(),
            event_bus: variable("TUFLINE_EVENT_BUS"),
        }
    }

    /// The store of the repository and the ledger buckets.
    pub fn store(&self, clients: &Clients) -> Result<S3Store, MissingResource> {
        Ok(S3Store::new(clients.s3.clone(), self.repository_bucket()?, self.ledger_bucket()?))
    }

    /// The uploads in the uploads bucket, below the prefix.
    pub fn uploads(&self, clients: &Clients) -> Result<S3Uploads, MissingResource> {
        Ok(S3Uploads::new(clients.s3.clone(), self.uploads_bucket()?, self.uploads_prefix()?))
    }

    /// The documents that other parties deliver, in the uploads bucket below `delegations/`.
    pub fn deliveries(&self, clients: &Clients) -> Result<S3Uploads, MissingResource> {
        Ok(S3Uploads::new(clients.s3.clone(), self.uploads_bucket()?, DELIVERIES.into()))
    }

    /// The targets' bytes in the repository bucket; uploads are copied to it within `limits`.
    pub fn blobs(&self, clients: &Clients, limits: CopyLimits) -> Result<S3Blobs, MissingResource> {
        Ok(S3Blobs::new(
            clients.s3.clone(),
            self.uploads_bucket()?,
            self.uploads_prefix()?,
            self.repository_bucket()?,
            limits,
        ))
    }

    /// The chunks of targets in the repository bucket.
    pub fn chunks(&self, clients: &Clients) -> Result<S3Chunks, MissingResource> {
        Ok(S3Chunks::new(clients.s3.clone(), self.repository_bucket()?))
    }

    /// Presigned links to objects that devices may read.
    pub fn links(&self, clients: &Clients) -> Result<S3Links, MissingResource> {
        Ok(S3Links::new(clients.s3_of_devices(), self.repository_bucket()?))
    }

    /// All queues, with their dead-letter queues.
    pub fn queues(&self, clients: &Clients) -> Result<SqsQueues, MissingResource> {
        let mut urls = BTreeMap::new();
        for queue in Queue::ALL {
            let messages =
                known(self.queues.get(&queue), queue_variable(queue), "the queue's URL")?;
            let dead_letters = known(
                self.dead_letter_queues.get(&queue),
                dead_letter_variable(queue),
                "the dead-letter queue's URL",
            )?;
            urls.insert(queue, QueueUrls { messages, dead_letters });
        }
        Ok(SqsQueues::new(clients.sqs(), urls))
    }

    /// The queue of blobs to be cut into chunks.
    pub fn chunk_queue(&self, clients: &Clients) -> Result<ChunkQueue, MissingResource> {
        let url =
            known(self.chunk_queue.as_ref(), CHUNK_QUEUE.into(), "the URL of the queue of chunk")?;
        Ok(ChunkQueue::new(clients.sqs(), url))
    }

    /// The online keys of all roles. Whether the caller may use a key shows at its first use.
    pub fn signer(&self, clients: &Clients) -> Result<KmsSigner, MissingResource> {
        let key = |role| known(self.keys.get(&role), key_variable(role), "the KMS key's id or ARN");
        let ids = |keys: String| keys.split(',').map(|id| id.trim().to_owned()).collect();
        let keys = OnlineRole::ALL
            .into_iter()
            .map(|role| Ok((role, ids(key(role)?))))
            .collect::<Result<_, _>>()?;
        Ok(KmsSigner::new(clients.kms(), keys))
    }

    /// The events on the repository's event bus.
    pub fn events(&self, clients: &Clients) -> Result<EventBridgeEvents, MissingResource> {
        let bus = known(
            self.event_bus.as_ref(),
            "TUFLINE_EVENT_BUS".into(),
            "the event bus's name or ARN",
        )?;
        Ok(EventBridgeEvents::new(clients.eventbridge(), bus))
    }

    fn uploads_bucket(&self) -> Result<String, MissingResource> {
        known(
            self.uploads_bucket.as_ref(),
            "TUFLINE_UPLOADS_BUCKET".into(),
            "the uploads bucket's name",
        )
    }

    fn uploads_prefix(&self) -> Result<String, MissingResource> {
        known(
            self.uploads_prefix.as_ref(),
            "TUFLINE_UPLOADS_PREFIX".into(),
            "the prefix of the keys of uploads",
        )
    }

    fn repository_bucket(&self) -> Result<String, MissingResource> {
        known(
            self.repository_bucket.as_ref(),
            "TUFLINE_REPOSITORY_BUCKET".into(),
            "the repository bucket's name",
        )
    }

    fn ledger_bucket(&self) -> Result<String, MissingResource> {
        known(
            self.ledger_bucket.as_ref(),
            "TUFLINE_LEDGER_BUCKET".into(),
            "the ledger bucket's name",
        )
    }
}

fn known(
    value: Option<&String>,
    variable: String,
    what: &'static str,
) -> Result<String, MissingResource> {
    value.cloned().ok_or(MissingResource { variable, what })
}

fn queue_variable(queue: Queue) -> String {
    format!("TUFLINE_QUEUE_{}", queue.name().to_uppercase())
}

fn dead_letter_variable(queue: Queue) -> String {
    format!("TUFLINE_DLQ_{}", queue.name().to_uppercase())
}

fn key_variable(role: OnlineRole) -> String {
    let role = match role {
        OnlineRole::Targets => "TARGETS",
        OnlineRole::Bins => "BINS",
        OnlineRole::Snapshot => "SNAPSHOT",
        OnlineRole::Timestamp => "TIMESTAMP",
    };
    format!("TUFLINE_KEY_{role}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_variable_is_named_by_the_port_that_needs_it_and_by_no_other() {
        let access = crate::Access { region: Some("eu-central-1".into()), ..Default::default() };
        let clients = Clients::new(access).await.unwrap();
        let missing = ["TUFLINE_DLQ_SIGN", "TUFLINE_KEY_BINS", "TUFLINE_UPLOADS_PREFIX"];
        let resources = Resources::from_variables(|name| {
            (!missing.contains(&name)).then(|| format!("the value of {name}"))
        });
        assert_eq!(resources.queues[&Queue::Sign], "the value of TUFLINE_QUEUE_SIGN");
        assert_eq!(resources.keys[&OnlineRole::Timestamp], "the value of TUFLINE_KEY_TIMESTAMP");
        assert!(resources.store(&clients).is_ok());
        assert!(resources.events(&clients).is_ok());
        assert_eq!(resources.queues(&clients).err().unwrap().variable, missing[0]);
        assert_eq!(resources.signer(&clients).err().unwrap().variable, missing[1]);
        for variable in [
            resources.uploads(&clients).err(),
            resources.blobs(&clients, CopyLimits::default()).err(),
        ] {
            assert_eq!(
                variable.unwrap().to_string(),
                "TUFLINE_UPLOADS_PREFIX is not set: set it to the prefix of the keys of uploads"
            );
        }
    }
}
