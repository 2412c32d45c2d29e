//! Where a function meets its process: environment and logs.

#![allow(clippy::multiple_crate_versions)]

use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;
use tufline_tuf::Config;

/// A variable of the environment; one that is empty isn't set.
#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Structured logs, a JSON object a line, as CloudWatch reads them; `RUST_LOG` says how many.
pub fn start_logs() {
    let filter = EnvFilter::try_new(variable("RUST_LOG").unwrap_or_else(|| "info".into())).unwrap_or_default();
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_env_filter(filter)
        .with_ansi(false)
        .init();
}

/// What the operator chose.
///
/// # Errors
/// `TUFLINE_CONFIG` can't be read.
pub fn config() -> Result<Config> {
    let config = variable("TUFLINE_CONFIG").unwrap_or_else(|| "{}".into());
    serde_json::from_str(&config).context("TUFLINE_CONFIG")
}
