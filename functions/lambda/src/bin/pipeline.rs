//! The functions of the pipeline. Lambda gives the handler's name in `_HANDLER`, and that says
//! which stage this function runs.

#![allow(clippy::multiple_crate_versions)]

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use metrics_cloudwatch_embedded::Collector;
use tufline_aws::{Clients, Patience, Resources, SqsQueues};
use tufline_lambda::{bodies, config, last_beginning, partial_failure, start_logs, variable};
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
                let until = last_beginning(event.context.deadline, last_steps(queue));
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

/// Handles a batch. Messages that must come again are reported as partial failures.
async fn batch(
    world: &World,
    queue: Queue,
    until: Time,
    event: SqsEvent,
) -> Result<SqsBatchResponse, Error> {
    let failures = handle(&world.ports, queue, &world.prefix, until, &bodies(&event)).await;
    let mut response = SqsBatchResponse::default();
    for (record, failure) in event.records.iter().zip(failures) {
        if let Some(reason) = failure {
            response.batch_item_failures.push(partial_failure(record, &reason));
            return_soon(&world.queues, queue, record).await;
        }
    }
    Ok(response)
}

/// How long a message waits after its first failure. The wait doubles with each further failure.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// Makes a failed message visible again soon, since most causes of failure pass within seconds. If
/// this request fails, the message comes again after the queue's visibility timeout.
async fn return_soon(queues: &SqsQueues, queue: Queue, record: &SqsMessage) {
    let Some(receipt) = &record.receipt_handle else { return };
    let receives = record
        .attributes
        .get("ApproximateReceiveCount")
        .and_then(|count| count.parse::<u32>().ok());
    let delay = FIRST_RETRY * 2_u32.pow(receives.unwrap_or(1).clamp(1, 6) - 1);
    if let Err(error) = queues.return_after(queue, receipt, delay).await {
        tracing::warn!(%error, "message not returned early");
    }
}

/// The stage that this function runs.
enum Stage {
    /// The stage that handles this queue.
    Queue(Queue),
    /// Refresh, woken by a schedule.
    Refresh,
}

/// The ports, and what else this function needs.
struct World {
    ports: Ports,
    /// For returning failed messages. Only Lambda needs that, so it is no port of the stages.
    queues: Arc<SqsQueues>,
    /// The prefix of the keys of uploads.
    prefix: String,
}

impl World {
    /// Builds the ports. It sends no request, which keeps a cold start short.
    fn build() -> anyhow::Result<Self> {
        let resources = Resources::from_variables(variable);
        let clients = Clients::of_function(variable, Patience::default())?;
        let queues = Arc::new(resources.queues(&clients)?);
        let config = config()?;
        let verified =
            VerifiedRoots::new(Arc::new(resources.store(&clients)?), config.trusted_root);
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

/// How many bytes of immutable records stay in memory between invocations. The functions have at
/// least 512 MB (`cdk/lib/functions.ts`).
const MOST_KEPT: u64 = 32 * 1024 * 1024;

/// Starts to collect the stages' metrics. After each invocation they are written to the log, in the
/// embedded format that CloudWatch reads.
fn start_metrics() -> anyhow::Result<&'static Collector> {
    let repository = variable("TUFLINE_REPOSITORY")
        .context("TUFLINE_REPOSITORY is not set: give it the repository's name")?;
    let collector = metrics_cloudwatch_embedded::Builder::new()
        .cloudwatch_namespace(measure::NAMESPACE)
        .with_dimension("Repository", repository)
        .init()
        .map_err(|error| anyhow!(error))?;
    measure::describe();
    Ok(collector)
}

/// The stage named by the handler.
fn stage() -> anyhow::Result<Stage> {
    let handler =
        variable("_HANDLER").context("_HANDLER is not set: this program is started by Lambda")?;
    Ok(match handler.as_str() {
        "hash" => Stage::Queue(Queue::Uploads),
        "large" => Stage::Queue(Queue::Large),
        "rebuild" => Stage::Queue(Queue::Changes),
        "sign" => Stage::Queue(Queue::Sign),
        "publish" => Stage::Queue(Queue::Publish),
        "refresh" => Stage::Refresh,
        other => {
            bail!(
                "no stage is called '{other}': the handler must be hash, large, rebuild, sign, publish or refresh"
            )
        }
    })
}

/// How much time a run of large needs at its end: to finish the current piece (20 seconds if S3 is
/// slow), store its progress, and send a message.
const LAST_PIECE: Duration = Duration::from_secs(90);

/// How much time a run of another stage needs at its end: to sign, check and write what it has
/// asked the uploads about, and to send a message.
const LAST_STEPS: Duration = Duration::from_secs(25);

/// How much time a run of the queue's stage needs at its end.
fn last_steps(queue: Queue) -> Duration {
    if queue == Queue::Large { LAST_PIECE } else { LAST_STEPS }
}
