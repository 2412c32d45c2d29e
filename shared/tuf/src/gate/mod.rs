//! The gate: checks a generation as a client would before trusting it (TUF specification 5.3 to
//! 5.6), and checks that the bytes of every target are there, which the repository itself promises.
//!
//! Bytes go in, and a [`Checked`] generation or a [`Refused`] comes out. [`Gate`] enforces the
//! order and the completeness of the checks: only a [`Checked`] can draft a timestamp.

mod check;
mod verified;
mod wanted;

pub use check::{Checked, Gate};
pub use verified::VerifiedRole;
pub use wanted::{OtherParties, WantedBlob, WantedDelivery};

pub use crate::generation::{Fault, Refused};
