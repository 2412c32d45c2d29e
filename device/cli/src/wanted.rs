//! A target that somebody wants.

use std::io;
use std::path::Path;

use tufline_client::FoundTarget;

use crate::failure::{Failure, NetworkFailure};
use crate::http::Connection;

/// A target that somebody wants, and how it is asked for.
#[derive(Clone, Copy)]
pub struct Wanted<'w> {
    pub connection: &'w Connection,
    pub found: &'w FoundTarget,
    /// Where it shall be.
    pub to: &'w Path,
    /// How often in a row it is asked for without getting anywhere.
    pub tries: u32,
}

impl Wanted<'_> {
    /// Whether so many bytes of it may come. Where it comes `whole` although there is a seed, this says why.
    pub fn expect_budget(&self, needs: u64, whole: Option<&str>) -> Result<(), Failure> {
        self.connection.expect_budget(needs).map_err(|failure| self.failure("", failure, whole))
    }

    /// What came last for this URL.
    pub fn failure(&self, url: &str, failure: NetworkFailure, whole: Option<&str>) -> Failure {
        match failure {
            NetworkFailure::OverBudget { needs, left } => {
                let why = whole.map(|why| format!(" (whole, since {why})")).unwrap_or_default();
                Failure::Budget { what: format!("{}{why}", self.found.name), needs, left }
            }
            failure => Failure::network(url, failure),
        }
    }

    /// A file of this device can't be written.
    pub fn written(&self) -> impl FnOnce(io::Error) -> Failure + use<> {
        Failure::file("written", self.to)
    }
}
