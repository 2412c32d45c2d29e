//! The expiry of documents that people sign, as an argument.

use anyhow::Context;
use tufline_tuf::{Time, time};

use crate::process::now;

/// Parses an expiry: a time, or how long from now.
pub fn parse_expiry(text: &str) -> anyhow::Result<Time> {
    if let Ok(time) = text.parse::<Time>() {
        return Ok(time::whole_seconds(time));
    }
    let lifetime: tufline_tuf::config::Lifetime = text.parse().with_context(|| {
        format!(
            "'{text}' is neither a length of time, such as \"365 days\", nor a time, such as \
                 2030-01-01T00:00:00Z"
        )
    })?;
    Ok(time::after(now(), lifetime.seconds()))
}
