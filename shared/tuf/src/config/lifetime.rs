//! Lengths of time, written as people write them.

use std::fmt;
use std::str::FromStr;

use jiff::{Span, SpanRelativeTo};
use serde::{Deserialize, Serialize};

use super::error::BadConfig;

/// A time in seconds, written as a person would: `"7 days"`, `"36h"`, `"90d"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lifetime(pub(super) u64);

impl Lifetime {
    /// A lifetime of `seconds` seconds.
    ///
    /// # Errors
    /// Refuses less than 10 seconds, which no client on a slow network could use.
    pub fn from_seconds(seconds: u64) -> Result<Self, BadConfig> {
        if seconds < 10 {
            return Err(BadConfig(format!(
                "a lifetime of {seconds} s is too short; use at least 10 s"
            )));
        }
        Ok(Self(seconds))
    }

    /// The lifetime in seconds.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0
    }
}

impl FromStr for Lifetime {
    type Err = BadConfig;

    fn from_str(text: &str) -> Result<Self, BadConfig> {
        let seconds = text
            .parse::<Span>()
            .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
            .map_err(|error| {
                BadConfig(format!(
                    "'{text}' is not a length of time such as \"7 days\" or \"36h\": {error}"
                ))
            })?;
        Self::from_seconds(u64::try_from(seconds.as_secs()).unwrap_or(0))
    }
}

impl TryFrom<String> for Lifetime {
    type Error = BadConfig;

    fn try_from(text: String) -> Result<Self, BadConfig> {
        text.parse()
    }
}

impl From<Lifetime> for String {
    fn from(lifetime: Lifetime) -> Self {
        lifetime.to_string()
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}s", self.0)
    }
}
