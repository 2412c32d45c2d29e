//! The memory that this process may use for reading uploads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Result, StageError};

/// How many KiB of uploads a process holds at once, whether they are arriving, waiting or being
/// hashed.
const MOST_KIB: u32 = 16 * 1024;

/// Buffers of at least this many bytes are used again, up to [`MOST_KEPT`] of them. If every thread
/// allocated new ones, the holes between them would stay in the process's memory.
const KEPT_FROM: usize = 1 << 20;

/// How many free buffers are kept.
const MOST_KEPT: usize = 4;

/// The memory that this process may use for reading uploads. Clones share it.
#[derive(Clone)]
pub struct ReadingMemory(Arc<Buffers>);

struct Buffers {
    /// One permit for each KiB that is still free.
    kib: Arc<Semaphore>,
    /// Buffers that are free to be used again.
    free: Mutex<Vec<BytesMut>>,
}

impl Default for ReadingMemory {
    fn default() -> Self {
        Self(Arc::new(Buffers {
            kib: Arc::new(Semaphore::new(MOST_KIB as usize)),
            free: Mutex::default(),
        }))
    }
}

impl ReadingMemory {
    /// Waits until `bytes` may be held. The caller holds them as long as it keeps the result.
    ///
    /// Nobody waits for ever: an upload holds only the pieces that it needs next, so it returns
    /// them without getting more.
    pub(crate) async fn take(&self, bytes: u64) -> Result<Room> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(MOST_KIB).min(MOST_KIB);
        let permit = Arc::clone(&self.0.kib).acquire_many_owned(kib).await;
        let permit = permit.map_err(|error| StageError::refused_for(error.to_string(), error))?;
        let kept = if bytes >= KEPT_FROM as u64 { self.0.free().pop() } else { None };
        let buffer = kept.unwrap_or_default();
        Ok(Room { memory: self.clone(), buffer, _permit: permit })
    }
}

impl Buffers {
    fn free(&self) -> MutexGuard<'_, Vec<BytesMut>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for a piece, with a buffer for it. It is free again when dropped.
pub(crate) struct Room {
    pub memory: ReadingMemory,
    pub buffer: BytesMut,
    pub _permit: OwnedSemaphorePermit,
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut free = self.memory.0.free();
        if self.buffer.capacity() >= KEPT_FROM && free.len() < MOST_KEPT {
            free.push(std::mem::take(&mut self.buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn no_more_is_held_than_may_be_and_large_buffers_are_used_again() {
        let memory = ReadingMemory::default();
        let take = |bytes: u64| memory.take(bytes).now_or_never().map(Result::unwrap);
        let piece = 4 << 20;
        let mut held: Vec<Room> = (0..4).map(|_| take(piece).unwrap()).collect();
        assert!(take(1).is_none(), "16 MiB are held");
        held[0].buffer.resize(4 << 20, 0);
        held.remove(0);
        let small = take(1 << 10).unwrap();
        assert_eq!(small.buffer.capacity(), 0, "a small piece takes no large buffer");
        drop(small);
        assert!(take(piece).unwrap().buffer.capacity() >= 4 << 20, "the same buffer");
        for room in &mut held {
            room.buffer.resize(10, 0);
        }
        drop(held);
        assert_eq!(memory.0.free().len(), 1, "small ones are not kept");
        // A request for more than everything may be held alone.
        assert!(take(u64::MAX).is_some());
    }
}
