//! The files that other parties deliver: which may become the next documents of their roles, and
//! how they change the parties.
//!
//! A party's own role and the roles below it are judged together. A document is taken only together
//! with documents of all the roles to which it delegates. If a delivery is refused, the published
//! documents stay.
//!
//! *Invariant*: the cost of judging a party's files grows with their number, not with the number of
//! ways to combine them (`judge`).

mod files;
mod follow;
mod judge;

pub use files::{
    Delivered, DeliveryRules, Effort, Files, Judged, LARGEST_DELIVERY, LEAST_LIFE, Taken,
    check_form, named_below, refuse,
};
pub use follow::follow;
pub use judge::judge_files;
