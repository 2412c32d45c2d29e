//! Connects the functions to their process: environment and logs.

#![allow(clippy::multiple_crate_versions)]

use anyhow::{Context, Result};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tufline_tuf::Config;

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
