//! A target to fetch.

use std::io;
use std::path::Path;

use tufline_client::FoundTarget;

use crate::failure::{Failure, NetworkFailure};
use crate::http::Connection;

/// A target to fetch, and how to fetch it.
#[derive(Clone, Copy)]
pub struct Wanted<'w> {
    pub connection: &'w Connection,
    pub found: &'w FoundTarget,
    /// The path to which it goes.
    pub to: &'w Path,
    /// The most tries in a row without progress.
    pub tries: u32,
}

impl Wanted<'_> {
    /// Fails if `needs` more bytes would exceed the budget. If the target comes `whole` although
    /// there is a seed, that says why.
    pub fn expect_budget(&self, needs: u64, whole: Option<&str>) -> Result<(), Failure> {
        self.connection.expect_budget(needs).map_err(|failure| self.failure("", failure, whole))
    }

    /// Makes a failure of the last try for this URL.
    pub fn failure(&self, url: &str, failure: NetworkFailure, whole: Option<&str>) -> Failure {
        match failure {
            NetworkFailure::OverBudget { needs, left } => {
                let why = whole.map(|why| format!(" (whole, since {why})")).unwrap_or_default();
                Failure::Budget { what: format!("{}{why}", self.found.name), needs, left }
            }
            failure => Failure::network(url, failure),
        }
    }

    /// Makes a failure to write the target's file.
    pub fn written(&self) -> impl FnOnce(io::Error) -> Failure + use<> {
        Failure::file("written", self.to)
    }
}
