//! Where the processors are shared.

use std::future::pending;
use std::panic::resume_unwind;

use tokio::runtime::Handle;

/// Does work that takes a processor for a while, on a thread of its own, so that others go on meanwhile.
pub(crate) async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    // The fault simulation drives the stages without a runtime, and so without threads.
    let Ok(runtime) = Handle::try_current() else { return work() };
    match runtime.spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // Only where the runtime is being shut down: nobody waits for the outcome any more.
            Err(_) => pending().await,
        },
    }
}
