//! A repository as a client reads it, with the very bytes that it verified: what is copied elsewhere is what a device trusts. Others may have made
//! it: `tufline-metadata` reads all that clients read.

mod arguments;
mod base;
mod client;
mod client_source;
mod target;
mod transport;
mod verified;

pub use arguments::UrlArguments;
pub use base::Base;
pub use client::LONGEST_WALK;
pub use client_source::{ClientSource, read_root};
pub use target::{ListedTarget, consistent_paths, list_targets};
pub use verified::VerifiedRepository;
