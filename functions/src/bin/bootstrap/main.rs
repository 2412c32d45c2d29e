//! The Lambda binary of all stages: `bootstrap`, which the runtime `provided.al2023` starts. The handler's name, which
//! Lambda gives in `_HANDLER`, says which stage it is.

#![allow(clippy::multiple_crate_versions)]

mod devices;
mod edge;

use std::time::Duration;

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use tufline_aws::SqsQueues;
use tufline_functions::handler::handle;
use tufline_functions::refresh::refresh;
use tufline_store::Queue;
use tufline_tuf::Time;

use edge::{Stage, World};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    edge::start_logs();
    match edge::stage()? {
        Stage::Queue(queue) => {
            let world = &edge::world().await?;
            let metrics = edge::start_metrics()?;
            let batch = |event: LambdaEvent<SqsEvent>| async move {
                let until = edge::last_beginning(queue, event.context.deadline);
                let response = batch(world, queue, until, event.payload).await;
                metrics.flush(std::io::stdout())?;
                response
            };
            lambda_runtime::run(service_fn(batch)).await
        }
        Stage::Refresh => {
            let ports = &edge::world().await?.ports;
            let metrics = edge::start_metrics()?;
            let run = |_: LambdaEvent<serde_json::Value>| async move {
                let outcome = refresh(ports).await;
                metrics.flush(std::io::stdout())?;
                outcome.map_err(Error::from)
            };
            lambda_runtime::run(service_fn(run)).await
        }
        Stage::Serve => {
            let repository = &devices::repository().await?;
            lambda_runtime::run(service_fn(|event| devices::answer(repository, event))).await
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
