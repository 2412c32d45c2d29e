//! The functions that answer devices: serve and pack, which `_HANDLER` tells apart, behind an API Gateway HTTP API, payload format 2.0
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>).

#![allow(clippy::multiple_crate_versions)]

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use aws_lambda_events::encodings::Body as Payload;
use bytes::Bytes;
use futures::TryStreamExt;
use http::header::CONTENT_TYPE;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use tufline_aws::{Clients, CopyLimits, Patience, Resources};
use tufline_lambda::{config, start_logs, variable};
use tufline_serve::{Answer, Body, PACK_PATH, Packs, Redirects, ServedRepository};
use tufline_store::{StoreError, VerifiedRoots};
use tufline_tuf::config::InlineTargets;

/// Where S3 fails although the SDK has tried again.
const PAUSES: [Duration; 1] = [Duration::from_millis(100)];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    start_logs();
    let repository = &repository()?;
    lambda_runtime::run(service_fn(|event| answer(repository, event))).await
}

/// The repository as devices may read it. Sends nothing: that keeps a cold start short.
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
        store: Arc::new(VerifiedRoots::new(Arc::new(resources.store(&clients)?), config.trusted_root)),
        blobs: Arc::new(resources.blobs(&clients, CopyLimits::default())?),
        redirects: Some(redirects),
        packs: packs()?,
        pauses: PAUSES.to_vec(),
    })
}

/// For the function that makes packs: what it remembers. How long caches may keep them follows from who may read.
fn packs() -> Result<Option<Arc<Packs>>> {
    if variable("_HANDLER").is_none_or(|handler| handler != "pack") {
        return Ok(None);
    }
    let max_age = variable("TUFLINE_PACK_MAX_AGE").map(|seconds| seconds.parse()).transpose();
    Ok(Some(Arc::new(Packs::new(max_age.context("TUFLINE_PACK_MAX_AGE")?.unwrap_or_default()))))
}

/// Answers one request.
///
/// # Errors
/// Where the target's bytes stop coming: API Gateway makes that a 500, and no device takes the half for the whole.
async fn answer(
    repository: &ServedRepository,
    event: LambdaEvent<ApiGatewayV2httpRequest>,
) -> Result<ApiGatewayV2httpResponse, Error> {
    let request = event.payload;
    // API Gateway has decoded it: once is enough.
    let path = request.raw_path.unwrap_or_default();
    let method = &request.request_context.http.method;
    let answer = if path == PACK_PATH {
        repository.pack(method, request.raw_query_string.as_deref().unwrap_or_default()).await
    } else {
        repository.answer(method, &path, &request.headers).await
    };
    // API Gateway logs every request.
    tracing::debug!(path, status = answer.status.as_u16(), "answered");
    Ok(response(answer).await?)
}

async fn response(Answer { status, headers, body }: Answer) -> Result<ApiGatewayV2httpResponse, StoreError> {
    let bytes = match body {
        Body::Whole(bytes) => bytes,
        Body::Blob(part) => {
            let pieces: Vec<Bytes> = part.pieces().try_collect().await?;
            pieces.concat().into()
        }
    };
    let is_text = headers.get(CONTENT_TYPE).is_some_and(|kind| !kind.as_bytes().starts_with(b"application/octet"));
    let text = if is_text { String::from_utf8(bytes.to_vec()).ok() } else { None };
    let mut response = ApiGatewayV2httpResponse::default();
    response.status_code = status.as_u16().into();
    response.is_base64_encoded = text.is_none();
    response.body = Some(text.map_or_else(|| Payload::Binary(bytes.into()), Payload::Text));
    response.headers = headers;
    Ok(response)
}
