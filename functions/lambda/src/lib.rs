//! Connects the functions to their process and to Lambda: environment, logs, batches of messages.

#![allow(clippy::multiple_crate_versions)]

use std::time::Duration;

use anyhow::{Context, Result};
use aws_lambda_events::event::sqs::{BatchItemFailure, SqsEvent, SqsMessage};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tufline_tuf::{Config, Time};

/// Reads a variable of the environment. An empty one counts as not set.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Starts structured logs: one JSON object per line, as CloudWatch reads them. `RUST_LOG` sets the
/// level, or levels such as `warn,tufline_pipeline=debug`.
pub fn start_logs() {
    let info = Targets::new().with_default(LevelFilter::INFO);
    let filter = variable("RUST_LOG").and_then(|filter| filter.parse().ok()).unwrap_or(info);
    let lines = fmt::layer().json().flatten_event(true).with_span_list(false).with_ansi(false);
    tracing_subscriber::registry().with(lines).with(filter).init();
}

/// Reads the operator's configuration from `TUFLINE_CONFIG`.
///
/// # Errors
/// `TUFLINE_CONFIG` cannot be parsed.
pub fn config() -> Result<Config> {
    let config = variable("TUFLINE_CONFIG").unwrap_or_else(|| "{}".into());
    serde_json::from_str(&config).context("TUFLINE_CONFIG")
}

/// The bodies of a batch's messages.
#[must_use]
pub fn bodies(event: &SqsEvent) -> Vec<&str> {
    event.records.iter().map(|record| record.body.as_deref().unwrap_or_default()).collect()
}

/// Reports a message that must come again as a partial failure of its batch, and logs why
/// (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting>).
#[must_use]
pub fn partial_failure(record: &SqsMessage, reason: &str) -> BatchItemFailure {
    let message = record.message_id.clone().unwrap_or_default();
    tracing::warn!(message, reason, "message comes again");
    let mut failed = BatchItemFailure::default();
    failed.item_identifier = message;
    failed
}

/// The last time at which a run may start something that takes long, if it needs `last_steps` at
/// its end. Lambda stops the run at `deadline` (milliseconds since 1970).
#[must_use]
pub fn last_beginning(deadline: u64, last_steps: Duration) -> Time {
    let deadline =
        i64::try_from(deadline).ok().and_then(|deadline| Time::from_millisecond(deadline).ok());
    deadline.and_then(|deadline| deadline.checked_sub(last_steps).ok()).unwrap_or(Time::MIN)
}
