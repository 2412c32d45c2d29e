//! The functions of the pipeline. The handler's name, which Lambda gives in `_HANDLER`, says which stage this one is.

#![allow(clippy::multiple_crate_versions)]

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use metrics_cloudwatch_embedded::Collector;
use tufline_aws::{Clients, Patience, Resources, SqsQueues};
use tufline_lambda::{config, start_logs, variable};
use tufline_pipeline::dispatch::handle;
use tufline_pipeline::stages::refresh;
use tufline_pipeline::{Deadline, Ports, ReadingMemory, measure};
use tufline_store::{CachedStore, Queue, SystemClock, VerifiedRoots};
use tufline_tuf::Time;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    start_logs();
    match stage()? {
        Stage::Queue(queue) => {
            let world = &World::build()?;
            let metrics = start_metrics()?;
            let batch = |event: LambdaEvent<SqsEvent>| async move {
                let until = last_beginning(queue, event.context.deadline);
                let response = batch(world, queue, until, event.payload).await;
                metrics.flush(std::io::stdout())?;
                response
            };
            lambda_runtime::run(service_fn(batch)).await
        }
        Stage::Refresh => {
            let ports = &World::build()?.ports;
            let metrics = start_metrics()?;
            let run = |_: LambdaEvent<serde_json::Value>| async move {
                let outcome = refresh(ports).await;
                if let Err(error) = &outcome {
                    tracing::error!(kind = %error.kind(), %error, "refresh failed");
                }
                metrics.flush(std::io::stdout())?;
                outcome.map_err(Error::from)
            };
            lambda_runtime::run(service_fn(run)).await
        }
    }
}

/// Handles a batch; the messages that must come again are answered as partial failures
/// (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting>).
async fn batch(world: &World, queue: Queue, until: Time, event: SqsEvent) -> Result<SqsBatchResponse, Error> {
    let bodies: Vec<&str> = event.records.iter().map(|record| record.body.as_deref().unwrap_or_default()).collect();
    let failures = handle(&world.ports, queue, &world.prefix, until, &bodies).await;
    let mut response = SqsBatchResponse::default();
    for (record, failure) in event.records.iter().zip(failures) {
        if let Some(reason) = failure {
            let message = record.message_id.clone().unwrap_or_default();
            tracing::warn!(message, reason, "message comes again");
            return_soon(&world.queues, queue, record).await;
            let mut failed = BatchItemFailure::default();
            failed.item_identifier = message;
            response.batch_item_failures.push(failed);
        }
    }
    Ok(response)
}

/// How long a message waits after it has failed for the first time. It doubles with each failure.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// Lets a failed message come again soon: what failed it is over in seconds more often than not. Where this fails, it comes
/// after the queue's visibility timeout.
async fn return_soon(queues: &SqsQueues, queue: Queue, record: &SqsMessage) {
    let Some(receipt) = &record.receipt_handle else { return };
    let receives = record.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse::<u32>().ok());
    let delay = FIRST_RETRY * 2_u32.pow(receives.unwrap_or(1).clamp(1, 6) - 1);
    if let Err(error) = queues.return_after(queue, receipt, delay).await {
        tracing::warn!(%error, "message not returned early");
    }
}

/// What this function runs.
enum Stage {
    /// The stage of a queue.
    Queue(Queue),
    /// Refresh, woken by a schedule.
    Refresh,
}

/// What this function works with.
struct World {
    ports: Ports,
    /// For returning failed messages: that is Lambda's affair, and no port of the stages.
    queues: Arc<SqsQueues>,
    /// What the keys of uploads begin with.
    prefix: String,
}

impl World {
    /// Builds the ports. Sends nothing: that keeps a cold start short.
    fn build() -> anyhow::Result<Self> {
        let resources = Resources::from_variables(variable);
        let clients = Clients::of_function(variable, Patience::default())?;
        let queues = Arc::new(resources.queues(&clients)?);
        let config = config()?;
        let verified = VerifiedRoots::new(Arc::new(resources.store(&clients)?), config.trusted_root);
        let ports = Ports {
            store: Arc::new(CachedStore::new(Arc::new(verified), MOST_KEPT)),
            uploads: Arc::new(resources.uploads(&clients)?),
            deliveries: Arc::new(resources.deliveries(&clients)?),
            blobs: Arc::new(resources.blobs(&clients, config.large_uploads.into())?),
            queues: Arc::clone(&queues) as _,
            signer: Arc::new(resources.signer(&clients)?),
            events: Arc::new(resources.events(&clients)?),
            clock: Arc::new(SystemClock),
            config: Arc::new(config),
            reading: ReadingMemory::default(),
            deadline: Deadline::never(),
        };
        Ok(Self { ports, queues, prefix: resources.uploads_prefix.unwrap_or_default() })
    }
}

/// So much of what never changes is kept between invocations, in bytes. The functions have 512 MB at least
/// (`cdk/lib/functions.ts`).
const MOST_KEPT: u64 = 32 * 1024 * 1024;

/// Begins to collect what the stages measure. It is flushed to the log after each invocation, in the embedded format that
/// CloudWatch reads metrics from.
fn start_metrics() -> anyhow::Result<&'static Collector> {
    let repository =
        variable("TUFLINE_REPOSITORY").context("TUFLINE_REPOSITORY is not set: give it the repository's name")?;
    let collector = metrics_cloudwatch_embedded::Builder::new()
        .cloudwatch_namespace(measure::NAMESPACE)
        .with_dimension("Repository", repository)
        .init()
        .map_err(|error| anyhow!(error))?;
    measure::describe();
    Ok(collector)
}

/// The stage that the handler's name names.
fn stage() -> anyhow::Result<Stage> {
    let handler = variable("_HANDLER").context("_HANDLER is not set: this program is started by Lambda")?;
    Ok(match handler.as_str() {
        "hash" => Stage::Queue(Queue::Uploads),
        "large" => Stage::Queue(Queue::Large),
        "rebuild" => Stage::Queue(Queue::Changes),
        "sign" => Stage::Queue(Queue::Sign),
        "publish" => Stage::Queue(Queue::Publish),
        "refresh" => Stage::Refresh,
        other => {
            bail!("no stage is called '{other}': the handler must be hash, large, rebuild, sign, publish or refresh")
        }
    })
}

/// What a run of large needs at its end: the piece that is under way (20 seconds if S3 is slow), to store how far it came, and to
/// send a message.
const LAST_PIECE: Duration = Duration::from_secs(90);

/// What a run of the other stages needs: to sign and check what the uploads were asked of, to write it, and to send a message.
const LAST_STEPS: Duration = Duration::from_secs(25);

/// When a run that Lambda stops at `deadline` (milliseconds since 1970) may begin something for the last time.
fn last_beginning(queue: Queue, deadline: u64) -> Time {
    let last_steps = if queue == Queue::Large { LAST_PIECE } else { LAST_STEPS };
    let deadline = i64::try_from(deadline).ok().and_then(|deadline| Time::from_millisecond(deadline).ok());
    deadline.and_then(|deadline| deadline.checked_sub(last_steps).ok()).unwrap_or(Time::MIN)
}
