//! Serve: answers devices. Reads the repository and nothing else.
//!
//! Independent of any HTTP server: a method, a path and fields go in, an [`Answer`] comes out. Only GET and HEAD, no
//! listing; what is missing is 404, since that alone ends a client's walk over the roots (TUF specification 5.3.3).

mod gzip;
mod pack;
mod path;
mod range;
mod repository;

pub use pack::{MOST_PACK_AGE, PACK_PATH, Packs};
pub use path::{Resource, decode};
pub use repository::{Answer, BlobPart, Body, Redirects, ServedRepository, bad_path};
