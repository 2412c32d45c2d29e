//! Where a function meets its process: environment and logs.

#![allow(clippy::multiple_crate_versions)]

use anyhow::{Context, Result};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tufline_tuf::Config;

/// A variable of the environment; one that is empty isn't set.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Structured logs, a JSON object a line, as CloudWatch reads them; `RUST_LOG` says how many: a level, or some like `warn,tufline_pipeline=debug`.
pub fn start_logs() {
    let info = Targets::new().with_default(LevelFilter::INFO);
    let filter = variable("RUST_LOG").and_then(|filter| filter.parse().ok()).unwrap_or(info);
    let lines = fmt::layer().json().flatten_event(true).with_span_list(false).with_ansi(false);
    tracing_subscriber::registry().with(lines).with(filter).init();
}

/// What the operator chose.
///
/// # Errors
/// `TUFLINE_CONFIG` can't be read.
pub fn config() -> Result<Config> {
    let config = variable("TUFLINE_CONFIG").unwrap_or_else(|| "{}".into());
    serde_json::from_str(&config).context("TUFLINE_CONFIG")
}
