//! Passes a blob's bytes to a thread as they arrive.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::spawn_blocking;
use tufline_store::{Blobs, ErrorKind, Key, Result, StoreError};
use tufline_tuf::Sha256;

/// The number of bytes in one read. One piece is being worked on, one waits, and one is on its way.
/// A process that must stop waits for the first two.
pub const PIECE: u64 = 2 << 20;

/// The bytes of a blob in their order. They end with the blob, or when nobody wants the outcome any
/// more.
pub struct Pieces {
    coming: Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            let Some(piece) = self.coming.blocking_recv() else { return Ok(0) };
            self.piece = piece;
        }
        let length = buffer.len().min(self.piece.len());
        if let Some(room) = buffer.get_mut(..length) {
            self.piece.copy_to_slice(room);
        }
        Ok(length)
    }
}

/// Runs `work` over the blob `sha256`, which has `length` bytes, and returns its result. `work`
/// runs on a thread of its own, and may stop before the end.
///
/// # Errors
/// Those of the requests and of `work`; also if the blob ends too early.
pub async fn read_through<T: Send + 'static>(
    blobs: &Arc<dyn Blobs>,
    sha256: &Sha256,
    length: u64,
    work: impl FnOnce(Pieces) -> Result<T> + Send + 'static,
) -> Result<T> {
    let (sender, coming) = channel(1);
    let working = spawn_blocking(move || work(Pieces { coming, piece: Bytes::new() }));
    let send_all = async {
        let mut offset = 0;
        while offset < length {
            let piece = blobs.read(sha256, offset, PIECE.min(length - offset)).await?;
            let ends = || {
                StoreError::new(
                    ErrorKind::Corrupt,
                    "read",
                    Key::Blob(*sha256),
                    "it ends before its length",
                )
            };
            let piece = piece.filter(|piece| !piece.is_empty()).ok_or_else(ends)?;
            offset += piece.len() as u64;
            if sender.send(piece).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let sent = send_all.await;
    // This ends the bytes.
    drop(sender);
    let outcome = working.await;
    // A result from only some of the bytes is worthless.
    sent?;
    outcome.map_err(|error| {
        StoreError::from_source(ErrorKind::Retry, "cut", Key::Blob(*sha256), error)
    })?
}
