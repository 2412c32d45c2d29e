//! A repository's health: its status for `tufline status`, and the reasons for attention, which
//! `tufline doctor` also reports.

mod attention;
mod collect;
mod damage;
mod held;
mod listing;
mod reason;
pub mod status;

pub use attention::expiry_reason;
pub use collect::{Rejections, collect};
pub use damage::Damage;
pub use held::held_removals;
pub use reason::{About, Reason};
pub use status::{RejectedUploads, Status};
