//! Reads a TUF repository as a client does, and keeps the very bytes that it verified: so a copy of
//! them is what a device trusts. Any tool may have made the repository: `tufline-metadata` reads
//! whatever clients read.

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
