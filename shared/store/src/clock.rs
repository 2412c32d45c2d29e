//! The system clock, as a port.

use tufline_tuf::Time;

use crate::port::Clock;

/// The operating system's clock. On AWS, Lambda keeps it right.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the edge that everything else takes the time from"
    )]
    fn now(&self) -> Time {
        Time::now()
    }
}
