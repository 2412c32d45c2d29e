//! Serve: answers devices. It reads the repository and nothing else.
//!
//! It does not depend on any HTTP server: the caller gives a method, a path and header fields, and
//! gets an [`Answer`]. It answers GET and HEAD only, and lists nothing. A missing file is always
//! 404, since only that ends a client's walk over the roots (TUF specification 5.3.3).

mod gzip;
mod pack;
mod path;
mod range;
mod repository;

pub use pack::{MOST_PACK_AGE, PACK_PATH, Packs};
pub use path::{Resource, decode};
pub use repository::{Answer, BlobPart, Body, Redirects, ServedRepository, bad_path};
