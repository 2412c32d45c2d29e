//! Steps that several stages and operations share.

pub(crate) mod announce;
pub(crate) mod answer;
pub(crate) mod change_batch;
pub(crate) mod check;
pub(crate) mod compose;
pub(crate) mod decisions;
pub(crate) mod intake;
pub(crate) mod judge;
pub(crate) mod justify;
pub(crate) mod make_generation;
pub(crate) mod read_upload;
pub(crate) mod redo;
pub(crate) mod refuse;
pub(crate) mod reject;
pub(crate) mod removals;
pub(crate) mod renewals;
pub(crate) mod show;
pub(crate) mod sign;
pub(crate) mod store_blob;
pub(crate) mod take_deliveries;
