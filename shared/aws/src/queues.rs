//! The queues between the stages, on SQS.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::operation::get_queue_attributes::builders::GetQueueAttributesFluentBuilder;
use aws_sdk_sqs::types::QueueAttributeName;
use tufline_store::{ErrorKind, Letter, Message, Queue, Queues, Result, StoreError, Waiting};

use crate::failure::failed;

/// The only message group of each FIFO queue, so that its messages are handled one after another.
const GROUP: &str = "tufline";

/// The longest `DelaySeconds`
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>).
const LONGEST_DELAY: u64 = 900;

/// The most messages of one `ReceiveMessage`
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>).
const BATCH: usize = 10;

/// How many seconds a received dead letter stays hidden: longer than handling a batch takes, and
/// short enough that the next run sees a letter again that was not removed.
const HIDDEN: i32 = 60;

/// The attributes that together count a queue's messages: waiting, held by a consumer, and delayed.
const WAITING: [QueueAttributeName; 3] = [
    QueueAttributeName::ApproximateNumberOfMessages,
    QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
    QueueAttributeName::ApproximateNumberOfMessagesDelayed,
];

/// The URLs of a queue and of its dead-letter queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueUrls {
    /// The URL of the queue itself.
    pub messages: String,
    /// The URL of its dead-letter queue.
    pub dead_letters: String,
}

/// The queue of blobs to be cut into chunks. It is not one of the pipeline's queues.
#[derive(Debug, Clone)]
pub struct ChunkQueue {
    client: Client,
    url: String,
}

impl ChunkQueue {
    pub(crate) fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }

    /// Sends a request in the form that the function chunk reads.
    ///
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
    pub async fn send(&self, body: String) -> Result<()> {
        let sent = self.client.send_message().queue_url(&self.url).message_body(body).send().await;
        sent.map(drop).map_err(|error| failed("send to", &self.url, error))
    }
}

/// [`Queues`] on SQS.
#[derive(Debug, Clone)]
pub struct SqsQueues {
    client: Client,
    urls: BTreeMap<Queue, QueueUrls>,
}

impl SqsQueues {
    /// Uses the queues at these URLs. A request for a queue without a URL fails.
    #[must_use]
    pub fn new(client: Client, urls: BTreeMap<Queue, QueueUrls>) -> Self {
        Self { client, urls }
    }

    /// Returns a failed message to the queue after `delay` (whole seconds, at most 12 hours). The
    /// queue's visibility timeout would be longer, since it allows for functions that were killed.
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html>
    pub async fn return_after(&self, queue: Queue, receipt: &str, delay: Duration) -> Result<()> {
        let url = &self.urls(queue)?.messages;
        let seconds = i32::try_from(delay.as_secs()).unwrap_or(i32::MAX);
        let request =
            self.client.change_message_visibility().queue_url(url).receipt_handle(receipt);
        let answer = request.visibility_timeout(seconds).send().await;
        answer.map(drop).map_err(|error| failed("return a message to", url, error))
    }

    fn urls(&self, queue: Queue) -> Result<&QueueUrls> {
        let why = "the queue's URL isn't configured";
        self.urls
            .get(&queue)
            .ok_or_else(|| StoreError::new(ErrorKind::Invalid, "find", queue.name(), why))
    }

    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
    async fn send_body(&self, queue: Queue, body: String, delay: Duration) -> Result<()> {
        let url = &self.urls(queue)?.messages;
        let request = self.client.send_message().queue_url(url).message_body(body);
        let request = if queue.is_fifo() {
            // A FIFO queue drops a message with the id of another one from the last five minutes. A
            // second hint is no duplicate of the first: its cause may have happened after the first
            // was handled.
            request.message_group_id(GROUP).message_deduplication_id(fresh_id(queue)?)
        } else {
            request.delay_seconds(
                i32::try_from(delay.as_secs().min(LONGEST_DELAY)).unwrap_or_default(),
            )
        };
        request.send().await.map(drop).map_err(|error| failed("send to", url, error))
    }

    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html>
    async fn count(&self, url: &str) -> Result<u64> {
        let request = self.client.get_queue_attributes().queue_url(url);
        let request =
            WAITING.into_iter().fold(request, GetQueueAttributesFluentBuilder::attribute_names);
        let answer =
            request.send().await.map_err(|error| failed("count the messages of", url, error))?;
        let counts = answer.attributes.unwrap_or_default();
        Ok(WAITING.iter().filter_map(|name| counts.get(name)?.parse::<u64>().ok()).sum())
    }
}

/// 128 random bits in hex.
fn fresh_id(queue: Queue) -> Result<String> {
    let mut bits = [0; 16];
    aws_lc_rs::rand::fill(&mut bits).map_err(|_| {
        StoreError::new(ErrorKind::Retry, "send to", queue.name(), "the system has no randomness")
    })?;
    Ok(hex::encode(bits))
}

#[async_trait]
impl Queues for SqsQueues {
    async fn send(&self, message: &Message, delay: Duration) -> Result<()> {
        let queue = message.queue();
        let body = message.to_body();
        let body = body.map_err(|error| {
            StoreError::from_source(ErrorKind::Invalid, "send to", queue.name(), error)
        })?;
        self.send_body(queue, body, delay).await
    }

    /// It asks without waiting. So SQS may leave out some letters, which the next run finds. Of a
    /// FIFO queue's group, only one batch can be out at a time.
    async fn dead_letters(&self, queue: Queue, limit: usize) -> Result<Vec<Letter>> {
        let url = &self.urls(queue)?.dead_letters;
        let mut letters = Vec::new();
        while letters.len() < limit {
            let batch = i32::try_from(BATCH.min(limit - letters.len())).unwrap_or_default();
            let request =
                self.client.receive_message().queue_url(url).max_number_of_messages(batch);
            let request = request.visibility_timeout(HIDDEN).wait_time_seconds(0);
            let answer =
                request.send().await.map_err(|error| failed("receive from", url, error))?;
            let before = letters.len();
            letters.extend(answer.messages.unwrap_or_default().into_iter().filter_map(|message| {
                Some(Letter {
                    body: message.body.unwrap_or_default(),
                    receipt: message.receipt_handle?,
                })
            }));
            if letters.len() == before {
                break;
            }
        }
        Ok(letters)
    }

    /// A crash between the two requests leaves the letter in both queues. That is harmless, since a
    /// message is only a hint.
    async fn redrive(&self, queue: Queue, letter: &Letter) -> Result<()> {
        self.send_body(queue, letter.body.clone(), Duration::ZERO).await?;
        let url = &self.urls(queue)?.dead_letters;
        let request = self.client.delete_message().queue_url(url).receipt_handle(&letter.receipt);
        request.send().await.map(drop).map_err(|error| failed("remove from", url, error))
    }

    async fn waiting(&self, queue: Queue) -> Result<Waiting> {
        let urls = self.urls(queue)?;
        Ok(Waiting {
            messages: self.count(&urls.messages).await?,
            dead_letters: self.count(&urls.dead_letters).await?,
        })
    }
}
