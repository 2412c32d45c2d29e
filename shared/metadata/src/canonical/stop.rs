//! The error of the writer, in the form that serde requires.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt::{self, Display};

use serde::ser::Error;

use super::unalike::{Unalike, Why};

/// The reason why no canonical form was written.
#[derive(Debug)]
pub(crate) struct Stop(pub(super) Unalike);

impl Display for Stop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl core::error::Error for Stop {}

impl Error for Stop {
    fn custom<T: Display>(message: T) -> Self {
        Self(Unalike { place: Vec::new(), why: Why::Json(message.to_string()) })
    }
}
