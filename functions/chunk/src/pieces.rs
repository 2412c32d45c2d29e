//! The bytes of a blob for a thread that reads them as they come.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::spawn_blocking;
use tufline_store::{Blobs, ErrorKind, Key, Result, StoreError};
use tufline_tuf::Sha256;

/// So many bytes are read at once. One such piece is worked on, one waits, and one is on its way. A process that is told to stop
/// waits for the first two.
pub const PIECE: u64 = 2 << 20;

/// The bytes of a blob in their order. They end where the blob does, or where nobody wants the outcome any more.
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

/// What `work` makes of the blob `sha256`, which has `length` bytes. It runs on a thread of its own, and needs not read to the end.
///
/// # Errors
/// Those of the requests, of `work`, and a blob that ends too early.
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
    // The end of the bytes.
    drop(sender);
    let outcome = working.await;
    // What was made of a part is worth nothing.
    sent?;
    outcome.map_err(|error| {
        StoreError::from_source(ErrorKind::Retry, "cut", Key::Blob(*sha256), error)
    })?
}
