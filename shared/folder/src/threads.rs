//! Where file operations run: on few threads, since many would rather wait for each other than for the disk; some for the data folder, some for
//! looking at uploads, some for copying them, so that a hanging disk of uploads holds up no timestamp.

use std::io;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tufline_store::{ErrorKind, Result, StoreError};

/// Threads for file operations. Those that wait for a thread lie in one queue, so few threads that are always busy take less time than
/// many that are woken for each.
pub(crate) type Threads = LazyLock<io::Result<Runtime>>;

/// For what is written to the data folder.
pub(crate) static DATA: Threads = LazyLock::new(|| threads(16));

/// For looking at uploads: if their disk hangs, nothing else does.
pub(crate) static UPLOADS: Threads = LazyLock::new(|| threads(16));

/// For copying uploads: each may take long, and shall hold up nothing else.
pub(crate) static COPIES: Threads = LazyLock::new(|| threads(8));

/// How long a thread stays that has nothing to do.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

fn threads(most: usize) -> io::Result<Runtime> {
    Builder::new_current_thread().max_blocking_threads(most).thread_keep_alive(KEEP_ALIVE).build()
}

/// Runs file work on one of these threads.
pub(crate) async fn in_turn<T: Send + 'static>(
    threads: &'static Threads,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match &**threads {
        Ok(threads) => outcome(threads.spawn_blocking(work)).await,
        Err(error) => Err(StoreError::new(ErrorKind::Retry, "begin", "a file operation", error)),
    }
}

/// Runs file work where it may block, and waits for no other.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    outcome(tokio::task::spawn_blocking(work)).await
}

async fn outcome<T>(work: JoinHandle<Result<T>>) -> Result<T> {
    match work.await {
        Ok(result) => result,
        Err(error) => Err(StoreError::from_source(ErrorKind::Retry, "finish", "a file operation", error)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, mpsc};

    use super::*;
    use crate::lock::lock;

    #[tokio::test]
    async fn uploads_that_hang_hold_up_no_timestamp() {
        let (end, hanging) = mpsc::channel::<()>();
        let hanging = Arc::new(Mutex::new(hanging));
        let look = |threads| {
            let hanging = Arc::clone(&hanging);
            // Until the other side is dropped.
            tokio::spawn(in_turn(threads, move || lock(&hanging).recv().or(Ok(()))))
        };
        let looks: Vec<_> = (0..100).flat_map(|_| [look(&UPLOADS), look(&COPIES)]).collect();
        assert_eq!(in_turn(&DATA, || Ok(1)).await.unwrap(), 1);
        assert_eq!(blocking(|| Ok(2)).await.unwrap(), 2);
        drop(end);
        for look in looks {
            look.await.unwrap().unwrap();
        }
    }
}
