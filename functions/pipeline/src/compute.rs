//! Moves long computations off the threads that drive the stages.

use std::future::pending;
use std::panic::resume_unwind;

use tokio::runtime::Handle;

/// Runs `work` on a thread of its own, so that other futures progress while it keeps a processor
/// busy.
pub(crate) async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    // The fault simulation drives the stages without a runtime, so there are no threads to use.
    let Ok(runtime) = Handle::try_current() else { return work() };
    match runtime.spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime is shutting down, so nobody waits for the outcome any more.
            Err(_) => pending().await,
        },
    }
}
