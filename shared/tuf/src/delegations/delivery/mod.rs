//! What other parties deliver: whether a file may become the next document of its role.
//!
//! A party's own role and those below it stand or fall together: a document is taken only with documents of all the roles that it
//! delegates to. What is refused leaves what was there before.
//!
//! *Invariant*: what it costs to judge a party's files grows with their number, not with the number of ways to combine new ones with those so
//! far, which doubles with each level: a signature is checked once under each document that delegates to the role.

mod files;
mod follow;
mod judge;

pub use files::{
    Delivered, DeliveryRules, Effort, Files, Judged, LARGEST_DELIVERY, LEAST_LIFE, Taken, check_form, named_below,
    refuse,
};
pub use follow::follow;
pub use judge::judge_files;
