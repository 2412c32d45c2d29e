//! The checks: from AWS's answers to findings, without I/O.

mod alarms;
mod buckets;
#[cfg(test)]
mod findings;
mod functions;
mod keys;
mod machine;

pub use alarms::{alarm_names, judge_alarms, judge_dead_letters};
pub use buckets::{judge_public_access, judge_versioning};
pub use functions::{
    CHUNK, FunctionStatus, STAGES, Trigger, judge_concurrency, judge_function, judge_recursion,
    judge_schedule, judge_trigger,
};
pub use keys::{judge_key, judge_key_policy};
pub use machine::{judge_clock, judge_space, judge_version};
