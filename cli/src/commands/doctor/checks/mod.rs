//! The checks: what was answered in, what is found out. No I/O.

mod alarms;
mod buckets;
mod functions;
mod keys;
mod machine;

pub use alarms::{alarm_names, alarms, dead_letters};
pub use buckets::{public_access, versioning};
pub use functions::{FunctionStatus, STAGES, Trigger, concurrency, function, recursion, schedule, trigger};
pub use keys::{key, key_policy};
pub use machine::{clock, space, version};
