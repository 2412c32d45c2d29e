//! The threads for file operations. They are few, since many would wait for each other rather than
//! for the disk. The data folder, looking at uploads, and copying them have threads of their own,
//! so that a hanging uploads disk never holds up a timestamp.

use std::io;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tufline_store::{ErrorKind, Result, StoreError};

/// Threads for file operations. Waiting operations share one queue: a few threads that are always
/// busy take less time than many that are woken for each operation.
pub(crate) type Threads = LazyLock<io::Result<Runtime>>;

/// For writing to the data folder.
pub(crate) static DATA: Threads = LazyLock::new(|| threads(16));

/// For looking at uploads: if their disk hangs, nothing else hangs.
pub(crate) static UPLOADS: Threads = LazyLock::new(|| threads(16));

/// For copying uploads: a copy may take long, and must not hold up anything else.
pub(crate) static COPIES: Threads = LazyLock::new(|| threads(8));

/// How long an idle thread stays.
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

/// Runs file work on tokio's own blocking threads, without waiting for other file work.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    outcome(tokio::task::spawn_blocking(work)).await
}

async fn outcome<T>(work: JoinHandle<Result<T>>) -> Result<T> {
    match work.await {
        Ok(result) => result,
        Err(error) => {
            Err(StoreError::from_source(ErrorKind::Retry, "finish", "a file operation", error))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, mpsc};

    use super::*;
    use crate::lock::lock;

    #[tokio::test]
    async fn hanging_uploads_do_not_hold_up_a_timestamp() {
        let (end, hanging) = mpsc::channel::<()>();
        let hanging = Arc::new(Mutex::new(hanging));
        let look = |threads| {
            let hanging = Arc::clone(&hanging);
            // It blocks until the other side is dropped.
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
