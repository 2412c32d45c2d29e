//! The gate: what a client would check before it trusts a generation (TUF specification 5.3 to 5.6), and a repository's
//! own promise that every target's bytes are there.
//!
//! Bytes go in, a [`Checked`] generation or a [`Refused`] comes out. The object enforces the order and that nothing is
//! left out: a timestamp can only be drafted from [`Checked`].

mod check;
mod verified;
mod wanted;

pub use check::{Checked, Gate};
pub use verified::VerifiedRole;
pub use wanted::{OtherParties, WantedBlob, WantedDelivery};

pub use crate::generation::{Fault, Refused};
