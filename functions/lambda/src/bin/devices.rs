//! The functions that answer devices, serve and pack, behind an API Gateway HTTP API with payload
//! format 2.0
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>),
//! and chunk, which cuts blobs into chunks as its queue asks. Chunk is here because it compresses
//! as pack does.
//! `_HANDLER` says which of the three this function is.

#![allow(clippy::multiple_crate_versions)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use aws_lambda_events::encodings::Body as Payload;
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use bytes::Bytes;
use futures::TryStreamExt;
use http::header::CONTENT_TYPE;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use tokio::sync::Mutex;
use tufline_aws::{Clients, CopyLimits, Patience, Resources};
use tufline_chunk::{Chunker, handle};
use tufline_lambda::{bodies, config, last_beginning, partial_failure, start_logs, variable};
use tufline_serve::{Answer, Body, PACK_PATH, Packs, Redirects, ServedRepository};
use tufline_store::{StoreError, SystemClock, VerifiedRoots};
use tufline_tuf::config::InlineTargets;

/// How long to wait before another try, if S3 fails even after the SDK's own retries.
const PAUSES: [Duration; 1] = [Duration::from_millis(100)];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    start_logs();
    if variable("_HANDLER").is_some_and(|handler| handler == "chunk") {
        let chunker = &chunker()?;
        return lambda_runtime::run(service_fn(|event| chunk(chunker, event))).await;
    }
    let repository = &repository()?;
    lambda_runtime::run(service_fn(|event| answer(repository, event))).await
}

/// Builds the repository as devices may read it. It sends no request, which keeps a cold start
/// short.
fn repository() -> Result<ServedRepository> {
    let resources = Resources::from_variables(variable);
    let clients = Clients::of_function(variable, Patience::DEVICE)?;
    let config = config()?;
    let redirects = Redirects {
        links: Arc::new(resources.links(&clients)?),
        inline_targets: config.inline_targets.bytes(),
        inline_metadata: InlineTargets::MOST,
    };
    Ok(ServedRepository {
        store: Arc::new(VerifiedRoots::new(
            Arc::new(resources.store(&clients)?),
            config.trusted_root,
        )),
        blobs: Arc::new(resources.blobs(&clients, CopyLimits::default())?),
        chunks: Arc::new(resources.chunks(&clients)?),
        redirects: Some(redirects),
        packs: packs()?,
        pauses: PAUSES.to_vec(),
    })
}

/// What the function `pack` remembers; `None` in the function `serve`. `TUFLINE_PACK_MAX_AGE` says
/// how long caches may keep a pack, which depends on who may read the repository.
fn packs() -> Result<Option<Arc<Packs>>> {
    if variable("_HANDLER").is_none_or(|handler| handler != "pack") {
        return Ok(None);
    }
    let max_age = variable("TUFLINE_PACK_MAX_AGE").map(|seconds| seconds.parse()).transpose();
    Ok(Some(Arc::new(Packs::new(max_age.context("TUFLINE_PACK_MAX_AGE")?.unwrap_or_default()))))
}

/// Where a function may write files: as many bytes as `cdk/lib/chunk.ts` says
/// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-ephemeral-storage.html>).
const SCRATCH: &str = "/tmp";

/// How much time a run of chunk needs after it has compressed the last chunk: to hash a gibibyte,
/// and to store it in two tries.
const LAST_STEPS: Duration = Duration::from_mins(2);

/// The ports and settings with which chunk cuts blobs.
fn chunker() -> Result<Chunker> {
    let resources = Resources::from_variables(variable);
    let clients = Clients::of_function(variable, Patience::default())?;
    Ok(Chunker {
        blobs: Arc::new(resources.blobs(&clients, CopyLimits::default())?),
        chunks: Arc::new(resources.chunks(&clients)?),
        clock: Arc::new(SystemClock),
        scratch: PathBuf::from(SCRATCH),
        turn: Mutex::default(),
    })
}

/// Cuts the blobs that a batch of messages names.
async fn chunk(chunker: &Chunker, event: LambdaEvent<SqsEvent>) -> Result<SqsBatchResponse, Error> {
    let until = last_beginning(event.context.deadline, LAST_STEPS);
    let failures = handle(chunker, until, &bodies(&event.payload)).await;
    let mut response = SqsBatchResponse::default();
    for (record, failure) in event.payload.records.iter().zip(failures) {
        response.batch_item_failures.extend(failure.map(|why| partial_failure(record, &why)));
    }
    Ok(response)
}

/// Answers one request.
///
/// # Errors
/// The target's bytes stopped coming. API Gateway then answers 500, so no device takes a part for
/// the whole.
async fn answer(
    repository: &ServedRepository,
    event: LambdaEvent<ApiGatewayV2httpRequest>,
) -> Result<ApiGatewayV2httpResponse, Error> {
    let request = event.payload;
    // API Gateway has decoded the path already.
    let path = request.raw_path.unwrap_or_default();
    let method = &request.request_context.http.method;
    let answer = if path == PACK_PATH {
        repository.pack(method, request.raw_query_string.as_deref().unwrap_or_default()).await
    } else {
        repository.answer(method, &path, &request.headers).await
    };
    // API Gateway logs every request at a higher level.
    tracing::debug!(path, status = answer.status.as_u16(), "answered");
    Ok(response(answer).await?)
}

async fn response(
    Answer { status, headers, body }: Answer,
) -> Result<ApiGatewayV2httpResponse, StoreError> {
    let bytes = match body {
        Body::Whole(bytes) => bytes,
        Body::Blob(part) => {
            let pieces: Vec<Bytes> = part.pieces().try_collect().await?;
            pieces.concat().into()
        }
    };
    let is_text = headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| !kind.as_bytes().starts_with(b"application/octet"));
    let text = if is_text { String::from_utf8(bytes.to_vec()).ok() } else { None };
    let mut response = ApiGatewayV2httpResponse::default();
    response.status_code = status.as_u16().into();
    response.is_base64_encoded = text.is_none();
    response.body = Some(text.map_or_else(|| Payload::Binary(bytes.into()), Payload::Text));
    response.headers = headers;
    Ok(response)
}
