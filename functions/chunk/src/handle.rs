//! Handles a batch of messages.

use tufline_tuf::{Sha256, Time};

use crate::chunker::{Chunked, Chunker};
use crate::message::read;

/// Cuts the blobs that these messages name, within `until`. Returns for each message why it must be
/// delivered again, or `None` if it is done.
pub async fn handle(chunker: &Chunker, until: Time, bodies: &[&str]) -> Vec<Option<String>> {
    let mut failures = Vec::with_capacity(bodies.len());
    for body in bodies {
        failures.push(match read(body) {
            Ok(blobs) => chunk_all(chunker, until, blobs).await,
            Err(error) => Some(error.to_string()),
        });
    }
    failures
}

/// Cuts one blob after another. Finished blobs stay finished, so a message that is delivered again
/// continues where it failed.
async fn chunk_all(chunker: &Chunker, until: Time, blobs: Vec<Sha256>) -> Option<String> {
    for blob in blobs {
        match chunker.chunk(&blob, until).await {
            Ok(Chunked::Stored { chunks, bytes }) => {
                tracing::info!(%blob, chunks, bytes, "chunks stored");
            }
            Ok(outcome) => tracing::debug!(%blob, ?outcome, "nothing to cut"),
            Err(error) => {
                tracing::error!(%blob, kind = %error.kind, %error, "not cut");
                return Some(error.to_string());
            }
        }
    }
    None
}
