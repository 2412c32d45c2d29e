//! The Lambda binary of all stages: `bootstrap`, which the runtime `provided.al2023` starts. The handler's name, which
//! Lambda gives in `_HANDLER`, says which stage it is.

#![allow(clippy::multiple_crate_versions)]

mod edge;

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use tufline_functions::Ports;
use tufline_functions::handler::handle;
use tufline_functions::refresh::refresh;
use tufline_store::Queue;

use edge::{Stage, World};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    edge::start_logs();
    let stage = edge::stage()?;
    let World { ports, prefix } = edge::world().await?;
    match stage {
        Stage::Queue(queue) => {
            let (ports, prefix) = (&ports, prefix.as_str());
            let batch = |event: LambdaEvent<SqsEvent>| batch(ports, prefix, queue, event.payload);
            lambda_runtime::run(service_fn(batch)).await
        }
        Stage::Refresh => {
            let ports = &ports;
            let run = |_: LambdaEvent<serde_json::Value>| async move { refresh(ports).await.map_err(Error::from) };
            lambda_runtime::run(service_fn(run)).await
        }
    }
}

/// Handles a batch; the messages that must come again are answered as partial failures
/// (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting>).
async fn batch(ports: &Ports, prefix: &str, queue: Queue, event: SqsEvent) -> Result<SqsBatchResponse, Error> {
    let bodies: Vec<&str> = event.records.iter().map(|record| record.body.as_deref().unwrap_or_default()).collect();
    let failures = handle(ports, queue, prefix, &bodies).await;
    let mut response = SqsBatchResponse::default();
    for (record, failure) in event.records.iter().zip(failures) {
        if let Some(reason) = failure {
            let message = record.message_id.clone().unwrap_or_default();
            tracing::warn!(message, reason, "message comes again");
            let mut failed = BatchItemFailure::default();
            failed.item_identifier = message;
            response.batch_item_failures.push(failed);
        }
    }
    Ok(response)
}
