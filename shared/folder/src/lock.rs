//! Locks that no panic breaks.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`. What these mutexes guard is consistent after every statement, so a panic elsewhere does no harm.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
