//! The system clock.

use tufline_store::Clock;
use tufline_tuf::Time;

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the edge where the time comes in")]
    fn now(&self) -> Time {
        Time::now()
    }
}
